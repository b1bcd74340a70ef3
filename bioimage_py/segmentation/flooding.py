"""Seeded watershed and seeds from distances, on arrays and blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..blocks.boxes import common, shifted, size_of, within
from ..engine.block_functions import MapBlock
from ..errors import DtypeError, ParameterError, ShapeError
from ..sources import Source
from ..sources.casting import convert_values
from ..sources.indexing import Roi
from .components import block_components, ranked
from .tables import check_label_dtype

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_LARGEST_BALL = 6
"""Voxels from its middle along any axis."""

_SAMPLE, _HIDDEN = 2**16, 1024
"""Heights that are looked at, and how much smaller their usual distance may be than half of what all of them span."""

_SEED_TYPES = {"b": np.uint32, "u": np.uint32, "i": np.int32}


def check_flooding(ndim: int, height: np.dtype[Any], seeds: np.dtype[Any]) -> None:
    """Refuse what the watershed cannot flood.

    Raises
    ------
    ShapeError
        Unless there are 2 or 3 axes.
    DtypeError
        If seeds are not integers, or heights neither integers nor floats.
    """
    if ndim not in (2, 3):
        raise ShapeError(
            f"watershed floods arrays of 2 or 3 axes, got {ndim}", remedy="call it on each volume of a longer array"
        )
    check_label_dtype(seeds, "seeds")
    if height.kind not in "biuf":
        raise DtypeError(
            f"watershed needs heights that are numbers, got {height}", remedy="convert the input to float32"
        )


@dataclass(frozen=True)
class Watershed:
    """Flood a height map from seeds.

    Meyer's flooding over voxels that share a face; bioimage-cpp sorts heights into 65,536 levels between the lowest and
    the highest of the array (Meyer, "Un algorithme optimal pour la ligne de partage des eaux", 1991). Where a few
    heights lie so far from the others that these would share a level, levels follow the order of the heights instead.
    The same arrays give the same labels.
    """

    def __call__(
        self,
        height: Array,
        seeds: Array,
        mask: Array | None = None,
        before: Array | None = None,
        begin: Sequence[int] | None = None,
        part: tuple[slice, ...] = (),
    ) -> Array:
        """Flood one array.

        Parameters
        ----------
        height : ndarray of numbers, 2 or 3 axes
            Low values are flooded first.
        seeds : ndarray of integers, same shape
            Ids of the objects; 0 is unlabelled.
        mask : ndarray, same shape, optional
            Only voxels where it is not 0 are flooded; their seeds alone count.
        before : ndarray of integers, same shape, optional
            Values of the voxels outside the mask; 0 by default.
        begin : sequence of int, optional
            Where the array begins in its volume, for the message of an error.
        part : tuple of slice, optional
            What to return of the result; all by default, and with `before`.

        Returns
        -------
        ndarray of integers, same shape (of the part asked for), of the type of the seeds but at least 32 bits
            Seed ids exactly as given; 0 where no seed reaches.

        Raises
        ------
        ParameterError
            If a height inside the mask is NaN or infinite.
        """
        from bioimage_cpp.segmentation import watershed

        check_flooding(height.ndim, height.dtype, seeds.dtype)
        inside = None if mask is None else np.ascontiguousarray(mask, np.bool_)
        markers = _markers(seeds)
        flooded: Array = markers
        if markers.any():
            levels = _told_apart(_finite(_levels(height), inside, begin), inside)
            flooded = watershed(levels, markers, mask=inside)
        # the type follows from that of the seeds, not from their values: whoever adds to an id must not see it wrap
        wide = np.promote_types(seeds.dtype, markers.dtype)
        if before is None or inside is None:
            return flooded[part].astype(wide, copy=False)
        flooded = flooded.astype(wide, copy=False)
        result = before.copy()
        result[inside] = convert_values(flooded[inside], before.dtype)
        return result


def flood_around(
    height: Array, seeds: npt.NDArray[np.uint32], inside: Mask | None, begin: Sequence[int] | None = None
) -> npt.NDArray[np.uint32]:
    """As `Watershed`, of which only the voxels without a seed, and those beside them, are given to the kernel.

    Seeds that cover most of an array, as those of a segmentation do, are then flooded in half of the time. Levels lie
    between the heights of these voxels.
    """
    from bioimage_cpp.segmentation import watershed

    check_flooding(height.ndim, height.dtype, seeds.dtype)
    levels = _finite(_levels(height), inside, begin)
    free = seeds == 0
    if not free.any() or free.all():
        return seeds
    wanted = free.copy()
    for axis in range(free.ndim):
        to, of = np.moveaxis(wanted, axis, 0), np.moveaxis(free, axis, 0)
        to[1:] |= of[:-1]
        to[:-1] |= of[1:]
    if inside is not None:
        wanted &= inside
    flooded = watershed(_told_apart(levels, wanted), np.ascontiguousarray(seeds), mask=wanted)
    return np.asarray(np.where(wanted, flooded, seeds), np.uint32)


@dataclass(frozen=True)
class FloodBlock(MapBlock):
    """The block function of a watershed: of heights and seeds, only the box around the mask is read and flooded.

    The kernel's levels lie between the lowest and the highest voxel of the mask, so the labels are the same.
    """

    def result(self, inner: Roi, outer: Roi, inputs: Sequence[Source]) -> Any:
        """Flood a block with its halo."""
        height, seeds, *masks = inputs
        inside = [mask.view(outer) for mask in masks]
        local = _around(inside[0]) if inside else within(outer, outer)
        box = shifted(local, [part.start for part in outer])
        wanted = common(inner, box)
        begin, part = tuple(axis.start for axis in box), within(wanted, box)
        arrays = height.view(box), seeds.view(box), *(mask[local] for mask in inside)
        flooded = self.kernel(*arrays, begin=begin, part=part)
        if wanted == inner:
            return flooded
        result = np.zeros(size_of(inner), flooded.dtype)
        result[within(wanted, inner)] = flooded
        return result


def _around(mask: Array) -> Roi:
    """The smallest box that holds all voxels that are not 0, of which there is one."""
    found = []
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        found.append(slice(int(along[0]), int(along[-1]) + 1))
    return tuple(found)


def seed_mask(
    foreground: Array,
    *,
    sampling: float | Sequence[float] | None = None,
    min_distance: float = 0.0,
    method: Literal["threshold", "maxima"] = "threshold",
    sigma: float = 0.0,
) -> Mask:
    """Voxels that are seeds, chosen by their distance to the background.

    Parameters
    ----------
    foreground : ndarray
        Voxels that are not 0 belong to objects, voxels that are 0 to boundaries or background. The array's edge is
        no background.
    sampling : float or sequence of float, optional
        Distance between neighbouring voxels along each axis; default 1.
    min_distance : float
        Seeds lie further than this from the background, in units of ``sampling``. For ``method="threshold"`` and a
        block read with a halo of ``min_distance / sampling`` the result is that of the whole volume.
    method : {"threshold", "maxima"}
        "threshold" takes all voxels further than ``min_distance``, "maxima" only the local maxima of the distance
        (plateaus whole, neighbours up to the corners).
    sigma : float
        For "maxima": Gaussian smoothing of the distance first, in units of ``sampling``; gives fewer seeds.

    Returns
    -------
    ndarray of bool, same shape

    Raises
    ------
    ParameterError
        For an unknown method, a negative distance or sigma, or a sampling that doesn't fit the axes.
    """
    steps = _sampling(sampling, foreground.ndim)
    if method not in ("threshold", "maxima"):
        raise ParameterError(f"unknown method {method!r}", remedy='method="threshold" or method="maxima"')
    for name, value in (("min_distance", min_distance), ("sigma", sigma)):
        if not (math.isfinite(value) and value >= 0):
            raise ParameterError(f"{name} must be a finite number >= 0, got {value!r}", remedy=f"{name}=0")
    if method == "threshold" and foreground.ndim > 1 and (ball := _ball(min_distance, steps)) is not None:
        return _without(foreground != 0, ball)
    distance = _distance(foreground != 0, steps)
    seeds: Mask = distance > min_distance
    if method == "maxima" and not np.isinf(distance).any():
        seeds &= _maxima(distance, [sigma / step for step in steps])
    return seeds


def distance_seeds(
    foreground: Array,
    *,
    sampling: float | Sequence[float] | None = None,
    min_distance: float = 0.0,
    method: Literal["threshold", "maxima"] = "threshold",
    sigma: float = 0.0,
) -> npt.NDArray[np.uint64]:
    """Seeds for a watershed: connected components of :func:`seed_mask`, which explains the parameters.

    Returns
    -------
    ndarray of uint64, same shape
        Seeds 1..n, numbered by their first voxel in C order; neighbours share a face ("threshold") or at least a
        corner ("maxima", so that a plateau is one seed).
    """
    seeds = seed_mask(foreground, sampling=sampling, min_distance=min_distance, method=method, sigma=sigma)
    return ranked(block_components(seeds, connectivity=seeds.ndim if method == "maxima" else 1))


def _markers(seeds: Array) -> Array:
    # The kernel jumps about in this array: half as wide, more of it stays in the processor's cache.
    narrow, wide = np.iinfo(_SEED_TYPES[seeds.dtype.kind]), seeds.dtype.itemsize > 4
    if wide and (seeds.max(initial=0) > narrow.max or (narrow.min and seeds.min(initial=0) < narrow.min)):
        return np.ascontiguousarray(seeds, seeds.dtype.newbyteorder("="))
    return np.ascontiguousarray(seeds, narrow.dtype)


def _levels(height: Array) -> Array:
    # float32 is exact for up to 16 bits; wider integers keep more of their order in float64.
    narrow = height.dtype.itemsize <= 2 or height.dtype == np.float32
    return np.ascontiguousarray(height, np.float32 if narrow else np.float64)


def _finite(height: Array, inside: Mask | None, begin: Sequence[int] | None) -> Array:
    if not height.size or np.isfinite((height.min(), height.max())).all():  # NaN is the least and the largest
        return height
    wrong = ~np.isfinite(height)
    if inside is not None and not (wrong & inside).any():
        return np.where(inside, height, height[inside].min() if inside.any() else 0)
    where = np.argwhere(wrong if inside is None else wrong & inside)[0]
    place = (where + (0 if begin is None else np.array(begin))).tolist()
    raise ParameterError(
        f"watershed cannot flood the height {height[tuple(where)]} at {tuple(place)} of the"
        f" {'array' if begin is None else 'volume'}",
        remedy="replace such values with numpy.nan_to_num, or leave them out with mask=",
    )


def _told_apart(height: Array, inside: Mask | None) -> Array:
    """Heights; or their ranks, where one far away from all others would leave a single level for these."""
    values = height.ravel() if inside is None else height[inside]
    if not values.size or (half := values.max() / 2 - values.min() / 2) == 0:  # a difference may be too large
        return height
    for some in (values[:: max(1, values.size // _SAMPLE)], values):
        away = np.abs(some / 2 - np.median(some) / 2)
        away = away[away > 0]
        if away.size:
            break
    if away.size and np.median(away) >= half / _HIDDEN:
        return height
    rank = np.unique(values, return_inverse=True)[1].astype(np.float64)
    if inside is None:
        return np.asarray(rank.reshape(height.shape))
    result = np.zeros(height.shape, np.float64)
    result[inside] = rank
    return result


def _sampling(sampling: float | Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    given = (1.0,) * ndim if sampling is None else np.broadcast_to(sampling, (np.size(sampling),)).tolist()
    steps = tuple(float(step) for step in (given * ndim if len(given) == 1 else given))
    if len(steps) != ndim or not all(math.isfinite(step) and step > 0 for step in steps):
        raise ParameterError(
            f"sampling needs one positive number for each of {ndim} axes, got {sampling!r}",
            remedy=f"sampling={(1.0,) * ndim}",
        )
    return steps


def _distance(foreground: Mask, steps: tuple[float, ...]) -> npt.NDArray[np.float32]:
    if foreground.all():
        return np.full(foreground.shape, np.inf, np.float32)
    from bioimage_cpp.distance import distance_transform

    distance: npt.NDArray[np.float32] = distance_transform(np.ascontiguousarray(foreground), sampling=steps)
    return distance


def _ball(radius: float, steps: tuple[float, ...]) -> Mask | None:
    """The voxels within a distance of the middle one; None where there are so many that distances cost less."""
    reach = [int(radius / step) + 1 for step in steps]
    if max(reach) > _LARGEST_BALL:
        return None
    axes = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    squares = sum((axis * step) ** 2 for axis, step in zip(axes, steps, strict=True))
    return np.asarray(np.sqrt(squares).astype(np.float32) <= radius, np.bool_)


def _without(foreground: Mask, ball: Mask) -> Mask:
    """The voxels around which a ball holds no background: exact, and several times as fast as distances."""
    import cv2

    if not foreground.size:
        return foreground
    planes = (~foreground).view(np.uint8).reshape(-1, *foreground.shape[-2:])
    discs = ball.view(np.uint8).reshape(-1, *ball.shape[-2:])
    near = np.zeros_like(planes)
    middle = len(discs) // 2
    for shift, disc in enumerate(discs, -middle):
        if abs(shift) < len(planes) and disc.any():
            to, of = near[max(0, shift) : len(near) + min(0, shift)], planes[max(0, -shift) :]
            for plane, seen in zip(to, of, strict=False):
                plane |= cv2.dilate(seen, disc)
    return np.asarray(near.reshape(foreground.shape) == 0)


def _maxima(distance: npt.NDArray[np.float32], sigmas: Sequence[float]) -> Mask:
    from scipy.ndimage import gaussian_filter
    from skimage.morphology import local_maxima

    smooth = gaussian_filter(distance, sigmas) if any(sigmas) else distance
    maxima: Mask = local_maxima(smooth, connectivity=distance.ndim)
    return maxima.astype(np.bool_, copy=False)
