"""Torch itself, where it is installed (it is no dependency of the tests): data sets, loaders, workers, batches.

`make test-long` runs it in an environment to which somebody has added torch.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.datasets import Annotation, Resource, VolumeDataset

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch")
pytestmark = [pytest.mark.long, pytest.mark.processes, pytest.mark.filterwarnings("ignore:Arrays of")]

COUNT, SHAPE = 5, (4, 8, 8)


def noise(targets: dict, rng: np.random.Generator) -> dict:
    return {**targets, "image": targets["image"] + rng.normal() + np.random.rand()}


def volumes(folder: Path) -> list[Resource]:
    found = []
    for number in range(COUNT):
        voxels = np.random.default_rng(number).integers(0, 60000, SHAPE, dtype=np.uint16)
        bp.copy(voxels, folder / f"{number}.zarr", job_type="local", progress=False)
        marks = [
            Annotation.segmentation("a", np.ones(SHAPE, bool), created_by="ann"),
            Annotation.category("kind", "one", created_by="ann"),
            Annotation.box("b", (1, 1, 1, 5, 5, 4)),
        ]
        found.append(Resource(folder / f"{number}.zarr", str(number), axes="zyx", annotations=marks[: number + 1]))
    return found


@pytest.fixture
def data(tmp_path: Path) -> VolumeDataset:
    return VolumeDataset(resources=volumes(tmp_path), seed=3, alb_transform=noise, return_boxes=True)


def epochs(loader: Any, count: int = 2) -> list[list[tuple[list[str], float]]]:
    """Names and sum of each batch of each epoch."""
    return [
        [([about["name"] for about in batch["metainfo"]], float(batch["image"].sum())) for batch in loader]
        for _ in range(count)
    ]


def test_items_are_tensors(data: VolumeDataset) -> None:
    tensors = data.with_transform(None).as_torch()
    assert isinstance(tensors, torch.utils.data.Dataset)
    item = pickle.loads(pickle.dumps(tensors))[2]
    assert item["image"].dtype == torch.int32  # torch has no arithmetic on uint16
    assert np.array_equal(item["image"].numpy(), data.with_transform(None)[2]["image"])
    assert item["segmentations"]["ann"].dtype == torch.uint8
    assert item["seg_labels"]["ann"].tolist() == [1]
    assert item["boxes"].tolist() == [[1, 1, 1, 5, 5, 4]]
    assert item["image_categories"]["ann"].dtype == torch.int64
    assert item["image_categories"]["ann"].ndim == 0
    item["image"] += 1  # a tensor of its own
    assert np.array_equal(tensors[2]["image"].numpy() + 1, item["image"].numpy())
    assert torch.utils.data.Subset(tensors, [3, 1])[0]["metainfo"]["name"] == "3"


@pytest.mark.parametrize(("context", "workers"), [("spawn", 2), ("forkserver", 8), ("fork", 2), (None, 2)])
def test_workers_change_nothing(data: VolumeDataset, context: str | None, workers: int) -> None:
    expected = epochs(data.get_dataloader(2, True))
    assert expected[0] != expected[1]
    names = [name for batch, _ in expected[0] for name in batch]
    assert sorted(names) == [str(i) for i in range(COUNT)]
    options = {} if context is None else {"multiprocessing_context": context}
    loader = data.get_dataloader(2, True, num_workers=workers, timeout=120, persistent_workers=True, **options)
    assert epochs(loader) == expected


def test_forked_workers_read_where_the_parent_has_not(tmp_path: Path) -> None:
    """In a process of its own: what it forks has no threads of a storage engine to miss."""
    import subprocess
    import sys

    volumes(tmp_path)
    code = (
        "import sys\n"
        "from bioimage_py.datasets import Resource, VolumeDataset\n"
        "data = VolumeDataset(resources=[Resource(f'{sys.argv[1]}/{i}.zarr', axes='zyx') for i in range(5)])\n"
        "loader = data.get_dataloader(2, num_workers=2, multiprocessing_context='fork', timeout=120)\n"
        "print([sum(len(batch['image']) for batch in loader) for epoch in range(3)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=250)
    assert done.stdout.strip() == "[5, 5, 5]", done.stderr


def test_workers_that_are_forked_after_a_read(data: VolumeDataset) -> None:
    expected = epochs(data.get_dataloader(2, True))
    loader = data.get_dataloader(2, True, num_workers=2, multiprocessing_context="fork", timeout=120)
    assert epochs(loader) == expected


def test_batches_are_stacked_where_they_can_be(data: VolumeDataset) -> None:
    (*_, last) = data.get_dataloader(batch_size=2)
    first = next(iter(data.get_dataloader(batch_size=2)))
    assert first["image"].shape == (2, 1, *SHAPE)
    assert [boxes.shape for boxes in first["boxes"]] == [(0, 6), (0, 6)] or first["boxes"].shape == (2, 0, 6)
    assert last["image"].shape == (1, 1, *SHAPE)
    assert len(data.get_dataloader(batch_size=2, drop_last=True)) == COUNT // 2
    own = torch.utils.data.DataLoader(data.as_torch(), batch_size=COUNT, collate_fn=data.get_collate_fn())
    batch = next(iter(own))
    assert isinstance(batch["image"], torch.Tensor)
    assert isinstance(batch["boxes"], list)
    assert [m["name"] for m in batch["metainfo"]] == [str(i) for i in range(COUNT)]


def test_workers_without_a_seed_differ(tmp_path: Path) -> None:
    data = VolumeDataset(resources=[Resource(np.zeros(SHAPE), str(i)) for i in range(4)], alb_transform=noise)
    loader = data.get_dataloader(1, num_workers=2, timeout=120)
    sums = [float(batch["image"].sum()) for batch in loader]
    assert len(set(sums)) == 4
