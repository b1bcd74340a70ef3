"""Another driver takes over a run whose jobs live: what they hold stays theirs, and everything is done once."""

from __future__ import annotations

import json
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bioimage_py import Execution
from bioimage_py.backends.jobs import orders
from bioimage_py.backends.slurm import commands
from bioimage_py.backends.slurm.backend import SlurmBackend
from bioimage_py.errors import RunningError
from bioimage_py.run_folder import RunFolder, RunState
from bioimage_py.runner import SlurmConfig
from bioimage_py.runner.control.cancel import cancel_run
from bioimage_py.runner.driver.driver import Driver
from bioimage_py.runner.driver.supervisor import Open, StageRules, Start, Supervisor
from bioimage_py.runner.execute import _adopting
from bioimage_py.runner.identity import imports
from bioimage_py.runner.lease.ownership import OwnedRun, end_workers, own_run, reopen_run
from bioimage_py.runner.ledger import batch_lists as lists
from bioimage_py.runner.ledger.batch_lists import BatchLists, Waiting
from bioimage_py.runner.ledger.driver_side import FolderLedger
from bioimage_py.runner.ledger.events import Retry
from bioimage_py.runner.ledger.worker_side import FolderWork
from bioimage_py.runner.planning.stage import Plan, Stage
from bioimage_py.runner.planning.work_list import Units
from bioimage_py.runner.worker.block_runner import BlockRunner, StageHandles
from bioimage_py.runner.worker.loop import run_batch
from bioimage_py.system.files import write_once

VERSIONS = {"python": "3", "numpy": "2", "bioimage_py": "0"}


def square(item: int) -> int:
    return item * item


def add(left: int, right: int) -> int:
    return left + right


def plan_of(n: int = 40, **settings: Any) -> Plan:
    stage = Stage("sum", "items", square, Units(n), returns="fold", merge=add)
    return Plan("job", (stage,), Execution(**{"num_workers": 3, "resume": "auto", **settings}))


def own(run: Path, session: int, adopted: tuple[str, ...] = ()) -> None:
    write_once(run / "run.json", json.dumps({"sessions": session, "adopted": list(adopted)}).encode())


def do(work: FolderWork, worker: str, limit: int = 1000) -> int:
    """Take and run batches; how many there were."""
    handles = StageHandles(work)
    for count in range(limit):
        if (batch := work._take(worker)) is None:
            return count
        runner = BlockRunner(work.plan.stages[batch.stage], handles, batch.stage, "checked", work)
        run_batch(worker, batch, runner, work, 0)
    return limit


def result(ledger: FolderLedger) -> Any:
    """The folded value, after what is in the journals."""
    list(ledger.events(0))
    fold = ledger.records[0].fold
    assert fold is not None
    return fold.result()


EXPECTED = sum(item * item for item in range(40))


def test_what_an_adopted_worker_holds_stays_its_own(tmp_path: Path) -> None:
    plan = plan_of()
    own(tmp_path, 1)
    first = FolderLedger(tmp_path, plan, session=1)
    first.open(0)
    old = FolderWork(tmp_path, plan)
    assert do(old, "s1w0", 2) == 2
    held = old._take("s1w0")
    assert held is not None

    own(tmp_path, 2, ("s1w0",))
    second = FolderLedger(tmp_path, plan, session=2, adopted=frozenset({"s1w0"}))
    n_batches = second.batches(0)
    second.open(0)
    new = FolderWork(tmp_path, plan)
    again = [group for batch in list(new.lists._lists.values()) for group in batch]
    assert again == []
    count = do(new, "s2w0")
    assert count == n_batches - 1, "all but what the adopted worker holds"
    runner = BlockRunner(plan.stages[0], StageHandles(old), 0, "checked", old)
    run_batch("s1w0", held, runner, old, 0)
    assert result(second) == EXPECTED
    assert second.records[0].n_done == 40


def test_an_adopted_worker_takes_what_the_next_driver_publishes(tmp_path: Path) -> None:
    plan = plan_of()
    own(tmp_path, 1)
    FolderLedger(tmp_path, plan, session=1).open(0)
    work = FolderWork(tmp_path, plan)
    assert do(work, "s1w0", 1) == 1
    own(tmp_path, 2, ("s1w0",))
    second = FolderLedger(tmp_path, plan, session=2, adopted=frozenset({"s1w0"}))
    assert work._take("s1w0") is None, "what nobody held is the next driver's"
    second.open(0)
    assert do(work, "s1w0") == second.batches(0)
    assert result(second) == EXPECTED


