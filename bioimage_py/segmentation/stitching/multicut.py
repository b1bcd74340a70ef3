"""Multicut of a graph: which of its nodes are one object, given what speaks for and against it at each edge.

An edge has a cost: above 0 where its nodes should be one object, below 0 where they should not. The multicut is the
partition whose edges within objects have the largest sum. Solvers: bioimage-cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arguments import number
from ...errors import DtypeError, ParameterError, ShapeError

Array = npt.NDArray[Any]
Costs = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint64]

_LEAST = 0.001
_SCHEMES = (None, "none", "all", "xyz", "z")
_SOLVERS = ("greedy-additive", "greedy-fixation", "kernighan-lin")


def transform_probabilities_to_costs(
    probs: Any,
    beta: float = 0.5,
    edge_sizes: Any = None,
    edge_populations: Sequence[Any] | None = None,
    weighting_exponent: float = 1.0,
) -> Costs:
    """Costs of edges from the probabilities that they are boundaries.

    Parameters
    ----------
    probs : array_like of float, shape (n,)
        Probability of each edge to lie between two objects; taken into 0.001 to 0.999.
    beta : float, default 0.5
        Above 0, below 1; larger ones give more and smaller objects.
    edge_sizes : array_like of float, shape (n,), optional
        Sizes, by which costs are weighted: divided by the largest one.
    edge_populations : sequence of array_like, optional
        Indices (or masks) of edges that are weighted by the largest size among them; other edges are not weighted.
    weighting_exponent : float, default 1.0
        Power of the weights.

    Returns
    -------
    ndarray of float64, shape (n,)
        ``log((1 - p) / p) + log((1 - beta) / beta)``, weighted; above 0 an edge attracts.

    Raises
    ------
    ParameterError
        A probability that is NaN or not within 0 and 1, or a beta out of range.
    ShapeError
        If there are not as many sizes as edges.
    DtypeError
        If they are no numbers.

    Notes
    -----
    Andres et al., "Globally optimal closed-surface segmentation for connectomics", ECCV 2012.

    Examples
    --------
    >>> from bioimage_py.segmentation import transform_probabilities_to_costs
    >>> transform_probabilities_to_costs([0.1, 0.5, 0.9]).round(2)
    array([ 2.19,  0.  , -2.19])
    """
    given = _numbers(probs, "probs")
    if given.size and not ((given >= 0) & (given <= 1)).all():
        wrong = int(np.flatnonzero(~((given >= 0) & (given <= 1)))[0])
        raise ParameterError(f"probs[{wrong}] is {given[wrong]}, which is no probability", remedy="numbers from 0 to 1")
    if not 0 < number("beta", beta, example=0.5) < 1:
        raise ParameterError(f"beta={beta!r} is not above 0 and below 1", remedy="beta=0.5")
    within = given * (1 - 2 * _LEAST) + _LEAST
    costs: Costs = np.log((1 - within) / within) + np.log((1 - beta) / beta)
    if edge_sizes is None:
        return costs
    sizes = _numbers(edge_sizes, "edge_sizes")
    if sizes.shape != given.shape:
        raise ShapeError(f"{len(sizes)} edge_sizes for {len(given)} probs", remedy="a size for each edge")
    for part in [slice(None)] if edge_populations is None else map(np.asarray, edge_populations):
        chosen = sizes[part]
        if chosen.size and (largest := chosen.max()) > 0:
            costs[part] *= (chosen / largest) ** weighting_exponent
    return costs


def compute_edge_costs(
    probs: Any,
    edge_sizes: Any = None,
    z_edge_mask: Any = None,
    beta: float = 0.5,
    weighting_scheme: str | None = None,
    weighting_exponent: float = 1.0,
) -> Costs:
    """Costs of edges from the probabilities that they are boundaries, weighted by size in one of several ways.

    Parameters
    ----------
    probs, edge_sizes, beta, weighting_exponent
        As for `transform_probabilities_to_costs`.
    z_edge_mask : array_like of bool, shape (n,), optional
        True for edges between planes; needed for "xyz" and "z".
    weighting_scheme : {None, "none", "all", "xyz", "z"}
        Not by size; by the size among all edges; among the edges between planes and among those within planes, each for
        themselves; the edges between planes only.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    ParameterError
        An unknown scheme, or one without the sizes and the mask that it needs; also as
        `transform_probabilities_to_costs`.
    ShapeError, DtypeError
        As `transform_probabilities_to_costs`.
    """
    if weighting_scheme not in _SCHEMES:
        raise ParameterError(f"weighting_scheme={weighting_scheme!r} is none of {_SCHEMES}", remedy='"all"')
    if weighting_scheme in (None, "none"):
        return transform_probabilities_to_costs(probs, beta)
    if edge_sizes is None or (weighting_scheme != "all" and z_edge_mask is None):
        raise ParameterError(
            f"weighting_scheme={weighting_scheme!r} needs edge_sizes="
            + ("" if weighting_scheme == "all" else " and z_edge_mask="),
            remedy="weighting_scheme=None",
        )
    populations = None
    if weighting_scheme != "all":
        between = np.asarray(z_edge_mask, np.bool_)
        populations = [between, ~between] if weighting_scheme == "xyz" else [between]
    return transform_probabilities_to_costs(probs, beta, edge_sizes, populations, weighting_exponent)


def multicut_kernighan_lin(graph: Any, costs: Any, warmstart: bool = True) -> Labels:
    """Multicut by moving nodes between objects as long as that helps (Kernighan and Lin).

    Parameters
    ----------
    graph : bioimage_cpp.graph.UndirectedGraph or RegionAdjacencyGraph
    costs : array_like of float, shape (number of edges,)
        Above 0 for edges within an object.
    warmstart : bool, default True
        Begin with what `multicut_gaec` finds.

    Returns
    -------
    ndarray of uint64, shape (number of nodes,)
        Object of each node.

    Raises
    ------
    ShapeError
        If there are not as many costs as edges.
    ParameterError
        A cost that is NaN or infinite.

    Notes
    -----
    Keuper et al., "Efficient decomposition of image and mesh graphs by lifted multicuts", ICCV 2015.
    """
    from bioimage_cpp.graph.multicut import ChainedMulticutSolvers, GreedyAdditiveMulticut, KernighanLinMulticut

    solver = KernighanLinMulticut()
    if warmstart:
        solver = ChainedMulticutSolvers([GreedyAdditiveMulticut(), solver])
    return _solved(solver, graph, costs)


def multicut_gaec(graph: Any, costs: Any) -> Labels:
    """Multicut by contracting the edge with the largest cost, again and again: fast, and close to the best.

    Parameters
    ----------
    graph, costs
        As for `multicut_kernighan_lin`.

    Returns
    -------
    ndarray of uint64, shape (number of nodes,)
        Object of each node.

    Raises
    ------
    ShapeError, ParameterError
        As `multicut_kernighan_lin`.

    Notes
    -----
    Greedy additive edge contraction; Keuper et al., ICCV 2015.
    """
    from bioimage_cpp.graph.multicut import GreedyAdditiveMulticut

    return _solved(GreedyAdditiveMulticut(), graph, costs)


def multicut_decomposition(
    graph: Any, costs: Any, n_threads: int = 1, internal_solver: str = "kernighan-lin"
) -> Labels:
    """Multicut of the parts of a graph that attracting edges hold together, each for itself: exact in the cuts between.

    Parameters
    ----------
    graph, costs
        As for `multicut_kernighan_lin`.
    n_threads : int, default 1
    internal_solver : {"kernighan-lin", "greedy-additive", "greedy-fixation"}
        How a part is solved.

    Returns
    -------
    ndarray of uint64, shape (number of nodes,)
        Object of each node.

    Raises
    ------
    ShapeError, ParameterError
        As `multicut_kernighan_lin`, and for an unknown solver.

    Notes
    -----
    Alush and Goldberger, "Break and conquer: efficient correlation clustering for image segmentation", 2013.
    """
    from bioimage_cpp.graph import multicut

    if internal_solver not in _SOLVERS:
        raise ParameterError(f"internal_solver={internal_solver!r} is none of {_SOLVERS}", remedy=repr(_SOLVERS[-1]))
    solver = {
        "greedy-additive": multicut.GreedyAdditiveMulticut,
        "greedy-fixation": multicut.GreedyFixationMulticut,
        "kernighan-lin": multicut.KernighanLinMulticut,
    }[internal_solver]()
    if internal_solver == "kernighan-lin":
        solver = multicut.ChainedMulticutSolvers([multicut.GreedyAdditiveMulticut(), solver])
    fallthrough = multicut.GreedyAdditiveMulticut()
    decomposer = multicut.MulticutDecomposer(solver, fallthrough_solver=fallthrough, number_of_threads=n_threads)
    return _solved(decomposer, graph, costs)


def _solved(solver: Any, graph: Any, costs: Any) -> Labels:
    from bioimage_cpp.graph.multicut import MulticutObjective

    given = _numbers(costs, "costs")
    if len(given) != graph.number_of_edges:
        raise ShapeError(f"{len(given)} costs for a graph of {graph.number_of_edges} edges", remedy="a cost per edge")
    if not np.isfinite(given).all():
        wrong = int(np.flatnonzero(~np.isfinite(given))[0])
        raise ParameterError(f"costs[{wrong}] is {given[wrong]}", remedy="numpy.nan_to_num(costs)")
    if not len(given):  # nothing holds nodes together
        return np.arange(graph.number_of_nodes, dtype=np.uint64)
    labels: Labels = np.asarray(solver.optimize(MulticutObjective(graph, given)), np.uint64)
    return labels


def _numbers(values: Any, name: str) -> Costs:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" and array.size:
        raise DtypeError(f"{name} are no numbers but {array.dtype}", remedy=f"{name}=numpy.array([...], float)")
    if array.ndim != 1:
        raise ShapeError(f"{name} have one axis, got shape {array.shape}", remedy=f"{name}.reshape(-1)")
    return np.ascontiguousarray(array, np.float64)
