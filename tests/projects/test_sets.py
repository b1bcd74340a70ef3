"""Boxes and landmarks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bioimage_py.datasets import ImageDataset
from bioimage_py.errors import FormatError, IndexingError, KeyNotFoundError, ParameterError, ShapeError
from bioimage_py.projects import BoxSet, LandmarkSet, Project, ProjectSettings
from bioimage_py.projects.exchange.coco import export_coco
from bioimage_py.projects.values.sets import from_table, to_table
from bioimage_py.sources import Axis
from bioimage_py.spaces import ObjectClass, Ontology, Space
from bioimage_py.spaces.exchange import to_boxes

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


def boxes() -> BoxSet:
    rows = BoxSet(["cell", "debris"])
    rows.add("cell", 0, (0, 0, 0), (1, 2, 3))
    rows.add(["cell", "debris"], [1, 2], np.zeros((2, 3)), [[4, 5, 6], [7, 8, 9]])
    return rows


@pytest.mark.parametrize("point", [(1, 2, 3), [[1], [2], [3]], np.array([[1.0, 2, 3]])])
def test_one_point_in_every_shape(point):
    rows = LandmarkSet()
    rows.add("tip", 4, point)
    assert rows.asdict()["world"].tolist() == [[1.0, 2.0, 3.0]]
    assert rows.asdict()["world"].dtype == np.float64


def test_many_rows_at_once():
    rows = boxes()
    assert len(rows) == 3
    columns = rows.asdict()
    assert columns["type"] == ["cell", "cell", "debris"]
    assert columns["frame"].tolist() == [0, 1, 2]
    assert columns["lower_right"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    columns["lower_right"][:] = 0
    assert rows[2].lower_right.tolist() == [7, 8, 9]


def test_none_at_once():
    rows = LandmarkSet(["tip"])
    rows.add("tip", 0, np.zeros((0, 3)))
    assert len(rows) == 0


def test_selections_are_new_sets():
    rows = boxes()
    assert rows.frame(1).asdict()["type"] == ["cell"]
    assert len(rows.type("cell")) == len(rows.type(0)) == 2
    rows.type("cell").delete(0)
    assert len(rows) == 3
    with pytest.raises(KeyNotFoundError, match="no type 'fish'"):
        rows.type("fish")
    with pytest.raises(IndexingError, match="no type 2 of 2"):
        rows.type(2)


def test_rows_are_edited_and_deleted():
    rows = boxes()
    rows.edit(2, type="cell", frame=5, lower_right=(9, 9, 9))
    assert rows[2].type == "cell"
    assert rows[2].frame == 5
    rows.edit(np.array([True, False, True]), top_left=(0.5, 0.5, 0.5))
    assert rows[0].top_left.tolist() == [0.5, 0.5, 0.5]
    assert rows[1].top_left.tolist() == [0, 0, 0]
    rows.delete([0, 2])
    assert [box.type for box in rows] == ["cell"]
    rows.delete([])
    rows.delete(np.array([False]))
    assert len(rows) == 1
    with pytest.raises(IndexingError, match="no row of 1"):
        rows.delete(7)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("cell", 0, (0, 0), (1, 1)), ShapeError, "top_left has the shape"),
        (("cell", 0, (0, 0, 0), (np.inf, 1, 1)), ParameterError, "not finite"),
        (("cell", 0, (2, 0, 0), (1, 1, 1)), ParameterError, "lies above"),
        (("cell", -1, (0, 0, 0), (1, 1, 1)), ParameterError, "frame is -1"),
        (("cell", 0.5, (0, 0, 0), (1, 1, 1)), ParameterError, "frame is 0.5"),
        (("fish", 0, (0, 0, 0), (1, 1, 1)), KeyNotFoundError, "no type 'fish'"),
        (("cell", [0, 1], np.zeros((3, 3)), np.ones((3, 3))), ShapeError, "different lengths"),
    ],
)
def test_bad_rows_are_refused_and_leave_the_set(arguments, error, message):
    rows = boxes()
    before = rows.asdict()
    with pytest.raises(error, match=message):
        rows.add(*arguments)
    assert rows.asdict()["type"] == before["type"]
    with pytest.raises(ParameterError, match="lies above"):
        rows.edit(0, type="debris", top_left=(99, 0, 0))
    assert rows[0].type == "cell"


@given(arrays(np.float64, st.tuples(st.integers(0, 8), st.just(3)), elements=FINITE), st.integers(0, 2**53))
def test_tables_are_exact(points, frame):
    rows = LandmarkSet(['tip, or "end"\n', "other"])
    rows.add('tip, or "end"\n', frame, points.reshape(-1, 3))
    ids = {'tip, or "end"\n': "label-1", "other": "label-2"}
    text = to_table(rows, ids)
    assert from_table(text, LandmarkSet, {v: k for k, v in ids.items()}, "x.csv") == rows


def test_rows_of_a_type_that_was_removed_are_left_out():
    text = to_table(boxes(), {"cell": "a", "debris": "b"})
    assert from_table(text, BoxSet, {"b": "renamed"}, "x.csv").asdict()["type"] == ["renamed"]


def test_a_damaged_table_is_named():
    with pytest.raises(FormatError, match=r"x\.csv has not the columns"):
        from_table("a,b\n", BoxSet, {}, "x.csv")
    text = to_table(boxes(), {"cell": "a", "debris": "b"})
    with pytest.raises(FormatError, match=r"x\.csv is damaged"):
        from_table(text.replace("7.0", "seven"), BoxSet, {"a": "cell", "b": "debris"}, "x.csv")


def test_layers_store_sets(project, again):
    descriptor = project.descriptors[0]
    layer = descriptor.boundingbox_layers["boxes"]
    assert layer.load() is None
    rows = BoxSet.from_descriptor(descriptor, "boxes")
    assert rows.types == ["cell", "debris"]
    rows.add("debris", 3, (0.1, 0.2, 0.3), (1e300, 2, 3))
    assert layer.save_new_data(rows) is True
    time = descriptor.latest_edit_time
    assert layer.save_new_data(rows) is False
    assert descriptor.latest_edit_time == time
    stored = again().descriptors[0].boundingbox_layers[0]
    assert stored.load() == rows
    assert stored.has_data()
    points = LandmarkSet.from_descriptor(descriptor, "points")
    points.add("tip", 0, (1, 2, 3))
    with pytest.raises(TypeError, match="stores a BoxSet, not a LandmarkSet"):
        layer.save_new_data(points)
    assert descriptor.landmark_layers["points"].save_new_data(points)
    assert again().descriptors[0].landmark_layers["points"].load()[0].world.tolist() == [1, 2, 3]


OLDER = "type,frame,top_left_x,top_left_y,top_left_z,lower_right_x,lower_right_y,lower_right_z\n"


def test_an_older_table_is_moved_to_the_edges_of_voxels(tmp_path):
    """Its corners counted from the centre of voxel 0: pixels x 1 to 3, y 2 to 4, in voxels of 2 and 0.5."""
    project = Project.create(ProjectSettings("p"), tmp_path / "p")
    project.add_boundingbox_layer("boxes").add_annotation("cell")
    axes = (Axis("y", "space", "micrometer", 0.5, 4.0), Axis("x", "space", "micrometer", 2.0))
    descriptor = project.add_descriptor(np.zeros((20, 30), "u1"), "image", axes=axes)
    layer = descriptor.boundingbox_layers["boxes"]
    rows = BoxSet.from_descriptor(descriptor, "boxes")
    rows.add("cell", 0, (1.0, 4.75, -0.5), (5.0, 5.75, 0.5))
    layer.save_new_data(rows)
    project.save()
    path = Path(layer.version_path(layer.version))
    assert path.read_text().startswith("type,frame,low_x")
    id = path.read_text().splitlines()[1].partition(",")[0]
    path.write_text(f"{OLDER}{id},0,2.0,5.0,0.0,6.0,6.0,1.0\n")
    seen = Project.load(project.path).descriptors[0]
    layer = seen.boundingbox_layers["boxes"]
    assert layer.load() == rows
    assert layer.save_new_data(layer.load()) is False
    data = ImageDataset(project.path, return_boxes=True)
    assert data[0]["boxes"].tolist() == [[1, 2, 3, 4]]
    export_coco(Project.load(project.path), tmp_path / "boxes.json")
    assert json.loads((tmp_path / "boxes.json").read_text())["annotations"][0]["bbox"] == [1, 2, 2, 2]
    changed = layer.load()
    changed.edit(0, frame=1)
    assert layer.save_new_data(changed)
    assert layer.load() == changed
    with pytest.raises(FormatError, match="older table"):
        from_table(OLDER, BoxSet, {}, "x.csv")


def test_boxes_of_a_layer_lie_where_those_of_a_space_do(tmp_path):
    axes = (Axis("y", "space", "micrometer", 0.3, 7.0), Axis("x", "space", "micrometer", 3.0, -2.0))
    space = Space.for_image((20, 30), axes, Ontology([ObjectClass("cell", "bounding_box")]))
    space.put_many("cell", np.array([[4.0, 3.0, 5.0, 4.0]]), units="pixel")  # one voxel
    (box,) = to_boxes(space, BoxSet(["cell"]))
    middle = (box.top_left + box.lower_right)[:2] / 2
    np.testing.assert_allclose(middle, [-2.0 + 4 * 3.0, 7.0 + 3 * 0.3], rtol=1e-12)
