"""Who may write where at a time: overlapping runs are refused by name, disjoint ones go on side by side."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import ConfigError, ResumeConflict, RunningError, StorageError
from bioimage_py.run_folder import STAMPS, RunState, WrittenRegion
from bioimage_py.runner.control.cancel import cancel_run, forget_run
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.lease import ownership
from bioimage_py.runner.lease.ownership import OwnedRun, own_run
from bioimage_py.runner.lease.regions import written_regions
from bioimage_py.runner.planning.build import Where, blocks_stage
from bioimage_py.runner.planning.stage import Plan
from bioimage_py.system import processes
from bioimage_py.system.files import listed, made_among_others
from bioimage_py.wrapper import RoiSource

from ...helpers import until

VERSIONS = {"python": "3"}
SLOW = """
    import os, sys, time
    import numpy as np, zarr
    import bioimage_py as bp
    from bioimage_py.errors import BioimageError

    def function(block, inputs, outputs, mask):
        while os.path.exists("wait"):
            time.sleep(0.01)
        if os.path.exists(f"die{block.id}"):
            os.kill(os.getpid(), 9)
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1
        print("block", block.id, flush=True)

    if __name__ == "__main__":
        source, target = (zarr.open_array(name, mode="r+") for name in sys.argv[1:3])
        options = eval(sys.argv[3])
        print("start", flush=True)
        try:
            bp.map_blocks(function, [source], [target], name="slow", **{"block_shape": 8, "progress": False, **options})
        except BioimageError as error:
            sys.exit(f"{type(error).__name__}: {error}")
        print("done", flush=True)
"""


def stages(output: Any, **options: Any) -> tuple[Any, ...]:
    return (blocks_stage(lambda b, i, o, m: None, [], [output], Where(**options), reads_outputs=False),)


def own(output: Any, root: Path, resume: str = "auto", **options: Any) -> OwnedRun:
    plan = Plan("job", stages(output, **options), Execution(resume=resume, version="1"))
    return own_run(plan, VERSIONS, root)


@pytest.fixture
def output(tmp_path: Path) -> Any:
    return zarr.create_array(tmp_path / "out.zarr", shape=(64, 64), chunks=(8, 8), dtype="i4")


@pytest.fixture
def owned() -> Iterator[list[OwnedRun]]:
    runs: list[OwnedRun] = []
    yield runs
    for run in runs:
        run.finish()


class Started:
    """A script of the user in a process of its own, killed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before: tuple[str, ...] = ()
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "slow.py").write_text(textwrap.dedent(SLOW))

    def __call__(self, source: str = "in.zarr", target: str = "out.zarr", **options: Any) -> subprocess.Popen[str]:
        command = [*self.before, sys.executable, "slow.py", source, target, repr(options)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=self.folder, text=True, **pipes)  # type: ignore[call-overload]
        self.processes.append(process)
        return process  # type: ignore[no-any-return]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    for process in started.processes:
        process.kill()
        process.communicate()


def living(root: Path) -> list[tuple[Path, RunState]]:
    return [(path, state) for path, state in ownership.runs_in(root) if state.alive(path) and state.state == "running"]


# --- claims --------------------------------------------------------------------------------------------------------


def test_a_claim_is_a_box_of_whole_units_of_the_storage(output: Any) -> None:
    def box(source: Any, **options: Any) -> Any:
        (claim,) = written_regions(stages(source, **options))
        return claim.box

    assert box(output) == ((0, 64), (0, 64))
    assert box(output, roi=(slice(3, 20), slice(8, 9))) == ((0, 24), (8, 16))
    view = RoiSource(output, (slice(10, 40), slice(5, 64)))
    assert box(view) == ((8, 40), (0, 64))
    assert box(view, roi=(slice(0, 6), slice(3, 4))) == ((8, 16), (8, 16))
    assert box(RoiSource(view, (slice(7, 8), slice(0, 1)))) == ((16, 24), (0, 8))
    assert box(RoiSource(output, (5,), squeeze=True), roi=(slice(0, 1),)) == ((0, 64), (0, 64)), "to be safe"


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (((0, 8),), ((8, 16),), False),
        (((0, 9),), ((8, 16),), True),
        (((0, 8), (0, 8)), ((0, 8), (8, 9)), False),
        (((0, 8), (0, 8)), ((0, 8),), True),
    ],
)
def test_claims_overlap_where_they_share_a_voxel(one: Any, other: Any, overlap: bool) -> None:
    assert WrittenRegion("a", one).overlaps(WrittenRegion("a", other)) == overlap
    assert not WrittenRegion("a", one).overlaps(WrittenRegion("b", one))


