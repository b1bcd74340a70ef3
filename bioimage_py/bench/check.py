"""Whether a result is right: voxel by voxel against `expected`. One that is not is shown as wrong, not timed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import expected
from .data import block_of, rooms, slabs

Open = Callable[[str], Any]
"""From a level's name ("": the result itself) to the array."""


@dataclass(frozen=True)
class Check:
    """How a work's result is checked.

    Parameters
    ----------
    inputs : tuple of str
        What the work, and the check, read.
    wrong : callable
        From the data's folder, a function that opens the result, and the returned value, to what is wrong; "": nothing.
    """

    inputs: tuple[str, ...]
    wrong: Callable[[Path, Open, Any], str]


def _near(found: Any, right: Any, bound: float, edge: int = 0) -> str:
    """Say how far two arrays are apart where they are more than `bound` apart, `edge` voxels from the border on."""
    if tuple(found.shape) != tuple(right.shape):
        return f"shape {found.shape}, not {right.shape}"
    off, count = 0.0, 0
    inner = tuple(slice(edge, size - edge) for size in right.shape[1:])
    for slab in slabs(right.shape):
        part = slice(max(slab.start, edge), min(slab.stop, right.shape[0] - edge))
        if part.start >= part.stop:
            continue
        one, other = found[part][(slice(None), *inner)], right[part][(slice(None), *inner)]
        if np.array_equal(one, other):
            continue
        apart = np.where(one > other, one - other, other - one)
        count += int((apart > bound).sum())
        off = max(off, float(apart.max()))
    if not count:
        return ""
    return f"{count} voxels differ" if bound == 0 else f"off by {off:.2f} grey levels"


def _copy(folder: Path, found: Open, result: Any) -> str:
    return _near(found(""), expected.stored(folder, "raw"), 0)


def _gaussian(folder: Path, found: Open, result: Any, sigma: float) -> str:
    # libraries cut the kernel off at three or four sigma, and differ in the border rule
    return _near(found(""), expected.gaussian(folder, sigma), 0.3, edge=int(4 * sigma) + 1)


def _hessian(folder: Path, found: Open, result: Any, sigma: float) -> str:
    """Libraries cut the windows off at three to four sigma, and scale them after that or not."""
    array = found("")
    for box, values, inner in expected.cubes(folder, 48, math.ceil(6 * sigma)):
        right = expected.curvatures(values, sigma)[(slice(None), *inner)]
        off = float(np.abs(array[(slice(None), *box)] - right).max() / np.abs(right).max())
        if not off < 0.03:
            return f"off by {off:.1%} of the largest"
    return ""


