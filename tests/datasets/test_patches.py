"""Patches, and putting them together again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.datasets import Annotation, DatasetError, Resource, VolumeDataset
from bioimage_py.errors import ParameterError, ShapeError
from bioimage_py.projects import Project

from .test_slices import SHAPE, VOXELS, Counting

SIDE = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, st.tuples(*[st.integers(0, 8)] * 3))
def test_a_grid_gives_the_volume_back(space: tuple, patch: tuple, overlap: tuple) -> None:
    voxels = np.random.default_rng(1).integers(0, 2**16, space, dtype=np.uint16)
    overlap = tuple(min(o, p - 1) for o, p in zip(overlap, patch, strict=True))
    patches = VolumeDataset(resources=[voxels]).patches(patch, overlap=overlap, sampler="grid")
    given = [item["image"] for item in patches]
    assert {one.shape for one in given} == {(1, *patch)}
    back = patches.aggregate(given, "crop")
    assert back.dtype == np.uint16
    assert np.array_equal(back[0], voxels)
    for mode in ("hann", "average"):
        assert np.allclose(patches.aggregate(given, mode)[0], voxels, rtol=1e-6)


def test_a_patch_reads_only_its_chunks() -> None:
    counting = Counting(VOXELS, (16, 16, 16))
    patches = VolumeDataset(resources=[Resource(counting, "v")]).patches((16, 16, 16), sampler="grid")
    item = patches[1]
    assert counting.read_chunks == {(0, 0, 1)}
    assert np.array_equal(item["image"][0], VOXELS[:16, :16, 16:32])
    assert np.allclose(item["metainfo"]["affine"] @ [0, 0, 0, 1], [16, 0, 0, 1])


def test_patches_around_labels(tmp_path: object) -> None:
    """Every patch of the label sampler holds the label that was drawn, by the wished frequencies."""
    project = Project("patches", f"{tmp_path}/p")
    layer = project.add_labelmap_layer("cells")
    layer.add_annotation("rare", 1)
    layer.add_annotation("common", 2)
    labels = np.zeros((64, 64, 64), np.uint8)
    labels[3, 3, 3] = labels[60, 60, 60] = 1
    labels[20:40] = 2
    descriptor = project.add_descriptor(np.zeros((64, 64, 64), "u1"), "v")
    descriptor.labelmap_layers["cells"].save_new_data(labels)
    data = VolumeDataset(project.path, seed=3)
    only = data.patches(9, sampler="label", per_volume=20, frequencies={"rare": 1})
    regions = {tuple(item["metainfo"]["region"]) for item in only}
    assert regions == {((0, 9),) * 3, ((55, 64),) * 3}
    both = data.patches(1, sampler="label", per_volume=100, frequencies={"rare": 1, "common": 3})
    drawn = [item["seg_labels"]["unknown"][0] for item in both]
    assert 12 <= drawn.count(1) <= 38  # 3 sigma of 25
    anywhere = data.patches(1, sampler="label", per_volume=30, frequencies={"background": 1})
    assert len({tuple(item["metainfo"]["region"]) for item in anywhere}) > 25
    mark = Annotation.segmentation("a", np.eye(8) > 0)
    given = VolumeDataset(resources=[Resource(np.zeros((8, 8, 8)), annotations=[mark])])
    for item in given.patches(1, sampler="label"):
        assert item["segmentations"]["unknown"].all()
    assert len(VolumeDataset(resources=[np.zeros((8, 8, 8))]).patches(2, sampler="label")[0]["image"]) == 1


def test_small_volumes_are_padded() -> None:
    mark = Annotation.segmentation("a", np.ones((2, 6, 6), bool))
    data = VolumeDataset(resources=[Resource(np.arange(72.0).reshape(2, 6, 6), "small", annotations=[mark])])
    item = data.patches((4, 6, 6), sampler="grid")[0]
    assert item["image"].shape == (1, 4, 6, 6)
    assert np.array_equal(item["image"][0, 1:3].ravel(), np.arange(72))
    assert item["segmentations"]["unknown"].shape == (1, 4, 6, 6)
    with pytest.raises(ShapeError, match=r"\(4, 6, 6\).*\(2, 6, 6\)"):
        data.patches((4, 6, 6), padding=None)


@pytest.mark.parametrize(
    "options",
    [{"shape": 0}, {"shape": (1, 2)}, {"shape": 1.5}, {"shape": 4, "overlap": 4}, {"shape": 4, "sampler": "best"},
     {"shape": 4, "padding": "mirror"}, {"shape": 4, "padding": "empty"}, {"shape": 4, "per_volume": 0},
     {"shape": 4, "frequencies": {"zebra": 1}}, {"shape": 4, "frequencies": {"background": -1}}],
)  # fmt: skip
def test_patches_that_are_none(options: dict) -> None:
    with pytest.raises(ParameterError):
        VolumeDataset(resources=[VOXELS]).patches(**options)


def test_predictions_that_do_not_fit() -> None:
    patches = VolumeDataset(resources=[VOXELS]).patches(20, sampler="grid")
    given = [item["image"] for item in patches]
    with pytest.raises(DatasetError, match="predictions for"):
        patches.aggregate(given[:-1])
    with pytest.raises(DatasetError, match="More predictions"):
        patches.aggregate([*given, given[0]])
    with pytest.raises(ShapeError):
        patches.aggregate([one[..., 1:] for one in given])
    with pytest.raises(DatasetError, match="grid"):
        VolumeDataset(resources=[VOXELS]).patches(20).aggregate(given)
    out = np.zeros((1, *SHAPE), np.uint16)
    assert patches.aggregate(given, "crop", output=out) is out
    assert np.array_equal(out[0], VOXELS)
