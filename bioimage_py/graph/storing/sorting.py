"""Tables of many blocks as one, sorted in files: memory holds a bounded number of rows, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ...system.files import naming
from ..edge_table import Array, Table

ROWS = 2**19
"""Rows that are held, sorted and added up at once."""
_STEP = 512
"""Of so many rows of a run one says where ranges of ids may be cut."""
T = TypeVar("T", bound=Table)


@dataclass(frozen=True)
class Run(Generic[T]):
    """Rows in ascending order of their ids, in a folder with a file for each column."""

    folder: Path
    empty: T
    n: int

    @classmethod
    def written(cls, folder: Path, table: T, empty: T) -> Run[T]:
        """The rows of a table."""
        folder.mkdir(parents=True)
        for column in table.names:
            # tofile would tell neither a full disk as such nor the path
            with naming(folder / column), open(folder / column, "wb") as file:
                file.write(np.ascontiguousarray(getattr(table, column)).tobytes())
        return cls(folder, empty, len(table))

    def rows(self, begin: int, end: int) -> T:
        """The table of some rows."""
        return type(self.empty)(*(self._column(name, begin, end) for name in self.empty.names))

    def keys(self) -> Array:
        """The ids, (columns, rows)."""
        ids = self._column("ids", 0, self.n)
        return np.ascontiguousarray(ids.T).reshape(-1, self.n)

    def _column(self, name: str, begin: int, end: int) -> Array:
        like: Array = getattr(self.empty, name)
        width = int(np.prod(like.shape[1:], dtype=int))
        offset, count = begin * width * like.itemsize, (end - begin) * width
        return np.fromfile(self.folder / name, like.dtype, count, offset=offset).reshape(-1, *like.shape[1:])


class Sorting(Generic[T]):
    """Tables of blocks that are added one after the other, and come out as one, part after part.

    What does not fit into `ROWS` rows is kept in sorted runs; all runs are then merged by ranges of ids. As an
    external merge sort: Knuth, "The Art of Computer Programming", volume 3, 5.4.

    Parameters
    ----------
    merged : callable
        One table of several; the same bits in any order.
    empty : Table
        A table without rows.
    folder : Path
        For the runs, where there are any.
    """

    def __init__(self, merged: Callable[[Sequence[T]], T], empty: T, folder: Path) -> None:
        self._merged, self._empty, self._folder = merged, empty, folder
        self._held: list[T] = []
        self._rows = 0
        self._runs: list[Run[T]] = []

    def add(self, table: T) -> None:
        """Take a table."""
        if not len(table):
            return
        self._held.append(table)
        self._rows += len(table)
        if self._rows >= ROWS:
            self._put_away()

    def _put_away(self) -> None:
        table = self._merged([self._empty, *self._held])
        self._held, self._rows = [], 0
        self._runs.append(Run.written(self._folder / str(len(self._runs)), table, self._empty))

    def parts(self) -> Iterator[T]:
        """The rows of all tables, each id once and in ascending order, in tables of bounded length."""
        if not self._runs:
            yield self._merged([self._empty, *self._held])
            return
        if self._held:
            self._put_away()
        for begins in self._ranges():
            yield self._merged([run.rows(*span) for run, span in zip(self._runs, begins, strict=True)])

    @property
    def most(self) -> int:
        """Rows that there are at most."""
        return sum(run.n for run in self._runs) + self._rows

    def _ranges(self) -> list[list[tuple[int, int]]]:
        """For each range of ids, the rows of each run that lie in it."""
        samples = np.concatenate([run.keys()[:, _STEP - 1 :: _STEP].copy() for run in self._runs], axis=1)
        samples = samples[:, np.lexsort(samples[::-1])]
        cuts = samples[:, ROWS // _STEP :: max(1, ROWS // _STEP)].T
        begins = []
        for run in self._runs:
            keys = run.keys()
            begins.append([0, *(_rows_below(keys, cut) for cut in cuts), run.n])
        return [[(row[at], row[at + 1]) for row in begins] for at in range(len(cuts) + 1)]


def _rows_below(keys: Array, key: npt.NDArray[Any]) -> int:
    """How many rows of ascending keys, (columns, rows), lie below one."""
    low, high = 0, keys.shape[1]
    for column, value in zip(keys, key, strict=True):
        span = column[low:high]
        low, high = (low + int(np.searchsorted(span, value, side)) for side in ("left", "right"))
    return low
