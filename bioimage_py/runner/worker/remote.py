"""A worker that does not see the run folder: what it needs of it, it asks the driver for (`served`)."""

from __future__ import annotations

import math
import pickle
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import cloudpickle
import numpy as np

from ...backends.hosted.exchange import UnreachedError
from ...system.processes import RENEW_SECONDS, passing_seconds
from ..identity.imports import other_code
from ..ledger.encoding import load_batches
from ..ledger.fence import HeldDeadError
from ..ledger.fold import Fold
from ..ledger.interface import WorkerSide
from ..ledger.records import Record, Recorder
from ..ledger.stage_record import Results, StageRecord
from ..ledger.values import BlockValues
from ..planning.id_sets import Ids
from ..planning.placing import placed_at
from ..planning.stage import Plan
from ..planning.work_list import Batch
from .process import CANNOT_START, NOT_THE_DRIVERS, difference, do_work

Ask = Callable[..., Any]
"""``ask(question, *about)``: what the driver answers; TimeoutError where it does not."""

RECORD_SECONDS = 0.5
"""How long what was done waits for company before the driver is told; a kill costs no more than that work."""
LOOK_SECONDS = 0.5
"""How often the driver is told that a worker lives, and tells whether it is to end."""
ENTER_SECONDS = 0.1
"""A block that begins sooner after another one is told only where that must be known."""
LONGEST_PAUSE = 0.5
_IDS = 4096


class RemoteWork(WorkerSide):
    """The ledger of a run as a worker sees it that can only ask for it.

    Parameters
    ----------
    plan : Plan
        With the run's own arrays where this worker finds them.
    ask : callable
    memory : int, optional
        Bytes that it may use.
    """

    def __init__(self, plan: Plan, ask: Ask, memory: int | None = None) -> None:
        self.plan = plan
        self._ask = ask
        self._memory = memory
        self._stopped = self._leaving = self._refused = False
        self._tells = False
        self._looked = -math.inf
        self._entered = 0.0
        self._at = (-1, -1, 0)
        self._told = (-1, -1, 0)
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="bioimage_py-undo-")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="bioimage_py-look")
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._look()
                self._tell()
            except (Exception, HeldDeadError):  # noqa: BLE001 - nobody hears of this worker any more
                self.leave()

    def _look(self) -> None:
        begin = passing_seconds()
        told = self._ask("look")
        self._stopped = self._stopped or told["stop"]
        self._refused = self._refused or not told["wanted"]
        self._tells = told["tell"]
        self._looked = begin

    def _tell(self) -> None:
        with self._lock:  # in the order of blocks, whichever thread tells
            if self._at != self._told:
                self._told = self._at
                self._ask("enter", *self._told)

    def hold(self, worker: str) -> None:
        """Raise HeldDeadError where others may have its blocks, or nobody can be asked."""
        while not self._refused and passing_seconds() - self._looked > RENEW_SECONDS:
            try:
                self._look()
            except BaseException:
                self._refused = True
                raise
        if self._refused:
            raise HeldDeadError(f"{worker} was held dead, and others do its blocks")

    def stopping(self) -> bool:
        """Whether it is to end after the block it is in."""
        return self._stopped or self._leaving or self._refused

    def leave(self) -> None:
        """Have it end after the block it is in; what it holds is for others."""
        self._leaving = True

    def left(self) -> bool:
        """Whether batches end unfinished because it leaves."""
        return self._leaving or self._refused

    def claim(self, worker: str) -> Batch | None:
        """The next batch; waits between stages; None when nothing will follow."""
        begin, pause = perf_counter(), 0.01
        while not (self._leaving or self._refused):
            told = self._ask("claim", perf_counter() - begin, self._memory)
            if told == "over":
                return None
            if told != "wait":
                return load_batches(told)[0]
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return None

    def enter(self, worker: str, stage: int, block_id: int, done: int) -> None:
        """It begins a block: the driver is told if the last word was a while ago, or if it must know each."""
        now, self._at = perf_counter(), (stage, block_id, done)
        if self._tells or now - self._entered > ENTER_SECONDS:
            self._entered = now
            self._tell()

    def recorder(self, worker: str, batch: Batch) -> Recorder:
        """Where it records a batch."""
        return Recorder(worker, batch, self.plan.stages[batch.stage], self._write, RECORD_SECONDS)

    def _write(self, record: Record) -> None:
        self._ask("record", cloudpickle.dumps(record))

    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one, asked for when they are looked at."""
        stages = self.plan.stages[:stage]
        return Results(stages, self._record)

    def _record(self, number: int) -> StageRecord:
        stage = self.plan.stages[number]
        record = StageRecord.of(stage)
        if stage.returns == "each":
            ask, units = partial(self._ask, "values", number), stage.units
            record.block_values = _AskedValues(ask, units.ids, units.n_blocks)
        elif stage.merge is not None:
            record.fold = Fold(stage.merge)
            record.fold.nodes[0, 0] = pickle.loads(self._ask("folded", number))
        return record

    def undo_folder(self, stage: int, output: int) -> Path:
        """Where this worker has what it was told of the old content of an output."""
        return Path(self._folder.name, str(stage), str(output))

    def decider(self, stage: int, output: int) -> Callable[[str, bytes | None], bytes | None]:
        """Asks the driver what a unit held before the stage."""
        return partial(self._ask, "keep", stage, output)

    def shut(self) -> None:
        """Tell nothing more."""
        self._over.set()
        self._thread.join()
        self._folder.cleanup()


class _AskedValues(BlockValues):
    """Values of a stage that are asked for in pieces of a bounded size."""

    def __init__(self, ask: Ask, ids: Ids | None, n: int) -> None:
        super().__init__(ids)
        self._ask = ask
        self._all = range(n) if ids is None else np.unique(ids)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self.at(self._all)

    def at(self, asked: Sequence[int] | Ids) -> Iterator[tuple[int, Any]]:
        """Some ids and their values, in their order, without those that have none."""
        begin = 0
        while begin < len(asked):
            found, looked = self._ask([int(one) for one in asked[begin : begin + _IDS]])
            for block, packed in found:
                yield block, pickle.loads(packed)
            begin += looked


def serve(worker: str, mem: int | None, ask: Ask, began: float) -> dict[str, Any]:
    """Be a worker that asks until there is nothing left to do; the answer for the driver."""

    def reached(*question: Any) -> Any:
        try:
            return ask(*question)
        except UnreachedError as error:
            raise HeldDeadError(f"{worker}: {error}") from error

    try:
        told = ask("plan")
        wrong = difference(told["versions"]) or other_code(told["code"], began)
        if wrong:
            return {"kind": CANNOT_START, "detail": f"{wrong} {NOT_THE_DRIVERS}" if told["code"] else wrong}
        work = RemoteWork(placed_at(pickle.loads(told["plan"]), told["arrays"]), reached, mem)
    except UnreachedError as error:
        return {"kind": "node", "detail": str(error)}
    except BaseException:  # noqa: BLE001 - whatever it is, the driver has to say it
        return {"kind": CANNOT_START, "detail": traceback.format_exc()}
    return do_work(work, worker)
