"""The command `bioimage-py runs`, and what it reads and does: `runner.inspect` and `runner.control`."""

from __future__ import annotations

import json
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
from click.testing import CliRunner, Result

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ConfigError, RunnerError, RunningError
from bioimage_py.io import create_array
from bioimage_py.run_folder import RunState
from bioimage_py.runner import RunnerConfig, map_blocks
from bioimage_py.runner.control.cancel import cancel_run, forget_run
from bioimage_py.runner.control.inspect import errors_of, events_of, find_runs, status_of
from bioimage_py.runner.planning.plan_file import kept_plan

SHAPE = (24, 24)


class Increment:
    """Adds one; block 5 raises while a file is there."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        if block.id == 5 and self.mark.exists():
            raise ValueError("block 5 has a hole")
        roi = bp.to_roi(block)
        outputs[0][roi] = inputs[0][roi] + 1
        return int(block.id)


class Place:
    """A folder with two arrays, and a run on them that fails as long as a file is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw, self.out = (
            create_array(folder / "v.zarr", name, shape=SHAPE, chunks=(8, 8), dtype="u2") for name in ("raw", "out")
        )
        self.mark = folder / "mark"
        self.mark.touch()

    def call(self, **how: Any) -> Any:
        settings = {"block_shape": 8, "name": "job", "retries": 0, "progress": False, **how}
        return map_blocks(Increment(self.mark), [self.raw], [self.out], **settings)

    def fail(self, **how: Any) -> Path:
        with pytest.raises(RunnerError) as error:
            self.call(**how)
        assert error.value.tmp_folder is not None
        return Path(error.value.tmp_folder)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BIOIMAGE_PY_RUN_ROOT", raising=False)
    return Place(tmp_path / "work")


