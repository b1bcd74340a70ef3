"""Which regions belong together, as a value; small parts joined to their neighbours; and labels made of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ..engine.job import RunKeywords
from ..errors import ParameterError, ShapeError
from ..segmentation import relabel
from .constraints.pairs import Constraints
from .constraints.rules import Rules
from .problem import numbered
from .regions import RegionGraph


@dataclass(frozen=True)
class Partition:
    """Which regions belong together.

    Parameters
    ----------
    ids : ndarray of uint64, (regions,)
        Of the label volume, ascending.
    parts : ndarray of uint64, (regions,)
        Of which part each is, 1 to the number of parts, by the first region; after `correct` there may be gaps.
    energies : tuple of float
        Costs of all edges that are cut: of none joined, after each level of cells, at the end.
    bound : float
        No partition has less.
    """

    ids: npt.NDArray[np.uint64]
    parts: npt.NDArray[np.uint64]
    energies: tuple[float, ...] = field(compare=False, default=())
    bound: float = field(compare=False, default=float("-inf"))

    @property
    def n(self) -> int:
        """Number of parts."""
        return len(np.unique(self.parts))

    def __repr__(self) -> str:
        energy = f", energy {self.energies[-1]:.6g}, bound {self.bound:.6g}" if self.energies else ""
        return f"Partition({len(self.ids)} regions in {self.n} parts{energy})"


def join_small_parts(
    graph: RegionGraph, partition: Partition, min_size: int, constraints: Constraints | None = None
) -> Partition:
    """Join parts of fewer voxels to the neighbour from which the least boundary divides them.

    Parameters
    ----------
    graph : RegionGraph
    partition : Partition
        Of its regions.
    min_size : int
        In voxels. A part without neighbours stays as it is.
    constraints : Constraints, optional
        Parts with a region that must not be joined to some other one stay as they are.

    Returns
    -------
    Partition

    Raises
    ------
    ShapeError
        If the partition is that of another graph.
    ParameterError
        If the size is negative.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.array([[0, 0, 1], [0, 0, 1.0]]))
    >>> parts = bp.graph.multicut(graph, [-1.0, -1.0, -1.0])
    >>> bp.graph.join_small_parts(graph, parts, 3).n
    1
    """
    if min_size < 0:
        raise ParameterError(f"min_size is a number of voxels, got {min_size!r}", remedy="min_size=100")
    if not np.array_equal(partition.ids, graph.nodes.ids):
        raise ShapeError(
            f"the partition has {len(partition.ids)} regions, the graph {len(graph.nodes)} other ones",
            remedy="a partition of this graph",
        )
    labels = partition.parts.astype(np.int64) - 1
    fixed = np.zeros(0, np.int64) if constraints is None else Rules.of_graph(graph, constraints).cuts.ravel()
    while (joined := _joined(graph, labels, min_size, fixed)) is not None:
        labels = joined
    return replace(partition, parts=(labels + 1).astype(np.uint64), energies=())


def _joined(
    graph: RegionGraph, labels: npt.NDArray[np.int64], min_size: int, fixed: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64] | None:
    """Labels with small parts joined to one neighbour each, but not those of fixed regions; None where none is."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = int(labels.max(initial=-1)) + 1
    size = np.zeros(n, np.int64)
    np.add.at(size, labels, graph.nodes.size)
    size[labels[fixed]] = max(min_size, 0)
    pairs = np.sort(labels[graph.pairs], axis=1)
    between = pairs[:, 0] != pairs[:, 1]
    found, inverse = np.unique(pairs[between], axis=0, return_inverse=True)
    total = np.bincount(inverse, graph.edges.total[between], len(found))
    mean = total / np.maximum(np.bincount(inverse, graph.edges.count[between], len(found)), 1)
    ends = np.concatenate([found, found[:, ::-1]])
    mean = np.concatenate([mean, mean])
    small = size[ends[:, 0]] < min_size
    ends, mean = ends[small], mean[small]
    if not len(ends):
        return None
    order = np.lexsort((ends[:, 1], mean, ends[:, 0]))
    ends = ends[order]
    first = np.r_[True, ends[1:, 0] != ends[:-1, 0]]
    one, other = ends[first].T
    _, groups = connected_components(coo_matrix((np.ones(len(one)), (one, other)), shape=(n, n)), directed=False)
    return numbered(groups[labels])


def apply_node_labels(labels: Any, partition: Partition, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Label volume in which every region has the number of its part.

    Parameters
    ----------
    labels : source-like
        Of which the region graph was made; changed in place where it is a file and no output is given.
    partition : Partition
    output : source-like, optional
        See `bioimage_py.segmentation.relabel`, which does it, for this and for the keywords.

    Returns
    -------
    object
        The output; 0 stays 0.

    Raises
    ------
    IndexingError
        A label that is none of the partition's regions (as cause of a `RunnerError` when run in blocks).

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.zeros((2, 3), np.float32))
    >>> bp.graph.apply_node_labels(labels, bp.graph.multicut(graph, [1.0, -1.0, -1.0])).tolist()
    [[1, 1, 1], [2, 2, 1]]
    """
    return relabel(labels, table_of(partition), output, **run)


def table_of(partition: Partition) -> Any:
    """New id by old id, for `relabel`."""
    ids = partition.ids
    if len(ids) and int(ids[0]) == 1 and int(ids[-1]) == len(ids):
        return np.concatenate([np.zeros(1, np.uint64), partition.parts])
    # An id in a gap is that of no region: a dict has no entry for it, where an array would make it background.
    return {0: 0} | dict(zip(ids.tolist(), partition.parts.tolist(), strict=True))
