"""One block of a watershed: flooded from its seeds, and from all places at which water could come in over its faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..flooding import flood_around

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Side = tuple[int, bool]
"""A face of a block: its axis, and whether it is the one at the end."""

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


@dataclass(frozen=True)
class Passes:
    """Pairs of basins, and how high one has to climb from the first to the second.

    Parameters
    ----------
    pairs : ndarray of unsigned int, (passes, 2)
    high, low : ndarray, (passes,)
        Of the two voxels where the way is lowest; the lower one decides where the higher ones are equal.
    """

    pairs: npt.NDArray[np.unsignedinteger[Any]]
    high: Array
    low: Array


@dataclass(frozen=True)
class Face:
    """Where water could come in over a face, in C order: the block beyond it finds the same places.

    Parameters
    ----------
    basins : ndarray of uint32, (places,)
        The basin of this block at each of them.
    high, low : ndarray, (places,)
        Heights of the two voxels on both sides.
    """

    basins: npt.NDArray[np.uint32]
    high: Array
    low: Array


@dataclass(frozen=True)
class Basins:
    """What is known of the basins of a block, which are numbered from 1.

    Parameters
    ----------
    seeds : ndarray of integers, (m,)
        Ids of the first m basins; of the others it is not known yet.
    n : int
        Number of basins.
    passes : Passes
        Of pairs of which one at least has no seed.
    faces : dict
        A `Face` for each side beyond which there is something.
    """

    seeds: Array
    n: int
    passes: Passes
    faces: dict[Side, Face] = field(default_factory=dict)


def flooded(
    height: Array,
    seeds: Array,
    inside: Mask | None,
    inner: tuple[slice, ...],
    sides: Sequence[Side],
    begin: Sequence[int] | None = None,
    first: int = 0,
) -> tuple[npt.NDArray[np.uint32], int, Passes, dict[Side, Face]]:
    """Flood one array.

    Parameters
    ----------
    height : ndarray, 2 or 3 axes
        A block, and a voxel beyond it on the sides named.
    seeds : ndarray of uint32
        Of the block alone, numbered from 1.
    inside : ndarray of bool, optional
        As heights: what is flooded.
    inner : tuple of slice
        The block in these heights.
    sides : sequence of (axis, bool)
    begin : sequence of int, optional
        Where the heights begin in the volume, for messages.
    first : int
        Numbers that are taken by seeds, and by what has been flooded before.

    Returns
    -------
    labels, numbers taken, passes, faces
    """
    markers = seeds.copy()
    seeded = first
    own, mask = height[inner], None if inside is None else inside[inner]
    found: dict[Side, tuple[Any, Array, Array]] = {}
    for side in sides:
        pair = _across(height, inner, side)
        both = None if inside is None else np.logical_and(*_across(inside, inner, side))
        places = _lowest(np.maximum(*pair), both)
        face = _at(markers, side)
        free = face[places] == 0
        new = np.zeros(len(free), np.uint32)
        new[free] = first + 1 + np.arange(np.count_nonzero(free), dtype=np.uint32)
        face[places] = np.where(free, new, face[places])
        first += int(np.count_nonzero(free))
        found[side] = places, pair[0][places], pair[1][places]
    start = None if begin is None else [at + part.start for at, part in zip(begin, inner, strict=True)]
    labels = flood_around(own, markers, mask, start)
    faces = {
        side: Face(_at(labels, side)[places], np.maximum(one, other), np.minimum(one, other))
        for side, (places, one, other) in found.items()
    }
    return labels, first, passes_of(labels, own, seeded), faces


def _across(array: Array, inner: tuple[slice, ...], side: Side) -> tuple[Array, Array]:
    """The last plane of a block on a side, and the first one beyond it."""
    axis, end = side
    here = inner[axis].stop - 1 if end else inner[axis].start
    there = here + (1 if end else -1)
    return tuple(array[(*inner[:axis], at, *inner[axis + 1 :])] for at in (here, there))  # type: ignore[return-value]


def _at(array: Array, side: Side) -> Array:
    """The plane of a block on a side, as a view."""
    axis, end = side
    return np.asarray(np.moveaxis(array, axis, 0)[-1 if end else 0])


def _lowest(height: Array, inside: Mask | None) -> tuple[npt.NDArray[np.intp], ...]:
    """The lowest places of a plane, one of each plateau, in C order.

    From every other place one gets to one of them without climbing, so water comes in there no later.
    """
    from scipy.ndimage import label

    low = np.ones(height.shape, np.bool_) if inside is None else inside.copy()
    for axis in range(height.ndim):
        values = np.moveaxis(height, axis, 0)
        valid = None if inside is None else np.moveaxis(inside, axis, 0)
        here = np.moveaxis(low, axis, 0)
        for one, other in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            above = values[one] > values[other]
            here[one] &= ~(above if valid is None else above & valid[other])
    plateaus, _ = label(low, structure=_CROSS if low.ndim == 2 else None)
    ids, firsts = np.unique(plateaus, return_index=True)
    return np.unravel_index(np.sort(firsts[ids != 0]), low.shape)


def passes_of(labels: npt.NDArray[np.uint32], height: Array, seeded: int) -> Passes:
    """The lowest passes between basins that touch, where one of both at least is above a number.

    Parameters
    ----------
    labels : ndarray of uint32
    height : ndarray, same shape
    seeded : int
        Basins up to this one have a seed.
    """
    pairs, high, low = [], [], []
    for axis in range(labels.ndim):
        moved, heights = np.moveaxis(labels, axis, 0), np.moveaxis(height, axis, 0)
        one, other = moved[:-1], moved[1:]
        touch = (one != other) & (np.maximum(one, other) > seeded)
        a, b = one[touch], other[touch]
        h, g = heights[:-1][touch], heights[1:][touch]
        pairs.append(np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1))
        high.append(np.maximum(h, g))
        low.append(np.minimum(h, g))
    return lowest(np.concatenate(pairs), np.concatenate(high), np.concatenate(low))


def lowest(pairs: Array, high: Array, low: Array) -> Passes:
    """The lowest pass of each pair, ascending by pair; a pair with 0 is none."""
    there = pairs[:, 0] != 0
    pairs, high, low = pairs[there], high[there], low[there]
    order = np.lexsort((low, high, pairs[:, 1], pairs[:, 0]))
    pairs = pairs[order]
    first = np.ones(len(pairs), np.bool_)
    first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return Passes(pairs[first], high[order][first], low[order][first])
