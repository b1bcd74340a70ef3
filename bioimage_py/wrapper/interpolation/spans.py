"""What is needed along one axis of an array to look at places on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...sources.indexing import Roi
from .boundary import CONSTANTS, source_index
from .splines import RADII, coefficient_window

TRUNCATE = 4.0
"""Standard deviations at which the window of the smoothing ends, as in scipy."""

Reader = Callable[[Roi], np.ndarray]


@dataclass(frozen=True)
class Span:
    """Voxels to read along an axis, and how they become the spline's coefficients from index `begin` on.

    Parameters
    ----------
    begin : int
        Index, of the axis continued beyond its borders, of the first coefficient.
    read : numpy.ndarray
        Indices of the voxels to read, in this order.
    sigma : float
        Of the Gaussian that they are smoothed with; as many voxels as its window needs are then cut off at both ends.
    take : numpy.ndarray
        Which of what is left stands where.
    outside : numpy.ndarray
        Where `fill_value` stands instead.
    order : int
        Of the spline.
    """

    begin: int
    read: np.ndarray
    sigma: float
    take: np.ndarray
    outside: np.ndarray
    order: int

    @classmethod
    def of(cls, begin: int, end: int, size: int, order: int, mode: str, sigma: float) -> Span:
        """Of the coefficients ``begin`` to ``end - 1`` along an axis of `size` voxels."""
        margin = RADII[order]
        shown = source_index(mode, np.arange(begin - margin, end + margin), size)
        outside = shown < 0
        if outside.all():
            nothing = np.zeros(0, np.int64)
            return cls(begin, nothing, 0.0, nothing, outside, order)
        radius = int(TRUNCATE * sigma + 0.5)
        if not sigma:
            return cls(begin, shown[~outside], 0.0, np.where(outside, 0, np.cumsum(~outside) - 1), outside, order)
        if mode not in ("nearest", *CONSTANTS):
            # smoothing what is mirrored or repeated is mirroring or repeating what is smoothed
            wide = np.arange(begin - margin - radius, end + margin + radius)
            return cls(begin, source_index(mode, wide, size), sigma, np.arange(len(shown)), outside, order)
        first, last = int(shown[~outside].min()), int(shown.max())
        read = source_index("nearest", np.arange(first - radius, last + radius + 1), size)
        return cls(begin, read, sigma, np.where(outside, 0, shown - first), outside, order)

    @property
    def empty(self) -> bool:
        """Whether no voxel of the array is seen."""
        return not self.read.size

    def apply(self, block: np.ndarray, axis: int, fill: Any) -> np.ndarray:
        """Coefficients along an axis of what was read."""
        if self.sigma:
            from scipy.ndimage import gaussian_filter1d

            radius = int(TRUNCATE * self.sigma + 0.5)
            smooth = gaussian_filter1d(block.astype(np.float64, copy=False), self.sigma, axis, truncate=TRUNCATE)
            block = smooth[(slice(None),) * axis + (slice(radius, radius + int(self.take.max()) + 1),)]
        if len(self.take) != block.shape[axis] or (np.diff(self.take) != 1).any():
            block = block.take(self.take, axis)
            if self.outside.any():
                block[(slice(None),) * axis + (self.outside,)] = fill
        if radius := RADII[self.order]:
            from scipy.ndimage import correlate1d

            found = correlate1d(block.astype(np.float64, copy=False), coefficient_window(self.order), axis)
            block = found[(slice(None),) * axis + (slice(radius, found.shape[axis] - radius),)]
        return block


def smoothed_values(
    block: np.ndarray, axis: int, span: Span, whole: np.ndarray, rest: np.ndarray, fill: Any
) -> np.ndarray:
    """Linear values between smoothed voxels: `Span.apply` and `values_on` at once, for places that are few.

    Each is a sum over the window of the Gaussian around the voxels on both sides of it.
    """
    radius = int(TRUNCATE * span.sigma + 0.5)
    window = np.exp(-0.5 / span.sigma**2 * np.arange(-radius, radius + 1.0) ** 2)
    window /= window.sum()
    low = whole - span.begin
    high = np.minimum(low + 1, len(span.take) - 1)
    weights = [np.where(span.outside[at], 0.0, weight) for at, weight in ((low, 1 - rest), (high, rest))]
    beyond = span.outside[low] * (1 - rest) + span.outside[high] * rest
    # a neighbour that is not seen stands where the other one is
    first = span.take[np.where(span.outside[low], high, low)]
    apart = span.take[np.where(span.outside[high], low, high)] - first
    shape = [-1 if one == axis else 1 for one in range(block.ndim)]
    result = np.empty((*block.shape[:axis], len(whole), *block.shape[axis + 1 :]))
    result[...] = np.where(beyond > 0, fill * beyond, 0.0).reshape(shape)
    for tap in range(2 * radius + 2):
        before, here = (window[at] if 0 <= at < len(window) else 0.0 for at in (tap - 1, tap))
        weight = weights[0] * here + weights[1] * np.where(apart > 0, before, here)
        part = block.take(np.minimum(first + tap, block.shape[axis] - 1), axis)
        with np.errstate(invalid="ignore"):  # infinity without weight, or of both signs
            result += np.multiply(part, weight.reshape(shape), dtype=np.float64)
    return result


def read_indices(read: Reader, indices: Sequence[np.ndarray]) -> np.ndarray:
    """The voxels of an array at the given indices of each axis, read as few boxes that hold little else."""
    for axis, at in enumerate(indices):
        # an axis that continues at its other end is read at both ends, not as a whole
        jumps = np.flatnonzero(np.abs(np.diff(at)) > 1)
        if jumps.size:
            cut = int(jumps[0]) + 1
            parts = [[*indices[:axis], part, *indices[axis + 1 :]] for part in (at[:cut], at[cut:])]
            return np.concatenate([read_indices(read, part) for part in parts], axis)
    starts = [int(at.min()) for at in indices]
    block = read(tuple(slice(start, int(at.max()) + 1) for start, at in zip(starts, indices, strict=True)))
    for axis, (at, start) in enumerate(zip(indices, starts, strict=True)):
        if len(at) != block.shape[axis] or (np.diff(at) != 1).any():
            block = block.take(at - start, axis)
    return block
