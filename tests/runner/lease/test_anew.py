"""``resume="never"`` begins on the data as they were before the run that it forgets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ConfigError, ResumeConflict, RunnerError, StorageError
from bioimage_py.io import create_array
from bioimage_py.run_folder import RunState
from bioimage_py.runner import map_blocks
from bioimage_py.runner.control.cancel import forget_run
from bioimage_py.runner.control.inspect import status_of
from bioimage_py.runner.execute import resume_run
from bioimage_py.runner.lease import ownership
from bioimage_py.runner.lease.ownership import runs_in

from ...helpers import plus_one

DATA = np.arange(64, dtype=np.int32)
HOW = {"num_workers": 2, "progress": False, "retries": 0}


def zarr_v2(path: Path) -> Any:
    return zarr.create_array(path, shape=(64,), chunks=(4,), dtype="i4", zarr_format=2, overwrite=True)


def zarr_v3(path: Path) -> Any:
    return zarr.create_array(path, shape=(64,), chunks=(4,), dtype="i4", overwrite=True)


def sharded(path: Path) -> Any:
    return zarr.create_array(path, shape=(64,), chunks=(4,), shards=(8,), dtype="i4", overwrite=True)


def n5(path: Path) -> Any:
    pytest.importorskip("z5py", reason="n5 arrays are made by z5py: pip install 'bioimage-blocks[io]'")
    return create_array(path.with_suffix(".n5"), "deep/key", shape=(64,), dtype="i4", chunks=(4,))


KINDS = [zarr_v2, zarr_v3, sharded, n5]


class Fails:
    """Adds one, but for some blocks."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id in self.bad:
            raise ValueError(f"block {block.id}")
        plus_one(block, inputs, outputs, mask)


def add_in_place(array: Any, function: Any = plus_one, **changes: Any) -> None:
    map_blocks(function, [array], [array], block_shape=4, name="add", **{**HOW, **changes})


def interrupted(array: Any, *bad: int) -> str:
    """The folder of a run that has changed a part of an array."""
    with pytest.raises(RunnerError) as error:
        add_in_place(array, Fails(*bad))
    assert error.value.tmp_folder is not None
    return error.value.tmp_folder


def content(array: Any) -> Any:
    return np.asarray(bp.as_source(array)[...])


def units(folder: Path) -> set[str]:
    """Names of all files of an array besides its metadata."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if "json" not in name and ".z" not in name}


# --- what is put back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_data_changed_in_place_are_put_back_first(make: Any, tmp_path: Path) -> None:
    array = make(tmp_path / "a.zarr")
    array[...] = DATA
    interrupted(array, 7)
    assert not np.array_equal(content(array), DATA)
    add_in_place(array, resume="never")
    np.testing.assert_array_equal(content(array), DATA + 1)
    assert not (tmp_path / ".bioimage_py").exists()


def test_another_call_begins_on_the_first_data_too(tmp_path: Path) -> None:
    """It covers another part; what the forgotten run had changed outside of it is put back as well."""
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    interrupted(array, 0)
    bp.operations.multiply(array, 3, array, block_shape=8, roi=(slice(0, 32),), resume="never", **HOW)
    expected = DATA.copy()
    expected[:32] *= 3
    np.testing.assert_array_equal(content(array), expected)


def test_units_that_were_not_there_go_again(tmp_path: Path) -> None:
    source, target = zarr_v3(tmp_path / "in.zarr"), zarr_v3(tmp_path / "out.zarr")
    source[...] = DATA
    with pytest.raises(RunnerError):
        map_blocks(Fails(3), [source], [target], block_shape=4, **HOW)
    assert units(tmp_path / "out.zarr")
    map_blocks(lambda *_: None, [source], [target], block_shape=4, resume="never", **HOW)
    assert units(tmp_path / "out.zarr") == set(), "as if the first call had never been made"


def test_where_no_link_is_possible_the_unit_is_copied_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    interrupted(array, 7)
    link = os.link

    def far(source: Any, target: Any) -> None:
        if Path(target).name.endswith(".before") and Path(source).parent.name == "kept":
            raise OSError(18, "another file system")
        link(source, target)

    monkeypatch.setattr(os, "link", far)
    add_in_place(array, resume="never")
    np.testing.assert_array_equal(content(array), DATA + 1)
    assert not [name for name in units(tmp_path / "a.zarr") if "before" in name]


# --- what is not ---------------------------------------------------------------------------------------------------


def test_a_complete_call_is_done_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    with monkeypatch.context() as patch:
        patch.setattr(ownership.OwnedRun, "finish", _die)
        with pytest.raises(KeyboardInterrupt):
            add_in_place(array)
    ((_, state),) = runs_in(tmp_path / ".bioimage_py")
    state.driver["pid"] = 2**22 + 1  # nobody
    state.write(tmp_path / ".bioimage_py" / state.run)
    with pytest.raises(ResumeConflict, match="it changes data in place and was complete"):
        add_in_place(array)
    add_in_place(array, resume="never")
    np.testing.assert_array_equal(content(array), DATA + 2)


def _die(run: Any) -> None:
    run.heartbeat.close()
    raise KeyboardInterrupt


def test_an_output_that_was_made_anew_is_left_alone(tmp_path: Path) -> None:
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    interrupted(array, 7)
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = 100 * DATA
    add_in_place(array, resume="never")
    np.testing.assert_array_equal(content(array), 100 * DATA + 1)


def test_what_others_wrote_since_is_not_overwritten(tmp_path: Path) -> None:
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    folder = interrupted(array, 7)
    array[...] = 100 * DATA
    later = time.time() + 3600
    for unit in units(tmp_path / "a.zarr"):
        os.utime(tmp_path / "a.zarr" / unit, (later, later))
    text = r"a\.zarr/c/\d+ was written after the run 'add-\w+' in .* had ended"
    with pytest.raises(ResumeConflict, match=text) as error:
        add_in_place(array, resume="never")
    assert error.value.remedy == (
        f"to go on with the data as they are now: bioimage-py runs clean {folder} --yes, then call again"
    )
    np.testing.assert_array_equal(content(array), 100 * DATA)
    forget_run(folder)
    add_in_place(array)
    np.testing.assert_array_equal(content(array), 100 * DATA + 1)


def test_a_damaged_note_of_where_units_belong_is_named(tmp_path: Path) -> None:
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    where = Path(interrupted(array, 7), "undo", "0", "0", "where")
    where.write_bytes(where.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"undo/0/0/where is damaged, so what the run has changed"):
        add_in_place(array, resume="never")


# --- kills ---------------------------------------------------------------------------------------------------------

SCRIPT = """
    import sys, time
    import zarr
    import bioimage_py as bp

    def plus_one(block, inputs, outputs, mask):
        time.sleep(0.01)
        roi = bp.to_roi(block)
        outputs[0][roi] = inputs[0][roi] + 1

    if __name__ == "__main__":
        array = zarr.open_array("a.zarr", mode="r+")
        print("begin", flush=True)
        bp.map_blocks(plus_one, [array], [array], block_shape=4, num_workers=2, progress=False, name="add",
                      job_type=sys.argv[1], resume=sys.argv[2])
        print("done", flush=True)
