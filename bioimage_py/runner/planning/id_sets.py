"""Sets of block ids that cost little memory: a bit each, or the ranges that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

_PAGE = 14
"""Bits of a number that say where it is in its page."""


class IdSet:
    """A growing set of whole numbers, a bit each, in pages that are made when they are needed."""

    def __init__(self) -> None:
        self._pages: dict[int, npt.NDArray[np.uint8]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, ids: Ids) -> None:
        """Add numbers; one that stands there twice counts twice."""
        for page, places in _paged(ids):
            packed = self._pages.get(page)
            flags = np.zeros(1 << _PAGE, np.uint8) if packed is None else np.unpackbits(packed)
            self._count += len(places) - int(np.count_nonzero(flags[places]))
            flags[places] = 1
            self._pages[page] = np.packbits(flags)

    def missing(self, ids: Ids) -> Ids:
        """Those of ascending numbers that are not in the set."""
        left = []
        for page, places in _paged(ids):
            packed = self._pages.get(page)
            if packed is not None:
                places = places[np.unpackbits(packed)[places] == 0]
            left.append(places + (page << _PAGE))
        return np.concatenate(left) if left else ids[:0]


def _paged(ids: Ids) -> Iterator[tuple[int, Ids]]:
    """Numbers by page, as places in it."""
    pages = ids >> _PAGE
    if len(ids) and (np.diff(pages) < 0).any():
        order = np.argsort(pages, kind="stable")
        ids, pages = ids[order], pages[order]
    for start, stop in pieces(np.diff(pages) != 0, len(ids)):
        page = int(pages[start])
        yield page, ids[start:stop] - (page << _PAGE)


def pieces(turns: npt.NDArray[np.bool_], n: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the pieces of ``n`` things that are cut after each turn."""
    cuts = [0, *(np.flatnonzero(turns) + 1).tolist(), n]
    return ((start, stop) for start, stop in pairwise(cuts) if start < stop)


class Ranges:
    """Whole numbers as ranges, which ascend and do not touch.

    Parameters
    ----------
    rows : array of int64, shape (n, 2)
        Begin and end of each range.
    """

    def __init__(self, rows: npt.ArrayLike = ()) -> None:
        self.rows: Ids = np.asarray(rows, np.int64).reshape(-1, 2)

    @classmethod
    def of(cls, numbers: Ids) -> Ranges:
        """The ranges of ascending numbers."""
        cuts = np.flatnonzero(np.diff(numbers) > 1) + 1
        if not len(numbers):
            return cls()
        first, last = np.r_[0, cuts], np.r_[cuts, len(numbers)] - 1
        return cls(np.stack([numbers[first], numbers[last] + 1], axis=1))

    @cached_property
    def _ends(self) -> Ids:
        return np.cumsum(self.rows[:, 1] - self.rows[:, 0])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self.rows) else 0

    def __iter__(self) -> Iterator[int]:
        for begin, end in self.rows.tolist():
            yield from range(begin, end)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and np.array_equal(self.rows, other.rows)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ranges({self.rows.tolist()})"

    def __getstate__(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def part(self, start: int, stop: int) -> Ranges:
        """The numbers from the ``start``-th up to before the ``stop``-th."""
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right") if start < stop else (0, -1)
        rows = self.rows[first : last + 1].copy()
        if len(rows):
            rows[-1, 1] -= self._ends[last] - stop
            rows[0, 0] = self.rows[first, 1] - (self._ends[first] - start)
        return Ranges(rows)

    def __or__(self, other: Ranges) -> Ranges:
        return self._with(other, np.logical_or)

    def __and__(self, other: Ranges) -> Ranges:
        return self._with(other, np.logical_and)

    def __sub__(self, other: Ranges) -> Ranges:
        return self._with(other, np.greater)

    def _with(self, other: Ranges, keep: Callable[[Any, Any], Any]) -> Ranges:
        edges = np.unique(np.concatenate([self.rows.ravel(), other.rows.ravel()]))
        wanted = keep(self._cover(edges), other._cover(edges))
        turns = np.flatnonzero(np.diff(np.r_[False, wanted]))
        return Ranges(edges[turns])

    def _cover(self, numbers: Ids) -> npt.NDArray[np.bool_]:
        """Whether each of some numbers is in a range."""
        if not len(self.rows):
            return np.zeros(len(numbers), bool)
        row = np.searchsorted(self.rows[:, 0], numbers, side="right") - 1
        covered: npt.NDArray[np.bool_] = (row >= 0) & (numbers < self.rows[row, 1])
        return covered
