"""The operation `multicut`: which regions belong together, on graphs of any size."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ..blocks.shape import normalize_block_shape
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import ItemsStage, OnceStage, run_stages
from ..errors import ParameterError, SourceTypeError
from .decomposition import Cells, levels
from .multicut_blocks import Begin, JoinCells, Level, LevelOf, SolveCell, SolveRest
from .parts import Partition
from .regions import RegionGraph
from .solving import SOLVERS, Solver
from .stored import open_graph

_LOG = logging.getLogger("bioimage_py")
_CELL = 128


@operation(
    omit=("mask", "block_ids", "roi", "skip_empty", "casting", "resume_from", "block_shape"),
    axes="own",
    declaration=Declaration("blockwise", "bioimage_cpp.graph.multicut", "half a cell", 1.0),
)
def multicut(
    graph: RegionGraph | str | os.PathLike[str],
    costs: Sequence[float] | npt.NDArray[np.float64],
    *,
    cell_shape: int | Sequence[int] | None = None,
    solver: Solver = "kernighan-lin",
    **run: Unpack[RunKeywords],
) -> Partition:
    """Divide regions so that the costs of the edges that are cut are least.

    The volume is cut into cells. The regions of each are divided, together with those half a cell around it, and what
    the cells join becomes one region; then in cells of twice the size, until what is left is solved as a whole. Axes
    play a part only in that cells are boxes of the volume.

    Parameters
    ----------
    graph : RegionGraph or path
        From `region_graph`, or where it was kept.
    costs : sequence of float, (edges,)
        Positive where two regions belong together; see `costs`.
    cell_shape : int or sequence of int, optional
        Voxels of the smallest cells, by default 128 along each axis. A volume of one cell is solved as a whole.
    solver : {"kernighan-lin", "greedy-additive", "greedy-fixation", "fusion-moves"}

    Returns
    -------
    Partition
        The same on every backend, for the same cells.

    Raises
    ------
    ShapeError, ParameterError
        Not one finite cost for each edge, or an unknown solver.

    Notes
    -----
    Keuper et al., "Efficient decomposition of image and mesh graphs by lifted multicuts", ICCV 2015 (Kernighan-Lin);
    Pape et al., "Solving large multicut problems for connectomics via domain decomposition", ICCV Workshops 2017.
    Kernel: bioimage-cpp.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> graph = bp.graph.region_graph(labels, np.zeros((2, 3), np.float32))
    >>> bp.graph.multicut(graph, [1.0, -1.0, -1.0]).parts.tolist()
    [1, 1, 2]
    """
    job = Job.of(run)
    if solver not in SOLVERS:
        raise ParameterError(f"unknown solver {solver!r}", remedy=" or ".join(f"solver={one!r}" for one in SOLVERS))
    found, given = opened(graph)
    values = found.check_edges(costs, "costs")
    sizes = (_CELL,) * len(found.shape) if cell_shape is None else cell_shape
    cells = levels(found.shape, normalize_block_shape(sizes, len(found.shape)))
    level: Level = run_stages("multicut", _stages(Begin(given, values), cells, solver), job).results["rest"]
    partition = Partition(
        found.nodes.ids, (level.labels + 1).astype(np.uint64), level.energies, float(values[values < 0].sum())
    )
    _LOG.info("multicut: %r, energies %s", partition, ", ".join(f"{one:.6g}" for one in level.energies))
    return partition


def opened(graph: Any) -> tuple[RegionGraph, RegionGraph | str]:
    """A graph, and what workers are given of it: where it lies, if it lies in a file."""
    if isinstance(graph, RegionGraph):
        return graph, graph
    if isinstance(graph, str | os.PathLike):
        path = os.path.abspath(graph)
        return open_graph(path), path
    raise SourceTypeError(
        f"{type(graph).__name__} is no region graph", remedy="graph=bp.graph.region_graph(labels, boundaries)"
    )


def _stages(begin: Begin, cells: Sequence[Cells], solver: Solver) -> list[ItemsStage | OnceStage]:
    stages: list[ItemsStage | OnceStage] = [OnceStage("problem", begin)]
    before = LevelOf("problem")
    for number, level in enumerate(cells):
        name = f"cells {number}"
        stages.append(ItemsStage(name, SolveCell(level, solver), level.n, before))
        stages.append(OnceStage(f"join {number}", JoinCells(before, name)))
        before = LevelOf(f"join {number}")
    return [*stages, OnceStage("rest", SolveRest(before, solver))]
