"""What SLURM's commands say, and what follows from it; no cluster is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bioimage_py.backends import backend_class
from bioimage_py.backends.jobs import job, question
from bioimage_py.backends.slurm import commands
from bioimage_py.backends.slurm.commands import StateQuery, expand, find, states
from bioimage_py.errors import ConfigError
from bioimage_py.runner import RunnerConfig, SlurmRunner, get_runner
from bioimage_py.runner.driver.supervisor import Reissue, SetAside, StageRules, Start, Stop, Supervisor
from bioimage_py.runner.ledger.events import WorkerEnded

from ...helpers import until


@pytest.mark.parametrize(
    ("job_id", "single"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12_[2-4,7%2]", ["12_2", "12_3", "12_4", "12_7"]),
        ("175_[0-6:3]", ["175_0", "175_3", "175_6"]),
    ],
)
def test_ids_of_arrays(job_id: str, single: list[str]) -> None:
    assert expand(job_id) == single


def test_states_of_jobs_and_steps() -> None:
    text = """\
7_0|RUNNING|n1
7_0.batch|RUNNING|n1
7_1|FAILED|n2
7_1.0|OUT_OF_MEMORY|n2
7_[2-3%2]|CANCELLED by 0|None assigned
8_0.batch|OUT_OF_MEMORY|n3
8_0|FAILED|n3
"""
    assert states(text) == {
        "7_0": ("RUNNING", "n1"),
        "7_1": ("OUT_OF_MEMORY", "n2"),
        "7_2": ("CANCELLED", "None assigned"),
        "7_3": ("CANCELLED", "None assigned"),
        "8_0": ("OUT_OF_MEMORY", "n3"),
    }


def scripted(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def answer_of(query: StateQuery) -> dict[str, tuple[str, str]] | None:
    query.ask(["7"], ["name"])
    while query.asked:
        answer = query.answer()
        time.sleep(0.01)
    return answer


def test_squeue_is_asked_where_accounting_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
    scripted(tmp_path, monkeypatch, sacct=closed, squeue="echo '7_0|NODE_FAIL|n1'")
    query = StateQuery()
    assert answer_of(query) is None
    assert answer_of(query) == {"7_0": ("NODE_FAIL", "n1")}


def test_a_controller_that_is_down_says_nothing_of_any_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(tmp_path, monkeypatch, sacct="exit 1", squeue="echo 'Unable to contact slurm controller' >&2; exit 1")
    query = StateQuery()
    assert answer_of(query) is None
    assert answer_of(query) is None


def test_a_question_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(tmp_path, monkeypatch, sacct="exec sleep 60", squeue="echo '7_0|RUNNING|n1'")
    monkeypatch.setattr(question, "COMMAND_SECONDS", 0.2)
    query = StateQuery()
    assert answer_of(query) is None
    assert answer_of(query) == {"7_0": ("RUNNING", "n1")}


@pytest.mark.parametrize(
    ("time", "seconds"), [(None, 90), (1, 20), ("00:30", 10), ("02:00:00", 90), ("1-00", 90), ("0-00:01:00", 20)]
)
def test_the_signal_before_the_end_leaves_time_to_work(time: Any, seconds: int) -> None:
    assert commands._signal_seconds(time) == seconds


def test_an_unclear_submission_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(tmp_path, monkeypatch, squeue='[ "$4" = --name=there ] && { echo 31; echo 31; }; exit 0')
    assert find("there") == "31"
    assert find("elsewhere") is None
    scripted(tmp_path, monkeypatch, squeue="echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1")
    with pytest.raises(OSError, match="Unable to contact"):
        find("there")


def test_the_runner_and_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOIMAGE_PY_NO_CONFIG", "1")
    assert isinstance(get_runner("SLURM"), SlurmRunner)
    assert backend_class("slurm").limits.kills_blocks
    with pytest.raises(ConfigError, match="is not a slurm configuration"):
        SlurmRunner(RunnerConfig())


def test_a_host_without_slurm_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="squeue is not found: this host does not submit"):
        find("x")


def ends(kind: str, times: int, done: int = 0) -> list[Any]:
    supervisor = Supervisor([StageRules(8, 8, 1, 10)], 2, one_machine=False)
    supervisor.begin()
    decisions = []
    for number in range(times):
        event = WorkerEnded(f"w{number}", kind, "why", held=True, running=3, began=True, done=done)
        decisions += supervisor.handle(event)
    return decisions


@pytest.mark.parametrize("kind", ["wall time", "preempted", "node"])
def test_a_worker_that_got_on_with_other_blocks_is_free(kind: str) -> None:
    assert not [one for one in ends(kind, 9, done=5) if isinstance(one, SetAside | Stop)]
    assert [one.blocks for one in ends(kind, 3, done=0) if isinstance(one, SetAside)] == [(3,)]


def test_more_memory_is_free_and_takes_no_worker_away() -> None:
    decisions = ends("more memory", 5)
    assert [type(one) for one in decisions] == [Reissue, Start] * 5
    assert [one.count for one in decisions if isinstance(one, Start)] == [1] * 5
    assert [one.blocks for one in ends("memory", 3) if isinstance(one, SetAside)] == [(3,)]


def test_a_cancelled_job_stops_the_run() -> None:
    (decision,) = ends("cancelled", 1)
    assert isinstance(decision, Stop)
    assert decision.reason == "worker w0 cancelled: why"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in ("slurm", "alive", "ends", "gone"):
        (tmp_path / name).mkdir()
    (tmp_path / "run.json").write_text('{"sessions": 1, "adopted": []}')
    (tmp_path / "plan.pkl").touch()
    return tmp_path


def started(run: Path, code: str, /, *, start_new_session: bool = False, **changes: Any) -> subprocess.Popen[bytes]:
    order = {
        "workers": {"0": "s1w0"},
        "run": str(run),
        "session": 1,
        "mem": None,
        "idle_timeout": 60.0,
        "latency_wait": 5.0,
        "pool": None,
        "python": "{}.{}".format(*sys.version_info),
        "command": [sys.executable, "-c", code],
        "environment": {},
        **changes,
    }
    (run / "slurm" / "t.json").write_text(json.dumps(order))
    command = [sys.executable, "-I", "-S", job.__file__, str(run / "slurm"), "t"]
    return subprocess.Popen(command, start_new_session=start_new_session)


def told(run: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((run / "ends" / "s1w0.json").read_text())
    return answer


def test_the_parent_of_a_worker_tells_its_end(run: Path) -> None:
    code = 'print(\'{"kind": "finished", "detail": ""}\')'
    assert started(run, code).wait(30) == 0
    assert (told(run)["kind"], told(run)["leaving"], told(run)["stays"]) == ("finished", False, False)
    assert (run / "alive" / "s1w0").exists()


def test_the_parent_of_a_worker_tells_a_signal(run: Path) -> None:
    started(run, "import os; os.kill(os.getpid(), 9)").wait(30)
    assert told(run)["end"] == -9
    assert "kind" not in told(run)


@pytest.mark.parametrize("leads", [True, False])
def test_a_child_that_outlives_its_worker_holds_no_job_up(run: Path, leads: bool) -> None:
    """It ends where the job leads a session; else it is for the scheduler to end, which the job must reach."""
    code = f"""
