"""What items hold, by hand-counted voxels."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.datasets import (
    Annotation,
    ConcatDataset,
    DatasetConfig,
    DatasetError,
    ImageDataset,
    Resource,
    VideoDataset,
    VolumeDataset,
    collate,
)
from bioimage_py.errors import IndexingError, KeyNotFoundError

from .conftest import MARKS, SHAPE, image, make_project, resources

SEMANTIC = {"return_as_semantic_segmentation": True}


def merged(strategy: str, **more: object) -> np.ndarray:
    data = ImageDataset(resources=resources(1), semantic_seg_merge_strategy=strategy, **SEMANTIC, **more)
    return data[0]["segmentations"]


def test_an_image_is_as_stored_and_masks_are_as_drawn() -> None:
    data = ImageDataset(resources=resources())
    assert len(data) == 10
    item = data[3]
    assert item["image"].dtype == np.uint16
    assert np.array_equal(item["image"], image(3))
    assert {author: masks.shape for author, masks in item["segmentations"].items()} == {
        "ann": (2, *SHAPE),
        "bob": (1, *SHAPE),
    }
    assert np.array_equal(item["segmentations"]["ann"][1], MARKS["ann"]["b"])
    assert item["seg_labels"]["ann"].tolist() == [1, 2]
    assert item["seg_labels"]["ann"].dtype == np.int32


def test_a_project_gives_the_same_items_as_a_list(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 2)
    stored, given = ImageDataset(project.path), ImageDataset(resources=resources(2))
    assert stored.segmentation_labels_set == given.segmentation_labels_set == ["a", "b"]
    for one, other in zip(stored, given, strict=True):
        assert np.array_equal(one["image"], other["image"])
        for author in ("ann", "bob"):
            assert np.array_equal(one["segmentations"][author], other["segmentations"][author])
            assert np.array_equal(one["seg_labels"][author], other["seg_labels"][author])


def test_semantic_masks_have_the_background_first() -> None:
    item = ImageDataset(resources=resources(1), **SEMANTIC)[0]
    ann = item["segmentations"]["ann"]
    assert ann.shape == (3, *SHAPE)
    assert ann.sum(axis=(1, 2)).tolist() == [8000 - 300, 100, 200]
    assert "seg_labels" not in item


def test_two_annotators_become_one() -> None:
    both = MARKS["ann"]["a"] | MARKS["bob"]["a"]
    assert merged("union")[1].sum() == both.sum() == 120
    assert merged("intersection")[1].sum() == 60
    assert merged("mode")[1].sum() == 120
    assert merged("mode", ties="negative")[1].sum() == 60
    labels = both | MARKS["ann"]["b"]
    assert merged("union")[0].sum() == 8000 - labels.sum()
    # voted: ann's background (8000 - 300) or bob's (8000 - 80)
    assert merged("union", background="voted")[0].sum() == 8000 - 60
    assert merged("union").dtype == np.uint8


def test_voters_without_a_mask_say_no() -> None:
    assert merged("intersection", voters=["ann"])[2].sum() == 200
    assert merged("intersection", voters=["ann", "carl"])[2].sum() == 0
    assert merged("soft", voters=["ann", "bob", "carl", "dan"])[1].max() == 0.5


def test_one_map_of_codes() -> None:
    both = Resource(
        np.zeros(SHAPE, "u1"),
        annotations=[
            Annotation.segmentation("a", MARKS["ann"]["a"], created_by="x"),
            Annotation.segmentation("b", MARKS["bob"]["a"], created_by="x"),
        ],
    )
    item = ImageDataset(resources=[both], exclusive=True, **SEMANTIC)[0]
    codes = item["segmentations"]["x"]
    assert codes.shape == SHAPE
    assert ((codes == 1).sum(), (codes == 2).sum()) == (40, 80)
    assert item["metainfo"]["overlaps"] == 60


def test_without_annotations() -> None:
    blank = [Resource(np.zeros(SHAPE, "u1"), "blank"), *resources(1)]
    assert ImageDataset(resources=blank)[0]["segmentations"] == {}
    item = ImageDataset(resources=blank, semantic_seg_merge_strategy="union", **SEMANTIC)[0]
    assert item["segmentations"].sum(axis=(1, 2)).tolist() == [8000, 0, 0]
    assert len(ImageDataset(resources=blank, include_unannotated=False)) == 1
    only_bob = ImageDataset(resources=blank, include_annotators=["bob"], **SEMANTIC)
    assert list(only_bob[1]["segmentations"]) == ["bob"]
    assert len(ImageDataset(resources=resources(1), exclude_annotators=["ann", "bob"], include_unannotated=False)) == 0


@pytest.mark.parametrize(
    "voxels",
    [np.full(SHAPE, 7, "u2"), np.full(SHAPE, np.nan, "f4"), np.zeros((1, 1), "u1")],
    ids=["constant", "nan", "one"],
)
def test_plain_images_stay(voxels: np.ndarray) -> None:
    empty, one = np.zeros(voxels.shape, bool), np.zeros(voxels.shape, bool)
    one[0, 0] = True
    marks = [Annotation.segmentation("empty", empty), Annotation.segmentation("one", one)]
    item = ImageDataset(resources=[Resource(voxels, "a", annotations=marks)])[0]
    assert np.array_equal(item["image"][0], voxels, equal_nan=voxels.dtype.kind == "f")
    assert item["segmentations"]["unknown"].sum(axis=(1, 2)).tolist() == [0, 1]


def test_no_items() -> None:
    data = ImageDataset(resources=[])
    assert (len(data), list(data), data.subset([]).get_info()["items"]) == (0, [], 0)
    assert collate([]) == {}
    with pytest.raises(IndexingError, match="length 0"):
        data[0]


def test_labels_categories_and_frames() -> None:
    said = [
        Annotation.label("good", created_by="ann"),
        Annotation.label("sharp", created_by="bob"),
        Annotation.category("stage", "late", created_by="ann"),
        Annotation.category("stage", "early", created_by="bob"),
        Annotation.category("stage", "late", created_by="carl"),
        Annotation.label("beat", created_by="ann", frame_index=2),
        Annotation.segmentation("a", np.ones((4, 4), bool), created_by="ann", frame_index=1),
        Annotation.segmentation("a", np.ones((4, 4), bool), created_by="ann", frame_index=3),
    ]
    film = Resource(np.zeros((2, 5, 4, 4), "u1"), "film", axes="ctyx", annotations=said)
    data = VideoDataset(resources=[film])
    item = data[0]
    assert item["image"].shape == (2, 5, 4, 4)
    assert data.image_categories_set == [("stage", "early"), ("stage", "late")]
    assert {author: hot.tolist() for author, hot in item["image_labels"].items()} == {"ann": [1, 0], "bob": [0, 1]}
    assert {author: int(at) for author, at in item["image_categories"].items()} == {"ann": 1, "bob": 0, "carl": 1}
    assert item["frame_labels"]["ann"].tolist() == [[0], [0], [1], [0], [0]]
    assert item["segmentations"]["ann"].any(axis=(2, 3)).tolist() == [[False, True, False, True, False]]
    frames = data.frame_by_frame()
    assert len(frames) == 5
    assert frames[3]["segmentations"]["ann"].shape == (1, 4, 4)
    assert frames[0]["segmentations"] == {}
    assert frames[2]["frame_labels"]["ann"].tolist() == [1]
    assert int(frames[2]["image_categories"]["ann"]) == 1
    assert data.get_framelabel_distribution() == {"beat": 1.0}
    strategies = {"image_labels_merge_strategy": "union", "image_categories_merge_strategy": "mode"}
    one = VideoDataset(resources=[film], **strategies)[0]
    assert (one["image_labels"].tolist(), int(one["image_categories"])) == ([1, 1], 1)


def test_boxes() -> None:
    marks = [Annotation.box("cell", (1, 2, 5, 6)), Annotation.box("cell", (0, 0, 1, 3, 4, 3))]
    volume = Resource(np.zeros((4, 8, 8), "u1"), "v", annotations=marks[1:])
    item = VolumeDataset(resources=[volume], return_boxes=True)[0]
    assert item["boxes"].tolist() == [[0, 0, 1, 3, 4, 3]]
    planes = VolumeDataset(resources=[volume], return_boxes=True).slice("axial")
    assert [len(plane["boxes"]) for plane in planes] == [0, 1, 1, 0]
    assert planes[1]["boxes"].tolist() == [[0, 0, 3, 4]]
    flat = ImageDataset(resources=[Resource(np.zeros((8, 8)), annotations=marks[:1])], return_boxes=True)[0]
    assert flat["boxes"].tolist() == [[1, 2, 5, 6]]
    assert flat["boxes"].dtype == np.float32
    assert flat["box_labels"].tolist() == [1]
    none = ImageDataset(resources=[np.zeros((8, 8))], return_boxes=True)[0]
    assert none["boxes"].shape == (0, 4)


def test_crops_and_axes_and_types() -> None:
    item = ImageDataset(resources=resources(1), sparse=True, axes="HWC", dtype="f4")[0]
    assert item["image"].shape == (*SHAPE, 2)
    assert item["image"].dtype == np.float32
    crop = item["segmentations"]["ann"][1]
    assert (crop["crop"].shape, crop["origin"], crop["shape"]) == ((10, 20), (20, 20), SHAPE)


def test_indices_are_those_of_a_list() -> None:
    data = ImageDataset(resources=resources(4))
    assert data[-1]["metainfo"]["name"] == "image 3"
    assert data[np.int64(2)]["metainfo"]["id"] == "image 2"
    assert [item["metainfo"]["name"] for item in data[1:3]] == ["image 1", "image 2"]
    assert [data.subset([3, 0, 3])[i]["metainfo"]["name"] for i in range(3)] == ["image 3", "image 0", "image 3"]
    for wrong in (4, -5, "0", 1.5, True):
        with pytest.raises(IndexingError):
            data[wrong]
    with pytest.raises(IndexError, match="length 4"):
        data.subset([0, 7])


def test_joined_data_sets() -> None:
    first, second = ImageDataset(resources=resources(2)), ImageDataset(resources=resources(3))
    both = first + second
    assert isinstance(both, ConcatDataset)
    assert [item["metainfo"]["name"] for item in both] == ["image 0", "image 1", "image 0", "image 1", "image 2"]
    assert both.segmentation_labels_set == ["a", "b"]
    assert len(both.subset([4, 0])) == 2
    assert both.filter(filename_pattern="image 1")[1]["metainfo"]["name"] == "image 1"
    parts = both.split(train=0.5, test=0.5, seed=1)
    assert len(parts["train"]) + len(parts["test"]) == 5
    assert parts.check()["shared_resources"] == {}  # one id in both lists is one resource
    named = Annotation.segmentation("c", MARKS["ann"]["a"], created_by="ann")
    other = ImageDataset(resources=[Resource(image(9), "other", axes="cyx", annotations=[named])])
    with pytest.raises(DatasetError, match=r"'a', 'b'.*'c'"):
        first + other
    joined = ConcatDataset([first, other], relabel=True)
    assert joined.segmentation_labels_set == ["a", "b", "c"]
    assert joined[2]["seg_labels"]["ann"].tolist() == [3]
    same = ConcatDataset([first, other], relabel={"c": "b"})
    assert same.segmentation_labels_set == ["a", "b"]
    assert same[2]["seg_labels"]["ann"].tolist() == [2]
    assert other.segmentation_labels_set == ["c"]


def test_filters_make_new_data_sets() -> None:
    given = resources(3)
    given[1].tags["Reviewed"] = True
    data = ImageDataset(resources=given)
    assert len(data.filter(tags=["Reviewed"])) == 1
    assert len(data.filter(filename_pattern="image [02]").filter(annotation_names=["b"])) == 2
    assert len(data.filter(has_annotations=False)) == 0
    assert len(data.filter(custom_fn=lambda resource, annotations: resource.id == "image 2")) == 1
    assert len(data) == 3
    with pytest.raises(ValueError, match="Filter by what"):
        data.filter()
    with pytest.raises(KeyNotFoundError, match="Reviewed"):
        data.filter(tags=["Reviewd"])
    with pytest.raises(KeyNotFoundError, match="did you mean 'Reviewed'"):
        data.filter(tags=["Reviewd"])
    with pytest.raises(KeyNotFoundError):
        data.filter(annotation_names=["zebra"])


def test_external_labels_and_worklists(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 1)
    values = np.zeros(SHAPE, np.uint8)
    values[:5] = 9
    draft = project.descriptors[0].labelmap_layers["by bob"].draft()  # which takes any value
    draft.fill(values)
    draft.publish()
    assert "bob" not in ImageDataset(project)[0]["segmentations"]
    data = ImageDataset(project, allow_external_annotations=True)
    assert data.segmentation_labels_set == ["a", "b", "by bob/9"]
    assert data[0]["segmentations"]["bob"].sum() == 500
    assert ImageDataset(project, worklists=["by ann"]).segmentation_labels_set == ["a", "b"]
    assert ImageDataset(project, worklists=None, exclude_segmentation_names=["b"]).segmentation_labels_set == ["a"]
    project.labelmap_layers["by bob"].add_annotation("c", 3)
    project.labelmap_layers["by ann"].add_annotation("c", 4)
    project.save()
    with pytest.raises(DatasetError, match=r"'c' is 4 in 'by ann' and 3 in 'by bob'"):
        ImageDataset(project)
    assert ImageDataset(project, worklists=["by ann", "tags"]).segmentation_labels_set == ["a", "b", "c"]


def test_models_do_not_learn_from_themselves() -> None:
    marks = [
        Annotation.segmentation("a", MARKS["ann"]["a"], created_by_model="net", source="model"),
        Annotation.segmentation("a", MARKS["bob"]["a"], created_by="bob", source="manual"),
        Annotation.segmentation("a", MARKS["bob"]["a"], created_by="new", status="new"),
        Annotation.segmentation("a", MARKS["bob"]["a"], created_by="gone", deleted=True),
    ]
    given = [Resource(image(0), "i", axes="cyx", annotations=marks)]
    assert list(ImageDataset(resources=given)[0]["segmentations"]) == ["bob"]
    every = ImageDataset(resources=given, trusted_annotation_sources=None, all_annotations=True)
    assert list(every[0]["segmentations"]) == ["net", "bob", "new"]


def black(targets: dict) -> dict:
    return {**targets, "image": targets["image"] * 0}


def test_values_are_shared_and_never_changed(tmp_path: Path) -> None:
    data = ImageDataset(make_project(tmp_path / "p", 3).path, config=DatasetConfig(seed=5))
    part = data.subset([2])
    part.set_transform(black)
    assert part[0]["image"].sum() == 0
    assert data[2]["image"].sum() > 0
    for twin in (pickle.loads(pickle.dumps(part)), copy.copy(part), copy.deepcopy(data.subset([2]))):
        assert np.array_equal(twin[0]["segmentations"]["ann"], data[2]["segmentations"]["ann"])
    assert len(pickle.dumps(data)) < 20_000


def test_provenance_is_json(project: object) -> None:
    data = ImageDataset(project).filter(filename_pattern="*")  # type: ignore[arg-type]
    told = json.loads(json.dumps(data.provenance()))
    assert (told["items"], len(told["versions"]), told["filters"]) == (3, 3, [{"filename_pattern": "*"}])
    assert data.get_segmentationlabel_distribution() == {"a": 6.0, "b": 3.0}
    assert data.get_segmentationlabel_distribution(normalize=True)["b"] == pytest.approx(1 / 3)
    assert [len(each) for each in data.resource_annotations] == [3, 3, 3]
    assert len(data.get_annotations(0, "segmentation", "frame")) == 0
