"""Copying volumes of any size."""

from __future__ import annotations

from typing import Any, Unpack

from ..engine.block_functions import CopyBlock, same
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.mapping import run_map
from ..engine.operation import operation
from ..sources import as_source

COPY = Declaration("exact", "none; chunks as they are stored where possible", memory=1.2)


@operation(declaration=COPY)
def copy(input: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Copy block by block: to another format, other chunks, another data type, or a lazy view to storage.

    The result does not depend on the blocks.

    Parameters
    ----------
    input : source-like
        What to copy, with any number of axes.
    output : source-like, optional
        Where to, of the same shape; by default a numpy array is allocated. Floats are cut towards zero for integer
        outputs.

    Returns
    -------
    source-like
        `output`, or a numpy array of the shape and dtype of the input.

    Raises
    ------
    ShapeError
        If the shapes differ.
    ValueRangeError
        If the output cannot hold a value (unless ``casting="unsafe"``).

    Notes
    -----
    Between zarr (n5) arrays of one shape, data type, byte order, chunk shape, fill value and codec with equal
    parameters, chunks are copied as they are stored, without decoding them, from any store to any other: in blocks of
    whole chunks of the input and whole chunks (shards) of the output. zarr v3 arrays may differ in their shards, or one
    of them have none; a shard is written whole, at one stroke. What a chunk holds is not looked at then: one that is
    damaged is copied, and raises where it is read, as it does in the input; a damaged index of a shard raises. With a
    mask, a chunk cache (``cache=``), a view as input or output, shards in shards or codecs around a shard, chunks are
    decoded.
    """
    source = as_source(input)
    return run_map(
        same, [source], output, Job.of(run), name="copy", dtype=source.dtype, memory_factor=COPY.memory, block=CopyBlock
    )
