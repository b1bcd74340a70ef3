"""All blocks in the calling thread, with the outputs redirected to memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from ...blocks.boxes import common, is_empty, within
from ...sources.base import Source
from ...sources.spec import SourceSpec
from ...system.memory import peak_bytes
from ...wrapper.base import WrapperSource
from ..ledger.in_memory import MemoryLedger
from ..ledger.stage_record import Results
from ..planning.stage import Plan, Stage
from ..worker.block_runner import BlockRunner, StageHandles
from .report import RunReport, StageReport


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
            shared = common(roi, region)
            if not is_empty(shared):
                result[within(shared, roi)] = value[within(shared, region)]
        return result

    def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
        self.written.append((roi, np.array(value)))


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
        yield replace(stage.over(partial(_over, change=read), partial(_over, change=written)), undo=False)
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
