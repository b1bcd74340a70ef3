"""Graphs that no memory holds: merged in files by ranges of ids, read column by column, the same bits."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import StorageError
from bioimage_py.graph import edge_table, node_table, open_graph, region_graph
from bioimage_py.graph.building_blocks import MergeTables
from bioimage_py.graph.edge_table import BINS, EdgeTable
from bioimage_py.graph.node_table import NodeTable
from bioimage_py.graph.storing import on_disk, sorting, stored, writing

from ..runner.driver import test_full_disk
from .test_region_graph import volume

small_disk = test_full_disk.small

LARGE = 2**64 - 1
IDS = st.one_of(st.integers(1, 9), st.sampled_from([2**32, 2**53, 2**53 + 1, LARGE - 1, LARGE]))


def table_of(pairs: list[tuple[int, int]], rng: np.random.Generator) -> tuple[NodeTable, EdgeTable]:
    """What a block could have found: some edges, ascending, and the regions at their ends."""
    ids = np.array(sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}), np.uint64).reshape(-1, 2)
    n = len(ids)
    count, faces = rng.integers(1, 9, n), rng.integers(0, 2, (n, 3))
    wide, small = rng.integers(0, 2**40, n).astype(np.uint64), rng.integers(0, 2**16, n).astype(np.uint32)
    histogram = rng.integers(0, 9, (n, BINS)).astype(np.uint32)
    own = np.unique(ids)
    m = len(own)
    places = rng.integers(0, 99, (m, 3))
    nodes = NodeTable(own, rng.integers(1, 9, m), places, rng.integers(0, 9, m).astype(np.uint64), places, places + 1)
    return nodes, EdgeTable(ids, faces, count, wide, wide + 1, small, small + 1, histogram)


@settings(max_examples=12)
@given(
    blocks=st.lists(st.lists(st.tuples(IDS, IDS), max_size=12), max_size=7),
    seed=st.integers(0, 2**16),
    rows=st.integers(1, 12),
    step=st.integers(1, 4),
    chunk=st.integers(2, 15),
    long_range=st.booleans(),
)
@example(blocks=[[(1, 2)], []], seed=0, rows=1, step=1, chunk=1, long_range=False)
@example(blocks=[[(1, LARGE), (2, 3)]] * 3, seed=1, rows=2, step=1, chunk=2, long_range=True)
@example(blocks=[[], []], seed=2, rows=1, step=1, chunk=1, long_range=True)
def test_merged_in_files_it_has_the_bits_of_the_merge_in_memory(
    blocks: list[Any], seed: int, rows: int, step: int, chunk: int, long_range: bool, tmp_path_factory: Any
) -> None:
    rng = np.random.default_rng(seed)
    tables = [table_of(block, rng) for block in blocks]
    path = tmp_path_factory.mktemp("graph") / "g.zarr"
    merge = MergeTables((99, 99, 99), ("z", "y", "x"), long_range, str(path))
    expected = merge.graph(tables)
    with (
        mock.patch.object(sorting, "ROWS", rows),
        mock.patch.object(sorting, "_STEP", step),
        mock.patch.object(writing, "CHUNK", chunk),
        mock.patch.object(stored, "CHUNK", chunk),
    ):
        merge.write(iter(tables), str(path))
        assert open_graph(path) == expected
        bp.graph.save(open_graph(path), path.with_name("copy.zarr"))
        assert sorted(os.listdir(path.parent)) == ["copy.zarr", "g.zarr"]
    copied = open_graph(path.with_name("copy.zarr"))
    assert copied == expected
    for table in ("nodes", "edges"):
        for name in getattr(expected, table).names:
            assert getattr(getattr(copied, table), name).dtype == getattr(getattr(expected, table), name).dtype


def slabs(side: int) -> Iterator[tuple[NodeTable, EdgeTable]]:
    """The tables of the planes of a cubic grid of regions, each of which touches its neighbours."""
    plane = np.arange(1, side * side + 1, dtype=np.uint64).reshape(side, side)
    for z in range(side):
        part = plane + np.uint64(z * side * side)
        pairs = [(part[:, :-1], part[:, 1:]), (part[:-1], part[1:])]
        if z + 1 < side:
            pairs.append((part, part + np.uint64(side * side)))
        ids = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])
        ids = ids[np.argsort(ids[:, 0] << np.uint64(32) | ids[:, 1])]
        n, m = len(ids), part.size
        wide, ends = ids[:, 0].copy(), np.ones(n, np.uint32)
        histogram = np.ones((n, BINS), np.uint32)
        faces = np.ones((n, 3), np.int64)
        places = np.ones((m, 3), np.int64)
        nodes = NodeTable(part.ravel(), np.ones(m, np.int64), places, part.ravel(), places, places)
        yield nodes, EdgeTable(ids, faces, np.full(n, BINS), wide, wide, ends, ends, histogram)


def peak(side: int, path: Path) -> tuple[int, int]:
    """Edges, and the highest memory in bytes while a graph is merged, opened, and made to costs."""
    tracemalloc.start()
    try:
        MergeTables((side,) * 3, ("z", "y", "x"), False, str(path)).write(slabs(side), str(path))
        merged = tracemalloc.get_traced_memory()[1]
        graph = open_graph(path)
        assert len(graph.edges) == 3 * side**2 * (side - 1)
        opened = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert opened == merged  # to look through it takes less
    return len(graph.edges), merged


def test_memory_does_not_grow_with_the_edges(tmp_path: Path) -> None:
    n, most = peak(88, tmp_path / "a.zarr")
    assert n > 2_000_000
    assert most < 150 * n, most / n  # in memory it took 476 bytes an edge
    small_parts = [
        (sorting, "ROWS", 2**16),
        (sorting, "_STEP", 64),
        (writing, "CHUNK", 2**14),
        (stored, "CHUNK", 2**14),
    ]
    with ExitStack() as stack:
        for module, name, size in small_parts:
            stack.enter_context(mock.patch.object(module, name, size))
        few, small = peak(44, tmp_path / "b.zarr")
        many, large = peak(64, tmp_path / "c.zarr")
    assert many > 3 * few
    assert large < 1.25 * small, (few, small, many, large)


def test_a_graph_that_was_replaced_is_not_mixed_with_the_new_one(tmp_path: Path) -> None:
    labels, heights = volume(1)
    path = tmp_path / "graph.zarr"
    first = region_graph(labels, heights, path)
    pickled = pickle.dumps(first)
    assert len(pickled) < 2000
    assert pickle.loads(pickled) == first
    before = bp.graph.multicut(first, bp.graph.costs(first))
    region_graph(labels, heights, path)
    assert first == open_graph(path)  # the same graph, made again
    region_graph(labels, 1 - heights, path)
    with pytest.raises(StorageError, match="no longer the region graph"):
        first.mean()
    with pytest.raises(StorageError, match="no longer the region graph"):
        pickle.loads(pickled)
    assert len(before.parts) == len(first.nodes)
    graph = open_graph(path)
    with pytest.raises(AttributeError):
        _ = graph.edges.colour  # type: ignore[attr-defined]
    assert np.array_equal(graph.edges.rows(slice(3, 5)).ids, graph.edges.ids[3:5])
    assert isinstance(graph.edges, on_disk.EdgesOnDisk)


def test_the_same_parts_of_a_graph_in_a_file(tmp_path: Path) -> None:
    labels, heights = volume(3)
    inside = region_graph(labels, heights)
    outside = region_graph(labels, heights, tmp_path / "g.zarr", block_shape=8)
    costs = bp.graph.costs(inside)
    assert np.array_equal(bp.graph.costs(outside), costs)
    expected = bp.graph.multicut(inside, costs, cell_shape=8)
    for given_ in (outside, tmp_path / "g.zarr"):
        found = bp.graph.multicut(given_, costs, cell_shape=8, job_type="subprocess", num_workers=2)
        assert np.array_equal(found.parts, expected.parts)
    tree = bp.graph.agglomerate(outside)
    assert np.array_equal(tree.parts, bp.graph.agglomerate(inside).parts)


CODE = """
import os, sys, bioimage_py as bp
from bioimage_py.graph.storing import sorting, writing, stored
from bioimage_py.graph.building_blocks import Measure
sorting.ROWS, sorting._STEP = 30, 4
where = sys.argv[3]
def killing(place, name, before=0):
    real, calls = getattr(place, name), iter(range(10**9))
    def killed(*args, **how):
        if next(calls) == before: os.kill(os.getpid(), 9)
        return real(*args, **how)
    setattr(place, name, killed)
