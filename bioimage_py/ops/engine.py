"""From a function with keywords to a public operation: its signature, its checks, its output.

An operation parses its keywords into a `Job` and calls one of

- `mapping.run_map`: array in, array of the same shape out (copy, filters, arithmetic, relabelling by a table);
- `reducing.run_reduce`: array in, a value folded over the blocks out (statistics, contingency tables);
- `stages.run_stages`: several stages, the last of which alone writes the output (connected components).
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict, TypeVar

import numpy as np

from ..arguments import bound
from ..backends import backend_class
from ..errors import ConfigError, DtypeError, ParameterError, ReadOnlyError, ShapeError
from ..executing import Execution, current_execution
from ..runner.memory import available_bytes
from ..runner.promise import Instead
from ..sources import Source, as_source
from ..sources.along import AxisNames, working_axes
from ..sources.to_be import ArrayToBe
from ..sources.values import Casting

F = TypeVar("F", bound=Callable[..., Any])


class RunKeywords(TypedDict, total=False):
    """Keywords that every operation shares."""

    block_shape: Any
    job_type: str
    job_config: Any
    num_workers: int
    mask: Any
    block_ids: Sequence[int] | None
    resume_from: Any
    roi: tuple[slice, ...] | None
    skip_empty: bool
    casting: Casting
    progress: bool
    retries: int
    max_failures: int | None
    memory: int | None
    cache: int | None
    read_ahead: bool | None
    durability: Literal["process", "node"] | None
    resume: str
    block_timeout: float | None
    plan: bool
    debug: bool
    detach: bool
    execution: Execution | None
    axes: AxisNames
    chunks: Sequence[int] | None
    shards: Sequence[int] | None


_DEFAULTS: dict[str, Any] = {
    "block_shape": None,
    "job_type": "local",
    "job_config": None,
    "num_workers": 1,
    "mask": None,
    "block_ids": None,
    "resume_from": None,
    "roi": None,
    "skip_empty": False,
    "casting": "checked",
    "progress": True,
    "retries": 1,
    "max_failures": None,
    "memory": None,
    "cache": None,
    "read_ahead": None,
    "durability": None,
    "resume": "auto",
    "block_timeout": None,
    "plan": False,
    "debug": False,
    "detach": False,
    "execution": None,
    "axes": None,
    "chunks": None,
    "shards": None,
}
_WHERE = ("block_shape", "mask", "block_ids", "roi", "axes", "chunks", "shards")
_DOC = """
    Other Parameters
    ----------------
    block_shape : int or sequence of int, optional
        Voxels of a block; by default chosen from shapes and chunks. A numpy input without it runs as a whole.
    job_type, job_config, num_workers, casting, progress, retries, max_failures, memory, durability, resume
        See `bioimage_py.Execution`; ``execution=`` gives them as one value.
    cache, read_ahead, block_timeout, plan, debug, detach
        See there too; ``plan=True`` returns a `RunPlan` instead of running, ``detach=True`` a `DetachedRun`.
    mask : source-like, optional
        Same shape as the input; where it is zero the output stays as it is, and voxels do not count.
    block_ids : sequence of int, optional
        Blocks to run, ids in C order over the grid.
    roi : tuple of slice, optional
        Region to run on.
    skip_empty : bool
        Leave out blocks for which the mask (without one, the first input) has no stored chunk; right where an operation
        makes zeros of zeros, or where the mask says what counts.
    resume_from : path, optional
        Run folder of an unfinished run.
"""
_AXES_DOC = """\
    axes : str, int or sequence of (str or int), optional
        Axes to work along, by name (``"zyx"``, ``["x", "time"]``) or position; what is given per axis is then given for
        these, in this order. By default the axes of space: channels and times are kept apart, as if each were an array
        of its own. All axes where none is one of space, or where nothing is known of them, as of numpy arrays.
"""
_CHUNKS_DOC = """\
    chunks, shards : sequence of int, optional
        Of an array that is made for an output path, see `bioimage_py.io.create_array`. By default those of the input
        where they suit (at most 128³ voxels, and no slices), else about 64³ voxels along the axes of space.
"""
_VOXELS_DOC = """
    Axes play no part: every voxel is treated by itself, and what is counted is counted over the whole array, all its
    channels and times.
