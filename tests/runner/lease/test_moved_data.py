"""Data that a dead run has changed in place tell so wherever they lie, and whatever became of the run's folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ResumeConflict, RunnerError, StorageError
from bioimage_py.io import create_array
from bioimage_py.run_folder import RunState
from bioimage_py.runner import map_blocks
from bioimage_py.runner.lease.stamp_places import InBucket, place_of
from bioimage_py.runner.lease.stamps import Move, Stamp
from bioimage_py.sources import as_source, open_source
from bioimage_py.sources.stores.location import Location

SHAPE, UNIT = (32, 8, 8), (8, 8, 8)
HOW: dict[str, Any] = {"block_shape": UNIT, "progress": False, "retries": 0, "num_workers": 1, "name": "add"}
BAD = "BLOCK_THAT_FAILS"
"""Set in the environment, which a function's definition does not hold and worker processes have."""


@contextmanager
def failing(block_id: int) -> Iterator[Any]:
    os.environ[BAD] = str(block_id)
    try:
        with pytest.raises(RunnerError) as error:
            yield error
    finally:
        del os.environ[BAD]


def plus_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    if os.environ.get(BAD) == str(block.id):
        raise OSError(f"block {block.id} is bad today")
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 1


def chunked(name: str, key: str = "", **how: Any) -> Callable[[Path], Callable[[], Any]]:
    def make(folder: Path) -> Callable[[], Any]:
        create_array(folder / name, key, shape=SHAPE, dtype="u2", chunks=UNIT, **how)
        return lambda: open_source(folder / name, key, mode="r+")

    return make


def zarr_v2(folder: Path) -> Callable[[], Any]:
    made = zarr.create_array(folder / "a.zarr", shape=SHAPE, dtype="u2", chunks=UNIT, zarr_format=2)
    made[...] = 0
    return lambda: open_source(folder / "a.zarr", mode="r+")


def precomputed(folder: Path) -> Callable[[], Any]:
    layers = pytest.importorskip("tests.sources.precomputed.precomputed_layers", reason="needs cloud-volume")
    layers.new_layer(folder / "layer", np.zeros(SHAPE, "u2"), size=SHAPE[::-1], chunk=UNIT)
    return lambda: bp.open_cloudvolume(f"file://{folder}/layer", mode="r+", fill_missing=True)


def sharded_layer(folder: Path) -> Callable[[], Any]:
    layers = pytest.importorskip("tests.sources.precomputed.precomputed_layers", reason="needs cloud-volume")
    sharding = {**layers.SHARDING, "preshift_bits": 0, "minishard_bits": 0, "shard_bits": 2}
    layers.by_tensorstore(folder / "layer", np.zeros(SHAPE, "u2"), sharding=sharding, chunk_size=UNIT)
    return lambda: bp.open_cloudvolume(f"file://{folder}/layer", mode="r+", fill_missing=True)


def tensorstore_view(folder: Path) -> Callable[[], Any]:
    import tensorstore

    zarr.create_array(folder / "a.zarr", shape=(64, 8, 8), dtype="u2", chunks=UNIT, zarr_format=2)

    def opened() -> Any:
        store = {"driver": "file", "path": f"{folder}/a.zarr/"}
        return as_source(tensorstore.open({"driver": "zarr", "kvstore": store}).result()[:32])

    return opened


def webknossos(data_format: str) -> Callable[[Path], Callable[[], Any]]:
    def make(folder: Path) -> Callable[[], Any]:
        data = pytest.importorskip("tests.sources.webknossos.webknossos_data", reason="needs webknossos")
        layer = data.add_layer(
            data.wk.Dataset(folder / "w", voxel_size=data.VOXEL),
            "s",
            data_format,
            dtype="uint16",
            topleft=(0, 0, 0),
            size=SHAPE[::-1],
        )
        data.add_mag(layer, 1, chunk=8, shard=8)
        return lambda: bp.open_webknossos(folder / "w", layer_name="s", mag=1, mode="r+")

    return make


KEPT = {
    "zarr v2": zarr_v2,
    "zarr v3": chunked("a.zarr", "deep/er"),
    "sharded": chunked("a.zarr", shards=UNIT),
    "n5": chunked("a.n5", "raw"),
    "precomputed": precomputed,
    "wkw": webknossos("wkw"),
    "webknossos zarr": webknossos("zarr3"),
}
HDF5 = chunked("a.h5", "raw")
"""Its file is left alone until all blocks are done."""
UNKEPT = {"precomputed sharded": sharded_layer, "tensorstore": tensorstore_view}
"""Kinds whose old content is not kept while they are changed in place."""
every_kind = pytest.mark.parametrize("make", [pytest.param(made, id=name) for name, made in {**KEPT, **UNKEPT}.items()])
every_kept = pytest.mark.parametrize("make", [pytest.param(made, id=name) for name, made in KEPT.items()])