def test_a_worker_that_was_not_adopted_leaves(tmp_path: Path) -> None:
    plan = plan_of()
    own(tmp_path, 1)
    FolderLedger(tmp_path, plan, session=1).open(0)
    work = FolderWork(tmp_path, plan)
    own(tmp_path, 2, ("s1w1",))
    assert work.claim("s1w0") is None
    assert not list((tmp_path / "claims").glob("*/[0-9]*"))


def test_what_a_driver_publishes_that_has_lost_the_run_is_not_taken(tmp_path: Path) -> None:
    plan = plan_of()
    own(tmp_path, 1)
    first = FolderLedger(tmp_path, plan, session=1)
    work = FolderWork(tmp_path, plan)
    own(tmp_path, 2, ("s1w0",))
    first.open(0)  # it does not know yet
    assert work._take("s1w0") is None
    assert first.superseded
    assert not FolderLedger(tmp_path, plan, session=2, adopted=frozenset({"s1w0"})).superseded


def test_an_adopted_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    plan = plan_of()
    own(tmp_path, 1)
    FolderLedger(tmp_path, plan, session=1).open(0)
    work = FolderWork(tmp_path, plan)
    assert do(work, "s1w0", 1) == 1
    assert work._take("s1w0") is not None
    own(tmp_path, 2, ("s1w0",))
    second = FolderLedger(tmp_path, plan, session=2, adopted=frozenset({"s1w0"}))
    second.open(0)
    list(second.events(0))
    loss = second.lost("s1w0")
    assert loss.groups
    assert second.reissue(loss)
    do(FolderWork(tmp_path, plan), "s2w0")
    assert result(second) == EXPECTED


def test_a_group_that_failed_without_a_driver_is_run_again(tmp_path: Path) -> None:
    plan = plan_of()
    broken = Plan("job", (Stage("sum", "items", _fails_once(), Units(40), returns="fold", merge=add),), plan.execution)
    own(tmp_path, 1)
    FolderLedger(tmp_path, broken, session=1).open(0)
    old = FolderWork(tmp_path, broken)
    assert do(old, "s1w0", 1) == 1
    own(tmp_path, 2, ("s1w0",))
    second = FolderLedger(tmp_path, plan, session=2, adopted=frozenset({"s1w0"}))
    second.open(0)
    do(FolderWork(tmp_path, plan), "s2w0")
    assert result(second) == EXPECTED


class _fails_once:
    def __init__(self) -> None:
        self.failed = False

    def __call__(self, item: int) -> int:
        if not self.failed:
            self.failed = True
            raise ValueError("once")
        return item * item


def test_a_batch_for_more_memory_waits_for_a_worker_that_has_it(tmp_path: Path) -> None:
    plan = plan_of()
    own(tmp_path, 1)
    ledger = FolderLedger(tmp_path, plan, session=1)
    ledger.open(0)
    first = FolderWork(tmp_path, plan, memory=2**30)
    assert first._take("s1w0") is not None
    loss = ledger.lost("s1w0")
    assert ledger.reissue(loss, memory=2**31)
    small = FolderWork(tmp_path, plan, memory=2**30)
    do(small, "s1w1")
    list(ledger.events(0))
    assert 0 < ledger.records[0].n_done < 40
    assert do(FolderWork(tmp_path, plan, memory=2**31), "s1w2") > 0
    assert result(ledger) == EXPECTED


def test_a_worker_leaves_when_no_driver_has_lived_for_a_while(tmp_path: Path) -> None:
    beat = tmp_path / "driver.alive"
    beat.touch()
    waiting = Waiting(beat, 0.2)
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        os.utime(beat)
        assert not waiting.in_vain()
        time.sleep(0.02)
    time.sleep(0.3)
    assert waiting.in_vain()
    assert not Waiting(beat, None).in_vain()
    beat.unlink()
    gone = Waiting(beat, 0.1)
    assert not gone.in_vain()
    time.sleep(0.15)
    assert gone.in_vain()


def test_the_supervisor_starts_only_what_is_missing() -> None:
    decisions = Supervisor([StageRules(8, 8, 1, 10)], 3, live=2).begin()
    assert decisions == [Open(0), Start(1)]
    assert Supervisor([StageRules(8, 8, 1, 10)], 3, live=5).begin() == [Open(0)]


class Quiet:
    """A backend whose workers do nothing."""

    def __init__(self) -> None:
        self.left = False
        self.limits = SlurmBackend.limits
        self.submitted = 0
        self.job_bytes = self.most_workers = None

    def start(self, worker: str, work: Any) -> None:
        self.started = worker

    def alive(self) -> set[str]:
        return set()

    def ended(self) -> list[Any]:
        return []

    def leave(self) -> None:
        self.left = True


