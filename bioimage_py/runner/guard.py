"""Outputs as a function sees them: writes stay inside the block, and write units are written once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..blocks import Block
from ..errors import RegionError
from ..sources.base import Axis, Concurrency, Source
from ..sources.values import Casting

Roi = tuple[slice, ...]


class GuardedOutput(Source):
    """One worker's view on an output.

    A write outside the current block is refused: a neighbour may be writing there at the same moment.

    Parameters
    ----------
    target : Source
        The output itself.
    casting : {"checked", "unsafe"}
        What happens to values that the data type can't hold.
    """

    def __init__(self, target: Source, casting: Casting) -> None:
        self.target = target
        self.casting = casting
        self.buffer: GroupBuffer | None = None
        self._block: Block | None = None

    def enter(self, block: Block) -> None:
        """Allow writing in a block."""
        self._block = block

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return self.target.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the output."""
        return self.target.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Read chunks of the output."""
        return self.target.chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shards of the output."""
        return self.target.shards

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Write-grid origin of the output."""
        return self.target.grid_origin

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the output."""
        return self.target.axes

    @property
    def writable(self) -> bool:
        """Always true: read-only outputs are refused before a run."""
        return True

    @property
    def concurrency(self) -> Concurrency:
        """What may be written to the output at the same time."""
        return self.target.concurrency

    @property
    def identity(self) -> Any:
        """Storage of the output."""
        return self.target.identity

    def to_spec(self) -> Any:
        """Spec of the output."""
        return self.target.to_spec()

    def __setitem__(self, index: Any, value: Any) -> None:
        self.write(index, value, casting=self.casting)

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self.target._getitem(roi) if self.buffer is None else self.buffer.read(roi)

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        block = self._block
        if block is not None:
            for part, begin, end in zip(roi[len(roi) - block.ndim :], block.begin, block.end, strict=True):
                if part.start < begin or part.stop > end:
                    where = ", ".join(f"{p.start}:{p.stop}" for p in roi)
                    raise RegionError(
                        f"a function may write its own block {block.where()} only, not [{where}]",
                        remedy="outputs[0][to_roi(block.inner_block)] = result[to_roi(block.inner_block_local)]",
                    )
        if self.buffer is None:
            self.target._setitem(roi, value)
        else:
            self.buffer.write(roi, value)


class GroupBuffer:
    """The box of a write group in memory, written once when its blocks are through.

    Parameters
    ----------
    target : Source
    begin, end : list of int
        The box in the volume's axes; leading (channel) axes of the target are whole.
    """

    def __init__(self, target: Source, begin: list[int], end: list[int]) -> None:
        self.target = target
        lead = target.ndim - len(begin)
        self.begin = [0] * lead + begin
        self.end = list(target.shape[:lead]) + end
        self._writes: list[tuple[Roi, np.ndarray]] = []

    def _local(self, roi: Roi) -> Roi:
        return tuple(slice(p.start - b, p.stop - b) for p, b in zip(roi, self.begin, strict=True))

    def write(self, roi: Roi, value: np.ndarray) -> None:
        """Keep a write; ``value`` has the output's data type and the region's shape."""
        self._writes.append((roi, np.array(value)))

    def read(self, roi: Roi) -> np.ndarray:
        """What the output holds in a region, kept writes included."""
        result = np.array(self.target._getitem(roi))
        for written, value in self._writes:
            low = [max(a.start, b.start) for a, b in zip(roi, written, strict=True)]
            high = [min(a.stop, b.stop) for a, b in zip(roi, written, strict=True)]
            if all(a < b for a, b in zip(low, high, strict=True)):
                here = tuple(slice(a - p.start, b - p.start) for a, b, p in zip(low, high, roi, strict=True))
                there = tuple(slice(a - p.start, b - p.start) for a, b, p in zip(low, high, written, strict=True))
                result[here] = value[there]
        return result

    def flush(self) -> None:
        """Write the box; voxels that no block wrote keep what the output holds."""
        if not self._writes:
            return
        box = tuple(slice(b, e) for b, e in zip(self.begin, self.end, strict=True))
        shape = [e - b for b, e in zip(self.begin, self.end, strict=True)]
        whole = sum(math.prod(v.shape) for _, v in self._writes) == math.prod(shape) and self._disjoint()
        data = np.empty(shape, self.target.dtype) if whole else np.array(self.target._getitem(box))
        for roi, value in self._writes:
            data[self._local(roi)] = value
        self._writes.clear()
        self.target._setitem(box, data)

    def _disjoint(self) -> bool:
        boxes = [[(p.start, p.stop) for p in roi] for roi, _ in self._writes]
        return not any(
            all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))
            for index, one in enumerate(boxes)
            for other in boxes[:index]
        )
