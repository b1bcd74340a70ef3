"""What is known of the objects of a region, as a table; tables of neighbouring regions merge to that of both.

An object is an id at one index of the axes that are kept apart. Rows are first the runs of equal ids along the last
axis, then objects of blocks, then objects: all three are merged by the same function. Counts, sums of coordinates,
boxes, extrema and sums of integers are exact whatever the blocks are; second moments are merged as means and squared
deviations (T. Chan, G. Golub, R. LeVeque 1983), which differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Intensity:
    """Values of one channel in the rows of a table.

    Attributes
    ----------
    low, high : ndarray, in the type of the values
    total : ndarray of int64 for integers of at most 32 bits, else of float64
    squares : ndarray of float64
        Sums of squared deviations from the row's mean.
    values : tuple of ndarray, optional
        (row, value, count): how often a value occurs in a row, for percentiles.
    """

    low: Array
    high: Array
    total: Array
    squares: Array
    values: tuple[Array, Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class Objects:
    """A table of objects, sorted by place and id.

    Attributes
    ----------
    place : ndarray of int64, shape (n,)
        Flat index along the axes that are kept apart.
    ids : ndarray, shape (n,)
        In the type of the labels.
    count : ndarray of int64, shape (n,)
    sums : ndarray of int64, shape (n, ndim)
        Of the coordinates.
    low, high : ndarray of int64, shape (n, ndim)
        Bounding box; the end is exclusive.
    central : ndarray of float64, shape (n, ndim, ndim), optional
        Sums of products of deviations from the centroid.
    surface : ndarray of float64, shape (n,), optional
    intensities : tuple of Intensity
        One a channel.
    """

    place: Array
    ids: Array
    count: Array
    sums: Array
    low: Array
    high: Array
    central: Array | None = None
    surface: Array | None = None
    intensities: tuple[Intensity, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def mean(self) -> Array:
        """Centroids."""
        return self.sums / self.count[:, None]


def native(values: Array) -> Array:
    """An array in the machine's byte order, bools as integers."""
    values = values.view(np.uint8) if values.dtype.kind == "b" else values
    return values.astype(values.dtype.newbyteorder("="), copy=False)


_PLAIN = ("place", "ids", "count", "sums", "low", "high", "central", "surface")


def grouped(rows: Objects) -> Objects:
    """A table with one row for each object of the rows."""
    order = np.lexsort((rows.ids, rows.place)) if rows.place.any() else np.argsort(rows.ids, kind="stable")
    place, ids = rows.place[order], rows.ids[order]
    new = np.ones(len(ids), np.bool_)
    new[1:] = (ids[1:] != ids[:-1]) | (place[1:] != place[:-1])
    starts = np.flatnonzero(new)
    if not len(starts):
        return rows
    group = np.cumsum(new) - 1

    def added(values: Array) -> Array:
        return np.add.reduceat(values[order], starts, axis=0)

    count, sums = added(rows.count), added(rows.sums)
    central = None
    if rows.central is not None:
        # deviations from a voxel of the group first: means of large coordinates would lose the digits that count
        origin = rows.low[order][starts][group]
        shift = (rows.sums[order] - rows.count[order][:, None] * origin) / rows.count[order][:, None]
        weight = rows.count[order].astype(np.float64)
        mean = (np.add.reduceat(shift * weight[:, None], starts, axis=0) / count[:, None])[group]
        off = shift - mean
        between = weight[:, None, None] * off[:, :, None] * off[:, None, :]
        central = np.add.reduceat(rows.central[order] + between, starts, axis=0)
    return Objects(
        place[starts],
        ids[starts],
        count,
        sums,
        np.minimum.reduceat(rows.low[order], starts, axis=0),
        np.maximum.reduceat(rows.high[order], starts, axis=0),
        central,
        None if rows.surface is None else added(rows.surface),
        tuple(_grouped_intensity(one, rows.count, order, starts, group) for one in rows.intensities),
    )


def _grouped_intensity(one: Intensity, count: Array, order: Array, starts: Array, group: Array) -> Intensity:
    total = np.add.reduceat(one.total[order], starts)
    weight = count[order].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        means = one.total[order] / weight
        mean = (np.add.reduceat(means * weight, starts) / np.add.reduceat(weight, starts))[group]
        squares = np.add.reduceat(one.squares[order] + weight * (means - mean) ** 2, starts)
    values = None
    if one.values is not None:
        rank = np.empty(len(order), np.int64)
        rank[order] = group
        values = _counted_values(rank[one.values[0]], one.values[1], one.values[2])
    return Intensity(
        np.minimum.reduceat(one.low[order], starts),
        np.maximum.reduceat(one.high[order], starts),
        total,
        squares,
        values,
    )


def _counted_values(row: Array, value: Array, count: Array) -> tuple[Array, Array, Array]:
    """Each value of a row once, sorted by row and value."""
    order = np.lexsort((value, row))
    row, value, count = row[order], value[order], count[order]
    new = np.ones(len(row), np.bool_)
    new[1:] = (row[1:] != row[:-1]) | (value[1:] != value[:-1])
    starts = np.flatnonzero(new)
    return row[starts], value[starts], np.add.reduceat(count, starts) if len(starts) else count