def test_a_driver_that_has_lost_its_run_leaves_the_workers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bioimage_py.runner.driver.driver.LEASE_SECONDS", 0.0)
    driver = {"host": "there", "boot": "b", "pid": 7, "start": "1"}
    state = RunState("job", "job", "running", 1, driver, VERSIONS, [], {}, {}, [40], True, 1)
    state.write(tmp_path, new=True)
    ledger, backend = FolderLedger(tmp_path, plan_of(), session=1), Quiet()
    driver = Driver(ledger.plan, backend, ledger)  # type: ignore[arg-type]
    state.sessions, state.driver = 2, {"host": "elsewhere", "boot": "b", "pid": 8, "start": "1"}
    state.write(tmp_path)
    with pytest.raises(RunningError, match="process 8 on elsewhere has taken over"):
        driver.run()
    assert backend.left
    assert not (tmp_path / "over").exists()


def dead_run(root: Path, plan: Plan) -> Path:
    """A run whose driver is dead."""
    run = own_run(plan, VERSIONS, root)
    run.release("detached")
    return run.folder


def test_taking_over_records_who_was_adopted(tmp_path: Path) -> None:
    plan = plan_of()
    folder = dead_run(tmp_path, plan)
    asked: list[Path] = []

    def adopt(where: Path) -> frozenset[str]:
        asked.append(where)
        return frozenset({"s1w1", "s1w0"})

    run = reopen_run(folder, plan.stages, adopt)
    try:
        state = RunState.read(folder)
        assert state is not None
        assert (state.sessions, state.adopted, state.state) == (2, ["s1w0", "s1w1"], "running")
        assert asked == [folder]
        with pytest.raises(RunningError, match="is writing the same region"):
            reopen_run(folder, plan.stages, adopt)
    finally:
        run.release("failed")


def test_the_same_call_keeps_the_places_of_its_jobs_in_the_queue(tmp_path: Path) -> None:
    plan = plan_of()
    folder = dead_run(tmp_path, plan)
    kept = own_run(plan, VERSIONS, tmp_path, lambda where: frozenset({"s1w0"}))
    assert (kept.folder, kept.state.adopted) == (folder, ["s1w0"])
    kept.release("detached")
    anew = own_run(plan, VERSIONS, tmp_path)
    assert anew.folder != folder, "nothing was done, and nobody waits"
    anew.release("failed")


def test_a_run_that_was_lost_is_not_touched(tmp_path: Path) -> None:
    run: OwnedRun = own_run(plan_of(), VERSIONS, tmp_path)
    other = RunState.read(run.folder)
    assert other is not None
    other.sessions += 1
    other.write(run.folder)
    with pytest.raises(RunningError, match="has taken over"):
        run.complete()
    run.release("failed")
    now = RunState.read(run.folder)
    assert now is not None
    assert (now.state, now.sessions) == ("running", 2)
    assert (run.folder / "driver.alive").exists()


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Any:
    site = SimpleNamespace(jobs=set(), names={}, cancelled=[])
    monkeypatch.setattr(commands, "queued", lambda names: site.jobs)
    monkeypatch.setattr(commands, "find", lambda name: site.names.get(name))
    monkeypatch.setattr(commands, "cancel", lambda *what: site.cancelled.append(what))
    return site


def ordered(run: Path, token: str, workers: list[str], job: str | None) -> None:
    orders.prepare(run)
    own(run, 1)
    named = {str(index): worker for index, worker in enumerate(workers)}
    order = orders.Order.of(f"bioimage_py-{token}", named, run, 2**30, None, SlurmConfig())
    order.job = job
    order.write(run / "slurm" / f"{token}.json")


def test_jobs_that_wait_or_run_are_adopted(queue: Any, tmp_path: Path) -> None:
    ordered(tmp_path, "a", ["s1w0", "s1w1", "s1w2", "s1w3"], "7")
    ordered(tmp_path, "b", ["s1w4"], None)
    ordered(tmp_path, "c", ["s1w5"], None)
    queue.jobs, queue.names = {"7_0", "7_1", "7_3", "8_0"}, {"bioimage_py-b": "8"}
    (tmp_path / "ends" / "s1w1.json").write_text("{}")
    (tmp_path / "gone" / "s1w3").touch()
    backend = SlurmBackend(SlurmConfig())
    assert backend.adopt(tmp_path) == {"s1w0", "s1w4"}
    assert backend.alive() == {"s1w0", "s1w4"}
    assert queue.cancelled == []