def call(opened: Callable[[], Any], **changes: Any) -> None:
    with opened() as array:
        map_blocks(plus_one, [array], [array], **{**HOW, **changes})


def values(opened: Callable[[], Any]) -> list[int]:
    with opened() as array:
        return [int(value) for value in np.unique(array[...])]


def half(make: Callable[[Path], Callable[[], Any]], folder: Path, **changes: Any) -> Path:
    """Data in a new folder that a run has changed a half of; the run folder."""
    folder.mkdir()
    opened = make(folder)
    with failing(2) as error:
        call(opened, **changes)
    assert values(opened) == [0, 1]
    return Path(str(error.value.tmp_folder))


def reopened(make: Callable[[Path], Callable[[], Any]], folder: Path) -> Callable[[], Any]:
    """How to open what was made in another folder."""
    scratch = folder.with_name("scratch")
    scratch.mkdir()
    try:
        opened = make(scratch)
    finally:
        shutil.rmtree(scratch)
    for cell in opened.__closure__ or ():
        if cell.cell_contents == scratch:
            cell.cell_contents = folder
    return opened


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- the folder of the run is lost ---------------------------------------------------------------------------------


@every_kind
def test_no_call_begins_on_what_a_lost_run_has_left(make: Any, tmp_path: Path) -> None:
    run = half(make, tmp_path / "d")
    opened = reopened(make, tmp_path / "d")
    shutil.rmtree(run.parent)
    before = tree(tmp_path / "d")
    for resume in ("auto", "never"):
        with pytest.raises(ResumeConflict, match=rf"a part of what the run '{run.name}' \(of add, begun 2.* is gone"):
            call(opened, resume=resume)
    with pytest.raises(ResumeConflict, match="runs forget"), opened() as array:
        bp.operations.multiply(array, 3, array, block_shape=UNIT, progress=False)
    assert tree(tmp_path / "d") == before, "nothing was touched"
    assert values(opened) == [0, 1]


@pytest.mark.parametrize("make", [KEPT["zarr v3"], KEPT["wkw"]], ids=["zarr", "wkw"])
def test_the_user_may_take_the_data_as_they_are(make: Any, tmp_path: Path) -> None:
    run = half(make, tmp_path / "d")
    opened = reopened(make, tmp_path / "d")
    shutil.rmtree(run.parent)
    with pytest.raises(ResumeConflict) as error:
        call(opened)
    command = error.value.remedy.rpartition("bioimage-py ")[2]
    done = CliRunner().invoke(main, command.split())
    assert (done.exit_code, done.output) == (0, f"forgot {run.name}\n")
    call(opened)
    assert values(opened) == [1, 2]
    assert not [name for name in tree(tmp_path / "d") if "bioimage_py" in name]


def test_a_run_that_is_there_is_not_forgotten_so(tmp_path: Path) -> None:
    half(KEPT["zarr v2"], tmp_path / "d")
    done = CliRunner().invoke(main, ["runs", "forget", str(tmp_path / "d" / "a.zarr")])
    assert done.exit_code != 0
    assert "is not lost" in done.output
    call(reopened(KEPT["zarr v2"], tmp_path / "d"))


def test_a_part_that_the_lost_run_did_not_write_is_free(tmp_path: Path) -> None:
    run = half(KEPT["zarr v2"], tmp_path / "d", roi=(slice(0, 24),))
    shutil.rmtree(run.parent)
    opened = reopened(KEPT["zarr v2"], tmp_path / "d")
    call(opened, roi=(slice(24, 32),))
    with pytest.raises(ResumeConflict):
        call(opened, roi=(slice(16, 32),))


