"""What blocks may do to their process, and how each of it ends; and that what an error tells to type does work."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import BioimageError, ConfigError, RunnerError
from bioimage_py.io import create_array
from bioimage_py.run_folder import RunState
from bioimage_py.runner import RunnerConfig, get_runner
from bioimage_py.runner.driver.progress import Lines
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.lease.folders import NAME_LENGTH

# workers cannot import this file: its functions travel by value
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N, BAD = 8, 3


class Unpicklable(Exception):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("a lock is held")
        self.lock = threading.Lock()


class TwoArguments(Exception):
    """Pickles, but cannot be made again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


class Leaving(Exception):
    """Ends the process in which it is made again."""

    def __reduce__(self) -> Any:
        return sys.exit, (5,)


class Breaking(Exception):
    """Ends the process in which it is pickled."""

    def __reduce__(self) -> Any:
        raise SystemExit(5)


class Silent(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Full(Exception):
    """Holds the block's array."""

    def __init__(self) -> None:
        super().__init__("too much")
        self.array = np.zeros(2**24, np.uint8)


def deep() -> int:
    return deep() + 1


def printing() -> None:
    for _ in range(64):
        os.write(1, b"x" * 2**20)
    os._exit(4)


def forking() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def closing() -> None:
    for number in range(3):
        os.close(number)


def raising(make: Callable[[], BaseException]) -> Callable[[], None]:
    def what() -> None:
        raise make()

    return what


HARMLESS: dict[str, Callable[[], Any]] = {
    "changes the folder": lambda: os.chdir("/"),
    "changes the mask of new files": lambda: os.umask(0o077),
    "empties the environment": os.environ.clear,
}
HARMLESS_IN_A_PROCESS: dict[str, Callable[[], Any]] = {
    "ignores signals": lambda: [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT)],
    "closes standard input, output and error": closing,
    "closes its streams": lambda: [stream.close() for stream in (sys.stdin, sys.stdout)],
    "forks": forking,
}
FAILING: dict[str, tuple[Callable[[], Any], str]] = {
    "sys.exit": (lambda: sys.exit(0), "SystemExit"),
    "exit with a text": (lambda: sys.exit("bye"), "bye"),
    "KeyboardInterrupt": (raising(KeyboardInterrupt), "KeyboardInterrupt"),
    "GeneratorExit": (raising(GeneratorExit), "GeneratorExit"),
    "StopIteration": (raising(StopIteration), "StopIteration"),
    "a group": (raising(lambda: BaseExceptionGroup("two", [KeyboardInterrupt(), SystemExit(1)])), "two"),
    "recursion": (deep, "RecursionError"),
    "unpicklable": (raising(Unpicklable), "a lock is held"),
    "not to be made again": (raising(lambda: TwoArguments("one", "two")), "onetwo"),
    "ends who makes it again": (raising(lambda: Leaving("leaving")), "leaving"),
    "ends who pickles it": (raising(lambda: Breaking("breaking")), "breaking"),
    "without words": (raising(Silent), "exception str\\(\\) failed"),
    "large": (raising(Full), "too much"),
}
DEADLY: dict[str, tuple[Callable[[], Any], str]] = {
    "os._exit(0)": (lambda: os._exit(0), "exit code 0"),
    "segmentation fault": (lambda: ctypes.string_at(0), "signal 11"),
    "abort": (os.abort, "signal 6"),
    "much output": (printing, "exit code 4"),
}


