"""The output of an operation: given, or made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError, DtypeError, ParameterError, ReadOnlyError, ShapeError
from ..sources import Source, as_source
from ..sources.to_be import ArrayToBe
from .job import Job, _here


def prepare_output(
    output: Any, shape: tuple[int, ...], dtype: Any, job: Job, *, source: Source | None = None
) -> tuple[Source, Any]:
    """The output as a source, and the object that the operation returns.

    Without an output a numpy array is allocated, but not for a plan. A path such as ``"out.zarr/data"`` opens the array
    there, or stands for one that is made when the run begins, like ``source`` (see `io.output.output_array`).

    Raises
    ------
    ShapeError, ReadOnlyError, DtypeError, ConfigError, ParameterError, FormatError
        The output does not fit.
    """
    from ..io.output import output_array

    dtype = np.dtype(dtype)
    if isinstance(output, str | os.PathLike):
        target: Any = output_array(output, shape, dtype, source, job.chunks, job.shards)
        return target, target
    if job.chunks is not None or job.shards is not None:
        raise ParameterError(
            f"chunks={job.chunks!r}, shards={job.shards!r}: the output is no path, so no array is made",
            remedy='output="out.zarr/data"',
        )
    if output is None:
        if not _here(job.execution):
            raise ConfigError(
                f"job_type={job.execution.job_type!r} needs an output that workers can open",
                remedy='output="out.zarr/data", or open_source("out.zarr", "data", mode="r+")',
            )
        if job.execution.plan:
            return ArrayToBe(shape, dtype), None
        if job.block_ids is None and job.roi is None and job.mask is None:
            array = np.empty(shape, dtype)
        else:
            array = np.zeros(shape, dtype)
        return as_source(array), array
    target = as_source(output)
    if tuple(target.shape) != tuple(shape):
        raise ShapeError(
            f"the output has the shape {tuple(target.shape)}, the result {tuple(shape)}",
            remedy=f"an output of shape {tuple(shape)}",
        )
    if not target.writable:
        raise ReadOnlyError(f"the output ({target!r}) is read-only", remedy='open it with mode="r+"')
    if dtype.kind == "c" and target.dtype.kind != "c":
        raise DtypeError(
            f"a result of type {dtype} cannot be written to an output of type {target.dtype}",
            remedy="an output of a complex type, or the real part only",
        )
    return target, output


def check_whole_shapes(sources: Sequence[Source]) -> None:
    """ShapeError where the inputs of a direct call have different shapes."""
    for index, source in enumerate(sources):
        if tuple(source.shape) != tuple(sources[0].shape):
            raise ShapeError(
                f"input {index} has the shape {tuple(source.shape)}, the first input {tuple(sources[0].shape)}",
                remedy="pass arrays of one shape",
            )