# --- living runs ---------------------------------------------------------------------------------------------------


def test_the_second_run_on_a_region_is_refused_by_the_name_of_the_first(
    output: Any, tmp_path: Path, owned: list[OwnedRun]
) -> None:
    owned.append(own(output, tmp_path / "runs"))
    for options in ({}, {"roi": (slice(60, 64), slice(0, 1))}, {"resume": "never"}):
        with pytest.raises(RunningError) as error:
            own(output, tmp_path / "runs", **options)  # type: ignore[arg-type]
        text = str(error.value)
        assert f"the run {owned[0].state.run!r} (process {os.getpid()} on " in text
        assert str(owned[0].folder) in text
    assert len(list((tmp_path / "runs").iterdir())) == 1, "the refused leave nothing"
    assert len(list((tmp_path / "out.zarr" / ".bioimage_py.runs").iterdir())) == 1


def test_runs_see_each_other_from_different_roots(output: Any, tmp_path: Path, owned: list[OwnedRun]) -> None:
    owned.append(own(output, tmp_path / "mine"))
    with pytest.raises(RunningError, match=owned[0].state.run):
        own(output, tmp_path / "yours")


def test_disjoint_regions_and_other_arrays_are_free(output: Any, tmp_path: Path, owned: list[OwnedRun]) -> None:
    for begin in range(0, 64, 16):
        owned.append(own(output, tmp_path / "runs", roi=(slice(begin, begin + 16), slice(0, 64))))
    other = zarr.create_array(tmp_path / "other.zarr", shape=(64, 64), chunks=(8, 8), dtype="i4")
    owned.append(own(other, tmp_path / "runs"))
    with pytest.raises(RunningError, match=owned[1].state.run):
        own(output, tmp_path / "runs", roi=(slice(30, 31), slice(0, 1)))


def test_a_region_is_free_again_when_its_run_has_ended(output: Any, tmp_path: Path) -> None:
    for _ in range(3):
        own(output, tmp_path / "runs").finish()
    assert list((tmp_path / "runs").iterdir()) == []


def test_runs_that_come_and_go_beside_one_another_do_not_trip_over_shared_folders(output: Any, tmp_path: Path) -> None:
    """Whoever leaves the folder of runs, or that of stamps, empty removes it while others put theirs there."""
    code = f"""
        import sys
        import zarr
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from tests.runner.lease import test_lease as t
        begin = int(sys.argv[1])
        output = zarr.open_array("out.zarr", mode="r+")
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(60):
            t.own(output, t.Path(".bioimage_py"), roi=(slice(begin, begin + 8), slice(0, 64))).finish()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([*command, str(8 * n)], cwd=tmp_path, text=True, **pipes) for n in range(4)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert not (tmp_path / ".bioimage_py").exists()
    assert not (tmp_path / "out.zarr" / STAMPS).exists()


@pytest.mark.parametrize("gone", [1, 3])
def test_a_folder_that_goes_between_being_made_and_used_is_made_again(tmp_path: Path, gone: int) -> None:
    times = iter(range(gone))

    def make() -> None:
        (tmp_path / "shared").mkdir(exist_ok=True)
        if next(times, None) is not None:
            (tmp_path / "shared").rmdir()
        (tmp_path / "shared" / "file").touch()

    made_among_others(make)
    assert listed(tmp_path / "shared") == [tmp_path / "shared" / "file"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made_among_others((tmp_path / "none" / "file").touch)
    assert listed(tmp_path / "none") == []


def test_of_many_that_start_at_once_one_runs(output: Any, tmp_path: Path) -> None:
    """Each publishes, then looks: at no time do two think that the region is theirs."""
    code = f"""
        import os, sys, time
        import zarr
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from tests.runner.lease import test_lease as t
        output = zarr.open_array("out.zarr", mode="r+")
        root = t.Path("runs")
        t.own(zarr.create_array(f"warm{{os.getpid()}}.zarr", shape=(4,), chunks=(4,), dtype="u1"), root).finish()
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(20):
            try:
                run = t.own(output, root)
            except t.RunningError:
                print("refused")
                continue
            mine = os.open("held", os.O_CREAT | os.O_EXCL)
            time.sleep(0.002)
            os.unlink("held")
            run.finish()
            print("owned")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    words: list[str] = []
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
        words += out.split()
    assert len(words) == 80
    assert words.count("owned") >= 1


