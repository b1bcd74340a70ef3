"""The operations `multicut` and `lifted_multicut`: which regions belong together, on graphs of any size."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import run_stages
from ..errors import ParameterError
from .constraints.pairs import Constraints
from .constraints.rules import Rules
from .partition_blocks import Begin, Level
from .partition_stages import cells_of, opened, partition_stages
from .parts import Partition
from .regions import RegionGraph
from .solving import SOLVERS, Solver

_LOG = logging.getLogger("bioimage_py")


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
    constraints: Constraints | str | os.PathLike[str] | None = None,
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
    constraints : Constraints or path, optional
        Pairs of regions that must, or must not, be in one part, whatever it costs.

    Returns
    -------
    Partition
        The same on every backend, for the same cells.

    Raises
    ------
    ShapeError, ParameterError
        Not one finite cost for each edge, an unknown solver, or constraints that contradict each other.

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
    found = opened(graph)
    if lifted := int(np.count_nonzero(~found.edges.faces.any(axis=1))):
        raise ParameterError(
            f"{lifted} of the {len(found.edges)} edges join regions that do not touch", remedy="lifted_multicut(...)"
        )
    rules = None if constraints is None else Rules.of_graph(found, constraints)
    return _partition("multicut", found, costs, cell_shape, solver, Job.of(run), rules)


@operation(
    omit=("mask", "block_ids", "roi", "skip_empty", "casting", "resume_from", "block_shape"),
    axes="own",
    declaration=Declaration("blockwise", "bioimage_cpp.graph.lifted_multicut", "half a cell", 1.0),
)
def lifted_multicut(
    graph: RegionGraph | str | os.PathLike[str],
    costs: Sequence[float] | npt.NDArray[np.float64],
    *,
    cell_shape: int | Sequence[int] | None = None,
    solver: Literal["kernighan-lin", "greedy-additive"] = "kernighan-lin",
    **run: Unpack[RunKeywords],
) -> Partition:
    """As `multicut`, of a graph that has edges between regions that do not touch, too.

    Such a lifted edge says whether two regions further apart belong to one object; its cost counts where they do not,
    but an object still hangs together by regions that touch. Axes play a part as in `multicut`.

    Parameters
    ----------
    graph : RegionGraph or path
        From ``region_graph(..., affinities=..., offsets=..., long_range=True)``.
    costs : sequence of float, (edges,)
        Positive where two regions belong together; see `costs`.
    cell_shape : int or sequence of int, optional
        See `multicut`.
    solver : {"kernighan-lin", "greedy-additive"}

    Returns
    -------
    Partition

    Raises
    ------
    ShapeError, ParameterError
        Not one finite cost for each edge, or an unknown solver.

    Notes
    -----
    Keuper et al., "Efficient decomposition of image and mesh graphs by lifted multicuts", ICCV 2015. Kernel:
    bioimage-cpp.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels, affinities = np.array([[1, 2, 3]]), np.full((2, 1, 3), 0.5, np.float32)
    >>> offsets = [(0, 1), (0, 2)]
    >>> graph = bp.graph.region_graph(labels, affinities=affinities, offsets=offsets, long_range=True)
    >>> graph.edges.ids.tolist()
    [[1, 2], [1, 3], [2, 3]]
    >>> bp.graph.lifted_multicut(graph, [1.0, -5.0, 2.0]).parts.tolist()
    [1, 2, 2]
    """
    if solver not in ("kernighan-lin", "greedy-additive"):
        raise ParameterError(
            f"lifted_multicut has no solver {solver!r}", remedy='solver="kernighan-lin" or solver="greedy-additive"'
        )
    return _partition("lifted_multicut", opened(graph), costs, cell_shape, solver, Job.of(run))


def _partition(
    name: str,
    graph: RegionGraph,
    costs: Sequence[float] | npt.NDArray[np.float64],
    cell_shape: int | Sequence[int] | None,
    solver: Solver,
    job: Job,
    rules: Rules | None = None,
) -> Partition:
    if solver not in SOLVERS:
        raise ParameterError(f"unknown solver {solver!r}", remedy=" or ".join(f"solver={one!r}" for one in SOLVERS))
    values = graph.check_edges(costs, "costs")
    stages, last = partition_stages(Begin(graph, values, rules), cells_of(graph, cell_shape), solver)
    level: Level = run_stages(name, stages, job).results[last.stage]
    parts = (level.labels + 1).astype(np.uint64)
    partition = Partition(graph.nodes.ids, parts, level.energies, float(values[values < 0].sum()))
    _LOG.info("%s: %r, energies %s", name, partition, ", ".join(f"{one:.6g}" for one in level.energies))
    return partition
