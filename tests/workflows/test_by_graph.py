"""`segment` by multicut: as the operations one by one, on any backend, and after kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ParameterError
from bioimage_py.graph.building_blocks import MergeTables
from bioimage_py.io import create_array
from bioimage_py.sources import Axis
from bioimage_py.workflows import segment

from ..graph.test_multicut import neurons
from ..segmentation.superpixels.test_mutex_watershed import OFFSETS, affinities

QUIET: dict[str, Any] = {"progress": False, "block_shape": 24}


@pytest.fixture(scope="module")
def boundaries(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("boundaries")
    array = create_array(folder / "in.zarr", "boundaries", shape=(48, 48, 48), dtype="uint8", chunks=(24, 24, 24))
    array[...] = np.rint(neurons(2)[1] * 255)
    return array


def labels(found: Any) -> np.ndarray:
    return np.asarray(bp.open_source(found.path)[...])


def test_as_the_operations_one_by_one(boundaries: Any, tmp_path: Path) -> None:
    found = segment(boundaries, tmp_path / "a.zarr", method="multicut", num_workers=2, **QUIET)
    pieces = np.asarray(bp.segmentation.distance_watershed(boundaries, block_shape=24))
    graph = bp.graph.region_graph(pieces, boundaries[...])
    parts = bp.graph.join_small_parts(graph, bp.graph.multicut(graph, bp.graph.costs(graph)), 100)
    expected = bp.graph.apply_node_labels(pieces, parts)
    assert np.array_equal(labels(found), expected)
    assert found.n_objects == parts.n > 5
    assert [stage.name for stage in found.stages] == ["superpixels", "graph", "multicut", "labels", "count", "pyramid"]
    assert os.listdir(tmp_path) == ["a.zarr"]
    assert "by multicut" in found.summary()
    again = segment(boundaries, tmp_path / "b.zarr", method="multicut", job_type="subprocess", num_workers=2, **QUIET)
    assert np.array_equal(labels(again), expected)


def test_agglomeration_up_to_a_mean_boundary(boundaries: Any, tmp_path: Path) -> None:
    with mock.patch.object(MergeTables, "graph", side_effect=AssertionError("the whole graph in memory")):
        found = segment(boundaries, tmp_path / "a.zarr", method="agglomerate", beta=0.6, num_workers=2, **QUIET)
    pieces = np.asarray(bp.segmentation.distance_watershed(boundaries, block_shape=24))
    tree = bp.graph.agglomerate(bp.graph.region_graph(pieces, boundaries[...]), thresholds=0.4)
    parts = bp.graph.join_small_parts(bp.graph.region_graph(pieces, boundaries[...]), tree.partition(0.4), 100)
    assert np.array_equal(labels(found), bp.graph.apply_node_labels(pieces, parts))
    assert found.method == "agglomerate"


def test_superpixels_and_graph_are_kept(boundaries: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"method": "multicut", "keep": tmp_path / "kept", "min_size": 0, **QUIET}
    first = labels(segment(boundaries, tmp_path / "a.zarr", **how))
    with bp.open_source(tmp_path / "kept" / "superpixels.zarr") as pieces:
        graph = bp.graph.open_graph(tmp_path / "kept" / "graph.zarr")
        parts = bp.graph.multicut(graph, bp.graph.costs(graph))
        assert np.array_equal(bp.graph.apply_node_labels(pieces[...], parts), first)
    again = labels(segment(boundaries, tmp_path / "a.zarr", beta=0.7, overwrite=True, **how))
    assert not np.array_equal(again, first)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "kept"]
    with pytest.raises(ParameterError, match="keeps nothing"):
        segment(boundaries, tmp_path / "b.zarr", keep=tmp_path / "kept", **QUIET)
    (tmp_path / "kept" / "diary.txt").touch()
    with pytest.raises(ParameterError, match="holds other things"):
        segment(boundaries, tmp_path / "b.zarr", **how)


def test_affinities_by_the_mutex_watershed(tmp_path: Path) -> None:
    truth = neurons(2)[0]
    given = create_array(tmp_path / "in.zarr", "a", shape=(6, *truth.shape), dtype="f4", chunks=(1, 24, 24, 24))
    given[...] = affinities(truth)
    how: dict[str, Any] = {"method": "mutex", "offsets": OFFSETS, **QUIET}
    found = segment(given, tmp_path / "a.zarr", num_workers=2, keep=tmp_path / "kept", **how)
    pieces = bp.segmentation.mutex_watershed(given[...], OFFSETS, block_shape=24)
    graph = bp.graph.region_graph(pieces, affinities=given[...], offsets=OFFSETS)
    parts = bp.graph.multicut(graph, bp.graph.costs(graph))
    assert np.array_equal(labels(found), bp.graph.apply_node_labels(pieces, parts))
    assert bp.graph.open_graph(tmp_path / "kept" / "graph.zarr") == graph
    assert found.threshold is None
    assert "threshold" not in found.summary()
    assert found.shape == truth.shape
    assert sum(bp.evaluation.variation_of_information(labels(found), truth)) < 0.3
    part = (slice(0, 24), slice(8, 48), slice(0, 48))
    alone = segment(given, tmp_path / "b.zarr", roi=part, **how)
    assert labels(alone).shape == (24, 40, 48)
    line = ["segment", "in.zarr/a", "c.zarr", "--method", "mutex", "--block-shape", "24", "--quiet"]
    line += ["--offsets", ";".join(",".join(map(str, offset)) for offset in OFFSETS)]
    done = subprocess.run(
        [sys.executable, "-m", "bioimage_py", *line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.asarray(bp.open_source(tmp_path / "c.zarr")[...]), labels(found))
    with pytest.raises(ParameterError, match="offsets"):
        segment(given, tmp_path / "d.zarr", method="mutex", **QUIET)
    with pytest.raises(ParameterError, match=r"sigma does nothing for method='mutex'"):
        segment(given, tmp_path / "d.zarr", sigma=1, **how)
    with pytest.raises(ParameterError, match=r"offsets does nothing for method='watershed'"):
        segment(given[0], tmp_path / "d.zarr", offsets=OFFSETS, **QUIET)


@pytest.mark.parametrize("method", ["multicut", "agglomerate"])
def test_small_blocks_have_the_objects_of_the_whole(tmp_path: Path, method: str) -> None:
    truth, walls, *_ = neurons(2)
    noise = np.random.default_rng(3).normal(0, 0.05, walls.shape)
    array = np.clip(walls + noise, 0, 1).astype(np.float32)
    how: dict[str, Any] = {"method": method, "progress": False}
    whole = labels(segment(array, tmp_path / "whole.zarr", block_shape=48, **how))
    blocks = labels(segment(array, tmp_path / "blocks.zarr", block_shape=(13, 16, 20), num_workers=2, **how))
    assert whole.max() <= blocks.max() <= whole.max() + 1
    scores = [sum(bp.evaluation.variation_of_information(found, truth)) for found in (whole, blocks)]
    assert scores[1] < 1.01 * scores[0] + 0.001


def test_small_objects_join_their_neighbours(boundaries: Any, tmp_path: Path) -> None:
    found = labels(segment(boundaries, tmp_path / "a.zarr", method="multicut", beta=0.9, min_size=300, **QUIET))
    assert np.bincount(found.ravel())[1:].min() >= 300
    assert found.min() == 1


def test_boundaries_of_thick_sections(tmp_path: Path) -> None:
    axes = [Axis(name, unit="nanometer", scale=scale) for name, scale in zip("zyx", (30, 10, 10), strict=True)]
    array = create_array(tmp_path / "in.zarr", "b", shape=(12, 48, 48), dtype="f4", chunks=(12, 24, 24), axes=axes)
    array[...] = neurons(3)[1][::4]
    found = segment(array, tmp_path / "a.zarr", method="multicut", **QUIET)
    assert found.settings["sigma"] == [pytest.approx(0.7 / 3, abs=1e-4), 0.7, 0.7]
    assert found.n_objects > 1


COUNTED = """
import os, sys, bioimage_py as bp
from bioimage_py.graph.building_blocks import Measure, MergeTables
from bioimage_py.graph.partition_blocks import SolveCell, SolveRest
from bioimage_py.segmentation.relabelling_blocks import MapBlock
from bioimage_py.segmentation.superpixels.fragments import Fragments
from bioimage_py.workflows import segment, work
def counted(kind, letter):
    call = kind.__call__
    def counting(self, *args, **how):
        with open(sys.argv[4], "a") as file: file.write(letter)
        return call(self, *args, **how)
    kind.__call__ = counting
