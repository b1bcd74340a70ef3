"""Multicut problems that fit a processor: bioimage-cpp's solvers on a `Problem`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .problem import Problem, numbered

Solver = Literal["kernighan-lin", "greedy-additive", "greedy-fixation", "fusion-moves"]
Way = Solver | Literal["mean linkage"]
"""How a problem is divided: by a solver of multicut, or by agglomeration."""
SOLVERS: tuple[Solver, ...] = ("kernighan-lin", "greedy-additive", "greedy-fixation", "fusion-moves")


def solved(problem: Problem, way: Way) -> npt.NDArray[np.int64]:
    """The parts of a problem, one number for each node, 0 .. m - 1 by their first nodes.

    Each connected part is solved by itself. "kernighan-lin" begins with the greedy additive result and moves nodes
    between neighbours; "fusion-moves" fuses that with proposals of watersheds of the graph, always with the same seed.
    "mean linkage" joins the two parts with the highest mean cost of a pair of voxels between them, as long as it is
    positive.
    The same problem has the same parts, whatever the machine does beside.
    """
    from bioimage_cpp.graph import UndirectedGraph
    from bioimage_cpp.graph.agglomeration import GaspClusterPolicy
    from bioimage_cpp.graph.multicut import MulticutObjective

    if not len(problem.edges) or problem.costs.max() <= 0:
        return np.arange(problem.n, dtype=np.int64)
    if not problem.touching.all():
        return _lifted(problem, way)
    graph = UndirectedGraph.from_unique_edges(problem.n, problem.edges.astype(np.uint64))
    if way == "mean linkage":
        means = problem.costs / np.maximum(problem.weights, 1)
        return numbered(GaspClusterPolicy(linkage="mean").optimize(graph, means, edge_sizes=problem.weights))
    objective = MulticutObjective(graph, problem.costs)
    for step in _steps(way):
        step.optimize(objective)
    return numbered(np.asarray(objective.labels))


def _lifted(problem: Problem, way: Way) -> npt.NDArray[np.int64]:
    """The parts where some edges are lifted: greedy, then by moving nodes between neighbours."""
    from bioimage_cpp.graph import UndirectedGraph
    from bioimage_cpp.graph import lifted_multicut as lifted

    local = problem.touching
    if not local.any():
        return np.arange(problem.n, dtype=np.int64)
    graph = UndirectedGraph.from_unique_edges(problem.n, problem.edges[local].astype(np.uint64))
    objective = lifted.LiftedMulticutObjective(
        graph,
        problem.costs[local],
        lifted_uvs=problem.edges[~local].astype(np.uint64),
        lifted_costs=problem.costs[~local],
    )
    lifted.LiftedGreedyAdditiveMulticut().optimize(objective)
    if way != "greedy-additive":
        lifted.LiftedKernighanLinMulticut().optimize(objective)
    return numbered(np.asarray(objective.labels))


def _steps(solver: Solver) -> list[Any]:
    from bioimage_cpp.graph import multicut

    greedy = multicut.GreedyAdditiveMulticut()
    if solver == "greedy-additive":
        return [greedy]
    if solver == "greedy-fixation":
        return [multicut.GreedyFixationMulticut()]
    if solver == "kernighan-lin":
        return [greedy, multicut.KernighanLinMulticut()]
    proposals = multicut.WatershedProposalGenerator(seed=0)
    fusion = multicut.FusionMoveMulticut(proposal_generator=proposals, number_of_threads=1)
    return [greedy, multicut.KernighanLinMulticut(), fusion]