class Function:
    """Adds 1, and does something else in one block."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self.what = what

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == BAD:
            self.what()
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1


@pytest.fixture
def data(tmp_path: Path) -> Any:
    array = create_array(tmp_path / "a.zarr", "", shape=(N, 4), dtype="i4", chunks=(1, 4))
    array[...] = np.zeros((N, 4), "i4")
    return array


def added(data: Any) -> list[int]:
    return [int(value) for value in data[...][:, 0]]


def call(data: Any, what: Callable[[], Any], **settings: Any) -> Any:
    return bp.map_blocks(
        Function(what),
        [data],
        [data],
        block_shape=(1, 4),
        name="job",
        **{"version": "1", "progress": False, **settings},
    )


def told_settings(error: BioimageError) -> dict[str, Any]:
    """The keyword in a remedy, as whoever types it gives it."""
    (typed,) = re.findall(r"\b(?:resume|block_ids)=\S+", error.remedy)
    found: dict[str, Any] = eval(f"dict({typed})", {"error": error})
    return found


@pytest.fixture(scope="module", params=["local", "subprocess"])
def job_type(request: pytest.FixtureRequest) -> Iterator[str]:
    """Workers that live on from one test to the next."""
    with bp.execution(request.param, num_workers=2):
        yield request.param


@pytest.fixture
def process_as_before(tmp_path: Path) -> Iterator[None]:
    """Undoes what a block in a thread of this process has done to it."""
    folder, environment, mask = os.getcwd(), dict(os.environ), os.umask(0o022)
    yield
    os.chdir(folder)
    os.environ.update(environment)
    os.umask(mask)


@pytest.mark.parametrize("what", HARMLESS)
def test_what_a_block_does_to_its_process_harms_no_other(
    data: Any, job_type: str, what: str, process_as_before: None
) -> None:
    report = call(data, HARMLESS[what])
    assert report.n_blocks == N
    assert added(data) == [1] * N


@pytest.mark.parametrize("what", HARMLESS_IN_A_PROCESS)
def test_what_a_block_does_to_a_worker_process_harms_no_other(data: Any, what: str) -> None:
    with bp.execution("subprocess", num_workers=1):
        for count in (1, 2):  # the worker lives on
            assert call(data, HARMLESS_IN_A_PROCESS[what]).n_blocks == N
            assert added(data) == [count] * N


@pytest.mark.some(9)
@pytest.mark.parametrize("what", FAILING)
def test_whatever_a_block_raises_is_its_failure_and_the_remedy_works(data: Any, job_type: str, what: str) -> None:
    raise_it, text = FAILING[what]
    with pytest.raises(RunnerError, match=text) as caught:
        call(data, raise_it, retries=0, version=None)
    error = caught.value
    assert error.failed_block_ids == [BAD]
    assert added(data) == [int(number != BAD) for number in range(N)]
    call(data, lambda: None, version=None, **told_settings(error))  # a mended function
    assert added(data) == [1] * N


@pytest.mark.some(4)
@pytest.mark.parametrize("what", DEADLY)
def test_a_block_that_ends_its_worker_is_set_aside_and_the_remedy_works(data: Any, what: str) -> None:
    end_it, text = DEADLY[what]
    with bp.execution("subprocess", num_workers=1):
        with pytest.raises(RunnerError, match=f"3 workers ended while they ran this block(.|\n)*{text}") as caught:
            call(data, end_it, version=None)
        assert caught.value.failed_block_ids == [BAD]
        assert len(str(caught.value)) < 10_000, "not all that was printed"
        call(data, lambda: None, version=None, **told_settings(caught.value))
    assert added(data) == [1] * N


def test_the_remedy_of_a_run_in_memory_works() -> None:
    array, out = np.zeros((N, 4), "i4"), np.zeros((N, 4), "i4")

    def run(what: Callable[[], Any], **settings: Any) -> None:
        bp.map_blocks(Function(what), [array], [out], block_shape=(1, 4), job_type="local", **settings)

    with pytest.raises(RunnerError) as caught:
        run(lambda: 1 // 0, retries=0)
    run(lambda: None, **told_settings(caught.value))
    assert (out == 1).all()


@pytest.mark.slow
def test_the_remedy_works_for_a_runner_and_by_either_name(data: Any, tmp_path: Path) -> None:
    runner = get_runner("local", RunnerConfig(tmp_root=tmp_path / "runs"))
    for again in (
        lambda what, **how: runner.run(Function(what), [data], [data], block_shape=(1, 4), **how),
        lambda what, **how: bp.map_blocks(Function(what), [data], [data], block_shape=(1, 4), **how),
    ):
        with pytest.raises(RunnerError) as caught:
            again(lambda: 1 // 0)
        assert "resume_from" in caught.value.remedy
        again(lambda: None, resume_from=told_settings(caught.value)["resume"])
    assert added(data) == [2] * N


@pytest.mark.slow
def test_an_unchanged_call_goes_on_as_the_remedy_says(data: Any, tmp_path: Path) -> None:
    flag = tmp_path / "mended"

    def what() -> None:
        assert flag.exists()

    with pytest.raises(RunnerError) as caught:
        call(data, what, retries=0, version=None)
    assert caught.value.remedy.startswith("the same call goes on;")
    flag.touch()
    call(data, what, retries=0, version=None)
    assert added(data) == [1] * N


# --- the driver ----------------------------------------------------------------------------------------------------

SCRIPT = """
    import os, signal
    from pathlib import Path
    import bioimage_py as bp

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def function(block, inputs, outputs, mask):
        flag = Path(f"died-{block.id}")
        if not flag.exists() and block.id in (0, 3):
            flag.touch()
            os.kill(os.getpid() if block.id else os.getppid(), 9)
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1

    if __name__ == "__main__":
        data = bp.open_source("a.zarr", mode="r+")
        how = {"block_shape": (1, 4), "progress": False}
        with bp.execution("subprocess", num_workers=2):
            bp.map_blocks(function, [data], [data], **how)
            with open("/proc/self/task/%d/children" % os.getpid()) as file:
                for parent in file.read().split():  # while they wait for work
                    os.kill(int(parent), 9)
            bp.map_blocks(function, [data], [data], **how)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for its workers in /proc")
