"""Affine transforms and resampling beside scipy on the whole array, and the bare kernel.

    python benchmarks/transformation.py [--size 192] [--repeats 3]

Least CPU time of some repeats, in nanoseconds for a voxel of the result: it depends less on what else the machine does
than seconds do. The floor of a turned volume is the lookup at coordinates that are there already; that of a scaled one
is to read every voxel once and to write the result. With the Python of an environment that has the peer package instead
of this one, and away from the checkout, it measures the peer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from bioimage_cpp.transformation import map_coordinates
from scipy import ndimage

import bioimage_py
from bioimage_py import transformation, wrapper

OURS = hasattr(transformation, "affine")
Rows = dict[str, tuple[tuple[int, ...], dict[str, Callable[[], Any]]]]


def measured(call: Callable[[], Any], repeats: int) -> float:
    """Least seconds of CPU time."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        call()
        best = min(best, time.process_time() - begin)
    return best


def turned(array: np.ndarray, order: int) -> tuple[tuple[int, ...], dict[str, Callable[[], Any]]]:
    """The calls that turn a volume."""
    matrix = wrapper.AffineSource(array, rotation=[5.0, 10.0, 20.0], translation=[20.0, -10.0, 8.0])
    square = np.asarray(matrix.affine_matrix if OURS else matrix.matrix)
    places = np.tensordot(square[:3, :3], np.indices(array.shape), 1) + square[:3, 3].reshape(3, 1, 1, 1)
    np.clip(places, 0, np.array(array.shape).reshape(3, 1, 1, 1) - 1, out=places)
    smooth = array.astype(np.float64) if array.dtype == np.int64 else array

    def ours(**how: Any) -> Any:
        if OURS:
            return transformation.affine(array, square, order=order, **how)
        return bioimage_py.copy(wrapper.AffineSource(array, affine_matrix=square, order=order), **how)

    calls = {
        "whole": ours,
        "blocks": lambda: ours(block_shape=(64, 64, 64), num_workers=2),
        "scipy": lambda: ndimage.affine_transform(smooth, square, order=order, mode="grid-constant"),
    }
    if order < 2:
        calls["floor"] = lambda: map_coordinates(smooth, places, order=order)
    return array.shape, calls


def scaled(array: np.ndarray, scale: float, order: int, smooth: bool) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The calls that change the number of voxels."""
    shape = tuple(round(size * scale) for size in array.shape)

    def ours(**how: Any) -> Any:
        if OURS:
            return transformation.resample(array, shape=shape, order=order, anti_aliasing=smooth, **how)
        return bioimage_py.copy(wrapper.ResizedSource(array, shape, order=order, anti_aliasing=smooth), **how)

    def scipys() -> Any:
        wide = ndimage.gaussian_filter(array, (1 / scale - 1) / 2, mode="nearest") if smooth else array
        return ndimage.zoom(wide, scale, order=order, mode="nearest", grid_mode=True)

    def floor() -> Any:
        return np.add.reduce(array, axis=None), np.ones(shape, array.dtype)

    blocks = {"block_shape": (64, 64, 64), "num_workers": 2}
    return shape, {"whole": ours, "blocks": lambda: ours(**blocks), "scipy": scipys, "floor": floor}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    image = (np.random.default_rng(0).random((options.size,) * 3) * 250).astype(np.uint8)
    real, labels = image.astype(np.float32), image.astype(np.uint64)
    rows: Rows = {
        "turn labels (uint64), order 0": turned(labels, 0),
        "turn uint8, order 1": turned(image, 1),
        "turn float32, order 1": turned(real, 1),
        "turn float32, order 3": turned(real, 3),
        "half of labels (uint64), order 0": scaled(labels, 0.5, 0, False),
        "half of uint8, order 1, smoothed": scaled(image, 0.5, 1, True),
        "4/3 of float32, order 1": scaled(real, 4 / 3, 1, False),
        "4/3 of float32, order 3": scaled(real, 4 / 3, 3, False),
    }
    names = ("whole", "blocks", "scipy", "floor")
    print(f"CPU ns for a voxel of the result, {bioimage_py.__file__}")
    print(f"{'':36}" + "".join(f"{name:>10}" for name in names))
    for title, (shape, calls) in rows.items():
        found = [
            measured(calls[name], options.repeats) / np.prod(shape) * 1e9 if name in calls else None for name in names
        ]
        print(f"{title:36}" + "".join(f"{'-' if one is None else f'{one:.1f}':>10}" for one in found), flush=True)


if __name__ == "__main__":
    main()