def test_a_younger_run_that_is_starting_is_waited_for(output: Any, tmp_path: Path, owned: list[OwnedRun]) -> None:
    """It may have looked before the older one was published, and then runs."""
    younger = own(output, tmp_path / "runs")
    younger.state.state, younger.state.created = "starting", 2**62
    younger.state.write(younger.folder)
    import threading

    outcome: list[Any] = []

    def older() -> None:
        try:
            outcome.append(own(output, tmp_path / "runs"))
        except RunningError as error:
            outcome.append(error)

    for goes_on in (True, False):
        thread = threading.Thread(target=older)
        thread.start()
        time.sleep(0.1)
        assert not outcome
        if goes_on:
            younger.state.state = "running"
            younger.state.write(younger.folder)
        else:
            younger.finish()
        thread.join()
        result = outcome.pop()
        assert isinstance(result, RunningError if goes_on else OwnedRun)
        younger.state.state = "starting"
        younger.state.write(younger.folder) if goes_on else owned.append(result)


# --- dead runs -----------------------------------------------------------------------------------------------------


def dead(run: OwnedRun) -> None:
    """Make a run look like that of a process that was killed."""
    run.heartbeat.close()
    run.state.driver = {**run.state.driver, "start": "1"}
    run.state.write(run.folder)
    (run.folder / "progress").mkdir(exist_ok=True)
    from bioimage_py.runner.ledger.progress import ProgressFile

    progress = ProgressFile(run.folder / "progress" / "s1w0")
    progress.batches = 1
    progress.put(1, 0, 0)
    progress.close()


MINE = {"host": "a", "boot": "b", "space": "7"}
"""This machine, as the following tests have it; it has been up for 40 s."""


@pytest.mark.parametrize(
    ("differs", "age", "lives"),
    [
        ({"start": "1"}, 0.0, False),
        ({}, 1000.0, True),  # stopped for long, but there
        # another container of this machine, with its name
        ({"space": "8"}, 1.0, True),
        ({"space": "8"}, 50.0, True),
        ({"space": "8"}, 70.0, False),
        # another machine that has this one's name, or this one before it was started again
        ({"boot": "c"}, 1.0, True),
        ({"boot": "c"}, 50.0, False),
        ({"boot": "c", "space": "8"}, 1.0, True),
        ({"host": "c"}, 50.0, True),
        ({"host": "c", "boot": "c"}, 50.0, True),
        ({"host": "c", "boot": "c"}, 70.0, False),
    ],
)
def test_who_cannot_be_seen_lives_as_long_as_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, differs: dict[str, str], age: float, lives: bool
) -> None:
    monkeypatch.setattr(processes.socket, "gethostname", lambda: MINE["host"])
    monkeypatch.setattr(processes, "_boot_id", lambda: MINE["boot"])
    monkeypatch.setattr(processes, "_space", lambda: MINE["space"])
    monkeypatch.setattr(processes, "_up_seconds", lambda: 40.0)
    process = {**processes.identify(), **differs}
    heartbeat = tmp_path / "driver.alive"
    assert not processes.lives({**process, "space": "9"}, heartbeat), "it has never given a sign"
    heartbeat.touch()
    then = processes.server_time(tmp_path) - age
    os.utime(heartbeat, (then, then))
    assert processes.lives(process, heartbeat) == lives
    if differs and "start" not in differs:
        monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("this may be anybody"))
        assert processes.end({**process, "pid": os.getpid()}, tmp_path), "it is out of reach"


def test_a_process_that_was_written_down_without_its_namespace_is_one_of_this_one() -> None:
    before = processes.identify()
    del before["space"]
    assert processes.visible(before)
    assert not processes.visible({**before, "boot": "another"})


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root, to be another container")
@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_driver_in_another_container_keeps_its_run(tmp_path: Path, start: Started, job_type: str) -> None:
    for name in ("in.zarr", "out.zarr"):
        zarr.create_array(tmp_path / name, shape=(64, 8), chunks=(8, 8), dtype="i4")
    (tmp_path / "wait").touch()
    start.before = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    first = start(job_type=job_type, num_workers=2)
    root = tmp_path / ".bioimage_py"
    until(lambda: any(path.stat().st_size for path in root.glob("*/progress/*")))
    ((folder, state),) = ownership.runs_in(root)
    assert not processes.visible(state.driver)
    start.before = ()
    text = start(job_type=job_type).communicate()[1]
    assert "RunningError" in text
    assert "held dead 60 s after its last sign of life" in text
    with pytest.raises(ConfigError, match="cannot be reached from here"):
        cancel_run(folder)
    with pytest.raises(RunningError):
        forget_run(folder)
    (tmp_path / "wait").unlink()
    assert first.communicate()[0].endswith("done\n")
    assert (zarr.open_array(tmp_path / "out.zarr")[...] == 1).all()


