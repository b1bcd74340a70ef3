"""Multicut: right on problems whose best partition is known, the same on every backend, and near the whole by cells."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

import bioimage_py as bp
from bioimage_py.errors import IndexingError, ParameterError, RunnerError, ShapeError, SourceTypeError
from bioimage_py.graph import (
    agglomerate,
    apply_node_labels,
    costs,
    join_small_parts,
    lifted_multicut,
    multicut,
    region_graph,
)
from bioimage_py.graph.decomposition import Cells, levels
from bioimage_py.graph.problem import Problem, numbered
from bioimage_py.graph.solving import SOLVERS, solved

from .test_region_graph import volume


def problem(n: int, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    pairs = np.array([pair for pair in itertools.combinations(range(n), 2) if rng.random() < 0.6], np.int64)
    pairs = pairs.reshape(-1, 2)
    ones = np.ones(len(pairs))
    return Problem(rng.random((n, 3)) * 100, np.ones(n, np.int64), pairs, rng.normal(size=len(pairs)), ones, ones > 0)


def partitions(n: int) -> Any:
    """All divisions of n things."""
    if n == 0:
        yield []
        return
    for rest in partitions(n - 1):
        for part in range(max(rest, default=-1) + 2):
            yield [*rest, part]


@given(st.integers(1, 7), st.integers(0, 500), st.sampled_from(SOLVERS))
def test_small_problems_are_solved_nearly_as_well_as_by_trying_all(n: int, seed: int, solver: Any) -> None:
    given_ = problem(n, seed)
    best = min(given_.energy(np.array(labels)) for labels in partitions(n))
    found = solved(given_, solver)
    assert found.tolist() == numbered(found).tolist()
    assert given_.bound <= best <= given_.energy(found) + 1e-9
    assert given_.energy(found) <= 1e-9  # not worse than joining all
    if solver == "kernighan-lin":
        assert given_.energy(found) <= best + 0.25 * abs(best) + 0.5


@given(st.integers(2, 30), st.integers(0, 500))
def test_joining_keeps_the_energy(n: int, seed: int) -> None:
    given_ = problem(n, seed)
    rng = np.random.default_rng(seed)
    first = numbered(rng.integers(0, 5, n))
    smaller = given_.joined(first)
    second = numbered(rng.integers(0, 2, smaller.n))
    assert smaller.energy(second) == pytest.approx(given_.energy(second[first]), abs=1e-9)
    assert smaller.size.sum() == n
    assert smaller.size @ smaller.places == pytest.approx(given_.size @ given_.places)


def test_every_node_lies_in_one_cell() -> None:
    cells = Cells((100, 60, 10), (30, 30, 30))
    assert cells.grid == (4, 2, 1)
    rng = np.random.default_rng(0)
    places = rng.random((500, 3)) * (100, 60, 10)
    assert (np.bincount(cells.of(places), minlength=cells.n) > 0).all()
    assert [one.size[0] for one in levels((100, 60, 10), (30, 30, 30))] == [30, 60]
    assert levels((100, 60, 10), (100, 60, 10)) == []


def neurons(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A volume of truth, its boundaries with noise, and superpixels."""
    truth, _ = volume(seed, (48, 48, 48))
    rng = np.random.default_rng(seed)
    edges = np.zeros(truth.shape, bool)
    for axis in range(3):
        one = np.moveaxis(truth, axis, 0)
        differ = one[1:] != one[:-1]
        np.moveaxis(edges, axis, 0)[1:] |= differ
        np.moveaxis(edges, axis, 0)[:-1] |= differ
    boundaries = np.clip(edges * 0.8 + rng.normal(0.05, 0.1, truth.shape), 0, 1).astype(np.float32)
    pieces = bp.segmentation.distance_watershed(boundaries, seed_sigma=0.5, min_size=5, block_shape=24)
    return truth, boundaries, np.asarray(pieces)


