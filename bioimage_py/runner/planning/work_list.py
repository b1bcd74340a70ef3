"""What workers claim: groups of blocks, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...blocks import Groups
from ..execution import Execution
from .id_sets import Ids, Ranges


@dataclass(frozen=True)
class Units:
    """The write groups of ``n_blocks`` ids, in work order; without ``groups`` each id is a group of its own.

    ``ids`` are those to run instead of all, sorted by group, and ``offsets`` tells where each group begins in them, and
    the end. ``shared``: other ids of the groups were run before, in the same stage.
    """

    n_blocks: int
    groups: Groups | None = None
    ids: Ids | None = None
    offsets: Ids | None = None
    shared: bool = False

    @classmethod
    def select(cls, n: int, groups: Groups | None, block_ids: Sequence[int] | None) -> Units:
        """Units of all ids, or of some."""
        if block_ids is None:
            return cls(n, groups)
        ids = np.asarray(block_ids, dtype=np.int64)
        of = groups.of_blocks(ids) if groups is not None else ids
        order = np.lexsort((ids, of))
        starts = np.flatnonzero(np.diff(of[order])) + 1
        return cls(len(ids), groups, ids[order], np.unique(np.concatenate([[0], starts, [len(ids)]])))

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        if self.offsets is not None:
            return len(self.offsets) - 1
        return self.groups.n_groups if self.groups is not None else self.n_blocks

    def groups_of(self, ids: Ids) -> Ids:
        """The groups of some ids, each once, ascending."""
        of = self.groups.of_blocks(ids) if self.groups is not None else ids
        if self.ids is None or self.offsets is None:
            return np.unique(of)
        first = self.ids[self.offsets[:-1]]
        known = self.groups.of_blocks(first) if self.groups is not None else first
        return np.searchsorted(known, np.unique(of))

    def box(self, group: int) -> tuple[list[int], list[int]]:
        """Begin and end of the voxels of a whole write group, whatever ids of it are run."""
        assert self.groups is not None
        if self.ids is None or self.offsets is None:
            return self.groups.box(group)
        first = self.ids[self.offsets[group] :][:1]
        return self.groups.box(int(self.groups.of_blocks(first)[0]))

    def blocks(self, group: int) -> list[int]:
        """Ids of a group, ascending."""
        if self.ids is not None and self.offsets is not None:
            ids: list[int] = self.ids[self.offsets[group] : self.offsets[group + 1]].tolist()
            return ids
        return [group] if self.groups is None else self.groups.blocks(group)


@dataclass(frozen=True)
class Batch:
    """What a worker claims at once: consecutive groups (of ``picked``, where given), or some blocks of one group.

    ``key`` names it in the ledger: the list of batches it is in, and its place there. ``avoid`` is a worker that is
    not to take it, ``memory`` the bytes that one must have.
    """

    stage: int
    start: int
    stop: int
    attempt: int = 0
    blocks: tuple[int, ...] = ()
    avoid: str | None = None
    memory: int = 0
    picked: Ranges | None = field(default=None, compare=False)
    key: tuple[int, int] = (0, 0)

    @property
    def ranges(self) -> Ranges:
        """The groups of the batch."""
        return Ranges([(self.start, self.stop)]) if self.picked is None else self.picked

    def groups(self, units: Units) -> Iterator[tuple[int, list[int]]]:
        """Groups of the batch with the ids to run."""
        for group in self.ranges:
            yield group, list(self.blocks) if self.blocks else units.blocks(group)


WAITED_FOR = 8
"""How much smaller batches are of which others wait for single blocks: a slow one holds up those behind it."""


def cut_batches(
    stage: int, n_groups: int, how: Execution, picked: Ranges | None = None, *, finer: int = 1
) -> list[Batch]:
    """Batches of falling size (guided self-scheduling: Polychronopoulos and Kuck, 1987), cut in lattice order.

    With ``picked``, of these groups only; ``finer`` times as small.
    """
    batches: list[Batch] = []
    total, start = (n_groups if picked is None else len(picked)), 0
    most = total // (how.num_workers * how.settings.tasks_per_worker)
    while start < total:
        stop = min(total, start + max(1, min(most, -(-(total - start) // (2 * finer * how.num_workers)))))
        part = None if picked is None else picked.part(start, stop)
        batches.append(Batch(stage, start, stop, picked=part, key=(0, len(batches))))
        start = stop
    return batches


def listed(batches: list[Batch], number: int) -> list[Batch]:
    """The batches as members of a list."""
    return [replace(batch, key=(number, index)) for index, batch in enumerate(batches)]
