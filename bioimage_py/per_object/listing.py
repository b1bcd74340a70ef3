"""Which objects there are, and in which blocks: once, between the blocks and what is made of each object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runner.ledger.stage_record import Results

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Listing:
    """Objects, ascending by id, and the blocks where each has a piece.

    Parameters
    ----------
    ids : ndarray of uint64, shape (n,)
    starts : ndarray of int64, shape (n + 1,)
        The blocks of object ``i`` are ``blocks[starts[i] : starts[i + 1]]``, ascending.
    blocks : ndarray of int64
    bytes : ndarray of int64, shape (n,)
        Of the pieces of each object.
    """

    ids: Array
    starts: Array
    blocks: Array
    bytes: Array

    def where(self, index: int) -> Array:
        """Blocks of an object, by its place in the listing."""
        found: Array = self.blocks[self.starts[index] : self.starts[index + 1]]
        return found

    def at_home(self, block: int) -> Array:
        """Places in the listing of the objects whose first block this is."""
        return np.flatnonzero(self.blocks[self.starts[:-1]] == block)

    def index_of(self, object_id: int) -> int | None:
        """Place of an object in the listing; None where it is not wanted."""
        at = int(np.searchsorted(self.ids, np.uint64(object_id)))
        return at if at < len(self.ids) and int(self.ids[at]) == object_id else None


@dataclass(frozen=True)
class Choice:
    """Which objects are wanted.

    Parameters
    ----------
    ids : tuple of int, optional
        These ones, by default all.
    least, most : int, optional
        Limits of the size in voxels.
    """

    ids: tuple[int, ...] | None = None
    least: int | None = None
    most: int | None = None

    def table(self) -> Array | None:
        """The ids as an array, ascending; None for all."""
        return None if self.ids is None else np.unique(np.array(self.ids, np.uint64))

    def of_sizes(self, sizes: Array) -> Array:
        """Which sizes are within the limits."""
        wanted = np.ones(len(sizes), np.bool_)
        if self.least is not None:
            wanted &= sizes >= self.least
        if self.most is not None:
            wanted &= sizes <= self.most
        return wanted


@dataclass(frozen=True)
class ListObjects:
    """What runs once: the objects of all pieces that a stage has left, and are of the size that is wanted."""

    stage: str
    choice: Choice

    def __call__(self, earlier: Results) -> Listing:
        """The listing."""
        return listed(earlier.each(self.stage), self.choice)


def listed(pieces: Iterable[tuple[int, Any]], choice: Choice) -> Listing:
    """The objects of pieces that are given by block."""
    columns: list[list[Array]] = [[], [], [], []]
    for block, one in pieces:
        if one is not None:
            told = one.ids, np.full(len(one.ids), block, np.int64), one.sizes, np.diff(one.starts)
            for column, part in zip(columns, told, strict=True):
                column.append(part)
    kinds = (np.uint64, np.int64, np.int64, np.int64)
    ids, blocks, sizes, lengths = (
        np.concatenate(column) if column else np.empty(0, kind) for column, kind in zip(columns, kinds, strict=True)
    )
    order = np.lexsort((blocks, ids))
    ids, blocks, sizes, lengths = ids[order], blocks[order], sizes[order], lengths[order]
    unique, inverse = np.unique(ids, return_inverse=True)
    total = np.zeros(len(unique), np.int64)
    np.add.at(total, inverse, sizes)
    # a block may have voxels of an object and no piece of its surface, which lies elsewhere then
    filled = np.zeros(len(unique), np.int64)
    np.add.at(filled, inverse, lengths)
    wanted = choice.of_sizes(total) & (filled > 0)
    kept = wanted[inverse] & (lengths > 0)
    counts = np.zeros(len(unique), np.int64)
    np.add.at(counts, inverse[kept], 1)
    starts = np.concatenate([[0], np.cumsum(counts[wanted])]).astype(np.int64)
    return Listing(unique[wanted], starts, blocks[kept], filled[wanted])
