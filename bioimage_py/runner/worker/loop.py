"""The one worker loop: claim a batch, run its blocks, hand it in, repeat."""

from __future__ import annotations

from functools import partial
from itertools import chain, pairwise
from time import perf_counter
from typing import Any

from ...system.worker import enter_worker
from ..ledger.fence import HeldDeadError
from ..ledger.interface import WorkerSide
from ..ledger.records import BlockFailure
from ..ledger.worker_side import FolderWork
from ..planning.work_list import Batch
from .block_runner import BlockRunner, StageHandles


class InProcess:
    """The worker loop of a run, to be called in this process or, by the run's folder, in another."""

    def __init__(self, ledger: WorkerSide, folder: str | None = None) -> None:
        self.folder = folder
        self._ledger = ledger
        self._handles = StageHandles(ledger)

    def __call__(self, worker: str) -> None:
        """Run batches until the ledger says that there is nothing left to do."""
        enter_worker(worker)
        ledger, total = self._ledger, 0
        runners: dict[int, BlockRunner] = {}
        while (batch := ledger.claim(worker)) is not None:
            index = batch.stage
            if index not in runners:
                open_now = ledger.plan.chain(index)
                runners = {stage: runner for stage, runner in runners.items() if stage in open_now}
                casting = ledger.plan.execution.casting
                stage, hold = ledger.plan.stages[index], partial(ledger.hold, worker)
                runners[index] = BlockRunner(stage, self._handles, index, casting, ledger, hold)
            total = run_batch(worker, batch, runners[index], ledger, total)

    def served(self) -> Any:
        """What answers workers that do not see the run folder."""
        from .served import Served

        assert isinstance(self._ledger, FolderWork)
        return Served(self._ledger)

    def close(self) -> None:
        """Close the files of the ledger."""
        self._ledger.shut()


def run_batch(worker: str, batch: Batch, runner: BlockRunner, ledger: WorkerSide, total: int) -> int:
    """Run one batch and record it; returns the number of blocks this worker has done so far."""
    stage, recorder = runner.stage, ledger.recorder(worker, batch)
    recorder.settle = runner.settle
    keep = stage.returns != "none"
    last: tuple[int, list[Any]] = (-1, [None])
    for (group, ids), (_, later) in pairwise(chain(batch.groups(stage.units), [last])):
        if ledger.stopping():
            break
        failures: list[BlockFailure] = []
        done: list[int] = []
        seconds: list[float] = []
        values: list[Any] = []
        try:
            buffers = runner.buffer(group, len(ids))
        except OSError as error:  # a disk that cannot keep the old content must not get the new one
            recorder.fail(group, ids, [_failure(worker, batch, runner, block_id, error) for block_id in ids])
            continue
        for block_id, following in zip(ids, [*ids[1:], later[0]], strict=True):
            if ledger.stopping():
                break
            ledger.enter(worker, batch.stage, block_id, total + len(done))
            begin = perf_counter()
            try:
                value = runner.call(block_id, following)
            except HeldDeadError:
                raise
            except BaseException as error:  # noqa: BLE001 - SystemExit of user code must not end a worker
                failures.append(_failure(worker, batch, runner, block_id, error))
                continue
            seconds.append(perf_counter() - begin)
            done.append(block_id)
            if keep:
                values.append(value)
        try:
            runner.flush(buffers, group, done)
        except HeldDeadError:
            raise
        except BaseException as error:  # noqa: BLE001 - a group that cannot be written has no block done
            failures += [_failure(worker, batch, runner, block_id, error) for block_id in done]
            done.clear()
        again = [failure.block_id for failure in failures]
        if stage.merge is not None and len(done) < len(ids):  # a folded value covers the group as a whole
            again, done = list(ids), []
        if done:
            total += len(done)
            recorder.done(group, done, seconds, values)
        if failures:
            recorder.fail(group, again, failures)
    recorder.flush(ended=not ledger.left())
    ledger.enter(worker, batch.stage, -1, total)
    return total


def _failure(worker: str, batch: Batch, runner: BlockRunner, block_id: int, error: BaseException) -> BlockFailure:
    return BlockFailure.of(batch.stage, block_id, runner.stage.where(block_id), worker, batch.attempt, error)