def test_what_was_not_changed_in_place_may_begin_anew(tmp_path: Path) -> None:
    opened = KEPT["zarr v2"](tmp_path)
    copy = create_array(tmp_path / "b.zarr", "", shape=SHAPE, dtype="u2", chunks=UNIT)
    with failing(2) as error, opened() as array:
        map_blocks(plus_one, [array], [copy], **HOW)
    shutil.rmtree(Path(str(error.value.tmp_folder)))
    with opened() as array:
        with pytest.raises(ResumeConflict):
            map_blocks(plus_one, [array], [copy], **HOW)
        map_blocks(plus_one, [array], [copy], resume="never", **HOW)
    assert (copy[...] == 1).all()
    assert not (tmp_path / "b.zarr" / ".bioimage_py.runs").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"folder": 7}', '{"boxes": "x", "folder": "/nowhere/r"}'])
def test_a_damaged_stamp_is_not_passed_over(text: str, tmp_path: Path) -> None:
    opened = KEPT["zarr v2"](tmp_path)
    (tmp_path / "a.zarr" / ".bioimage_py.runs").mkdir()
    (tmp_path / "a.zarr" / ".bioimage_py.runs" / "add-1").write_text(text)
    with pytest.raises(ResumeConflict, match="'add-1'"):
        call(opened)


