"""A source with voxels added around it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..blocks.boxes import common, is_empty, size_of, within
from ..errors import ParameterError
from ..sources.axes import Axis
from ..sources.casting import convert_values
from ..sources.indexing import Roi
from .base import WrapperSource, register_wrapper

_Gather = Callable[[np.ndarray, int], np.ndarray]

# where the voxel of a padded position (against the source, from negative to beyond its size) lies in the source
_GATHERED: dict[str, _Gather] = {
    "edge": lambda at, size: np.clip(at, 0, size - 1),
    "wrap": lambda at, size: at % size,
    "symmetric": lambda at, size: _folded(at % (2 * size), 2 * size - 1, size),
    "reflect": lambda at, size: _folded(at % (2 * size - 2), 2 * size - 2, size) if size > 1 else 0 * at,
}
_WHOLE = ("linear_ramp", "maximum", "mean", "median", "minimum")
MODES = ("constant", *_GATHERED, *_WHOLE)


def _folded(at: np.ndarray, period: int, size: int) -> np.ndarray:
    return np.where(at < size, at, period - at)


@register_wrapper
class PadSource(WrapperSource):
    """A read-only source with voxels added before and behind, on any axis and of any width.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    pad_width : int, or sequence of int or (int, int)
        For every axis how many voxels to add: behind the end, or a pair (before, behind). One number for all axes.
        (A sequence has an entry for each axis, and a number means the end only; `numpy.pad` reads both otherwise.)
    mode : str, default "constant"
        What they hold, as in `numpy.pad`: "constant", "edge", "reflect", "symmetric", "wrap"; or "linear_ramp",
        "maximum", "mean", "median", "minimum", for which a block at a padded side reads whole lines of the volume.
    constant_values : scalar, default 0
        Value for "constant", end value for "linear_ramp".

    Raises
    ------
    ParameterError
        For an unknown mode, or widths that are negative, fractional, or too few.
    """

    pictured = True

    def __init__(self, source: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> None:
        super().__init__(source)
        if mode not in MODES:
            raise ParameterError(f"The mode is {mode!r}.", remedy=f"use one of {', '.join(MODES)}")
        if 0 in self._source.shape and mode != "constant":
            raise ParameterError(f"An empty axis cannot be padded with mode {mode!r}.", remedy="mode='constant'")
        self._widths = normalize_widths(pad_width, self._source.ndim)
        self._mode = mode
        self._value = convert_values(constant_values, self._source.dtype)

    @property
    def pad_width(self) -> tuple[tuple[int, int], ...]:
        """Voxels added before and behind, per axis."""
        return self._widths

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis with what was added."""
        return tuple(before + n + after for n, (before, after) in zip(self._source.shape, self._widths, strict=True))

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index at which a unit of the storage begins."""
        origins = zip(self._source.grid_origin, self._widths, strict=True)
        return tuple(origin + before for origin, (before, _) in origins)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the inner source; the offset is that of the first voxel added."""
        pairs = zip(self._source.axes, self._widths, strict=True)
        return tuple(replace(axis, offset=axis.offset - before * axis.scale) for axis, (before, _) in pairs)

    def _getitem(self, roi: Roi) -> np.ndarray:
        shape = size_of(roi)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        # in the coordinates of the source
        wanted = [slice(p.start - w[0], p.stop - w[0]) for p, w in zip(roi, self._widths, strict=True)]
        if self._mode in _GATHERED:
            return self._gathered(wanted)
        return self._constant(wanted) if self._mode == "constant" else self._of_lines(wanted)

    def _gathered(self, wanted: list[slice]) -> np.ndarray:
        gather = _GATHERED[self._mode]
        sizes = zip(wanted, self._source.shape, strict=True)
        at = [gather(np.arange(part.start, part.stop), size) for part, size in sizes]
        box = tuple(slice(int(one.min()), int(one.max()) + 1) for one in at)
        block = self._source._viewitem(box)
        return np.array(block[np.ix_(*(one - part.start for one, part in zip(at, box, strict=True)))], order="C")

    def _constant(self, wanted: list[slice]) -> np.ndarray:
        result = np.full(size_of(wanted), self._value, self.dtype)
        inner = common(wanted, [slice(0, size) for size in self._source.shape])
        if not is_empty(inner):
            result[within(inner, wanted)] = self._source._viewitem(inner)
        return result

    def _of_lines(self, wanted: list[slice]) -> np.ndarray:
        """Pad whole lines along the axes on which the region reaches beyond the source, and cut it out."""
        inner, widths, place = [], [], []
        for part, size, width in zip(wanted, self._source.shape, self._widths, strict=True):
            beyond = part.start < 0 or part.stop > size
            inner.append(slice(0, size) if beyond else part)
            widths.append(width if beyond else (0, 0))
            first = part.start + width[0] if beyond else 0
            place.append(slice(first, first + part.stop - part.start))
        options = {"end_values": self._value} if self._mode == "linear_ramp" else {}
        block = self._source._viewitem(tuple(inner))
        padded = np.pad(block, widths, self._mode, **options)  # type: ignore[call-overload]
        return np.array(padded[tuple(place)], order="C")

    def _params(self) -> dict[str, Any]:
        params = {"pad_width": [list(pair) for pair in self._widths], "mode": self._mode}
        return params if self._mode not in ("constant", "linear_ramp") else {**params, "constant_values": self._value}


def normalize_widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """Return (before, behind) for every axis.

    Raises
    ------
    ParameterError
        For widths that are negative, fractional, or of another number than the axes.
    """
    given = list(pad_width) if isinstance(pad_width, Sequence | np.ndarray) else [pad_width] * ndim
    remedy = f"pad_width={[(0, 8)] * ndim}, (before, behind) for each axis"
    if len(given) != ndim:
        raise ParameterError(f"pad_width {pad_width!r} has {len(given)} entries for {ndim} axes.", remedy=remedy)
    widths = []
    for one in given:
        pair = tuple(one) if isinstance(one, Sequence | np.ndarray) else (0, one)
        try:
            before, after = map(operator.index, pair)
        except (TypeError, ValueError):
            raise ParameterError(f"pad_width has the entry {one!r}.", remedy=remedy) from None
        if min(before, after) < 0:
            raise ParameterError(f"pad_width has the negative entry {one!r}.", remedy=f"{remedy}; RoiSource cuts")
        widths.append((before, after))
    return tuple(widths)
