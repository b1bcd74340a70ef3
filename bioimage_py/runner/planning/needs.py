"""Which write groups of a stage must be done before a group of a later stage can read what they write.

Groups are boxes between cuts along each axis, so what one of them needs is a box of groups: a range along each axis,
found once for all runs of that axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...blocks import Groups
from ...sources.base import Source
from ...wrapper.base import WrapperSource
from .id_sets import Ids
from .stage import Stage

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Need:
    """What the groups of a stage need of an earlier one.

    Parameters
    ----------
    stage : int
        The earlier one.
    spans : tuple of (array, array) or None
        For each axis of the reading grid, for each of its runs, the first and one past the last run of the earlier
        grid that it needs; None for an axis that the earlier grid does not have.
    """

    stage: int
    spans: tuple[tuple[Ids, Ids] | None, ...]

    def readers(self, position: Sequence[int]) -> Box:
        """The groups that need the earlier group at a position."""
        earlier = iter(position)
        box = []
        for span in self.spans:
            if span is None:
                box.append(slice(0, None))
                continue
            at = next(earlier)
            box.append(slice(int(np.searchsorted(span[1], at, "right")), int(np.searchsorted(span[0], at, "right"))))
        return tuple(box)


def needs_of(stages: Sequence[Stage], index: int, first: int) -> list[Need]:
    """What a stage needs of those between the first of its chain and itself."""
    reader, found = stages[index], []
    sources = (*reader.inputs, *(() if reader.mask is None else (reader.mask,)))
    for number in range(first, index):
        for output in stages[number].outputs:
            for source in sources:
                if any(part.identity == output.identity for part in source.parts):
                    found.append(_need(reader, source, number, stages[number], output))
    return found


def shift_of(source: Source) -> tuple[int, ...] | None:
    """How many voxels a view begins behind its storage, per axis; None where it is more than a shifted part of it."""
    shift = np.zeros(source.ndim, np.int64)
    while isinstance(source, WrapperSource):
        whole = tuple((0, size) for size in source.shape)
        box = source.inner_box(whole) if len(source.sources) == 1 else None
        if box is None or [end - begin for begin, end in box] != list(source.shape):
            return None
        shift += [begin for begin, _ in box]
        source = source.source
    return tuple(shift.tolist())


def _need(reader: Stage, source: Source, number: int, writer: Stage, output: Source) -> Need:
    groups, earlier = reader.units.groups, writer.units.groups
    assert groups is not None
    assert earlier is not None
    ndim = groups.grid.ndim
    spans: list[tuple[Ids, Ids] | None] = [None] * ndim
    read, written = shift_of(source), shift_of(output)
    lead = 0 if written is None else len(written) - earlier.grid.ndim
    if read is None or written is None or lead < 0 or len(written) != ndim:
        return Need(number, _all_of(groups, earlier))
    halo = reader.halo or (0,) * ndim
    for axis in range(lead, ndim):
        begin, end = _edges(groups, axis)
        begin = np.maximum(begin - halo[axis], 0) + read[axis]
        end = np.minimum(end + halo[axis], groups.grid.shape[axis]) + read[axis]
        low, high = (edge + written[axis] for edge in _edges(earlier, axis - lead))
        spans[axis] = np.searchsorted(high, begin, "right"), np.searchsorted(low, end, "left")
    return Need(number, tuple(spans))


def _all_of(groups: Groups, earlier: Groups) -> tuple[tuple[Ids, Ids] | None, ...]:
    """Spans where every group needs all: of the first axes as many as the earlier grid has."""
    if groups.grid.ndim < earlier.grid.ndim:
        raise ValueError(f"a stage of {groups.grid.ndim} axes cannot begin before one of {earlier.grid.ndim} has ended")
    spans: list[tuple[Ids, Ids] | None] = [None] * groups.grid.ndim
    for axis, run in enumerate(earlier.runs):
        count = groups.runs[axis].n_runs
        spans[axis] = np.zeros(count, np.int64), np.full(count, run.n_runs, np.int64)
    return tuple(spans)


def _edges(groups: Groups, axis: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Begin and end of the voxels of each run of an axis."""
    grid, run = groups.grid, groups.runs[axis]
    number = np.arange(run.n_runs, dtype=np.int64)
    first = np.where(number == 0, 0, run.first + (number - 1) * run.period)
    past = np.minimum(run.count, run.first + number * run.period)
    size, origin, (low, high) = grid.block_shape[axis], grid.anchor[axis], grid.roi[axis]
    begin, end = (origin + (grid.first[axis] + edge) * size for edge in (first, past))
    return np.maximum(begin, low), np.minimum(end, high)
