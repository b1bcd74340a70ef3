"""Laws of merging, and figures of agreement against hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bioimage_py.datasets import Annotation, AnnotationProcessor, agreement, merge_semantic, staple
from bioimage_py.datasets.annotations.merging import merge_categories, merge_labels
from bioimage_py.datasets.annotations.processor import to_semantic
from bioimage_py.errors import FormatError, ParameterError, ShapeError

VOTES = hnp.arrays(bool, st.tuples(st.integers(1, 5), st.just(2), st.integers(1, 4), st.integers(1, 4)))


def semantic(votes: np.ndarray) -> dict[str, np.ndarray]:
    return {f"author {i}": to_semantic(each, np.arange(1, len(each) + 1), len(each)) for i, each in enumerate(votes)}


@settings(max_examples=60, deadline=None)
@given(VOTES)
def test_laws(votes: np.ndarray) -> None:
    masks = semantic(votes)
    found = {name: merge_semantic(masks, name) for name in ("union", "mode", "intersection", "soft", "staple")}
    strict = merge_semantic(masks, "mode", ties="negative")
    union, mode, inter = (found[name][1:] for name in ("union", "mode", "intersection"))
    assert (union >= mode).all()
    assert (mode >= strict[1:]).all()
    assert (strict[1:] >= inter).all()
    assert np.array_equal(mode, votes.mean(axis=0) >= 0.5)
    for name, result in found.items():
        if name != "soft":
            assert np.array_equal(result[0], ~result[1:].any(axis=0))
        backwards = dict(reversed(masks.items()))
        assert np.array_equal(merge_semantic(backwards, name), result)
    if len(votes) == 1:
        for name in ("union", "mode", "intersection"):
            assert np.array_equal(found[name], masks["author 0"])
    assert np.allclose(found["soft"][1:], votes.mean(axis=0))


def test_staple_trusts_those_who_agree() -> None:
    truth = np.zeros((20, 20), bool)
    truth[5:15, 5:15] = True
    noise = np.random.default_rng(0).random((20, 20)) < 0.5
    belief = staple(np.stack([truth, truth, noise]))
    assert np.array_equal(belief > 0.5, truth)
    assert np.array_equal(staple(np.ones((3, 2, 2))), np.ones((2, 2)))
    assert np.array_equal(staple(np.zeros((3, 2, 2, 2))), np.zeros((2, 2, 2)))


def test_labels_and_categories() -> None:
    labels = {"x": np.array([1, 0, 0]), "y": np.array([1, 1, 0])}
    assert [merge_labels(labels, s).tolist() for s in ("union", "intersection", "mode")] == [
        [1, 1, 0],
        [1, 0, 0],
        [1, 1, 0],
    ]
    assert merge_labels(labels, "mode", "negative").tolist() == [1, 0, 0]
    named = {"x": 2, "y": 1, "z": 2}
    assert merge_categories(named, "union", 4).tolist() == [0, 1, 1, 0]
    assert merge_categories(named, "intersection", 4).tolist() == [0, 0, 0, 0]
    assert int(merge_categories(named, "mode", 4)) == 2
    assert int(merge_categories({"x": 3, "y": 1}, "mode", 4)) == 1  # a tie: the lowest
    assert int(merge_categories({}, "mode", 4)) == -1
    assert merge_categories({}, "intersection", 2).tolist() == [0, 0]


def test_many_voters_are_counted_in_whole_numbers() -> None:
    votes = np.zeros((300, 1, 1), bool)
    votes[:150] = True
    assert merge_semantic({str(i): to_semantic(v[None], np.array([1]), 1) for i, v in enumerate(votes)}, "mode")[1] == 1


def test_agreement() -> None:
    one, two = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)
    found = agreement({"a": one, "b": two})
    assert (found.dice, found.iou) == pytest.approx((2 / 3, 1 / 2))
    assert found.cohen_kappa == pytest.approx((0.75 - 0.5) / 0.5)
    assert found.fleiss_kappa == pytest.approx((0.75 - 0.53125) / (1 - 0.53125))
    nothing = agreement({"a": ~one & one, "b": ~one & one})
    assert all(np.isnan(value) for value in nothing)
    assert np.isnan(agreement({"a": one}).fleiss_kappa)


@pytest.fixture
def processor() -> AnnotationProcessor:
    return AnnotationProcessor({"a": 1, "b": 2}, ["x", "y"], {"multiclass": {("k", "u"): 0, ("k", "v"): 1}})


def test_processor(processor: AnnotationProcessor, tmp_path: object) -> None:
    top = np.zeros((4, 4), bool)
    top[:2] = True
    said = [
        Annotation.segmentation("a", np.stack([top, ~top]), created_by="ann"),
        Annotation.segmentation("b", top, created_by="ann", frame_index=1),
        Annotation.label("y", created_by="bob"),
        Annotation.category("k", "v"),
        Annotation.category("k", "u"),
    ]
    assert len(processor.filter_annotations(said, "segmentation", "frame")) == 1
    assert list(processor.group_annotations(said, by_author=True)) == [("ann",), ("bob",), ("unknown",)]
    assert ("ann", "a") in processor.group_annotations(said, by_author=True, by_identifier=True)
    with pytest.raises(ValueError, match="Group by"):
        processor.group_annotations(said)
    masks, codes, found = processor.load_segmentations(said)
    assert masks["ann"].shape == (2, 2, 4, 4)
    assert masks["ann"].sum(axis=(2, 3)).tolist() == [[8, 8], [0, 8]]
    assert codes["ann"].tolist() == [1, 2]
    assert len(found["ann"]) == 2
    classes = processor.instance_to_semantic_segmentation(masks["ann"], codes["ann"], 2)
    assert classes.shape == (3, 2, 4, 4)
    assert processor.instance_to_semantic_segmentation(None, None, 2) is None
    assert processor.convert_image_labels(said)["bob"].tolist() == [0, 1]
    assert int(processor.convert_image_categories(said)["unknown"]) == 1  # the first counts
    assert processor.merge_image_labels({}, "union").tolist() == [0, 0]
    assert processor.apply_merge_strategy({"ann": classes}, None) == {"ann": classes}
    assert np.array_equal(processor.apply_merge_strategy({"ann": classes}, "mode"), classes)


def test_processor_refuses(processor: AnnotationProcessor) -> None:
    mask = np.ones((2, 2), bool)
    mixed = [Annotation.segmentation(name, mask, id=f"m{name}", frame_index=0) for name in "ab"]
    with pytest.raises(FormatError, match="'ma'"):
        processor.collate_frame_segmentations(mixed)
    with pytest.raises(FormatError, match="code 0"):
        processor.instance_to_semantic_segmentation(mask[None], [0], 2)
    with pytest.raises(ParameterError, match="'zebra'"):
        processor.resolve_seg_code("zebra")
    with pytest.raises(ParameterError, match="nothing to merge"):
        processor.apply_merge_strategy({}, "union")
    with pytest.raises(ParameterError, match="union"):
        processor.apply_merge_strategy({"a": mask}, "max")
    with pytest.raises(FormatError, match="'no-mask'"):
        processor.load_segmentation_data(
            Annotation.from_dict(
                dict.fromkeys(("identifier", "scope", "resource_id"), "a") | {"id": "no-mask", "type": "segmentation"}
            )
        )
    with pytest.raises(ShapeError):
        merge_semantic({"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}, "union")
    external = AnnotationProcessor({"a": 1}, [], {}, allow_external_annotations=True)
    assert (external.resolve_seg_code("new"), external.resolve_seg_code("new")) == (2, 2)


def test_masks_in_files(processor: AnnotationProcessor, tmp_path: object) -> None:
    import tifffile

    grey = np.zeros((5, 6, 3), np.uint8)
    grey[1] = 255
    tifffile.imwrite(f"{tmp_path}/grey.tif", grey, photometric="rgb")
    ann = Annotation("f", "a", "image", "segmentation", "r", file=f"{tmp_path}/grey.tif")
    assert processor.load_segmentation_data(ann).sum() == 6
    with pytest.raises(FormatError, match=r"'f'.*3 channels"):
        processor.load_segmentation_data(ann, auto_convert_gray=False)
    grey[0, 0, 1] = 9
    tifffile.imwrite(f"{tmp_path}/grey.tif", grey, photometric="rgb")
    with pytest.raises(FormatError, match=r"'f'.*3 channels"):
        processor.load_segmentation_data(ann)


def test_annotation_is_a_lossless_record() -> None:
    given = {"id": "1", "name": "a", "scope": "frame", "type": "category", "resource_id": "r", "added_by": "ann",
             "index": 3, "value": "late", "weather": "fine", "created_at": "2026-01-02T03:04:05+00:00"}  # fmt: skip
    given["text_value"] = given.pop("value")
    ann = Annotation.from_dict(given)
    assert (ann.added_by, ann.index, ann.name, ann.type, ann.value) == ("ann", 3, "a", "category", "late")
    assert ann.extra == {"weather": "fine"}
    assert Annotation.from_dict(ann.to_dict()) == ann
    assert ann.to_dict()["weather"] == "fine"
    assert ann.get_created_datetime().year == 2026
    assert (ann.is_category(), ann.is_label(), ann.is_segmentation(), ann.is_frame_scoped(), ann.is_image_scoped()) == (
        True, False, False, True, False)  # fmt: skip
    with pytest.raises(AttributeError):
        ann.identifier = "b"  # type: ignore[misc]
    with pytest.raises(ParameterError, match="scope"):
        Annotation.from_dict({"id": "1", "identifier": "a", "type": "label", "resource_id": "r"})
