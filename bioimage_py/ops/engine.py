"""From a kernel on numpy arrays to a public operation: keywords, direct path, checks, masks, stages.

An operation parses its keywords into a `Job` and calls one of

- `run_map`: array in, array of the same shape out (copy, filters, arithmetic, relabelling by a table);
- `run_reduce`: array in, a value folded over the blocks out (statistics, contingency tables);
- `run_stages`: several stages, the last of which alone writes the output (connected components).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict, TypeVar

import numpy as np

from ..backends import backend_class
from ..blocks import Block, BlockWithHalo, Halo, normalize_halo, to_roi
from ..errors import ConfigError, DtypeError, MemoryBudgetError, ReadOnlyError, ShapeError
from ..executing import Execution, current_execution
from ..runner.execute import execute
from ..runner.ledger import Results
from ..runner.memory import available_bytes
from ..runner.plan import Stage
from ..runner.prepare import as_sources, blocks_stage, check_aliases, once_stage
from ..runner.promise import Instead
from ..runner.report import RunReport
from ..sources import Source, as_source
from ..sources.index import normalize_index
from ..sources.values import Casting, convert_values

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
}
_WHERE = ("block_shape", "mask", "block_ids", "roi")
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


@dataclass(frozen=True)
class Job:
    """One call's keywords: where to run (`block_shape`, `mask`, `block_ids`, `roi`) and how (`execution`)."""

    execution: Execution
    block_shape: Any = None
    mask: Any = None
    block_ids: Sequence[int] | None = None
    roi: tuple[slice, ...] | None = None
    skip_empty: bool = False

    @classmethod
    def of(cls, run: RunKeywords | dict[str, Any]) -> Job:
        """Job of the keywords of a call; what a call leaves out comes from the enclosing `execution` block."""
        given = dict(run)
        base = given.pop("execution", None) or current_execution()
        known = {field.name for field in fields(Execution)}
        how = base.updated({name: value for name, value in given.items() if name in known})
        how = how.resuming(given.get("resume_from"), given.get("block_ids"))
        backend_class(how.job_type).check(how.job_config)
        where = {name: given.get(name) for name in _WHERE}
        return cls(how, skip_empty=bool(given.get("skip_empty")), **where)

    def whole(self, sources: Sequence[Source]) -> bool:
        """Whether a call on these inputs runs directly on the whole arrays."""
        return all(in_memory(source) for source in sources) and self.unblocked()

    def unblocked(self) -> bool:
        """Whether nothing in the call asks for blocks."""
        where = (self.block_shape, self.mask, self.block_ids, self.roi)
        return (
            all(value is None for value in where)
            and _here(self.execution)
            and self.execution.num_workers == 1
            and self.execution.resume in ("auto", "never")
        )


