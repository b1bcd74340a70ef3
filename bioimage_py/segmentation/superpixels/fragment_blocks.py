"""What a worker does for `distance_watershed`: the fragments of a block, and ids that no two blocks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Block, BlockWithHalo, to_roi
from ...blocks.boxes import within
from ...runner.ledger.stage_record import Results
from ...sources import Source
from ..labelling_blocks import check_ids
from .fragments import Array, connected


@dataclass(frozen=True)
class FindFragments:
    """First pass: the fragments of a block, numbered from 1, and how many there are.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays, inside=mask)``: ids 1 .. n of arrays of one shape.
    along : tuple of int
        Axes that the kernel works along; every index of the others is an array of its own.
    """

    kernel: Callable[..., npt.NDArray[np.uint32]]
    along: tuple[int, ...]

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> int:
        """Number of fragments."""
        inner = to_roi(block.inner_block if isinstance(block, BlockWithHalo) else block)
        outer = to_roi(block.outer_block) if isinstance(block, BlockWithHalo) else inner
        inside = None if mask is None else mask[outer].astype(np.bool_, copy=False)
        labels, n = self.of([source.view(outer) for source in inputs], inside, within(inner, outer))
        outputs[0][inner] = labels
        return n

    def of(
        self, arrays: Sequence[Array], inside: npt.NDArray[np.bool_] | None, part: tuple[slice, ...]
    ) -> tuple[npt.NDArray[np.uint32], int]:
        """Fragments of a part of arrays of one shape, 1 .. n, each of which hangs together."""
        apart = [axis for axis in range(arrays[0].ndim) if axis not in self.along]
        order = (*apart, *self.along)
        values = [array.transpose(order) for array in arrays]
        masks = None if inside is None else inside.transpose(order)
        cut = tuple(part[axis] for axis in order)
        lead = cut[: len(apart)]
        result = np.zeros([side.stop - side.start for side in cut], np.uint32)
        n = 0
        for index in np.ndindex(result.shape[: len(apart)]):
            at = tuple(side.start + step for side, step in zip(lead, index, strict=True))
            mask = None if masks is None else masks[at]
            found = connected(self.kernel(*(array[at] for array in values), inside=mask)[cut[len(apart) :]])
            found[found != 0] += np.uint32(n)
            n = max(n, int(found.max(initial=0)))
            result[index] = found
        return result.transpose(np.argsort(order)), n


@dataclass(frozen=True)
class CountFragments:
    """Between the passes: how many fragments lie in the blocks before each."""

    stage: str
    limit: np.dtype[Any] | None

    def __call__(self, earlier: Results) -> npt.NDArray[np.uint64]:
        """Ids that are taken before each block, in the order of the blocks; at the end the number of all."""
        counts = [0] * (1 + max((block_id for block_id, _ in earlier.each(self.stage)), default=-1))
        for block_id, count in earlier.each(self.stage):
            counts[block_id] = count
        check_ids(sum(counts), self.limit)
        return np.cumsum([0, *counts], dtype=np.uint64)


@dataclass(frozen=True)
class WriteIds:
    """Second pass: final ids."""

    def __call__(
        self,
        block: Block,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: npt.NDArray[np.uint64],
    ) -> None:
        """Write one block."""
        roi = to_roi(block)
        labels = inputs[0].view(roi).astype(np.uint64)
        labels[labels != 0] += context[block.id]
        outputs[0][roi] = labels


@dataclass(frozen=True)
class TakenOf:
    """The counts that an earlier stage has made."""

    stage: str

    def __call__(self, earlier: Results) -> npt.NDArray[np.uint64]:
        """Ids that are taken before each block."""
        taken: npt.NDArray[np.uint64] = earlier[self.stage]
        return taken
