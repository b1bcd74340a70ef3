"""Superpixels of one array: a watershed from the middle of what boundaries enclose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ValueRangeError
from ...filters.gaussian_kernel import Gaussian

Array = npt.NDArray[Any]

_ABOUT = 0.1
"""How far networks without a last clip stray beyond 0 and 1."""


@dataclass(frozen=True)
class Fragments:
    """The kernel of `distance_watershed`, on 2 or 3 axes.

    Parameters
    ----------
    threshold : float
        From here on a voxel is a boundary.
    sigma, seed_sigma : tuple of float
        Smoothing of boundaries and of distances, in voxels per axis; empty: none.
    sampling : tuple of float
        Distance between voxels along each axis.
    alpha : float
        Part of the boundaries in the heights; the rest is that of distances.
    min_size : int
        Voxels.
    """

    threshold: float
    sigma: tuple[float, ...]
    seed_sigma: tuple[float, ...]
    sampling: tuple[float, ...]
    alpha: float
    min_size: int

    def __call__(self, boundaries: Array, *, inside: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.uint32]:
        """Ids 1 .. n of an array; 0 outside of a mask."""
        if not boundaries.size or (inside is not None and not inside.any()):
            return np.zeros(boundaries.shape, np.uint32)
        smooth = probabilities(boundaries)
        if self.sigma:
            smooth = Gaussian(self.sigma)(smooth)
        distance = self._distance(smooth)
        seeds = self._seeds(distance, smooth, inside)
        heights = self.alpha * smooth + np.float32(1 - self.alpha) / (1 + distance)
        return self._flooded(np.ascontiguousarray(heights, np.float32), seeds, inside)

    def _distance(self, smooth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """To the nearest boundary; where there is none, further than the array is long."""
        import edt

        within = smooth < self.threshold
        farthest = float(sum(size * step for size, step in zip(smooth.shape, self.sampling, strict=True)))
        if within.all():
            return np.full(smooth.shape, farthest, np.float32)
        found = edt.edt(within, anisotropy=self.sampling, black_border=False, parallel=1)
        return np.asarray(np.minimum(found, farthest), np.float32)

    def _seeds(
        self, distance: npt.NDArray[np.float32], smooth: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint32]:
        """One for each local maximum of the distance; of all that is boundary, one where there is least of it."""
        import cc3d
        from scipy.ndimage import maximum_filter

        hills = Gaussian(self.seed_sigma)(distance) if self.seed_sigma else distance
        tops = (hills == maximum_filter(hills, size=3)) & (distance > 0)
        if distance.min() == distance.max():  # nowhere is a middle, and rounding would make some
            tops[...] = False
        if inside is not None:
            tops &= inside
        if not tops.any():
            allowed = smooth if inside is None else np.where(inside, smooth, np.float32(np.inf))
            tops.flat[int(np.argmin(allowed))] = True
        return np.asarray(cc3d.connected_components(tops, connectivity=26 if tops.ndim == 3 else 8), np.uint32)

    def _flooded(
        self, heights: npt.NDArray[np.float32], seeds: npt.NDArray[np.uint32], inside: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint32]:
        """Flood, drop what has stayed small, and flood again into its place."""
        from bioimage_cpp.segmentation import watershed

        mask = None if inside is None else np.ascontiguousarray(inside)
        labels = np.asarray(watershed(heights, seeds, mask=mask))
        size = np.bincount(labels.ravel())
        large = size >= self.min_size
        large[0] = False
        if large.any() and not large[1:].all():
            kept = np.where(large[labels], labels, np.zeros(1, labels.dtype))
            labels = np.asarray(watershed(heights, kept, mask=mask))
        return labels.astype(np.uint32, copy=False)


def probabilities(values: Array, dtype: npt.DTypeLike = np.float32, *, nan: int = 1) -> npt.NDArray[Any]:
    """Boundaries, or affinities, as floats of 0 to 1: of integers the largest of their type is 1.

    NaN counts as ``nan``: 1 of boundaries, 0 of affinities, so that it never joins. Negative integers count as 0, and
    so do floats that are a little below it; those a little above 1 as 1.

    Raises
    ------
    ValueRangeError
        For floats beyond -0.1 or 1.1: they count in something else.
    """
    kind = np.dtype(dtype)
    if values.dtype == np.bool_:
        return values.astype(kind)
    if values.dtype.kind in "iu":
        return np.asarray(np.maximum(values, 0).astype(kind) / kind.type(np.iinfo(values.dtype).max), kind)
    found = np.where(np.isnan(values), values.dtype.type(nan), values)
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
    if low < -_ABOUT or high > 1 + _ABOUT:
        raise ValueRangeError(
            f"boundaries and affinities of type {values.dtype} are probabilities, 0 to 1; there are values from"
            f" {low:.6g} to {high:.6g}",
            remedy="bp.operations.divide(input, largest, output), or integers: the largest of their type is 1",
        )
    return np.asarray(found.clip(0, 1), kind)


def connected(labels: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Pieces of equal ids that hang together by faces, 1 .. n; 0 stays."""
    import cc3d

    if not labels.size:
        return labels
    return np.asarray(cc3d.connected_components(labels, connectivity=6 if labels.ndim == 3 else 4), np.uint32)
