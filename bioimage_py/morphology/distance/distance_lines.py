"""Exact squared distances, one axis after the other: each line of an axis is transformed by itself.

The separable transform (A. Meijster, J. Roerdink, W. Hesselink 2000; P. Felzenszwalb, D. Huttenlocher 2012). A line
becomes the lower envelope of the parabolas that stand on its values, ``min_j g[j] + (w (i - j))^2``. Here all lines of
a block are shifted against each other at once, nearest first, until no farther parabola can be lower: the work grows
with the distances that occur, not with the length of the lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PIECE = 2**16
"""Values that are shifted at once: they stay in the processor's cache."""
_OFTEN = 8
"""Shifts after which is looked at what is still open."""


@dataclass(frozen=True)
class Metric:
    """How squared distances are computed.

    Parameters
    ----------
    sampling : tuple of float
        Size of a voxel along each axis that is worked along.
    whole : bool
        Squared distances in units of the smallest size are integers that fit 32 bits.
    """

    sampling: tuple[float, ...]
    whole: bool

    @classmethod
    def of(cls, sampling: tuple[float, ...], shape: tuple[int, ...]) -> Metric:
        """The metric of a volume with these axes."""
        unit = min(sampling)
        ratios = [size / unit for size in sampling]
        farthest = sum(round(ratio * max(0, n - 1)) ** 2 for ratio, n in zip(ratios, shape, strict=True))
        return cls(sampling, all(ratio.is_integer() for ratio in ratios) and farthest < 2**30)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of squared distances."""
        return np.dtype(np.int32 if self.whole else np.float64)

    @property
    def far(self) -> Any:
        """Squared distance of what has no background in its line."""
        return 2**30 if self.whole else np.inf

    @property
    def unit(self) -> float:
        """What squared distances are multiples of, as a length."""
        return min(self.sampling) if self.whole else 1.0

    def step(self, axis: int) -> float:
        """Size of a voxel along an axis, in these units."""
        return round(self.sampling[axis] / self.unit) if self.whole else self.sampling[axis]

    def lengths(self, squared: Array) -> Array:
        """Distances as float32; infinity where there is no background at all."""
        if self.whole and self.unit == 1 and squared.max(initial=0) <= 2**24:
            # these are whole in float32 too, whose root is that of float64, rounded
            near = squared.astype(np.float32)
            return np.sqrt(near, out=near)
        found = np.sqrt(squared, dtype=np.float64)
        found *= self.unit
        if self.whole:
            found[squared >= 2**30] = np.inf
        return found.astype(np.float32)

    def reach(self, axis: int, distance: float | None) -> int | None:
        """Voxels along an axis within a distance."""
        return None if distance is None else int(np.ceil(distance / self.sampling[axis]))


def first_axis(foreground: Array, axis: int, metric: Metric, which: int) -> tuple[Array, Array]:
    """Squared distance along one axis to the nearest voxel that is background, and its index there (-1 for none).

    Parameters
    ----------
    foreground : ndarray of bool
    axis : int
        Of the array.
    metric : Metric
    which : int
        The number of the axis in the metric.
    """
    lines = np.moveaxis(foreground, axis, 0)
    n = lines.shape[0]
    at = np.arange(n, dtype=np.int32).reshape(-1, *(1,) * (lines.ndim - 1))
    none = np.int32(2**30)
    before = np.maximum.accumulate(np.where(lines, -none, at), axis=0)
    after = np.minimum.accumulate(np.where(lines, none, at)[::-1], axis=0)[::-1]
    nearest = np.where(at - before.astype(np.int64) <= after.astype(np.int64) - at, before, after)
    nothing = (nearest == none) | (nearest == -none)
    steps = np.abs(nearest - at).astype(metric.dtype)
    steps[nothing] = 0
    squared = steps * metric.dtype.type(metric.step(which))
    squared *= squared
    squared[nothing], nearest[nothing] = metric.far, -1
    return np.moveaxis(squared, 0, axis), np.moveaxis(nearest, 0, axis)


def next_axis(
    squared: Array, axis: int, metric: Metric, which: int, reach: int | None = None, *, trace: bool = False
) -> tuple[Array, Array | None]:
    """Squared distances along one axis more, of those along others.

    Parameters
    ----------
    squared : ndarray
        Whole lines along the axis.
    axis, metric, which
        As in `first_axis`.
    reach : int, optional
        Voxels beyond which distances do not matter.
    trace : bool
        Also return which index of the line each value comes from.
    """
    lines = np.moveaxis(squared, axis, 0)
    n, shape = lines.shape[0], lines.shape
    flat = lines.reshape(n, -1)
    found = np.empty(flat.shape, flat.dtype)
    origin = np.empty(flat.shape, np.int32) if trace else None
    width = max(1, _PIECE // max(1, n))
    for begin in range(0, flat.shape[1], width):
        part = (slice(None), slice(begin, begin + width))
        piece = np.ascontiguousarray(flat[part])
        if origin is None:
            found[part] = _envelope(piece, metric.step(which), metric.far, reach)
        else:
            found[part], origin[part] = _traced(piece, metric.step(which), metric.far, reach)
    result = np.moveaxis(found.reshape(shape), 0, axis)
    return result, None if origin is None else np.moveaxis(origin.reshape(shape), 0, axis)


def _envelope(values: Array, step: float, far: Any, reach: int | None) -> Array:
    """Lower envelope of the parabolas on the values of lines, which run along the first axis."""
    n = len(values)
    result = values.copy()
    if not values.size or values.min() >= far:
        return result
    lines, columns = result, np.arange(values.shape[1])
    top, raised = values.max(), np.empty_like(values)
    for shift in range(1, n if reach is None else min(n, reach + 1)):
        cost = (step * shift) ** 2
        if cost >= top:
            break
        np.add(values, cost, out=raised)
        np.minimum(lines[:-shift], raised[shift:], out=lines[:-shift])
        np.minimum(lines[shift:], raised[:-shift], out=lines[shift:])
        if shift % _OFTEN == 0:
            highest = lines.max(axis=0)
            top, open_ = highest.max(), highest > cost
            if 2 * np.count_nonzero(open_) < len(columns):
                result[:, columns] = lines
                columns, values, lines = columns[open_], values[:, open_], np.ascontiguousarray(lines[:, open_])
                raised = np.empty_like(lines)
    if lines is not result:
        result[:, columns] = lines
    return result


def _traced(values: Array, step: float, far: Any, reach: int | None) -> tuple[Array, Array]:
    """As `_envelope`, and where each value comes from: of equals the nearest, of these the first."""
    n = len(values)
    result = values.copy()
    origin = np.empty(values.shape, np.int32)
    origin[...] = np.arange(n, dtype=np.int32)[:, None]
    if not values.size or values.min() >= far:
        return result, origin
    top, raised = values.max(), np.empty_like(values)
    at = np.arange(n, dtype=np.int32)[:, None]
    for shift in range(1, n if reach is None else min(n, reach + 1)):
        cost = (step * shift) ** 2
        if cost >= top:
            break
        np.add(values, cost, out=raised)
        for to, from_ in ((slice(shift, None), slice(None, -shift)), (slice(None, -shift), slice(shift, None))):
            better = raised[from_] < result[to]
            np.copyto(result[to], raised[from_], where=better)
            np.copyto(origin[to], np.broadcast_to(at[from_], better.shape), where=better)
        if shift % _OFTEN == 0:
            top = result.max()
    return result, origin
