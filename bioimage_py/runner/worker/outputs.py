"""Outputs as a function sees them: writes stay inside the block, and write units are written once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ...blocks import Block
from ...blocks.boxes import common, is_empty, size_of, within
from ...errors import RegionError
from ...sources.base import Source
from ...sources.casting import Casting
from ...sources.indexing import Roi
from ...sources.spec import SourceSpec
from ...system.faults import fault
from ...wrapper.base import WrapperSource


class GuardedOutput(WrapperSource):
    """One worker's view on an output.

    A write outside the current block is refused: a neighbour may be writing there at the same moment.

    Parameters
    ----------
    target : Source
        The output itself.
    casting : {"checked", "unsafe"}
        What happens to values that the data type can't hold.
    turn : lock, optional
        Held while the output is written, where only one may write at a time.
    before : Source, optional
        What is read: the output as it was before the stage. By default the output as it is.
    hold : callable, optional
        Called before each write; raises where the worker may not write any more.
    """

    def __init__(
        self,
        target: Source,
        casting: Casting,
        turn: AbstractContextManager[Any] | None = None,
        before: Source | None = None,
        hold: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(target)
        self._hold = hold
        self.target = target
        self.before = target if before is None else before
        self.casting = casting
        self._turn = turn or nullcontext()
        self.buffer: GroupBuffer | None = None
        self._block: Block | None = None

    def enter(self, block: Block) -> None:
        """Allow writing in a block."""
        self._block = block

    @property
    def writable(self) -> bool:
        """Always true: read-only outputs are refused before a run."""
        return True

    def over(self, change: Callable[[Source], Source]) -> Source:
        """Itself: nobody gets a handle without the guard."""
        return self

    def to_spec(self) -> SourceSpec:
        """Spec of the output."""
        return self.target.to_spec()

    def close(self) -> None:
        """Nothing: other workers of the process write to the output."""

    def __setitem__(self, index: Any, value: Any) -> None:
        self.write(index, value, casting=self.casting)

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self.before._getitem(roi) if self.buffer is None else self.buffer.read(roi)

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        self._check(roi)
        if self.buffer is None:
            self.store(roi, value)
        else:
            self.buffer.write(roi, value)

    def copy_encoded(self, roi: Roi, source: Source) -> bool:
        """Replace whole write units of the block; False also where it is assembled with others before it is written."""
        self._check(roi)
        if self.buffer is not None:
            return False
        fault("before-write")
        with self._turn:
            self._hold()
            copied = self.target.copy_encoded(roi, source)
        if copied:
            fault("after-write")
        return copied

    def _check(self, roi: Roi) -> None:
        """RegionError for what is not in the block."""
        block = self._block
        if block is not None:
            for part, begin, end in zip(roi[len(roi) - block.ndim :], block.begin, block.end, strict=True):
                if part.start < begin or part.stop > end:
                    where = ", ".join(f"{p.start}:{p.stop}" for p in roi)
                    raise RegionError(
                        f"a function may write its own block {block.where()} only, not [{where}]",
                        remedy="outputs[0][to_roi(block.inner_block)] = result[to_roi(block.inner_block_local)]",
                    )

    def store(self, roi: Roi, value: np.ndarray) -> None:
        """Write to the output itself."""
        fault("before-write")
        with self._turn:
            self._hold()
            self.target._setitem(roi, value)
        fault("after-write")


class GroupBuffer:
    """The box of a write group in memory, written once when its blocks are through.

    Begin and end are in the volume's axes; leading (channel) axes of the output are whole.
    """

    def __init__(self, output: GuardedOutput, begin: list[int], end: list[int]) -> None:
        self._output = output
        lead = output.ndim - len(begin)
        begin, end = [0] * lead + begin, list(output.shape[:lead]) + end
        self._box = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
        self._data: np.ndarray | None = None
        self._written: np.ndarray = np.zeros(0, bool)

    def _local(self, roi: Roi) -> Roi:
        return within(roi, self._box)

    def write(self, roi: Roi, value: np.ndarray) -> None:
        """Keep a write; ``value`` has the output's data type and the region's shape."""
        if roi == self._box:
            self._data, self._written = np.array(value), np.broadcast_to(True, value.shape)
            return
        if self._data is None:
            self._data = np.empty(size_of(self._box), self._output.dtype)
            self._written = np.zeros(self._data.shape, bool)
        if not self._written.flags.writeable:
            self._data[self._local(roi)] = value
            return
        self._data[self._local(roi)] = value
        self._written[self._local(roi)] = True

    def read(self, roi: Roi) -> np.ndarray:
        """What the output holds in a region, kept writes included."""
        result = self._output.before._getitem(roi)
        shared = common(roi, self._box)
        if self._data is not None and not is_empty(shared):
            there = self._local(shared)
            np.copyto(result[within(shared, roi)], self._data[there], where=self._written[there])
        return result

    def flush(self, block: Block | None = None) -> None:
        """Write the box, or one block of it; voxels that were not written keep what the output holds."""
        box = self._box
        if block is not None:
            box = (*box[: len(box) - block.ndim], *map(slice, block.begin, block.end))
        if self._data is None or not (written := self._written[self._local(box)]).any():
            return
        data = self._data[self._local(box)]
        if not written.all():
            np.copyto(data, self._output.before._getitem(box), where=~written)
        self._output.store(box, data)