def runs(*arguments: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["runs", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in sorted(folder.rglob("*"))}


# --- list ----------------------------------------------------------------------------------------------------------


def test_no_runs(place: Place) -> None:
    assert runs("list").output == "No runs.\n"
    assert json.loads(runs("list", "--json").output) == []
    assert "does not exist" in runs("list", "nowhere", code=2).output


def test_a_failed_run_is_listed(place: Place) -> None:
    folder = place.fail()
    before = contents(place.folder)
    head, line = runs("list").output.splitlines()
    assert head.split() == ["RUN", "STATE", "BLOCKS", "LAST", "SIGN", "HOST", "FOLDER"]
    assert line.startswith(f"{folder.name}  failed  job 8/9 (1 failed)")
    assert line.endswith(str(folder))
    (status,) = json.loads(runs("list", "--json").output)
    assert status["run"] == folder.name
    assert status["state"] == "failed"
    assert status["pid"] == os.getpid()
    assert status["stages"] == [{"name": "job", "kind": "blocks", "blocks": 9, "done": 8, "failed": 1}]
    assert time.time() - 60 < status["created"] <= status["active"] <= time.time() + 1
    assert contents(place.folder) == before, "looking changes nothing"


def test_runs_are_found_from_everywhere(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = place.fail(job_config=RunnerConfig(tmp_root=elsewhere))
    assert folder.parent == elsewhere
    assert [run.folder for run in find_runs()] == [str(folder)], "the output below names it"
    for where in (folder, elsewhere, place.folder / "v.zarr", place.folder / "v.zarr/out", tmp_path):
        assert [run.folder for run in find_runs([where])] == [str(folder)]
    assert find_runs([place.folder / "v.zarr/raw"]) == []
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("BIOIMAGE_PY_RUN_ROOT", str(tmp_path / "root"))
    other = Place(tmp_path / "other").fail()
    assert other.parent == tmp_path / "root"
    assert [run.folder for run in find_runs()] == [str(folder), str(other)]


def test_runs_of_others_that_may_not_be_looked_at_are_passed_over(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place.fail()
    (tmp_path / "closed" / ".bioimage_py").mkdir(parents=True)
    look = os.listdir

    def refuse(path: Any = ".") -> list[str]:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert [run.folder for run in find_runs([tmp_path])] == [str(folder)]


def test_runs_beside_an_output_are_found(place: Place) -> None:
    folder = place.fail()
    assert folder.parent == place.folder / ".bioimage_py"
    for where in (place.folder / "v.zarr", place.folder / ".bioimage_py", place.folder):
        assert [run.folder for run in find_runs([where])] == [str(folder)]


def test_damaged_and_young_run_folders_are_no_trouble(place: Place) -> None:
    folder = place.fail()
    damaged = folder.with_name("damaged")
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    young = folder.with_name("young")
    young.mkdir()
    state = RunState.read(folder)
    assert state is not None
    state.run, state.state = "young", "running"
    state.write(young, new=True)
    found = {run.run: run for run in find_runs()}
    assert set(found) == {folder.name, "young"}
    assert found["young"].state == "interrupted"
    assert found["young"].stages == ()
    assert "nothing planned" in runs("list").output
    assert "interrupted" in runs("show", young).output


# --- show ----------------------------------------------------------------------------------------------------------


def test_show_tells_what_happened_and_how_to_go_on(place: Place) -> None:
    folder = place.fail(num_workers=2)
    text = runs("show", folder.name[:6]).output
    assert f"{folder.name}: failed or was ended; not finished" in text
    assert "stage     job: 8 of 9 blocks done, 1 failed" in text
    assert f"process {os.getpid()} on " in text
    assert "num_workers=2, retries=0, progress=False" in text
    assert f"'{place.folder}/v.zarr/out'" in text
    assert "[0:24, 0:24]" in text
    assert "block 5 [8:16, 16:24]" in text
    assert "ValueError: block 5 has a hole" in text
    assert "GroupFailed" in text
    assert "Stop reason blocks failed" in text
    assert f"bioimage-py runs resume {folder}" in text
    assert f"bioimage-py runs replay {folder} BLOCK" in text
    told = json.loads(runs("show", folder, "--json").output)
    assert told["stages"][0]["done"] == 8
    assert "block 5 has a hole" in told["first_error"]
    assert told["writes"] == [{"storage": told["writes"][0]["storage"], "box": [[0, 24], [0, 24]]}]
    assert [event["event"] for event in told["events"]][-1] == "Stop"
    assert [path.name for path in errors_of(folder)] == ["0-5-0.txt"]
    assert events_of(folder)[0]["event"] in ("Open", "Start")


def test_names_that_mean_nothing_or_two_runs(place: Place, tmp_path: Path) -> None:
    text = runs("show", "job", code=1).output
    assert "'job' is neither a run folder nor the name of one run (no such run)" in text
    assert "Remedy: bioimage-py runs list" in text
    one = place.fail()
    other = Place(place.folder / "deep").fail()
    text = runs("show", "job", code=1).output
    assert one.name in text
    assert other.name in text
    with pytest.raises(ConfigError, match="there is no run in"):
        status_of(tmp_path)


# --- resume --------------------------------------------------------------------------------------------------------


def test_resume_does_what_is_left(place: Place) -> None:
    folder = place.fail()
    text = runs("resume", folder, code=1).output
    assert "block 5 has a hole" in text
    place.mark.unlink()
    text = runs("resume", folder, "--workers", 2, "--quiet").output
    assert "job: " in text
    assert "2 workers" in text
    assert "job: 9 of 9 blocks" in text
    assert (np.array(place.out) == 1).all()
    assert not folder.exists()
    assert [path.name for path in (place.folder / "v.zarr/out").iterdir() if path.name.startswith(".")] == []
    assert "neither a run folder" in runs("resume", folder, code=1).output


def test_values_wait_for_the_call_that_began_the_run(place: Place) -> None:
    folder = place.fail(has_return_val=True)
    place.mark.unlink()
    text = runs("resume", folder.name).output
    assert f"The values are in {folder}" in text
    assert [run.state for run in find_runs()] == ["complete"]
    place.mark.touch()  # no block is run any more
    assert place.call(has_return_val=True).results == list(range(9))
    assert not folder.exists()


def test_a_plan_that_was_not_kept_cannot_be_resumed(place: Place) -> None:
    class Locked:
        def __init__(self, mark: Path) -> None:
            self.inner = Increment(mark)

        def __call__(self, *arguments: Any) -> int:
            return self.inner(*arguments)

        def __reduce__(self) -> Any:
            raise TypeError("a lock cannot be pickled")

    how: dict[str, Any] = {"block_shape": 8, "name": "job", "retries": 0, "progress": False}
    with pytest.raises(RunnerError) as error:
        map_blocks(Locked(place.mark), [place.raw], [place.out], **how)
    folder = error.value.tmp_folder
    for command in ("resume", "replay"):
        text = runs(command, folder, *([5] if command == "replay" else []), code=1).output
        assert "keeps no plan that another process can open" in text
        assert "repeat the call" in text
    assert "8 of 9 blocks done" in runs("show", folder).output
    assert runs("report", folder, place.folder / "r.json").output == f"{place.folder / 'r.json'}\n"


def test_a_run_can_be_looked_at_when_its_output_is_gone(place: Place) -> None:
    folder = place.fail()
    (place.folder / "v.zarr").rename(place.folder / "away.zarr")
    assert "8 of 9 blocks done" in runs("show", folder).output
    with pytest.raises(ConfigError, match=r"plan\.pkl cannot be opened here: SourceNotFoundError"):
        kept_plan(folder)
    assert runs("clean", folder, "--yes").output == f"removed {folder.name}\n"
    assert not folder.exists()


# --- clean ---------------------------------------------------------------------------------------------------------


def test_clean_asks_for_yes_before_it_forgets_unfinished_runs(place: Place) -> None:
    folder = place.fail()
    assert "name a RUN, or give --finished or --older DAYS" in runs("clean", code=2).output
    text = runs("clean", folder, code=1).output
    assert "not finished" in text
    assert "job 8/9 (1 failed)" in text
    assert "--yes" in text
    assert runs("clean", "--finished").output == "Nothing to remove.\n"
    assert runs("clean", "--older", 1, "--yes").output == "Nothing to remove.\n"
    assert folder.exists()
    assert json.loads(runs("clean", "--older", 0, "--yes", "--json").output) == [folder.name]
    assert not folder.parent.exists()
    assert [path.name for path in (place.folder / "v.zarr/out").iterdir() if path.name.startswith(".")] == []
    place.mark.unlink()
    place.call()
    assert (np.array(place.out) == 1).all(), "a forgotten run is in nobody's way"


def test_clean_removes_what_is_left_of_finished_runs(place: Place) -> None:
    folder = place.fail()
    state = RunState.read(folder)
    assert state is not None
    state.state = "finished"
    state.write(folder)
    assert runs("clean", "--finished").output == f"removed {folder.name}\n"
    assert not folder.exists()


# --- replay and report ---------------------------------------------------------------------------------------------


def test_replay_shows_a_block(place: Place) -> None:
    folder = place.fail()
    text = runs("replay", folder, 5, code=1).output
    assert "job 5 [8:16, 16:24]" in text
    assert "Traceback" in text
    assert "in __call__" in text
    assert "ValueError: block 5 has a hole" in text
    place.mark.unlink()
    text = runs("replay", folder, 5).output
    assert "and returned 5" in text
    assert "wrote output 0 [8:16, 16:24]: 8x8 uint16, 1 to 1" in text
    assert not np.array(place.out)[8:16, 16:24].any()
    assert "'job' has no block 9, only 0..8" in runs("replay", folder, 9, code=1).output
    assert (
        "there is no stage 'merge'; there are ['job']" in runs("replay", folder, 5, "--stage", "merge", code=1).output
    )


@pytest.mark.slow
def test_report_writes_a_page(place: Place) -> None:
    folder = place.fail()
    assert runs("report", folder, "run.html").output == f"{place.folder / 'run.html'}\n"
    text = (place.folder / "run.html").read_text()
    assert "job: 8 of 9 blocks" in text
    assert "block 5 has a hole" in text
    assert "its suffix is none of" in runs("report", folder, "run.txt", code=1).output


# --- living runs ---------------------------------------------------------------------------------------------------

DRIVER = """
    import sys, time
    import bioimage_py as bp
    from bioimage_py.runner import map_blocks

    def slow(block, inputs, outputs, mask):
        roi = bp.to_roi(block)
        outputs[0][roi] = inputs[0][roi] + 1
        time.sleep(0.05)

    if __name__ == "__main__":
        raw, out = (bp.open_source("v.zarr", name, mode="r+") for name in ("raw", "out"))
        how = dict(job_type=sys.argv[1], num_workers=2, progress=False)
        map_blocks(slow, [raw], [out], block_shape=2, name="slow", **how)
"""


class Driving:
    """A process that runs 144 slow blocks."""

    def __init__(self, place: Place, job_type: str, **how: Any) -> None:
        script = place.folder / "script.py"
        script.write_text(textwrap.dedent(DRIVER))
        command = [sys.executable, str(script), job_type]
        self.process = subprocess.Popen(command, cwd=place.folder, stderr=subprocess.PIPE, **how)
        deadline = time.monotonic() + 30
        while not any(stage.done for run in find_runs([place.folder]) for stage in run.stages):
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            time.sleep(0.02)
        (self.status,) = find_runs([place.folder])

    def end(self) -> str:
        try:
            return self.process.communicate(timeout=20)[1].decode()
        finally:
            self.process.kill()


@pytest.fixture
def tiny(place: Place) -> Place:
    for name in ("raw", "out"):
        (place.folder / "v.zarr" / name).rename(place.folder / f"old {name}")
        create_array(place.folder / "v.zarr", name, shape=SHAPE, chunks=(2, 2), dtype="u2")
    return place


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_cancel_ends_a_run_that_goes_on_later(job_type: str, tiny: Place) -> None:
    driving = Driving(tiny, job_type)
    folder = driving.status.folder
    assert driving.status.state == "running"
    assert f"bioimage-py runs cancel {folder}" in runs("show", folder).output
    for command in (("clean", folder, "--yes"), ("resume", folder)):
        text = runs(*command, code=1).output
        assert f"process {driving.process.pid} on " in text
    with pytest.raises(RunningError):
        forget_run(folder)
    text = runs("cancel", folder).output
    assert "was ended: slow " in text
    assert f"bioimage-py runs resume {folder}" in text
    assert "KeyboardInterrupt" in driving.end()
    done = status_of(folder).stages[0].done
    assert 0 < done < 144
    assert status_of(folder).state == "failed"
    assert "is not running: it is failed" in runs("cancel", folder, code=1).output
    runs("resume", folder, "--quiet")
    assert (bp.open_source(tiny.folder / "v.zarr", "out")[...] == 1).all()


def test_cancel_reaches_processes_that_ignore_ctrl_c_and_force_kills(tiny: Place) -> None:
    for force in (False, True):
        deaf = Driving(tiny, "subprocess", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        left = cancel_run(deaf.status.folder, force=force, timeout=10)
        assert left is not None
        assert left.state == "interrupted"
        assert left.stages[0].done < 144
        deaf.end()
        assert deaf.process.returncode == -(signal.SIGKILL if force else signal.SIGTERM)
        assert runs("clean", left.folder, "--yes").output == f"removed {left.run}\n"


def test_cancel_says_when_a_run_does_not_end_or_is_elsewhere(tiny: Place) -> None:
    driving = Driving(tiny, "local")
    try:
        os.kill(driving.process.pid, signal.SIGSTOP)
        text = runs("cancel", driving.status.folder, "--timeout", 0.2, code=1).output
        assert "was told to end 0.2 s ago" in text
        assert "--force" in text
    finally:
        os.kill(driving.process.pid, signal.SIGCONT)
        driving.end()
    folder = Path(driving.status.folder)
    state = RunState.read(folder)
    assert state is not None
    state.driver["host"], state.state = "far-away", "running"
    state.write(folder)
    (folder / "driver.alive").touch()
    text = runs("cancel", folder, code=1).output
    assert "on far-away, which cannot be reached" in text
    assert f"on far-away: bioimage-py runs cancel {folder}" in text
