"""The slurm backend against made-up answers of SLURM's commands: submission and what ends a worker."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bioimage_py.backends import BackendEvent, dismissal
from bioimage_py.backends.jobs import backend as module
from bioimage_py.backends.jobs import orders, submission
from bioimage_py.backends.jobs.scheduler import UNLISTED
from bioimage_py.backends.slurm import commands
from bioimage_py.backends.slurm.backend import SlurmBackend
from bioimage_py.errors import RunnerError, RunningError
from bioimage_py.runner import SlurmConfig


class Site:
    """A scheduler that says what a test wants."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.submitted: list[dict[str, Any]] = []
        self.answers: list[str] = []
        self.states: dict[str, tuple[str, str]] = {}
        self.cancelled: list[tuple[str, ...]] = []
        self.limit = 100
        self.known: dict[str, str] = {}
        patch.setattr(commands, "array_limit", lambda config: self.limit)
        patch.setattr(commands, "submit", self.submit)
        patch.setattr(commands, "find", self.known.get)
        patch.setattr(commands, "cancel", lambda *what: self.cancelled.append(what))
        self.in_queue: set[str] | None = set()
        patch.setattr(commands, "queued", lambda names: self.in_queue)
        patch.setattr(commands.StateQuery, "ask", lambda query, jobs, names: None)
        patch.setattr(commands.StateQuery, "answer", lambda query: self.states)
        patch.setattr(module, "sleep", lambda seconds: None)
        patch.setattr(submission, "sleep", lambda seconds: None)
        patch.setattr(module, "LOOK_SECONDS", 0.0)
        patch.setattr(module, "END_SECONDS", 0.0)

    def submit(
        self, folder: Path, name: str, n_jobs: int, command: str, config: Any, mem: str | None, avoid: str
    ) -> str:
        order = json.loads((folder / f"{name.removeprefix('bioimage_py-')}.json").read_text())
        self.submitted.append({"name": name, "n": n_jobs, "mem": mem, "avoid": avoid, "order": order})
        if self.answers and (answer := self.answers.pop(0)):
            if answer.startswith("but in: "):
                self.known[name] = "77"
            raise RuntimeError(answer)
        return str(len(self.submitted))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text('{"sessions": 1, "adopted": []}')
    (tmp_path / "driver.alive").touch()
    return tmp_path


def begun(run: Path, n_workers: int, **settings: Any) -> SlurmBackend:
    backend = SlurmBackend(SlurmConfig(**{"latency_wait": 0.0, **settings}))
    more(backend, run, [f"s1w{number}" for number in range(n_workers)])
    return backend


def more(backend: SlurmBackend, run: Path, workers: list[str]) -> None:
    for worker in workers:
        backend.start(worker, SimpleNamespace(folder=str(run)))
    assert backend.ended() == []


def mark(run: Path, worker: str, **what: Any) -> None:
    about = {"host": "n1", "leaving": False, "peak_bytes": 2**20, "memory_kills": 0, **what}
    (run / "ends" / f"{worker}.json").write_text(json.dumps(about))


def one_end(backend: SlurmBackend) -> BackendEvent:
    deadline = time.monotonic() + 10
    while not (events := backend.ended()):
        assert time.monotonic() < deadline
    (event,) = events
    return event


def test_arrays_are_split_and_workers_written_down_before(site: Site, run: Path) -> None:
    site.limit = 10
    backend = begun(run, 25)
    assert [one["n"] for one in site.submitted] == [10, 10, 5]
    assert [one["order"]["job"] for one in site.submitted] == [None] * 3
    workers = [worker for one in site.submitted for worker in one["order"]["workers"].values()]
    assert workers == [f"s1w{number}" for number in range(25)]
    recorded = {json.loads(path.read_text())["job"] for path in (run / "slurm").glob("*.json")}
    assert recorded == {"1", "2", "3"}
    assert len(backend.alive()) == 25


def test_an_unclear_submission_is_not_repeated(site: Site, run: Path) -> None:
    site.answers = ["but in: Socket timed out on send/recv operation"]
    backend = begun(run, 2)
    assert len(site.submitted) == 1
    mark(run, "s1w1", kind="finished", detail="")
    assert one_end(backend).worker == "s1w1"


def test_a_submission_that_is_not_in_is_repeated(site: Site, run: Path) -> None:
    site.answers = ["Unable to contact slurm controller", "Socket timed out"]
    begun(run, 2)
    assert [one["name"] for one in site.submitted] == [site.submitted[0]["name"]] * 3


def test_a_refusal_is_told(site: Site, run: Path) -> None:
    site.answers = ["sbatch: error: invalid partition specified: nowhere"]
    with pytest.raises(RunnerError, match="invalid partition specified: nowhere"):
        begun(run, 2)
    assert len(site.submitted) == 1


