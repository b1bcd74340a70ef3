"""Worker processes: how they end, what it costs, and that none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.backends import BackendEvent, register_backend, worker_parent
from bioimage_py.backends import subprocess as backend
from bioimage_py.errors import ConfigError, ParameterError, RunnerError
from bioimage_py.runner import RunnerConfig, map_blocks
from bioimage_py.runner.control.cancel import cancel_run
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.ledger.driver_side import FolderLedger
from bioimage_py.system.processes import identify

from ..helpers import until

# workers cannot import this file: its functions travel by value
cloudpickle.register_pickle_by_value(sys.modules[__name__])

MARK = "BIOIMAGE_PY_TEST_MARK"
N = 24


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """A variable that all processes started from here have."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    return value


def marked(value: str) -> list[int]:
    """Processes, other than this one, that have the variable."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes()
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"{MARK}={value}".encode() in environment.split(b"\0") and state != "Z" and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to look for processes")


def gone(value: str) -> None:
    until(lambda: not marked(value))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = zarr.create_array(tmp_path / "data.zarr", shape=(N * 4,), chunks=(4,), dtype="i4")
    data[:] = np.arange(N * 4)
    return tmp_path


def array(folder: Path) -> Any:
    return zarr.open_array(folder / "data.zarr", mode="r+")


def run(folder: Path, function: Any, **settings: Any) -> Any:
    """One in-place job of 24 blocks on two worker processes."""
    how = {"job_type": "subprocess", "num_workers": 2, "progress": False, "version": "1", **settings}
    options = {name: how.pop(name) for name in ("setup", "has_return_val", "reduce") if name in how}
    data = array(folder)
    return map_blocks(function, [data], [data], block_shape=4, name="job", **options, execution=Execution(**how))


def right(folder: Path) -> None:
    np.testing.assert_array_equal(array(folder)[:], np.arange(N * 4) + 1)


def plus_one(block: Any, inputs: Any, outputs: Any) -> int:
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 1
    return int(block.id)


class Once:
    """Does something to its process in one block, the first time or every time."""

    def __init__(self, folder: Path, block: int, what: Any, *, always: bool = False) -> None:
        self.flag, self.block, self.what, self.always = folder / "done-once", block, what, always

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        if block.id == self.block and (self.always or not self.flag.exists()):
            self.flag.touch()
            self.what()
        return plus_one(block, inputs, outputs)


def crash() -> None:
    os._exit(3)


def fault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    sys.exit("from a library")


def hang() -> None:
    time.sleep(600)


def events(report: Any, name: str) -> list[dict[str, Any]]:
    return [event for event in report.events if event["event"] == name]


def ends(report: Any) -> list[str]:
    return [event["kind"] for event in events(report, "WorkerEnded") if event["kind"] != "finished"]


# --- blocks that end their process ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "how"), [(crash, "exit code 3"), (fault, "signal 11")])
def test_a_crash_costs_one_worker_and_nothing_else(folder: Path, what: Any, how: str) -> None:
    report = run(folder, Once(folder, 7, what), has_return_val=True)
    assert report.results == list(range(N))
    right(folder)
    (end,) = [event for event in events(report, "WorkerEnded") if event["kind"] == "killed"]
    assert end["running"] == 7
    assert how in end["detail"]
    assert "peak memory" in end["detail"]


def test_a_block_that_ends_its_worker_each_time_is_set_aside(folder: Path) -> None:
    with pytest.raises(RunnerError, match="3 workers ended while they ran this block, the last one killed") as error:
        run(folder, Once(folder, 7, fault, always=True))
    assert error.value.failed_block_ids == [7]
    done = array(folder)[:] - np.arange(N * 4)
    assert (np.delete(done.reshape(N, 4), 7, 0) == 1).all()
    assert (done.reshape(N, 4)[7] == 0).all()
    run(folder, Once(folder, 7, fault))
    right(folder)


def test_sys_exit_in_a_block_is_a_failure_of_the_block(folder: Path) -> None:
    report = run(folder, Once(folder, 7, leave))
    assert ends(report) == []
    (failure,) = report.stages[0].overcome
    assert failure.block_id == 7
    assert "SystemExit" in failure.traceback
    right(folder)


@pytest.mark.parametrize(
    "limit",
    [{"block_timeout": 1.0}, {"job_config": RunnerConfig(task_timeout=2.0)}],
    ids=["block_timeout", "task_timeout"],
)
def test_a_block_that_hangs_is_ended_and_run_again(folder: Path, limit: dict[str, Any]) -> None:
    begin = time.monotonic()
    report = run(folder, Once(folder, 7, hang), **limit)
    assert time.monotonic() - begin < 30
    assert ends(report) == ["too slow"]
    right(folder)


def test_a_run_that_stops_does_not_wait_for_a_block_that_hangs(folder: Path) -> None:
    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == 0:
            hang()
        raise ValueError("a bug")

    begin = time.monotonic()
    with pytest.raises(RunnerError, match="a bug"):
        run(folder, function, block_timeout=2.0)
    assert time.monotonic() - begin < 30


# --- workers that cannot work --------------------------------------------------------------------------------------


def test_a_failing_setup_is_one_clear_error(folder: Path) -> None:
    def setup() -> Any:
        raise FileNotFoundError("no model at /models/best.pt")

    def function(block: Any, inputs: Any, outputs: Any, mask: Any, context: Any) -> None:
        raise AssertionError

    with pytest.raises(RunnerError, match=r"crashed: (.|\n)*FileNotFoundError: no model at /models/best.pt") as error:
        run(folder, function, setup=setup)
    assert error.value.failed_block_ids == list(range(N))


def test_a_setup_that_ends_its_process_each_time_stops_the_run(folder: Path) -> None:
    def function(block: Any, inputs: Any, outputs: Any, mask: Any, context: Any) -> None:
        raise AssertionError

    with pytest.raises(RunnerError, match="3 workers in a row ended before they did anything: signal 11"):
        run(folder, function, setup=fault)


def test_another_version_of_a_library_is_one_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioimage_py.runner.execute.versions", lambda: {"python": "3.11", "numpy": "0.9"})
    with pytest.raises(RunnerError, match=r"cannot start: the worker's .* has numpy .* \(the driver has 0\.9\)"):
        run(folder, Once(folder, 7, crash))
    assert not (folder / "done-once").exists()


def test_another_version_of_python_is_one_clear_error(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", worker_parent.__file__, str(tmp_path / "beat"), "2.7", "never-started"]
    told = json.loads(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout)
    mine = "{}.{}".format(*sys.version_info)
    assert told == {"kind": "cannot start", "detail": f"{sys.executable} is Python {mine}, the driver has 2.7"}


def test_a_worker_that_fails_to_import_is_one_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "WORKER_CODE", "raise ImportError('libfoo.so.1: cannot open shared object file')")
    with pytest.raises(RunnerError, match=r"cannot start: exit code 1(.|\n)*libfoo.so.1: cannot open shared object"):
        run(folder, Once(folder, 7, crash))


def test_an_interpreter_that_does_not_exist_is_said(folder: Path) -> None:
    with pytest.raises(ConfigError, match="python_executable '/no/such/python' cannot be started"):
        run(folder, Once(folder, 7, crash), job_config=RunnerConfig(python_executable="/no/such/python"))
    run(folder, Once(folder, 99, crash))
    right(folder)


def test_a_module_that_workers_cannot_import_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    module = types.ModuleType("a_module_of_nowhere")
    exec("def function(block, inputs, outputs, mask):\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "a_module_of_nowhere", module)
    with pytest.raises(RunnerError, match=r"cannot start: (.|\n)*No module named 'a_module_of_nowhere'"):
        run(folder, module.function)


def test_an_unpicklable_function_names_the_variable(folder: Path) -> None:
    lock = threading.Lock()
    table = {"model": [lock]}

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
        return table

    pattern = r"function -> variable 'table' -> 'model' -> \[0\] is a _thread.lock"
    with pytest.raises(ParameterError, match=pattern):
        run(folder, function)
    assert not (folder / ".bioimage_py").exists()


def test_what_no_worker_could_open_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"input 0 of 'blocks' .* cannot be opened by the workers"):
        map_blocks(lambda b, i, o, m: None, [np.zeros(8)], job_type="subprocess")


def test_what_a_worker_prints_goes_to_its_log(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> Any:
        print("hello from block", block.id, input() if block.id == 5 else "")
        os.system("echo hello from a shell >&2")
        if block.id == 3:
            raise ValueError("bad")

    with pytest.raises(RunnerError) as error:
        run(folder, function, retries=0)
    assert error.value.failed_block_ids == [3, 5], "there is nothing to be read from standard input"
    assert capfd.readouterr() == ("", "")
    logs = [path.read_text() for path in Path(str(error.value.tmp_folder), "logs").iterdir()]
    assert any("hello from block 7" in log for log in logs)
    assert any("hello from a shell" in log for log in logs)


# --- processes -----------------------------------------------------------------------------------------------------

DRIVER = """
    import os, signal, sys, time
    import numpy as np, zarr
    import bioimage_py as bp
    from pathlib import Path

    def function(block, inputs, outputs, mask):
        Path(f"running-{os.getpid()}-{os.getppid()}").touch()
        while Path("wait").exists():
            time.sleep(0.01)
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1

    if __name__ == "__main__":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup leaves it ignored
        data = zarr.open_array("data.zarr", mode="r+")
        bp.map_blocks(function, [data], [data], block_shape=4, name="job", job_type="subprocess", num_workers=2)
        print("done")
