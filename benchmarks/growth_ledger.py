"""Parts of the growth benchmark that run no kernel: run folders, batches, claims, polling, memory, plans, listings."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np

Found = dict[str, float]


def nothing(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    """A block without work."""


def one(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    """A block with a value."""
    return 1


def add(left: int, right: int) -> int:
    """Fold two values."""
    return left + right


def peak() -> int:
    """Highest resident bytes so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def measured() -> Iterator[list[float]]:
    """Seconds of CPU, and bytes by which the peak of memory grows; filled in at the end."""
    told: list[float] = []
    before, begin = peak(), process_time()
    yield told
    told += [process_time() - begin, peak() - before]


@contextmanager
def calls(latency: float = 0.0) -> Iterator[Counter[str]]:
    """Counts what this process asks of the file system, and can have each answer take so many seconds more."""
    counted: Counter[str] = Counter()
    on, lock = [True], threading.Lock()
    stat = os.stat

    def count(what: str) -> None:
        with lock:
            counted[what] += 1
        if latency:
            sleep(latency)

    def hook(event: str, _: Any) -> None:
        if on[0] and event in ("open", "os.link", "os.listdir", "os.mkdir"):
            count(event.removeprefix("os."))

    def counting(*args: Any, **kwargs: Any) -> os.stat_result:
        count("stat")
        return stat(*args, **kwargs)

    sys.addaudithook(hook)
    os.stat = counting  # type: ignore[assignment]
    try:
        yield counted
    finally:
        on[0], os.stat = False, stat


@contextmanager
def entries() -> Iterator[list[int]]:
    """How many names each listing of a folder has."""
    listed: list[int] = []
    listdir = os.listdir

    def counting(*args: Any) -> list[str]:
        names: list[str] = listdir(*args)
        listed.append(len(names))
        return names

    os.listdir = counting
    try:
        yield listed
    finally:
        os.listdir = listdir


def stage_of(n: int, data: Any = None, returns: Any = "none", ids: Any = None) -> Any:
    """A stage of so many blocks of one voxel."""
    from bioimage_py.runner.planning.build import Where, blocks_stage

    data = np.broadcast_to(np.uint8(0), (n,)) if data is None else data
    merge = add if returns == "fold" else None
    function = nothing if returns == "none" else one
    return blocks_stage(function, [data], where=Where((1,), block_ids=ids), returns=returns, merge=merge)


def plan_of(n: int, workers: int, **how: Any) -> Any:
    """A plan of such a stage."""
    from bioimage_py.runner.execution import Execution
    from bioimage_py.runner.planning.stage import Plan

    return Plan("growth", (stage_of(n, **how),), Execution(num_workers=workers, durability="process"))


def opened_ledger(place: Path, n: int, workers: int) -> Any:
    """The ledger of a driver that has published the batches of such a plan."""
    from bioimage_py.runner.ledger.driver_side import FolderLedger

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "run.json").write_text('{"sessions": 0, "adopted": []}')
    ledger = FolderLedger(place, plan_of(n, workers))
    ledger.open(0)
    return ledger


def whole_run(place: Path, n: int, returns: str, gathered: bool) -> Found:
    """A run: what its folder holds at the end, the driver's CPU and memory, and the CPU of reading the journals again.

    Gathered, many blocks share a record, for they take no time; else each has its own, as blocks of more than 5 ms do.
    """
    import zarr

    from bioimage_py.runner import RunnerConfig
    from bioimage_py.runner.execute import execute
    from bioimage_py.runner.execution import Execution
    from bioimage_py.runner.ledger import worker_side

    shutil.rmtree(place / "data.zarr", ignore_errors=True)
    stage = stage_of(n, zarr.create_array(place / "data.zarr", shape=(n,), chunks=(n,), dtype="u1"), returns)
    found: Found = {}

    def look(run: str) -> None:
        found["driver_cpu"], found["driver_peak"] = process_time() - begin, peak()
        for part in ("claims", "batches", "journal", "results"):
            files = [path for path in Path(run, part).rglob("*") if path.is_file()]
            found[f"{part}_files"], found[f"{part}_bytes"] = len(files), sum(path.stat().st_size for path in files)
        found["files"] = sum(path.is_file() for path in Path(run).rglob("*"))
        with measured() as told:
            record, _ = worker_side.load_stage(Path(run), 0, stage, check=True)
        assert record.n_done == n
        found["resume_cpu"] = told[0]
        with measured() as told:
            worker_side.load_stage(Path(run), 0, stage)
        found["load_cpu"] = told[0]

    if not gathered:
        worker_side.FLUSH_SECONDS = -1.0
    config = RunnerConfig(tmp_root=place / "runs")
    job_type = "subprocess" if gathered else "local"
    how = Execution(job_type=job_type, num_workers=2, job_config=config, progress=False)
    begin = process_time()
    execute("", [stage], how, pre_cleanup=look)
    return found


