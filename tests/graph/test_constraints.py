"""Constraints: heeded by any solver and any cells; a correction changes what it must, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import FormatError, ParameterError, ShapeError, SourceNotFoundError
from bioimage_py.graph import Constraints, correct, multicut, region_graph
from bioimage_py.graph.correcting.correction import renamed

from .test_multicut import neurons


def problem(seed: int, big: bool = False) -> tuple[Any, np.ndarray]:
    """A random graph of small regions, and costs of both signs."""
    rng = np.random.default_rng(seed)
    places = np.arange(1, 37, dtype=np.uint64).reshape(6, 6)
    labels = np.kron(places, np.ones((4, 4), np.uint64))
    if big:
        labels += np.uint64(2**64 - 40)
    graph = region_graph(labels, rng.random(labels.shape, dtype=np.float32))
    return graph, rng.normal(0.3, 1, len(graph.edges))


def heeds(partition: Any, constraints: Constraints) -> bool:
    part = dict(zip(partition.ids.tolist(), partition.parts.tolist(), strict=True))
    joined = all(part[a] == part[b] for a, b in constraints.join)
    return joined and all(part[a] != part[b] for a, b in constraints.cut)


def pairs(graph: Any, rng: np.random.Generator, n: int) -> list[tuple[int, int]]:
    return [tuple(rng.choice(graph.nodes.ids, 2, replace=False).tolist()) for _ in range(n)]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**16),
    st.sampled_from([None, 8, (5, 24)]),
    st.sampled_from(["kernighan-lin", "greedy-additive", "greedy-fixation", "fusion-moves"]),
    st.booleans(),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_whatever_it_costs(seed: int, cell: Any, solver: Any, big: bool, joins: int, cuts: int) -> None:
    graph, costs = problem(seed, big)
    rng = np.random.default_rng(seed)
    wanted = Constraints(pairs(graph, rng, joins), pairs(graph, rng, cuts))
    how: dict[str, Any] = {"cell_shape": cell, "solver": solver}
    try:
        whole = multicut(graph, costs, constraints=wanted, **how)
    except ParameterError as error:
        assume("must be cut, and joined too" not in str(error))
        raise
    assert heeds(whole, wanted)
    before = multicut(graph, costs, **how)
    after = correct(graph, costs, before, wanted, **how)
    assert heeds(after, wanted)
    again = correct(graph, costs, after, wanted, **how)
    assert np.array_equal(again.parts, after.parts)
    touched = {before.parts[np.searchsorted(graph.nodes.ids, one)] for pair in wanted.join + wanted.cut for one in pair}
    others = ~np.isin(before.parts, list(touched))
    assert np.array_equal(after.parts[others], before.parts[others])
    energy = float(costs[(whole.parts[graph.pairs[:, 0]] != whole.parts[graph.pairs[:, 1]])].sum())
    assert whole.energies[-1] == pytest.approx(energy, abs=1e-6)
    if heeds(before, wanted):
        assert after is before


def test_a_cut_leaves_the_number_to_the_largest_piece() -> None:
    labels = np.array([[1, 1, 1, 2, 3, 4, 4, 4, 4, 9]], np.uint64)
    graph = region_graph(labels, np.zeros(labels.shape, np.float32))
    costs = [2.0, 1.0, 3.0, -1.0]
    before = multicut(graph, costs)
    assert before.parts.tolist() == [1, 1, 1, 1, 2]
    after = correct(graph, costs, before, Constraints(cut=[(1, 4)]))
    assert after.parts.tolist() == [3, 3, 1, 1, 2]
    joined = correct(graph, costs, after, Constraints(join=[(4, 9)], cut=[(1, 4)]))
    assert joined.parts.tolist() == [3, 3, 1, 1, 1]
    assert joined.n == 2
    back = correct(graph, costs, joined, Constraints(cut=[(4, 9)]))
    assert back.parts.tolist() == [3, 3, 1, 1, 4]


def test_small_pieces_go_to_neighbours_but_not_those_that_were_cut() -> None:
    labels = np.array([[1, 1, 1, 1, 2, 3, 3, 3, 3]], np.uint64)
    graph = region_graph(labels, np.zeros(labels.shape, np.float32))
    costs = [1.0, 1.0]
    before = multicut(graph, costs)
    after = correct(graph, costs, before, Constraints(cut=[(1, 2), (2, 3)]), min_size=3)
    assert after.parts.tolist() == [1, 3, 2] or len(set(after.parts.tolist())) == 3
    one = correct(graph, costs, before, Constraints(cut=[(1, 3)]), min_size=3)
    assert one.n == 2


def test_names_are_kept_by_the_largest_common_pieces() -> None:
    size = np.array([5, 1, 1, 3, 3, 2])
    before = np.array([4, 4, 7, 7, 9, 9])
    assert renamed(before, np.array([0, 1, 1, 1, 2, 2]), size).tolist() == [4, 7, 7, 7, 9, 9]
    assert renamed(before, np.array([0, 0, 0, 0, 0, 1]), size).tolist() == [4, 4, 4, 4, 4, 9]
    assert renamed(before, np.arange(6), size).tolist() == [4, 10, 11, 7, 9, 12]
    assert renamed(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)).tolist() == []


def test_better_than_before_on_neurons() -> None:
    truth, boundaries = neurons(1)[:2]
    pieces = np.asarray(bp.segmentation.distance_watershed(boundaries, block_shape=24))
    graph = region_graph(pieces, boundaries)
    costs = bp.graph.costs(graph, beta=0.2)
    before = multicut(graph, costs, cell_shape=24)
    owner = {int(one): int(np.bincount(truth[pieces == one].astype(int)).argmax()) for one in graph.nodes.ids}
    cuts = [tuple(map(int, pair)) for pair in graph.edges.ids if owner[int(pair[0])] != owner[int(pair[1])]]
    after = correct(graph, costs, before, Constraints(cut=cuts), cell_shape=24)
    assert heeds(after, Constraints(cut=cuts))

    def vi(partition: Any) -> float:
        labels = bp.graph.apply_node_labels(pieces, partition)
        return sum(bp.evaluation.variation_of_information(labels, truth))

    assert vi(after) < vi(before)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "constraints.json"
    wanted = Constraints(join=[(1, 2**64 - 1)], cut=[(np.uint64(2**53 + 1), 5)])
    wanted.write(path)
    assert Constraints.read(path) == wanted
    path.write_text('{"cut": [[3, 4]]}')
    assert Constraints.read(path) == Constraints(cut=[(3, 4)])
    for text in ("{", "[]", '{"join": [[1]]}', '{"join": [[1, 2.5]]}', '{"joined": []}', '{"cut": "ab"}', '{"cut": 5}'):
        path.write_text(text)
        with pytest.raises(FormatError, match="holds no constraints"):
            Constraints.read(path)
    path.write_text('{"format": "bioimage_py constraints", "version": 2}')
    with pytest.raises(FormatError, match="version 2"):
        Constraints.read(path)
    for text, line in (
        ('{"join": [[1, 2]], "join": [[3, 4]]}', 1),
        ('{"join": [[1, 2]],\n "cut": [],\n\n "cut" : [[3, 4]]}', 4),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=f"is there twice, the second time in line {line}"):
            Constraints.read(path)
    with pytest.raises(SourceNotFoundError):
        Constraints.read(tmp_path / "none.json")


def test_bad_calls_are_refused() -> None:
    graph, costs = problem(0)
    parts = multicut(graph, costs)
    for wrong in ([(0, 1)], [(1,)], [5], "ab", [(1, 2**64)], [(True, 2)], [(1.0, 2)]):
        with pytest.raises(ParameterError, match="pairs of ids"):
            Constraints(join=wrong)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="names the region 99, which is none of the 36"):
        correct(graph, costs, parts, Constraints(cut=[(1, 99)]))
    chain = Constraints(join=[(1, 2), (3, 2), (3, 9)], cut=[(9, 1)])
    with pytest.raises(ParameterError, match=r"regions 9 and 1 must be cut, and joined too: by \[3, 9\] \[3, 2\]"):
        multicut(graph, costs, constraints=chain)
    with pytest.raises(ParameterError, match="being the same region"):
        multicut(graph, costs, constraints=Constraints(cut=[(4, 4)]))
    with pytest.raises(ParameterError, match="a list holds no constraints"):
        correct(graph, costs, parts, [])  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="other ones"):
        correct(graph, costs, bp.graph.Partition(parts.ids[1:], parts.parts[1:]), Constraints())


@pytest.mark.processes
def test_the_same_on_worker_processes() -> None:
    graph, costs = problem(3)
    wanted = Constraints(cut=[(1, 2), (8, 30)], join=[(5, 36)])
    one = multicut(graph, costs, cell_shape=8, constraints=wanted)
    other = multicut(graph, costs, cell_shape=8, constraints=wanted, num_workers=2, job_type="subprocess")
    assert np.array_equal(one.parts, other.parts)
    before = multicut(graph, costs, cell_shape=8)
    here = correct(graph, costs, before, wanted, cell_shape=8)
    there = correct(graph, costs, before, wanted, cell_shape=8, num_workers=2, job_type="subprocess")
    assert np.array_equal(here.parts, there.parts)
