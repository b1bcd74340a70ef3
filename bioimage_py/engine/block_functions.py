"""Block functions: what a worker imports of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..blocks import Block, BlockWithHalo, to_roi
from ..blocks.boxes import within
from ..sources import Source
from ..sources.casting import Casting, convert_values
from ..sources.indexing import Roi, normalize_index


def same(array: np.ndarray) -> np.ndarray:
    """Kernel: the block as it is, for inputs that are views of what they show."""
    return array


@dataclass(frozen=True)
class MapBlock:
    """The block function of a map: read, call the kernel, crop, keep what the mask leaves out, write."""

    kernel: Callable[..., Any]
    casting: Casting

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> None:
        """Run one block."""
        inner = to_roi(block.inner_block if isinstance(block, BlockWithHalo) else block)
        outer = to_roi(block.outer_block) if isinstance(block, BlockWithHalo) else inner
        inside = None if mask is None else mask[inner].astype(bool, copy=False)
        if inside is not None and not inside.any():
            return
        write_inside(outputs[0], inner, self.result(inner, outer, inputs), inside, self.casting)

    def result(self, inner: Roi, outer: Roi, inputs: Sequence[Source]) -> Any:
        """What the kernel makes of a block from the block with its halo."""
        result = self.kernel(*(source.view(outer) for source in inputs))
        # uncut where there is no halo: a result of another shape must not look whole
        return result if inner == outer else result[(..., *within(inner, outer))]


def write_inside(output: Source, inner: Roi, result: Any, inside: np.ndarray | None, casting: Casting) -> None:
    """Write the result of a block, with leading channels or without; what the mask leaves out stays as it is."""
    if inside is not None and not inside.all():
        target = (slice(None),) * (output.ndim - inside.ndim) + inner
        kept = output[target]
        # zeros fit everywhere: only values that are written are checked, and an error names their place
        written = np.where(inside, result, np.zeros(1, result.dtype))
        place = normalize_index(target, output.shape)
        np.copyto(kept, convert_values(written, kept.dtype, casting, place), where=inside)
        result = kept
    output[(..., *inner)] = result


@dataclass(frozen=True)
class CopyBlock(MapBlock):
    """The block function of a copy: whole chunks as they are stored, if that gives the same voxels."""

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> None:
        """Run one block."""
        if mask is None and isinstance(block, Block) and outputs[0].copy_encoded(to_roi(block), inputs[0]):
            return
        super().__call__(block, inputs, outputs, mask)


@dataclass(frozen=True)
class ReduceBlock:
    """The block function of a reduction."""

    kernel: Callable[..., Any]

    def __call__(self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None) -> Any:
        """Partial value of one block, None where the mask leaves nothing."""
        roi = to_roi(block)
        inside = None if mask is None else mask[roi].astype(bool, copy=False)
        if inside is not None and not inside.any():
            return None
        return self.kernel(*(source.view(roi) for source in inputs), inside)