def test_a_dead_run_is_taken_over(output: Any, tmp_path: Path, owned: list[OwnedRun]) -> None:
    first = own(output, tmp_path / "runs")
    dead(first)
    second = own(output, tmp_path / "runs")
    assert second.folder == first.folder
    assert second.state.sessions == 2
    assert len(list((tmp_path / "runs").iterdir())) == 1
    with pytest.raises(RunningError, match=first.state.run):
        own(output, tmp_path / "runs")
    second.finish()


def test_the_workers_of_a_dead_run_are_ended_first(output: Any, tmp_path: Path) -> None:
    first = own(output, tmp_path / "runs")
    # a worker is known by the module that its command line names
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", processes.WORKER])
    process = {**processes.identify(), "pid": worker.pid, "start": processes._start_of(worker.pid)}
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    reused = {**processes.identify(), "pid": stranger.pid, "start": "1"}
    elsewhere = {
        **processes.identify(),
        "pid": stranger.pid,
        "start": processes._start_of(stranger.pid),
        "host": "elsewhere",
    }
    for number, one in enumerate((process, reused, elsewhere)):
        (first.folder / "workers" / f"s1w{number}.json").write_text(json.dumps(one))
    dead(first)
    os.kill(worker.pid, signal.SIGSTOP)  # a stopped one lives, too
    try:
        own(output, tmp_path / "runs").finish()
        assert worker.poll() == -signal.SIGKILL
        assert stranger.poll() is None, "another process that has the same number by now"
    finally:
        for one in (worker, stranger):
            one.kill()
            one.wait()


