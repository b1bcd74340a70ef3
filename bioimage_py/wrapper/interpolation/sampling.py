"""Reading the values of an array at places between its voxels: only the region that they need, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...blocks.boxes import size_of
from ...errors import DtypeError, MemoryBudgetError, ParameterError, ShapeError
from ...sources.indexing import Roi
from .boundary import MOST_LENGTH, check_mode, folded
from .lines import Line, Stretch, values_on
from .lookup import affine_values, nearest_index, nearest_values, rounded, spline_values
from .spans import TRUNCATE, Reader, Span, read_indices, smoothed_values
from .splines import RADII, check_order, first_tap

MOST_VOXELS = 1 << 23
"""Voxels of an array that are held at once."""
MOST_PLACES = 1 << 21
"""Places between voxels that are held at once, a float64 an axis each."""


@dataclass(frozen=True)
class Grid:
    """The array that is looked at: what reads a box of it, its shape, its data type."""

    read: Reader
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Sampling:
    """How values between voxels are made.

    Parameters
    ----------
    order : int
        Of the spline, 0 to 5.
    mode : str
        What is seen beyond the border, one of `MODES`.
    fill : scalar
        What "grid-constant" and "constant" see there.
    sigmas : sequence of float
        Of the Gaussian that smooths before, per axis of the array.

    Raises
    ------
    ParameterError, DtypeError, MemoryBudgetError
        For an unknown order or mode, voxels that cannot be interpolated, and smoothing for which a single voxel of the
        result takes more of the array than `MOST_VOXELS`.
    """

    order: int
    mode: str
    fill: Any
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        check_order(self.order)
        check_mode(self.mode)

    def check(self, dtype: np.dtype, along: Sequence[int]) -> None:
        """Refuse what cannot be computed, before it is."""
        if dtype.kind not in "biuf" and (self.order or any(self.sigmas)):
            raise DtypeError(f"Voxels of dtype {dtype} cannot be interpolated.", remedy="use order=0")
        reach = [1 + self.order + 2 * RADII[self.order] + 2 * int(TRUNCATE * self.sigmas[axis] + 0.5) for axis in along]
        if math.prod(reach) > MOST_VOXELS:
            raise MemoryBudgetError(
                f"With smoothing of sigma {self.sigmas}, a voxel of the result takes {math.prod(reach)} voxels, more"
                f" than the {MOST_VOXELS} that are held at once.",
                remedy="shrink by a whole factor first: downsample(input, 8, method='mean')",
            )

    @property
    def voxel_bytes(self) -> int:
        """Bytes that a voxel which is held takes beside its own."""
        return 24 if self.order > 1 or any(self.sigmas) else 16 if self.order else 0

    def on_lines(
        self, grid: Grid, roi: Roi, lines: Mapping[int, Line | Stretch], turned: Sequence[int]
    ) -> np.ndarray | None:
        """A box of a result of which every axis is an axis of the array, scaled and moved.

        Parameters
        ----------
        grid : Grid
        roi : tuple of slice
            Box of the result, also beyond it.
        lines : mapping of int to Line or Stretch
            For the axes of the array along which anything changes.
        turned : sequence of int
            For every axis of the array the axis of the result.

        Returns
        -------
        numpy.ndarray, optional
            None where that would take too much of the array at once.
        """
        parts = [roi[axis] for axis in turned]
        block = self._coefficients(grid, parts, {}, lines)
        if block is None or not block.size:
            return None if block is None else np.full(size_of(roi), self.fill, grid.dtype)
        result = rounded(block, grid.dtype).transpose(np.argsort(turned))
        result = np.array(result, order="C", copy=None if result.base is None and result.flags.c_contiguous else True)
        if self.mode == "constant":
            for axis, line in lines.items():
                begin, end = parts[axis].start, parts[axis].stop
                whole, rest = line.places(begin, end)
                beyond = (whole < 0) | (whole + (rest > 0) > grid.shape[axis] - 1)
                result[(slice(None),) * turned[axis] + (beyond,)] = self.fill
        return result

    def at_points(
        self,
        grid: Grid,
        roi: Roi,
        along: Sequence[int],
        places: np.ndarray,
        origin: Sequence[int],
        lost: np.ndarray | None = None,
        lines: Mapping[int, Line | Stretch] | None = None,
    ) -> np.ndarray | None:
        """A box of a result of which every voxel has its place in the array.

        Parameters
        ----------
        grid : Grid
        roi : tuple of slice
            Box of the result; of the array too, on the axes that are kept apart.
        along : sequence of int
            The other axes, ascending.
        places : numpy.ndarray
            (len(along), ...) float64, `settled`; changed here.
        origin : sequence of int
            Where index 0 of the places is.
        lost : numpy.ndarray, optional
            Which of them are no places, so that there is `fill`.
        lines : mapping of int to Line or Stretch, optional
            Further axes, on which a place depends on the index of this axis alone; not with the mode "constant".

        Returns
        -------
        numpy.ndarray, optional
            None where that would take too much of the array at once.
        """
        if self.mode == "constant":
            for at, axis, base in zip(places, along, origin, strict=True):
                beyond = (at < -base) | (at > grid.shape[axis] - 1 - base)
                lost = np.asarray(beyond if lost is None else lost | beyond)
        if lost is not None and lost.all():
            return np.full(size_of(roi), self.fill, grid.dtype)
        spans = {}
        for at, axis, base in zip(places, along, origin, strict=True):
            if lost is not None:
                at[lost] = at[~lost][0]
            low, high = self._settle(at, base, grid.shape[axis])
            if high - low > MOST_LENGTH and at.size > 1:
                return None
            spans[axis] = Span.of(low, high, grid.shape[axis], self.order, self.mode, self.sigmas[axis])
        block = self._coefficients(grid, roi, spans, lines or {})
        if block is None or not block.size:
            return None if block is None else np.full(size_of(roi), self.fill, grid.dtype)
        lookup = spline_values if self.order else nearest_values

        def values(one: np.ndarray) -> np.ndarray:
            found = rounded(lookup(one, places, self.order), grid.dtype)
            if lost is not None:
                found[lost] = self.fill
            return found

        return _each(values, block, along)

    def _settle(self, at: np.ndarray, base: int, size: int) -> tuple[int, int]:
        """Move places beyond the ends of an axis, and count all from the first coefficient that they need.

        Returns that one, and the end of the coefficients. Places that stay are moved by whole numbers only: exactly.
        """
        margin = self.order // 2
        beyond = (at < -base) | (at > size - 1 - base) if at.min() < -base or at.max() > size - 1 - base else None
        if beyond is None:
            low, high = math.floor(at.min()) + base, math.floor(at.max()) + base
            at += base - (low - margin)
            return low - margin, high + margin + 2
        moved, kept = at[beyond] + base, at[~beyond]
        if not self.order and self.mode in ("reflect", "mirror"):
            moved = nearest_index(moved).astype(np.float64)  # half-way up, also where the continuation runs backwards
        moved = folded(self.mode, moved, size, RADII[self.order])
        low, high = math.floor(moved.min()), math.floor(moved.max())
        if kept.size:
            low, high = min(low, math.floor(kept.min()) + base), max(high, math.floor(kept.max()) + base)
        at += base - (low - margin)
        at[beyond] = moved - (low - margin)
        return low - margin, high + margin + 2

    def on_lattice(
        self,
        grid: Grid,
        roi: Roi,
        along: Sequence[int],
        matrix: np.ndarray,
        rest: np.ndarray,
        origin: Sequence[int],
        lines: Mapping[int, Line | Stretch] | None = None,
    ) -> np.ndarray | None:
        """As `at_points`, of the places ``origin + rest + matrix @ index``, where no voxel of them has to be looked at.

        None also where this cannot be, or is too much at once.
        """
        sizes = [roi[axis].stop - roi[axis].start for axis in along]
        if self.order > 1 or len(along) not in (2, 3):
            return None
        ends = matrix * (np.array(sizes) - 1)
        lows, highs = rest + np.minimum(ends, 0).sum(axis=1), rest + np.maximum(ends, 0).sum(axis=1)
        spans, offset = {}, []
        for axis, base, part, low, high in zip(along, origin, rest, lows, highs, strict=True):
            size = grid.shape[axis]
            begin, end = math.floor(low) + base, math.floor(high) + base + 2
            if begin < 0 or high > size - 1 - base:
                if self.mode != "grid-constant":
                    return None
                begin, end = max(begin, -1), min(end, size + 1)
                if begin >= end:
                    return np.full(size_of(roi), self.fill, grid.dtype)
            spans[axis] = Span.of(begin, end, size, self.order, self.mode, self.sigmas[axis])
            offset.append(part + (base - begin))
        block = self._coefficients(grid, roi, spans, lines or {})
        if block is None or not block.size:
            return None if block is None else np.full(size_of(roi), self.fill, grid.dtype)
        full = np.column_stack([matrix, offset])
        if (
            affine_values(np.empty((2,) * len(along), block.dtype), full, (1,) * len(along), self.order, self.fill)
            is None
        ):
            return None
        shape = tuple(sizes)

        def values(one: np.ndarray) -> np.ndarray:
            return rounded(np.asarray(affine_values(one, full, shape, self.order, self.fill)), grid.dtype)

        return _each(values, block, along)

    def _coefficients(
        self, grid: Grid, parts: Sequence[slice], spans: Mapping[int, Span], lines: Mapping[int, Line | Stretch]
    ) -> np.ndarray | None:
        """What the spans make of the array, and the values on the lines; empty and None as for `_read`."""
        spans, places = dict(spans), {}
        for axis, line in lines.items():
            begin, end = parts[axis].start, parts[axis].stop
            if self.order:
                places[axis] = line.places(begin, end)
                first = first_tap(self.order, *places[axis])[0]
            else:
                first = line.nearest(begin, end)
                places[axis] = first, np.zeros(0)
            low, high = int(first.min()), int(first.max()) + self.order + 1
            if high - low > MOST_VOXELS and end - begin > 1:
                return None
            spans[axis] = Span.of(low, high, grid.shape[axis], self.order, self.mode, self.sigmas[axis])
        block = self._read(grid, parts, spans)
        if block is None or not block.size:
            return block
        # what becomes smaller, first
        for axis in sorted(lines, key=lambda axis: (-abs(lines[axis].factor), axis)):
            whole, rest = places[axis]
            if self.order == 1 and self.sigmas[axis]:
                block = smoothed_values(block, axis, spans[axis], whole, rest, self.fill)
                continue
            block = spans[axis].apply(block, axis, self.fill)
            if self.order:
                block = values_on(block, axis, self.order, whole - spans[axis].begin, rest)
            elif len(whole) != block.shape[axis] or (np.diff(whole) != 1).any():
                block = block.take(whole - spans[axis].begin, axis)
        for axis, span in spans.items():
            if axis not in lines:
                block = span.apply(block, axis, self.fill)
        return block

    def _read(self, grid: Grid, parts: Sequence[slice], spans: Mapping[int, Span]) -> np.ndarray | None:
        """What the spans need, an empty array where that is nothing, None where it is too much."""
        if any(span.empty for span in spans.values()):
            return np.empty(0, grid.dtype)
        indices = [spans[a].read if a in spans else np.arange(part.start, part.stop) for a, part in enumerate(parts)]
        held = [max(len(at), len(spans[a].take) if a in spans else 0) for a, at in enumerate(indices)]
        if math.prod(held) > MOST_VOXELS and any(part.stop - part.start > 1 for part in parts):
            return None
        return read_indices(grid.read, indices)


def _each(values: Callable[[np.ndarray], np.ndarray], block: np.ndarray, along: Sequence[int]) -> np.ndarray:
    """A function of arrays with the axes `along`, for every index of the others."""
    apart = [axis for axis in range(block.ndim) if axis not in along]
    if not apart:
        return values(block)
    moved = block.transpose(*apart, *along)
    lead = moved.shape[: len(apart)]
    result: np.ndarray | None = None
    for index in np.ndindex(lead):
        found = values(moved[index])
        result = np.empty((*lead, *found.shape), found.dtype) if result is None else result
        result[index] = found
    assert result is not None
    return np.array(result.transpose(np.argsort([*apart, *along])), order="C", copy=None)


def halves(roi: Roi) -> tuple[Roi, Roi]:
    """A box cut across its longest axis."""
    axis = int(np.argmax(size_of(roi)))
    part = roi[axis]
    cut = (part.start + part.stop) // 2
    return (
        (*roi[:axis], slice(part.start, cut), *roi[axis + 1 :]),
        (*roi[:axis], slice(cut, part.stop), *roi[axis + 1 :]),
    )


def result_shape(shape: Any, inner: tuple[int, ...], along: Sequence[int]) -> tuple[int, ...]:
    """Sizes of all axes, of which some, or all, are given; None: those of the source.

    Raises
    ------
    ShapeError
        For another number of sizes, and such as are no whole numbers.
    """
    if shape is None:
        return inner
    given = list(shape) if np.ndim(shape) else [shape] * len(along)
    remedy = f"shape={inner}"
    if not all(isinstance(size, int | np.integer) and size >= 0 for size in given):
        raise ShapeError(f"shape={shape!r} is not made of sizes.", remedy=remedy)
    if len(given) == len(inner):
        return tuple(map(int, given))
    if len(given) != len(along):
        raise ShapeError(
            f"shape={shape!r} has {len(given)} entries; there can be {len(along)} for the axes that change, or"
            f" {len(inner)} for all.",
            remedy=remedy,
        )
    sizes = list(inner)
    for axis, size in zip(along, given, strict=True):
        sizes[axis] = int(size)
    return tuple(sizes)


def check_smoothing(given: Any, n: int) -> bool | list[float]:
    """Whether to smooth, or the sigmas.

    Raises
    ------
    ParameterError
        For what is neither, and sigmas that are negative or no numbers.
    """
    if isinstance(given, bool | np.bool_):
        return bool(given)
    try:
        sigmas = [float(one) for one in given]
    except (TypeError, ValueError):
        sigmas = []
    if len(sigmas) != n or not all(0 <= one < math.inf for one in sigmas):
        raise ParameterError(
            f"anti_aliasing={given!r} is neither a bool nor {n} sigmas of at least 0.", remedy="anti_aliasing=True"
        )
    return sigmas
