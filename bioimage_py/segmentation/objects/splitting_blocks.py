"""What a worker does for `split_disconnected`: the pieces of the objects of a block, and their ids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ValueRangeError
from ...runner.ledger.stage_record import Results
from .. import components, merging
from ..labelling_blocks import FindComponents
from ..partial import label_type
from .groups import Apart

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FindPieces(FindComponents):
    """First pass: what `FindComponents` keeps of a block, and the numbers of voxels of its pieces."""

    def told(self, part: merging.Part, found: components.Components) -> Any:
        """The part and the sizes."""
        return part, np.bincount(found.labels.reshape(-1), minlength=found.n + 1)[1:]


@dataclass(frozen=True)
class MergePieces:
    """Between the passes: an id for every piece.

    Parameters
    ----------
    lattice : tuple of int
        Number of blocks along each axis.
    connectivity : int
    apart : Apart
        Of the region that is worked on.
    labels, output : numpy.dtype
        Types of the labels, and of the ids that are written.
    """

    lattice: tuple[int, ...]
    connectivity: int
    apart: Apart
    labels: np.dtype[Any]
    output: np.dtype[Any]

    def __call__(self, earlier: Results) -> merging.Merged:
        """The largest piece of an object keeps its id, the others get new ids in the order of their first voxels."""
        parts: list[merging.Part | None] = [None] * math.prod(self.lattice)
        sizes: list[Array] = [np.empty(0, np.int64)] * len(parts)
        for block_id, found in earlier.each("pieces"):
            if found is not None:
                parts[block_id], sizes[block_id] = found
        merged = merging.merge(parts, self.lattice, self.connectivity, self.apart.along)
        there = [part for part in parts if part is not None]
        if not there:
            return merged
        rank = merged.table[1:] - 1
        values = np.empty(merged.n, label_type(self.labels))
        values[rank] = np.concatenate([part.faces.values for part in there])
        size, first = np.zeros(merged.n, np.int64), np.full(merged.n, np.iinfo(np.int64).max)
        np.add.at(size, rank, np.concatenate(sizes))
        np.minimum.at(first, rank, np.concatenate([part.first for part in there]))
        ids = piece_ids(values, size, self._groups(first), self.output)
        # the rank of background is -1
        table = np.concatenate([ids, np.zeros(1, ids.dtype)])[merged.table - 1]
        return merging.Merged(merged.offsets, table, merged.n)

    def _groups(self, first: Array) -> Array:
        at = np.unravel_index(first, self.apart.shape)
        groups = np.zeros(len(first), np.int64)
        for axis in self.apart.axes:
            groups = groups * self.apart.shape[axis] + at[axis]
        return groups


def piece_ids(values: Array, sizes: Array, groups: Array, output: np.dtype[Any]) -> Array:
    """Ids of pieces that are sorted by their first voxels.

    Parameters
    ----------
    values : ndarray of integers, shape (n,)
        Id of the object of each piece.
    sizes, groups : ndarray of int64, shape (n,)
        Its number of voxels, and where it is along the axes that are kept apart.
    output : numpy.dtype
        Type that has to hold the ids.

    Raises
    ------
    ValueRangeError
        If there are not enough ids above the highest one.
    """
    order = np.lexsort((np.arange(len(values)), -sizes, values, groups))
    keeps = np.zeros(len(values), np.bool_)
    ordered = values[order], groups[order]
    leads = np.ones(len(values), np.bool_)
    leads[1:] = (ordered[0][1:] != ordered[0][:-1]) | (ordered[1][1:] != ordered[1][:-1])
    keeps[order[leads]] = True
    highest, more = max(0, int(values.max())), int(np.count_nonzero(~keeps))
    limit = int(np.iinfo(output).max)
    if more and highest + more > limit:
        raise ValueRangeError(
            f"{more} pieces need ids above {highest}, the highest one there is, and the output's type {output} ends at"
            f" {limit}",
            remedy="number the objects first (relabel_consecutive), or an output of type uint64",
        )
    ids = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64)
    if more and highest + more > np.iinfo(ids.dtype).max:  # signed labels without a negative one
        ids = ids.astype(np.uint64)
    ids[~keeps] = np.arange(1, more + 1, dtype=ids.dtype) + ids.dtype.type(highest)
    return ids
