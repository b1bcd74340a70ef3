"""What a worker does for `find_local_maxima`: the highest voxels of a block, joined where they touch, and a choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..blocks import Block, BlockWithHalo, to_roi
from ..blocks.boxes import within
from ..filters.selection import select
from ..runner.ledger.stage_record import Results
from ..segmentation import components, merging
from ..sources import Source
from .measures.objects import native

Array = npt.NDArray[Any]

_DILATED = ("uint8", "uint16", "int16", "float32", "float64")
"""What opencv compares; its windows take as long as they are wide, and planes have to be worth a call."""
_DILATED_REACH, _PLANE_VOXELS = 24, 256


class Candidates(NamedTuple):
    """What is known of a block: its plateaus, the value of each, and its lowest and highest value."""

    part: merging.Part | None
    values: Array
    low: Any
    high: Any


@dataclass(frozen=True)
class FindCandidates:
    """The block function: voxels that no other in their window is above.

    Parameters
    ----------
    along : tuple of int
        Axes of the window.
    distance : tuple of int
        Voxels of the window to each side, along each of these axes.
    above : float, optional
        Lower values do not count.
    shape : tuple of int
        Of the volume.
    region : tuple of (int, int)
        Where maxima are sought.
    border : tuple of int
        Voxels at each end of the axes of the window in which there are none.
    """

    along: tuple[int, ...]
    distance: tuple[int, ...]
    above: float | None
    shape: tuple[int, ...]
    region: tuple[tuple[int, int], ...]
    border: tuple[int, ...]

    def __call__(
        self, block: BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Candidates | None:
        """Find the candidates of one block; None where all is NaN or masked."""
        inner, outer = to_roi(block.inner_block), to_roi(block.outer_block)
        values = native(inputs[0].view(outer))
        known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
        if mask is not None:
            known &= mask[outer].astype(np.bool_, copy=False)
        part = within(inner, outer)
        own = values[part][known[part]]
        if not own.size:
            return None
        found = (self._highest(values, known)[part]) & known[part]
        if self.above is not None:
            found &= values[part] > self.above
        for axis, border in zip(self.along, self.border, strict=True):
            _exclude(found, axis, inner[axis].start, border, self.shape[axis] - border)
        return Candidates(*self._joined(found, values[part], block.inner_block), own.min(), own.max())

    def _highest(self, values: Array, known: Array) -> Array:
        lowest = -np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).min
        filled = values if known.all() else np.where(known, values, np.array(lowest, values.dtype))
        reach = [0] * values.ndim
        for axis, distance in zip(self.along, self.distance, strict=True):
            reach[axis] = min(distance, values.shape[axis] - 1)
        highest = highest_around(filled, reach, lowest)
        return np.asarray(filled == highest)

    def _joined(self, found: Array, values: Array, block: Block) -> tuple[merging.Part | None, Array]:
        """Candidates that touch, as one plateau; the value of each."""
        labelled = components.components_apart(found, self.along, connectivity=len(self.along))
        if not labelled.n:
            return None, np.empty(0, values.dtype)
        sides = [
            (axis in self.along and begin > low, axis in self.along and end < high)
            for axis, (begin, end, (low, high)) in enumerate(zip(block.begin, block.end, self.region, strict=True))
        ]
        part = components.summary(labelled, found, begin=block.begin, volume=self.shape, sides=sides)
        return part, np.ascontiguousarray(values).reshape(-1)[labelled.first]


def highest_around(values: Array, reach: Sequence[int], lowest: Any) -> Array:
    """The highest of the values within a reach along each axis."""
    if values.dtype.name in _DILATED and max(reach) <= _DILATED_REACH and math.prod(values.shape[-2:]) >= _PLANE_VOXELS:
        return _dilated(np.ascontiguousarray(values), reach)
    for axis, one in enumerate(reach):
        values = _highest_along(values, axis, one, lowest) if one else values
    return values


def _dilated(values: Array, reach: Sequence[int]) -> Array:
    """As `highest_around`, plane by plane along the last two axes, then along each of the others."""
    import cv2

    rows, columns = (1, *values.shape)[-2:]
    below, beside = (0, *reach)[-2:]
    passes = [((-1, rows, columns), (2 * below + 1, 2 * beside + 1))]
    passes += [
        ((-1, values.shape[axis], math.prod(values.shape[axis + 1 :])), (2 * one + 1, 1))
        for axis, one in enumerate(reach[:-2])
        if one
    ]
    for shape, window in passes:
        images, box = values.reshape(shape), np.ones(window, np.uint8)
        found = np.empty_like(images)
        for image, into in zip(images, found, strict=True):
            cv2.dilate(image, box, dst=into, borderType=cv2.BORDER_REPLICATE)
        values = found.reshape(values.shape)
    return values


def _highest_along(values: Array, axis: int, reach: int, lowest: Any) -> Array:
    """The highest of the values within a reach along an axis: one axis at a time, for what is padded is a copy."""
    pads, size = [(0, 0)] * values.ndim, [1] * values.ndim
    pads[axis], size[axis] = (reach, reach), 2 * reach + 1
    # padding keeps the order of axes in memory, and `select` takes none but C's
    padded = np.ascontiguousarray(np.pad(values, pads, constant_values=lowest))
    found = select(padded, size, 2 * reach)
    return found[(slice(None),) * axis + (slice(0, values.shape[axis]),)]


def _exclude(found: Array, axis: int, begin: int, low: int, high: int) -> None:
    """Leave out what lies before ``low`` or from ``high`` on, along an axis."""
    lead = (slice(None),) * axis
    found[(*lead, slice(0, max(0, low - begin)))] = False
    found[(*lead, slice(max(0, high - begin), None))] = False


@dataclass(frozen=True)
class ChooseMaxima:
    """Between plateaus of all blocks and points: one a plateau, above the thresholds, apart from each other."""

    lattice: tuple[int, ...]
    along: tuple[int, ...]
    distance: tuple[int, ...]
    above: float | None
    relative: float | None
    shape: tuple[int, ...]

    def __call__(self, earlier: Results) -> Array:
        """Coordinates, the highest first."""
        parts: list[merging.Part | None] = [None] * math.prod(self.lattice)
        values: list[Array] = [np.empty(0)] * len(parts)
        lows, highs = [], []
        for block_id, found in earlier.each("candidates"):
            if found is not None:
                parts[block_id], values[block_id] = found.part, found.values
                lows.append(found.low)
                highs.append(found.high)
        if not highs:
            return np.empty((0, len(self.shape)), np.int64)
        merged = merging.merge(parts, self.lattice, len(self.along), self.along)
        kinds = [one for one, part in zip(values, parts, strict=True) if part is not None]
        if not merged.n:
            return np.empty((0, len(self.shape)), np.int64)
        height, first = np.concatenate(kinds), np.concatenate([part.first for part in parts if part is not None])
        final = merged.table[1:]
        at = np.full(merged.n, np.iinfo(np.int64).max)
        np.minimum.at(at, final - 1, first)
        value = np.empty(merged.n, height.dtype)
        value[final - 1] = height
        points = np.stack(np.unravel_index(at, self.shape), axis=1).astype(np.int64)
        keep = value > self._threshold(min(lows), max(highs))
        points, value = points[keep], value[keep]
        rank = np.unique(value, return_inverse=True)[1]  # what is subtracted may run over, or lose digits
        order = np.argsort(-rank, kind="stable")
        return _apart(points[order], self.along, self.distance)

    def _threshold(self, low: Any, high: Any) -> Any:
        absolute = low if self.above is None else self.above
        if self.relative is None:
            return absolute
        share = self.relative * (high.item() if hasattr(high, "item") else high)
        whole = isinstance(high, np.integer) and math.isfinite(share)
        return max(absolute, math.floor(share) if whole else share)


def _apart(points: Array, along: Sequence[int], distance: Sequence[int]) -> Array:
    """Points of which none is nearer than the distances, along every axis, to one before it that is kept."""
    if max(distance) <= 1 or len(points) < 2:
        return points
    from scipy.spatial import KDTree

    spread = points.astype(np.float64)
    apart = [axis for axis in range(points.shape[1]) if axis not in along]
    spread[:, apart] *= 2  # other channels and times are far away
    spread[:, along] /= distance
    pairs = KDTree(spread).query_pairs(1 - 0.5 / max(distance), p=np.inf, output_type="ndarray")
    pairs.sort(axis=1)
    keep = np.ones(len(points), np.bool_)
    for one, other in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if keep[one]:
            keep[other] = False
    return points[keep]
