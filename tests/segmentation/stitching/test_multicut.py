"""Multicut: costs of edges, and solvers against the best of all partitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bioimage_cpp.graph import UndirectedGraph
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, ParameterError, ShapeError

SOLVERS: list[Callable[[Any, Any], np.ndarray]] = [
    segmentation.multicut_gaec,
    segmentation.multicut_kernighan_lin,
    lambda graph, costs: segmentation.multicut_kernighan_lin(graph, costs, warmstart=False),
    segmentation.multicut_decomposition,
    lambda graph, costs: segmentation.multicut_decomposition(graph, costs, 2, "greedy-additive"),
    lambda graph, costs: segmentation.multicut_decomposition(graph, costs, internal_solver="greedy-fixation"),
]


def gain(labels: np.ndarray, edges: np.ndarray, costs: np.ndarray) -> float:
    return float(costs[labels[edges[:, 0]] == labels[edges[:, 1]]].sum())


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_solvers_are_close_to_the_best_partition(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.array([pair for pair in itertools.combinations(range(n), 2) if rng.random() < 0.7], np.uint64)
    edges = edges.reshape(-1, 2)
    costs = rng.normal(size=len(edges)).round(2)
    best = max(gain(np.array(labels), edges, costs) for labels in itertools.product(range(n), repeat=n))
    graph = UndirectedGraph.from_edges(n, edges)
    for solver in SOLVERS:
        labels = solver(graph, costs)
        assert labels.shape == (n,)
        assert labels.dtype == np.uint64
        assert -1e-9 <= gain(labels, edges, costs) <= best + 1e-9
    assert gain(segmentation.multicut_kernighan_lin(graph, costs), edges, costs) >= 0.7 * best


def test_costs_are_logarithms_of_odds() -> None:
    probs = np.array([0.0, 0.2, 0.5, 1.0])
    within = probs * 0.998 + 0.001
    for beta in (0.5, 0.3):
        expected = np.log((1 - within) / within) + np.log((1 - beta) / beta)
        np.testing.assert_allclose(segmentation.transform_probabilities_to_costs(probs, beta), expected)


def test_costs_are_weighted_by_size() -> None:
    probs, sizes, between = np.full(4, 0.1), np.array([1.0, 2, 3, 4]), np.array([True, True, False, False])
    plain = segmentation.compute_edge_costs(probs)
    for scheme, weights in {
        None: [1, 1, 1, 1],
        "none": [1, 1, 1, 1],
        "all": [0.25, 0.5, 0.75, 1],
        "xyz": [0.5, 1, 0.75, 1],
        "z": [0.5, 1, 1, 1],
    }.items():
        costs = segmentation.compute_edge_costs(probs, sizes, between, weighting_scheme=scheme)
        np.testing.assert_allclose(costs, plain * weights)
    squared = segmentation.compute_edge_costs(probs, sizes, weighting_scheme="all", weighting_exponent=2)
    np.testing.assert_allclose(squared, plain * np.array([0.25, 0.5, 0.75, 1]) ** 2)


def test_bad_input() -> None:
    graph = UndirectedGraph.from_edges(2, np.array([[0, 1]], np.uint64))
    with pytest.raises(ShapeError, match="2 costs"):
        segmentation.multicut_gaec(graph, [1.0, 2.0])
    with pytest.raises(ParameterError, match="nan"):
        segmentation.multicut_kernighan_lin(graph, [np.nan])
    with pytest.raises(ParameterError, match="internal_solver"):
        segmentation.multicut_decomposition(graph, [1.0], internal_solver="x")
    with pytest.raises(ParameterError, match=r"probs\[1\]"):
        segmentation.transform_probabilities_to_costs([0.5, np.nan])
    with pytest.raises(ParameterError, match="beta"):
        segmentation.transform_probabilities_to_costs([0.5], beta=1)
    with pytest.raises(DtypeError):
        segmentation.transform_probabilities_to_costs(["a"])
    with pytest.raises(ShapeError, match="edge_sizes"):
        segmentation.transform_probabilities_to_costs([0.5], edge_sizes=[1, 2])
    with pytest.raises(ParameterError, match="weighting_scheme"):
        segmentation.compute_edge_costs([0.5], weighting_scheme="xy")
    with pytest.raises(ParameterError, match="needs edge_sizes= and z_edge_mask="):
        segmentation.compute_edge_costs([0.5], [1.0], weighting_scheme="z")
