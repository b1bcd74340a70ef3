"""What a worker does for `label`: the components of a block, their merge, and final ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..errors import StorageError, ValueRangeError
from ..runner.ledger.stage_record import Results
from ..sources import Source
from . import components, merging, tables

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Labelling:
    """How an array is labelled."""

    connectivity: int
    multi_label: bool = False
    threshold: float | None = None
    along: tuple[int, ...] | None = None

    def values(self, block: Array, inside: Array | None = None) -> Array:
        """The values whose components are sought; 0 outside the mask."""
        values = block if self.threshold is None else block > self.threshold
        if inside is None or inside.all():
            return values
        return np.where(inside, values, np.zeros(1, values.dtype))

    def __call__(self, block: Array, inside: Array | None = None) -> components.Components:
        """Components of an array."""
        return self.of_values(self.values(block, inside))

    def of_values(self, values: Array) -> components.Components:
        """Components of the values of an array."""
        along = self.along or tuple(range(values.ndim))
        return components.components_apart(values, along, connectivity=self.connectivity, multi_label=self.multi_label)

    def labels(self, block: Array, inside: Array | None = None) -> tuple[Array, int]:
        """Labels and number of the components of an array."""
        if self.along is not None and len(self.along) < block.ndim:
            return self(block, inside)[:2]
        return components.block_labels(
            self.values(block, inside), connectivity=self.connectivity, multi_label=self.multi_label
        )


@dataclass(frozen=True)
class FindComponents:
    """First pass: what the merge needs to know of a block."""

    kernel: Labelling
    region: tuple[tuple[int, int], ...]

    def __call__(self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None) -> Any:
        """Label one block and keep its faces; None if it has no foreground."""
        inside = _inside(block, mask)
        if inside is not None and not inside.any():
            return None
        values = self.kernel.values(inputs[0].view(to_roi(block)), inside)
        found = self.kernel.of_values(values)
        if not found.n:
            return None
        along = self.kernel.along or range(len(block.begin))
        sides = [
            (axis in along and begin > low, axis in along and end < high)
            for axis, (begin, end, (low, high)) in enumerate(zip(block.begin, block.end, self.region, strict=True))
        ]
        part = components.summary(
            found,
            values,
            begin=[begin - low for begin, (low, _) in zip(block.begin, self.region, strict=True)],
            volume=[high - low for low, high in self.region],
            multi_label=self.kernel.multi_label,
            sides=sides,
        )
        return self.told(part, found)

    def told(self, part: merging.Part, found: components.Components) -> Any:
        """What is kept of a block: a `Part`."""
        return part


@dataclass(frozen=True)
class MergeComponents:
    """Between the passes: final ids of all components."""

    lattice: tuple[int, ...]
    connectivity: int
    dtype: np.dtype[Any] | None
    along: tuple[int, ...] | None = None

    def __call__(self, earlier: Results) -> merging.Merged:
        """Merge the components of all blocks."""
        parts: list[merging.Part | None] = [None] * math.prod(self.lattice)
        for block_id, part in earlier.each("components"):
            parts[block_id] = part
        merged = merging.merge(parts, self.lattice, self.connectivity, self.along)
        check_ids(merged.n, self.dtype)
        return merged


@dataclass(frozen=True)
class WriteComponents:
    """Second pass: label a block again and write final ids."""

    kernel: Labelling

    def __call__(
        self,
        block: Block,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: merging.Merged,
    ) -> None:
        """Write one block."""
        roi, output = to_roi(block), outputs[0]
        table = context.table_of(block.id)
        if len(table) == 1:
            output[roi] = np.zeros(block.shape, output.dtype)
            return
        labels, n = self.kernel.labels(inputs[0].view(roi), _inside(block, mask))
        if n != len(table) - 1:
            raise StorageError(
                f"block {block.id} {block.where()} had {len(table) - 1} components in the first pass and has {n}"
                " now: its input has changed",
                remedy="repeat the call while nothing else writes the input",
            )
        output[roi] = tables.take(table.astype(output.dtype), labels)


def merged_of(earlier: Results) -> merging.Merged:
    """Final ids of all components, which `MergeComponents` has made."""
    merged: merging.Merged = earlier["merge"]
    return merged


def _inside(block: Block, mask: Source | None) -> Array | None:
    return None if mask is None else mask[to_roi(block)].astype(np.bool_, copy=False)


def check_ids(n: int, dtype: np.dtype[Any] | None) -> None:
    """ValueRangeError where an output of a type cannot number so many components; None stands for any number."""
    if dtype is not None and n > np.iinfo(dtype).max:
        raise ValueRangeError(
            f"there are {n} components, more than the output's type {dtype} can number ({np.iinfo(dtype).max})",
            remedy="an output of type uint64",
        )
