"""How a volume is cut for transforms of whole lines: blocks that are whole along some axes, and chunks between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...blocks import MAX_GROUP, normalize_block_shape
from ...engine.job import Job
from ...runner.planning.build import Where
from ...sources import Source

LINES_VOXELS = 2**22
"""Of a block of whole lines, unless the caller says how large blocks are, or how much memory there is."""
PLANES_VOXELS = 2**23
"""Of a block of whole planes, which are computed one after the other."""
_LINES_BYTES, _PLANES_BYTES = 40, 25
"""That a voxel of such a block takes."""

Bounds = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Cut:
    """Sizes of blocks.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    blocks : tuple of int, optional
        What the caller wants of blocks, along the axes along which they are not whole.
    lines, planes : int
        Voxels of a block of whole lines, and of whole planes.
    """

    shape: tuple[int, ...]
    blocks: tuple[int, ...] | None
    lines: int
    planes: int

    @classmethod
    def of(cls, shape: tuple[int, ...], job: Job, arrays: int) -> Cut:
        """The cut for a call, where a stage hands on so many arrays."""
        blocks = None if job.block_shape is None else normalize_block_shape(job.block_shape, len(shape))
        lines, planes = LINES_VOXELS, PLANES_VOXELS
        if job.execution.memory is not None:
            share = job.execution.memory // job.execution.num_workers // arrays
            lines, planes = min(lines, share // _LINES_BYTES), min(planes, share // _PLANES_BYTES)
        if blocks is not None:
            blocks = tuple(min(size, max(1, n)) for size, n in zip(blocks, shape, strict=True))
        return cls(shape, blocks, lines, planes)

    def together(self, along: tuple[int, ...]) -> tuple[int, ...]:
        """The last axes, of which a block can be whole: one at least."""
        for begin in range(len(along) - 1):
            if 4 * math.prod(self.shape[axis] for axis in along[begin:]) <= self.planes:
                return along[begin:]
        return along[-1:]

    @property
    def chunks(self) -> tuple[int, ...]:
        """Of arrays between stages: lines of blocks along any axis have few enough voxels."""
        if self.blocks is not None:
            return self.blocks
        across = max(1, min(2, len(self.shape) - 1))
        edge = max(1.0, self.lines / max(1, *self.shape)) ** (1 / across)
        power = 2 ** min(6 if across == 2 else 10, max(3, int(math.log2(edge))))
        leading = max(0, len(self.shape) - 3)
        return (*[1] * leading, *(min(power, max(1, n)) for n in self.shape[leading:]))

    def where(self, axes: Sequence[int], region: Bounds, output: Source | None = None) -> Where:
        """Blocks that are whole along some axes; along the others of whole units of an output, or thin."""
        block = list(self.chunks)
        if output is not None and output.write_chunks is not None and self.blocks is None:
            block = self._whole_units(block, axes, output.write_chunks[output.ndim - len(self.shape) :])
        if output is None and len(axes) > 1:
            plane = math.prod(self.shape[axis] for axis in axes)
            block = [max(1, min(size, self.planes // max(1, plane))) for size in block]
        sizes = [max(1, self.shape[axis]) if axis in axes else size for axis, size in enumerate(block)]
        return Where(tuple(sizes), roi=tuple(slice(begin, end) for begin, end in region))

    def _whole_units(self, block: list[int], axes: Sequence[int], units: Sequence[int]) -> list[int]:
        """Blocks of whole units where that is not too large; several blocks may share one, but not too many."""
        larger = [-(-size // unit) * unit for size, unit in zip(block, units, strict=True)]
        others = [axis for axis in range(len(self.shape)) if axis not in axes]
        voxels = math.prod(larger[axis] if axis in others else n for axis, n in enumerate(self.shape))
        sharing = math.prod(-(-units[axis] // block[axis]) for axis in others)
        return larger if voxels <= self.lines or sharing > MAX_GROUP else block

    def halo(self, axes: Sequence[int], region: Bounds) -> list[int] | None:
        """What makes lines whole where a region cuts them."""
        pairs = enumerate(zip(self.shape, region, strict=True))
        found = [n if axis in axes and tuple(box) != (0, n) else 0 for axis, (n, box) in pairs]
        return found if any(found) else None
