"""What is known of a stage: its blocks, times, failures and values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..planning.id_sets import Ids, IdSet, Ranges
from ..planning.stage import Stage
from .block_times import BlockTimes
from .events import BatchEnded, BlocksDone, Event, GroupFailed
from .fold import Fold
from .records import BlockFailure, Record, Span
from .values import BlockValues, ValueList

_OVERCOME = 100
"""Failures that are remembered of blocks that then succeeded."""


_WHOLE = 1000
"""Failures that are remembered with their traceback; the others have it in a file of the run folder."""


_SPAN = 2**20
"""Ids that are looked at at once."""


@dataclass
class StageRecord:
    """What is kept of a stage: its ids (a bit a block), a sample of the seconds, and where the values are."""

    stage: Stage
    fold: Fold | None
    block_values: BlockValues | None
    ids: IdSet = field(default_factory=IdSet)
    times: BlockTimes = field(default_factory=BlockTimes)
    failures: dict[int, BlockFailure] = field(default_factory=dict)
    overcome: list[BlockFailure] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    marks: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, stage: Stage, scratch: Path | None = None) -> StageRecord:
        """An empty record; values in files have their index in the folder ``scratch``."""
        fold = Fold(stage.merge) if stage.merge is not None else None
        return cls(stage, fold, BlockValues(stage.units.ids, scratch) if stage.returns == "each" else None)

    def add(self, record: Record) -> list[Event]:
        """Take over a worker's record; returns what the supervisor has to know of it."""
        events: list[Event] = []
        if record.ids:
            self._add_blocks(record)
            events.append(BlocksDone(record.batch.stage, len(record.ids)))
        if (failed := record.failed) is not None:
            for failure in failed.failures:
                self.failures[failure.block_id] = failure if len(self.failures) < _WHOLE else failure.shortened()
            cause, stage = failed.failures[0].cause, record.batch.stage
            machine = next((failure.environment for failure in failed.failures if failure.environment), "")
            told = GroupFailed(record.worker, stage, failed.group, failed.blocks, failed.attempt, cause, machine)
            events.append(told)
        if record.span is not None:
            self.spans.append(record.span)
        if record.mark is not None:
            self.marks.append((*record.mark, self.n_done))
        if record.ended:
            events.append(BatchEnded(record.worker, record.batch.stage))
        return events

    def _add_blocks(self, record: Record) -> None:
        ids = np.frombuffer(record.ids, np.int64)
        if self.block_values is not None:
            self.block_values.put(ids, record.values)
        elif self.fold is not None:
            self.fold.extend(record.nodes)
        self.ids.add(ids)
        self.times.add(record.ids, record.seconds)
        for block_id in self.failures.keys() & set(record.ids) if self.failures else ():
            failure = self.failures.pop(block_id)
            if len(self.overcome) < _OVERCOME:
                self.overcome.append(failure)

    @property
    def n_done(self) -> int:
        """How many blocks succeeded."""
        return len(self.ids)

    def pending(self, low: int = 0, high: int | None = None) -> Iterator[Ids]:
        """Ids without a result, ascending, in arrays of bounded length; of all ids between two where no others are."""
        units = self.stage.units
        if units.ids is not None:
            yield self.ids.missing(np.unique(units.ids))
            return
        high = units.n_blocks if high is None else high
        for begin in range(low, high, _SPAN):
            yield self.ids.missing(np.arange(begin, min(begin + _SPAN, high), dtype=np.int64))

    def pending_groups(self, groups: Ranges | None = None) -> Ranges:
        """Groups with a block that has no result; of some groups."""
        units = self.stage.units
        low, high = 0, None
        if groups is not None and units.ids is None and len(groups):
            low = units.blocks(int(groups.rows[0, 0]))[0]
            high = units.blocks(int(groups.rows[-1, 1]) - 1)[-1] + 1
        found = Ranges()
        for ids in self.pending(low, high):
            found |= Ranges.of(units.groups_of(ids))
        return found if groups is None else found & groups

    def values(self) -> Iterator[tuple[int, Any]]:
        """Ids and values, ascending."""
        return iter(()) if self.block_values is None else iter(self.block_values)


class Results:
    """Values of the earlier stages, by stage name.

    ``results["merge"]`` is the value of a ``once`` or folded stage; ``results.each("faces")`` iterates over
    ``(block_id, value)`` in ascending order of ids.
    """

    def __init__(self, stages: Sequence[Stage], record: Callable[[int], StageRecord], run: str = "") -> None:
        self.run = run
        """Name of the run; empty for one in memory."""
        self._numbers = {stage.name: number for number, stage in enumerate(stages)}
        # a worker asks for one of them, as a rule, and the others may be large
        self._record = functools.cache(record)
        self._folded: dict[str, Any] = {}

    @classmethod
    def of(cls, records: Sequence[StageRecord]) -> Results:
        """Values of stages whose records are at hand."""
        return cls([record.stage for record in records], records.__getitem__)

    def alone(self, number: int, stage: Stage) -> Results:
        """Values of one stage, under the name that it has in ``stage``."""
        return Results([stage], lambda _: self._record(number))

    def _named(self, name: str) -> StageRecord:
        return self._record(self._numbers[name])

    def __getitem__(self, name: str) -> Any:
        record = self._named(name)
        if record.stage.returns == "each":
            return next(value for _, value in record.values())
        if name not in self._folded:
            self._folded[name] = record.fold.result() if record.fold is not None else None
        return self._folded[name]

    def folded(self) -> dict[str, Any]:
        """Values of the once and folded stages, by name."""
        stages = [self._record(number).stage for number in self._numbers.values()]
        return {stage.name: self[stage.name] for stage in stages if stage.kind == "once" or stage.returns == "fold"}

    def each(self, name: str) -> Iterator[tuple[int, Any]]:
        """Ids and values of a stage that keeps them, ascending."""
        return self._named(name).values()

    def some(self, name: str, ids: Sequence[int] | Ids) -> Iterator[tuple[int, Any]]:
        """Some ids and their values, in their order, of a stage that keeps them; without those that have none."""
        values = self._named(name).block_values
        assert values is not None
        return values.at(ids)

    def listed(self, name: str, ids: Sequence[int] | None) -> ValueList:
        """Values of a stage that keeps them, in the order of some ids or of all; ids that were left out have none."""
        record = self._named(name)
        assert record.block_values is not None
        units = record.stage.units
        known = range(units.n_blocks) if units.ids is None else np.unique(units.ids)
        if ids is None:
            return ValueList(record.block_values, known)
        asked = np.asarray(ids, np.int64)
        return ValueList(record.block_values, asked if units.ids is None else asked[np.isin(asked, known)])
