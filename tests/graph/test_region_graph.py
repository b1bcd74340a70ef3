"""Region graphs of volumes: the same bits by any blocks, kept in files, and refused where they are damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import DtypeError, FormatError, ParameterError, ShapeError, SourceNotFoundError
from bioimage_py.graph import RegionGraph, open_graph, region_graph, save


def volume(seed: int = 0, shape: tuple[int, ...] = (20, 23, 26)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, np.uint64)
    places = tuple(rng.integers(0, n, 40) for n in shape)
    seeds[places] = np.arange(1, 41)
    heights = rng.random(shape, dtype=np.float32)
    return np.asarray(bp.segmentation.watershed(heights, seeds)), heights


@given(
    st.integers(0, 9),
    st.sampled_from([None, (7, 23, 9), (20, 5, 26), (6, 6, 6)]),
    st.sampled_from([np.uint64, np.uint16, np.int32]),
    st.booleans(),
)
def test_the_same_graph_by_any_blocks(seed: int, blocks: Any, dtype: Any, affinities: bool) -> None:
    labels, heights = volume(seed)
    labels = labels.astype(dtype)
    given_: dict[str, Any] = {"boundaries": heights}
    if affinities:
        offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 4, -4)]
        given_ = {"affinities": np.stack([heights] * 4), "offsets": offsets, "long_range": bool(seed % 2)}
    whole = region_graph(labels, **given_)
    assert region_graph(labels, **given_, block_shape=blocks, num_workers=2) == whole


def test_mean_variance_and_quantiles_are_those_of_the_pairs() -> None:
    labels, heights = volume(3)
    graph = region_graph(labels, heights)
    row = int(np.argmax(graph.edges.count))
    u, v = graph.edges.ids[row]
    values = []
    for axis in range(3):
        one, other = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
        pairs = ((one == u) & (other == v)) | ((one == v) & (other == u))
        moved = np.moveaxis(heights, axis, 0)
        values.append(((moved[:-1] + moved[1:]) / 2)[pairs])
        assert graph.edges.faces[row, axis] == pairs.sum()
    found = np.concatenate(values)
    assert graph.edges.count[row] == len(found) > 20
    assert graph.mean()[row] == pytest.approx(found.mean(), abs=2**-15)
    assert graph.variance()[row] == pytest.approx(found.var(), abs=2**-13)
    for q in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert graph.quantile(q)[row] == pytest.approx(np.quantile(found, q), abs=1 / 16)
    table, nodes = graph.features(), graph.node_features()
    assert table["faces_z"].sum() == graph.edges.faces[:, 0].sum()
    assert nodes["size"].sum() == labels.size
    assert (nodes[["center_z", "center_y", "center_x"]].iloc[0] == np.argwhere(labels == 1).mean(axis=0)).all()


def test_nan_never_joins() -> None:
    labels = np.array([[1, 2]], np.uint64)
    nothing = np.full((1, 2), np.nan, np.float32)
    assert region_graph(labels, nothing).mean().tolist() == [1.0]
    assert region_graph(labels, affinities=nothing[None], offsets=[(0, 1)]).mean().tolist() == [1.0]


def test_a_mask_and_a_region_leave_out_the_rest() -> None:
    labels, heights = volume(1)
    mask = np.zeros(labels.shape, np.uint8)
    mask[5:15, :, 3:20] = 1
    cut = labels * (mask != 0).astype(np.uint64)
    assert region_graph(labels, heights, mask=mask, block_shape=8) == region_graph(cut, heights)
    part = region_graph(labels, heights, roi=(slice(4, 12), slice(0, 23), slice(5, 20)), block_shape=6)
    alone = region_graph(labels[4:12, :, 5:20], heights[4:12, :, 5:20])
    assert np.array_equal(part.nodes.size, alone.nodes.size)
    assert np.array_equal(part.nodes.places, alone.nodes.places + alone.nodes.size[:, None] * np.array([4, 0, 5]))


def test_empty_volumes_have_empty_graphs() -> None:
    for shape in ((4, 4), (0, 3), (1, 1, 1)):
        graph = region_graph(np.zeros(shape, np.uint32), np.zeros(shape, np.float32))
        assert (len(graph.nodes), len(graph.edges)) == (0, 0)
        assert len(graph.features()) == len(graph.mean()) == len(graph.quantile(0.5)) == 0


@pytest.mark.parametrize("in_blocks", [False, True])
def test_a_graph_in_a_file_is_that_graph(tmp_path: Path, in_blocks: bool) -> None:
    labels, heights = volume(2)
    how = {"block_shape": 8, "num_workers": 2} if in_blocks else {}
    path = tmp_path / "graph.zarr"
    made = region_graph(labels, heights, path, **how)
    assert made == open_graph(path) == region_graph(labels, heights)
    with bp.open_source(path, "edges/ids") as pairs:
        assert np.array_equal(pairs[...], made.edges.ids)
    with pytest.raises(ParameterError, match="is there already"):
        save(made, path)
    save(made, path, replace=True)
    made = RegionGraph(made.nodes.rows(slice(None)), made.edges.rows(slice(None)), made.shape, made.axes)
    other = region_graph(labels, 1 - heights, path, **how)
    assert other == open_graph(path) != made
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["graph.zarr"]


def test_what_is_no_graph_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "dear.txt").write_text("diary")
    with pytest.raises(ParameterError, match="another output_path"):
        region_graph(*volume(), tmp_path / "notes")
    assert (tmp_path / "notes" / "dear.txt").read_text() == "diary"


def test_the_same_graph_from_worker_processes_and_files(tmp_path: Path) -> None:
    labels, heights = volume(4)
    stored = []
    for name, values in (("labels", labels), ("heights", heights)):
        array = zarr.create_array(tmp_path / "in.zarr" / name, shape=values.shape, chunks=(8,) * 3, dtype=values.dtype)
        array[...] = values
        stored.append(array)
    graph = region_graph(*stored, tmp_path / "g.zarr", block_shape=8, job_type="subprocess", num_workers=2)
    assert graph == region_graph(labels, heights)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda g: (g / "graph.json").write_text("{"), "does not describe"),
        (lambda g: (g / "graph.json").write_text(json.dumps({"format": "x"})), "does not describe"),
        (lambda g: _write(g, "edges/ids", lambda a: a + np.uint64(10**6)), "no nodes"),
        (lambda g: _write(g, "edges/ids", lambda a: a[::-1]), "do not ascend"),
        (lambda g: _write(g, "nodes/ids", lambda a: a[::-1]), "do not ascend"),
        (lambda g: _write(g, "edges/count", lambda a: a * 0), "without voxels"),
        (lambda g: _write(g, "edges/count", lambda a: a[:-1]), "columns of"),
        (lambda g: _write(g, "edges/count", lambda a: a.astype(np.float32)), "not int64"),
    ],
)
def test_damaged_graphs_are_named(tmp_path: Path, change: Any, error: str) -> None:
    path = tmp_path / "graph.zarr"
    region_graph(*volume(5), path)
    change(path)
    with pytest.raises(FormatError, match=error):
        open_graph(path)


def _write(graph: Path, key: str, change: Any) -> None:
    values = zarr.open_array(graph / key, mode="r")[...]
    shutil.rmtree(graph / key)
    changed = change(values)
    zarr.create_array(graph / key, shape=changed.shape, chunks=changed.shape, dtype=changed.dtype)[...] = changed


def test_bad_calls_are_refused_before_anything_is_read() -> None:
    labels, heights = volume()
    with pytest.raises(DtypeError, match="integers"):
        region_graph(heights, heights)
    with pytest.raises(ShapeError):
        region_graph(labels, heights[1:])
    with pytest.raises(ShapeError, match="2 or 3 axes"):
        region_graph(labels[0, 0], heights[0, 0])
    with pytest.raises(ParameterError, match="one of them"):
        region_graph(labels)
    with pytest.raises(ParameterError, match="offsets"):
        region_graph(labels, affinities=heights[None])
    with pytest.raises(ShapeError, match="a channel for each offset"):
        region_graph(labels, affinities=heights[None], offsets=[(1, 0, 0), (0, 1, 0)])
    with pytest.raises(DtypeError, match="numbers"):
        region_graph(labels, heights.astype(complex))
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        open_graph("nowhere.zarr")


def test_a_graph_says_what_it_is() -> None:
    graph = region_graph(*volume())
    assert isinstance(graph, RegionGraph)
    assert repr(graph).startswith("RegionGraph(40 regions, ")