def test_cells_come_near_the_whole_and_blocks_and_backends_make_no_difference() -> None:
    _, boundaries, pieces = neurons()
    graph = region_graph(pieces, boundaries)
    given_ = costs(graph)
    whole = multicut(graph, given_, cell_shape=48)
    assert len(whole.energies) == 2
    cells = multicut(graph, given_, cell_shape=12)
    assert len(cells.energies) == 4
    assert list(cells.energies) == sorted(cells.energies, reverse=True)
    assert cells.bound <= whole.energies[-1] <= cells.energies[-1] * 0.98
    for how in ({"num_workers": 3}, {"job_type": "subprocess", "num_workers": 2}):
        again = multicut(graph, given_, cell_shape=12, **how)
        assert np.array_equal(again.parts, cells.parts)
        assert again.energies == cells.energies


def test_superpixels_and_multicut_find_the_truth() -> None:
    truth, boundaries, pieces = neurons(1)
    graph = region_graph(pieces, boundaries)
    found = multicut(graph, costs(graph))
    labels = apply_node_labels(pieces.copy(), found)
    before, after = (sum(bp.evaluation.variation_of_information(one, truth)) for one in (pieces, labels))
    assert after < 0.5 * before
    assert labels.max() == found.n == len(np.unique(labels))


def test_ids_far_apart_are_relabelled_too() -> None:
    labels = np.array([[5, 5, 2**63], [2**64 - 1, 0, 2**63]], np.uint64)
    graph = region_graph(labels, np.zeros((2, 3), np.float32))
    found = multicut(graph, [1.0, -1.0])
    assert found.ids.tolist() == [5, 2**63, 2**64 - 1]
    assert apply_node_labels(labels, found).tolist() == [[1, 1, 1], [2, 0, 1]]


@pytest.mark.parametrize("how", [{}, {"block_shape": 1}])
def test_a_label_that_is_no_region_is_not_made_background(how: Any) -> None:
    labels = np.array([[1, 1, 3, 4]], np.uint64)
    found = multicut(region_graph(labels, np.zeros((1, 4), np.float32)), [1.0, -1.0])
    for strange in (2, 5, 2**60):
        with pytest.raises((IndexingError, RunnerError), match=f"id {strange} occurs"):
            apply_node_labels(np.array([[1, strange, 3, 4]], np.uint64), found, np.zeros((1, 4), np.uint64), **how)


def test_small_parts_join_the_neighbour_with_the_least_boundary() -> None:
    labels = np.array([[1, 1, 1, 2, 3, 3, 3, 0, 4]], np.uint64)
    boundaries = np.array([[0, 0, 0.9, 0.9, 0.1, 0, 0, 0, 0]], np.float32)
    graph = region_graph(labels, boundaries)
    apart = multicut(graph, [-1.0, -1.0])
    assert join_small_parts(graph, apart, 2).parts.tolist() == [1, 2, 2, 3]  # 4 has no neighbour
    assert join_small_parts(graph, apart, 1).parts.tolist() == [1, 2, 3, 4]
    assert join_small_parts(graph, apart, 100).parts.tolist() == [1, 1, 1, 2]


def test_no_regions_no_parts() -> None:
    graph = region_graph(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32))
    found = multicut(graph, costs(graph))
    assert found.n == 0
    assert join_small_parts(graph, found, 5).n == 0


def test_beta_and_size_change_costs_as_they_say() -> None:
    graph = region_graph(*volume(2))
    mean = graph.mean()
    flat = costs(graph, mean, size_exponent=0)
    assert flat == pytest.approx(np.log((1 - graph.mean()) / graph.mean()), abs=1e-9)
    assert (costs(graph, beta=0.7) < costs(graph)).all()
    assert costs(graph, mean, size_exponent=1) == pytest.approx(flat * graph.edges.count / graph.edges.count.mean())
    sure = costs(graph, np.array([0.0, 1.0] + [0.5] * (len(graph.edges) - 2)), size_exponent=0)
    assert np.isfinite(sure).all()
    assert sure[0] == pytest.approx(-sure[1])
    assert sure[0] > 6
    assert not sure[2:].any()