"""


@dataclass(frozen=True)
class Job:
    """One call's keywords: where to run (`block_shape`, `mask`, `roi`, `axes`, ...) and how (`execution`)."""

    execution: Execution
    block_shape: Any = None
    mask: Any = None
    block_ids: Sequence[int] | None = None
    roi: tuple[slice, ...] | None = None
    axes: AxisNames = None
    chunks: Sequence[int] | None = None
    shards: Sequence[int] | None = None
    skip_empty: bool = False

    @classmethod
    def of(cls, run: RunKeywords | dict[str, Any]) -> Job:
        """Job of the keywords of a call; what a call leaves out comes from the enclosing `execution` block."""
        given = dict(run)
        base = current_execution(given.pop("execution", None))
        known = {field.name for field in fields(Execution)}
        how = base.updated({name: value for name, value in given.items() if name in known})
        how = how.resuming(given.get("resume_from"), given.get("block_ids"))
        backend_class(how.job_type).check(how.job_config)
        where = {name: given.get(name) for name in _WHERE}
        return cls(how, skip_empty=bool(given.get("skip_empty")), **where)

    def whole(self, sources: Sequence[Source]) -> bool:
        """Whether a call on these inputs runs directly on the whole arrays."""
        return all(in_memory(source) for source in sources) and self.unblocked()

    def along(self, source: Source) -> tuple[int, ...]:
        """Positions of the axes of an input that the call works along, ascending."""
        return tuple(sorted(working_axes(source.axes, self.axes)))

    def as_one(self, shape: Sequence[int]) -> Job:
        """The job with the whole volume as its block: how a call is planned that would run directly."""
        return replace(self, block_shape=tuple(max(1, size) for size in shape))

    def unblocked(self) -> bool:
        """Whether nothing in the call asks for blocks."""
        where = (self.block_shape, self.mask, self.block_ids, self.roi)
        return (
            all(value is None for value in where)
            and _here(self.execution)
            and self.execution.num_workers == 1
            and self.execution.resume in ("auto", "never")
        )


def operation(
    *,
    positional: Sequence[str] = (),
    omit: Sequence[str] = (),
    axes: Literal["space", "voxels", "own"] = "voxels",
) -> Callable[[F], F]:
    """Turn a function with ``**run`` into a public operation.

    The shared keywords are checked by name, appear in the signature, and are documented.

    Parameters
    ----------
    positional : sequence of str
        Shared keywords that may also be given by position, in this order, after the function's own parameters.
    omit : sequence of str
        Shared keywords that this operation does not take.
    axes : {"space", "voxels", "own"}
        "space": it works along the axes of space, unless ``axes=`` names others. "voxels": axes play no part. "own":
        its docstring says what they are for.
    """

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        makes = "output" in own.parameters or "outputs" in own.parameters
        left_out = {*omit, *(() if axes == "space" else ("axes",)), *(() if makes else ("chunks", "shards"))}
        shared = [name for name in _DEFAULTS if name not in left_out and name not in own.parameters]
        fixed = [name for name in ("plan", "debug", "detach") if name in omit]
        own_names = own.parameters
        by_position = [
            own_names[name].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
            if name in own_names
            else inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_DEFAULTS[name])
            for name in positional
        ]
        by_name = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[name])
            for name in shared
            if name not in positional
        ]
        first = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        last = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in positional]
        signature = own.replace(parameters=[*first, *by_position, *last, *by_name])

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = bound(function.__name__, signature, args, kwargs)
            for name in fixed:
                if getattr(given.get("execution") or current_execution(), name, False):
                    raise ConfigError(
                        f"{function.__name__}() cannot be called with {name}=True", remedy=f"{name}=False"
                    )
            try:
                return _made(function(**given))
            except Instead as instead:
                return instead.value

        call.__signature__ = signature  # type: ignore[attr-defined]
        doc = (function.__doc__ or "").rstrip() + "\n" + _DOC
        doc += (_AXES_DOC if axes == "space" else "") + (_CHUNKS_DOC if "chunks" in shared else "")
        if axes == "voxels":
            head, gap, rest = doc.partition("\n")
            doc = head + gap + _VOXELS_DOC + rest
        call.__doc__ = doc
        return call  # type: ignore[return-value]

    return decorate


def _made(result: Any) -> Any:
    """What an operation returns, with the arrays that it has made in the place of those to be."""
    if isinstance(result, ArrayToBe):
        return result.made
    return type(result)(map(_made, result)) if type(result) in (list, tuple) else result


def _here(how: Execution) -> bool:
    """Whether workers may be threads of this process, so that they see its arrays."""
    return backend_class(how.job_type).limits.shares_memory


def in_memory(source: Source) -> bool:
    """Whether a source is a numpy array."""
    return isinstance(getattr(source, "array", None), np.ndarray)


def fits_memory(job: Job, n_bytes: int) -> bool:
    """Whether so many bytes fit the memory budget of a job."""
    return n_bytes <= (job.execution.memory or available_bytes())


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
