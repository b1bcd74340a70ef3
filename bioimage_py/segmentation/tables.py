"""Tables that map label ids: from an array or a dict, consecutive numbering, by size. All integer types, exact."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DtypeError, IndexingError, ParameterError, ShapeError, ValueRangeError

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

_SMALL_KEY = 2**16
_PIECE = 2**17
"""Voxels whose labels numpy turns into indices at once: they stay in the processor's cache until they are looked up."""
_LARGEST = 2**64 - 1


def check_label_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Refuse types that hold no label ids.

    Raises
    ------
    DtypeError
        Unless the type is bool or integer.
    """
    if dtype.kind not in "biu":
        raise DtypeError(
            f"{what} must have an integer type, got {dtype}",
            remedy="convert the array first, e.g. array.astype('uint64'): ids above 2^53 don't survive in floats",
        )


def check_output_dtype(dtype: np.dtype[Any], what: str) -> None:
    """DtypeError unless an output has an integer type."""
    if dtype.kind not in "iu":
        raise DtypeError(f"{what} needs an output of an integer type, got {dtype}", remedy="an output of type uint64")


def take(table: Array, labels: Array) -> Array:
    """``table[labels]`` for labels that are known to be in range (0 <= label < len(table))."""
    if labels.dtype.kind == "b":
        labels = labels.view(np.uint8)
    # Signed 64-bit indices with mode="clip" are numpy's one path without a copy and a check for each voxel.
    if labels.dtype in (np.uint64, np.int64):
        return np.take(table, labels.view(np.int64), mode="clip")
    result = np.empty(labels.shape, table.dtype)
    source, target = np.ascontiguousarray(labels).reshape(-1), result.reshape(-1)
    for begin in range(0, labels.size, _PIECE):
        end = begin + _PIECE
        np.take(table, source[begin:end], out=target[begin:end], mode="clip")
    return result


def runs(flat: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """First positions and lengths of the runs of equal values in an array of one axis."""
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    starts += 1
    starts = np.concatenate([np.zeros(min(1, flat.size), np.intp), starts])
    return starts, np.diff(starts, append=flat.size)


@dataclass(frozen=True, eq=False)
class DenseTable:
    """Maps id i to ``values[i]``.

    Parameters
    ----------
    values : ndarray of integers, shape (n,)
    known : ndarray of bool, shape (n,), optional
        Ids that have an entry; None means all.
    """

    values: Array
    known: npt.NDArray[np.bool_] | None = None

    def __call__(self, labels: Array) -> Array:
        """Apply to labels of any shape; raises IndexingError naming an id without an entry."""
        if not labels.size:
            return np.empty(labels.shape, self.values.dtype)
        low, high = int(labels.min()), int(labels.max())
        for label in (low, high):
            if not 0 <= label < len(self.values):
                raise _missing(label, self)
        if self.known is not None and not take(self.known, labels).all():
            raise _missing(int(labels[~take(self.known, labels)][0]), self)
        return take(self.values, np.ascontiguousarray(labels))

    def narrowed(self, dtype: np.dtype[Any]) -> DenseTable:
        """The same table with values of this type if it holds all of them, else unchanged."""
        return DenseTable(_narrowed(self.values, dtype), self.known)


@dataclass(frozen=True, eq=False)
class SparseTable:
    """Maps ``keys[i]`` to ``values[i]``.

    Parameters
    ----------
    keys : ndarray of integers, shape (n,)
        Sorted, without repetition, of the labels' type (uint8 for bool): int64 and uint64 meet as floats in numpy.
    values : ndarray of integers, shape (n,)
    """

    keys: Array
    values: Array

    def __call__(self, labels: Array) -> Array:
        """Apply to labels of any shape; raises IndexingError naming an id without an entry."""
        flat = np.ascontiguousarray(labels).reshape(-1)
        starts, lengths = runs(flat)
        ids = flat[starts].astype(_key_type(labels.dtype), copy=False)
        if not len(self.keys):
            if ids.size:
                raise _missing(int(ids[0]), self)
            return np.empty(labels.shape, self.values.dtype)
        at = np.minimum(np.searchsorted(self.keys, ids), len(self.keys) - 1)
        wrong = self.keys[at] != ids
        if wrong.any():
            raise _missing(int(ids[wrong][0]), self)
        return np.repeat(self.values[at], lengths).reshape(labels.shape)

    def narrowed(self, dtype: np.dtype[Any]) -> SparseTable:
        """The same table with values of this type if it holds all of them, else unchanged."""
        return SparseTable(self.keys, _narrowed(self.values, dtype))


Table = DenseTable | SparseTable


def as_table(labeling: Mapping[Any, Any] | Array, dtype: np.dtype[Any]) -> Table:
    """Turn a dict or a dense array into a table for labels of a type.

    Parameters
    ----------
    labeling : mapping of int to int, or ndarray of integers with one axis
        New id by old id; every id that occurs must have an entry (0 too).
    dtype : numpy.dtype
        Type of the labels that the table is for; keys that it cannot hold never occur and are dropped.

    Raises
    ------
    DtypeError
        If ids are not integers.
    ShapeError
        If an array has more than one axis.
    ValueRangeError
        If ids don't fit 64-bit integers.
    """
    if isinstance(labeling, Mapping):
        return _from_mapping(labeling, dtype)
    values = np.asarray(labeling)
    if values.ndim != 1:
        raise ShapeError(
            f"a dense labeling has one axis (new id by old id), got shape {values.shape}",
            remedy="pass an array of shape (highest id + 1,), or a dict {old id: new id}",
        )
    check_label_dtype(values.dtype, "a labeling")
    return DenseTable(np.ascontiguousarray(values))


def check_fits(table: Table, dtype: np.dtype[Any], *, first: int = 0) -> None:
    """Refuse a table with new ids that a type cannot hold; `first` is the id of entry 0 of a dense one.

    Raises
    ------
    ValueRangeError
        Names the first such id and what it would become.
    """
    if dtype.kind not in "iu" or not table.values.size or _narrowed(table.values, dtype).dtype == dtype:
        return
    limits = np.iinfo(dtype)
    wrong = (table.values < limits.min) | (table.values > limits.max)
    at = int(np.flatnonzero(wrong)[0])
    old = int(table.keys[at]) if isinstance(table, SparseTable) else first + at
    raise ValueRangeError(
        f"the labeling maps id {old} to {int(table.values[at])}, which the output's type {dtype} cannot hold"
        f" ({limits.min} to {limits.max})",
        remedy='an output of a wider type, or casting="unsafe" to wrap',
    )


def sparse(keys: Array, values: Array) -> Table:
    """Table from sorted keys without repetition; dense where the largest key is small."""
    if len(keys) and keys[0] >= 0 and int(keys[-1]) < max(_SMALL_KEY, 4 * len(keys)):
        known = np.zeros(int(keys[-1]) + 1, np.bool_)
        known[keys] = True
        dense = np.zeros(len(known), values.dtype)
        dense[keys] = values
        return DenseTable(dense, None if known.all() else known)
    return SparseTable(keys, values)


def consecutive(ids: Array, *, start_label: int = 0, keep_zeros: bool = True) -> Array:
    """New ids, without a gap, for sorted ids without repetition.

    Parameters
    ----------
    ids : ndarray of integers, shape (n,)
    start_label : int
        The first new id.
    keep_zeros : bool
        Id 0 is background: it stays 0, and the objects begin at ``max(1, start_label)``, so that none becomes 0. With
        False, 0 is an object like any other.

    Returns
    -------
    ndarray of int64 (uint64 where needed), shape (n,)

    Raises
    ------
    ParameterError
        For a start below 0.
    ValueRangeError
        If the highest new id exceeds 2^64 - 1.
    """
    start = whole_number(start_label, "start_label")
    zero = ids == 0
    if keep_zeros:
        start = max(1, start)
    else:
        zero = np.zeros(len(ids), np.bool_)
    n = int(len(ids) - np.count_nonzero(zero))
    if start + n - 1 > _LARGEST:
        raise ValueRangeError(
            f"{n} objects numbered from {start} exceed the largest 64-bit id {_LARGEST}",
            remedy="pass a smaller start_label=",
        )
    new = np.zeros(len(ids), np.int64 if start + n <= 2**63 else np.uint64)
    new[~zero] = np.arange(n, dtype=new.dtype) + new.dtype.type(start)
    return new


def counted(labels: Array) -> tuple[Array, Counts]:
    """Sorted ids of an array and how many voxels have each (int64)."""
    import fastremap

    flat = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)
    # unsigned: of the smallest and the largest signed value the library (1.21) takes a difference that overflows
    unsigned, counts = fastremap.unique(flat.view(f"u{flat.dtype.itemsize}"), return_counts=True)
    counts = counts.astype(np.int64, copy=False)
    if flat.dtype.kind != "i":
        return unsigned, counts
    ids = unsigned.view(flat.dtype)
    n_negative = np.count_nonzero(ids < 0)
    return np.roll(ids, n_negative), np.roll(counts, n_negative)


def merge_counted(a: tuple[Array, Counts], b: tuple[Array, Counts]) -> tuple[Array, Counts]:
    """Join two results of :func:`counted` over disjoint voxels."""
    ids = np.concatenate([a[0], b[0]])
    counts = np.concatenate([a[1], b[1]])
    if not ids.size:
        return ids, counts
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts, _ = runs(ids)
    return ids[starts], np.add.reduceat(counts[order], starts)


def by_size(ids: Array, counts: Counts, *, min_size: int | None, max_size: int | None, relabel: bool) -> Array:
    """New ids that set objects outside the size limits to 0.

    Parameters
    ----------
    ids, counts : ndarray of integers, shape (n,)
        From :func:`counted`.
    min_size, max_size : int, optional
        Limits in voxels, both included; None is no limit. Background (0) stays 0 whatever its size.
    relabel : bool
        Number the objects that stay 1, 2, ... in the order of their ids.

    Returns
    -------
    ndarray of integers, shape (n,)
    """
    keep = ids != 0
    if min_size is not None:
        keep &= counts >= min_size
    if max_size is not None:
        keep &= counts <= max_size
    new = np.zeros(len(ids), np.int64 if relabel else ids.dtype)
    new[keep] = np.arange(1, np.count_nonzero(keep) + 1) if relabel else ids[keep]
    return new


def check_size_limits(min_size: int | None, max_size: int | None) -> tuple[int | None, int | None]:
    """Both limits as ints.

    Raises
    ------
    ParameterError
        If both are None, one is not a whole number >= 0, or the range is empty.
    """
    if min_size is None and max_size is None:
        raise ParameterError("size_filter needs a limit", remedy="pass min_size= or max_size= (voxels), or both")
    low = None if min_size is None else whole_number(min_size, "min_size")
    high = None if max_size is None else whole_number(max_size, "max_size")
    if low is not None and high is not None and low > high:
        raise ParameterError(
            f"min_size {low} is above max_size {high}: no object can stay",
            remedy="swap the two, or leave one out",
        )
    return low, high


def whole_number(value: Any, name: str) -> int:
    """A whole number >= 0; ParameterError otherwise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{name} must be a whole number >= 0, got {value!r}", remedy=f"pass {name}=1, for example")
    return number


