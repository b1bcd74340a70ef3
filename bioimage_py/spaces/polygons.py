"""Many polygons as columns: how many parts each has, rings each part, points each ring, and all points in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BioimageError
from .schema import bad
from .values.geometry import LARGEST, Polygon, usable

COUNTS = ("parts", "rings", "points")
Array = npt.NDArray[Any]


def flat(polygons: Sequence[Polygon]) -> dict[str, Array]:
    """Return the columns of polygons: three of counts, and `xy` (n, 2)."""
    parts = [part for polygon in polygons for part in polygon.parts]
    rings = [ring for part in parts for ring in part]
    return {
        "parts": np.array([len(polygon.parts) for polygon in polygons], "<u4"),
        "rings": np.array([len(part) for part in parts], "<u4"),
        "points": np.array([len(ring) for ring in rings], "<u4"),
        "xy": np.concatenate(rings).astype("<f8") if rings else np.zeros((0, 2), "<f8"),
    }


def polygons_of(given: Any, n: int, column: Callable[[Any, str, int, str], Array]) -> tuple[list[Polygon], Array]:
    """Return the polygons of columns, and the bounds (n, 4) of each: smallest x, y, then largest.

    Parameters
    ----------
    given : dict
    n : int
        How many there must be.
    column : callable
        Reads the numbers of a column: (text, type, how many, place).

    Raises
    ------
    FormatError
        A count or a point is none, or a ring has no area; names the place.
    """
    if not isinstance(given, Mapping) or set(given) != {*COUNTS, "xy"}:
        raise bad("objects.polygons", f"it has not the keys {[*COUNTS, 'xy']}")
    counts: list[Array] = []
    for name, least in zip(COUNTS, (1, 1, 3), strict=True):
        found = column(given[name], "<u4", n, f"objects.polygons.{name}").astype(np.int64)
        if (found < least).any():
            raise bad(f"objects.polygons.{name}[{int(np.argmax(found < least))}]", f"it is below {least}")
        counts.append(found)
        n = int(found.sum())
    xy = column(given["xy"], "<f8", 2 * n, "objects.polygons.xy").reshape(-1, 2)
    if not (good := usable(xy).all(axis=1)).all():
        raise bad(f"objects.polygons.xy[{int(np.argmin(good))}]", f"it is not finite, or above {LARGEST:g}")
    if not n:
        return [], np.zeros((0, 4))
    parts, rings, points = (np.concatenate([[0], np.cumsum(found)]) for found in counts)
    whole = _whole(xy, points)
    places = points.tolist()
    of_rings = [xy[a:b] for a, b in pairwise(places)]
    places = rings.tolist()
    of_parts = [tuple(of_rings[a:b]) for a, b in pairwise(places)]
    places = parts.tolist()
    made = [Polygon.of_parts(of_parts[a:b]) for a, b in pairwise(places)]
    for i in np.flatnonzero(~np.logical_and.reduceat(whole, rings[parts[:-1]])).tolist():
        try:
            made[i] = Polygon(parts=made[i].parts)  # which leaves out a point that repeats the first, or refuses it
        except BioimageError as error:
            raise bad(f"objects.polygons[{i}]", error) from None
    low, high = (end.reduceat(xy, points[:-1])[rings[:-1]] for end in (np.minimum, np.maximum))  # of outer rings
    bounds = np.minimum.reduceat(low, parts[:-1]), np.maximum.reduceat(high, parts[:-1])
    return made, np.concatenate(bounds, axis=1)


def _whole(xy: Array, points: Array) -> Array:
    """Whether each ring has three different points, and does not repeat the first one as its last."""
    begin, ring = points[:-1], np.repeat(np.arange(len(points) - 1), np.diff(points))
    other = (xy != xy[begin][ring]).any(axis=1)
    at = np.flatnonzero(other)
    known, first = np.unique(ring[at], return_index=True)
    second = xy[begin]
    second[known] = xy[at[first]]
    third = other & (xy != second[ring]).any(axis=1)
    found: Array = np.logical_or.reduceat(third, begin) & other[points[1:] - 1]
    return found
