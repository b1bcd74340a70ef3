"""The operation `agglomerate`: regions joined one after the other, the most alike first, up to any threshold."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import OnceStage, run_stages
from ..errors import ParameterError
from .partition_blocks import Begin, JoinMore
from .partition_stages import cells_of, opened, partition_stages
from .parts import Partition
from .regions import RegionGraph

_STEPS = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True)
class MergeTree:
    """Which regions have been joined up to each of some thresholds.

    Parameters
    ----------
    ids : ndarray of uint64, (regions,)
    thresholds : tuple of float
        Ascending.
    parts : ndarray of uint64, (thresholds, regions)
        1 to the number of parts; those of a lower threshold lie in those of a higher one.
    """

    ids: npt.NDArray[np.uint64]
    thresholds: tuple[float, ...]
    parts: npt.NDArray[np.uint64]

    def partition(self, threshold: float) -> Partition:
        """The partition at the largest threshold that is not above the one given; another one is only a relabelling.

        Raises
        ------
        ParameterError
            If it lies below the first threshold.
        """
        row = int(np.searchsorted(self.thresholds, threshold + 1e-9)) - 1
        if row < 0:
            raise ParameterError(
                f"threshold={threshold!r} is below the first one of the tree, {self.thresholds[0]}",
                remedy=f"threshold={self.thresholds[0]}, or agglomerate(..., thresholds=[{threshold}])",
            )
        return Partition(self.ids, self.parts[row])

    def __repr__(self) -> str:
        first, last = (f"{self.thresholds[row]} ({self.parts[row].max(initial=0)} parts)" for row in (0, -1))
        return f"MergeTree({len(self.ids)} regions, from {first} to {last})"


@operation(
    omit=("mask", "block_ids", "roi", "skip_empty", "casting", "resume_from", "block_shape"),
    axes="own",
    declaration=Declaration("blockwise", "bioimage_cpp.graph.agglomeration", "half a cell", 1.0),
)
def agglomerate(
    graph: RegionGraph | str | os.PathLike[str],
    probabilities: Sequence[float] | npt.NDArray[np.float64] | None = None,
    *,
    thresholds: float | Sequence[float] = _STEPS,
    cell_shape: int | Sequence[int] | None = None,
    **run: Unpack[RunKeywords],
) -> MergeTree:
    """Join the two regions with the least mean boundary between them, again and again, up to each of some thresholds.

    The mean is that of all pairs of voxels between two parts, also after they have been joined of others (mean
    linkage). Up to the first threshold the volume is divided into cells as by `multicut`.

    Parameters
    ----------
    graph : RegionGraph or path
    probabilities : sequence of float, (edges,), optional
        That there is a boundary, 0 to 1; by default the mean boundary of each edge.
    thresholds : float or sequence of float
        Mean boundaries up to which parts are joined, between 0 and 1; by default 0.05, 0.1, ... 0.95.
    cell_shape : int or sequence of int, optional
        Voxels of the smallest cells, by default 128 along each axis.

    Returns
    -------
    MergeTree
        Partitions at all thresholds, each made of the one before.

    Raises
    ------
    ShapeError, ParameterError
        Not one finite probability for each edge, or a threshold out of range.

    Notes
    -----
    Bailoni et al., "GASP, a generalized framework for agglomerative clustering of signed graphs", CVPR 2022. Kernel:
    bioimage-cpp.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.zeros((2, 3), np.float32))
    >>> tree = bp.graph.agglomerate(graph, [0.1, 0.5, 0.6])
    >>> tree.partition(0.2).parts.tolist(), tree.partition(0.6).n
    ([1, 1, 2], 1)
    """
    job = Job.of(run)
    rising = _checked(thresholds)
    found = opened(graph)
    values = found.mean() if probabilities is None else found.check_edges(probabilities, "probabilities")
    count = found.edges.count.astype(np.float64)
    begin = Begin(found, (rising[0] - values) * count)
    stages, last = partition_stages(begin, cells_of(found, cell_shape), "mean linkage")
    rises = tuple(high - low for low, high in itertools.pairwise(rising))
    report = run_stages("agglomerate", [*stages, OnceStage("thresholds", JoinMore(last, rises))], job)
    parts = [(labels + 1).astype(np.uint64) for labels in report.results["thresholds"]]
    return MergeTree(found.nodes.ids, rising, np.stack(parts))


def _checked(thresholds: Any) -> tuple[float, ...]:
    given = tuple(float(one) for one in (thresholds if np.ndim(thresholds) else [thresholds]))
    if not given or not all(0 <= one <= 1 for one in given) or list(given) != sorted(set(given)):
        raise ParameterError(
            f"thresholds ascend between 0 and 1, got {thresholds!r}", remedy="thresholds=[0.3, 0.4, 0.5]"
        )
    return given
