"""Assignments in sparse graphs: pairs of which none shares a member, without a matrix of all with all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def most_pairs(rows: Array, columns: Array) -> int:
    """Largest number of edges (rows[i], columns[i]) of which no two share a row or a column."""
    if not len(rows):
        return 0
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    graph = csr_array((np.ones(rows.size, np.uint8), (rows, columns)))
    return int(np.count_nonzero(maximum_bipartite_matching(graph) >= 0))


def best_pairs(rows: Array, columns: Array, costs: Array) -> npt.NDArray[np.int64]:
    """As many edges as possible of which no two share a row or a column, and of these sets one with the least cost.

    Parameters
    ----------
    rows, columns : ndarray of integers, shape (n,)
        Ends of each edge; no edge twice.
    costs : ndarray of float, shape (n,)
        At least 0.

    Returns
    -------
    ndarray of int64
        Which edges, ascending.

    Notes
    -----
    The parts of the graph that hang together are solved each for themselves: Jonker and Volgenant's algorithm for
    sparse matrices (scipy), with a way out for every row that costs more than all edges of its part.
    """
    if not len(rows):
        return np.empty(0, np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, of_row = np.unique(rows, return_inverse=True)
    _, of_column = np.unique(columns, return_inverse=True)
    n_rows = int(of_row.max()) + 1
    ends = of_row, of_column + n_rows
    size = int(ends[1].max()) + 1
    _, parts = connected_components(coo_array((np.ones(len(rows), np.uint8), ends), (size, size)), directed=False)
    of_edge = parts[of_row]
    alone = _single(of_row, of_edge) | _single(of_column, of_edge)
    # one row or one column: its cheapest edge
    cheapest = np.flatnonzero(alone)
    cheapest = cheapest[np.lexsort((costs[cheapest], of_edge[cheapest]))]
    found = [cheapest[np.flatnonzero(np.diff(of_edge[cheapest], prepend=-1))]]
    others = np.flatnonzero(~alone)
    others = others[np.argsort(of_edge[others], kind="stable")]
    for part in np.split(others, np.flatnonzero(np.diff(of_edge[others])) + 1):
        if len(part):
            found.append(part[_of_part(of_row[part], of_column[part], costs[part])])
    return np.sort(np.concatenate(found)).astype(np.int64)


def _single(ends: Array, parts: Array) -> npt.NDArray[np.bool_]:
    """Whether all edges of an edge's part have the same end."""
    n = int(parts.max()) + 1
    low, high = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(low, parts, ends)
    np.maximum.at(high, parts, ends)
    single: npt.NDArray[np.bool_] = (low == high)[parts]
    return single


def _of_part(rows: Array, columns: Array, costs: Array) -> Array:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    names, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    n, width = len(names), int(columns.max()) + 1
    # no cost is 0, which a sparse matrix would take for no edge; the way out costs more than all edges that it saves
    step = float(costs.max()) + 1.0
    weights = np.concatenate([costs + step, np.full(n, 2 * (n + 1) * step)])
    out = np.arange(n)
    ends = np.concatenate([rows, out]), np.concatenate([columns, width + out])
    at, to = min_weight_full_bipartite_matching(coo_array((weights, ends), (n, width + n)).tocsr())
    chosen = dict(zip(at.tolist(), to.tolist(), strict=True))
    return np.flatnonzero([chosen[row] == column for row, column in zip(rows.tolist(), columns.tolist(), strict=True)])
