"""Stages whose blocks begin before the stage in front has ended: which groups wait, and which can be run by now."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..execution import Execution
from .id_sets import Ids, Ranges
from .needs import Need, needs_of
from .stage import Plan
from .work_list import WAITED_FOR, Batch, Units, cut_batches


class Early:
    """Which groups of the early stages of a plan can be run.

    Parameters
    ----------
    plan : Plan
    pending : callable
        ``pending(stage)``: groups of a stage that have a block without a result, when this is made.
    """

    def __init__(self, plan: Plan, pending: Callable[[int], Ranges]) -> None:
        self._plan = plan
        self._pending = pending
        self._needs: dict[int, list[Need]] = {}
        self._readers: dict[int, list[tuple[int, Need]]] = {}
        for index, stage in enumerate(plan.stages):
            if stage.early:
                self._needs[index] = needs_of(plan.stages, index, plan.chain(index).start)
                for need in self._needs[index]:
                    self._readers.setdefault(need.stage, []).append((index, need))
        self._done = {index: self._flags(index) for index in self._readers}
        self._missing: dict[int, npt.NDArray[np.int32]] = {}
        self._waiting: dict[int, npt.NDArray[np.bool_]] = {}
        self._ready: dict[int, set[int]] = {}

    def _counts(self, stage: int) -> tuple[int, ...]:
        groups = self._plan.stages[stage].units.groups
        assert groups is not None
        return tuple(run.n_runs for run in groups.runs)

    def _flags(self, stage: int) -> npt.NDArray[np.bool_]:
        """Which groups are done."""
        done = np.ones(self._plan.stages[stage].units.n_groups, bool)
        for begin, end in self._pending(stage).rows.tolist():
            done[begin:end] = False
        return done.reshape(self._counts(stage))

    def begin(self, stage: int, held: Ranges) -> Ranges:
        """Groups of an early stage that can be run at once; those that are ``held`` have begun already."""
        waiting = ~self._flags(stage)
        for begin, end in held.rows.tolist():
            waiting.ravel()[begin:end] = False
        self._missing[stage] = self._needed(stage)
        found = waiting & (self._missing[stage] == 0)
        self._waiting[stage] = waiting & ~found
        return Ranges.of(np.flatnonzero(found))

    def _needed(self, stage: int) -> npt.NDArray[np.int32]:
        """Of how many groups each group of a stage has to wait, by sums over boxes."""
        counted = np.zeros(self._counts(stage), np.int32)
        for need in self._needs[stage]:
            missing = (~self._done[need.stage]).astype(np.int32)
            for axis, (first, past) in enumerate(span for span in need.spans if span is not None):
                pad = [(int(at == axis), 0) for at in range(missing.ndim)]
                sums = np.pad(np.cumsum(missing, axis, dtype=np.int32), pad)
                missing = np.take(sums, np.maximum(first, past), axis) - np.take(sums, first, axis)
            others = tuple(axis for axis, span in enumerate(need.spans) if span is None)
            counted += np.expand_dims(missing, others)
        return counted

    def done(self, stage: int, ids: Ids, pending: Callable[[Ranges], Ranges]) -> None:
        """Blocks of a stage are done; of some groups, ``pending`` are those that lack others."""
        if stage not in self._done:
            return
        units = self._plan.stages[stage].units
        if units.groups is not None and units.groups.trivial:
            done = ids.tolist()
        else:
            groups = Ranges.of(units.groups_of(ids))
            done = list(groups - pending(groups))
        for group in done:
            self._group_done(stage, group)

    def _group_done(self, stage: int, group: int) -> None:
        position = tuple(int(at) for at in np.unravel_index(group, self._done[stage].shape))
        if self._done[stage][position]:
            return
        self._done[stage][position] = True
        for reader, need in self._readers[stage]:
            if reader not in self._missing:  # it counts when it begins
                continue
            box = need.readers(position)
            missing, waiting = self._missing[reader][box], self._waiting[reader][box]
            missing -= 1
            if (free := (missing == 0) & waiting).any():
                waiting &= ~free
                at = tuple(found + part.start for found, part in zip(np.nonzero(free), box, strict=True))
                numbers = np.ravel_multi_index(at, self._missing[reader].shape)
                self._ready.setdefault(reader, set()).update(numbers.tolist())

    def take(self, how: Execution, *, few: bool) -> list[Batch]:
        """Batches of what can be run by now: all of it where workers have ``few`` others, else what fills a batch."""
        batches: list[Batch] = []
        for stage, ready in list(self._ready.items()):
            units: Units = self._plan.stages[stage].units
            enough = max(1, units.n_groups // (how.num_workers * how.settings.tasks_per_worker))
            if not few and len(ready) < enough:
                continue
            picked = Ranges.of(np.array(sorted(self._ready.pop(stage)), np.int64))
            whole = [Batch(stage, 0, len(picked), picked=picked)]
            batches += cut_batches(stage, units.n_groups, how, picked, finer=WAITED_FOR) if few else whole
        return batches