if where == "run": killing(sorting.Sorting, "_put_away", 3)
if where == "range": killing(sorting.Run, "rows", 5)
if where == "column": killing(writing, "_created", 9)
if where == "named":
    put = stored.swap.put
    def after(*args):
        put(*args)
        os.kill(os.getpid(), 9)
    stored.swap.put = after
count = Measure.__call__
def counted(self, *args):
    with open(sys.argv[2] + ".measured", "a") as file: file.write(".")
    return count(self, *args)
Measure.__call__ = counted
with bp.open_source(sys.argv[1], "labels") as labels, bp.open_source(sys.argv[1], "heights") as heights:
    bp.graph.region_graph(labels, heights, sys.argv[2], block_shape=8, num_workers=2, progress=False)
"""


@pytest.mark.processes
@pytest.mark.parametrize("at", ["run", "range", "column", "named"])
def test_a_merge_that_is_killed_is_done_again_and_nothing_else(tmp_path: Path, at: str) -> None:
    labels, heights = volume(4)
    for name, values in (("labels", labels), ("heights", heights)):
        with bp.io.create_array(
            tmp_path / "in.zarr", name, shape=values.shape, dtype=values.dtype, chunks=(8, 8, 8)
        ) as array:
            array[...] = values
    path, told = tmp_path / "out" / "g.zarr", tmp_path / "out" / "g.zarr.measured"
    path.parent.mkdir()
    run = [sys.executable, "-c", CODE, str(tmp_path / "in.zarr"), str(path)]
    assert subprocess.run([*run, at], timeout=300, check=False).returncode == -signal.SIGKILL
    assert path.exists() == (at == "named")
    blocks = len(told.read_bytes())
    assert blocks == len(list(itertools.product(range(3), range(3), range(4))))
    assert subprocess.run([*run, "nowhere"], timeout=300, check=False).returncode == 0
    assert len(told.read_bytes()) == blocks  # the tables of the blocks were there
    assert open_graph(path) == region_graph(labels, heights)
    assert sorted(os.listdir(path.parent)) == ["g.zarr", "g.zarr.measured"]


def test_tables_without_rows() -> None:
    empty = EdgeTable.empty(3), NodeTable.empty(3)
    assert len(edge_table.merged([empty[0]] * 2)) == len(node_table.merged([empty[1]] * 2)) == 0


@pytest.mark.parametrize("block_shape", [None, 10])
def test_a_full_disk_is_told_with_path_and_remedy(small_disk: Path, block_shape: int | None) -> None:
    labels = np.arange(1, 1001, dtype=np.uint64).reshape((10,) * 3).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    boundaries = np.zeros(labels.shape, np.float32)
    how: dict[str, Any] = {} if block_shape is None else {"block_shape": block_shape}
    with mock.patch.object(sorting, "ROWS", 128):
        write, full = MergeTables.write, []

        def on_a_full_disk(self: MergeTables, tables: Any, path: str) -> None:
            if not full:
                full.append(test_full_disk.fill(small_disk, 2**17))
            write(self, tables, path)

        with mock.patch.object(MergeTables, "write", on_a_full_disk):
            with pytest.raises(StorageError, match=r"graph\.zarr: no space left for a region graph") as told:
                region_graph(labels, boundaries, small_disk / "graph.zarr", progress=False, **how)
            assert "free space in" in told.value.remedy
            assert not (small_disk / "graph.zarr").exists()
            assert not [name for name in os.listdir(small_disk) if name.endswith(".graph.zarr")]
            full[0].unlink()
            found = region_graph(labels, boundaries, small_disk / "graph.zarr", progress=False, **how)
    assert found == region_graph(labels, boundaries)