def _median(folder: Path, found: Open, result: Any, size: int) -> str:
    from scipy import ndimage

    differ = 0
    for box, values, inner in expected.cubes(folder, 48, size // 2):
        differ += int((ndimage.median_filter(values, size)[inner] != found("")[box]).sum())
    return f"{differ} voxels differ" if differ else ""


def _label(folder: Path, found: Open, result: Any, name: str, connectivity: Literal[6, 26]) -> str:
    """Another numbering of the same components is right."""
    array, right = found(""), expected.components(folder, name, connectivity)
    if tuple(array.shape) != tuple(right.shape):
        return f"shape {array.shape}, not {right.shape}"
    ids = np.zeros(1, np.uint64)
    for slab in slabs(right.shape):
        components, labels = right[slab], array[slab]
        top = int(components.max())
        if top >= len(ids):
            fresh = np.zeros(top + 1, np.uint64)
            new = components >= len(ids)
            fresh[: len(ids)] = ids
            fresh[components[new]] = labels[new]
            ids = fresh
        if not np.array_equal(ids[components], labels):
            return "another partition"
    return "" if len(np.unique(ids)) == len(ids) else "components are joined"


def _levels(folder: Path, found: Open, result: Any, name: str, method: str, levels: int) -> str:
    for level in range(1, levels + 1):
        # whole numbers are rounded at every level
        bound = 0 if method == "stride" else level
        wrong = _near(found(str(level)), expected.level(folder, name, method, level), bound)
        if wrong:
            return f"level {level}: {wrong}"
    return ""


def _half(folder: Path, found: Open, result: Any, method: str) -> str:
    return _near(found(""), expected.level(folder, "raw", method, 1), 0 if method == "stride" else 1)


def _statistics(folder: Path, found: Open, result: Any) -> str:
    right = expected.statistics(folder)
    return "" if np.allclose(result, right, rtol=1e-6) else f"{result}, not {right}"


def _unique(folder: Path, found: Open, result: Any) -> str:
    right = expected.unique(folder)
    return "" if list(result) == right else f"{result}, not {right}"


def _watershed(folder: Path, found: Open, result: Any, mask: str | None = None) -> str:
    """Every seed keeps its id, every voxel has one, and all but few agree with a flooding far beyond the block.

    With a mask: nothing is flooded outside it, and all but few agree with the flooding of all of it.
    """
    array, seeds = found(""), expected.stored(folder, "seeds")
    for slab in slabs(seeds.shape):
        labels, seeded = array[slab], seeds[slab]
        inside = np.ones(labels.shape, bool) if mask is None else expected.stored(folder, mask)[slab] > 0
        if labels[~inside].any():
            return "voxels outside the mask are flooded"
        if not np.array_equal(labels[(seeded > 0) & inside], seeded[(seeded > 0) & inside]):
            return "seeds lost their ids"
        if mask is None and not labels.all():
            return f"{int((labels == 0).sum())} voxels are in no basin"
    size = seeds.shape[0]
    begin, edge = (0, min(128, size)) if mask is None else (size // 2 - size // 8, size // 4)  # the mask is a ball
    wide = expected.basins(folder, begin, edge, mask)
    share = np.count_nonzero(wide != array[(slice(begin, begin + edge),) * 3]) / max(1, int(np.count_nonzero(wide)))
    # with halos of an eighth of the block; the smaller it is, the more of it is near the border
    bound = 0.02 * 128 / block_of(size)
    return "" if share < bound else f"{share:.1%} of the voxels differ from a wider flooding's"


def _relabel(folder: Path, found: Open, result: Any) -> str:
    table, labels, array = np.load(folder / "table.npy"), expected.stored(folder, "labels"), found("")
    if tuple(array.shape) != tuple(labels.shape):
        return f"shape {array.shape}, not {labels.shape}"
    differ = sum(int((table[labels[slab]] != array[slab]).sum()) for slab in slabs(labels.shape))
    return f"{differ} voxels differ" if differ else ""


def _distance(folder: Path, found: Open, result: Any) -> str:
    return _near(found(""), expected.distances(folder), 1e-3)


def _filled(folder: Path, found: Open, result: Any) -> str:
    return _near(found(""), expected.filled(folder), 0)


def _erosion(folder: Path, found: Open, result: Any, radius: int) -> str:
    from scipy import ndimage

    at = np.arange(-radius, radius + 1) ** 2
    ball = at[:, None, None] + at[:, None] + at <= radius**2
    array, differ = found(""), 0
    for slab in slabs(array.shape):
        values, inner = expected.around(folder, "binary", radius, slab)
        differ += int((ndimage.binary_erosion(values, ball)[inner] != (array[slab] != 0)).sum())
    return f"{differ} voxels differ" if differ else ""


def _numbers(folder: Path, found: Open, result: Any, right: Callable[[Path], Any]) -> str:
    wanted = right(folder)
    return "" if np.allclose(result, wanted, rtol=1e-4, atol=0) else f"{result}, not {wanted}"


def _stitched(folder: Path, found: Open, result: Any) -> str:
    """Most components are one object each, and the other way round; background is background.

    Where a component is wider on one side of a cut than on the other, a multicut of overlaps may keep its parts apart.
    """
    array, pairs = found(""), np.zeros(0, np.uint64)
    components = expected.components(folder, "binary", 6)
    for slab in slabs(components.shape):
        one, other = components[slab].astype(np.uint64), array[slab].astype(np.uint64)
        if not np.array_equal(one > 0, other > 0):
            return "the background is another"
        pairs = np.union1d(pairs, (one << np.uint64(32)) + other)
    parts = pairs[pairs > 0] >> np.uint64(32), pairs[pairs > 0] & np.uint64(2**32 - 1)
    more = sum(len(part) - len(np.unique(part)) for part in parts)
    return f"{more} of {len(parts[0])} are cut or joined" if more > 0.15 * len(parts[0]) else ""


def _rooms(folder: Path, found: Open, result: Any) -> str:
    """Away from the walls, each room is one object, and each object lies in one room, but for one in twenty."""
    array = found("0")
    size, pairs = array.shape[0], np.zeros((0, 2), np.uint64)
    for slab in slabs(array.shape):
        right, near = rooms(slab, size)
        inside = near > 4
        both = np.stack([right[inside], array[slab][inside].astype(np.uint64)], axis=1)
        pairs = np.unique(np.concatenate([pairs, both]), axis=0)
    known, objects = (np.unique(column) for column in pairs.T)
    more = 2 * len(pairs) - len(known) - len(objects)
    return f"{more} of {len(known)} rooms are cut or joined" if more > 0.05 * len(known) else ""


def _nothing(folder: Path, found: Open, result: Any) -> str:
    return ""


def _pyramid(name: str, method: str, levels: int) -> Check:
    return Check((name,), partial(_levels, name=name, method=method, levels=levels))


CHECKS: dict[str, Check] = {
    "copy": Check(("raw",), _copy),
    "copy to shards": Check(("raw",), _copy),
    "gaussian 2": Check(("raw",), partial(_gaussian, sigma=2.0)),
    "gaussian 8": Check(("raw",), partial(_gaussian, sigma=8.0)),
    "hessian 1.5": Check(("raw",), partial(_hessian, sigma=1.5)),
    "median 3": Check(("raw",), partial(_median, size=3)),
    "label 6": Check(("binary",), partial(_label, name="binary", connectivity=6)),
    "label 26": Check(("binary",), partial(_label, name="binary", connectivity=26)),
    "label multi": Check(("objects",), partial(_label, name="objects", connectivity=6)),
    "downsample mean": Check(("raw",), partial(_half, method="mean")),
    "downsample stride": Check(("raw",), partial(_half, method="stride")),
    "pyramid image": _pyramid("raw", "mean", 4),
    "pyramid image stride": _pyramid("raw", "stride", 4),
    # cells of 8 voxels: by mode as by stride, three levels keep their ids; then the rule for ties decides
    "pyramid labels": _pyramid("labels", "stride", 3),
    "pyramid labels stride": _pyramid("labels", "stride", 4),
    "statistics": Check(("raw",), _statistics),
    "unique counts": Check(("labels",), _unique),
    "watershed": Check(("height", "seeds"), _watershed),
    "watershed sparse": Check(("height", "seeds", "tissue"), partial(_watershed, mask="tissue")),
    "relabel": Check(("labels", "table"), _relabel),
    "distance": Check(("binary",), _distance),
    "fill holes": Check(("shells",), _filled),
    "erosion": Check(("binary",), partial(_erosion, radius=2)),
    "local maxima": Check(("height",), partial(_numbers, right=partial(expected.maxima, distance=3))),
    "regionprops": Check(("cells",), partial(_numbers, right=expected.longest)),
    "contacts": Check(("cells",), partial(_numbers, right=expected.contacts)),
    "stitch": Check(("binary",), _stitched),
    "stitch tiles": Check(("tiles", "binary"), _stitched),
    "object vi": Check(("tiles", "cells"), partial(_numbers, right=expected.variation)),
    "segment": Check(("walls",), _rooms),
    "empty 20k": Check((), _nothing),
    "empty 1m": Check((), _nothing),
}
"""All works, in the order in which they run."""