"""


def started(folder: Path, job_type: str, resume: str, fault: str = "") -> subprocess.Popen[str]:
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "script.py", job_type, resume]
    environment = {**os.environ, "BIOIMAGE_PY_FAULT": fault}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.some(3)
@pytest.mark.parametrize("at", ["before-rollback:1", "after-rollback:1", "before-rollback:3", "after-rollback:3"])
@pytest.mark.parametrize("then", ["auto", "never"])
def test_a_kill_while_data_are_put_back_is_made_good_by_the_next_call(at: str, then: str, tmp_path: Path) -> None:
    """Even by one that would continue: what the forgotten run had done does not count any more."""
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    folder = Path(interrupted(array, 7))
    token = tmp_path / "token"
    token.touch()
    killed = started(tmp_path, "local", "never", f"{at}:{token}")
    assert killed.wait(60) == -signal.SIGKILL
    assert status_of(folder).state == "forgotten"
    with pytest.raises(ConfigError, match="no unfinished run"):
        resume_run(folder)
    run = started(tmp_path, "local", then)
    assert run.communicate(timeout=60) == ("begin\ndone\n", "")
    np.testing.assert_array_equal(content(array), DATA + 1)
    assert not folder.exists()
    assert not units(tmp_path / "a.zarr") - {f"c/{i}" for i in range(16)}, "nothing is left of the units' copies"


def test_a_run_that_is_half_put_back_is_put_back_before_it_is_cleaned(tmp_path: Path) -> None:
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    folder = Path(interrupted(array, 7))
    (tmp_path / "token").touch()
    assert started(tmp_path, "local", "never", f"after-rollback:2:{tmp_path / 'token'}").wait(60) == -signal.SIGKILL
    for path, state in runs_in(tmp_path / ".bioimage_py"):
        if path != folder:  # the call that was to begin anew
            forget_run(path)
            assert state.state == "starting"
    shown = CliRunner().invoke(main, ["runs", "show", str(folder)]).output
    assert f"{folder.name}: forgotten: what it has changed is being put back" in shown
    assert f"Remove it: bioimage-py runs clean {folder}" in shown
    forget_run(folder)
    np.testing.assert_array_equal(content(array), DATA)


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_killed_at_any_time_and_begun_anew_it_is_done_once(job_type: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for _ in range(4):
        array = zarr_v3(tmp_path / "a.zarr")
        array[...] = DATA
        run = started(tmp_path, job_type, "auto")
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(rng.uniform(0.05, 0.4 if job_type == "local" else 1.2))
        run.kill()
        run.wait()
        left = list(runs_in(tmp_path / ".bioimage_py"))
        if not left or left[0][1].state == "complete":
            continue  # it was through
        # at once: workers of the killed one may live, and are ended first
        again = started(tmp_path, job_type, "never")
        assert again.communicate(timeout=60) == ("begin\ndone\n", "")
        np.testing.assert_array_equal(content(array), DATA + 1)


def test_a_worker_that_begins_just_before_its_end_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that had done nothing when it was looked at, and then had changed a unit."""
    array = zarr_v3(tmp_path / "a.zarr")
    array[...] = DATA
    folder = Path(interrupted(array, *range(16)))
    assert ownership.nothing_done(folder, RunState.read(folder))  # type: ignore[arg-type]
    end_workers = ownership.end_workers

    def late(where: Path, *more: Any) -> None:
        if where == folder:
            first = 4 * min(int(path.name.rpartition("F")[2]) for path in folder.glob("undo/0/0/kept/c*"))
            array[first : first + 4] = DATA[first : first + 4] + 1
        end_workers(where, *more)

    monkeypatch.setattr(ownership, "end_workers", late)
    with pytest.raises(ResumeConflict, match=r"definition of add\.function"):
        add_in_place(array)
    add_in_place(array, resume="never")
    np.testing.assert_array_equal(content(array), DATA + 1)
