"""Stages whose blocks begin before the stage in front has ended: which groups wait, and which can be run by now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..execution import Execution
from .id_sets import Ids, Ranges
from .needs import Need, needs_of
from .stage import Plan
from .work_list import Batch, Units, cut_batches


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
        left = self._pending(stage) - held
        waiting = np.zeros(self._plan.stages[stage].units.n_groups, bool)
        for begin, end in left.rows.tolist():
            waiting[begin:end] = True
        self._waiting[stage] = waiting
        counts = self._counts(stage)
        found = [g for g in np.flatnonzero(waiting).tolist() if self._free(stage, _position(g, counts))]
        waiting[found] = False
        return Ranges.of(np.array(found, np.int64))

    def _free(self, stage: int, position: Sequence[int]) -> bool:
        return all(bool(self._done[need.stage][need.of(position)].all()) for need in self._needs[stage])

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
        position = _position(group, self._done[stage].shape)
        if self._done[stage][position]:
            return
        self._done[stage][position] = True
        for reader, need in self._readers[stage]:
            counts, waiting = self._counts(reader), self._waiting.get(reader)
            for at in need.readers(position, counts) if waiting is not None else ():
                number = int(np.ravel_multi_index(at, counts))
                if waiting is not None and waiting[number] and self._free(reader, at):
                    waiting[number] = False
                    self._ready.setdefault(reader, set()).add(number)

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
            batches += cut_batches(stage, units.n_groups, how, picked) if few else whole
        return batches


def _position(group: int, counts: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(at) for at in np.unravel_index(group, counts))
