"""Transforms, their random numbers, batches, workers, and what torch and albumentations would be given.

Neither is installed: small stand-ins have their protocol, no more.
"""

from __future__ import annotations

import multiprocessing
import sys
import types
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from bioimage_py.datasets import Annotation, DatasetError, ImageDataset, Resource, VolumeDataset, collate
from bioimage_py.datasets.loading import AtEpoch
from bioimage_py.errors import MissingDependencyError, ShapeError

from .conftest import MARKS, SHAPE, make_project, resources


def noise(targets: dict, rng: np.random.Generator) -> dict:
    return {**targets, "image": targets["image"] + rng.normal() + np.random.rand()}


def flip(targets: dict) -> dict:
    affine = targets["affine"].copy()
    affine[:3, 3] += affine[:3, 2] * (targets["image"].shape[-1] - 1)
    affine[:3, 2] *= -1
    masks = {author: each[..., ::-1] for author, each in targets["segmentations"].items()}
    return {**targets, "image": targets["image"][..., ::-1], "segmentations": masks, "affine": affine}


def at(data: Any, index: int, epoch: int) -> float:
    return float(data[AtEpoch(index, epoch)]["image"].sum())


def some(data: Any, indices: list[int]) -> list[float]:
    return [at(data, index, 3) for index in indices]


def test_random_numbers_depend_on_seed_epoch_and_index_only(tmp_path: Any) -> None:
    data = ImageDataset(make_project(tmp_path / "p", 4).path, seed=1, alb_transform=noise)
    here = {index: at(data, index, 3) for index in range(4)}
    assert len(set(here.values())) == 4
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        backwards = list(pool.map(some, [data] * 2, [[3, 1], [2, 0]]))
    assert backwards == [[here[3], here[1]], [here[2], here[0]]]
    assert at(data, 0, 4) != here[0]
    data.set_epoch(3)
    assert float(data[1]["image"].sum()) == here[1]
    state = np.random.get_state()[1].copy()
    data[0]
    assert np.array_equal(np.random.get_state()[1], state)
    unseeded = ImageDataset(resources=resources(1), alb_transform=noise)
    assert at(unseeded, 0, 0) != at(unseeded, 0, 0)


def test_transforms_compose_and_tell_the_affine() -> None:
    data = ImageDataset(resources=resources(1), return_boxes=True)
    flipped = data.with_transform(flip)
    assert np.array_equal(flipped[0]["image"], data[0]["image"][..., ::-1])
    assert np.array_equal(flipped[0]["segmentations"]["ann"], data[0]["segmentations"]["ann"][..., ::-1])
    affine = flipped[0]["metainfo"]["affine"]
    assert (affine @ [0, 0, 0, 1])[0] == SHAPE[1] - 1
    assert flipped[0]["metainfo"]["spacing"] == (1, 1, 1)
    data.set_transform(flip)
    data.add_transform(flip)
    plain = ImageDataset(resources=resources(1))[0]
    assert np.array_equal(data[0]["image"], plain["image"])
    unaware = data.with_transform(lambda targets: {**targets, "image": targets["image"][..., ::-1]})
    assert unaware[0]["metainfo"]["affine"] is None
    assert unaware[0]["metainfo"]["spacing"] is None


def test_boxes_after_a_crop() -> None:
    marks = [Annotation.box("c", (0, 0, 5, 5)), Annotation.box("c", (6, 6, 8, 8)), Annotation.box("c", (3.5, 0, 9, 9))]
    data = ImageDataset(resources=[Resource(np.zeros((10, 10)), annotations=marks)], return_boxes=True)
    cropped = data.with_transform(lambda targets: {**targets, "image": targets["image"][:, :4, :4]})
    assert cropped[0]["boxes"].tolist() == [[0, 0, 4, 4]]
    assert cropped[0]["box_labels"].tolist() == [1]


def test_transforms_that_are_none() -> None:
    data = ImageDataset(resources=resources(1))
    with pytest.raises(ShapeError, match="masks of 'ann'"):
        data.with_transform(lambda targets: {**targets, "image": targets["image"][:, 1:]})[0]
    with pytest.raises(DatasetError, match="no dict"):
        data.with_transform(lambda targets: None)[0]
    with pytest.raises(DatasetError, match="no transform"):
        data.set_transform(3)
    with pytest.raises(MissingDependencyError, match="albumentations") as caught:
        data.set_transform({"transform": {}})
    assert "pip install" in caught.value.remedy


