"""Running blocks in this process, one after the other, with the outputs redirected to memory: to look for a bug."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import RegionError
from ..sources.base import Source
from ..sources.spec import SourceSpec
from ..wrapper.base import WrapperSource
from .ledger import MemoryLedger, Results, WorkerSide
from .memory import peak_bytes
from .plan import Plan, Stage
from .report import RunReport, StageReport
from .undo import Undo
from .work import BlockRunner, StageHandles


class Sketch(WrapperSource):
    """A source whose writes stay in memory, where they are read again.

    Parameters
    ----------
    source : Source
        What is read where nothing has been written.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.written: list[tuple[tuple[slice, ...], np.ndarray]] = []

    @property
    def writable(self) -> bool:
        """Always."""
        return True

    def over(self, change: Callable[[Source], Source]) -> Source:
        """Return itself: what has been written is here."""
        return self

    def moved(self, folder: str) -> Source:
        """Never: what has been written is here."""
        return Source.moved(self, folder)

    def to_spec(self) -> SourceSpec:
        """Never: what has been written is here."""
        return Source.to_spec(self)

    def close(self) -> None:
        """Nothing: the source below is the caller's."""

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        result = self.source._getitem(roi)
        for region, value in self.written:
            common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(roi, region, strict=True)]
            if all(part.start < part.stop for part in common):
                result[_within(common, roi)] = value[_within(common, region)]
        return result

    def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
        self.written.append((roi, np.array(value)))


def _within(part: Sequence[slice], whole: Sequence[slice]) -> tuple[slice, ...]:
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True))


@dataclass(frozen=True)
class Replay:
    """What a block did: its value, and its writes (region and array) for each output."""

    value: Any
    written: tuple[tuple[tuple[tuple[slice, ...], np.ndarray], ...], ...]


def replay_block(plan: Plan, stage: int, block_id: int, ledger: WorkerSide) -> Replay:
    """Run one block of a plan here; exceptions come as they are.

    Data that the stage changes in place is read as it was before, where that is kept.

    Parameters
    ----------
    plan : Plan
    stage : int
        Number of the stage.
    block_id : int
    ledger : WorkerSide
        Where the values of the stages before are.

    Raises
    ------
    RegionError
        The stage has no such block.
    """
    check_block(plan.stages[stage], block_id)
    one = _sketched(_before(plan.stages[stage], stage, ledger))
    ledger.plan = replace(plan, stages=(*plan.stages[:stage], one, *plan.stages[stage + 1 :]))
    runner = BlockRunner(one, StageHandles(ledger), stage, plan.execution.casting, ledger)
    value = runner.call(block_id)
    sketches = [output.target for output in runner.outputs if isinstance(output.target, Sketch)]
    return Replay(value, tuple(tuple(sketch.written) for sketch in sketches))


def check_block(stage: Stage, block_id: int) -> None:
    """RegionError where a stage has no such block."""
    units = stage.units
    n = units.n_blocks if units.groups is None else units.groups.grid.n_blocks
    known = units.ids is not None and stage.kind == "items" and block_id in units.ids
    if not known and not 0 <= block_id < n:
        raise RegionError(f"{stage.name!r} has no block {block_id}, only 0..{n - 1}", remedy="a block in that range")


def _before(stage: Stage, index: int, ledger: WorkerSide) -> Stage:
    """A stage that reads its outputs as they were before it."""
    if not stage.undo:
        return stage
    kept = {
        output.identity: Sketch(Undo(ledger.undo_folder(index, number), output).source)
        for number, output in enumerate(stage.outputs)
    }
    inputs = tuple(kept.get(source.identity, source) for source in stage.inputs)
    mask = None if stage.mask is None else kept.get(stage.mask.identity, stage.mask)
    return replace(stage, inputs=inputs, mask=mask, outputs=tuple(kept.values()))


def run_here(plan: Plan) -> RunReport:
    """Run all blocks of all stages in the calling thread, writing to memory; the first exception comes as it is."""
    begin = perf_counter()
    sketched = replace(plan, stages=tuple(_drawn(plan.stages)))
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
    return RunReport(plan.name, reports, perf_counter() - begin, 1, peak_bytes(), (), Results.of(ledger.records))


def _drawn(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Stages that write to memory, where each reads what those before it have written.

    What lies below the views is replaced: two views of one array read and write the same sketch.
    """
    before: dict[Any, Source] = {}
    for stage in stages:
        after = dict(before)
        read, written = partial(_latest, before), partial(_redrawn, before, after)
        yield replace(
            stage,
            inputs=tuple(_over(source, read) for source in stage.inputs),
            mask=None if stage.mask is None else _over(stage.mask, read),
            outputs=tuple(_over(output, written) for output in stage.outputs),
            undo=False,
        )
        before = after


def _over(source: Source, change: Callable[[Source], Source]) -> Source:
    """A source over changed storage."""
    return source.over(partial(_over, change=change)) if isinstance(source, WrapperSource) else change(source)


def _latest(sketches: dict[Any, Source], storage: Source) -> Source:
    return sketches.get((storage.identity, storage.shape), storage)


def _redrawn(before: dict[Any, Source], after: dict[Any, Source], storage: Source) -> Source:
    """The sketch of a stage's output, over that of the stages before it."""
    place = storage.identity, storage.shape
    if after.get(place) is before.get(place):
        after[place] = Sketch(_latest(before, storage))
    return after[place]


def _sketched(stage: Stage) -> Stage:
    return replace(stage, outputs=tuple(Sketch(output) for output in stage.outputs), undo=False)
