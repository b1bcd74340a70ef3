"""Running blocks in this process, one after the other, with the outputs redirected to memory: to look for a bug."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from ..sources.base import Source
from .ledger import MemoryLedger, Results, WorkerSide
from .memory import peak_bytes
from .plan import Plan, Stage
from .report import RunReport, StageReport
from .work import BlockRunner, StageHandles


class Sketch(Source):
    """A source whose writes stay in memory.

    Parameters
    ----------
    target : Source
        What is read where nothing has been written.
    """

    def __init__(self, target: Source) -> None:
        self.target = target
        self.written: list[tuple[tuple[slice, ...], np.ndarray]] = []

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the target."""
        return self.target.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the target."""
        return self.target.dtype

    @property
    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def identity(self) -> Any:
        """Storage of the target."""
        return self.target.identity

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return self.target._getitem(roi)

    def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
        self.written.append((roi, np.array(value)))


@dataclass(frozen=True)
class Replay:
    """What a block did: its value, and its writes (region and array) for each output."""

    value: Any
    written: tuple[tuple[tuple[tuple[slice, ...], np.ndarray], ...], ...]


def replay_block(plan: Plan, stage: int, block_id: int, ledger: WorkerSide) -> Replay:
    """Run one block of a plan here; exceptions come as they are.

    Parameters
    ----------
    plan : Plan
    stage : int
        Number of the stage.
    block_id : int
    ledger : WorkerSide
        Where the values of the stages before are.
    """
    one = _sketched(plan.stages[stage])
    ledger.plan = replace(plan, stages=(*plan.stages[:stage], one, *plan.stages[stage + 1 :]))
    runner = BlockRunner(one, StageHandles(ledger), stage, plan.execution.casting, ledger)
    value = runner.call(block_id)
    sketches = [output.target for output in runner.outputs if isinstance(output.target, Sketch)]
    return Replay(value, tuple(tuple(sketch.written) for sketch in sketches))


def run_here(plan: Plan) -> RunReport:
    """Run all blocks of all stages in the calling thread, writing to memory; the first exception comes as it is."""
    begin = perf_counter()
    sketched = replace(plan, stages=tuple(_sketched(stage) for stage in plan.stages))
    ledger = MemoryLedger(sketched)
    worker = "debug"
    handles = StageHandles(ledger)
    for index, stage in enumerate(sketched.stages):
        runner = BlockRunner(stage, handles, index, plan.execution.casting, ledger)
        ledger.open(index)
        for batch in ledger.queued():
            recorder = ledger.recorder(worker, batch)
            for group, ids in batch.groups(stage.units):
                values, seconds = [], []
                for block_id in ids:
                    start = perf_counter()
                    values.append(runner.call(block_id))
                    seconds.append(perf_counter() - start)
                recorder.done(group, ids, seconds, values)
            recorder.flush(ended=True)
    reports = tuple(StageReport.of(record) for record in ledger.records)
    return RunReport(plan.name, reports, perf_counter() - begin, 1, peak_bytes(), (), Results(ledger.records))


def _sketched(stage: Stage) -> Stage:
    return replace(stage, outputs=tuple(Sketch(output) for output in stage.outputs), undo=False)
