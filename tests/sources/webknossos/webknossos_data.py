"""WebKnossos datasets that the webknossos library writes, for the tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...helpers import Later

wk: Any = Later("webknossos", "WebKnossos layers need: pip install 'bioimage-blocks[webknossos]'")

FORMATS = ("wkw", "zarr", "zarr3")
MAGS: tuple[Any, ...] = (1, "2-2-1", (4, 4, 2))
TOPLEFT, SIZE, VOXEL = (10, 20, 30), (70, 60, 50), (11.2, 11.2, 25.0)  # x, y, z


def random_voxels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def add_layer(dataset: Any, name: str, data_format: str, *, category: str = "color", **kind: Any) -> Any:
    box = wk.BoundingBox(kind.pop("topleft", TOPLEFT), kind.pop("size", SIZE))
    return dataset.add_layer(name, category, data_format=data_format, bounding_box=box, **kind)


def add_mag(layer: Any, mag: Any, *, chunk: int = 8, shard: int = 16, compress: bool = True) -> Any:
    """Add a magnification; zarr has no shards, so its chunks are as large as the shards of the others."""
    chunk = shard if str(layer.data_format) == "zarr" else chunk
    return layer.add_mag(mag, chunk_shape=chunk, shard_shape=shard, compress=compress)


def fill(view: Any, seed: int = 0) -> np.ndarray:
    """Let the library write a whole magnification; returns the voxels as (c, z, y, x)."""
    box = view.bounding_box
    voxels = random_voxels((view.layer.num_channels, *box.in_mag(view.mag).size), str(view.layer.dtype), seed)
    view.write(voxels, absolute_bounding_box=box, allow_unaligned=True)
    return voxels.transpose(0, 3, 2, 1)


def make_dataset(path: Path) -> Path:
    """Let the library write layers of two channels and of ids in every format, each with three mags."""
    made = wk.Dataset(path, voxel_size=VOXEL)
    for data_format in FORMATS:
        color = add_layer(made, f"color_{data_format}", data_format, dtype="uint8", num_channels=2)
        ids = add_layer(made, f"ids_{data_format}", data_format, category="segmentation", dtype="uint64")
        for layer, mag in itertools.product((color, ids), MAGS):
            fill(add_mag(layer, mag))
    streamed = add_layer(made, "streamed", "zarr3", category="segmentation", dtype="uint64")
    for mag in MAGS:
        fill(add_mag(streamed, mag, chunk=16))  # not sharded, as what a server streams
    return path


def library_view(path: Path, layer: str, mag: Any) -> Any:
    return wk.Dataset.open(path).get_layer(layer).get_mag(mag)


def boxes(shape: tuple[int, ...], count: int, seed: int) -> Iterator[tuple[slice, ...]]:
    generator = np.random.default_rng(seed)
    for _ in range(count):
        cuts = [sorted(generator.choice(size + 1, 2, replace=False)) for size in shape]
        yield tuple(slice(int(begin), int(end)) for begin, end in cuts)


def empty(path: Path, data_format: str, **how: Any) -> Path:
    layer = add_layer(wk.Dataset(path, voxel_size=VOXEL), "seg", data_format, category="segmentation", dtype="uint32")
    add_mag(layer, how.pop("mag", 1), **how)
    return path