def test_albumentations_gets_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the protocol of albumentations 2: 2-D `image` and `masks`, 3-D `volume` and `mask3d`."""
    seen: list[dict] = []

    class Flip:
        def set_random_seed(self, seed: int) -> None:
            self.seed = seed

        def __call__(self, **given: Any) -> dict:
            seen.append({**given, "seed": self.seed})
            done = {name: value[:, ::-1] for name, value in given.items() if name in ("image", "volume", "mask3d")}
            if "masks" in given:
                done["masks"] = [mask[:, ::-1] for mask in given["masks"]]
            return {**given, **done}

    Flip.__module__ = "albumentations.fake"
    data = ImageDataset(resources=resources(1), alb_transform=Flip(), return_boxes=True, seed=4)
    item = data[0]
    assert seen[0]["image"].shape == (*SHAPE, 2)
    assert [mask.shape for mask in seen[0]["masks"]] == [SHAPE] * 3
    assert np.array_equal(item["segmentations"]["ann"][1], MARKS["ann"]["b"][:, ::-1])
    assert np.array_equal(item["segmentations"]["bob"][0], MARKS["bob"]["a"][:, ::-1])
    data[0]
    assert seen[1]["seed"] == seen[0]["seed"]
    mark = Annotation.segmentation("a", np.arange(24).reshape(2, 3, 4) > 12)
    volume = VolumeDataset(resources=[Resource(np.zeros((2, 3, 4)), annotations=[mark])], alb_transform=Flip())
    masks = volume[0]["segmentations"]["unknown"]
    assert seen[2]["mask3d"].shape == (2, 3, 4, 1)
    assert np.array_equal(masks[0], (np.arange(24).reshape(2, 3, 4) > 12)[:, ::-1])
    assert volume[0]["metainfo"]["affine"] is None


def test_batches() -> None:
    items = [{"a": np.zeros(2), "n": np.zeros(1), "t": "x"}, {"a": np.ones(2), "n": np.zeros(3), "t": "y", "more": 1}]
    with pytest.warns(UserWarning, match="'n'"):
        batch = collate(items)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collate(items)  # once is enough
    assert batch["a"].tolist() == [[0, 0], [1, 1]]
    assert batch["t"] == ["x", "y"]
    assert batch["more"] == [None, 1]
    assert [each.shape for each in batch["n"]] == [(1,), (3,)]
    data = ImageDataset(resources=resources(2))
    assert data.get_collate_fn()([data[0], data[1]])["image"].shape == (2, 2, *SHAPE)


def test_without_torch() -> None:
    data = ImageDataset(resources=resources(1))
    for call in (data.as_torch, data.get_dataloader):
        with pytest.raises(MissingDependencyError) as caught:
            call()
        assert "pip install torch" in caught.value.remedy
    assert "torch" not in sys.modules


class FakeLoader:
    """What a DataLoader does with its arguments, in this process."""

    def __init__(self, dataset: Any, **given: Any) -> None:
        self.dataset, self.given = dataset, given

    def __iter__(self) -> Any:
        indices = list(self.given["sampler"])
        size = self.given.get("batch_size", 1)
        for begin in range(0, len(indices), size):
            yield self.given["collate_fn"]([self.dataset[i] for i in indices[begin : begin + size]])


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in: what is imported of torch, with arrays for tensors."""
    made, utils, data = (types.ModuleType(name) for name in ("torch", "torch.utils", "torch.utils.data"))
    made.from_numpy = lambda array: array  # type: ignore[attr-defined]
    data.Dataset, data.DataLoader = type("Dataset", (), {}), FakeLoader  # type: ignore[attr-defined]
    for module in (made, utils, data):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


def test_what_torch_is_given(torch: types.ModuleType) -> None:
    data = ImageDataset(resources=resources(4), seed=2, alb_transform=noise)
    loader = data.get_dataloader(2, True, num_workers=2)
    assert loader.given["multiprocessing_context"] == "spawn"
    epochs = [[name for batch in loader for name in [m["name"] for m in batch["metainfo"]]] for _ in range(3)]
    assert all(sorted(names) == [f"image {i}" for i in range(4)] for names in epochs)
    again = data.get_dataloader(batch_size=2, shuffle=True)
    assert [m["name"] for batch in again for m in batch["metainfo"]] == epochs[0]
    sums = [[batch["image"].sum() for batch in loader] for _ in range(2)]
    assert sums[0] != sums[1]  # every epoch has its own random numbers
    tensors = data.as_torch()
    assert isinstance(tensors, sys.modules["torch.utils.data"].Dataset)
    assert len(tensors) == 4
    plain = ImageDataset(resources=resources(1)).as_torch()[0]
    assert plain["image"].dtype == np.int32  # torch has no arithmetic on uint16
    assert isinstance(plain["metainfo"]["name"], str)
    for largest in (2**63 - 1, 2**63):
        large = ImageDataset(resources=[np.full((2, 2), largest, "u8")]).as_torch()
        if largest < 2**63:
            assert large[0]["image"].max() == largest
        else:
            with pytest.raises(DatasetError, match=str(largest)):
                large[0]
