"""Connected components of one array: any dimension, connectivity and integer type."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import DtypeError, ParameterError
from . import merging, tables

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
    try:
        if 1 <= operator.index(connectivity) <= ndim:
            return operator.index(connectivity)
    except TypeError:
        pass
    raise ParameterError(
        f"connectivity must be in [1, {ndim}] for an array of {ndim} axes, got {connectivity!r}",
        remedy="1 joins voxels that share a face, 2 also an edge, 3 also a corner",
    )


def check_values(dtype: np.dtype[Any], multi_label: bool) -> None:
    """Refuse types whose components are not defined.

    Raises
    ------
    DtypeError
        Unless bool, integer, or (binary only) float.
    """
    if dtype.kind not in "biuf" or (multi_label and dtype.kind == "f"):
        what = "labels" if multi_label else "an image"
        raise DtypeError(
            f"cannot label connected components of {what} of type {dtype}",
            remedy="convert the input to an integer type, e.g. uint64",
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
    if values.ndim > 3:
        return _components_of_slabs(values, connectivity, multi_label)
    labels, n = _label_3d(values, connectivity)
    # Both mark the same borders; the narrower of the two is read faster.
    narrow = min(values, labels, key=lambda array: array.itemsize)
    return Components(labels, n, first_voxels(narrow, labels, n))


def block_labels(block: Array, *, connectivity: int = 1, multi_label: bool = False) -> tuple[Array, int]:
    """Labels and number of the components of an array, as in :func:`block_components`, without the first voxels."""
    connectivity = check_connectivity(connectivity, block.ndim)
    values = _values(block, multi_label)
    if values.ndim > 3:
        found = _components_of_slabs(values, connectivity, multi_label)
        return found.labels, found.n
    return _label_3d(values, connectivity)


def first_voxels(values: Array, labels: Array, n: int) -> Ids:
    """Flat index (C order) of the first voxel of each component.

    Parameters
    ----------
    values : ndarray
        What was labelled, or the labels; neighbours along an axis with equal values not 0 are in one component.
    labels : ndarray of uint32 or uint64, same shape, C order
        Components 1..n.
    n : int

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    if not n:
        return np.empty(0, np.int64)
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


def summary(
    components: Components,
    values: Array,
    *,
    begin: Sequence[int],
    volume: Sequence[int],
    multi_label: bool = False,
    sides: Sequence[tuple[bool, bool]] | None = None,
) -> merging.Part:
    """What the merge of blocks needs to know of a labelled block.

    Parameters
    ----------
    components : Components
    values : ndarray
        What was labelled.
    begin : sequence of int
        Where the block begins in the volume.
    volume : sequence of int
        Shape of the volume.
    multi_label : bool
    sides : sequence of (bool, bool), optional
        Per axis whether there is a neighbour at the block's begin and at its end. Default: everywhere.
    """
    of_component = values.reshape(-1)[components.first] if multi_label else None
    faces = merging.faces(components.labels, of_component, n=components.n, sides=sides)
    return merging.Part(components.n, merging.global_first(components.first, begin, values.shape, volume), faces)


def components_apart(
    block: Array, along: Sequence[int], *, connectivity: int = 1, multi_label: bool = False
) -> Components:
    """Label the connected components of an array along some of its axes: voxels at two indices of another are apart.

    Parameters
    ----------
    block, connectivity, multi_label
        As for :func:`block_components`; the connectivity is at most the number of axes in `along`.
    along : sequence of int
        Axes along which neighbours are joined, ascending; with all of them it is :func:`block_components`.

    Returns
    -------
    Components
    """
    if len(along) == block.ndim:
        return block_components(block, connectivity=connectivity, multi_label=multi_label)
    order = (*(axis for axis in range(block.ndim) if axis not in along), *along)
    values, labels, n = block.transpose(order), np.zeros(block.shape, _label_dtype(block.size)), 0
    moved = labels.transpose(order)
    for index in np.ndindex(values.shape[: block.ndim - len(along)]):
        found, own = block_labels(values[index], connectivity=connectivity, multi_label=multi_label)
        np.add(found, n, out=moved[index], where=found != 0, casting="unsafe")
        n += own
    return Components(labels, n, first_voxels(labels, labels, n))


def ranked(components: Components) -> npt.NDArray[np.uint64]:
    """Labels of components renumbered by first voxel in C order, as uint64."""
    table = np.zeros(components.n + 1, np.uint64)
    table[1:] = _ranks(components.first)
    return tables.take(table, components.labels)


def _ranks(first: Ids) -> Ids:
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(1, len(first) + 1)
    return ranks


def _label_dtype(n_voxels: int) -> np.dtype[Any]:
    return np.dtype(np.uint32 if n_voxels < 2**32 else np.uint64)


def _values(block: Array, multi_label: bool) -> Array:
    check_values(block.dtype, multi_label)
    if block.dtype.kind != "b" and not multi_label:
        block = block != 0
    if block.dtype.kind == "b":
        return np.ascontiguousarray(block).view(np.uint8)
    return np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("="))


def _label_3d(values: Array, connectivity: int) -> tuple[Array, int]:
    import cc3d

    if not values.any():
        return np.zeros(values.shape, _label_dtype(values.size)), 0
    plane = values[np.newaxis] if values.ndim == 1 else values
    if plane.dtype == np.uint64:  # it passes some ids through a C long (4.1.1), and only compares them
        plane = plane.view(np.int64)
    labels, n = cc3d.connected_components(  # type: ignore[call-overload]
        plane,
        connectivity=_CC3D_CONNECTIVITY[plane.ndim][connectivity - 1],
        return_N=True,
        out_dtype=_label_dtype(values.size).type,
        # Its special case for binary images (4.1.1) mislabels 8-connected ones of odd width, and gains 0 to 10 %.
        binary_image=False,
    )
    return np.ascontiguousarray(labels).reshape(values.shape), int(n)


def _components_of_slabs(values: Array, connectivity: int, multi_label: bool) -> Components:
    inner = min(connectivity, values.ndim - 1)
    found = [block_components(slab, connectivity=inner, multi_label=multi_label) for slab in values]
    only_between = [(True, True), *[(False, False)] * (values.ndim - 1)]
    parts = [
        summary(
            Components(labelled.labels[np.newaxis], labelled.n, labelled.first),
            values[index : index + 1],
            begin=(index, *(0,) * (values.ndim - 1)),
            volume=values.shape,
            multi_label=multi_label,
            sides=only_between,
        )
        for index, labelled in enumerate(found)
    ]
    merged = merging.merge(parts, (len(parts), *(1,) * (values.ndim - 1)), connectivity)
    labels = np.empty(values.shape, _label_dtype(values.size))
    first = np.full(merged.n, np.iinfo(np.int64).max)
    for index, labelled in enumerate(found):
        table = merged.table_of(index)
        labels[index] = tables.take(table.astype(labels.dtype), labelled.labels)
        np.minimum.at(first, table[1:] - 1, parts[index].first)
    return Components(labels, merged.n, first)