def test_a_script_that_dies_of_broken_pipes_survives_its_workers(data: Any, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert added(data) == [2] * N


@pytest.mark.parametrize("name", ["n" * 500, "a\0b", "a/b", "../a", "\udcff", "ö" * 200, "a\nb", ""])
def test_a_run_may_have_any_name(data: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(RunnerError) as caught:
        bp.map_blocks(Function(lambda: 1 // 0), [data], [data], block_shape=(1, 4), name=name, retries=0)
    folder = Path(str(caught.value.tmp_folder))
    assert folder.parent == tmp_path / ".bioimage_py"
    assert len(folder.name) <= NAME_LENGTH + 9
    state = RunState.read(folder)
    assert state is not None
    assert state.name == name


@pytest.mark.parametrize("given", [3, "local", {"num_workers": 2}, Execution])
def test_what_is_no_execution_is_refused(data: Any, given: Any) -> None:
    for start in (
        lambda: bp.operations.add(data, 1, data, execution=given),
        lambda: bp.map_blocks(Function(lambda: None), [data], [data], execution=given),
        lambda: bp.stats.max(data, execution=given),
    ):
        with pytest.raises(ConfigError, match="is not an Execution") as caught:
            start()
        bp.stats.max(data, execution=eval(caught.value.remedy.partition("=")[2], {"bioimage_py": bp}))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '"text"', "3", "null", "", "{}", '{"claims": 3}', "\0"])
def test_a_run_that_cannot_be_read_stands_in_nobodys_way(data: Any, tmp_path: Path, content: str) -> None:
    strange = tmp_path / ".bioimage_py" / "strange-1"
    strange.mkdir(parents=True)
    (strange / "run.json").write_text(content)
    call(data, lambda: None)
    assert added(data) == [1] * N
    with pytest.raises(BioimageError, match=r"run.json is damaged"):
        call(data, lambda: None, resume=str(strange))


def test_a_path_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.zarr")
    for start in (
        lambda: create_array(path, "", shape=(4,), dtype="u1", chunks=(2,)),
        lambda: create_array(path[:-5] + ".n5", "a", shape=(4,), dtype="u1", chunks=(2,)),
        lambda: bp.open_source(path),
    ):
        with pytest.raises(BioimageError) as caught:
            start()
        assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


# --- progress ------------------------------------------------------------------------------------------------------


def test_without_a_terminal_there_is_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr("bioimage_py.runner.driver.progress.monotonic", lambda: clock[0])
    lines = Lines(1000, "label")
    for n in (200, *[1] * 120):  # what an earlier session has done comes first
        lines.update(n)
        clock[0] += 1.0
    lines.set_postfix(2)
    clock[0] += 59.0
    lines.update(0)
    lines.close()
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "label: 260 of 1000 blocks (26 %), 1 a second, about 12 min left"
    assert second == "label: 320 of 1000 blocks (32 %), 1 a second, about 11 min left"
    assert third == "label: 320 of 1000 blocks (32 %), 0.667 a second, about 17 min left, 2 failed"


@pytest.mark.parametrize(("settings", "shown"), [({}, True), ({"progress": False}, False)])
def test_a_run_in_a_log_tells_how_far_it_is(
    data: Any, settings: Any, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bioimage_py.runner.driver.progress.LINE_SECONDS", 0.0)
    call(data, lambda: None, **{"progress": True, **settings})
    assert ("job: 8 of 8 blocks (100 %)" in capsys.readouterr().err) == shown


def test_a_reader_of_the_log_that_has_gone_ends_no_run(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioimage_py.runner.driver.progress.LINE_SECONDS", 0.0)
    read, write = os.pipe()
    os.close(read)
    closed = open(write, "w", buffering=1)  # noqa: SIM115 - what it still holds cannot be written
    monkeypatch.setattr(sys, "stderr", closed)
    call(data, lambda: None, progress=True)
    monkeypatch.undo()
    with suppress(OSError):
        closed.close()
    assert added(data) == [1] * N


def test_a_notebook_has_a_bar(data: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from types import ModuleType, SimpleNamespace

    notebook = ModuleType("IPython")
    notebook.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    call(data, lambda: None, progress=True)
    assert "8/8" in capsys.readouterr().err


def test_what_is_shown_is_short_and_whatever_names_hold_is_text(data: Any) -> None:
    name = "<script>alert('a')</script>"
    report = bp.map_blocks(Function(lambda: None), [data], [data], block_shape=(1, 4), name=name, progress=False)
    plan = bp.map_blocks(Function(lambda: None), [data], [data], block_shape=(1, 4), name=name, plan=True)
    assert len(repr(report).splitlines()) == 2
    assert "8 of 8 blocks" in repr(report)
    for shown in (report, plan, data):
        page = shown._repr_html_()
        assert page.count("<tr>") == page.count("</tr>") == (3 if shown is data else 2)
        assert "<script>" not in page
        assert len(page) < 2000
    assert "&lt;script&gt;" in report._repr_html_()
    assert "&lt;script&gt;" in plan._repr_html_()
