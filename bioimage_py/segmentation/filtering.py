"""The operations `size_filter` and `segmentation_filter`: remove objects from a segmentation."""

from __future__ import annotations

from typing import Any, Unpack

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.mapping import run_map
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..errors import ParameterError
from ..runner.planning.checks import check_function
from ..sources import as_source
from . import tables
from .relabelling import apply_from_ids
from .relabelling_blocks import BlockFunction, BySize, FilterBlock


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    declaration=Declaration("exact", "fastremap.unique, then numpy.take", memory=2.0),
)
def size_filter(
    input: Any,
    output: Any = None,
    *,
    min_size: int | None = None,
    max_size: int | None = None,
    relabel: bool = True,
    **run: Unpack[RunKeywords],
) -> Any:
    """Set objects that are too small or too large to 0.

    Parameters
    ----------
    input : source-like
        Labels, any integer type; 0 is background.
    output : source-like, optional
        Allocated as numpy array of the input's type by default.
    min_size, max_size : int, optional
        Limits in voxels (inside the mask), both included; at least one is needed.
    relabel : bool
        Number the objects that stay 1, 2, ... in the order of their ids.

    Returns
    -------
    object
        The output.

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        Without a limit, with a limit that is not a whole number >= 0, or with ``min_size > max_size``.
    ValueRangeError
        If ids don't fit the output's type (as cause of a `RunnerError` when run in blocks); then nothing has been
        written.
    """
    job = Job.of(run)
    source = as_source(input)
    tables.check_label_dtype(source.dtype, "the input of size_filter")
    make = BySize(*tables.check_size_limits(min_size, max_size), relabel=relabel)
    target, returned = prepare_output(output, source.shape, source.dtype, job, source=source)
    apply_from_ids("size_filter", make, source, target, job)
    return returned


@operation(declaration=Declaration("blockwise", "filter_function", memory=2.0))
def segmentation_filter(
    input: Any,
    filter_function: BlockFunction,
    output: Any = None,
    *,
    relabel: BlockFunction | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Apply a function to the labels of each block.

    Parameters
    ----------
    input : source-like
        Labels, any integer type.
    filter_function : callable
        ``filter_function(labels, mask) -> labels``: gets its own copy of a block and the mask of the block (bool) or
        None, returns an array of the same shape.
    output : source-like, optional
        Allocated as numpy array of the input's type by default.
    relabel : callable, optional
        Applied in the same way to what the filter returns.

    Returns
    -------
    object
        The output.

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        If a function can't be called.
    ShapeError
        If a function returns another shape (as cause of a `RunnerError` when run in blocks).
    """
    job = Job.of(run)
    source = as_source(input)
    tables.check_label_dtype(source.dtype, "the input of segmentation_filter")
    functions = (filter_function,) if relabel is None else (filter_function, relabel)
    for function in functions:
        if not callable(function):
            raise ParameterError(
                f"segmentation_filter needs functions, got {function!r}",
                remedy="pass a function of (labels, mask) that returns labels",
            )
        check_function(function, 2)
    masks = [] if job.mask is None else [as_source(job.mask)]
    kernel = FilterBlock(functions)
    return run_map(kernel, [source, *masks], output, job, name="segmentation_filter", dtype=source.dtype)