def operation(*, positional: Sequence[str] = (), omit: Sequence[str] = ()) -> Callable[[F], F]:
    """Turn a function with ``**run`` into a public operation.

    The shared keywords are checked by name, appear in the signature, and are documented.

    Parameters
    ----------
    positional : sequence of str
        Shared keywords that may also be given by position, in this order, after the function's own parameters.
    omit : sequence of str
        Shared keywords that this operation does not take.
    """

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        shared = [name for name in _DEFAULTS if name not in omit and name not in own.parameters]
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
            if unknown := sorted(set(kwargs) - set(signature.parameters)):
                raise TypeError(
                    f"{function.__name__}() got unknown keyword(s) {unknown}; it takes {[*signature.parameters]}"
                )
            if len(args) > len(first):
                bound = signature.bind(*args, **kwargs)
                args, kwargs = (), dict(bound.arguments)
            try:
                return function(*args, **kwargs)
            except Instead as instead:
                return instead.value

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = (function.__doc__ or "").rstrip() + "\n" + _DOC
        return call  # type: ignore[return-value]

    return decorate


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

    Without an output a numpy array is allocated. A path such as ``"out.zarr/data"`` makes an array there, with the
    chunks, shards and axes of ``source``, or opens the one that is there.

    Raises
    ------
    ShapeError, ReadOnlyError, DtypeError, ConfigError
        The output does not fit.
    """
    dtype = np.dtype(dtype)
    if output is None:
        if not _here(job.execution):
            raise ConfigError(
                f"job_type={job.execution.job_type!r} needs an output that workers can open",
                remedy='output="out.zarr/data", or open_source("out.zarr", "data", mode="r+")',
            )
        if job.block_ids is None and job.roi is None and job.mask is None:
            array = np.empty(shape, dtype)
        else:
            array = np.zeros(shape, dtype)
        return as_source(array), array
    if isinstance(output, str):
        output = _created(output, shape, dtype, job, source)
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


def _created(path: str, shape: tuple[int, ...], dtype: np.dtype[Any], job: Job, source: Source | None) -> Any:
    from ..io.create import create_array

    if job.execution.plan:
        raise ConfigError("plan=True makes nothing, and the output is not there yet", remedy="make the output first")
    like = source if source is not None and source.ndim == len(shape) and source.chunks is not None else None
    return create_array(
        path,
        shape=shape,
        dtype=dtype,
        chunks=None if like is None else like.chunks,
        shards=None if like is None else like.shards,
        axes=source.axes if source is not None and source.ndim == len(shape) else (),
    )


@dataclass(frozen=True)
class MapBlock:
    """The block function of a map: read, call the kernel, crop, keep what the mask leaves out, write."""

    kernel: Callable[..., Any]
    casting: Casting

    def __call__(
        self, block: Block | BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> None:
        """Run one block."""
        with_halo = isinstance(block, BlockWithHalo)
        inner = to_roi(block.inner_block if isinstance(block, BlockWithHalo) else block)
        outer = to_roi(block.outer_block) if isinstance(block, BlockWithHalo) else inner
        inside = None if mask is None else mask[inner].astype(bool, copy=False)
        if inside is not None and not inside.any():
            return
        result = self.kernel(*(source.view(outer) for source in inputs))
        if with_halo:
            result = result[(..., *to_roi(block.inner_block_local))]  # type: ignore[union-attr]
        if inside is not None and not inside.all():
            target = (slice(None),) * (outputs[0].ndim - inside.ndim) + inner
            kept = outputs[0][target]
            # zeros fit everywhere: only values that are written are checked, and an error names their place
            written = np.where(inside, result, np.zeros(1, result.dtype))
            place = normalize_index(target, outputs[0].shape)
            kept[..., inside] = convert_values(written, kept.dtype, self.casting, place)[..., inside]
            result = kept
        outputs[0][(..., *inner)] = result


def run_map(
    kernel: Callable[..., Any],
    inputs: Any,
    output: Any,
    job: Job,
    *,
    name: str,
    dtype: Any,
    halo: Halo = None,
    channels: int | None = None,
    memory_factor: float = 2.0,
    whole: bool = False,
    block: type[MapBlock] = MapBlock,
) -> Any:
    """Apply a kernel to every voxel's neighbourhood and write the result.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays)``: one array an input, all of one shape; returns an array of that shape, or with leading
        channels. Pure, and picklable for workers elsewhere.
    inputs : sequence of source-like
    output : source-like, optional
        Allocated as numpy array by default; may be an input where there is no halo.
    job : Job
    name : str
        For progress and messages.
    dtype : dtype
        Of the result.
    halo : int or sequence of int, optional
        Voxels that the kernel needs around a block.
    channels : int, optional
        Length of a leading axis of the result.
    memory_factor : float
        Peak bytes of the kernel over the bytes of its input and output blocks.
    whole : bool
        The result depends on the blocks: run as a whole where that fits the memory budget.
    block : type
        The block function, made of the kernel and the casting.

    Returns
    -------
    object
        What was passed as ``output``, or the numpy array allocated.
    """
    sources = as_sources(inputs)
    shape = sources[0].shape
    full = shape if channels is None else (channels, *shape)
    target, returned = prepare_output(output, full, dtype, job, source=sources[0])
    margin = normalize_halo(halo, len(shape))
    if job.whole(sources) or (whole and job.unblocked()):
        if whole:
            _check_whole(sources, target, job, memory_factor, name)
        check_whole_shapes(sources)
        target.write(..., kernel(*(source.view() for source in sources)), casting=job.execution.casting)
        return returned
    stage = blocks_stage(
        block(kernel, job.execution.casting),
        list(sources),
        [target],
        name=name,
        block_shape=job.block_shape,
        halo=margin if margin is not None and any(margin) else None,
        mask=job.mask,
        roi=job.roi,
        block_ids=job.block_ids,
        skip_empty=job.skip_empty,
        num_workers=job.execution.num_workers,
        reads_outputs=False,
        memory_factor=memory_factor,
    )
    execute(name, [stage], job.execution)
    return returned


def check_whole_shapes(sources: Sequence[Source]) -> None:
    """ShapeError where the inputs of a direct call have different shapes."""
    for index, source in enumerate(sources):
        if tuple(source.shape) != tuple(sources[0].shape):
            raise ShapeError(
                f"input {index} has the shape {tuple(source.shape)}, the first input {tuple(sources[0].shape)}",
                remedy="pass arrays of one shape",
            )


def _check_whole(sources: Sequence[Source], target: Source, job: Job, memory_factor: float, name: str) -> None:
    need = int(memory_factor * (sum(source.nbytes for source in sources) + target.nbytes))
    if not fits_memory(job, need):
        budget = job.execution.memory or available_bytes()
        raise MemoryBudgetError(
            f"{name} of the whole volume of shape {sources[0].shape} needs about {need / 2**30:.1f} GiB, the budget is"
            f" {budget / 2**30:.1f} GiB",
            remedy=f"block_shape={(128,) * sources[0].ndim}, halo={(32,) * sources[0].ndim}",
        )


@dataclass(frozen=True)
class ReduceBlock:
    """The block function of a reduction."""

    kernel: Callable[..., Any]

    def __call__(self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None) -> Any:
        """Partial value of one block, None where the mask leaves nothing."""
        roi = to_roi(block)
        inside = None if mask is None else mask[roi].astype(bool, copy=False)
        if inside is not None and not inside.any():
            return None
        return self.kernel(*(source.view(roi) for source in inputs), inside)


def run_reduce(
    kernel: Callable[..., Any],
    merge: Callable[[Any, Any], Any],
    inputs: Any,
    job: Job,
    *,
    name: str,
    memory_factor: float = 1.0,
) -> Any:
    """Fold a value over all voxels.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays, mask) -> partial``; ``mask`` is a bool array or None, the partial None for "nothing here".
    merge : callable
        ``merge(left, right) -> partial``, in a fixed tree by block order: always the same bits.
    inputs : sequence of source-like
    job : Job
    name : str
    memory_factor : float
        Peak bytes of the kernel over the bytes of its blocks.

    Returns
    -------
    object
        The folded partial; None where nothing is inside the mask.
    """
    sources = as_sources(inputs)
    if job.whole(sources):
        check_whole_shapes(sources)
        return kernel(*(source.view() for source in sources), None)
    stage = blocks_stage(
        ReduceBlock(kernel),
        list(sources),
        name=name,
        block_shape=job.block_shape,
        mask=job.mask,
        roi=job.roi,
        block_ids=job.block_ids,
        skip_empty=job.skip_empty,
        returns="fold",
        merge=merge,
        num_workers=job.execution.num_workers,
        reads_outputs=False,
        memory_factor=memory_factor,
    )
    return execute(name, [stage], job.execution).results[name]


@dataclass(frozen=True)
class BlocksStage:
    """A stage of a multi-stage operation that calls ``function(block, inputs, outputs, mask)`` for every block.

    Parameters
    ----------
    name : str
    function : callable
        Picklable; gets ``context=`` as well where ``setup`` is given.
    inputs, outputs : sequence of Source
    halo : int or sequence of int, optional
    returns : {"none", "each", "fold"}
        ``"each"`` keeps the values by block id for later stages, ``"fold"`` folds them with ``merge``.
    merge : callable, optional
    setup : callable, optional
        ``setup(earlier)`` once a process, where ``earlier["stage"]`` is the value of an earlier once or folded stage
        and ``earlier.each("stage")`` iterates over ``(block_id, value)``.
    memory_factor : float
        Peak bytes of the function over the bytes of the blocks that it reads and writes.
    holds_gil : bool
        Most of the function's time is spent in a kernel that lets no other thread of its process run.
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[Source]
    outputs: Sequence[Source] = ()
    halo: Halo = None
    returns: Literal["none", "each", "fold"] = "none"
    merge: Callable[[Any, Any], Any] | None = None
    setup: Callable[[Results], Any] | None = None
    memory_factor: float = 3.0
    holds_gil: bool = False