def merged(a: Objects | None, b: Objects | None) -> Objects | None:
    """The objects of two regions; None stands for no object."""
    if a is None or b is None:
        return a if b is None else b
    return grouped(_stacked(a, b))


def _stacked(a: Objects, b: Objects) -> Objects:
    def both(name: str) -> Any:
        one, other = getattr(a, name), getattr(b, name)
        return None if one is None else np.concatenate([one, other])

    pairs = zip(a.intensities, b.intensities, strict=True)
    channels = tuple(_stacked_intensity(x, y, len(a)) for x, y in pairs)
    return Objects(**{name: both(name) for name in _PLAIN}, intensities=channels)


def _stacked_intensity(a: Intensity, b: Intensity, offset: int) -> Intensity:
    values = None
    if a.values is not None and b.values is not None:
        rows = np.concatenate([a.values[0], b.values[0] + offset])
        values = (rows, np.concatenate([a.values[1], b.values[1]]), np.concatenate([a.values[2], b.values[2]]))
    both = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in ("low", "high", "total", "squares")}
    return Intensity(**both, values=values)


def selected(table: Objects, which: Array) -> Objects:
    """Some rows of a table, in the order of their positions."""
    moved = np.full(len(table), -1, np.int64)
    moved[which] = np.arange(len(which))

    def of(one: Intensity) -> Intensity:
        values = None
        if one.values is not None:
            rows = moved[one.values[0]]
            keep = rows >= 0
            values = (rows[keep], one.values[1][keep], one.values[2][keep])
        return Intensity(one.low[which], one.high[which], one.total[which], one.squares[which], values)

    parts = {name: None if getattr(table, name) is None else getattr(table, name)[which] for name in _PLAIN}
    return Objects(**parts, intensities=tuple(map(of, table.intensities)))  # type: ignore[arg-type]


def empty(ndim: int, dtype: Any, values: Sequence[Any] = (), *, surface: bool = False) -> Objects:
    """A table without objects; ``values`` are the types of the channels."""
    none, boxes, real = np.empty(0, np.int64), np.empty((0, ndim), np.int64), np.empty(0, np.float64)

    def channel(kind: Any) -> Intensity:
        nothing = np.empty(0, kind)
        return Intensity(nothing, nothing, real, real, (none, nothing, none))

    channels = tuple(map(channel, values))
    return Objects(none, np.empty(0, dtype), none, boxes, boxes, boxes, None, real if surface else None, channels)


def runs_of(
    labels: Array, along: Sequence[int], begin: Sequence[int], shape: Sequence[int], *, moments: bool
) -> tuple[Objects, Array, Array]:
    """The runs of equal ids along the last axis that is worked along, as rows; and where they lie.

    Parameters
    ----------
    labels : ndarray
        With the axes that are kept apart first, in C order.
    along : sequence of int
        Axes that are worked along, in array order: the last ones of `labels`.
    begin : sequence of int
        Where the block begins in the volume, in the order of the axes of `labels`.
    shape : sequence of int
        Of the volume, in that order.
    moments : bool
        Second moments as well.

    Returns
    -------
    rows : Objects
    starts, stops : ndarray
        Of each run, in the flattened labels.
    """
    size = labels.shape[-1]
    flat = labels.reshape(-1)
    edges = np.ones(flat.size + 1, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=edges[1:-1])
    edges[:: max(1, size)] = True
    at = np.flatnonzero(edges)
    kept = flat[at[:-1]] != 0
    starts, stops = at[:-1][kept], at[1:][kept]
    length = (stops - starts).astype(np.int64)
    position = np.stack(np.unravel_index(starts, labels.shape), axis=1).astype(np.int64) + np.asarray(begin, np.int64)
    n_apart = labels.ndim - len(along)
    place = (
        np.ravel_multi_index(tuple(position[:, :n_apart].T), tuple(shape[:n_apart])).astype(np.int64)
        if n_apart
        else np.zeros(len(starts), np.int64)
    )
    low = np.ascontiguousarray(position[:, n_apart:])
    high, sums = low + 1, low * length[:, None]
    high[:, -1] = low[:, -1] + length
    sums[:, -1] += length * (length - 1) // 2
    central = None
    if moments:
        central = np.zeros((len(starts), len(along), len(along)))
        central[:, -1, -1] = length * (length.astype(np.float64) ** 2 - 1) / 12
    return Objects(place, flat[starts], length, sums, low, high, central), starts, stops


def intensity_of(values: Array, starts: Array, stops: Array, *, keep: bool) -> Intensity:
    """The values of the runs of one channel, which is in the order of the labels; ``keep`` for percentiles."""
    flat = np.ascontiguousarray(native(values)).reshape(-1)
    lengths = stops - starts
    rows = np.repeat(np.arange(len(starts)), lengths)
    inside = flat[np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())]
    begins = np.cumsum(lengths) - lengths
    exact = inside.dtype.kind in "iu" and inside.dtype.itemsize <= 4
    wide = inside.astype(np.int64 if exact else np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs
        total = np.add.reduceat(wide, begins)
        squares = np.add.reduceat((inside - np.repeat(total / lengths, lengths)) ** 2, begins)
    counted = (rows, inside, np.ones(len(inside), np.int64)) if keep else None
    low, high = np.minimum.reduceat(inside, begins), np.maximum.reduceat(inside, begins)
    return Intensity(low, high, total, squares, counted)