def test_a_site_that_takes_fewer_jobs_gets_fewer(site: Site, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.answers = ["QOSMaxSubmitJobPerUserLimit", "", "QOSMaxSubmitJobPerUserLimit", "QOSMaxSubmitJobPerUserLimit"]
    backend = begun(run, 4)
    assert [one["n"] for one in site.submitted] == [4, 2, 2, 1]
    assert len(backend.alive()) == 4
    assert len(list((run / "slurm").glob("*.json"))) == 1
    backend.ended()
    assert len(site.submitted) == 4
    monkeypatch.setattr(backend._submitter, "_next", 0.0)
    backend.ended()
    assert [one["n"] for one in site.submitted[4:]] == [2]
    assert len(backend.alive()) == 4


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("TIMEOUT", "wall time"),
        ("PREEMPTED", "preempted"),
        ("NODE_FAIL", "node"),
        ("CANCELLED", "cancelled"),
        ("OUT_OF_MEMORY", "memory"),
        ("FAILED", "killed"),
        ("COMPLETED", "killed"),
    ],
)
def test_kinds_by_what_the_scheduler_says(site: Site, run: Path, state: str, kind: str) -> None:
    backend = begun(run, 2)
    site.states = {"1_0": ("RUNNING", "n1"), "1_1": (state, "n2")}
    event = one_end(backend)
    assert (event.worker, event.kind) == ("s1w1", kind)
    assert re.match(f"job 1_1 on n2 is {state}", event.detail)
    assert (run / "gone" / "s1w1").exists()
    assert backend.alive() == {"s1w0"}


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ({"kind": "finished", "detail": ""}, "finished"),
        ({"kind": "finished", "detail": "", "leaving": True}, "wall time"),
        ({"kind": "crashed", "detail": "Traceback"}, "crashed"),
        ({"end": -9, "memory_kills": 1, "ready": True}, "memory"),
        ({"end": 1}, "cannot start"),
    ],
)
def test_kinds_by_what_the_worker_left(site: Site, run: Path, what: dict[str, Any], kind: str) -> None:
    backend = begun(run, 1)
    mark(run, "s1w0", **what)
    event = one_end(backend)
    assert (event.kind, event.peak_bytes) == (kind, 2**20)


def test_who_was_killed_by_cancelling_waits_for_the_scheduler(site: Site, run: Path) -> None:
    backend = begun(run, 1)
    mark(run, "s1w0", end=-15, ready=True)
    site.states = {"1_0": ("COMPLETING", "n1")}
    assert backend.ended() == []
    site.states = {"1_0": ("CANCELLED", "n1")}
    assert one_end(backend).kind == "cancelled"


def test_memory_is_doubled_up_to_the_limit(site: Site, run: Path) -> None:
    backend = begun(run, 2, mem="1G", max_mem="3G")
    site.states = {"1_0": ("OUT_OF_MEMORY", "n1"), "1_1": ("OUT_OF_MEMORY", "n1")}
    assert [event.kind for event in backend.ended()] == ["more memory", "more memory"]
    kinds = []
    for number in range(2, 5):
        more(backend, run, [f"s1w{number}"])
        site.states = {f"{number}_0": ("OUT_OF_MEMORY", "n1")}
        kinds.append(one_end(backend).kind)
    assert kinds == ["more memory", "memory", "memory"]
    assert [one["mem"] for one in site.submitted] == ["1024M", "2048M", "3072M", "3072M"]


def test_a_node_that_fails_twice_is_excluded(site: Site, run: Path) -> None:
    backend = begun(run, 1)
    for number in range(1, 4):
        site.states = {f"{number}_0": ("NODE_FAIL", "n2")}
        assert one_end(backend).kind == "node"
        site.states = {}
        more(backend, run, [f"s1w{number}"])
    assert [one["avoid"] for one in site.submitted] == ["", "", "n2", "n2"]


