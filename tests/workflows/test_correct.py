"""Corrections of a segmentation: as if it had been made anew, in few blocks, and after kills at any place."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import FormatError, ParameterError, RunningError, ShapeError, SourceNotFoundError
from bioimage_py.graph import Constraints
from bioimage_py.io import create_array, read_multiscales
from bioimage_py.pipelines.folder import lock_folder
from bioimage_py.workflows import correct, segment

from ..graph.test_multicut import neurons

QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a segmentation, "labels.zarr", and what was kept of it, "kept"."""
    folder = tmp_path_factory.mktemp("made")
    boundaries = create_array(folder / "in.zarr", "b", shape=(48, 48, 80), dtype="uint8", chunks=(16, 16, 16))
    array = np.concatenate([neurons(2)[1], neurons(3)[1][..., :32]], axis=2)
    boundaries[...] = np.rint(array * 255)
    segment(
        boundaries,
        folder / "labels.zarr",
        method="multicut",
        keep=folder / "kept",
        block_shape=16,
        beta=0.4,
        min_size=20,
        **QUIET,
    )
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(made / "labels.zarr", tmp_path / "labels.zarr")
    shutil.copytree(made / "kept", tmp_path / "kept")
    return tmp_path


def levels(folder: Path) -> list[np.ndarray]:
    (image,) = read_multiscales(folder / "labels.zarr")
    return [np.asarray(bp.open_source(folder / "labels.zarr", name)[...]) for name, _ in image.levels]


def pair(folder: Path, *, joined: bool, far: int = 0) -> tuple[int, int]:
    """Two superpixels that touch and lie in one object, or in two."""
    graph = bp.graph.open_graph(folder / "kept" / "graph.zarr")
    parts = np.asarray(bp.open_source(folder / "kept" / "partition.zarr", "parts")[...])
    same = parts[graph.pairs[:, 0]] == parts[graph.pairs[:, 1]]
    rows = np.flatnonzero(same == joined)
    one, other = graph.edges.ids[rows[far]].tolist()
    return one, other


def check(folder: Path, wanted: Constraints) -> None:
    """All levels are what the superpixels and the kept partition make, which heeds the constraints."""
    graph = bp.graph.open_graph(folder / "kept" / "graph.zarr")
    pieces = np.asarray(bp.open_source(folder / "kept" / "superpixels.zarr")[...])
    parts = np.asarray(bp.open_source(folder / "kept" / "partition.zarr", "parts")[...])
    row = {one: number for number, one in enumerate(graph.nodes.ids.tolist())}
    assert all(parts[row[a]] == parts[row[b]] for a, b in wanted.join)
    assert all(parts[row[a]] != parts[row[b]] for a, b in wanted.cut)
    expected = bp.graph.apply_node_labels(pieces, bp.graph.Partition(graph.nodes.ids, parts))
    found = levels(folder)
    assert np.array_equal(found[0], expected)
    for fine, coarse in itertools.pairwise(found):
        factor = [1 if a == b else 2 for a, b in zip(fine.shape, coarse.shape, strict=True)]
        assert np.array_equal(coarse, bp.downsample(fine, factor, method="mode"))
    assert sorted(os.listdir(folder / "kept")) == ["graph.zarr", "lock", "partition.zarr", "superpixels.zarr"]


def test_a_cut_and_a_join_rewrite_few_blocks(place: Path) -> None:
    before = levels(place)
    assert len(before) > 1
    wanted = Constraints(cut=[pair(place, joined=True)])
    found = correct(place / "labels.zarr", place / "kept", wanted, **QUIET)
    check(place, wanted)
    assert found.n_regions > 0
    assert all(0 < some <= every for some, every in found.blocks)
    assert found.blocks[0][0] < found.blocks[0][1] == 3 * 3 * 5
    assert found.n_objects == len(np.unique(levels(place)[0]))
    wanted += Constraints(join=[pair(place, joined=False, far=300)])
    correct(place / "labels.zarr", place / "kept", wanted, num_workers=2, **QUIET)
    check(place, wanted)
    again = correct(place / "labels.zarr", place / "kept", wanted, **QUIET)
    assert (again.n_regions, again.blocks) == (0, ())
    after = levels(place)[0]
    same = np.isin(before[0], [one for one in np.unique(before[0]) if np.array_equal(before[0] == one, after == one)])
    assert same.mean() > 0.3


