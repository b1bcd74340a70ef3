"""Input volumes, made once for each size, slab by slab where they would not fit in memory."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD = 1.13
"""Standard deviations; about 6,000 components in 512³."""
TABLE = 1_000_000
"""Ids of the relabelling table."""
PITCH = 11
"""Voxels from cell to cell: about 10^5 in 512³."""
ROOM = 32
"""Voxels from wall to wall of what is segmented."""
TILE = 512
"""Larger volumes repeat this one, mirrored so that hills go on across the seams."""
SLAB = 128
"""Planes written, and checked, at a time."""


def block_of(size: int) -> int:
    """Edge length of the blocks of a volume; chunks are half as long."""
    return min(128, size // 2)


def make(out: Path, size: int, chunk: int, names: Sequence[str]) -> Path:
    """Write inputs as zarr v3, zstd, cubic chunks, unless they are there; return their folder.

    ``raw``: noisy hills, uint8. ``binary``: hills above a threshold, uint8. ``labels``: cells of 8 voxels with up to
    10⁶ ids, uint64. ``objects``: dense neurons where the real volume is at hand (`BIOIMAGE_PY_TEST_DATA`), else
    `labels`. ``height`` and ``seeds``: float32 and uint64 for the watershed. ``tissue``: a ball a quarter as wide as
    the volume, uint8; most chunks are absent. ``table``: a permutation of the ids. ``cells``: an object in every cube
    of 11 voxels, dented, many of which touch, uint64. ``shells``: hollow hills, uint8. ``tiles``: components of
    ``binary``, tile by tile with ids of their own, uint64; a tile is as large as a block. ``walls``: probabilities of
    boundaries between rooms of 32 voxels, faint in places and noisy, uint8.
    """
    folder = out / f"data-{size}-{chunk}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name == "table":
            _table(folder / "table.npy")
        elif not (folder / f"{name}.zarr").exists():
            write(folder / f"{name}.zarr", (size,) * 3, chunk, _INPUTS[name])
    for held in (_field, _basins, _neurons):
        held.cache_clear()
    return folder


def write(path: Path, shape: tuple[int, ...], chunk: int, planes: Callable[[slice, int], np.ndarray]) -> None:
    """Write an array slab by slab, of which ``planes(slab, size)`` are the values; whole or not at all."""
    import zarr

    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    array: Any = None
    for slab in slabs(shape):
        values = planes(slab, shape[0])
        if array is None:
            chunks = tuple(min(chunk, size) for size in shape)
            array = zarr.create_array(str(part), shape=shape, chunks=chunks, dtype=values.dtype)
        array[slab] = values
    part.rename(path)


def slabs(shape: Sequence[int]) -> Iterator[slice]:
    """Cut the first axis."""
    for begin in range(0, shape[0], SLAB):
        yield slice(begin, min(begin + SLAB, shape[0]))


@lru_cache(maxsize=1)
def _field(size: int) -> np.ndarray:
    from scipy import ndimage

    coarse = np.random.default_rng(0).standard_normal((-(-size // 2),) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(coarse, 2.0, truncate=3, mode="wrap")
    field = ndimage.zoom(smooth / smooth.std(), 2, order=1)
    return np.asarray(field[:size, :size, :size], dtype=np.float32)


def _hills(slab: slice, size: int) -> np.ndarray:
    tile = min(size, TILE)
    at = np.arange(size) % (2 * tile)
    at = np.where(at < tile, at, 2 * tile - 1 - at)
    return _field(tile)[at[slab]][:, at][:, :, at]


def _raw(slab: slice, size: int) -> np.ndarray:
    hills = _hills(slab, size)
    grain = np.random.default_rng((1, slab.start)).standard_normal(hills.shape, dtype=np.float32)
    return np.clip(118 + 40 * hills + 12 * grain, 0, 255).astype(np.uint8)


def _binary(slab: slice, size: int) -> np.ndarray:
    return (_hills(slab, size) > THRESHOLD).astype(np.uint8)


def _seeds(slab: slice, size: int) -> np.ndarray:
    return _basins(size)[slab]


@lru_cache(maxsize=1)
def _basins(size: int) -> np.ndarray:
    import cc3d

    low = (_hills(slice(0, size), size) < -THRESHOLD).astype(np.uint32)
    return np.asarray(cc3d.connected_components(low, connectivity=6), dtype=np.uint64)


def _tissue(slab: slice, size: int) -> np.ndarray:
    far = (np.arange(size) + 0.5 - size / 2) ** 2
    inside = far[slab, None, None] + far[:, None] + far < (size / 8) ** 2
    return np.asarray(inside, np.uint8)


def _labels(slab: slice, size: int) -> np.ndarray:
    n = -(-size // 8)
    ids = np.random.default_rng(3).integers(1, TABLE, (n, n, n), dtype=np.uint64)
    at = np.arange(size) // 8
    return ids[at[slab]][:, at][:, :, at]


def _objects(slab: slice, size: int) -> np.ndarray:
    real = Path(os.environ.get("BIOIMAGE_PY_TEST_DATA", "")) / "connectomics-512.npy.ckl.gz"
    if size > 512 or not real.is_file():
        return _labels(slab, size)
    return _neurons(real)[slab, :size, :size].astype(np.uint32)


@lru_cache(maxsize=1)
def _neurons(path: Path) -> np.ndarray:
    import crackle

    return np.asarray(crackle.decompress(gzip.decompress(path.read_bytes())))


def _cells(slab: slice, size: int) -> np.ndarray:
    n = -(-size // PITCH)
    at = np.arange(size, dtype=np.uint64) // np.uint64(PITCH)
    ids = (at[slab, None, None] * np.uint64(n) + at[:, None]) * np.uint64(n) + at + np.uint64(1)
    return np.where(_hills(slab, size) > -THRESHOLD, ids, np.uint64(0))


def rooms(slab: slice, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The room of each voxel, and the distance to its nearest wall inside of the volume."""
    at = np.arange(size, dtype=np.float32)
    near = np.abs((at + 0.5 + ROOM / 2) % ROOM - ROOM / 2)
    near[(at < ROOM / 2) | (at >= size // ROOM * ROOM - ROOM / 2)] = ROOM  # the border is no wall
    number, n = (at // ROOM).astype(np.uint64), np.uint64(-(-size // ROOM))
    ids = (number[slab, None, None] * n + number[:, None]) * n + number + np.uint64(1)
    return ids, np.minimum(np.minimum(near[slab, None, None], near[:, None]), near)


def _walls(slab: slice, size: int) -> np.ndarray:
    near = rooms(slab, size)[1]
    grain = np.random.default_rng((4, slab.start)).standard_normal(near.shape, dtype=np.float32)
    faint = 1 - 0.4 * (_hills(slab, size) > 1)
    return np.asarray(np.clip(255 * (np.exp(-(near**2) / 2) * faint + 0.08 * grain), 0, 255).astype(np.uint8))


def _shells(slab: slice, size: int) -> np.ndarray:
    hills = _hills(slab, size)
    return ((hills > THRESHOLD) & (hills < 1.5 * THRESHOLD)).astype(np.uint8)


def _tiles(slab: slice, size: int) -> np.ndarray:
    """Whole tiles: a slab has the planes of some of them."""
    import cc3d

    tile, ids = block_of(size), np.zeros((slab.stop - slab.start, size, size), np.uint64)
    binary, n = _binary(slab, size).astype(np.uint32), slab.start // tile * (-size // tile) ** 2
    for at in itertools.product(range(0, len(binary), tile), range(0, size, tile), range(0, size, tile)):
        part = tuple(slice(begin, begin + tile) for begin in at)
        labels = cc3d.connected_components(binary[part], connectivity=6).astype(np.uint64)
        ids[part] = np.where(labels, labels + np.uint64(n * tile**3), np.uint64(0))
        n += 1
    return ids


def _table(path: Path) -> None:
    if not path.exists():
        table = np.random.default_rng(2).permutation(np.arange(1, TABLE, dtype=np.uint64))
        np.save(path, np.concatenate([np.zeros(1, np.uint64), table]))


_INPUTS: dict[str, Callable[[slice, int], np.ndarray]] = {
    "raw": _raw,
    "binary": _binary,
    "labels": _labels,
    "objects": _objects,
    "height": _hills,
    "seeds": _seeds,
    "tissue": _tissue,
    "cells": _cells,
    "shells": _shells,
    "tiles": _tiles,
    "walls": _walls,
}
