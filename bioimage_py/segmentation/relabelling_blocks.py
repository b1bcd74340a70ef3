"""What a worker does that gives labels new ids: counts, tables, and their use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..engine.block_functions import MapBlock
from ..errors import ShapeError
from ..runner.ledger.stage_record import Results
from ..sources import Source
from . import tables
from .mapped_table import MappedTable
from .partial import PartialTable

Array = npt.NDArray[Any]
BlockFunction = Callable[[Array, Array | None], Array]


@dataclass(frozen=True)
class ApplyTable:
    """A kernel that maps ids, where a mask allows it."""

    table: tables.Table | MappedTable | PartialTable

    def __call__(self, labels: Array, mask: Array | None = None) -> Array:
        """New ids of an array; 0 outside the mask, where ids need no entry."""
        inside = None if mask is None else mask.astype(np.bool_, copy=False)
        if inside is None or inside.all():
            return self.table(labels)
        new = self.table(labels[inside])
        result = np.zeros(labels.shape, new.dtype)
        result[inside] = new
        return result


@dataclass(frozen=True)
class Consecutive:
    """New ids by old ids for `relabel_consecutive`."""

    start_label: int
    keep_zeros: bool

    def __call__(self, ids: Array, counts: Array | None = None) -> Array:
        """New id of each id."""
        return tables.consecutive(ids, start_label=self.start_label, keep_zeros=self.keep_zeros)


@dataclass(frozen=True)
class CountBlock:
    """Ids of a block and their numbers of voxels."""

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> tuple[Array, Array] | None:
        """Count one block, inside the mask."""
        roi = to_roi(block)
        labels = inputs[0].view(roi)
        if mask is None:
            return tables.counted(labels)
        inside = mask[roi].astype(np.bool_, copy=False)
        return tables.counted(labels[inside]) if inside.any() else None


@dataclass(frozen=True)
class MakeTable:
    """The table of a run, from the ids of all blocks."""

    make: Any
    dtype: np.dtype[Any] | None

    def of_counts(self, counted: tuple[Array, Array] | None) -> tuple[Array, Array]:
        """Ids and new ids."""
        if counted is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        ids, counts = counted
        values = self.make(ids, counts)
        if self.dtype is not None:
            tables.check_fits(tables.SparseTable(ids, values), self.dtype)
        return ids, values

    def __call__(self, earlier: Results) -> tuple[Array, Array]:
        """Ids and new ids, from the earlier stage."""
        return self.of_counts(earlier["ids"])


@dataclass(frozen=True)
class TableSetup:
    """What a worker prepares before it applies the table of a run."""

    dtype: np.dtype[Any]
    casting: Any

    def __call__(self, earlier: Results) -> MapBlock:
        """The block function."""
        keys, values = earlier["table"]
        return MapBlock(ApplyTable(tables.sparse(keys, values).narrowed(self.dtype)), self.casting)


@dataclass(frozen=True)
class WriteTable:
    """Apply the table of a run to a block."""

    def __call__(
        self,
        block: Block,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: MapBlock,
    ) -> None:
        """Write one block."""
        context(block, inputs, outputs, mask)


@dataclass(frozen=True)
class BySize:
    """New ids by old ids for `size_filter`."""

    min_size: int | None
    max_size: int | None
    relabel: bool

    def __call__(self, ids: Array, counts: Array) -> Array:
        """New id of each id."""
        return tables.by_size(ids, counts, min_size=self.min_size, max_size=self.max_size, relabel=self.relabel)


@dataclass(frozen=True)
class FilterBlock:
    """A kernel that calls a user's functions one after the other."""

    functions: tuple[BlockFunction, ...]

    def __call__(self, labels: Array, mask: Array | None = None) -> Array:
        """Filtered labels of one block."""
        inside = None if mask is None else mask.astype(np.bool_)
        result = labels.copy()
        for function in self.functions:
            result = np.asarray(function(result, inside))
            if result.shape != labels.shape:
                name = getattr(function, "__name__", repr(function))
                raise ShapeError(
                    f"{name} returned the shape {result.shape} for a block of shape {labels.shape}",
                    remedy="return an array of the shape of the block",
                )
        return result
