"""The operation `label`: connected components of a volume of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..errors import DtypeError, ParameterError, StorageError, ValueRangeError
from ..runner.ledger.stage_record import Results
from ..runner.planning.build import plan_groups
from ..sources import Source, as_source
from . import components, merging, tables

Array = npt.NDArray[Any]
_KERNEL_BYTES = 14  # measured


@operation(omit=("block_ids", "resume_from"), axes="space")
def label(
    input: Any,
    output: Any = None,
    *,
    threshold: float | None = None,
    connectivity: int | None = None,
    multi_label: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Label connected components.

    Components are numbered 1..n by their first voxel in C order; background is 0. The ids are the same for a direct
    call and for any block shape and backend. Voxels of two channels or times are never joined (see `axes`), and no id
    occurs in both.

    Parameters
    ----------
    input : source-like
        Any number of axes; bool, integers, or floats (floats not with ``multi_label``). Voxels that are not 0 are
        foreground.
    output : source-like, optional
        Integers of the shape of the input; allocated as uint64 numpy array by default. Every voxel is written: 0 where
        the mask is 0.
    threshold : float, optional
        Foreground are the voxels above it instead.
    connectivity : int, optional
        Number of axes along which neighbours may differ, 1 to as many as are worked along; 1 (default) joins voxels
        that share a face.
    multi_label : bool
        Join only voxels of equal values, so that touching objects of a label image stay apart.

    Returns
    -------
    object
        The output.

    Raises
    ------
    DtypeError
        Float labels with ``multi_label``, or an output that is not integer.
    ParameterError
        A connectivity out of range, or a threshold together with ``multi_label``.
    ValueRangeError
        More components than the output's type can number (as cause of a `RunnerError` when run in blocks); nothing
        has been written then.

    Notes
    -----
    Two passes over the input: each block is labelled, and only its faces are kept; after the merge each block is
    labelled again and written once, with final ids. Kernel: connected-components-3d.
    """
    job = Job.of(run)
    source = as_source(input)
    along = job.along(source)
    kernel = Labelling(
        components.check_connectivity(connectivity, len(along)),
        multi_label,
        _threshold(threshold, source, multi_label),
        along,
    )
    components.check_values(source.dtype, multi_label)
    target, returned = prepare_output(output, source.shape, np.uint64, job, source=source)
    if target.dtype.kind not in "iu":
        raise DtypeError(
            f"label needs an output of an integer type, got {target.dtype}", remedy="an output of type uint64"
        )
    checked = job.execution.casting == "checked"
    direct = job.whole([source])
    if direct and job.execution.plan:
        job = job.as_one(source.shape)
    elif direct:
        found = kernel(source.view())
        _check_ids(found.n, target.dtype if checked else None)
        target.write(..., components.ranked(found), casting=job.execution.casting)
        return returned
    grid = plan_groups(source.shape, [source], [target], job.block_shape, job.roi).grid
    merge = MergeComponents(grid.grid_shape, kernel.connectivity, target.dtype if checked else None, along)
    find, write = FindComponents(kernel, grid.roi), WriteComponents(kernel)
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage("components", find, [source], returns="each", memory_factor=_memory_factor(source), holds_gil=True),
        OnceStage("merge", merge),
        BlocksStage(
            "write",
            write,
            [source],
            [target],
            setup=_merged,
            memory_factor=_memory_factor(source, target),
            holds_gil=True,
        ),
    ]
    run_stages("label", stages, job)
    return returned


def _memory_factor(*sources: Source) -> float:
    """Peak bytes over those of the blocks: the kernel takes a number of bytes a voxel, whatever the data types."""
    return 1 + _KERNEL_BYTES / sum(source.dtype.itemsize for source in sources)


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

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> merging.Part | None:
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
        return components.summary(
            found,
            values,
            begin=[begin - low for begin, (low, _) in zip(block.begin, self.region, strict=True)],
            volume=[high - low for low, high in self.region],
            multi_label=self.kernel.multi_label,
            sides=sides,
        )


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
        _check_ids(merged.n, self.dtype)
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


def _merged(earlier: Results) -> merging.Merged:
    merged: merging.Merged = earlier["merge"]
    return merged


def _inside(block: Block, mask: Source | None) -> Array | None:
    return None if mask is None else mask[to_roi(block)].astype(np.bool_, copy=False)


def _threshold(threshold: Any, source: Source, multi_label: bool) -> float | None:
    if threshold is None:
        return None
    if multi_label:
        raise ParameterError(
            "threshold= makes a binary image, multi_label=True needs a label image", remedy="leave one of them out"
        )
    if (
        isinstance(threshold, str)
        or np.ndim(threshold)
        or not isinstance(threshold, float | int | np.number | np.bool_)
    ):
        raise ParameterError(f"threshold={threshold!r} is not a number", remedy="threshold=0.5, for example")
    if math.isnan(threshold):
        raise ParameterError("threshold is NaN, which no voxel is above", remedy="threshold=0.5, for example")
    # x > t and x > floor(t) are the same for integers, and numpy compares those exactly.
    whole = source.dtype.kind in "iu" and math.isfinite(threshold)
    return math.floor(threshold) if whole else float(threshold)


def _check_ids(n: int, dtype: np.dtype[Any] | None) -> None:
    if dtype is not None and n > np.iinfo(dtype).max:
        raise ValueRangeError(
            f"there are {n} components, more than the output's type {dtype} can number ({np.iinfo(dtype).max})",
            remedy="an output of type uint64",
        )
