"""Kernels of binary morphology, and of labels that grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .distance.distance_lines import Metric

Array = npt.NDArray[Any]

_PIECE = 2**15


@dataclass(frozen=True)
class Binary:
    """Erosions and dilations one after the other.

    Parameters
    ----------
    footprint : bytes
        The structuring element, of `shape`, as bools.
    shape : tuple of int
    steps : tuple of str
        "erosion" or "dilation".
    iterations : int
        Of each step.
    border_value : int
        What lies beyond the volume.
    """

    footprint: bytes
    shape: tuple[int, ...]
    steps: tuple[str, ...]
    iterations: int
    border_value: int

    def __call__(self, values: Array) -> Array:
        """Foreground of an array."""
        structure = np.frombuffer(self.footprint, np.bool_).reshape(self.shape)
        found: Array = values != 0
        for step in self.steps:
            for _ in range(self.iterations):
                found = _all_within(found, structure, self.border_value, dilate=step == "dilation")
        return found

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels that are looked at around a block."""
        return tuple(size // 2 * self.iterations * len(self.steps) for size in self.shape)


def _all_within(found: Array, structure: Array, border: int, *, dilate: bool) -> Array:
    """Erode once: where all voxels of the structure are set. A dilation is that of what is not set, mirrored.

    Runs of the structure along the last axis are looked at as a whole: a run is two that overlap, each half as long.
    """
    if not found.size:
        return found
    flip = (slice(None, None, -1),) * structure.ndim
    window = structure[flip] if dilate else structure
    ahead = [(size - 1) // 2 if dilate else size // 2 for size in structure.shape]
    pads = [(low, size - 1 - low) for low, size in zip(ahead, structure.shape, strict=True)]
    # padding keeps the order of axes in memory; what follows counts in C's
    padded = np.ascontiguousarray(np.pad(found, pads, constant_values=bool(border))).view(np.uint8)
    combine = np.bitwise_or if dilate else np.bitwise_and
    flat = padded.reshape(-1)
    lines, length = flat, 1
    result = np.full(flat.size, 0 if dilate else 1, np.uint8)
    for wanted, starts in sorted(_runs(window).items()):
        while length < wanted:
            step = min(length, wanted - length)
            lines, length = combine(lines[: lines.size - step], lines[step:]), length + step
        for start in starts:
            shift = sum(step * at for step, at in zip(padded.strides, start, strict=True))
            near = lines[shift : shift + result.size]
            combine(result[: near.size], near, out=result[: near.size])
    inner = tuple(slice(0, size) for size in found.shape)
    return np.ascontiguousarray(result.view(np.bool_).reshape(padded.shape)[inner])


def _runs(structure: Array) -> dict[int, list[tuple[int, ...]]]:
    """Where runs of set voxels along the last axis begin, by their length."""
    padded = np.pad(structure, [*[(0, 0)] * (structure.ndim - 1), (1, 1)]).astype(np.int8)
    change = np.diff(padded, axis=-1)
    begins, ends = np.argwhere(change == 1), np.argwhere(change == -1)
    found: dict[int, list[tuple[int, ...]]] = {}
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        found.setdefault(end[-1] - begin[-1], []).append(tuple(begin))
    return found


@dataclass(frozen=True)
class Expand:
    """Background within a distance of an object gets its id: of the nearest ones, the lowest.

    Parameters
    ----------
    distance : float
    sampling : tuple of float
        Size of a voxel.
    """

    distance: float
    sampling: tuple[float, ...]

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels that are looked at around a block."""
        return tuple(int(self.distance / size * (1 + 1e-9)) for size in self.sampling)

    def __call__(self, labels: Array) -> Array:
        """Labels that have grown."""
        labels = labels.view(np.uint8) if labels.dtype.kind == "b" else labels
        if not labels.any() or labels.all():
            return labels
        known, ranks = np.unique(labels, return_inverse=True)
        ranks = ranks.reshape(labels.shape).astype(np.int32)
        # sizes as they are: a block's shape must not decide between integers and floats
        metric = Metric.of(self.sampling, tuple(2 * one + 1 for one in self.halo))
        squared = np.where(labels != 0, 0, metric.far).astype(metric.dtype)
        for axis in reversed(range(labels.ndim)):
            squared, ranks = _nearest(squared, ranks, axis, metric.step(axis), self.halo[axis])
        near = squared <= (self.distance / metric.unit) ** 2 * (1 + 1e-12)
        return np.where(near, known[ranks], np.zeros(1, labels.dtype))


def _nearest(squared: Array, ranks: Array, axis: int, step: float, reach: int) -> tuple[Array, Array]:
    """Of each line the lowest (squared distance, rank), as in `distance_lines.next_axis`."""
    lines, named = np.moveaxis(squared, axis, 0), np.moveaxis(ranks, axis, 0)
    n, shape = len(lines), lines.shape
    flat, names = lines.reshape(n, -1), named.reshape(n, -1)
    found, best = flat.copy(), names.copy()
    width = max(1, _PIECE // max(1, n))
    for begin in range(0, flat.shape[1], width):
        part = (slice(None), slice(begin, begin + width))
        values, ids = np.ascontiguousarray(flat[part]), np.ascontiguousarray(names[part])
        low, who = values.copy(), ids.copy()
        for shift in range(1, min(n, reach + 1)):
            raised = values + values.dtype.type((step * shift) ** 2)
            for to, from_ in ((slice(shift, None), slice(None, -shift)), (slice(None, -shift), slice(shift, None))):
                near, here = raised[from_], low[to]
                better = (near < here) | ((near == here) & (ids[from_] < who[to]))
                np.copyto(here, near, where=better)
                np.copyto(who[to], ids[from_], where=better)
        found[part], best[part] = low, who
    return np.moveaxis(found.reshape(shape), 0, axis), np.moveaxis(best.reshape(shape), 0, axis)


@dataclass(frozen=True)
class Skeleton:
    """Thinning of a whole array."""

    def __call__(self, values: Array) -> Array:
        """Lines of one voxel."""
        from skimage.morphology import skeletonize

        found = values != 0
        return np.asarray(skeletonize(found), np.bool_) if found.any() else found
