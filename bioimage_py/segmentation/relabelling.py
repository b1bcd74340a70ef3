"""The operations `relabel` and `relabel_consecutive`: new ids for the labels of a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..engine.block_functions import MapBlock
from ..engine.job import Job, RunKeywords, in_memory
from ..engine.mapping import map_to
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..runner.ledger.stage_record import Results
from ..sources import Source, as_source
from . import tables

Array = npt.NDArray[Any]


@operation()
def relabel(input: Any, labeling: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Replace every id by another one.

    Parameters
    ----------
    input : source-like
        Labels, any integer type.
    labeling : mapping of int to int, or source-like of integers with one axis
        New id by old id. Every id that occurs needs an entry, background too. In an array the position is the old id.
    output : source-like, optional
        By default the input itself is changed if it is stored in a file; numpy arrays are copied.

    Returns
    -------
    object
        The output.

    Raises
    ------
    DtypeError
        If labels or new ids are not integers.
    ShapeError
        If an array of new ids has more than one axis.
    ValueRangeError
        If a new id doesn't fit the output's type (unless ``casting="unsafe"``).
    IndexingError
        If an id without an entry occurs inside the mask (as cause of a `RunnerError` when run in blocks).
    """
    job = Job.of(run)
    source = as_source(input)
    tables.check_label_dtype(source.dtype, "the input of relabel")
    given = labeling if isinstance(labeling, (Mapping, np.ndarray)) else as_source(labeling)[...]
    table = tables.as_table(given, source.dtype)
    target, returned = prepare_output(
        _output(input, source, output, job), source.shape, source.dtype, job, source=source
    )
    if job.execution.casting == "checked":
        tables.check_fits(table, target.dtype)
    masks = [] if job.mask is None else [as_source(job.mask)]
    kernel = ApplyTable(table.narrowed(target.dtype))
    map_to(kernel, [source, *masks], target, job, name="relabel", memory_factor=2.5)
    return returned


@operation(omit=("block_ids", "resume_from"))
def relabel_consecutive(
    input: Any,
    output: Any = None,
    *,
    start_label: int = 0,
    keep_zeros: bool = True,
    **run: Unpack[RunKeywords],
) -> Any:
    """Number the objects consecutively, in the order of their ids.

    Parameters
    ----------
    input : source-like
        Labels, any integer type.
    output : source-like, optional
        By default the input itself is changed if it is stored in a file; numpy arrays are copied.
    start_label : int
        New id of the first object.
    keep_zeros : bool
        0 is background and stays 0; objects then begin at ``max(1, start_label)``, so that none becomes background.
        With False, 0 is an object like any other.

    Returns
    -------
    output : object
    max_id : int
        The highest new id, 0 if there is no label.
    mapping : dict of int to int
        New id by old id (inside the mask).

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        If the start is not a whole number >= 0.
    ValueRangeError
        If new ids don't fit the output's type (as cause of a `RunnerError` when run in blocks); then nothing has been
        written.
    """
    job = Job.of(run)
    source = as_source(input)
    tables.check_label_dtype(source.dtype, "the input of relabel_consecutive")
    make = Consecutive(start_label, keep_zeros)
    make(np.empty(0, source.dtype))
    target, returned = prepare_output(
        _output(input, source, output, job), source.shape, source.dtype, job, source=source
    )
    keys, values = apply_from_ids("relabel_consecutive", make, source, target, job)
    mapping = dict(zip(keys.tolist(), values.tolist(), strict=True))
    return returned, max(mapping.values(), default=0), mapping


@dataclass(frozen=True)
class ApplyTable:
    """A kernel that maps ids, where a mask allows it."""

    table: tables.Table

    def __call__(self, labels: Array, mask: Array | None = None) -> Array:
        """New ids of an array; 0 outside the mask, where ids need no entry."""
        inside = None if mask is None else mask.astype(np.bool_, copy=False)
        if inside is None or inside.all():
            return self.table(labels)
        result = np.zeros(labels.shape, self.table.values.dtype)
        result[inside] = self.table(labels[inside])
        return result


@dataclass(frozen=True)
class Consecutive:
    """New ids by old ids for `relabel_consecutive`."""

    start_label: int
    keep_zeros: bool

    def __call__(self, ids: Array, counts: Array | None = None) -> Array:
        """New id of each id."""
        return tables.consecutive(ids, start_label=self.start_label, keep_zeros=self.keep_zeros)


def apply_from_ids(name: str, make: Any, source: Source, target: Source, job: Job) -> tuple[Array, Array]:
    """Count all ids, make a table of them, apply it.

    Parameters
    ----------
    name : str
        Of the run.
    make : callable
        ``make(ids, counts) -> new ids``; picklable.
    source, target : Source
    job : Job

    Returns
    -------
    ids, new_ids : ndarray of integers, shape (n,)
        Ids inside the mask, sorted, and what they became.
    """
    dtype = target.dtype if job.execution.casting == "checked" else None
    table_of = MakeTable(make, dtype)
    direct = job.whole([source])
    if direct and job.execution.plan:
        job = job.as_one(source.shape)
    elif direct:
        labels = source.view()
        keys, values = table_of.of_counts(tables.counted(labels))
        target.write(..., tables.sparse(keys, values)(labels), casting=job.execution.casting)
        return keys, values
    masks = [] if job.mask is None else [as_source(job.mask)]
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage("ids", CountBlock(), [source], returns="fold", merge=tables.merge_counted, memory_factor=2.0),
        OnceStage("table", table_of),
        BlocksStage(
            "write",
            WriteTable(),
            [source, *masks],
            [target],
            setup=TableSetup(target.dtype, job.execution.casting),
            memory_factor=2.0,
        ),
    ]
    report = run_stages(name, stages, job)
    keys, values = report.results["table"]
    return keys, values


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


def _output(input: Any, source: Source, output: Any, job: Job) -> Any:
    if output is not None:
        return output
    if not in_memory(source):
        return input
    # Where only a part is relabelled the rest of the copy is the input's.
    return None if all(part is None for part in (job.mask, job.block_ids, job.roi)) else source.read()