def test_what_did_not_change_is_not_written(place: Path) -> None:
    finest = place / "labels.zarr" / "0" / "c"
    chunks = {path: path.stat().st_mtime_ns for path in finest.rglob("*") if path.is_file()}
    found = correct(place / "labels.zarr", place / "kept", Constraints(cut=[pair(place, joined=True)]), **QUIET)
    written = [path for path, time in chunks.items() if path.stat().st_mtime_ns != time]
    assert 0 < len(written) <= found.blocks[0][0] < len(chunks)


@pytest.mark.processes
def test_the_command(place: Path) -> None:
    wanted = Constraints(join=[pair(place, joined=False)])
    wanted.write(place / "constraints.json")
    line = [sys.executable, "-m", "bioimage_py", "correct", "labels.zarr", "kept", "constraints.json"]
    done = subprocess.run([*line, "--json"], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["n_regions"] > 0
    check(place, wanted)
    done = subprocess.run([*line, "--quiet"], cwd=place, capture_output=True, text=True, check=False)
    assert "0 superpixels changed theirs" in done.stdout
    (place / "constraints.json").write_text('{"join": [[1, 0]]}')
    done = subprocess.run(line, cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, "holds no constraints" in done.stderr) == (1, True)


def test_labels_of_something_else_are_left_alone(place: Path, made: Path) -> None:
    wanted = Constraints(cut=[pair(place, joined=True)])
    with bp.open_source(place / "labels.zarr", "0", mode="r+") as labels:
        labels[...] = labels[...] + 1
    before = levels(place)[0]
    with pytest.raises(ParameterError, match="not what the folder of superpixels makes"):
        correct(place / "labels.zarr", place / "kept", wanted, **QUIET)
    assert np.array_equal(levels(place)[0], before)
    assert not (place / "kept" / "pending.zarr").exists()
    segment(np.zeros((20, 20, 20), np.float32), place / "other.zarr", method="multicut", block_shape=16, **QUIET)
    with pytest.raises(ShapeError, match="the superpixels"):
        correct(place / "other.zarr", place / "kept", wanted, **QUIET)
    with pytest.raises(FormatError, match="0 images"):
        correct(place / "kept" / "superpixels.zarr", place / "kept", wanted, **QUIET)
    with pytest.raises(SourceNotFoundError, match=r"has no superpixels\.zarr and no graph"):
        correct(place / "labels.zarr", place, wanted, **QUIET)
    with lock_folder(place / "kept"), pytest.raises(RunningError, match="another process"):
        correct(place / "labels.zarr", place / "kept", wanted, **QUIET)
    shutil.rmtree(place / "kept" / "partition.zarr" / "parts")
    with pytest.raises(FormatError, match="no partition"):
        correct(place / "labels.zarr", place / "kept", wanted, **QUIET)


KILLED = """
import os, sys, bioimage_py as bp
from bioimage_py.workflows.corrections import correcting
from bioimage_py.graph import Constraints
from bioimage_py.engine import block_functions
at, left = sys.argv[3], [int(sys.argv[4])]
def dies(module, name):
    whole = getattr(module, name)
    def call(*args, **kwargs):
        value = whole(*args, **kwargs)
        left[0] -= 1
        if left[0] < 0: os.kill(os.getpid(), 9)
        return value
    setattr(module, name, call)
places = {"check": (correcting, "_check_labels"), "pending": (correcting, "save_partition"),
          "blocks": (block_functions, "write_inside"), "levels": (correcting, "downsample"),
          "end": (correcting, "_rewritten"), "put": (correcting.swap, "put")}
dies(*places[at])
correcting.correct(sys.argv[1] + "/labels.zarr", sys.argv[1] + "/kept", sys.argv[2], progress=False)
"""


@pytest.mark.processes
@pytest.mark.some(2)
@pytest.mark.parametrize(
    ("at", "number"),
    [("check", 0), ("pending", 0), ("blocks", 0), ("blocks", 1), ("levels", 0), ("end", 0), ("put", 1)],
)
def test_killed_and_called_again(place: Path, at: str, number: int) -> None:
    wanted = Constraints(cut=[pair(place, joined=True)])
    wanted.write(place / "constraints.json")
    whole = place / "whole"
    shutil.copytree(place / "labels.zarr", whole / "labels.zarr")
    shutil.copytree(place / "kept", whole / "kept")
    correct(whole / "labels.zarr", whole / "kept", wanted, **QUIET)
    command = [sys.executable, "-c", KILLED, str(place), str(place / "constraints.json"), at, str(number)]
    done = subprocess.run(command, timeout=300, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    correct(place / "labels.zarr", place / "kept", wanted, **QUIET)
    check(place, wanted)
    assert all(np.array_equal(one, two) for one, two in zip(levels(place), levels(whole), strict=True))


@pytest.mark.processes
@pytest.mark.some(1)
@pytest.mark.parametrize("at", ["blocks", "levels"])
def test_killed_and_called_with_other_constraints(place: Path, at: str) -> None:
    Constraints(cut=[pair(place, joined=True)]).write(place / "constraints.json")
    command = [sys.executable, "-c", KILLED, str(place), str(place / "constraints.json"), at, "0"]
    assert subprocess.run(command, timeout=300, check=False).returncode == -signal.SIGKILL
    other = Constraints(join=[pair(place, joined=False, far=40)])
    correct(place / "labels.zarr", place / "kept", other, **QUIET)
    check(place, other)


@pytest.mark.processes
@pytest.mark.some(2)
@pytest.mark.parametrize(
    ("first", "second"),
    [(("blocks", 1), ("pending", 0)), (("levels", 0), ("check", 0)), (("end", 0), ("blocks", 0)), (("put", 1),) * 2],
)
def test_killed_twice_and_taken_back(place: Path, first: tuple[str, int], second: tuple[str, int]) -> None:
    """What the first killed call has written is put right after the second one, whatever is wanted then."""
    before = levels(place)
    parts = np.asarray(bp.open_source(place / "kept" / "partition.zarr", "parts")[...])
    graph = bp.graph.open_graph(place / "kept" / "graph.zarr")
    inner = np.flatnonzero(parts[graph.pairs[:, 0]] == parts[graph.pairs[:, 1]])
    objects = parts[graph.pairs[inner, 0]]
    rows = inner[[0, int(np.flatnonzero(objects != objects[0])[0])]]
    for number, (row, (at, after)) in enumerate(zip(rows, (first, second), strict=True)):
        wanted = Constraints(cut=[tuple(graph.edges.ids[row].tolist())])
        wanted.write(place / f"{number}.json")
        command = [sys.executable, "-c", KILLED, str(place), str(place / f"{number}.json"), at, str(after)]
        done = subprocess.run(command, timeout=300, check=False, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert not all(np.array_equal(one, two) for one, two in zip(levels(place), before, strict=True))
    if first[0] != "put":  # after which a correction counts
        correct(place / "labels.zarr", place / "kept", Constraints(), **QUIET)
        assert all(np.array_equal(one, two) for one, two in zip(levels(place), before, strict=True))
    wanted = Constraints.read(place / "0.json") + Constraints.read(place / "1.json")
    correct(place / "labels.zarr", place / "kept", wanted, **QUIET)
    check(place, wanted)
