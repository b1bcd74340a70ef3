"""Bytes for each of many objects in one array, of which one object's can be read alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runner.ledger.stage_record import Results

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pieces:
    """What a block has of its objects.

    Parameters
    ----------
    ids : ndarray of uint64, shape (n,)
        Ascending.
    starts : ndarray of int64, shape (n + 1,)
    data : ndarray of uint8
        The bytes of object ``i`` are ``data[starts[i] : starts[i + 1]]``. In a run folder the array is a mapped file.
    sizes : ndarray of int64, shape (n,)
        Voxels of each object in the block.
    """

    ids: Array
    starts: Array
    data: Array
    sizes: Array

    @classmethod
    def of(cls, parts: Mapping[int, bytes], sizes: Mapping[int, int] | None = None) -> Pieces:
        """Pieces of what is given by id."""
        order = sorted(parts)
        starts = np.zeros(len(order) + 1, np.int64)
        np.cumsum([len(parts[one]) for one in order], out=starts[1:])
        data = np.frombuffer(b"".join(parts[one] for one in order), np.uint8)
        counts = np.array([0 if sizes is None else sizes[one] for one in order], np.int64)
        return cls(np.array(order, np.uint64), starts, data, counts)

    def get(self, object_id: int) -> memoryview | None:
        """The bytes of an object; None where the block has nothing of it."""
        at = int(np.searchsorted(self.ids, np.uint64(object_id)))
        if at == len(self.ids) or int(self.ids[at]) != object_id:
            return None
        return self.data[self.starts[at] : self.starts[at + 1]].data


@dataclass(frozen=True)
class PiecesOf:
    """The pieces that a stage has left, asked for by block and object.

    Parameters
    ----------
    earlier : Results
    stage : str
    """

    earlier: Results
    stage: str

    def blocks(self, ids: Any) -> list[tuple[int, Pieces]]:
        """The pieces of some blocks, without those that have none."""
        return [(block, pieces) for block, pieces in self.earlier.some(self.stage, ids) if pieces is not None]

    def of(self, object_id: int, block: int) -> memoryview | None:
        """What a block has of an object."""
        for _, pieces in self.blocks([block]):
            return pieces.get(object_id)
        return None