def test_bad_calls_are_refused() -> None:
    graph = region_graph(*volume())
    n = len(graph.edges)
    with pytest.raises(ShapeError, match=f"each of {n} edges"):
        multicut(graph, [1.0])
    with pytest.raises(ParameterError, match="nan"):
        multicut(graph, [np.nan] * n)
    with pytest.raises(ParameterError, match="kernighan-lin"):
        multicut(graph, [1.0] * n, solver="magic")
    with pytest.raises(SourceTypeError, match="region graph"):
        multicut(np.zeros(4), [1.0])
    for wrong in ({"beta": 0}, {"beta": 1.5}, {"size_exponent": -1}):
        with pytest.raises(ParameterError):
            costs(graph, **wrong)
    with pytest.raises(ShapeError, match="other ones"):
        join_small_parts(region_graph(np.eye(3, dtype=np.uint8), np.zeros((3, 3))), multicut(graph, [1.0] * n), 2)


def test_agglomeration_gives_a_tree_of_partitions() -> None:
    truth, boundaries, pieces = neurons(1)
    graph = region_graph(pieces, boundaries)
    tree = agglomerate(graph, cell_shape=48)
    counts = [tree.partition(threshold).n for threshold in tree.thresholds]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0.9 * len(graph.nodes)
    assert counts[-1] == 1
    for low, high in itertools.pairwise(tree.parts):
        assert len(np.unique(np.stack([low, high]), axis=1).T) == low.max()  # each part lies in one of the next
    scores = [
        sum(bp.evaluation.variation_of_information(apply_node_labels(pieces.copy(), tree.partition(one)), truth))
        for one in (0.05, 0.5, 0.95)
    ]
    assert scores[1] < 0.7 * min(scores[0], scores[2])
    alone = agglomerate(graph, thresholds=0.5, cell_shape=48)
    assert len(alone.thresholds) == 1
    again = agglomerate(graph, cell_shape=12, num_workers=2)
    assert again.ids.tolist() == tree.ids.tolist()
    assert np.array_equal(again.parts, agglomerate(graph, cell_shape=12, job_type="subprocess").parts)


@given(st.integers(2, 12), st.integers(0, 300))
def test_what_is_joined_has_a_mean_below_the_threshold(n: int, seed: int) -> None:
    given_ = problem(n, seed)
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 50, len(given_.edges)).astype(np.float64)
    weighted = dataclasses.replace(given_, costs=given_.costs * weights, weights=weights)
    rest = weighted.joined(solved(weighted, "mean linkage"))
    assert (rest.costs <= 1e-9).all()  # nothing is left that would be joined
    assert rest.weights.sum() <= weights.sum()


def test_thresholds_of_agglomeration_are_checked() -> None:
    graph = region_graph(*volume())
    for wrong in ([0.5, 0.4], [], [2.0], [0.5, 0.5], float("nan")):
        with pytest.raises(ParameterError, match="ascend"):
            agglomerate(graph, thresholds=wrong)
    with pytest.raises(ParameterError, match="below the first"):
        agglomerate(graph, thresholds=[0.5]).partition(0.4)


@given(st.integers(2, 7), st.integers(0, 300), st.sampled_from(["kernighan-lin", "greedy-additive"]))
def test_lifted_problems_are_solved_by_parts_that_hang_together(n: int, seed: int, solver: Any) -> None:
    rng = np.random.default_rng(seed)
    given_ = problem(n, seed)
    given_ = dataclasses.replace(given_, touching=rng.random(len(given_.edges)) < 0.6)
    found = solved(given_, solver)
    local = given_.edges[given_.touching]
    together = local[found[local[:, 0]] == found[local[:, 1]]]
    pieces = connected_components(coo_matrix((np.ones(len(together)), together.T), shape=(n, n)), directed=False)[0]
    assert pieces == found.max() + 1
    assert given_.energy(found) <= given_.energy(np.arange(n)) + 1e-9
    rest = given_.joined(numbered(rng.integers(0, 3, n)))
    assert rest.touching.sum() <= given_.touching.sum()


