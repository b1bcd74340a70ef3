"""The operations `relabel` and `relabel_consecutive`: new ids for the labels of a volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords, in_memory
from ..engine.mapping import map_to
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..sources import Source, as_source
from . import tables
from .mapped_table import MappedTable
from .relabelling_blocks import ApplyTable, Consecutive, CountBlock, MakeTable, TableSetup, WriteTable

Array = npt.NDArray[Any]


@operation(declaration=Declaration("exact", "numpy.take", memory=2.5))
def relabel(input: Any, labeling: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Replace every id by another one.

    Parameters
    ----------
    input : source-like
        Labels, any integer type.
    labeling : mapping of int to int, or source-like of integers with one axis, or Path of a .npy file
        New id by old id. Every id that occurs needs an entry, background too. In an array the position is the old id.
        A `numpy.memmap` and a ``.npy`` file are mapped by the workers, not loaded: take one for many millions of ids.
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
    table = _table(labeling, source.dtype)
    target, returned = prepare_output(
        _output(input, source, output, job), source.shape, source.dtype, job, source=source
    )
    if job.execution.casting == "checked":
        if isinstance(table, MappedTable):
            table.check_fits(target.dtype)
        else:
            tables.check_fits(table, target.dtype)
    masks = [] if job.mask is None else [as_source(job.mask)]
    kernel = ApplyTable(table.narrowed(target.dtype))
    map_to(kernel, [source, *masks], target, job, name="relabel", memory_factor=2.5)
    return returned


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    declaration=Declaration("exact", "fastremap.unique, then numpy.take", memory=2.0),
)
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


def _table(labeling: Any, dtype: np.dtype[Any]) -> tables.Table | MappedTable:
    if (mapped := MappedTable.of(labeling)) is not None:
        return mapped
    given = labeling if isinstance(labeling, (Mapping, np.ndarray)) else as_source(labeling)[...]
    return tables.as_table(given, dtype)


def _output(input: Any, source: Source, output: Any, job: Job) -> Any:
    if output is not None:
        return output
    if not in_memory(source):
        return input
    # Where only a part is relabelled the rest of the copy is the input's.
    return None if all(part is None for part in (job.mask, job.block_ids, job.roi)) else source.read()
