"""The operation `correct`: a partition that heeds constraints, solved again only where it did not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import numpy.typing as npt

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.stages import run_stages
from ...errors import ShapeError
from ..constraints.pairs import Constraints, constraints_of
from ..constraints.rules import Rules
from ..partition_blocks import Begin, Level
from ..partition_stages import cells_of, opened, partition_stages
from ..parts import Partition, join_small_parts
from ..regions import RegionGraph
from ..solving import Solver

Labels = npt.NDArray[np.int64]


@operation(
    omit=("mask", "block_ids", "roi", "skip_empty", "casting", "resume_from", "block_shape"),
    axes="own",
    declaration=Declaration("blockwise", "bioimage_cpp.graph.multicut", "half a cell", 1.0),
)
def correct(
    graph: RegionGraph | str | os.PathLike[str],
    costs: Sequence[float] | npt.NDArray[np.float64],
    partition: Partition,
    constraints: Constraints | str | os.PathLike[str],
    *,
    min_size: int = 0,
    cell_shape: int | Sequence[int] | None = None,
    solver: Solver = "kernighan-lin",
    **run: Unpack[RunKeywords],
) -> Partition:
    """A partition made to heed constraints, in which only the parts that did not are divided anew.

    These parts are divided by multicut, as one problem, under all constraints; everything else stays as it is, with its
    numbers. A part that is cut leaves its number to its largest piece, parts that are joined take that of the largest;
    other pieces get new numbers, above all others. Called again with the same constraints, it changes nothing. Axes
    play a part as in `multicut`.

    Parameters
    ----------
    graph : RegionGraph or path
    costs : sequence of float, (edges,)
        With which the partition was found; see `costs`.
    partition : Partition
        Of the regions of the graph.
    constraints : Constraints or path
        All that hold, also those that are heeded already.
    min_size : int, default 0
        Voxels; smaller pieces are joined to a neighbour, see `join_small_parts`.
    cell_shape : int or sequence of int, optional
        See `multicut`.
    solver : {"kernighan-lin", "greedy-additive", "greedy-fixation", "fusion-moves"}

    Returns
    -------
    Partition
        The same on every backend, for the same cells.

    Raises
    ------
    ShapeError, ParameterError
        Not one finite cost for each edge, a partition of another graph, constraints on other regions, or that
        contradict each other.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.zeros((2, 3), np.float32))
    >>> costs = [1.0, -1.0, -1.0]
    >>> parts = bp.graph.multicut(graph, costs)
    >>> bp.graph.correct(graph, costs, parts, bp.graph.Constraints(cut=[(1, 2)])).parts.tolist()
    [1, 3, 2]
    """
    job = Job.of(run)
    found = opened(graph)
    values = found.check_edges(costs, "costs")
    if not np.array_equal(partition.ids, found.nodes.ids):
        raise ShapeError(
            f"the partition has {len(partition.ids)} regions, the graph {len(found.nodes)} other ones",
            remedy="a partition of this graph",
        )
    wanted = constraints_of(constraints)
    rules = Rules.of_graph(found, wanted)
    before = partition.parts.astype(np.int64)
    chosen = np.flatnonzero(np.isin(before, _wrong(before, rules)))
    if not len(chosen):
        return partition
    stages, last = partition_stages(Begin(found, values, rules, chosen), cells_of(found, cell_shape), solver)
    level: Level = run_stages("correct", stages, job).results[last.stage]
    after = before.copy()
    after[chosen] = before.max() + 1 + level.labels
    if min_size:
        small = join_small_parts(found, Partition(partition.ids, after.astype(np.uint64)), min_size, wanted)
        after = small.parts.astype(np.int64)
    parts = renamed(before, after, found.nodes.size)
    return replace(partition, parts=parts.astype(np.uint64), energies=(), bound=float(values[values < 0].sum()))


def _wrong(parts: Labels, rules: Rules) -> Labels:
    """Parts that do not heed the rules."""
    joins, cuts = parts[rules.joins], parts[rules.cuts]
    apart, together = joins[:, 0] != joins[:, 1], cuts[:, 0] == cuts[:, 1]
    return np.unique(np.concatenate([joins[apart].ravel(), cuts[together].ravel()]))


def renamed(before: Labels, after: Labels, size: npt.NDArray[np.int64]) -> Labels:
    """A division under the names of an earlier one: the largest common pieces keep them, what is left gets new ones.

    Parameters
    ----------
    before, after : ndarray of int64, (nodes,)
        Names of parts.
    size : ndarray of int64, (nodes,)
    """
    new, old = (np.unique(labels, return_inverse=True)[1].ravel() for labels in (after, before))
    was = np.unique(before)
    pairs, inverse = np.unique(np.stack([new, old], axis=1), axis=0, return_inverse=True)
    shared = np.zeros(len(pairs), np.int64)
    np.add.at(shared, inverse.ravel(), size)
    pieces, parents = np.bincount(pairs[:, 0]), np.bincount(pairs[:, 1])
    same = (pieces[pairs[:, 0]] == 1) & (parents[pairs[:, 1]] == 1)
    names = np.zeros(len(pieces), np.int64)
    names[pairs[same, 0]] = was[pairs[same, 1]]
    taken: set[int] = set()
    changed = np.flatnonzero(~same)
    for row in changed[np.lexsort((pairs[changed, 0], pairs[changed, 1], -shared[changed]))].tolist():
        number, parent = pairs[row].tolist()
        if not names[number] and parent not in taken:
            names[number] = was[parent]
            taken.add(parent)
    rest = np.flatnonzero(names == 0)
    names[rest] = int(before.max(initial=0)) + 1 + np.arange(len(rest))
    return np.asarray(names[new], np.int64)