def test_without_an_answer_heartbeats_tell_who_lives(queue: Any, tmp_path: Path) -> None:
    ordered(tmp_path, "a", ["s1w0", "s1w1", "s1w2"], "7")
    queue.jobs = None
    (tmp_path / "alive" / "s1w0").touch()
    (tmp_path / "alive" / "s1w1").touch()
    os.utime(tmp_path / "alive" / "s1w1", (time.time() - 100,) * 2)
    assert [worker.worker for worker in orders.living(tmp_path, commands)] == ["s1w0"]


def test_jobs_of_an_earlier_driver_job_are_cancelled(queue: Any, tmp_path: Path) -> None:
    ordered(tmp_path, "a", ["s1w0"], "7")
    (tmp_path / "slurm" / "bioimage_py-driver-1").touch()
    assert SlurmBackend(SlurmConfig()).adopt(tmp_path) == frozenset()
    assert queue.cancelled == [("--name=bioimage_py-driver-1",)]


def test_nobody_goes_on_while_jobs_of_a_run_cannot_be_cancelled(
    queue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered(tmp_path, "a", ["s1w0"], "7")
    driver = {"host": "there", "boot": "b", "pid": 7, "start": "1"}
    state = RunState("job", "job", "running", 1, driver, VERSIONS, [], {}, {}, [40], True, 1, job_type="slurm")
    state.write(tmp_path, new=True)
    queue.jobs = {"7_0"}
    monkeypatch.setattr("bioimage_py.backends.jobs.backend.QUEUE_SECONDS", 0.3)
    with pytest.raises(RunningError, match="cannot be cancelled") as error:
        end_workers(tmp_path)
    assert error.value.remedy == "squeue --me --name=bioimage_py-a; scancel --me --name=bioimage_py-a"
    assert ("--name=bioimage_py-a",) in queue.cancelled
    end_workers(tmp_path, frozenset({"s1w0"}))
    queue.jobs = set()
    end_workers(tmp_path)


def test_jobs_of_a_run_that_has_lost_its_state_are_found(
    queue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered(tmp_path, "a", ["s1w0"], "7")
    RunFolder(tmp_path).state.unlink()
    queue.jobs = {"7_0"}
    monkeypatch.setattr("bioimage_py.backends.jobs.backend.QUEUE_SECONDS", 0.3)
    for call in (end_workers, cancel_run):
        with pytest.raises(RunningError, match="cannot be cancelled") as error:
            call(tmp_path)
        assert "scancel --me --name=bioimage_py-a" in error.value.remedy
        assert queue.cancelled.pop() == ("--name=bioimage_py-a",)
    queue.jobs = set()
    assert cancel_run(tmp_path) is None


@pytest.mark.parametrize("changed", ["nothing", "the function", "what it imports"])
def test_workers_with_older_code_are_not_adopted(changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "code_of", lambda stages: {"module:function": "new", "module:other": "same"})
    root = tmp_path / "runs"
    plan = plan_of()
    folder = dead_run(root, plan)
    code = {"module:function": "older" if changed == "what it imports" else "new", "other_module:not_told_now": "x"}
    RunFolder(folder).summary.write_text(json.dumps({"code": code}))
    state = RunState.read(folder)
    assert state is not None
    if changed == "the function":
        name = next(name for name in state.definition if name.endswith(".function"))
        state.definition[name] = "older"
        state.write(folder)
    plan = replace(plan, execution=replace(plan.execution, resume=str(folder)))
    backend = SimpleNamespace(adopt=lambda _: frozenset({"s1w0"}))
    run = own_run(plan, VERSIONS, root, _adopting(plan, backend))  # type: ignore[arg-type]
    assert run.folder == folder
    assert run.state.adopted == (["s1w0"] if changed == "nothing" else [])
    run.release("failed")


def test_lists_of_a_torn_session_are_told(tmp_path: Path) -> None:
    own(tmp_path, 1)
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches" / "s1.0").write_bytes(pickle.dumps([])[:3])
    with pytest.raises(OSError, match="is damaged"):
        BatchLists(tmp_path).take("s1w0")
    assert lists.own_session("s12w30") == "s12"


def test_retries_keep_away_from_the_worker(tmp_path: Path) -> None:
    plan = plan_of()
    own(tmp_path, 1)
    ledger = FolderLedger(tmp_path, plan, session=1)
    ledger.open(0)
    work = FolderWork(tmp_path, plan)
    do(work, "s1w0")
    ledger.retry(Retry(0, 3, (3,), 1, "s1w0"))
    assert work._take("s1w0") is None
    batch = FolderWork(tmp_path, plan)._take("s1w1")
    assert batch is not None
    assert batch.blocks == (3,)