class RemoveTheRun:
    """Removes the folder of its run in the second block."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == 1:
            shutil.rmtree(self.root)
        plus_one(block, inputs, outputs, mask)


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_folder_that_is_removed_while_the_run_goes_on(job_type: str, tmp_path: Path) -> None:
    opened = KEPT["zarr v3"](tmp_path)
    root = tmp_path / ".bioimage_py"
    with opened() as array, pytest.raises(StorageError, match=rf"{root}/add-\w+, was removed while it ran"):
        map_blocks(RemoveTheRun(root), [array], [array], job_type=job_type, **HOW)
    for resume in ("auto", "never"):
        with pytest.raises(ResumeConflict, match="is gone"):
            call(opened, resume=resume)


# --- the data have moved -------------------------------------------------------------------------------------------


@every_kept
@pytest.mark.parametrize("resume", ["auto", "never"])
def test_data_that_were_renamed_with_their_run_go_on(resume: str, make: Any, tmp_path: Path) -> None:
    half(make, tmp_path / "d")
    (tmp_path / "e").mkdir()
    (tmp_path / "d").rename(tmp_path / "e" / "f")
    opened = reopened(make, tmp_path / "e" / "f")
    call(opened, resume=resume)
    assert values(opened) == [1]
    assert not [name for name in tree(tmp_path) if "bioimage_py" in name]


def test_an_array_that_leaves_its_run_behind_finds_it(tmp_path: Path) -> None:
    make = KEPT["zarr v3"]
    run = half(make, tmp_path / "d")
    (tmp_path / "e").mkdir()
    (tmp_path / "d" / "a.zarr").rename(tmp_path / "e" / "a.zarr")
    opened = reopened(make, tmp_path / "e")
    with failing(2):
        call(opened)
    assert run.exists()
    assert not (tmp_path / "e" / ".bioimage_py").exists()
    (tmp_path / "e").rename(tmp_path / "g")
    opened = reopened(make, tmp_path / "g")
    call(opened)
    assert values(opened) == [1]
    assert not run.exists()


def test_a_container_that_was_renamed_finds_its_run(tmp_path: Path) -> None:
    half(KEPT["zarr v3"], tmp_path / "d")
    (tmp_path / "d" / "a.zarr").rename(tmp_path / "d" / "b.zarr")
    opened = lambda: open_source(tmp_path / "d" / "b.zarr", "deep/er", mode="r+")  # noqa: E731
    call(opened)
    assert values(opened) == [1]


@pytest.mark.parametrize("link", ["the array", "its folder"])
def test_an_array_at_the_other_end_of_a_link(link: str, tmp_path: Path) -> None:
    make = KEPT["zarr v2"]
    half(make, tmp_path / "real")
    if link == "its folder":
        (tmp_path / "linked").symlink_to(tmp_path / "real")
    else:
        (tmp_path / "linked").mkdir()
        (tmp_path / "linked" / "a.zarr").symlink_to(tmp_path / "real" / "a.zarr")
    opened = reopened(make, tmp_path / "linked")
    call(opened)
    assert values(opened) == [1]


def test_a_link_that_was_renamed(tmp_path: Path) -> None:
    make = KEPT["zarr v2"]
    (tmp_path / "disk").mkdir()
    (tmp_path / "one").symlink_to(tmp_path / "disk")
    run = half(lambda _: make(tmp_path / "one"), tmp_path / "unused")
    assert run.exists()
    (tmp_path / "one").rename(tmp_path / "two")
    opened = reopened(make, tmp_path / "two")
    call(opened)
    assert values(opened) == [1]


def test_a_run_elsewhere_is_found_by_its_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = KEPT["zarr v2"]
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(tmp_path / "scratch1"))
    half(make, tmp_path / "d")
    (tmp_path / "scratch1").rename(tmp_path / "scratch2")
    opened = reopened(make, tmp_path / "d")
    with pytest.raises(ResumeConflict):
        call(opened)
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(tmp_path / "scratch2"))
    call(opened)
    assert values(opened) == [1]


@pytest.mark.parametrize("lost", ["nothing", "the run folder", "its scratch too"])
def test_an_hdf5_file_is_left_alone_until_all_blocks_are_done(lost: str, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    opened = HDF5(folder)
    with failing(2) as error:
        call(opened)
    assert values(opened) == [0]
    if lost != "nothing":
        shutil.rmtree(Path(str(error.value.tmp_folder)).parent)
    if lost == "the run folder":  # whether the run had begun to copy its results in, nobody can tell now
        with pytest.raises(ResumeConflict, match=r"scratch\.zarr holds a part of what the run"):
            call(opened)
        assert values(opened) == [0]
    for scratch in folder.glob("*.scratch.zarr") if lost != "nothing" else ():
        shutil.rmtree(scratch)
    call(opened)
    assert values(opened) == [1]
    assert not list(folder.glob("*.scratch.zarr"))


# --- the data were copied ------------------------------------------------------------------------------------------


@every_kind
def test_a_copy_neither_begins_nor_takes_over_the_run(make: Any, tmp_path: Path) -> None:
    half(make, tmp_path / "d")
    shutil.copytree(tmp_path / "d", tmp_path / "e", symlinks=True)
    copy, first = reopened(make, tmp_path / "e"), reopened(make, tmp_path / "d")
    for resume in ("auto", "never"):
        with pytest.raises(ResumeConflict, match="is a copy of"):
            call(copy, resume=resume)
    assert values(copy) == [0, 1]
    if make not in KEPT.values():
        return
    call(first)
    assert values(first) == [1]
    with pytest.raises(ResumeConflict):
        call(copy)


def test_data_from_another_disk_go_on_when_the_user_says_so(tmp_path: Path) -> None:
    """A move between file systems is a copy of which the first is gone."""
    make = KEPT["zarr v2"]
    run = half(make, tmp_path / "d")
    shutil.copytree(tmp_path / "d", tmp_path / "e", symlinks=True)
    shutil.rmtree(tmp_path / "d")
    opened = reopened(make, tmp_path / "e")
    with pytest.raises(ResumeConflict, match="fingerprint of") as error:
        call(opened)
    now = tmp_path / "e" / ".bioimage_py" / run.name
    assert f"resume='{now}'" in error.value.remedy
    call(opened, resume=str(now))
    assert values(opened) == [1]


def test_of_two_copies_one_goes_on(tmp_path: Path) -> None:
    """The first was renamed, the copy has taken the run over: who comes second is told."""
    make = KEPT["zarr v2"]
    run = half(make, tmp_path / "d")
    shutil.copytree(tmp_path / "d" / "a.zarr", tmp_path / "e" / "a.zarr")
    (tmp_path / "d" / "a.zarr").rename(tmp_path / "d" / "first.zarr")
    with failing(2):
        call(reopened(make, tmp_path / "e"), resume=str(run))
    first = lambda: open_source(tmp_path / "d" / "first.zarr", mode="r+")  # noqa: E731
    with pytest.raises(ResumeConflict, match="is a copy of"):
        call(first)
    call(reopened(make, tmp_path / "e"), resume=str(run))
    assert values(reopened(make, tmp_path / "e")) == [1]
    with pytest.raises(ResumeConflict, match="is gone"):
        call(first)


def test_paths_are_changed_at_their_borders_only() -> None:
    stamp = Stamp("r", array="/a/x/d.zarr/raw", real="/mnt/x/d.zarr/raw")
    move = Move(stamp, (("/a", "/b"),))
    assert move('{"path": "/a/x/in.zarr"} "/ab/x" /a/c and /x/a/') == '{"path": "/b/x/in.zarr"} "/ab/x" /b/c and /x/a/'
    assert not Move.between(stamp, "/a/x/d.zarr/raw").pairs[:0]
    assert Move.between(stamp, "/b/x/d.zarr/raw").pairs[0] == ("/a", "/b")


# --- where stamps are ----------------------------------------------------------------------------------------------


@every_kind
def test_stamps_go_with_the_run(make: Any, tmp_path: Path) -> None:
    opened = make(tmp_path)
    before = {name for name in tree(tmp_path) if "bioimage" in name}
    call(opened)
    with opened() as array:
        place = place_of(array)
        assert place is not None
        assert place.names() == []
    assert {name for name in tree(tmp_path) if "bioimage" in name} == before == set()


def test_a_run_that_is_cleaned_leaves_no_stamp(tmp_path: Path) -> None:
    for name, make in (("zarr", KEPT["zarr v2"]), ("tensorstore", UNKEPT["tensorstore"])):
        run = half(make, tmp_path / name)
        done = CliRunner().invoke(main, ["runs", "clean", str(run), "--yes"])
        assert done.exit_code == 0, done.output
        opened = reopened(make, run.parent.parent)
        call(opened)
        assert values(opened) == [1, 2]


def test_a_forgotten_run_leaves_no_stamp_in_its_other_outputs(tmp_path: Path) -> None:
    first, other = (
        create_array(tmp_path / name, "", shape=SHAPE, dtype="u2", chunks=UNIT) for name in ("a.zarr", "b.zarr")
    )

    def both(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        for output in outputs:
            plus_one(block, inputs, [output], mask)

    with failing(2):
        map_blocks(both, [first], [first, other], **HOW)
    map_blocks(plus_one, [first], [first], resume="never", **HOW)
    map_blocks(plus_one, [other], [other], **HOW)
    assert (first[...] == 1).all()
    assert (other[...] == 1).all()


def test_buckets_carry_stamps(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(tmp_path / "runs"))
    create_array(f"{s3}/a.zarr", "", shape=SHAPE, dtype="u2", chunks=UNIT)
    opened = lambda: open_source(f"{s3}/a.zarr", mode="r+")  # noqa: E731
    with failing(2) as error:
        call(opened)
    place = InBucket(Location(f"{s3}/a.zarr"))
    run = Path(str(error.value.tmp_folder))
    assert place.names() == [run.name]
    run.rename(tmp_path / "away")
    with pytest.raises(ResumeConflict, match=f"{s3}/a.zarr holds a part"):
        call(opened, resume="never")
    (tmp_path / "away").rename(run)
    call(opened)
    assert values(opened) == [1]
    assert place.names() == []


def test_in_place_where_nothing_is_kept_is_not_begun_anew(tmp_path: Path) -> None:
    run = half(UNKEPT["tensorstore"], tmp_path / "d")
    opened = reopened(UNKEPT["tensorstore"], tmp_path / "d")
    for resume in ("auto", "never", str(run)):
        with pytest.raises(ResumeConflict, match=r"restore the data"):
            call(opened, resume=resume)
    assert values(opened) == [0, 1]


# --- names and relative paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [".smooth", "..", "../x", ".gone-1", ".new-host-1-2-3", "a/b\\c", "ä" * 300, "tab\tline\n", "\0", " "]
)
def test_any_name_of_a_run_is_found_again(name: str, tmp_path: Path) -> None:
    run = half(KEPT["zarr v2"], tmp_path / "d", name=name)
    assert run.parent == tmp_path / "d" / ".bioimage_py"
    assert not run.name.startswith(".")
    state = RunState.read(run)
    assert state is not None
    assert state.name == name
    opened = reopened(KEPT["zarr v2"], tmp_path / "d")
    call(opened, name=name)
    assert values(opened) == [1]


class Wanders:
    """Changes the working directory in each block."""

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        os.chdir("/")
        plus_one(block, inputs, outputs, mask)


@pytest.mark.parametrize(
    ("how", "job_type"), [("environment", "local"), ("config", "local"), ("environment", "subprocess")]
)
def test_a_block_may_change_the_working_directory(
    how: str, job_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more: dict[str, Any] = {}
    if how == "environment":
        monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", "runs")
    else:
        more["job_config"] = bp.runner.RunnerConfig(tmp_root="runs")
    create_array("a.zarr", "", shape=SHAPE, dtype="u2", chunks=UNIT)
    array = open_source("a.zarr", mode="r+")
    try:
        map_blocks(Wanders(), [array], [array], job_type=job_type, **HOW, **more)
    finally:
        os.chdir(tmp_path)
    assert (open_source("a.zarr")[...] == 1).all()
    assert list((tmp_path / "runs").iterdir()) == []