def test_a_job_that_nobody_knows_any_more(site: Site, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = begun(run, 2)
    site.states = {"1_0": ("RUNNING", "n1")}
    assert backend.ended() == []
    monkeypatch.setattr(module, "STALE_SECONDS", -1.0)
    event = one_end(backend)
    assert (event.worker, event.kind) == ("s1w1", "node")
    assert backend.alive() == {"s1w0"}


def test_a_mark_that_is_seen_late_counts(site: Site, run: Path) -> None:
    backend = begun(run, 1, latency_wait=30.0)
    site.states = {"1_0": ("COMPLETED", "n1")}
    assert backend.ended() == []
    mark(run, "s1w0", kind="finished", detail="")
    assert one_end(backend).kind == "finished"


def test_nobody_is_held_dead_while_the_scheduler_does_not_answer(
    site: Site, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = begun(run, 2)
    monkeypatch.setattr(module, "STALE_SECONDS", -1.0)
    monkeypatch.setattr(commands.StateQuery, "answer", lambda query: None)
    for _ in range(5):
        assert backend.ended() == []
    mark(run, "s1w1", kind="finished", detail="")
    assert one_end(backend).worker == "s1w1"
    assert backend.alive() == {"s1w0"}


def test_an_outage_in_the_middle_is_waited_for(site: Site, run: Path) -> None:
    backend = begun(run, 2)
    mark(run, "s1w1", end=-9, ready=True)
    site.states = {"1_1": ("NODE_FAIL", "n1"), "1_0": ("RUNNING", "n1")}
    assert one_end(backend).kind == "node"
    site.answers = ["Unable to contact slurm controller"] * 2
    more(backend, run, ["s1w2"])
    for _ in range(3):
        backend._submitter._next = 0.0
        assert backend.ended() == []
    assert [one["name"] for one in site.submitted[1:]] == [site.submitted[1]["name"]] * 3
    assert backend.alive() == {"s1w0", "s1w2"}
    assert "s1w2" in backend._jobs


def pooled(run: Path, n_workers: int, **settings: Any) -> SlurmBackend:
    backend = SlurmBackend(SlurmConfig(**{"latency_wait": 0.0, **settings}))
    backend.pool = run / "pool"
    (run / "one").mkdir()
    own(run / "one")
    more(backend, run / "one", [f"s1w{number}" for number in range(n_workers)])
    return backend


def own(run: Path) -> None:
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text('{"sessions": 1, "adopted": []}')
    (run / "driver.alive").touch()


def finished(backend: SlurmBackend, run: Path, *workers: str) -> None:
    for worker in workers:
        mark(run, worker, kind="finished", detail="", stays=True)
    deadline = time.monotonic() + 10
    while backend.alive() & set(workers):
        backend.ended()
        assert time.monotonic() < deadline


@pytest.mark.long
def test_jobs_of_a_pool_are_given_the_next_run(site: Site, run: Path) -> None:
    backend = pooled(run, 2)
    finished(backend, run / "one", "s1w0", "s1w1")
    backend.join()
    own(run / "two")
    site.in_queue = {"1_0", "1_1"}
    more(backend, run / "two", ["s1w0", "s1w1", "s1w2"])
    assert [one["n"] for one in site.submitted] == [2, 1]
    assert backend.submitted == 3
    token = site.submitted[0]["name"].removeprefix("bioimage_py-")
    orders = [json.loads((run / "pool" / f"{token}.{index}.1").read_text()) for index in (0, 1)]
    assert {order["run"] for order in orders} == {str(run / "two")}
    assert sorted(worker for order in orders for worker in order["workers"].values()) == ["s1w0", "s1w1"]
    mark(run / "two", "s1w0", kind="crashed", detail="why")
    assert one_end(backend).kind == "crashed"
    backend.abandon()
    backend.close()
    assert not (run / "pool").exists()


def test_a_job_that_has_left_the_pool_is_replaced(site: Site, run: Path) -> None:
    backend = pooled(run, 2)
    finished(backend, run / "one", "s1w0", "s1w1")
    backend.join()
    own(run / "two")
    site.in_queue = {"1_0"}
    token = site.submitted[0]["name"].removeprefix("bioimage_py-")
    (run / "pool" / f"{token}.0.1").touch()
    more(backend, run / "two", ["s1w0"])
    assert [one["n"] for one in site.submitted] == [2, 1]
    assert len(list((run / "two" / "slurm").glob("*.json"))) == 1


def test_a_job_with_too_little_memory_is_not_given_more_to_do(site: Site, run: Path) -> None:
    backend = pooled(run, 2, mem="1G", max_mem="2G")
    finished(backend, run / "one", "s1w0")
    site.states = {"1_1": ("OUT_OF_MEMORY", "n1")}
    assert one_end(backend).kind == "more memory"
    backend.join()
    own(run / "two")
    site.in_queue = {"1_0"}
    more(backend, run / "two", ["s1w0"])
    assert [one["mem"] for one in site.submitted] == ["1024M", "2048M"]


def test_jobs_in_the_queue_are_kept_for_the_next_run(site: Site, run: Path) -> None:
    backend = pooled(run, 2)
    (run / "one" / "alive" / "s1w0").touch()
    site.in_queue = {"1_0", "1_1"}
    backend.join(0.0)
    assert backend.alive() == {"s1w0"}
    assert (run / "one" / "gone" / "s1w1").exists()
    assert site.cancelled == []
    finished(backend, run / "one", "s1w0")
    backend.join()
    own(run / "two")
    site.in_queue = {"1_0", "1_1"}
    more(backend, run / "two", ["s1w0", "s1w1"])
    assert len(site.submitted) == 1


def test_the_same_run_can_be_begun_again(site: Site, run: Path) -> None:
    backend = begun(run, 1)
    mark(run, "s1w0", kind="finished", detail="")
    assert one_end(backend).kind == "finished"
    backend.join()
    more(backend, run, ["s2w0"])
    assert [one["n"] for one in site.submitted] == [1, 1]


def test_jobs_are_cancelled_name_by_name(site: Site, run: Path) -> None:
    site.limit = 1
    backend = begun(run, 2)
    backend.abandon()
    assert site.cancelled == [(f"--name={name}",) for name in sorted(one["name"] for one in site.submitted)]


@pytest.mark.parametrize("pool", [False, True])
def test_waiting_for_jobs_that_end_one_by_one_tells_each_end_once(
    site: Site, run: Path, monkeypatch: pytest.MonkeyPatch, pool: bool
) -> None:
    backend = begun(run, 12)
    if pool:
        backend.pool = run / "pool"
        for number in range(12):
            (run / "alive" / f"s1w{number}").touch()
    site.in_queue = {f"1_{number}" for number in range(12)}
    kept: list[int] = []

    def one_more(seconds: float) -> None:
        kept.append(len(backend._events))
        assert kept[-1] <= 12, "what it keeps grows with the ends, not with the looks"
        if len(kept) % 4 == 0:  # it looks several times meanwhile
            mark(run, f"s1w{len(kept) // 4 - 1}", kind="finished", detail="")

    monkeypatch.setattr(module, "sleep", one_more)
    backend.join()
    assert sorted(end.worker for end in backend.ended()) == sorted(f"s1w{number}" for number in range(12))
    assert backend.ended() == []


@pytest.mark.parametrize("state", ["NODE_FAIL", "TIMEOUT", "CANCELLED"])
def test_a_job_that_is_called_dead_and_lives_keeps_its_blocks(
    site: Site, run: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """As where only slurmd has died: the worker goes on, and a second one must not be in its block."""
    monkeypatch.setattr(dismissal, "FENCED_SECONDS", 0.4)
    backend = begun(run, 1)
    beat = run / "alive" / "s1w0"
    beat.write_text("n1")
    site.states = {"1_0": (state, "n1")}
    for _ in range(7):
        os.utime(beat)
        assert backend.ended() == []
        time.sleep(0.1)
    assert backend.alive() == {"s1w0"}
    assert (run / "gone" / "s1w0").exists(), "it was not told to leave"
    assert one_end(backend).worker == "s1w0"


def test_a_job_that_has_ended_after_it_was_called_dead(site: Site, run: Path) -> None:
    backend = begun(run, 1)
    (run / "alive" / "s1w0").write_text("n1")
    site.states = {"1_0": ("NODE_FAIL", "n1")}
    assert backend.ended() == []
    mark(run, "s1w0", kind="node", detail="it was given up")
    assert one_end(backend).kind == "node"


def test_a_call_does_not_return_before_a_job_that_is_not_listed_has_gone(site: Site, run: Path) -> None:
    backend = begun(run, 1)
    (run / "alive" / "s1w0").write_text("n1")
    site.in_queue = set()
    backend.join(0.5)
    assert backend.alive() == {"s1w0"}
    mark(run, "s1w0", kind="node", detail="it was given up")
    backend.join(10)
    assert backend.alive() == set()


def test_who_comes_next_waits_for_jobs_that_are_not_listed(
    site: Site, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "LEFT_SECONDS", 0.2)
    begun(run, 1).leave()
    (run / "alive" / "s1w0").write_text("n1")
    site.in_queue = set()
    with pytest.raises(RunningError, match="still at work"):
        SlurmBackend(SlurmConfig()).adopt(run)
    assert not SlurmBackend.end_left(run)
    mark(run, "s1w0", kind="node", detail="it was given up")
    assert SlurmBackend(SlurmConfig()).adopt(run) == frozenset()
    assert SlurmBackend.end_left(run)


def test_a_job_that_a_list_leaves_out_lives_as_long_as_it_says_so(site: Site, run: Path) -> None:
    backend = begun(run, 2)
    (run / "alive" / "s1w0").write_text("n1")
    (run / "alive" / "s1w1").write_text("n1")
    long_ago = time.time() - 40
    os.utime(run / "alive" / "s1w1", (long_ago, long_ago))
    mark(run, "s1w1", kind="node", detail="")
    site.states = {"1_0": (UNLISTED, ""), "1_1": (UNLISTED, "")}
    assert one_end(backend).worker == "s1w1"
    for _ in range(5):
        assert backend.ended() == []
    assert backend.alive() == {"s1w0"}
    assert not (run / "gone" / "s1w0").exists()