import os, time
if os.fork() == 0:
    open({str(run / "child")!r}, "w").write(str(os.getpid()))
    time.sleep(600)
while not os.path.exists({str(run / "child")!r}) or not os.path.getsize({str(run / "child")!r}):
    time.sleep(0.01)
os._exit(3)
"""
    started(run, code, start_new_session=leads).wait(60)
    assert told(run)["end"] == 3
    child = int((run / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    lives = state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    assert lives != leads
    if lives:
        os.kill(child, 9)


@pytest.mark.parametrize("why", ["gone", "session", "removed"])
def test_the_parent_ends_a_worker_that_nobody_wants(run: Path, why: str) -> None:
    process = started(run, "import time; time.sleep(60)")
    deadline = time.monotonic() + 30
    while not (run / "alive" / "s1w0").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if why == "gone":
        (run / "gone" / "s1w0").touch()
    elif why == "session":
        (run / "run.json").write_text('{"sessions": 2, "adopted": ["s1w1"]}')
    else:
        (run / "run.json").unlink()
    assert process.wait(10) == 0


def test_the_parent_asks_a_worker_to_leave(run: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGUSR2, lambda *_: exit(0)); print('{}', flush=True)\n"
    process = started(run, code + "open('ready', 'w').close(); time.sleep(60)".replace("ready", str(run / "ready")))
    while not (run / "ready").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(30) == 0
    assert told(run)["leaving"]
    assert told(run)["end"] == 0


def test_another_python_cannot_start(run: Path) -> None:
    started(run, "", python="2.7").wait(30)
    assert told(run)["kind"] == "cannot start"
    assert "the driver has 2.7" in told(run)["detail"]


def test_the_parent_waits_until_the_run_is_seen(run: Path) -> None:
    (run / "run.json").rename(run / "hidden")
    process = started(run, 'print(\'{"kind": "finished", "detail": "done"}\')')
    time.sleep(1)
    assert process.poll() is None
    (run / "hidden").rename(run / "run.json")
    assert process.wait(10) == 0
    assert told(run)["detail"] == "done"


def test_the_parent_does_not_wait_for_ever(run: Path) -> None:
    (run / "run.json").unlink()
    assert started(run, "raise SystemExit('not reached')", latency_wait=0.5).wait(10) == 0
    assert told(run)["detail"] == "the run folder has gone"


def test_an_order_that_is_seen_late(run: Path) -> None:
    (run / "slurm").rename(run / "late")
    (run / "slurm").mkdir()
    process = subprocess.Popen([sys.executable, "-I", "-S", job.__file__, str(run / "slurm"), "t"])
    time.sleep(0.5)
    started(run, 'print(\'{"kind": "finished", "detail": "done"}\')').wait(30)
    assert process.wait(10) == 0


ECHO = """
import json, sys
for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps({"kind": "finished", "detail": order["run"], "worker": order["worker"]}), flush=True)
"""


def other_run(path: Path) -> Path:
    for name in ("slurm", "alive", "ends", "gone"):
        (path / name).mkdir(parents=True)
    (path / "run.json").write_text('{"sessions": 1, "adopted": []}')
    (path / "plan.pkl").touch()
    return path


def test_a_job_of_a_pool_serves_one_run_after_the_other(run: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    process = started(run, ECHO, pool=str(pool))
    until((run / "ends" / "s1w0.json").exists)
    assert told(run)["stays"]
    order = json.loads((run / "slurm" / "t.json").read_text())
    second = other_run(tmp_path / "second")
    job.link(str(pool), "t.0.1", json.dumps({**order, "run": str(second), "workers": {"0": "s1w7"}}))
    until((second / "ends" / "s1w7.json").exists)
    assert json.loads((second / "ends" / "s1w7.json").read_text())["detail"] == str(second)
    (pool / "t.0.1").unlink()
    pool.rmdir()
    assert process.wait(10) == 0


def test_a_job_that_leaves_its_pool_cannot_be_given_an_order(run: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    assert started(run, ECHO, pool=str(pool), idle_timeout=0.3).wait(30) == 0
    with pytest.raises(FileExistsError):
        job.link(str(pool), "t.0.1", "{}")


def test_a_job_whose_first_run_has_gone_takes_the_next_order(run: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    second = other_run(tmp_path / "second")
    process = started(run, ECHO, pool=str(pool), run=str(tmp_path / "gone_run"), latency_wait=60.0)
    order = json.loads((run / "slurm" / "t.json").read_text())
    job.link(str(pool), "t.0.1", json.dumps({**order, "run": str(second)}))
    until((second / "ends" / "s1w0.json").exists)
    (pool / "t.0.1").unlink()
    pool.rmdir()
    assert process.wait(10) == 0