def _missing(label: int, table: Table) -> IndexingError:
    known = table.known if isinstance(table, DenseTable) else None
    size = len(table.values) if known is None else int(np.count_nonzero(known))
    return IndexingError(
        f"id {label} occurs in the labels but not in the labeling, which has {size} entries",
        remedy=f"pass a dict with an entry for every id that occurs, background too: {{{label}: {label}, ...}}",
    )


def _narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype == dtype or dtype.kind not in "iu" or not values.size:
        return values
    limits = np.iinfo(dtype)
    if int(values.min()) >= int(limits.min) and int(values.max()) <= int(limits.max):
        return values.astype(dtype)
    return values


def _from_mapping(labeling: Mapping[Any, Any], dtype: np.dtype[Any]) -> Table:
    key_type = _key_type(dtype)
    try:
        keys = exact(labeling.keys(), len(labeling), key_type)
    except OverflowError:
        # Keys that the labels' type cannot hold never occur.
        limits = np.iinfo(key_type)
        labeling = {key: value for key, value in labeling.items() if limits.min <= key <= limits.max}
        keys = exact(labeling.keys(), len(labeling), key_type)
    values = _exact_values(labeling)
    order = np.argsort(keys, kind="stable")
    return sparse(keys[order], values[order])


def _exact_values(labeling: Mapping[Any, Any]) -> Array:
    for dtype in (np.int64, np.uint64):
        try:
            return exact(labeling.values(), len(labeling), np.dtype(dtype))
        except OverflowError:
            continue
    raise ValueRangeError(
        "the new ids of the labeling fit neither int64 nor uint64",
        remedy="use ids from 0 to 2^64 - 1, or from -2^63 to 2^63 - 1",
    )


def exact(ids: Iterable[Any], n: int, dtype: np.dtype[Any]) -> Array:
    """Whole numbers as an array; OverflowError where the type cannot hold one, DtypeError where one is none."""
    try:
        return np.fromiter(map(operator.index, ids), dtype, n)
    except TypeError as error:
        raise DtypeError(
            f"a labeling maps integers to integers: {error}", remedy="convert keys and values with int()"
        ) from error


def _key_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
