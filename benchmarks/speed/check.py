"""Whether a result is right: against the whole array in memory. A result that is not is shown as wrong, not timed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from data import read

Result = Any
Check = Callable[[Path, Path, Result], str]
"""From the data's folder, the output's path and the returned value to what is wrong with it, "" if nothing."""


@cache
def _input(folder: Path, name: str) -> np.ndarray:
    array = read(folder / f"{name}.zarr")
    array.flags.writeable = False
    return array


def forget() -> None:
    """Give the memory of the inputs back."""
    _input.cache_clear()


def _same(found: np.ndarray, expected: np.ndarray) -> str:
    if found.shape != expected.shape:
        return f"shape {found.shape}, not {expected.shape}"
    return "" if np.array_equal(found, expected) else f"{int((found != expected).sum())} voxels differ"


def _copy(folder: Path, output: Path, result: Result) -> str:
    return _same(read(output), _input(folder, "raw"))


def _gaussian(sigma: float) -> Check:
    def check(folder: Path, output: Path, result: Result) -> str:
        from scipy import ndimage

        depth = min(160, _input(folder, "raw").shape[0])
        corner = _input(folder, "raw")[:depth].astype(np.float32)
        inside = depth if depth == _input(folder, "raw").shape[0] else depth - int(4 * sigma) - 1
        found = read(output)[:inside]
        # libraries cut the kernel off at three or four sigma and differ in the border rule
        edge = int(4 * sigma) + 1
        core = tuple(slice(edge, size - edge) for size in found.shape)
        if not found[core].size:
            return ""
        expected = ndimage.gaussian_filter(corner, sigma, truncate=4, mode="mirror")[:inside]
        off = float(np.abs(found[core] - expected[core]).max())
        return "" if off < 1.0 else f"off by {off:.2f} grey levels"

    return check


def _label(name: str, connectivity: int) -> Check:
    def check(folder: Path, output: Path, result: Result) -> str:
        import cc3d
        import fastremap

        # as if of many labels: the special case for two values is wrong for some odd shapes
        data = np.ascontiguousarray(_input(folder, name)).astype(np.uint32)
        expected = fastremap.renumber(cc3d.connected_components(data, connectivity=connectivity))[0]
        found = fastremap.renumber(read(output), preserve_zero=True)[0]
        return "" if np.array_equal(found, expected) else "another partition"

    return check


def _mean(array: np.ndarray) -> np.ndarray:
    z, y, x = (size // 2 * 2 for size in array.shape)
    total = array[:z, :y, :x].reshape(z // 2, 2, y // 2, 2, x // 2, 2).sum(axis=(1, 3, 5), dtype=np.float64)
    return np.asarray(total / 8)


def _downsample(folder: Path, output: Path, result: Result) -> str:
    off = float(np.abs(read(output) - _mean(_input(folder, "raw"))).max())
    return "" if off <= 1 else f"off by {off:.1f} grey levels"


def _pyramid_image(folder: Path, output: Path, result: Result) -> str:
    expected = _input(folder, "raw").astype(np.float64)
    for level in range(1, 5):
        expected = _mean(expected)
        off = float(np.abs(read(output / str(level)) - expected).max())
        if off > level:  # every level rounds once
            return f"level {level} off by {off:.1f} grey levels"
    return ""


def _pyramid_labels(folder: Path, output: Path, result: Result) -> str:
    # cells of 8 voxels: three levels keep their ids exactly, by mode or by stride
    for level in range(1, 4):
        step = 2**level
        wrong = _same(read(output / str(level)), _input(folder, "labels")[::step, ::step, ::step])
        if wrong:
            return f"level {level}: {wrong}"
    return ""


def _statistics(folder: Path, output: Path, result: Result) -> str:
    raw = _input(folder, "raw")
    expected = [float(raw.mean(dtype=np.float64)), float(raw.max())]
    return "" if np.allclose(result, expected, rtol=1e-6) else f"{result}, not {expected}"


def _unique(folder: Path, output: Path, result: Result) -> str:
    labels = _input(folder, "labels")
    expected = [len(np.unique(labels)), int(labels.sum(dtype=np.uint64))]
    return "" if list(result) == expected else f"{result}, not {expected}"


def _watershed(folder: Path, output: Path, result: Result) -> str:
    """Every seed keeps its id, every voxel has one, and all but few agree with the flooding of the whole array."""
    import bioimage_cpp

    found, seeds = read(output), _input(folder, "seeds")
    if not np.array_equal(found[seeds > 0], seeds[seeds > 0]):
        return "seeds lost their ids"
    if not found.all():
        return f"{int((found == 0).sum())} voxels are in no basin"
    part = tuple(slice(0, min(192, size)) for size in found.shape)
    whole = bioimage_cpp.segmentation.watershed(np.ascontiguousarray(_input(folder, "height")[part]), seeds[part])
    inner = tuple(slice(0, min(128, size)) for size in found.shape)
    share = float((whole[inner] != found[inner]).mean())
    return "" if share < 0.02 else f"{share:.1%} of the voxels differ from the whole array's"


def _relabel(folder: Path, output: Path, result: Result) -> str:
    table = np.load(folder / "table.npy")
    return _same(read(output), table[_input(folder, "labels")])


def _nothing(folder: Path, output: Path, result: Result) -> str:
    return ""


CHECKS: dict[str, Check] = {
    "copy": _copy,
    "copy to shards": _copy,
    "gaussian 2": _gaussian(2.0),
    "gaussian 8": _gaussian(8.0),
    "label 6": _label("binary", 6),
    "label 26": _label("binary", 26),
    "label multi": _label("objects", 6),
    "downsample mean": _downsample,
    "pyramid image": _pyramid_image,
    "pyramid labels": _pyramid_labels,
    "statistics": _statistics,
    "unique counts": _unique,
    "watershed": _watershed,
    "relabel": _relabel,
    "empty 20k": _nothing,
    "empty 1m": _nothing,
}
