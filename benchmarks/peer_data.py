"""Inputs of the drop-in calls, by formula: whole numbers, the same under every version of numpy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (12, 20, 24)
CHUNK = (6, 5, 4)


def noise(modulus: int = 251, dtype: Any = "uint8", shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Values 0..modulus-1 without visible order (multiplicative hash of the voxel's number)."""
    index = np.arange(seed, seed + math.prod(shape), dtype=np.uint64).reshape(shape)
    return (((index + np.uint64(1)) * np.uint64(2654435761) >> np.uint64(13)) % np.uint64(modulus)).astype(dtype)


def hills(dtype: Any = "uint8", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Smooth hills, values 0..about 220, a little noise on top so that hardly two neighbours are equal."""
    total = np.zeros(shape, dtype=np.int64)
    for axis, (size, period) in enumerate(zip(shape, (9, 11, 13), strict=True)):
        wave = np.abs(np.arange(size) % period - period // 2) * (60 // (period // 2))
        total += wave.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return (total + noise(17, np.int64, shape)).astype(dtype)


def blobs() -> np.ndarray:
    """Foreground with tens of components, some of them across block borders."""
    return hills(np.int64) > 118


def cells(dtype: Any = "uint64") -> np.ndarray:
    """Labels in boxes of 4 x 5 x 6 voxels; ids with gaps, 0 is background, some ids in several boxes."""
    z, y, x = np.indices(SHAPE)
    box = (z // 4) * 16 + (y // 5) * 4 + x // 6
    return (box * 37 % 23 * 3).astype(dtype)


def seeds() -> np.ndarray:
    """One voxel of seed in every ninth place, ids 1.. in C order."""
    z, y, x = np.indices(SHAPE)
    points = (z % 6 == 3) & (y % 10 == 4) & (x % 8 == 4)
    return np.where(points, np.cumsum(points).reshape(SHAPE), 0).astype("uint64")


def inside() -> np.ndarray:
    """A mask that covers part of most blocks and none of some."""
    z, y, x = np.indices(SHAPE)
    return (z + 2 * y + x < 50) & (x > 2)


def stored(folder: Path, name: str, data: np.ndarray) -> Any:
    """The array as zarr in chunks of CHUNK."""
    import zarr

    array = zarr.create_array(str(folder / f"{name}.zarr"), shape=data.shape, chunks=CHUNK, dtype=data.dtype)
    array[:] = data
    return array