"""


@pytest.fixture
def driver(folder: Path) -> Iterator[Any]:
    (folder / "driver.py").write_text(textwrap.dedent(DRIVER))
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "driver.py"], cwd=folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def running(folder: Path) -> list[tuple[int, int]]:
    """Process ids of the workers that are in a block, and of their parents."""
    return [tuple(map(int, path.name.split("-")[1:])) for path in folder.glob("running-*")]  # type: ignore[misc]


@needs_proc
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_process_outlives_its_driver(folder: Path, driver: Any, mark: str, how: signal.Signals) -> None:
    (folder / "wait").touch()
    process = driver()
    until(lambda: len(running(folder)) == 2)
    assert len(marked(mark)) == 5, "the driver, two workers, two parents"
    process.send_signal(how)
    assert process.wait(10) == -how
    gone(mark)
    (folder / "wait").unlink()
    again = driver()
    assert again.communicate()[0] == "done\n"
    right(folder)
    gone(mark)


@needs_proc
def test_ctrl_c_ends_a_run_within_a_block_and_leaves_nothing(folder: Path, driver: Any, mark: str) -> None:
    (folder / "wait").touch()
    process = driver()
    until(lambda: len(running(folder)) == 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    (folder / "wait").unlink()
    _, error = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in error
    (one,) = (folder / ".bioimage_py").glob("job-*")
    told = f"the same call goes on, or: bioimage-py runs resume {one}"
    assert told in error.partition("Traceback")[0], "at once, for blocks may take long"
    assert f"job was interrupted: {told}" in error.partition("KeyboardInterrupt")[2], "and at the end"
    gone(mark)
    assert driver().communicate()[0] == "done\n"
    right(folder)


@needs_proc
def test_a_second_ctrl_c_does_not_wait(folder: Path, driver: Any, mark: str) -> None:
    (folder / "wait").touch()
    process = driver()
    until(lambda: len(running(folder)) == 2)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    process.communicate(timeout=20)
    gone(mark)
    (folder / "wait").unlink()
    assert driver().communicate()[0] == "done\n"
    right(folder)


@needs_proc
@pytest.mark.parametrize("who", ["worker", "parent"])
def test_a_killed_worker_or_parent_is_replaced(folder: Path, driver: Any, mark: str, who: str) -> None:
    (folder / "wait").touch()
    process = driver()
    (worker, its_parent), _ = until(lambda: len(running(folder)) == 2 and running(folder))
    os.kill(worker if who == "worker" else its_parent, signal.SIGKILL)
    until(lambda: worker not in marked(mark) and its_parent not in marked(mark))
    until(lambda: len(running(folder)) == 3)
    (folder / "wait").unlink()
    assert process.communicate()[0] == "done\n"
    right(folder)
    gone(mark)


@needs_proc
def test_workers_end_with_a_driver_that_left_its_pipes_to_a_child(folder: Path, driver: Any, mark: str) -> None:
    """A process that the driver forked holds the pipes open after its death."""
    script = folder / "driver.py"
    fork = "    import threading\n    threading.Timer(1.0, lambda: os.fork() or time.sleep(60)).start()\n"
    script.write_text(script.read_text().replace("    data = zarr", fork + "    data = zarr"))
    (folder / "wait").touch()
    process = driver()
    until(lambda: len(running(folder)) == 2)
    until(lambda: len(marked(mark)) == 6)
    process.kill()
    process.wait()
    workers = {pid for pair in running(folder) for pid in pair}
    until(lambda: not workers & set(marked(mark)))
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)


@needs_proc
def test_workers_live_across_calls_inside_execution(folder: Path, mark: str) -> None:
    def whoami(meeting: str) -> Any:
        def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
            there = folder / meeting
            (there / str(os.getpid())).touch()
            until(lambda: len(list(there.iterdir())) >= 2, 300)  # or one worker is done before the other is up
            return os.getpid()

        (folder / meeting).mkdir()
        return function

    how = {"block_shape": 4, "has_return_val": True}
    with bp.execution("subprocess", num_workers=2, progress=False):
        one = map_blocks(whoami("one"), [array(folder)], **how).results
        with pytest.raises(RunnerError):
            map_blocks(lambda b, i, o, m: 1 // 0, [array(folder)], block_shape=4)
        two = map_blocks(whoami("two"), [array(folder)], **how).results
        assert set(one) == set(two)
        assert len(set(one)) == 2
        os.kill(one[0], signal.SIGKILL)  # while it has nothing to do
        until(lambda: one[0] not in marked(mark))
        three = map_blocks(whoami("three"), [array(folder)], **how).results
        assert one[0] not in three
        assert len(set(one) & set(three)) == 1
        assert len(marked(mark)) == 4
    gone(mark)
    four = map_blocks(whoami("four"), [array(folder)], job_type="subprocess", num_workers=2, **how).results
    assert not set(four) & set(three)
    gone(mark)


# --- memory --------------------------------------------------------------------------------------------------------


def test_memory_kills_of_the_own_control_group_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "memory.oom_control", tmp_path / "memory.events"
    monkeypatch.setattr(worker_parent, "control_files", lambda: [str(new), str(old)])
    assert worker_parent.memory_kills() == 0
    old.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert worker_parent.memory_kills() == 3
    new.write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 5\noom_group_kill 0\n")
    assert worker_parent.memory_kills() == 5


def control_group(name: str, limit: int) -> Path | None:
    """A control group with a memory limit, where this process may make one."""
    for root, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root, name)
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / file).write_text(str(limit))
        except OSError:
            group.rmdir()
            continue
        return group
    return None


def test_a_memory_kill_means_fewer_workers(folder: Path) -> None:
    """In a control group of 400 MiB: two blocks of 200 MiB at a time do not fit, one does."""
    group = control_group(f"bioimage_py-{uuid.uuid4().hex[:8]}", 400 * 2**20)
    if group is None:
        pytest.skip("needs the right to make a control group with a memory limit")
    script = """
        import os, sys, time
        from pathlib import Path
        Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
        import numpy as np, zarr
        import bioimage_py as bp

        def function(block, inputs, outputs, mask):
            Path(f"worker-{os.getpid()}").touch()
            if block.id > 1:
                end = time.monotonic() + 60
                while len(list(Path().glob("worker-*"))) < 2 and time.monotonic() < end:
                    time.sleep(0.01)  # the other one is about to begin: both hold their memory at a time
                ballast = np.ones(200 * 2**20, np.uint8)
                time.sleep(0.5)
            outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1

        if __name__ == "__main__":
            data = zarr.open_array("data.zarr", mode="r+")
            report = bp.map_blocks(function, [data], [data], block_shape=16, name="job", job_type="subprocess",
                                   num_workers=2, memory=2**40)
            kinds = [e["kind"] for e in report.events if e["event"] == "WorkerEnded" and e["kind"] != "finished"]
            print(kinds)
    """
    (folder / "script.py").write_text(textwrap.dedent(script))
    try:
        command = [sys.executable, "script.py", str(group)]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().split())
        group.rmdir()
    assert run.returncode == 0, run.stderr
    kinds = eval(run.stdout)
    assert kinds
    assert set(kinds) == {"memory"}
    right(folder)


# --- workers that are thought dead ---------------------------------------------------------------------------------


class Undead(backend.SubprocessBackend):
    """Stops workers instead of killing them, and says that they are dead; lets them go on when it is told to."""

    stopped: list[int] = []
    go_on_after = 0

    def kill(self, worker: str) -> None:
        process = next(process for process in self._busy if process.worker == worker)
        pid = int(Path(self._folder, f"pid-{worker}").read_text())
        os.kill(pid, signal.SIGSTOP)
        Undead.stopped.append(pid)
        self._busy.remove(process)
        self._idle.append(process)  # ended with the others
        process.worker = None
        self._events.append(BackendEvent(worker, "too slow", "stopped"))

    def _idle_process(self) -> None:
        return None

    def start(self, worker: str, work: Any) -> None:
        os.environ["PID_FILE"] = str(Path(self._folder, f"pid-{worker}"))
        super().start(worker, work)


ELSEWHERE = """
import os, socket
socket.gethostname = lambda: f"elsewhere-{os.getpid()}"
open(os.environ["PID_FILE"], "w").write(str(os.getpid()))
from bioimage_py.runner.worker.process import main; main()
"""


@pytest.fixture
def undead(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Undead]]:
    """Workers of which the driver cannot find out whether they live: they say that they are on another machine."""
    monkeypatch.setattr(backend, "WORKER_CODE", ELSEWHERE)
    monkeypatch.setattr("bioimage_py.runner.ledger.driver_side.RECLAIM_SECONDS", 0.05)
    register_backend("undead", Undead)
    Undead.stopped = []
    yield Undead
    for pid in Undead.stopped:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


def resume_stopped(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("stage", ["within a stage", "across stages"])
def test_a_worker_that_is_held_dead_and_lives_on_changes_nothing(
    folder: Path, undead: type[Undead], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped in a block, its work is done by another, and it goes on: in the same stage, or in a later one."""
    from bioimage_py.engine.job import Job
    from bioimage_py.engine.stages import BlocksStage, OnceStage, run_stages
    from bioimage_py.sources import as_source

    flags = folder / "flags"
    flags.mkdir()

    def count(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        if block.id == 7 and stage == "across stages" and not (flags / "slow").exists():
            (flags / "slow").touch()
            time.sleep(2.0)
        return int(inputs[0][bp.to_roi(block)].sum())

    def merge(one: int, other: int) -> int:
        return one + other

    def write(block: Any, inputs: Any, outputs: Any, mask: Any, context: int) -> None:
        if block.id == 7 and stage == "within a stage" and not (flags / "slow").exists():
            (flags / "slow").touch()
            time.sleep(2.0)
        if block.id in (0, 20):
            (flags / f"writing-{block.id}").touch()
            for _ in range(500):  # until the dead have had their time
                if (flags / "continued").exists():
                    break
                time.sleep(0.01)
        roi = bp.to_roi(block)
        outputs[0][roi] = inputs[0][roi] + 1 + 0 * context

    def awake() -> None:
        until(lambda: undead.stopped and (flags / "writing-20").exists(), 60)
        resume_stopped(undead.stopped)
        time.sleep(3.0)  # the rest of its sleep, and then what it does
        (flags / "continued").touch()

    data = as_source(array(folder))
    how = {"job_type": "undead", "num_workers": 2, "block_timeout": 1.0, "progress": False}
    thread = threading.Thread(target=awake)
    thread.start()
    # the timeout must not stop blocks that wait for the test
    from bioimage_py.runner.driver import driver

    too_slow = driver.Watch.too_slow

    def only_the_slow_one(self: Any, progress: Any, alive: Any) -> list[str]:
        slow = too_slow(self, progress, alive)
        return [worker for worker in slow if progress[worker].block == 7 and not undead.stopped]

    monkeypatch.setattr(driver.Watch, "too_slow", only_the_slow_one)
    job = Job.of({"block_shape": 4, **how})  # type: ignore[typeddict-item]
    report = run_stages(
        "job",
        [
            BlocksStage("count", count, [data], returns="fold", merge=merge),
            OnceStage("sum", lambda earlier: earlier["count"]),
            BlocksStage("write", write, [data], [data], setup=lambda earlier: earlier["sum"]),
        ],
        job,
    )
    thread.join()
    assert len(undead.stopped) == 1
    assert report.results["sum"] == sum(range(N * 4))
    right(folder)


# --- programs that blocks start ------------------------------------------------------------------------------------

PROGRAMS = """
    import os, signal, subprocess, sys, time
    from pathlib import Path

    here = Path(__file__).parent / "pids"
    program = ["sh", "-c", f"touch {here}/$$; exec sleep 600"]
    quoted = f"sh -c 'touch {here}/$$; exec sleep 600'"

    def start():
        subprocess.Popen(program)
        subprocess.Popen(program, process_group=0)
        os.system(f"({quoted} &)")
        os.system(f"trap '' TERM INT HUP; {quoted} & ")
        if os.fork() == 0:
            (here / str(os.getpid())).touch()
            time.sleep(600)
        while len(os.listdir(here)) < 5:
            time.sleep(0.01)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of files with the numbers of the programs that were started by `programs.start`, which all hang."""
    (folder / "pids").mkdir()
    (folder / "programs.py").write_text(textwrap.dedent(PROGRAMS))
    monkeypatch.syspath_prepend(folder)
    yield folder / "pids"
    sys.modules.pop("programs", None)
    for pid in filter(alive, map(int, os.listdir(folder / "pids"))):
        os.kill(pid, signal.SIGKILL)


def left(pids: Path) -> list[int]:
    return [pid for pid in map(int, os.listdir(pids)) if alive(pid)]


class Leaving:
    """Starts programs in block 7 and ends badly there; when that is run again it looks whether they are gone."""

    def __init__(self, folder: Path, how: str) -> None:
        self.folder, self.how = folder, how

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        import programs

        if block.id == 7 and not os.listdir(self.folder / "pids"):
            programs.start()
            {
                "too slow": lambda: time.sleep(600),
                "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
                "exit": lambda: os._exit(3),
                "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
                "parent killed": lambda: os.kill(os.getppid(), signal.SIGKILL) or time.sleep(600),
            }[self.how]()
        elif block.id == 7:
            (self.folder / "left").write_text(str(left(self.folder / "pids")))
        plus_one(block, inputs, outputs)


@needs_proc
@pytest.mark.parametrize("how", ["too slow", "killed", "exit", "crash", "parent killed"])
def test_the_programs_of_a_block_are_gone_before_it_is_run_again(folder: Path, programs: Path, how: str) -> None:
    limit = {"block_timeout": 5.0} if how == "too slow" else {}
    report = run(folder, Leaving(folder, how), **limit)
    assert len(ends(report)) == 1
    assert (folder / "left").read_text() == "[]"
    right(folder)


@needs_proc
def test_programs_in_the_background_end_with_the_run(folder: Path, programs: Path) -> None:
    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        import programs

        if block.id == 7:
            programs.start()
            subprocess.Popen(["sh", "-c", "touch ../own-$$; exec sleep 600"], cwd=programs.here, start_new_session=True)

    run(folder, function)
    assert left(programs) == []
    (own,) = until(lambda: [int(path.name.partition("-")[2]) for path in folder.glob("own-*")])
    assert alive(own), "it has left on purpose"
    os.kill(own, signal.SIGKILL)


@needs_proc
@pytest.mark.parametrize("how", ["killed", "terminated", "Ctrl-C twice", "cancelled by force"])
def test_the_programs_of_a_block_end_with_the_driver(folder: Path, programs: Path, driver: Any, how: str) -> None:
    script, text = folder / "driver.py", textwrap.dedent(DRIVER)
    text = text.replace("    while Path", "    import programs\n    programs.start()\n    while Path")
    script.write_text(text.replace("num_workers=2", "num_workers=1"))
    (folder / "wait").touch()
    process = driver()
    until(lambda: len(os.listdir(programs)) == 5)
    if how == "Ctrl-C twice":
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
    elif how == "cancelled by force":
        (one,) = (path.parent for path in (folder / ".bioimage_py").glob("*/run.json"))
        cancel_run(one, force=True)
    else:
        process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)
    process.communicate(timeout=60)
    until(lambda: left(programs) == [])


