"""Records of annotation spaces as annotations: stored in a project, in a file, or in memory."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.datasets import Annotation, ImageDataset, Resource, VideoDataset, VolumeDataset
from bioimage_py.errors import KeyNotFoundError, ShapeError, SourceNotFoundError, StorageError
from bioimage_py.projects import LandmarkSet, Project, ProjectSettings
from bioimage_py.sources import Axis
from bioimage_py.spaces import (
    Attribute,
    Box,
    Classification,
    ClassificationInstance,
    Ellipse,
    Mask,
    ObjectClass,
    ObjectInstance,
    Ontology,
    Point,
    Polygon,
    Range,
    Space,
    write_space,
)
from bioimage_py.spaces.raster import rasterise

ONTOLOGY = Ontology(
    [
        ObjectClass("tissue", "polygon"),
        ObjectClass("cell", "bounding_box", attributes=[Attribute("phase", "radio", ["G1", "S"])]),
        ObjectClass("spot", "bitmask"),
        ObjectClass("seed", "point"),
        ObjectClass("disc", "ellipse"),
    ],
    [
        Classification("stain", Attribute("which?", "radio", ["H&E", "DAPI"]), level="global"),
        Classification("flaws", Attribute("seen", "checklist", ["dust", "fold"])),
        Classification("depth", Attribute("how?", "numeric")),
        Classification("note", Attribute("text")),
    ],
)
SHAPE = (30, 40)
SQUARE = Polygon([(4, 5), (10, 5), (10, 9), (4, 9)])


def put(space: Space, class_: str, geometry: Any, *frames: Any, **more: Any) -> ObjectInstance:
    made = ObjectInstance(ONTOLOGY.object_class(class_))
    space.put_object_instance(made, *frames, geometry, units="pixel", created_by=more.pop("by", "ann"), **more)
    return made


def answer(space: Space, question: str, value: Any, *frames: Any, by: str = "ann") -> None:
    made = ClassificationInstance(ONTOLOGY.classification(question))
    made.set_answer(value)
    space.put_classification_instance(made, *frames, created_by=by)


def fill(space: Space) -> None:
    put(space, "tissue", SQUARE)
    put(space, "tissue", Polygon([(20, 20), (28, 20), (28, 24), (20, 24)]))
    put(space, "spot", Mask(np.ones((2, 3), bool), (1, 2)), by="bob")
    put(space, "cell", Box((3, 2), (8, 6))).set_answer("S", "phase")
    put(space, "seed", Point((7.5, 3.5)))
    put(space, "disc", Ellipse((20, 15), (3, 2)), by="net", manual_annotation=False)
    answer(space, "stain", "DAPI")
    answer(space, "flaws", ["fold"], by="bob")
    answer(space, "depth", 2.5)
    answer(space, "note", "pale")


def make(path: Path) -> Project:
    project = Project.create(ProjectSettings("spaces", ontology=ONTOLOGY), path)
    with project:
        for number in range(2):
            axes = [Axis("y", "space", "nanometer", 4.0, 8.0), Axis("x", "space", "nanometer", 4.0, 8.0)]
            descriptor = project.add_descriptor(np.full(SHAPE, number, "u1"), f"slide {number}", axes=axes)
            if number == 0:
                fill(descriptor.space())
    return project


def in_memory(path: Path) -> Space:
    space = Space.for_image(SHAPE, ("y", "x"), ONTOLOGY)
    fill(space)
    return space


def in_file(path: Path) -> Path:
    write_space(in_memory(path), path / "space.json")
    return path / "space.json"


@pytest.fixture(params=["project", "file", "memory"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> ImageDataset:
    if request.param == "project":
        return ImageDataset(make(tmp_path / "p"), return_boxes=True)
    space = {"file": in_file, "memory": in_memory}[request.param](tmp_path)
    return ImageDataset(resources=[Resource(np.zeros(SHAPE, "u1"), "slide 0", space=space)], return_boxes=True)


def test_items_have_what_a_space_says(data: ImageDataset) -> None:
    item = data[0]
    masks, codes = item["segmentations"], item["seg_labels"]
    assert sorted(masks) == ["ann", "bob"]  # what "net" made is of a model
    labels = data.segmentation_labels_set
    assert [labels[code - 1] for code in codes["ann"]] == ["tissue", "tissue"]
    assert [labels[code - 1] for code in codes["bob"]] == ["spot"]
    square = np.zeros(SHAPE, np.uint8)
    square[5:9, 4:10] = 1
    assert np.array_equal(masks["ann"][0], square)
    assert masks["ann"][1].sum() == 32
    assert np.argwhere(masks["bob"][0]).tolist() == [[1, 2], [1, 3], [1, 4], [2, 2], [2, 3], [2, 4]]
    assert item["boxes"].tolist() == [[3, 2, 8, 6]]
    assert data.box_labels_set == ["cell"]
    assert item["box_labels"].tolist() == [1]
    category = data.image_categories_set[int(item["image_categories"]["ann"])]
    assert category == ("stain", "DAPI")
    assert item["image_labels"]["bob"].tolist() == [int(name == "flaws/fold") for name in data.image_labels_set]
    found = {ann.annotation_type: ann for ann in data.get_annotations(0)}
    assert found["point"].geometry == [7.5, 3.5]
    assert found["number"].numeric_value == 2.5
    assert found["text"].text_value == "pale"
    assert found["box"].values == {"phase": "S"}
    assert found["box"].extra == {"confidence": 1.0}
    assert found["box"].get_created_datetime() is not None


def test_everything_stays_in_a_pickle(data: ImageDataset) -> None:
    again = pickle.loads(pickle.dumps(data))
    assert again[0].keys() == data[0].keys()
    for author, masks in data[0]["segmentations"].items():
        assert np.array_equal(again[0]["segmentations"][author], masks)


def test_the_ontology_defines_labels_in_its_order(tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    data = ImageDataset(project, trusted_annotation_sources=None)
    assert data.segmentation_labels_set == ["tissue", "spot", "disc"]
    assert data.image_labels_set == data.frame_labels_set == ["flaws/dust", "flaws/fold"]
    assert data.image_categories_set == [("stain", "H&E"), ("stain", "DAPI")]
    assert data.frame_categories_set == []
    disc = data[0]["segmentations"]["net"][0]
    y, x = np.mgrid[:30, :40] + 0.5
    assert np.array_equal(disc, ((x - 20) / 3) ** 2 + ((y - 15) / 2) ** 2 <= 1)
    assert data[1]["segmentations"] == {}
    assert ImageDataset(project, worklists=["tags"]).segmentation_labels_set == []
    assert len(ImageDataset(project, include_unannotated=False)) == 1
    only = ImageDataset(project, include_annotators=["bob"], strict=True)
    assert list(only[0]["segmentations"]) == ["bob"]
    with pytest.raises(KeyNotFoundError, match="did you mean 'bob'"):
        ImageDataset(project, include_annotators=["boob"], strict=True)


def test_an_edit_is_seen_or_not_as_asked(tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    live, pinned = ImageDataset(project.path), ImageDataset(project.path, auto_update=False)

    def tissue(data: ImageDataset) -> int:
        return int(data[0]["segmentations"]["ann"].sum())

    assert tissue(live) == tissue(pinned) == 56
    space = project.descriptors[0].space()
    last = list(space.query(class_="tissue"))[1]
    space.update(last.id, geometry=Polygon([(20, 20), (22, 20), (22, 22), (20, 22)]), units="pixel")
    assert tissue(live) == 56  # nothing is saved yet
    space.save()
    assert tissue(live) == 28
    assert tissue(pinned) == tissue(pickle.loads(pickle.dumps(pinned))) == 56
    space.remove_object_instance(last.id)
    project.save()
    assert tissue(live) == 24
    project.prune(older_than=-1)
    assert tissue(live) == 24
    with pytest.raises(StorageError, match="prune"):
        ImageDataset.get_annotations(pickle.loads(pickle.dumps(pinned)), 0)


def test_a_version_of_a_space_is_a_value_of_its_own(tmp_path: Path) -> None:
    project = make(tmp_path / "p")
    descriptor = project.descriptors[0]
    assert project.descriptors[1].space_versions == {}
    ((id, version),) = descriptor.space_versions.items()
    found = descriptor.read_space(id, version)
    assert (id, len(found)) == ("root", len(descriptor.space()))
    put(found, "tissue", SQUARE)
    project.save()
    assert len(descriptor.read_space(id, version)) == len(found) - 1
    with pytest.raises(SourceNotFoundError, match="'root'"):
        descriptor.read_space(id, version + "0")


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = in_file(tmp_path)
    resource = Resource(np.zeros(SHAPE, "u1"), "slide", space=path)
    data = ImageDataset(resources=[resource])
    assert len(data[0]["segmentations"]["ann"]) == 2
    space = in_memory(tmp_path)
    put(space, "tissue", SQUARE)
    write_space(space, path)
    assert len(data[0]["segmentations"]["ann"]) == 3
    path.unlink()
    with pytest.raises(SourceNotFoundError, match="'slide'"):
        data[0]
    kept = ImageDataset(resources=[resource, Resource(np.zeros(SHAPE, "u1"), "b")], on_error="skip")
    assert len(kept) == 1
    assert [id for id, _ in kept.skipped] == ["slide"]


def test_a_space_in_memory_is_read_as_it_is() -> None:
    space = Space.for_image(SHAPE, ("y", "x"), ONTOLOGY)
    put(space, "tissue", SQUARE)
    data = ImageDataset(resources=[Resource(np.zeros(SHAPE, "u1"), space=space)])
    put(space, "tissue", SQUARE)
    assert len(data[0]["segmentations"]["ann"]) == 2
    space.undo()
    assert len(data[0]["segmentations"]["ann"]) == 1


def test_objects_of_a_film_are_one_instance_each(tmp_path: Path) -> None:
    project = Project.create(ProjectSettings("film", ontology=ONTOLOGY), tmp_path / "p")
    with project:
        descriptor = project.add_descriptor(np.zeros((4, *SHAPE), "u1"), "film", axes=("t", "y", "x"))
        space = descriptor.space()
        one = put(space, "tissue", SQUARE, 1)
        space.put_object_instance(one, 2, SQUARE, units="pixel", created_by="ann")
        put(space, "tissue", SQUARE, 2)
        put(space, "cell", Box((1, 2), (3, 5)), Range(1, 2))
        answer(space, "flaws", ["dust"], 3)
        answer(space, "stain", "H&E")
    data = VideoDataset(project, return_boxes=True)
    item = data[0]
    assert item["segmentations"]["ann"].sum(axis=(2, 3)).tolist() == [[0, 24, 24, 0], [0, 0, 24, 0]]
    assert item["boxes"].tolist() == [[1, 2, 1, 3, 5, 2], [1, 2, 2, 3, 5, 3]]
    assert item["frame_labels"]["ann"].tolist() == [[0, 0], [0, 0], [0, 0], [1, 0]]
    assert item["image_labels"] == {}
    assert int(item["image_categories"]["ann"]) == 0
    frames = list(data.frame_by_frame())
    assert [len(frame["segmentations"].get("ann", ())) for frame in frames] == [0, 1, 2, 0]
    assert [frame["boxes"].tolist() for frame in frames] == [[], [[1, 2, 3, 5]], [[1, 2, 3, 5]], []]
    assert [int(frame["frame_labels"]["ann"][0]) for frame in frames] == [0, 0, 0, 1]


def test_objects_of_a_volume_and_of_its_planes(tmp_path: Path) -> None:
    crop = np.arange(24).reshape(2, 3, 4) % 3 > 0
    space = Space.for_image((6, *SHAPE), ("z", "y", "x"), ONTOLOGY)
    put(space, "spot", Mask(crop, (1, 5, 7)))
    put(space, "cell", Box((1, 2, 3), (4, 6, 5)))
    data = VolumeDataset(resources=[Resource(np.zeros((6, *SHAPE), "u1"), space=space)], return_boxes=True)
    expected = np.zeros((6, *SHAPE), np.uint8)
    expected[1:3, 5:8, 7:11] = crop
    assert np.array_equal(data[0]["segmentations"]["ann"][0], expected)
    assert data[0]["boxes"].tolist() == [[1, 2, 3, 4, 6, 5]]
    for axis in range(3):
        for index, plane in enumerate(data.slice(axis)):
            shown = expected.take(index, axis)
            assert np.array_equal(plane["segmentations"].get("ann", np.zeros((1, *shown.shape)))[0], shown)
    marked = [item["metainfo"]["index"] for item in data.slice("axial", empty="drop")]
    assert marked == [1, 2]
    by_plane = Space.for_image((6, *SHAPE), ("z", "y", "x"), ONTOLOGY, kind="sequence")
    put(by_plane, "tissue", SQUARE, 4)
    planes = VolumeDataset(resources=[Resource(np.zeros((6, *SHAPE), "u1"), space=by_plane)])
    assert planes[0]["segmentations"]["ann"].sum(axis=(0, 2, 3)).tolist() == [0, 0, 0, 0, 24, 0]


def test_a_space_of_another_image_is_refused() -> None:
    space = Space.for_image((30, 41), ("y", "x"), ONTOLOGY)
    with pytest.raises(ShapeError, match=r"'slide'.*30 x 41.*30 x 40"):
        ImageDataset(resources=[Resource(np.zeros(SHAPE, "u1"), "slide", space=space)])[0]
    deep = Space.for_image((3, *SHAPE), ("z", "y", "x"), ONTOLOGY)
    with pytest.raises(ShapeError, match="3 planes"):
        VolumeDataset(resources=[Resource(np.zeros((4, *SHAPE), "u1"), space=deep)])


def test_points_of_layers_and_spaces_agree(tmp_path: Path) -> None:
    """The world has the centre of voxel i at offset + i * scale; in pixels that is i + 0.5."""
    project = make(tmp_path / "p")
    project.add_landmark_layer("marks").add_annotation("seed")
    project.save()
    descriptor = project.descriptors[0]
    rows = LandmarkSet.from_descriptor(descriptor, "marks")
    rows.add("seed", 0, (8 + 4 * 7, 8 + 4 * 3, 0))
    descriptor.landmark_layers["marks"].save_new_data(rows)
    points = [ann.geometry[:2] for ann in ImageDataset(project.path).get_annotations(0, "point")]
    assert points == [[7.5, 3.5]] * 2


SIDE = st.floats(-5, 45, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(SIDE, SIDE, st.floats(0.3, 30), st.floats(0.3, 30)), min_size=1, max_size=5),
    st.tuples(st.integers(0, 29), st.integers(0, 39), st.integers(1, 30), st.integers(1, 40)),
    st.sampled_from([0.25, 1.0, 3.0]),
)
def test_masks_are_what_rasterise_writes(shapes: list, window: tuple, scale: float) -> None:
    axes = [Axis(name, "space", None, scale, 7.0) for name in "yx"]
    space = Space.for_image(SHAPE, axes, ONTOLOGY)
    for x, y, w, h in shapes:
        put(space, "tissue", Polygon([(x, y), (x + w, y + h / 3), (x + w / 2, y + h)]))
    values = {record.id: 2**i for i, record in enumerate(space.query())}
    masks = ImageDataset(resources=[Resource(np.zeros(SHAPE, "u1"), axes=axes, space=space)])[0]["segmentations"]["ann"]
    for mask, (id, value) in zip(masks, values.items(), strict=True):
        alone = Space.for_image(SHAPE, axes, ONTOLOGY)
        alone.put_object_instance(ObjectInstance(ONTOLOGY.object_class("tissue"), id), space.get(id).geometry)
        labels = np.zeros(SHAPE, "u1")
        rasterise(alone, labels, values={id: value})
        assert np.array_equal(mask > 0, labels == value)
    found = ImageDataset(resources=[Resource(np.zeros(SHAPE, "u1"), axes=axes, space=space)]).annotations_of(0)
    y, x, height, width = window
    region = (slice(0, 1), slice(y, min(y + height, 30)), slice(x, min(x + width, 40)))
    for ann, mask in zip(found, masks, strict=True):
        assert ann.mask is not None
        assert np.array_equal(ann.mask.read(region), (mask > 0)[None][region])
        box = ann.mask.box
        inside = np.zeros((1, *SHAPE), bool)
        if box is not None:
            inside[box] = True
        assert not ((mask > 0) & ~inside[0]).any()


def test_hand_made_annotations_and_a_space_count_together() -> None:
    space = Space.for_image(SHAPE, ("y", "x"), ONTOLOGY)
    put(space, "tissue", SQUARE, by="bob")
    mark = Annotation.segmentation("tissue", np.ones(SHAPE, bool), created_by="ann")
    data = ImageDataset(resources=[Resource(np.zeros(SHAPE, "u1"), space=space, annotations=[mark])])
    assert {author: int(masks.sum()) for author, masks in data[0]["segmentations"].items()} == {"ann": 1200, "bob": 24}
    assert data.segmentation_labels_set == ["tissue"]


def test_a_region_does_not_rasterise_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from bioimage_py.datasets.resources import spaces

    seen: list[int] = []
    whole = spaces.rasterise_geometry

    def watched(geometry: Any, grid: Any, window: tuple) -> Any:
        seen.append(int(np.prod([part.stop - part.start for part in window])))
        return whole(geometry, grid, window)

    monkeypatch.setattr(spaces, "rasterise_geometry", watched)
    space = Space.for_image((6, *SHAPE), ("t", "y", "x"), ONTOLOGY)
    for frame in range(6):
        put(space, "tissue", SQUARE, frame)
    video = Resource(np.zeros((6, *SHAPE), "u1"), axes="tyx", space=space)
    VideoDataset(resources=[video]).frame_by_frame()[2]
    assert seen == [24]
