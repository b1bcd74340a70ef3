"""The ledger as a folder: claims, journals, results and what is left of them by whoever died."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import BioimageError, ParameterError, RunnerError, StorageError
from bioimage_py.runner import RunnerConfig
from bioimage_py.runner.execution import Execution
from bioimage_py.runner.ledger import driver_side, worker_side
from bioimage_py.runner.ledger.batch_lists import BatchLists, Bell
from bioimage_py.runner.ledger.driver_side import FolderLedger
from bioimage_py.runner.ledger.encoding import dump_record, load_record
from bioimage_py.runner.ledger.events import BatchEnded, BlocksDone, GroupFailed, Reissued, Retry
from bioimage_py.runner.ledger.interface import Loss
from bioimage_py.runner.ledger.journal import load_stage
from bioimage_py.runner.ledger.records import BlockFailure, FailedGroup, Record
from bioimage_py.runner.ledger.worker_side import FolderWork
from bioimage_py.runner.planning.build import items_stage, once_stage
from bioimage_py.runner.planning.stage import Plan, Stage
from bioimage_py.runner.planning.work_list import Batch
from bioimage_py.system import frames
from bioimage_py.system.frames import frame, read_frames


def add(left: int, right: int) -> int:
    return left + right


def plan_of(*stages: Stage, num_workers: int = 2, **settings: Any) -> Plan:
    return Plan("job", stages, Execution(num_workers=num_workers, progress=False, **settings))


def folding(n: int = 40, name: str = "fold") -> Stage:
    return items_stage(lambda item: item, n, None, name=name, returns="fold", merge=add)


def listing(n: int = 40) -> Stage:
    return items_stage(lambda item: item * 10, n, None, name="list")


def drain(work: FolderWork, worker: str, limit: int = 10**9) -> list[Batch]:
    """Do batches as a worker would, until none is left or so many are done."""
    batches: list[Batch] = []
    while len(batches) < limit and (batch := work._take(worker)) is not None:
        recorder = work.recorder(worker, batch)
        stage = work.plan.stages[batch.stage]
        for group, ids in batch.groups(stage.units):
            recorder.done(group, ids, [0.0] * len(ids), [stage.function(item) for item in ids])
        recorder.flush(ended=True)
        batches.append(batch)
    return batches


def events_of(ledger: FolderLedger) -> list[Any]:
    return list(ledger.events(0))


# --- claims --------------------------------------------------------------------------------------------------------


def test_each_batch_has_one_owner_among_threads(tmp_path: Path) -> None:
    plan = plan_of(listing(20_000), num_workers=24)
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    owned: dict[str, list[Batch]] = {}
    start = threading.Barrier(16)

    def claim(worker: str) -> None:
        work = FolderWork(tmp_path, plan)
        start.wait()
        owned[worker] = []
        while (batch := work._take(worker)) is not None:
            owned[worker].append(batch)

    threads = [threading.Thread(target=claim, args=(f"s0w{n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [(batch.start, batch.stop) for batches in owned.values() for batch in batches]
    assert len(taken) == ledger.batches(0) > 100
    assert sorted(number for start_, stop in taken for number in range(start_, stop)) == list(range(20_000))
    for worker, batches in owned.items():
        assert all(ledger._owner(batch.key) == worker for batch in batches)


def test_each_batch_has_one_owner_among_processes(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path, plan_of(listing(20_000), num_workers=24))
    ledger.open(0)
    code = f"""
        import pathlib, sys, time
        from bioimage_py.runner.ledger.worker_side import FolderWork
        work = FolderWork(pathlib.Path({str(tmp_path)!r}), None)
        print(flush=True)
        sys.stdin.readline()
        while (batch := work._take(sys.argv[1])) is not None:
            print(batch.start, batch.stop)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    processes = [
        subprocess.Popen([*command, f"s0w{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    spans = [tuple(map(int, line.split())) for process in processes for line in process.communicate()[0].splitlines()]
    assert len(spans) == ledger.batches(0)
    assert sorted(number for start, stop in spans for number in range(start, stop)) == list(range(20_000))


def test_many_workers_try_few_batches_that_others_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(listing(20_000), num_workers=20)
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    n_batches, links = ledger.batches(0), []
    link = os.link
    monkeypatch.setattr(os, "link", lambda *paths: (links.append(paths), link(*paths)))
    lists = {f"s0w{number}": FolderWork(tmp_path, plan) for number in range(20)}
    taken: list[Batch] = []
    while lists:
        for worker in list(lists):
            batch = lists[worker]._take(worker)
            if batch is None:
                del lists[worker]
            else:
                taken.append(batch)
    assert len({batch.key for batch in taken}) == len(taken) == n_batches
    assert n_batches > 200
    assert len(links) < 3 * n_batches  # not twenty workers times so many batches


def test_workers_that_all_ask_at_once_soon_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(listing(20_000), num_workers=40)
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    step, attempts = threading.Barrier(40), []
    link = BatchLists.link

    def in_step(lists: BatchLists, owner: str, batch: Batch) -> bool:
        attempts.append(owner)
        with suppress(threading.BrokenBarrierError):
            step.wait(0.2)  # until the first has got one, all try together
        return link(lists, owner, batch)

    monkeypatch.setattr(BatchLists, "link", in_step)
    taken: list[Batch | None] = []
    works = [FolderWork(tmp_path, plan) for _ in range(40)]
    threads = [
        threading.Thread(target=lambda work=work, name=f"s0w{number}": taken.append(work._take(name)))
        for number, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = {batch.key for batch in taken if batch is not None}
    assert len(keys) == len(taken) == 40
    assert len(attempts) < 40 * 41 / 2 / 2  # in lock step it would be 820


def test_a_claim_whose_answer_was_lost_is_still_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = FolderLedger(tmp_path, plan_of(listing(1)))
    ledger.open(0)
    link = os.link

    def link_and_say_it_exists(source: Any, target: Any) -> None:
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", link_and_say_it_exists)
    batch = ledger.workers()._take("s0w0")
    assert batch is not None
    assert ledger._owner(batch.key) == "s0w0"
    monkeypatch.undo()
    assert ledger.workers()._take("s0w1") is None


def test_a_worker_of_an_earlier_session_cannot_take_what_the_next_one_waits_for(tmp_path: Path) -> None:
    plan = plan_of(folding())
    first = FolderLedger(tmp_path, plan, session=1)
    first.open(0)
    late = first.workers()
    assert late._take("s1w0") is not None
    second = FolderLedger(tmp_path, plan, session=2)
    second.open(0)
    left = second.batches(0)
    taken = [late._take("s1w0") for _ in range(3)]
    assert all(batch is None or batch.key[0] == 0 for batch in taken)
    assert len(drain(second.workers(), "s2w0")) == left
    events_of(second)
    assert second.records[0].fold is not None
    assert second.records[0].fold.result() == sum(range(40))


def test_a_batch_to_be_left_to_others_is_taken_by_the_last_worker(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path, plan_of(listing()))
    ledger.retry(Retry(0, 3, (3,), 1, avoid="s0w0"))
    work = ledger.workers()
    assert work._take("s0w0") is None
    ledger.alone()
    batch = work._take("s0w0")
    assert batch is not None
    assert batch.blocks == (3,)


# --- frames --------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.data())
def test_frames_end_where_the_first_damage_is(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(map(frame, payloads))
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(st.booleans())
    changed = whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :] if damaged else whole[:place]
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"frames-{os.getpid()}"
    path.write_bytes(changed)
    try:
        found = [payload for _, payload in read_frames(path)]
    finally:
        path.unlink()
    ends = np.cumsum([len(frame(payload)) for payload in payloads])
    assert found == payloads[: int(np.searchsorted(ends, place, side="right"))]


def test_a_journal_is_read_as_far_as_it_is_written(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path, plan_of(listing()))
    ledger.open(0)
    drain(ledger.workers(), "s0w0", 1)
    path = tmp_path / "journal" / "0" / "s0w0"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        fresh = load_stage(tmp_path, 0, ledger.plan.stages[0])[0]
        assert len(fresh.ids) == 0
    path.write_bytes(whole[: len(whole) // 2])
    assert events_of(ledger) == []
    path.write_bytes(whole)
    assert [type(event) for event in events_of(ledger)] == [BlocksDone, BatchEnded]


# --- dead workers --------------------------------------------------------------------------------------------------


def test_what_a_worker_records_after_it_was_held_dead_does_not_count(tmp_path: Path) -> None:
    plan = plan_of(folding(), once_stage(lambda earlier: earlier["fold"], name="after"))
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    zombie = ledger.workers()
    drain(zombie, "s0w0", 1)
    events_of(ledger)
    batch = zombie._take("s0w0")
    assert batch is not None
    recorder = zombie.recorder("s0w0", batch)
    loss = ledger.lost("s0w0")
    assert loss.batch == batch
    assert not loss.began
    assert list(loss.groups) == list(range(batch.start, batch.stop))
    assert ledger.reissue(loss) > 0
    for group, ids in batch.groups(plan.stages[0].units):  # it goes on
        recorder.done(group, ids, [0.0], [group])
    recorder.flush(ended=True)
    assert events_of(ledger) == []
    drain(ledger.workers(), "s0w1")
    ended = [event for event in events_of(ledger) if isinstance(event, BatchEnded)]
    assert all(event.worker == "s0w1" for event in ended)
    ledger.open(1)
    assert ledger.workers().earlier(1)["fold"] == sum(range(40)), "as workers of the next stage see it"
    again = FolderLedger(tmp_path, plan, session=1)
    assert again.records[0].fold is not None
    assert again.records[0].fold.result() == sum(range(40)), "as the next driver sees it"


def test_what_an_ended_stage_says_does_not_change_any_more(tmp_path: Path) -> None:
    plan = plan_of(folding(), once_stage(lambda earlier: earlier["fold"], name="after"))
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    work = ledger.workers()
    batch = work._take("s0w0")
    assert batch is not None
    drain(ledger.workers(), "s0w1")
    recorder = work.recorder("s0w0", batch)
    for group, ids in batch.groups(plan.stages[0].units):
        recorder.done(group, ids, [0.0], [group])
    recorder.flush(ended=True)
    events_of(ledger)
    ledger.open(1)
    for worker in ("s0w0", "s0w2"):
        again = work.recorder(worker, batch)
        again.done(0, [0], [0.0], [1000])
        again.flush(ended=True)
    assert ledger.workers().earlier(1)["fold"] == sum(range(40))
    assert FolderLedger(tmp_path, plan, session=1).records[0].fold.result() == sum(range(40))  # type: ignore[union-attr]


def test_a_dead_worker_that_lives_on_keeps_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims after it was held dead, in its stage and in the next one: the driver gives that to others."""
    monkeypatch.setattr("bioimage_py.runner.ledger.driver_side.RECLAIM_SECONDS", 0.0)
    plan = plan_of(folding(), folding(name="next"))
    ledger = FolderLedger(tmp_path, plan)
    zombie, others = ledger.workers(), ledger.workers()
    for stage in (0, 1):
        ledger.open(stage)
        if stage == 0:
            assert ledger.lost("s0w0") == Loss(None)
        taken = zombie._take("s0w0")
        assert taken is not None
        open_batches = ledger.batches(stage)
        while open_batches:
            drain(others, "s0w1")
            for event in events_of(ledger):
                open_batches -= isinstance(event, BatchEnded)
                open_batches += event.batches - 1 if isinstance(event, Reissued) else 0
        recorder = zombie.recorder("s0w0", taken)
        for group, ids in taken.groups(plan.stages[stage].units):
            recorder.done(group, ids, [0.0], [group])
        recorder.flush(ended=True)
        assert events_of(ledger) == []
        fold = ledger.records[stage].fold
        assert fold is not None
        assert fold.result() == sum(range(40))


def test_groups_that_failed_are_not_given_out_twice(tmp_path: Path) -> None:
    plan = plan_of(folding())
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    work = ledger.workers()
    batch = work._take("s0w0")
    assert batch is not None
    assert batch.stop - batch.start > 3
    recorder = work.recorder("s0w0", batch)
    recorder.done(0, [0], [0.0], [0])
    failure = BlockFailure.of(0, 1, "", "s0w0", 0, ValueError("bad"))
    recorder.fail(1, [1], [failure])
    failed = [event for event in events_of(ledger) if isinstance(event, GroupFailed)]
    assert [event.group for event in failed] == [1]
    loss = ledger.lost("s0w0")
    assert list(loss.groups) == list(range(2, batch.stop)), "0 is done, and 1 is retried by itself"


def test_a_retry_that_was_done_before_its_worker_died_is_not_done_again(tmp_path: Path) -> None:
    plan = plan_of(folding())
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    ledger.retry(Retry(0, 3, (3,), 1, avoid=None))
    work = ledger.workers()
    batch = next(batch for batch in iter(lambda: work._take("s0w0"), None) if batch.blocks)
    recorder = work.recorder("s0w0", batch)
    recorder.done(3, [3], [0.0], [3])
    recorder.flush()  # and then it dies, before it can say that the batch has ended
    events_of(ledger)
    assert ledger.reissue(ledger._loss(batch)) == 0


def test_a_batch_ends_once(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path, plan_of(listing(1)))
    ledger.open(0)
    work = ledger.workers()
    batch = work._take("s0w0")
    assert batch is not None
    for _ in range(2):
        work.recorder("s0w0", batch).flush(ended=True)
    assert [type(event) for event in events_of(ledger)] == [BatchEnded]


def test_marks_of_a_machine_that_was_restarted_are_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for durability, kept in (("process", 0), ("node", 40)):
        plan, run = plan_of(listing(), durability=durability), tmp_path / durability
        ledger = FolderLedger(run, plan)
        ledger.open(0)
        work = ledger.workers()
        drain(work, "s0w0")
        work.shut()
        assert FolderLedger(run, plan, session=1).records[0].n_done == 40
        with monkeypatch.context() as patch:
            patch.setattr("bioimage_py.system.processes._boot_id", lambda: "another boot")
            again = FolderLedger(run, plan, session=2)
            assert again.records[0].n_done == kept
            again.open(0)
            drain(again.workers(), "s2w0")
            events_of(again)
            assert [value for _, value in again.records[0].values()] == [10 * item for item in range(40)]


# --- results -------------------------------------------------------------------------------------------------------


def test_large_arrays_of_once_stages_are_mapped_files(tmp_path: Path) -> None:
    table = np.arange(2**18, dtype=np.int64)
    plan = plan_of(once_stage(lambda earlier: {"table": table, "n": 3}, name="merge"), listing())
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    work = ledger.workers()
    batch = work._take("s0w0")
    assert batch is not None
    recorder = work.recorder("s0w0", batch)
    recorder.done(0, [0], [0.0], [plan.stages[0].function(None)])
    recorder.flush(ended=True)
    events_of(ledger)
    value = ledger.workers().earlier(1)["merge"]
    np.testing.assert_array_equal(value["table"], table)
    (file,) = (tmp_path / "results" / "0").glob("s0w0.*")
    with open(file, "r+b") as changed:
        changed.write(np.int64(7).tobytes())
    assert value["table"][0] == 7, "it is the file"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StorageError, match=rf"{file.name} is damaged"):
        _ = ledger.workers().earlier(1)["merge"]
    assert FolderLedger(tmp_path, plan, session=1).records[0].n_done == 0, "the next driver has it done again"


def test_a_missing_or_damaged_result_is_named_and_done_again_by_the_next_driver(tmp_path: Path) -> None:
    plan = plan_of(listing())
    ledger = FolderLedger(tmp_path, plan)
    ledger.open(0)
    drain(ledger.workers(), "s0w0")
    events_of(ledger)
    path = tmp_path / "results" / "0" / "s0w0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="results/0/s0w0 is damaged at byte"):
        list(ledger.records[0].values())
    again = FolderLedger(tmp_path, plan, session=1)
    assert 0 < again.records[0].n_done < 40
    path.unlink()
    assert FolderLedger(tmp_path, plan, session=2).records[0].n_done == 0


class Awkward(Exception):
    """Cannot be pickled, cannot be shown."""

    def __init__(self, lock: Any) -> None:
        super().__init__("awkward")
        self.lock = lock

    def __str__(self) -> str:
        raise ValueError("no text")


class Twice(Exception):
    """Pickles, and cannot be made again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("twice")


@pytest.mark.parametrize("error", [Awkward(threading.Lock()), Twice(1, 2)], ids=["awkward", "twice"])
def test_an_exception_that_cannot_travel_goes_as_text(error: Exception, tmp_path: Path) -> None:
    failure = BlockFailure.of(0, 1, "[0:4]", "s0w0", 0, error)
    record = Record("s0w0", Batch(0, 0, 1), failed=FailedGroup(1, (1,), 0, (failure,)))
    read, _ = load_record(dump_record(record, None), "s0w0", 0, opened=True)
    assert read.failed is not None
    (arrived,) = read.failed.failures
    again = pickle.loads(pickle.dumps(failure))
    assert (again.cause, str(again.error)) == (arrived.cause, str(arrived.error)), "a report that is pickled, too"
    assert isinstance(arrived.error, RuntimeError)
    assert type(error).__name__ in str(arrived.error)
    assert (arrived.cause, arrived.traceback) == (failure.cause, failure.traceback)


def test_an_exception_that_cannot_travel_fails_its_block_alone(tmp_path: Path) -> None:
    runner = bp.get_runner("local", RunnerConfig(tmp_root=tmp_path))

    def function(item: int) -> int:
        if item == 7:
            raise Awkward(threading.Lock())
        return item

    with pytest.raises(RunnerError, match=r"1 block\(s\) failed") as error:
        runner.map(function, 50)
    assert error.value.failed_block_ids == [7]
    assert "Awkward" in str(error.value)
    folder = Path(str(error.value.tmp_folder))
    texts = [path.read_text() for path in (folder / "errors").iterdir()]
    assert len(texts) == 2
    assert all("raise Awkward" in text and text.startswith("block 7") for text in texts)


def test_a_value_too_large_for_a_record_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LARGEST", 10_000)
    with pytest.raises(ParameterError, match=r"has 20\d{3} bytes, 9999 at most can be kept"):
        bp.runner.get_runner("local", RunnerConfig(tmp_root=tmp_path)).map(
            lambda item: bytes(20_000 if item == 1 else 10), 3, has_return_val=True
        )


def test_a_worker_reads_only_the_earlier_stages_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(listing(10), folding(10), once_stage(lambda earlier: earlier["fold"], name="sum"))
    ledger, work = FolderLedger(tmp_path, plan), FolderWork(tmp_path, plan)
    for stage in range(2):
        ledger.open(stage)
        drain(work, "s0w0")
        events_of(ledger)
    read: list[int] = []
    load = worker_side.load_stage
    monkeypatch.setattr(
        worker_side, "load_stage", lambda at, index, stage: (read.append(index), load(at, index, stage))[1]
    )
    earlier = work.earlier(2)
    assert read == []
    assert [earlier["fold"], earlier["fold"]] == [45, 45]
    assert read == [1]


def test_a_driver_that_waits_looks_less_and_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(listing(10))
    ledger, work = FolderLedger(tmp_path, plan), FolderWork(tmp_path, plan)
    ledger.open(0)
    pauses: list[float] = []
    monkeypatch.setattr(Bell, "wait", lambda bell, heard, seconds: pauses.append(seconds))
    assert list(ledger.events(0.002)) == []
    assert list(ledger.events(0.002)) == []
    assert pauses[0] < driver_side.POLL_SECONDS / 4
    assert max(pauses) >= driver_side.POLL_SECONDS
    drain(work, "s0w0")
    assert events_of(ledger)
    pauses.clear()
    assert list(ledger.events(0.0001)) == []
    assert pauses[:1] <= [driver_side.POLL_SECONDS / 8]


def test_threads_hear_of_each_other_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(listing(10))
    ledger = FolderLedger(tmp_path, plan)
    work = ledger.workers()
    assert isinstance(work, FolderWork)
    waits: list[float] = []
    wait = Bell.wait

    def patient(bell: Bell, heard: int, seconds: float) -> None:
        waits.append(seconds)
        wait(bell, heard, 60)  # only the bell ends it

    monkeypatch.setattr(Bell, "wait", patient)
    done: list[Batch] = []

    def worker() -> None:
        while (batch := work.claim("s0w0")) is not None:
            recorder = work.recorder("s0w0", batch)
            for group, ids in batch.groups(plan.stages[0].units):
                recorder.done(group, ids, [0.0], [0])
            recorder.flush(ended=True)
            done.append(batch)

    thread = threading.Thread(target=worker)
    thread.start()
    ledger.open(0)
    ended = 0
    while ended < ledger.batches(0):
        ended += sum(isinstance(event, BatchEnded) for event in ledger.events(60))
    ledger.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(done) == ended
    assert waits


def test_a_value_that_cannot_travel_is_said(tmp_path: Path) -> None:
    runner = bp.get_runner("local", RunnerConfig(tmp_root=tmp_path))
    with pytest.raises(ParameterError, match=r"cannot be kept in the run folder: cannot pickle '_thread.lock' object"):
        runner.map(lambda item: threading.Lock(), 50)


# --- torn files ----------------------------------------------------------------------------------------------------


def interrupted(root: Path) -> Path:
    """A run of in-place blocks with values that failed at its last block; returns its folder."""
    data = zarr.create_array(root / "data.zarr", shape=(24,), chunks=(2,), dtype="int16", zarr_format=2)
    data[:] = np.arange(24)

    with pytest.raises(RunnerError) as error:
        run(root, fails=True)
    return Path(str(error.value.tmp_folder))


def run(root: Path, *, fails: bool = False) -> Any:
    data = zarr.open_array(root / "data.zarr", mode="r+")
    execution = Execution(num_workers=1, progress=False, retries=0, version="1")

    def function(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        roi = bp.to_roi(block)
        if fails and block.id == 11:
            raise OSError("the last block")
        outputs[0][roi] = inputs[0][roi] + 1
        return int(block.id)

    return bp.map_blocks(
        function, [data], [data], block_shape=2, has_return_val=True, name="torn", execution=execution
    ).results


def last_record(path: Path) -> int:
    """Where the last record of a file begins: all of it, where it is no journal."""
    if path.parent.parent.name not in ("journal", "results"):
        return 0
    ends = [0, *(end for end, _ in read_frames(path))]
    return ends[-2] if len(ends) > 1 else 0


def cuts(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.rglob("*")):
        # the units that undo keeps are the data themselves, linked: nobody writes to them
        unit = {"kept", "view"} & set(path.parts) and path.name != ".zarray"
        if path.is_file() and not unit:
            size, begin = path.stat().st_size, last_record(path)
            # text for people, and files that only one frame is in, are as torn in one place as in another
            step = 1 if begin or path.parent.parent.name in ("journal", "results") else max(1, size // 6)
            yield from ((path.relative_to(folder), length) for length in range(begin, size, step))


@pytest.mark.slow
@pytest.mark.long
def test_any_file_of_a_run_may_be_torn(tmp_path: Path) -> None:
    """Every file cut at every length of its last record: resumed, the result is right, or the file is named."""
    origin = tmp_path / "origin"
    origin.mkdir()
    folder = interrupted(origin)
    checked, named = set(), set()
    place = tmp_path / "copy"
    for path, length in cuts(folder):
        shutil.copytree(origin, place)
        run_folder = place / folder.relative_to(origin)
        for stamp in place.glob("data.zarr/.bioimage_py.runs/*"):
            stamp.write_text(stamp.read_text().replace(str(origin), str(place)))
        described = (run_folder / "run.json").read_text().replace(str(origin), str(place))
        for name in ("data.zarr",):
            for old, new in zip(origin.glob(name), place.glob(name), strict=True):
                described = described.replace(f" {old.stat().st_ino}", f" {new.stat().st_ino}")
                metadata = old / ".zarray", new / ".zarray"
                described = described.replace(f" {metadata[0].stat().st_ino}", f" {metadata[1].stat().st_ino}")
        (run_folder / "run.json").write_text(described)
        content = (run_folder / path).read_bytes()
        (run_folder / path).write_bytes(content[:length])
        refused = ""
        try:
            values = run(place)
        except BioimageError as error:
            refused = str(error)
        if refused:
            assert path.name in refused, f"{path} cut at {length}: {refused}"
            named.add(str(path))
        else:
            found = zarr.open_array(place / "data.zarr", mode="r")[:]
            np.testing.assert_array_equal(found, np.arange(24) + 1, err_msg=f"{path} cut at {length}")
            assert values == list(range(12)), f"{path} cut at {length}"
        checked.add(path.parts[0])
        shutil.rmtree(place)
    assert {"journal", "results", "run.json", "plan.json", "batches", "claims", "progress", "undo"} <= checked
    limits = {str(path.relative_to(folder)) for path in folder.glob("journal/*/.limits")}
    assert named <= {"run.json", "undo/0/0/view/.zarray", *limits}