def batches(place: Path) -> Found:
    """The list of a stage: batches by blocks and workers, their bytes on disk and in memory."""
    from bioimage_py.runner.ledger.records import Span
    from bioimage_py.runner.planning.work_list import cut_batches, listed

    found: Found = {}
    for n in (10**4, 10**5, 10**6, 10**7):
        for workers in (10, 100, 1000, 10000):
            found[f"batches {n} {workers}"] = len(cut_batches(0, n, plan_of(1, workers).execution))
    with measured() as told:
        cut = cut_batches(0, 10**7, plan_of(1, 10000).execution)
        held = listed(cut, 0)
    data = pickle.dumps(held)
    found |= {"cut_cpu": told[0] / len(cut), "driver_bytes": told[1] / len(cut), "disk_bytes": len(data) / len(cut)}
    with measured() as told:
        loaded = pickle.loads(data)
    assert loaded == held
    found["load_cpu"] = told[0] / len(cut)
    spans = [pickle.dumps(Span("s0w0", number, number, number)) for number in range(len(cut))]
    with measured() as told:
        kept = [pickle.loads(span) for span in spans]
    return found | {"span_bytes": told[1] / len(kept)}


def claims(place: Path) -> Found:
    """Taking all batches of 10⁵ blocks by turns: how often workers ask for one, and what they ask of the files."""
    from bioimage_py.runner.ledger.batch_lists import BatchLists

    found: Found = {}
    for workers in (10, 20, 40, 100):
        ledger = opened_ledger(place / "run", 10**5, workers)
        lists = {f"s0w{number}": BatchLists(place / "run") for number in range(workers)}
        taken = 0
        with calls() as counted, entries() as listed, measured() as told:
            while lists:
                for worker in list(lists):
                    if lists[worker].take(worker) is None:
                        del lists[worker]
                    else:
                        taken += 1
        assert taken == ledger.batches(0)
        found[f"batches {workers}"] = taken
        found[f"links {workers}"] = counted["link"]
        found[f"calls {workers}"] = sum(counted.values())
        found[f"entries {workers}"] = sum(listed)
        found[f"cpu {workers}"] = told[0]
    return found


def crowd(place: Path) -> Found:
    """Workers that all ask for their first batch at the same moment, of a server that answers all after 5 ms."""
    from bioimage_py.runner.ledger.batch_lists import BatchLists

    found: Found = {}
    for workers in (10, 20, 40, 100):
        opened_ledger(place / "run", 10**5, workers)
        together = threading.Barrier(workers)
        lists = [BatchLists(place / "run") for _ in range(workers)]

        def take(number: int, lists: list[Any] = lists, together: threading.Barrier = together) -> None:
            together.wait()
            assert lists[number].take(f"s0w{number}") is not None

        threads = [threading.Thread(target=take, args=(number,)) for number in range(workers)]
        with calls(5e-3) as counted:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        found[f"links {workers}"] = counted["link"]
        found[f"calls {workers}"] = sum(counted.values())
    return found


def poll(place: Path) -> Found:
    """What a driver asks of the file system while nothing happens, by workers; also where an answer takes 0.5 ms."""
    from bioimage_py.system.frames import frame
    from bioimage_py.system.processes import identify

    found: Found = {}
    for workers in (10, 100, 1000, 10000):
        ledger = opened_ledger(place / "run", 10**6, workers)
        head = frame(pickle.dumps({**identify(), "synced": True}))
        (place / "run" / "journal" / "0").mkdir(exist_ok=True)
        for number in range(workers):
            (place / "run" / "journal" / "0" / f"s0w{number}").write_bytes(head)
        ledger.events(0)
        for latency, name in ((0.0, ""), (0.5e-3, "slow ")):
            ledger._pause = 1.0  # as after a while
            with calls(latency) as counted, measured() as told:
                begin = perf_counter()
                while (seconds := perf_counter() - begin) < 2:
                    ledger.events(0.1)
            found[f"{name}stats {workers}"] = counted["stat"] / seconds
            found[f"{name}looks {workers}"] = counted["listdir"] / seconds
            found[f"{name}cpu {workers}"] = told[0] / seconds
    return found


