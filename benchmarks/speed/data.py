"""Input volumes of the benchmark, and what each work's result must be; made once for each size, in memory."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import zarr

THRESHOLD = 1.13
"""Standard deviations; about 6,000 components in 512³."""
TABLE = 1_000_000
"""Ids of the relabelling table."""


def make(folder: Path, size: int, chunk: int) -> Path:
    """Write the inputs as zarr v3, zstd; return their folder.

    ``raw``: noisy hills, uint8. ``binary``: hills above a threshold, uint8. ``labels``: 10⁶ possible ids in cells,
    uint64. ``objects``: dense neurons where the real volume is at hand (`BIOIMAGE_PY_TEST_DATA`), else `labels`.
    ``height`` and ``seeds``: float32 and uint64 for the watershed.
    """
    target = folder / f"data-{size}"
    if (target / "complete").exists():
        return target
    field = _field(size)
    grain = np.random.default_rng(1).standard_normal(field.shape, dtype=np.float32)
    write(target / "raw.zarr", np.clip(118 + 40 * field + 12 * grain, 0, 255).astype(np.uint8), chunk)
    write(target / "binary.zarr", (field > THRESHOLD).astype(np.uint8), chunk)
    write(target / "height.zarr", field, chunk)
    write(target / "seeds.zarr", _seeds(field), chunk)
    labels = _cells(size)
    write(target / "labels.zarr", labels, chunk)
    write(target / "objects.zarr", _objects(size, labels), chunk)
    table = np.random.default_rng(2).permutation(np.arange(1, TABLE, dtype=np.uint64))
    np.save(target / "table.npy", np.concatenate([np.zeros(1, np.uint64), table]))
    (target / "complete").touch()
    return target


def write(path: Path, array: np.ndarray, chunk: int) -> None:
    """Write an array as zarr v3 with cubic chunks, replacing what is there."""
    chunks = tuple(min(chunk, size) for size in array.shape)
    zarr.create_array(str(path), shape=array.shape, chunks=chunks, dtype=array.dtype, overwrite=True)[:] = array


def read(path: Path | str) -> np.ndarray:
    """The whole array."""
    return np.asarray(zarr.open_array(str(path), mode="r")[:])


def _field(size: int) -> np.ndarray:
    from scipy import ndimage

    coarse = np.random.default_rng(0).standard_normal((size // 2,) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(coarse, 2.0, truncate=3, mode="wrap")
    return np.asarray(ndimage.zoom(smooth / smooth.std(), 2, order=1), dtype=np.float32)


def _seeds(field: np.ndarray) -> np.ndarray:
    import cc3d

    low = np.ascontiguousarray(field < -THRESHOLD)
    return np.asarray(cc3d.connected_components(low.astype(np.uint32), connectivity=6), dtype=np.uint64)


def _cells(size: int) -> np.ndarray:
    """Boxes of 8 voxels, with shuffled ids below `TABLE`."""
    n = -(-size // 8)
    ids = np.random.default_rng(3).integers(1, TABLE, (n, n, n), dtype=np.uint64)
    for axis in range(3):
        ids = np.repeat(ids, 8, axis)
    return np.ascontiguousarray(ids[:size, :size, :size])


def _objects(size: int, labels: np.ndarray) -> np.ndarray:
    real = Path(os.environ.get("BIOIMAGE_PY_TEST_DATA", "")) / "connectomics-512.npy.ckl.gz"
    if size > 512 or not real.is_file():
        return labels
    import crackle

    whole = crackle.decompress(gzip.decompress(real.read_bytes()))
    return np.ascontiguousarray(whole[:size, :size, :size], dtype=np.uint32)