def test_a_worker_that_cannot_be_ended_is_named(output: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = own(output, tmp_path / "runs")
    (first.folder / "workers" / "s1w0.json").write_text(json.dumps(processes.identify()))
    dead(first)
    monkeypatch.setattr(processes, "end", lambda process, run: False)
    with pytest.raises(RunningError, match=f"process {os.getpid()}, which .*s1w0.json calls a worker, cannot be ended"):
        own(output, tmp_path / "runs")


@pytest.mark.parametrize(("age", "lives"), [(1.0, True), (1000.0, False)])
def test_a_run_of_another_machine_lives_as_long_as_its_heart_beats(
    output: Any, tmp_path: Path, owned: list[OwnedRun], age: float, lives: bool
) -> None:
    first = own(output, tmp_path / "runs")
    dead(first)
    first.state.driver["host"] = "elsewhere"
    first.state.write(first.folder)
    now = processes.server_time(tmp_path)
    os.utime(first.heartbeat.path, (now - age, now - age))
    if lives:
        with pytest.raises(RunningError, match="on elsewhere"):
            own(output, tmp_path / "runs")
    else:
        owned.append(own(output, tmp_path / "runs"))


def test_a_run_whose_folder_cannot_be_seen_from_here_is_not_passed_over(output: Any, tmp_path: Path) -> None:
    stamps = tmp_path / "out.zarr" / ".bioimage_py.runs"
    stamps.mkdir()
    (stamps / "job-1").write_text(json.dumps({"folder": "/scratch/of/node7/job-1", "host": "node7"}))
    with pytest.raises(ResumeConflict, match=r"'job-1' .* on node7.* cannot be seen from"):
        own(output, tmp_path / "runs")
    (stamps / "job-1").write_text(json.dumps({"folder": "/nowhere", "host": processes.identify()["host"]}))
    with pytest.raises(ResumeConflict, match=r"'job-1' .*/nowhere, is gone"):
        own(output, tmp_path / "runs")
    (stamps / "job-1").unlink()
    own(output, tmp_path / "runs").finish()
    assert not stamps.exists()


def test_a_file_system_without_hard_links_is_refused(
    output: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*paths: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StorageError, match=r"without hard links .*\n.*BIOIMAGE_PY_RUN_ROOT"):
        own(output, tmp_path / "runs")


# --- scripts -------------------------------------------------------------------------------------------------------


def pair(folder: Path, shape: tuple[int, ...] = (64,), chunks: tuple[int, ...] = (8,)) -> tuple[Any, Any]:
    source = zarr.create_array(folder / "in.zarr", shape=shape, chunks=chunks, dtype="i4")
    source[...] = np.arange(np.prod(shape)).reshape(shape)
    return source, zarr.create_array(folder / "out.zarr", shape=shape, chunks=chunks, dtype="i4")


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_a_second_script_is_refused_while_the_first_lives_and_takes_over_when_it_is_dead(
    start: Started, tmp_path: Path, job_type: str
) -> None:
    source, _ = pair(tmp_path)
    (tmp_path / "wait").touch()
    first = start(target="in.zarr", num_workers=2, job_type=job_type)
    ((folder, _),) = until(lambda: living(tmp_path / ".bioimage_py"))
    until(lambda: list((folder / "claims").glob("*/*")))
    _, error = start(target="in.zarr", num_workers=2, job_type=job_type).communicate()
    assert "RunningError" in error
    assert f"(process {first.pid} on " in error
    first.kill()
    first.wait()
    (tmp_path / "wait").unlink()
    last = start(target="in.zarr", num_workers=2, job_type=job_type)
    _, error = last.communicate()
    assert last.returncode == 0, error
    np.testing.assert_array_equal(source[...], np.arange(64) + 1)


def test_six_scripts_on_disjoint_regions_at_once_lose_nothing(start: Started, tmp_path: Path) -> None:
    """Regions off the chunk grid at their borders: each finishes, or is refused by the name of the one in its way."""
    source, target = pair(tmp_path, (100, 24), (8, 8))
    cuts = [0, 8, 20, 32, 51, 64, 100]
    todo = {begin: (slice(begin, end), slice(0, 24)) for begin, end in itertools.pairwise(cuts)}
    refusals = 0
    while todo:
        scripts = {begin: start(roi=roi, num_workers=2, block_shape=(8, 8)) for begin, roi in todo.items()}
        for begin, script in scripts.items():
            _, error = script.communicate()
            if script.returncode:
                assert "RunningError: the run 'slow-" in error, error
                refusals += 1
            else:
                del todo[begin]
        assert refusals < 20
    np.testing.assert_array_equal(target[...], source[...] + 1)
    assert not (tmp_path / ".bioimage_py").exists()
    assert not (tmp_path / "out.zarr" / ".bioimage_py.runs").exists()


def test_reductions_may_run_side_by_side(tmp_path: Path) -> None:
    source, _ = pair(tmp_path)
    from bioimage_py.runner import RunnerConfig

    config = RunnerConfig(tmp_root=tmp_path / "runs")

    def inside(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        again = bp.map_blocks(total, [source], block_shape=32, reduce=add, job_config=config)
        return int(inputs[0][bp.to_roi(block)].sum()) + 0 * again.results

    assert bp.map_blocks(inside, [source], block_shape=32, reduce=add, job_config=config).results == 64 * 63 // 2
    assert list((tmp_path / "runs").iterdir()) == []


def total(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    return int(inputs[0][bp.to_roi(block)].sum())


def add(one: int, other: int) -> int:
    return one + other


def test_a_run_that_died_while_it_took_over_another_leaves_nothing(output: Any, tmp_path: Path) -> None:
    first, other = own(output, tmp_path / "runs"), zarr.create_array(tmp_path / "b.zarr", shape=(4,), dtype="u1")
    dead(first)
    second = own(other, tmp_path / "runs")  # what is left of it: its folder, still starting
    second.heartbeat.close()
    second.state.claims, second.state.state = first.state.claims, "starting"
    second.state.driver = first.state.driver
    second.state.write(second.folder)
    third = own(output, tmp_path / "runs")
    assert third.folder == first.folder
    third.finish()
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_is_left_of_folders_that_were_being_made_or_removed_is_swept(output: Any, tmp_path: Path) -> None:
    me, here = processes.identify(), processes.here()
    root = tmp_path / "runs"
    left = [f".new-{here}-{me['pid']}-1-abcd", f".pool-{here}-{me['pid']}-1-abcd", ".gone-abcd"]
    kept = [f".new-{here}-{me['pid']}-{me['start']}-abcd", ".new-else-where-1-1-abcd", ".gone.txt"]
    # of another container or machine that has this one's name, whose processes nobody here can see
    kept += [f".new-{me['host']}.{me['boot'][:8]}.1-1-1-abcd", f".pool-{me['host']}.0.{me['space']}-1-1-abcd"]
    for name in (*left, *kept):
        (root / name / "workers").mkdir(parents=True)
    own(output, root).finish()
    assert sorted(path.name for path in root.iterdir()) == sorted(kept)
