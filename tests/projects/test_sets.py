"""Boxes and landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bioimage_py.errors import FormatError, IndexingError, KeyNotFoundError, ParameterError, ShapeError
from bioimage_py.projects import BoxSet, LandmarkSet
from bioimage_py.projects.values.sets import from_table, to_table

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