def lost(place: Path) -> Found:
    """What a driver opens when workers end before their time, of a thousand that hold a batch each."""
    from bioimage_py.runner.ledger.batch_lists import BatchLists

    workers = 1000
    ledger = opened_ledger(place / "run", 10**6, workers)
    taker = BatchLists(place / "run")
    for number in range(workers):
        assert taker.take(f"s0w{number}") is not None
    free = ledger.batches(0) - workers
    found: Found = {"workers": workers, "free": free}
    for name, number in (("first", workers - 1), ("next", workers - 2)):
        with calls() as counted:
            assert ledger.lost(f"s0w{number}").batch is not None
        found[f"{name} opens"] = counted["open"]
    ledger._reclaimed = -1e9
    with calls() as counted, measured() as told:
        ledger.events(0)
    return found | {"reclaim_opens": counted["open"] / free, "reclaim_cpu": told[0] / free}


def kept(place: Path, n: int, returns: str) -> Found:
    """The record of a stage."""
    from array import array

    from bioimage_py.runner.ledger.records import Record
    from bioimage_py.runner.ledger.stage_record import StageRecord
    from bioimage_py.runner.ledger.values import FileValues
    from bioimage_py.runner.planning.work_list import Batch

    record = StageRecord.of(stage_of(n, returns=returns), place)
    seconds = array("f", bytes(4000))
    with measured() as told:
        for begin in range(0, n, 1000):
            ids = array("q", range(begin, begin + 1000))
            record.add(Record("s0w0", Batch(0, 0, 0), ids, seconds, FileValues(place / "x", begin)))
    return {"bytes": told[1], "cpu": told[0] / n}


def planned(place: Path, n: int, by_id: bool) -> Found:
    """A plan, its definition, and its bytes."""
    from bioimage_py.runner.identity.definition import definition_of
    from bioimage_py.runner.planning.estimate import plan_of as promise_of

    with measured() as told:
        ids = list(range(n)) if by_id else None
        plan = plan_of(n, 100, ids=ids)
        promise_of(plan, shares_memory=False)
        definition_of(plan.stages)
    return {"cpu": told[0], "bytes": told[1], "plan_bytes": len(pickle.dumps(plan.stages[0].units))}


def failed(place: Path, n: int) -> Found:
    """The error of a run of which no block was done."""
    from bioimage_py.runner.driver.report import failure_of
    from bioimage_py.runner.ledger.stage_record import StageRecord

    with measured() as told:
        error = failure_of("growth", [StageRecord.of(stage_of(n))], "")
    assert len(error.failed_block_ids) == n
    return {"cpu": told[0] / n, "bytes": told[1] / n}


def listing(place: Path) -> Found:
    """Which of 20,000 chunk files are there, and the blocks that see one."""
    import zarr

    from bioimage_py import open_source
    from bioimage_py.runner.planning.build import Where, blocks_stage

    zarr.create_array(place / "a.zarr", shape=(500, 200, 200), chunks=(10, 10, 10), dtype="u1")
    for index in np.ndindex(50, 20, 20):
        path = Path(place, "a.zarr", "c", *map(str, index))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    source = open_source(str(place / "a.zarr"))
    with measured() as told:
        source.stored_units()
    found = {"cpu": told[0] / 20_000, "bytes": told[1] / 20_000}
    with measured() as told:
        blocks_stage(nothing, [source], where=Where((10, 10, 10), skip_empty=True))
    found["blocks_cpu"] = told[0] / 20_000
    with measured() as told:
        blocks_stage(nothing, [source], where=Where((10, 10, 10), block_ids=range(20_000), skip_empty=True))
    return found | {"ids_cpu": told[0] / 20_000}


def undo(place: Path) -> Found:
    """Files that a call in place keeps, a write unit."""
    import zarr

    from bioimage_py.runner import RunnerConfig, get_runner

    array = zarr.create_array(place / "b.zarr", shape=(64, 64, 64), chunks=(8, 8, 8), dtype="u1")
    array[:] = 1
    found: Found = {}

    def look(run: str) -> None:
        found["files"] = sum(path.is_file() for path in Path(run, "undo").rglob("*")) / 512

    runner = get_runner("local", RunnerConfig(tmp_root=place / "runs"))
    runner.run(double, [array], [array], block_shape=(8, 8, 8), pre_cleanup=look)
    return found


def double(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    """Change a block in place."""
    roi = tuple(map(slice, block.begin, block.end))
    outputs[0][roi] = 2 * inputs[0][roi]