def test_lifted_edges_keep_apart_what_boundaries_do_not() -> None:
    labels = np.zeros((1, 9), np.uint64)
    labels[0] = [1, 1, 1, 2, 2, 2, 3, 3, 3]
    affinities = np.full((2, 1, 9), 0.6, np.float32)
    affinities[1] = 0.02  # six voxels apart nothing belongs together
    graph = region_graph(labels, affinities=affinities, offsets=[(0, 1), (0, 6)], long_range=True)
    given_ = costs(graph)
    assert graph.edges.faces.any(axis=1).tolist() == [True, False, True]
    found = lifted_multicut(graph, given_)
    assert found.n == 2
    assert np.array_equal(lifted_multicut(graph, given_, job_type="subprocess").parts, found.parts)
    with pytest.raises(ParameterError, match="1 of the 3 edges join regions that do not touch"):
        multicut(graph, given_)
    with pytest.raises(ParameterError, match="no solver"):
        lifted_multicut(graph, given_, solver="fusion-moves")


def test_what_stands_out_of_the_inside_is_a_boundary() -> None:
    """By the formula, pair by pair; noise that raises all values by as much does not make boundaries."""
    rng = np.random.default_rng(0)
    labels = np.arange(1, 28, dtype=np.uint64).reshape((3,) * 3).repeat(4, 0).repeat(5, 1).repeat(6, 2)
    labels[:2] = labels[0, 0, 0]
    values = rng.random(labels.shape).astype(np.float32) * 0.3
    for axis, step in enumerate((4, 5, 6)):
        np.moveaxis(values, axis, 0)[step - 1 : 2 * step : step] += 0.3
    values = np.minimum(values, 1)
    graph = bp.graph.region_graph(labels, values)
    found = bp.graph.edge_probabilities(graph)
    inside = {one: values[labels == one].mean() for one in graph.nodes.ids.tolist()}
    surface = dict.fromkeys(inside, 0)
    for (one, other), faces in zip(graph.edges.ids.tolist(), graph.edges.faces.sum(axis=1).tolist(), strict=True):
        surface[one] += faces
        surface[other] += faces
    for row, (one, other) in enumerate(graph.edges.ids.tolist()):
        floor = 0.7 * min(inside[one], inside[other])
        out = np.clip((graph.mean()[row] - floor) / (1 - floor), 0.001, 0.999)
        part = max(0.01, graph.edges.faces[row].sum() / min(surface[one], surface[other]))
        odds = np.log(out / (1 - out)) - np.log(0.4 / 0.6) - 0.2 * np.log(part / 0.15)
        assert found[row] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-4)
    assert np.array_equal(costs(graph), costs(graph, found))
    noisy = bp.graph.region_graph(labels, np.full(labels.shape, 0.45, np.float32))
    flat = bp.graph.region_graph(labels, np.zeros(labels.shape, np.float32))
    assert (bp.graph.edge_probabilities(noisy) < 0.5).all()
    assert (bp.graph.edge_probabilities(flat) < 0.01).all()
    empty = bp.graph.region_graph(np.ones((3, 3), np.uint64), np.zeros((3, 3), np.float32))
    assert bp.graph.edge_probabilities(empty).shape == (0,)


def test_edges_without_faces_have_no_part_of_a_surface() -> None:
    labels, affinities = np.array([[1, 2, 3]]), np.full((2, 1, 3), 0.7, np.float32)
    how: Any = {"affinities": affinities, "offsets": [(0, 1), (0, 2)], "long_range": True}
    graph = bp.graph.region_graph(labels, **how)
    assert graph.edges.ids.tolist() == [[1, 2], [1, 3], [2, 3]]
    out = (0.3 - 0.7 * 0.3) / (1 - 0.7 * 0.3)
    assert bp.graph.edge_probabilities(graph)[1] == pytest.approx(
        1 / (1 + np.exp(-np.log(out / (1 - out) * 1.5))), abs=1e-4
    )
