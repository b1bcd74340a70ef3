"""Arguments that make no sense: refused before anything is read, with what to type next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bioimage_py.datasets import (
    DatasetConfig,
    DatasetError,
    ImageDataset,
    Resource,
    VideoDataset,
    VolumeDataset,
    compat,
)
from bioimage_py.errors import ArgumentError, BioimageError, KeyNotFoundError, ParameterError, ShapeError

from .conftest import make_project, resources

FLAT = np.zeros((4, 4), "u1")


def test_project_or_resources(project: object) -> None:
    with pytest.raises(DatasetError, match="both"):
        ImageDataset(project, [FLAT])
    with pytest.raises(DatasetError, match="neither"):
        ImageDataset()


@pytest.mark.parametrize("kind", ["annotators", "segmentation_names", "image_label_names", "frame_label_names"])
def test_include_and_exclude(kind: str) -> None:
    with pytest.raises(DatasetError, match=kind):
        ImageDataset(resources=[FLAT], **{f"include_{kind}": ["a"], f"exclude_{kind}": ["b"]})
    with pytest.raises(ParameterError, match="text"):
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
        ({"trusted_annotation_sources": "manual"}, "'manual' is a text"),
        ({"voters": "ada"}, "'ada' is a text"),
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
