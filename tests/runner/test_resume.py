"""The same call continues an unfinished run and writes nothing twice; another call is told what differs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import ConfigError, ResumeConflict, RunnerError, RunningError, StorageError
from bioimage_py.run_folder import RunState
from bioimage_py.runner import RunnerConfig, get_runner, map_blocks, resume_run
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.lease.ownership import runs_in

HOW = Execution(num_workers=2, progress=False, retries=0)
DATA = np.arange(64, dtype=np.int32)
BAD: set[int] = set()
CALLS: Counter[int] = Counter()


@pytest.fixture(autouse=True)
def reset() -> None:
    BAD.clear()
    CALLS.clear()


class Noted:
    """What a function does besides its result; told by its name in a comparison of calls."""

    def __reduce__(self) -> str:
        return "noted"

    def __call__(self, block_id: int) -> None:
        CALLS[block_id] += 1
        if block_id in BAD:
            raise OSError(f"block {block_id} is bad today")


class Interrupted(Noted):
    """A Ctrl-C in a block."""

    def __reduce__(self) -> str:
        return "interrupted"

    def __call__(self, block_id: int) -> None:
        if CALLS[5] == 1 and block_id == 5:
            os.kill(os.getpid(), 2)


noted = Noted()
interrupted = Interrupted()


def plus_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    noted(block.id)
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 1
    return int(block.id)


def plus_two(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    noted(block.id)
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 2
    return int(block.id)


def array(path: Path, data: Any = None, chunks: int = 4) -> Any:
    made = zarr.create_array(path, shape=(64,), chunks=(chunks,), dtype="i4", overwrite=True)
    if data is not None:
        made[:] = data
    return made


def opened(path: Path, mode: str = "r+") -> Any:
    return zarr.open_array(path, mode=mode)


def call(folder: Path, function: Any = plus_one, **changes: Any) -> Any:
    """A job of 16 blocks from ``in.zarr`` to ``out.zarr``; with ``in_place`` on ``in.zarr``."""
    options: dict[str, Any] = {"block_shape": 4, "has_return_val": True, "name": "job", "execution": HOW, **changes}
    source = opened(folder / "in.zarr")
    target = source if options.pop("in_place", False) else opened(folder / "out.zarr")
    return map_blocks(function, [source], [target], **options).results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    array(tmp_path / "in.zarr", DATA)
    array(tmp_path / "out.zarr")
    return tmp_path


def fail(folder: Path, *bad: int, **changes: Any) -> RunnerError:
    BAD.update(bad)
    with pytest.raises(RunnerError) as error:
        call(folder, **changes)
    BAD.clear()
    return error.value


def runs(folder: Path) -> list[RunState]:
    return [state for _, state in runs_in(folder / ".bioimage_py")]


# --- the same call -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
def test_the_same_call_continues_and_repeats_nothing(folder: Path, in_place: bool) -> None:
    error = fail(folder, 3, 10, in_place=in_place)
    assert error.failed_block_ids == [3, 10]
    before = {path: path.stat().st_ino for path in folder.glob("*.zarr/c/*")}
    assert call(folder, in_place=in_place) == list(range(16))
    assert {block: 2 if block in (3, 10) else 1 for block in range(16)} == CALLS
    name = "in.zarr" if in_place else "out.zarr"
    np.testing.assert_array_equal(opened(folder / name)[:], DATA + 1)
    written = {path for path in folder.glob(f"{name}/c/*") if before.get(path) != path.stat().st_ino}
    assert written == {folder / name / "c" / "3", folder / name / "c" / "10"}, "no other file was touched"
    assert sorted(path.name for path in folder.iterdir()) == ["in.zarr", "out.zarr"], "nothing is left behind"
    assert not list(folder.glob("*.zarr/.bio*"))


def test_it_may_fail_any_number_of_times(folder: Path) -> None:
    for bad in ([1, 2, 3], [2, 3], [3]):
        assert fail(folder, *bad, in_place=True).failed_block_ids == bad
        assert len(runs(folder)) == 1
    assert runs(folder)[0].sessions == 3
    call(folder, in_place=True)
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 1)


def test_other_workers_and_backends_may_continue(folder: Path) -> None:
    fail(folder, 3)
    how = Execution(num_workers=3, progress=False, retries=2, max_failures=4, memory=2**30, durability="node")
    assert call(folder, execution=how) == list(range(16))
    assert sum(CALLS.values()) == 17


def test_folded_values_continue_with_the_same_bits(folder: Path) -> None:
    values = np.random.default_rng(0).standard_normal(16) * 10.0 ** np.arange(-8, 8)

    def total(block: Any, inputs: Any, outputs: Any, mask: Any) -> float:
        plus_one(block, inputs, outputs, mask)
        return float(values[block.id])

    def fold(one: float, other: float) -> float:
        return one + other

    options = {"function": total, "has_return_val": False, "reduce": fold}
    whole = call(folder, **options)
    for bad in ((0,), (5, 6), (15,), (1, 8, 9)):
        fail(folder, *bad, **options)
        assert call(folder, **options).hex() == whole.hex()


def test_a_finished_call_is_run_again(folder: Path) -> None:
    for times in (1, 2):
        call(folder, in_place=True)
        np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + times)
    assert set(CALLS.values()) == {2}


def test_a_run_that_did_nothing_is_in_nobodys_way(folder: Path) -> None:
    def broken(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        raise NameError("a typing error")

    with pytest.raises(RunnerError, match="first blocks all failed in the same way"):
        call(folder, broken, in_place=True)
    assert call(folder, in_place=True) == list(range(16))


@pytest.mark.parametrize("what", ["label", "relabel_consecutive"])
def test_operations_of_several_stages_continue_at_their_stage(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioimage_py.segmentation import labelling, relabelling

    data = (np.random.default_rng(1).random((16, 32)) > 0.5).astype(np.uint8) * np.arange(1, 33, dtype=np.uint8)
    source = zarr.create_array(tmp_path / "in.zarr", shape=data.shape, chunks=(8, 8), dtype="u1")
    source[:] = data
    output = zarr.create_array(tmp_path / "out.zarr", shape=data.shape, chunks=(8, 8), dtype="u8")
    first, last = {
        "label": (labelling.FindComponents, labelling.WriteComponents),
        "relabel_consecutive": (relabelling.CountBlock, relabelling.WriteTable),
    }[what]
    operation = getattr(bp.segmentation, what)
    calls: Counter[str] = Counter()
    bad: list[Any] = []

    def watch(kind: type, name: str) -> None:
        inner = kind.__call__

        def counted(self: Any, block: Any, *rest: Any, **more: Any) -> Any:
            calls[f"{name} {block.id}"] += 1
            if [name, block.id] == bad:
                raise OSError("bad today")
            return inner(self, block, *rest, **more)

        monkeypatch.setattr(kind, "__call__", counted)

    watch(first, "first")
    watch(last, "last")

    def run() -> None:
        operation(source, output, block_shape=(8, 8), num_workers=2, retries=0, progress=False)

    for failing in (["first", 5], ["last", 2]):
        bad[:] = failing
        with pytest.raises(RunnerError, match="bad today"):
            run()
    assert not any(path.name == ".bioimage_py" for path in tmp_path.glob("out.zarr/*"))
    bad.clear()
    run()
    again = {name: n for name, n in calls.items() if n > 1}
    assert again == {"first 5": 2, "last 2": 2}
    whole = operation(data)
    np.testing.assert_array_equal(output[:], whole[0] if isinstance(whole, tuple) else whole)


# --- another call --------------------------------------------------------------------------------------------------


def refused(folder: Path, *args: Any, **changes: Any) -> ResumeConflict:
    with pytest.raises(ResumeConflict) as conflict:
        call(folder, *args, **changes)
    assert "writes the same region, but this call differs" in str(conflict.value)
    return conflict.value


def test_an_edited_function_is_a_conflict_with_both_values_and_both_calls(folder: Path) -> None:
    error = fail(folder, 3)
    conflict = refused(folder, plus_two)
    assert "definition of job.function: then " in conflict.message
    assert ", now " in conflict.message
    assert conflict.remedy == f'resume={error.tmp_folder!r} continues it; resume="never" forgets it and starts anew'
    assert sum(CALLS.values()) == 16, "nothing was run"
    assert len(runs(folder)) == 1, "and nothing is left of the call"
    assert call(folder) == list(range(16))


def test_the_user_may_go_on_with_an_edited_function(folder: Path) -> None:
    error = fail(folder, 3)
    call(folder, plus_two, resume=error.tmp_folder)
    expected = DATA + 1
    expected[12:16] += 1
    np.testing.assert_array_equal(opened(folder / "out.zarr")[:], expected)


def test_the_user_may_start_anew(folder: Path) -> None:
    fail(folder, 3)
    call(folder, plus_two, resume="never")
    np.testing.assert_array_equal(opened(folder / "out.zarr")[:], DATA + 2)
    assert not (folder / ".bioimage_py").exists()


def test_a_version_stands_for_the_function(folder: Path) -> None:
    versioned = Execution(num_workers=2, progress=False, retries=0, version="7")
    fail(folder, 3, execution=versioned)
    conflict = refused(folder, execution=Execution(version="8"))
    assert "then version 7, now version 8" in conflict.message
    call(folder, plus_two, execution=versioned)
    assert sum(CALLS.values()) == 17


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"block_shape": 8}, r"definition of job.grid: then shape \(64,\) blocks \(4,\)"),
        ({"roi": (slice(0, 32),)}, "definition of job.grid"),
        ({"has_return_val": False}, "definition of job.returns: then each, now none"),
        ({"halo": 0}, "definition of job.halo: then None"),
        ({"name": "other"}, "stages of that run alone: job\n  stages of this call alone: other"),
        ({"execution": Execution(casting="unsafe")}, "definition of casting: then checked, now unsafe"),
    ],
)
def test_other_arguments_are_conflicts_that_only_a_new_start_solves(
    folder: Path, changes: dict[str, Any], text: str
) -> None:
    fail(folder, 3)
    conflict = refused(folder, **changes)
    assert re.search(text, conflict.message)
    assert conflict.remedy == 'resume="never" forgets it and starts anew'


def test_an_input_that_was_made_anew_is_a_conflict(folder: Path) -> None:
    error = fail(folder, 3)
    array(folder / "in.zarr", DATA * 2)
    conflict = refused(folder)
    assert "fingerprint of job.input 0: then zarr.json " in conflict.message
    assert f"resume={error.tmp_folder!r} continues it" in conflict.remedy


@pytest.mark.parametrize("what", ["the array", "a chunk"])
def test_an_input_that_was_written_again_is_a_conflict(folder: Path, what: str) -> None:
    """Its metadata are as they were."""
    fail(folder, 3)
    opened(folder / "in.zarr")[: 64 if what == "the array" else 4] = 7
    text = r"fingerprint of job.input 0: then zarr.json .* with 16 chunks \w+, now .* with 16 chunks"
    assert re.search(text, refused(folder).message)
    call(folder, resume="never")
    np.testing.assert_array_equal(opened(folder / "out.zarr")[:], opened(folder / "in.zarr")[:] + 1)


def test_an_input_that_is_written_elsewhere_than_where_it_is_read_is_none(folder: Path) -> None:
    half = {"roi": (slice(0, 32),)}
    fail(folder, 3, **half)
    opened(folder / "in.zarr")[32:] = 7
    call(folder, **half)
    np.testing.assert_array_equal(opened(folder / "out.zarr")[:32], DATA[:32] + 1)


def test_an_input_of_the_same_name_in_place_of_the_first_is_a_conflict(folder: Path) -> None:
    array(folder / "other.zarr", DATA * 2)
    fail(folder, 3)
    (folder / "in.zarr").rename(folder / "aside.zarr")
    (folder / "other.zarr").rename(folder / "in.zarr")
    assert "fingerprint of job.input 0" in refused(folder).message


def test_a_mask_that_was_made_anew_is_a_conflict(folder: Path) -> None:
    array(folder / "mask.zarr", DATA > 3)

    def masked(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        return plus_one(block, inputs, outputs, mask)

    fail(folder, 3, function=masked, mask=opened(folder / "mask.zarr"))
    array(folder / "mask.zarr", DATA > 4)
    assert "fingerprint of job.mask 0" in refused(folder, masked, mask=opened(folder / "mask.zarr")).message


@pytest.mark.parametrize("how", ["deleted and made", "overwritten", "replaced"])
def test_an_output_that_was_made_anew_is_a_conflict(folder: Path, how: str) -> None:
    array(folder / "spare.zarr")
    error = fail(folder, 3)
    if how == "deleted and made":
        shutil.rmtree(folder / "out.zarr")
    if how == "replaced":
        (folder / "out.zarr").rename(folder / "old.zarr")
        (folder / "spare.zarr").rename(folder / "out.zarr")
    else:
        array(folder / "out.zarr")
    conflict = refused(folder)
    assert "the output was made anew" in conflict.message or "fingerprint of job.output 0" in conflict.message
    call(folder, resume="never")
    np.testing.assert_array_equal(opened(folder / "out.zarr")[:], DATA + 1)
    assert not Path(str(error.tmp_folder)).exists()


def test_what_cannot_be_compared_names_version(folder: Path) -> None:
    import threading

    lock = threading.Lock()

    def locked(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        with lock:
            return plus_one(block, inputs, outputs, mask)

    fail(folder, 3, function=locked)
    conflict = refused(folder, locked)
    assert "untellable _thread.lock" in conflict.message
    assert 'version="1" stands for a function that cannot be compared' in conflict.remedy


def test_other_versions_of_libraries_are_a_conflict(folder: Path) -> None:
    error = fail(folder, 3)
    path = Path(str(error.tmp_folder), "run.json")
    told = json.loads(path.read_text())
    told["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(told))
    assert "versions of numpy: then 1.0, now" in refused(folder).message
    call(folder, resume=error.tmp_folder)


def test_a_damaged_run_is_named_and_not_passed_over(folder: Path) -> None:
    error = fail(folder, 3, in_place=True)
    Path(str(error.tmp_folder), "run.json").write_text("{")
    with pytest.raises(StorageError, match=r"run.json is damaged.*\n.*rm -r"):
        call(folder, in_place=True)


# --- folders -------------------------------------------------------------------------------------------------------


def test_resume_from_continues_and_names_what_differs(folder: Path) -> None:
    runner = get_runner("local")
    source, target = opened(folder / "in.zarr"), opened(folder / "out.zarr")
    BAD.add(3)
    with pytest.raises(RunnerError) as error:
        runner.run(plus_one, [source], [target], block_shape=(4,))
    BAD.clear()
    where = error.value.tmp_folder
    assert where is not None
    with pytest.raises(ResumeConflict, match=r"definition of blocks\.grid"):
        runner.run(plus_one, [source], [target], block_shape=(8,), resume_from=where)
    with pytest.raises(ConfigError, match="resume_from and block_ids exclude each other"):
        runner.run(plus_one, [source], [target], block_shape=(4,), resume_from=where, block_ids=[3])
    with pytest.raises(ConfigError, match="there is no run in"):
        runner.run(plus_one, [source], [target], block_shape=(4,), resume_from=folder / "nothing")
    other = array(folder / "other.zarr")
    with pytest.raises(ResumeConflict, match=r"definition of blocks\.output 0"):
        runner.run(plus_one, [source], [other], block_shape=(4,), resume_from=str(where))
    runner.run(plus_one, [source], [target], block_shape=(4,), resume_from=where)
    np.testing.assert_array_equal(target[:], DATA + 1)


def test_a_folder_is_continued_as_it_was_planned(folder: Path) -> None:
    seen: list[bool] = []
    error = fail(folder, 3)
    values = get_runner("local").resume(
        error.tmp_folder, pre_cleanup=lambda where: seen.append((Path(where) / "plan.json").exists())
    )
    assert values == list(range(16))
    assert seen == [True]
    np.testing.assert_array_equal(opened(folder / "out.zarr")[:], DATA + 1)
    with pytest.raises(ConfigError, match=r"no plan|no unfinished run"):
        resume_run(str(error.tmp_folder))


def test_a_run_is_found_through_its_output_wherever_its_folder_lies(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(elsewhere))
    error = fail(folder, 3, in_place=True)
    assert Path(str(error.tmp_folder)).parent == elsewhere
    monkeypatch.delenv("BIOIMAGE_PY_RUN_ROOT")
    call(folder, in_place=True)
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 1)
    assert list(elsewhere.iterdir()) == [], "the user's folder stays, empty"


def test_a_configured_folder_holds_the_run(folder: Path) -> None:
    runner = get_runner("local", RunnerConfig(tmp_root=folder / "runs"))
    with pytest.raises(RunnerError) as error:
        runner.map(lambda item: 1 // (item - 3), 20)
    assert Path(str(error.value.tmp_folder)).parent == folder / "runs"


def test_the_failed_blocks_may_be_asked_for(folder: Path) -> None:
    """What scripts for other runners do."""
    error = fail(folder, 3, 10, in_place=True)
    assert f"resume={error.tmp_folder!r}" in error.remedy
    assert call(folder, in_place=True, block_ids=error.failed_block_ids[:1]) == [3]
    assert len(runs(folder)) == 1, "one is still to be done"
    assert call(folder, in_place=True, block_ids=error.failed_block_ids) == [3, 10]
    assert runs(folder) == []
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 1)
    assert sum(CALLS.values()) == 18


@pytest.mark.filterwarnings("ignore:.*share write units")
@pytest.mark.parametrize("ids", [[9, 6, 3], [12, 13], [1]])
@pytest.mark.parametrize("in_place", [False, True])
def test_some_blocks_of_shards_change_nothing_else(folder: Path, ids: list[int], in_place: bool) -> None:
    shape = {"shape": (64,), "chunks": (4,), "shards": (16,), "dtype": "i4", "overwrite": True}
    for name in ("in.zarr", "out.zarr"):
        zarr.create_array(folder / name, **shape)[:] = DATA
    assert call(folder, in_place=in_place, block_ids=ids) == ids
    expected = DATA.copy().reshape(16, 4)
    expected[ids] += 1
    np.testing.assert_array_equal(opened(folder / ("in.zarr" if in_place else "out.zarr"))[:], expected.reshape(-1))


def test_the_failed_blocks_of_shards_may_be_asked_for(folder: Path) -> None:
    """The others of their shards were done before, and stay as they are."""
    zarr.create_array(folder / "in.zarr", shape=(64,), chunks=(4,), shards=(16,), dtype="i4", overwrite=True)[:] = DATA
    error = fail(folder, 5, 6, 15, in_place=True)
    assert call(folder, in_place=True, block_ids=error.failed_block_ids) == [5, 6, 15]
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 1)


# --- ends that nobody saw ------------------------------------------------------------------------------------------


SCRIPT = """
    import os, signal, sys, time
    import numpy as np, zarr
    import bioimage_py as bp
    from bioimage_py.runner.lease import ownership
    if sys.argv[1] != "-":
        os.environ["AT"] = sys.argv[1]
        def die(self, *args):
            os.kill(os.getpid(), signal.SIGKILL)
        inner = getattr(ownership.OwnedRun, "finish")
        if sys.argv[1] == "complete":
            ownership.OwnedRun.finish = die
        else:
            from bioimage_py.runner.lease import roll_back
            roll_back.fault = lambda name: die(None) if name == "after-" + sys.argv[1] else None
    data = zarr.open_array("in.zarr", mode="r+")
    bp.operations.add(data, 1, data, block_shape=(4,), **eval(sys.argv[2]))
    print("done")