# --- the driver ----------------------------------------------------------------------------------------------------


def kept_by_the_driver(folder: Path, n: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that the driver keeps of a stage of ``n`` blocks with values."""
    import tracemalloc

    from bioimage_py.runner.ledger import block_times
    from bioimage_py.runner.planning.build import items_stage
    from bioimage_py.runner.planning.stage import Plan

    monkeypatch.setattr(block_times, "SAMPLE", 1000)
    stage = items_stage(lambda item: "x" * 50, n, None)
    ledger = FolderLedger(folder, Plan("job", (stage,), Execution()))
    ledger.open(0)
    work = ledger.workers()
    while (batch := work._take("s0w0")) is not None:
        recorder = work.recorder("s0w0", batch)
        for group, ids in batch.groups(stage.units):
            recorder.done(group, ids, [0.0], ["x" * 50])
            if group % 10 == 0:  # as blocks of a millisecond would
                recorder.flush()
        recorder.flush(ended=True)
    tracemalloc.start()
    list(ledger.events(0))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert ledger.records[0].n_done == n
    assert sum(len(value) for _, value in ledger.records[0].values()) == 50 * n
    return kept


@pytest.mark.long
def test_the_driver_keeps_a_bit_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the blocks, beyond those of which it keeps ids and seconds."""
    few = kept_by_the_driver(tmp_path / "few", 10_000, monkeypatch)
    many = kept_by_the_driver(tmp_path / "many", 100_000, monkeypatch)
    assert many - few < 90_000 / 8 + 30_000


FORKED = """
import os, sys, tempfile
from pathlib import Path
import bioimage_py as bp

def number(block, inputs, outputs, mask):
    return os.getpid()

def call():
    return set(bp.map_blocks(number, [zarr], block_shape=8, has_return_val=True, progress=False).results)

zarr = bp.io.create_array(sys.argv[1], "", shape=(32,), dtype="u1", chunks=(8,))
with bp.execution("subprocess", num_workers=1):
    before = call()
    folders = set(Path(tempfile.gettempdir()).glob("bioimage_py-workers-*"))
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        assert set(Path(tempfile.gettempdir()).glob("bioimage_py-workers-*")) >= folders
        assert call() == before, "the same process goes on"
        print("the parent's workers live")
# a child that was forked in the block leaves it, and ends as a script does
"""


def test_a_forked_child_that_leaves_the_block_ends_no_worker_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    line = [sys.executable, "-c", FORKED, str(tmp_path / "a.zarr")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stdout == "the parent's workers live\n", done.stderr
    assert not list((tmp_path / "tmp").glob("bioimage_py-workers-*"))


def test_what_a_driver_left_that_was_killed_with_its_workers_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next driver of this system; what belongs to one that lives, or to nobody that is known, stays."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    told = {**identify(), "pid": int(ended.stdout), "start": "1"}
    owners = {"dead": told, "living": identify(), "elsewhere": {**told, "boot": "another"}, "unknown": None}
    for name, owner in owners.items():
        folder = tmp_path / f"{backend.PREFIX}{name}"
        folder.mkdir()
        (folder / "worker-1.log").touch()
        if owner is not None:
            (folder / worker_parent.OWNER).write_text(json.dumps(owner))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    backend._sweep.cache_clear()
    backend.SubprocessBackend().close()
    left = {path.name.removeprefix(backend.PREFIX) for path in tmp_path.iterdir()}
    assert left == {"living", "elsewhere", "unknown"}
