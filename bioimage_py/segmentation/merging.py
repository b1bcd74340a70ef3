"""Joining the components of blocks over the faces that they share.

Every block is labelled on its own; what is kept of it is a :class:`Part`: how many components, where each one begins,
and its outermost planes. Two components of neighbouring blocks are one where voxels of them touch. The result is one
array that maps every (block, local label) to an id 1..n, ranked by the component's first voxel in C order, so the ids
depend on the volume only and not on how it was cut.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError, ValueRangeError

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.int64]
Offset = tuple[int, ...]

_BOTH = (True, True)
_LARGEST = 2**62


@dataclass(frozen=True, eq=False)
class Faces:
    """The outermost planes of a labelled block, packed.

    Attributes
    ----------
    shape : tuple of int
        Shape of the block.
    dtype : str
        Type of the labels in the planes, the smallest that holds them.
    planes : tuple of (bytes or None, bytes or None)
        Per axis the plane at its begin and at its end, compressed; None where it was not wanted.
    values : ndarray, shape (n,), optional
        Value of component 1, 2, ...; with it only components of equal values are joined.
    """

    shape: tuple[int, ...]
    dtype: str
    planes: tuple[tuple[bytes | None, bytes | None], ...]
    values: Array | None = None

    def plane(self, offset: Offset) -> Array:
        """Labels of the voxels that face a neighbour, with an axis for each 0 in the offset to it."""
        axis = next(axis for axis, step in enumerate(offset) if step)
        packed = self.planes[axis][offset[axis] > 0]
        if packed is None:
            raise ShapeError(f"the block has no plane on the side of {offset}")
        plane = np.frombuffer(zlib.decompress(packed), self.dtype).reshape(_without(self.shape, axis))
        rest: Array = plane[tuple(-(step > 0) if step else slice(None) for step in _without(offset, axis))]
        return rest


@dataclass(frozen=True, eq=False)
class Part:
    """What the merge needs to know of a block.

    Attributes
    ----------
    n : int
        Number of components; local labels are 1..n.
    first : ndarray of int64, shape (n,)
        Flat index (C order) in the whole volume of the first voxel of each.
    faces : Faces
    """

    n: int
    first: Ids
    faces: Faces


@dataclass(frozen=True, eq=False)
class Merged:
    """Final ids of the components of all blocks.

    Attributes
    ----------
    offsets : ndarray of int64, shape (number of blocks + 1,)
        Component ``label`` of a block is entry ``offsets[block] + label`` of the table.
    table : ndarray of int64, shape (number of components of all blocks + 1,)
        Final ids; entry 0 is 0.
    n : int
        Number of final ids, which are 1..n.
    """

    offsets: Ids
    table: Ids
    n: int

    def table_of(self, block: int) -> Ids:
        """Final id by local label of a block, entry 0 is 0."""
        begin, end = self.offsets[block], self.offsets[block + 1] + 1
        own = self.table[begin:end].copy()
        own[0] = 0
        return own


def faces(
    labels: Array,
    values: Array | None = None,
    *,
    n: int | None = None,
    sides: Sequence[tuple[bool, bool]] | None = None,
) -> Faces:
    """Cut and pack the outermost planes of a labelled block.

    Parameters
    ----------
    labels : ndarray of unsigned integers
        Local labels 0..n.
    values : ndarray, shape (n,), optional
        Value of each component, for multi-label images.
    n : int, optional
        Highest label; looked up if not given.
    sides : sequence of (bool, bool), optional
        Per axis whether there is a neighbour at its begin and at its end. Default: everywhere.

    Notes
    -----
    Planes of labels are mostly runs: packed they are about 15 times smaller, for a seventh of the labelling time.
    """
    highest = n if n is not None else int(labels.max(initial=0))
    dtype = np.min_scalar_type(highest)
    wanted = sides if sides is not None else [_BOTH] * labels.ndim

    def pack(axis: int, index: int) -> bytes:
        plane = labels[(slice(None),) * axis + (index,)]
        return zlib.compress(plane.astype(dtype).tobytes(), 1)

    planes = tuple(
        (pack(axis, 0) if begin else None, pack(axis, -1) if end else None) for axis, (begin, end) in enumerate(wanted)
    )
    return Faces(labels.shape, dtype.str, planes, values)


def global_first(first: Ids, begin: Sequence[int], shape: Sequence[int], volume: Sequence[int]) -> Ids:
    """Flat indices within a block as flat indices within the volume (both C order)."""
    stride, indices = 1, np.zeros(len(first), np.int64)
    local = np.unravel_index(first, tuple(shape)) if len(first) else (first,) * len(volume)
    for axis in reversed(range(len(volume))):
        indices += (local[axis] + int(begin[axis])) * stride
        stride *= int(volume[axis])
    return indices


@functools.cache
def half_space(ndim: int, connectivity: int, along: tuple[int, ...] | None = None) -> tuple[Offset, ...]:
    """Offsets to the later half of the neighbours: at most ``connectivity`` axes differ, the first of them by +1.

    Only axes in `along` differ; None: any.
    """
    steps = itertools.product(*((-1, 0, 1) if along is None or axis in along else (0,) for axis in range(ndim)))
    return tuple(step for step in steps if 0 < ndim - step.count(0) <= connectivity and step > (0,) * ndim)


def pairs(a: Faces, b: Faces, offset: Offset, connectivity: int, along: tuple[int, ...] | None = None) -> Ids:
    """Labels of two blocks that touch.

    Parameters
    ----------
    a, b : Faces
        Of blocks whose positions in the grid differ by ``offset`` (b is at a + offset).
    offset : tuple of {-1, 0, 1}
    connectivity : int
        Number of axes (1..ndim) along which neighbouring voxels may differ.
    along : tuple of int, optional
        Axes along which they may; by default all.

    Returns
    -------
    ndarray of int64, shape (k, 2)
        Each pair (label in a, label in b) once, sorted.
    """
    ours, theirs = a.plane(offset), b.plane(tuple(-step for step in offset))
    if ours.shape != theirs.shape:
        raise ShapeError(f"planes of neighbouring blocks differ in shape: {ours.shape} and {theirs.shape}")
    found = [np.empty((0, 2), np.int64)]
    if ours.any() and theirs.any():
        reach = connectivity - sum(map(abs, offset))
        free = [along is None or axis in along for axis, step in enumerate(offset) if not step]
        for shift in itertools.product(*((-1, 0, 1) if one else (0,) for one in free)):
            if sum(map(abs, shift)) <= reach:
                found.append(_touching(ours[_shifted(shift)], theirs[_shifted(tuple(-s for s in shift))]))
    edges = _distinct(np.concatenate(found))
    if a.values is not None and b.values is not None:
        edges = edges[a.values[edges[:, 0] - 1] == b.values[edges[:, 1] - 1]]
    return edges


def merge_table(counts: Ids, edges: Ids, first: Ids) -> tuple[Ids, int]:
    """Final ids 1..n, ranked by first voxel.

    Parameters
    ----------
    counts : ndarray of int64, shape (number of blocks,)
        Components of each block; those of block b have the provisional ids ``sum(counts[:b]) + (1..counts[b])``.
    edges : ndarray of int64, shape (k, 2)
        Provisional ids that are one object.
    first : ndarray of int64, shape (sum(counts),)
        First voxel of each provisional id.

    Returns
    -------
    table : ndarray of int64, shape (sum(counts) + 1,)
        Final id by provisional id; entry 0 is 0.
    n : int

    Raises
    ------
    ValueRangeError
        If there are more components than 64-bit ids.
    ShapeError
        If ``first`` has not one entry for each component.
    """
    from bioimage_cpp.utils import UnionFind

    total = sum(counts.tolist())
    if total > _LARGEST:
        raise ValueRangeError(
            f"the blocks have {total} components, more than 64-bit ids allow", remedy="use larger blocks"
        )
    if first.shape != (total,):
        raise ShapeError(f"{total} components but {first.shape[0]} first voxels")
    union = UnionFind(total + 1)
    if len(edges):
        union.merge(np.ascontiguousarray(edges, np.uint64))
    roots = union.element_labeling().astype(np.int64)[1:]
    earliest = np.full(total + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, roots, first)
    is_root = np.flatnonzero(roots == np.arange(1, total + 1)) + 1
    rank = np.zeros(total + 1, np.int64)
    rank[is_root[np.argsort(earliest[is_root])]] = np.arange(1, len(is_root) + 1)
    return np.concatenate([np.zeros(1, np.int64), rank[roots]]), len(is_root)


def merge(
    parts: Sequence[Part | None], lattice: Sequence[int], connectivity: int, along: tuple[int, ...] | None = None
) -> Merged:
    """Join the components of all blocks of a grid.

    Parameters
    ----------
    parts : sequence of Part or None
        One entry a block, in C order; None for a block without foreground.
    lattice : sequence of int
        Number of blocks along each axis.
    connectivity : int
        Number of axes (1..ndim) along which neighbouring voxels may differ.
    along : tuple of int, optional
        Axes along which they may; by default all.
    """
    if len(parts) != math.prod(lattice):
        raise ShapeError(f"{len(parts)} blocks don't fill a grid of {tuple(lattice)}")
    counts = np.array([0 if part is None else part.n for part in parts], np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    edges = [np.empty((0, 2), np.int64)]
    for block, position in enumerate(itertools.product(*map(range, lattice))):
        a = parts[block]
        if a is None or not a.n:
            continue
        for other, step in _later_neighbours(position, lattice, connectivity, along):
            b = parts[other]
            if b is not None and b.n:
                edges.append(pairs(a.faces, b.faces, step, connectivity, along) + offsets[[block, other]])
    firsts = [part.first for part in parts if part is not None]
    table, n = merge_table(counts, np.concatenate(edges), np.concatenate([np.empty(0, np.int64), *firsts]))
    return Merged(offsets, table, n)


def _later_neighbours(
    position: Offset, lattice: Sequence[int], connectivity: int, along: tuple[int, ...] | None
) -> Iterator[tuple[int, Offset]]:
    for step in half_space(len(lattice), connectivity, along):
        other = tuple(map(sum, zip(position, step, strict=True)))
        if all(0 <= index < size for index, size in zip(other, lattice, strict=True)):
            yield int(np.ravel_multi_index(other, tuple(lattice))), step


def _touching(a: Array, b: Array) -> Ids:
    x, y = a.reshape(-1), b.reshape(-1)
    # Planes are mostly runs: what follows them looks at few voxels.
    begins = np.ones(x.size, np.bool_)
    begins[1:] = (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    begins &= (x != 0) & (y != 0)
    at = np.flatnonzero(begins)
    return np.stack([x[at], y[at]], axis=1, dtype=np.int64, casting="unsafe")


def _without_repeats(edges: Ids) -> Ids:
    changes = np.ones(len(edges), np.bool_)
    changes[1:] = (edges[1:] != edges[:-1]).any(axis=1)
    return edges[changes]


def _distinct(edges: Ids) -> Ids:
    return _without_repeats(edges[np.lexsort((edges[:, 1], edges[:, 0]))])


def _shifted(shift: Offset) -> tuple[slice, ...]:
    # Voxel p of one plane against voxel p + shift of the other: cut where the partner would lie outside.
    return tuple(slice(max(0, -step), -step if step > 0 else None) for step in shift)


def _without(values: Sequence[Any], axis: int) -> tuple[Any, ...]:
    return (*values[:axis], *values[axis + 1 :])
