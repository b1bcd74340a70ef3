"""Connected components of one array: any dimension, connectivity and integer type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import DtypeError, ParameterError
from . import merging

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.int64]

_CC3D_CONNECTIVITY = {2: (4, 8), 3: (6, 18, 26)}


class Components(NamedTuple):
    """Connected components of one array.

    Attributes
    ----------
    labels : ndarray of uint32 (uint64 for 2^32 voxels and more), shape of the array
        0 is background, components are 1..n in no promised order.
    n : int
        Number of components.
    first : ndarray of int64, shape (n,)
        Flat index (C order) of the first voxel of component 1, 2, ....
    """

    labels: Array
    n: int
    first: Ids


def check_connectivity(connectivity: int | None, ndim: int) -> int:
    """Connectivity as a number of axes that a step may change; None is 1.

    Raises
    ------
    ParameterError
        Unless 1 <= connectivity <= ndim.
    """
    if connectivity is None:
        return 1
    if isinstance(connectivity, (int, np.integer)) and 1 <= connectivity <= ndim:
        return int(connectivity)
    raise ParameterError(
        f"connectivity must be in [1, {ndim}] for an array of {ndim} axes, got {connectivity!r}",
        remedy="1 joins voxels that share a face, 2 also an edge, 3 also a corner",
    )


def block_components(block: Array, *, connectivity: int = 1, multi_label: bool = False) -> Components:
    """Label the connected components of an array.

    Parameters
    ----------
    block : ndarray of 0 < ndim axes
        Voxels that are not 0 are foreground. Any bool or integer type; floats only with ``multi_label=False``.
    connectivity : int
        Number of axes (1..ndim) along which neighbours may differ.
    multi_label : bool
        Voxels are connected only if their values are equal (exact for every 64-bit id).

    Returns
    -------
    Components

    Raises
    ------
    DtypeError
        For values other than bool and integers with ``multi_label``, and for complex or object arrays.
    ParameterError
        For a connectivity out of range.

    Notes
    -----
    One to three axes: connected-components-3d (W. Silversmith, https://github.com/seung-lab/connected-components-3d);
    more: slabs along the first axis, merged over their faces.
    """
    connectivity = check_connectivity(connectivity, block.ndim)
    values = _values(block, multi_label)
    n_voxels = values.size
    if not n_voxels or not values.any():
        empty = np.zeros(values.shape, _label_dtype(n_voxels))
        return Components(empty, 0, np.empty(0, np.int64))
    if values.ndim > 3:
        return _components_of_slabs(values, connectivity, multi_label)
    labels, n = _label_3d(values, connectivity, binary=not multi_label)
    return Components(labels, n, first_voxels(values, labels, n))


def first_voxels(values: Array, labels: Array, n: int) -> Ids:
    """Flat index (C order) of the first voxel of each component.

    Parameters
    ----------
    values : ndarray
        What was labelled; neighbours along an axis with equal values not 0 are in one component.
    labels : ndarray of uint32 or uint64, same shape, C order
        Components 1..n.
    n : int

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    # A voxel whose predecessor along some axis has its value is not the first of its component.
    candidates = values != 0
    for axis in range(values.ndim):
        later = (slice(None),) * axis + (slice(1, None),)
        earlier = (slice(None),) * axis + (slice(None, -1),)
        candidates[later] &= values[later] != values[earlier]
    where = np.flatnonzero(candidates)[::-1]
    first = np.empty(n + 1, np.int64)
    # Assigned backwards: of repeated indices numpy keeps the last, here the smallest position.
    first[labels.reshape(-1)[where]] = where
    return first[1:]


def rank_by_first_voxel(labels: Array) -> tuple[npt.NDArray[np.uint64], int]:
    """Renumber the labels of an array 1..n by their first voxel in C order; 0 stays 0.

    Parameters
    ----------
    labels : ndarray of any integer type, any shape
        Each label is one object, whether connected or not.

    Returns
    -------
    ranked : ndarray of uint64, same shape
    n : int
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    starts = np.flatnonzero(np.diff(flat, prepend=np.zeros(1, flat.dtype)) != 0)
    starts = starts[flat[starts] != 0]
    ids, at = np.unique(flat[starts], return_index=True)
    ranks = _ranks(starts[at])
    keys = np.concatenate([np.zeros(1, flat.dtype), ids]) if not ids.size or ids[0] > 0 else ids
    table = ranks.astype(np.uint64)
    if keys.size > ids.size:
        table = np.concatenate([np.zeros(1, np.uint64), table])
    else:
        place = int(np.searchsorted(ids, 0))
        keys, table = np.insert(ids, place, 0), np.insert(table, place, 0)
    return table[np.searchsorted(keys, flat)].reshape(labels.shape), int(ids.size)


def ranked(components: Components) -> npt.NDArray[np.uint64]:
    """Labels of components renumbered by first voxel in C order, as uint64."""
    table = np.zeros(components.n + 1, np.uint64)
    table[1:] = _ranks(components.first)
    return take(table, components.labels)


def take(table: Array, labels: Array) -> Array:
    """``table[labels]`` for unsigned labels that are known to be in range."""
    # Signed 64-bit indices and mode="clip" are numpy's only path without a checking copy.
    index = labels.view(np.int64) if labels.dtype == np.uint64 else labels
    return np.take(table, index, mode="clip")


def _ranks(first: Ids) -> Ids:
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(1, len(first) + 1)
    return ranks


def _label_dtype(n_voxels: int) -> np.dtype[Any]:
    return np.dtype(np.uint32 if n_voxels < 2**32 else np.uint64)


def _values(block: Array, multi_label: bool) -> Array:
    kind = block.dtype.kind
    if kind not in "biuf" or (multi_label and kind == "f"):
        what = "labels" if multi_label else "an image"
        raise DtypeError(
            f"cannot label connected components of {what} of type {block.dtype}",
            remedy="convert it to an integer type, or pass threshold= for a float image",
        )
    if not multi_label:
        return np.ascontiguousarray(block if kind == "b" else block != 0)
    if kind == "b":
        return np.ascontiguousarray(block).view(np.uint8)
    return np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("="))


def _label_3d(values: Array, connectivity: int, *, binary: bool) -> tuple[Array, int]:
    import cc3d

    shape = values.shape
    plane = values[np.newaxis] if values.ndim == 1 else values
    labels, n = cc3d.connected_components(
        plane,
        connectivity=_CC3D_CONNECTIVITY[plane.ndim][connectivity - 1],
        return_N=True,
        out_dtype=_label_dtype(values.size).type,
        binary_image=binary,
    )
    return np.ascontiguousarray(labels).reshape(shape), int(n)


def _components_of_slabs(values: Array, connectivity: int, multi_label: bool) -> Components:
    inner = min(connectivity, values.ndim - 1)
    parts = [block_components(slab, connectivity=inner, multi_label=multi_label) for slab in values]
    blocks = [
        merging.part(values[index : index + 1], _thick(part), (index, *(0,) * (values.ndim - 1)), values.shape)
        for index, part in enumerate(parts)
    ]
    merged = merging.merge(blocks, (len(parts), *(1,) * (values.ndim - 1)), connectivity)
    labels = np.empty(values.shape, _label_dtype(values.size))
    for index, part in enumerate(parts):
        labels[index] = take(merged.table_of(index), part.labels)
    # The merge ranks components by first voxel, so the firsts are the smallest of each, ascending.
    first = np.full(merged.n, np.iinfo(np.int64).max)
    provisional = np.concatenate([block.first for block in blocks])
    np.minimum.at(first, merged.table[1:] - 1, provisional)
    return Components(labels, merged.n, first)


def _thick(part: Components) -> Components:
    return Components(part.labels[np.newaxis], part.n, part.first)


def sequence_of_counts(parts: Sequence[Components]) -> Ids:
    """Number of components of each part."""
    return np.array([part.n for part in parts], np.int64)