"""


def script(folder: Path, at: str, keywords: str = "{}") -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "script.py", at, keywords]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("at", ["complete", "stamps"])
def test_a_finished_call_in_place_whose_end_nobody_saw_is_a_conflict(folder: Path, at: str) -> None:
    assert script(folder, at).returncode == -9
    (state,) = runs(folder)
    assert state.state == "complete"
    run = script(folder, "-")
    assert "ResumeConflict" in run.stderr
    assert "it changes data in place and was complete, but nobody was told" in run.stderr
    where = folder / ".bioimage_py" / state.run
    assert f'resume={str(where)!r} returns its result; resume="never" does it a second time' in run.stderr
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 1)
    assert script(folder, "-", f'{{"resume": {str(where)!r}}}').stdout == "done\n"
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 1)
    assert script(folder, "-").stdout == "done\n"
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 2)


def test_a_finished_call_with_values_whose_end_nobody_saw_gives_them(folder: Path) -> None:
    def cleanup(where: str) -> None:
        raise KeyboardInterrupt

    runner = get_runner("local")
    source, target = opened(folder / "in.zarr"), opened(folder / "out.zarr")
    with pytest.raises(KeyboardInterrupt):
        runner.run(plus_one, [source], [target], block_shape=(4,), has_return_val=True, pre_cleanup=cleanup)
    values = runner.run(plus_one, [source], [target], block_shape=(4,), has_return_val=True)
    assert values == list(range(16))
    assert sum(CALLS.values()) == 16


def test_ctrl_c_leaves_a_run_that_goes_on(folder: Path) -> None:
    import threading

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        value = plus_one(block, inputs, outputs, mask)
        interrupted(block.id)
        return value

    with pytest.raises(KeyboardInterrupt):
        call(folder, function, in_place=True, execution=Execution(num_workers=1, progress=False))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bioimage_py")]
    assert call(folder, function, in_place=True, execution=Execution(num_workers=1, progress=False)) == list(range(16))
    np.testing.assert_array_equal(opened(folder / "in.zarr")[:], DATA + 1)


def test_a_living_run_of_this_process_is_not_taken_over(folder: Path) -> None:
    def nested(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        with pytest.raises(RunningError, match=rf"process {os.getpid()} on .* is writing the same region"):
            call(folder)
        return plus_one(block, inputs, outputs, mask)

    assert call(folder, nested) == list(range(16))
