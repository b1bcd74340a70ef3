"""Finding records by region: a tree over the bounds of the rows that were there, a look at those that came since."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from .table import Rows, Table

_FEW = 2000
"""Rows are looked at one by one up to here: that is faster than any tree."""


class Index:
    """Bounds of the rows of a table.

    Rows never change, so the tree holds for ever for those that it was made of; the dead ones are left out at the end.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._tree: Any = None
        self._n = 0

    def rows(self, low: Any, high: Any) -> Rows:
        """Return the living rows whose bounds meet a box (edges belong to it).

        Parameters
        ----------
        low, high : array of 3
            x, y, z.
        """
        table = self._table
        if table.n - self._n > max(_FEW, self._n // 4) and importlib.util.find_spec("shapely"):
            self._build()
        found = np.arange(self._n, table.n)
        if self._tree is not None:
            import shapely

            found = np.concatenate([self._tree.query(shapely.box(low[0], low[1], high[0], high[1])), found])
        found = found[table.alive[found]]
        bounds = table.rows["bounds"][found]
        return np.sort(found[((bounds[:, :3] <= high) & (bounds[:, 3:] >= low)).all(axis=1)])

    def _build(self) -> None:
        import shapely

        bounds = self._table.rows["bounds"]
        # a diagonal has the bounds of its box and is made twice as fast
        ends = np.stack([bounds[:, :2], bounds[:, 3:5]], axis=1)
        self._tree, self._n = shapely.STRtree(shapely.linestrings(ends)), len(bounds)
