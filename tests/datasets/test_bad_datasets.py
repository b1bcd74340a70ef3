"""Arguments that make no sense: refused before anything is read, with what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    compat,
)
from bioimage_py.errors import ArgumentError, BioimageError, DtypeError, KeyNotFoundError, ParameterError, ShapeError

from .conftest import make_project, resources

FLAT = np.zeros((4, 4), "u1")


def test_project_or_resources(project: object) -> None:
    with pytest.raises(DatasetError, match="both"):
        ImageDataset(project, [FLAT])
    with pytest.raises(DatasetError, match="neither"):
        ImageDataset()


@pytest.mark.parametrize("given", ["image.zarr", Path("image.zarr"), 3])
def test_resources_that_are_no_list(given: Any) -> None:
    with pytest.raises(DatasetError, match="no list"):
        ImageDataset(resources=given)


def test_annotations_that_make_no_sense() -> None:
    for corners in ((0, 0, float("nan"), 5), (5, 5, 0, 0), (0, 0, 0, 1, 1), (0, 0, 0, 5, 5, float("inf")), ()):
        with pytest.raises(ParameterError, match="'cell' has the corners"):
            Annotation.box("cell", corners)
    for name in ("", None, 3):
        with pytest.raises(ParameterError, match="no name of a label"):
            Annotation.label(name)  # type: ignore[arg-type]


def test_what_cannot_be_joined() -> None:
    with pytest.raises(DatasetError, match="nothing"):
        ConcatDataset([])
    with pytest.raises(DatasetError, match="3 is no data set"):
        ConcatDataset([ImageDataset(resources=[FLAT]), 3])  # type: ignore[list-item]


def test_data_types_that_are_none() -> None:
    with pytest.raises(DtypeError, match="uint99"):
        ImageDataset(resources=[FLAT], dtype="uint99")


@pytest.mark.parametrize("kind", ["annotators", "segmentation_names", "image_label_names", "frame_label_names"])
def test_include_and_exclude(kind: str) -> None:
    with pytest.raises(DatasetError, match=kind):
        ImageDataset(resources=[FLAT], **{f"include_{kind}": ["a"], f"exclude_{kind}": ["b"]})
    with pytest.raises(ParameterError, match="no list of names"):
        ImageDataset(resources=[FLAT], **{f"include_{kind}": "a"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"return_as_semantic_segmentation": True, "return_segmentations": False}, "return_segmentations"),
        ({"semantic_seg_merge_strategy": "union"}, "return_as_semantic_segmentation"),
        ({"semantic_seg_merge_strategy": "max", "return_as_semantic_segmentation": True}, "'max'"),
        ({"image_labels_merge_strategy": "max"}, "'max'"),
        ({"image_labels_merge_strategy": "staple"}, "'staple'"),
        ({"image_categories_merge_strategy": "soft"}, "'soft'"),
        ({"background": "none"}, "'none'"),
        ({"ties": "maybe"}, "'maybe'"),
        ({"on_error": "ignore"}, "'ignore'"),
        ({"worklists": "some"}, "'some'"),
        ({"axes": "XYZ"}, "'XYZ'"),
        ({"seed": 1.5}, "1.5"),
        ({"trusted_annotation_sources": "manual"}, "'manual' is no list"),
        ({"voters": "ada"}, "'ada' is no list"),
        ({"include_annotators": 3}, "3 is no list"),
        ({"sparse": True, "return_as_semantic_segmentation": True}, "sparse"),
    ],
)
def test_options(options: dict, said: str) -> None:
    with pytest.raises(ParameterError, match=said) as caught:
        ImageDataset(resources=[FLAT], **options)
    assert caught.value.remedy
    with pytest.raises(ParameterError):
        DatasetConfig(**options)


def test_unknown_keywords_are_named() -> None:
    with pytest.raises(ArgumentError, match="return_boxs") as caught:
        ImageDataset(resources=[FLAT], return_boxs=True)
    assert "return_boxes" in caught.value.remedy
    with pytest.raises(ArgumentError, match="seed"):
        ImageDataset(resources=[FLAT], config=DatasetConfig(), seed=1)


def test_unknown_names_are_told_with_near_ones(tmp_path: Path) -> None:
    project = make_project(tmp_path / "marks", 1)
    with pytest.raises(KeyNotFoundError, match="did you mean 'marks'"):
        ImageDataset(tmp_path / "markz")
    with pytest.raises(KeyNotFoundError, match="did you mean 'by ann'"):
        ImageDataset(project, worklists=["by an"])
    with pytest.warns(UserWarning, match="'boob' occurs nowhere; did you mean 'bob'"):
        ImageDataset(project, include_annotators=["boob"])
    with pytest.raises(KeyNotFoundError, match="did you mean 'bob'"):
        ImageDataset(project, include_annotators=["boob"], strict=True)
    with pytest.raises(KeyNotFoundError, match="zebra"):
        ImageDataset(resources=resources(1), exclude_segmentation_names=["zebra"], strict=True)
    with pytest.raises(ParameterError, match="No project is named"):
        ImageDataset("https://server", api_key="secret")
    project.configuration = {"annotators": {"by ann": {"mood": "good"}}}
    project.save()
    with pytest.raises(DatasetError, match="mood"):
        ImageDataset(project)[0]


def test_shapes_that_items_do_not_have() -> None:
    deep = Resource(np.zeros((3, 4, 4)), "deep")
    with pytest.raises(DatasetError, match=r"'deep'.*3 planes.*\(3, 4, 4\)"):
        ImageDataset(resources=[deep])
    with pytest.raises(DatasetError, match="d0 of 2"):
        VolumeDataset(resources=[np.zeros((2, 3, 4, 4))])
    with pytest.raises(DatasetError, match="z of 3"):
        VideoDataset(resources=[Resource(np.zeros((2, 3, 4, 4)), axes="tzyx")])
    with pytest.raises(DatasetError, match="without y and x"):
        ImageDataset(resources=[Resource(FLAT, axes="ct")])
    with pytest.raises(DatasetError, match="3 axes"):
        ImageDataset(resources=[Resource(FLAT, axes="cyx")])
    with pytest.raises(ShapeError, match="invertible"):
        Resource(FLAT, affine=np.zeros((4, 4)))
    with pytest.raises(DatasetError, match="the id 'image'"):
        ImageDataset(resources=[Resource(FLAT), Resource(FLAT)])
    with pytest.raises(DatasetError, match="'CHW'"):
        ImageDataset(resources=[FLAT], axes="CDHW")[0]


def test_old_names() -> None:
    assert compat.DatamintDatasetException is DatasetError
    assert issubclass(DatasetError, (BioimageError, ValueError))
    assert issubclass(ImageDataset, compat.DatamintBaseDataset)