for kind, letter in ((Fragments, "s"), (Measure, "g"), (SolveRest, "m"), (MapBlock, "l")): counted(kind, letter)
stage = work.Work.stage
def killed(self, name, function):
    value = stage(self, name, function)
    if name == sys.argv[3]: os.kill(os.getpid(), 9)
    return value
work.Work.stage = killed
segment(bp.open_source(sys.argv[1], "boundaries"), sys.argv[2], method="multicut", block_shape=24, progress=False)
"""


@pytest.mark.processes
@pytest.mark.parametrize("at", ["superpixels", "graph", "multicut", "labels"])
def test_the_same_call_goes_on_after_a_kill(boundaries: Any, tmp_path: Path, at: str) -> None:
    command = [sys.executable, "-c", COUNTED, str(boundaries.path), str(tmp_path / "a.zarr")]
    letters = [tmp_path / name for name in ("killed", "again")]
    assert subprocess.run([*command, at, letters[0]], timeout=300, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "a.zarr").exists()
    assert subprocess.run([*command, "nowhere", letters[1]], timeout=300, check=False).returncode == 0
    done, again = (Counter(one.read_text() if one.exists() else "") for one in letters)
    stages = {"superpixels": "s", "graph": "g", "multicut": "m", "labels": "l"}
    before = list(stages)[: list(stages).index(at) + 1]
    assert set(done) == {stages[name] for name in before}
    assert not set(done) & set(again), (done, again)  # what was done is not done again, and the rest is done
    assert dict.fromkeys("sgl", 8) | {"m": 1} == dict(done + again)
    for one in letters:
        one.unlink(missing_ok=True)
    fresh = segment(boundaries, tmp_path / "b.zarr", method="multicut", **QUIET)
    assert np.array_equal(np.asarray(bp.open_source(tmp_path / "a.zarr")[...]), labels(fresh))
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr"]