@dataclass(frozen=True)
class OnceStage:
    """A stage that one worker runs a single time: ``function(earlier)``; see `BlocksStage` for ``earlier``."""

    name: str
    function: Callable[[Results], Any]


def run_stages(name: str, stages: Sequence[BlocksStage | OnceStage], job: Job) -> RunReport:
    """Run the stages of an operation one after the other on the same workers.

    All block stages have the same grid: that of the outputs, which only the last stage may have.

    Returns
    -------
    RunReport
        ``report.results["stage"]`` is the value of a once or folded stage.
    """
    outputs = [output for stage in stages if isinstance(stage, BlocksStage) for output in stage.outputs]
    built = [_build(stage, outputs, job) for stage in stages]
    return execute(name, built, job.execution)


def _build(stage: BlocksStage | OnceStage, outputs: Sequence[Source], job: Job) -> Stage:
    if isinstance(stage, OnceStage):
        return once_stage(stage.function, name=stage.name)
    built = blocks_stage(
        stage.function,
        list(stage.inputs),
        list(outputs),
        name=stage.name,
        block_shape=job.block_shape,
        halo=stage.halo,
        mask=job.mask,
        roi=job.roi,
        block_ids=job.block_ids,
        returns=stage.returns,
        merge=stage.merge,
        setup=stage.setup,
        num_workers=job.execution.num_workers,
        reads_outputs=False,
        memory_factor=stage.memory_factor,
        holds_gil=stage.holds_gil,
    )
    if stage.outputs:
        return built
    # reading stages share the grid, not the outputs: nothing they read is written yet, and they may be run again
    return replace(built, outputs=(), in_place=False)


def check_output_alias(inputs: Sequence[Source], output: Source, halo: Halo) -> None:
    """AliasError where an output shares storage with an input that is read with a halo."""
    check_aliases(inputs, [output], normalize_halo(halo, inputs[0].ndim))
