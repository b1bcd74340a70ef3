"""Checks of a call before its first block."""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np

from ...backends import Limits
from ...errors import AliasError, ConfigError, ParameterError, ReadOnlyError, RegionError, ShapeError
from ...sources import Source
from ...sources.sharing import overlap
from ...wrapper.base import WrapperSource
from ..execution import Execution


def check_shapes(inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None) -> tuple[int, ...]:
    """Shape of the volume; ShapeError where inputs, outputs or mask disagree, ReadOnlyError for an output."""
    if not inputs and not outputs:
        raise ParameterError("a run needs at least one input or output", remedy="inputs=[array]")
    shape = tuple((*inputs, *outputs)[0].shape)
    for name, others in (("input", inputs), ("mask", () if mask is None else (mask,))):
        for index, source in enumerate(others):
            if tuple(source.shape) != shape:
                raise ShapeError(
                    f"{name} {index} has the shape {tuple(source.shape)}, the first input {shape}",
                    remedy="pass arrays of one shape, or a wrapper.RoiSource of the larger one",
                )
    for index, output in enumerate(outputs):
        if tuple(output.shape[output.ndim - len(shape) :]) != shape or output.ndim < len(shape):
            raise ShapeError(
                f"output {index} has the shape {tuple(output.shape)}, which does not end in {shape}",
                remedy=f"an output of shape {shape}",
            )
        if not output.writable:
            raise ReadOnlyError(f"output {index} ({output!r}) is read-only", remedy='open it with mode="r+"')
    return shape


def check_aliases(
    inputs: Sequence[Source],
    outputs: Sequence[Source],
    halo: tuple[int, ...] | None,
    mask: Source | None = None,
) -> bool:
    """Whether an output is also read; AliasError where that, or two equal outputs, would be unsafe."""
    in_place = False
    named = [(f"input {number}", source) for number, source in enumerate(inputs)]
    for index, output in enumerate(outputs):
        if any(overlap(output, other) for other in outputs[:index]):
            raise AliasError(
                f"output {index} ({output!r}) shares its storage with another output", remedy="one array for each"
            )
        for name, source in [*named, *([] if mask is None else [("the mask", mask)])]:
            shared = [part for part in source.parts if overlap(part, output)]
            if not shared:
                continue
            if halo is not None and any(halo):
                raise AliasError(
                    f"output {index} is the same storage as {name} ({source!r}), which is read with the halo"
                    f" {halo}: blocks would read what their neighbours have written",
                    remedy="write to another array",
                )
            if any(part.identity != output.identity for part in shared):
                raise AliasError(
                    f"output {index} ({output!r}) and {name} ({source!r}) are two ways to the same storage: a link, a"
                    " second mapping or handle, or an array that is made of the other",
                    remedy="open it once, by one path, and pass that for both; or write to another array",
                )
            if not same_view(source, output):
                raise AliasError(
                    f"output {index} ({output!r}) and {name} ({source!r}) are different views of one storage",
                    remedy="use the same view for both, or write to another array",
                )
            in_place = True
    return in_place


def same_view(one: Source, other: Source) -> bool:
    """Whether two sources with one storage map the same index to the same voxel."""
    if one is other:
        return True
    if isinstance(one, WrapperSource) and isinstance(other, WrapperSource):
        return one.maps_like(other) and same_view(one.source, other.source)
    first, second = getattr(one, "array", None), getattr(other, "array", None)
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        a, b = first.__array_interface__, second.__array_interface__
        return bool(a["data"][0] == b["data"][0] and a["shape"] == b["shape"] and a["strides"] == b["strides"])
    return not hasattr(one, "source") and not hasattr(other, "source") and one.shape == other.shape


def check_function(function: Any, n_arguments: int, *, context: bool = False, names: str = "") -> None:
    """ParameterError where the function cannot be called the way a run calls it; `names` are those of its arguments."""
    wanted = names or {4: "block, inputs, outputs, mask", 2: "labels, mask"}.get(n_arguments, "index")
    wanted += ", context" if context else ""
    if not callable(function):
        message = f"the function is a {type(function).__name__}, which cannot be called"
        raise ParameterError(message, remedy=f"def function({wanted}): ...")
    check_runs(function)
    signature = _signature(function)
    if signature is None:  # such as built-ins
        return
    try:
        signature.bind(*(None,) * n_arguments, **({"context": None} if context else {}))
    except TypeError as error:
        name = getattr(function, "__name__", repr(function))
        raise ParameterError(
            f"{name}{signature} cannot be called with ({wanted}): {error}", remedy=f"def {name}({wanted}): ..."
        ) from None


def check_runs(function: Any) -> None:
    """ParameterError where calling a function only makes something that would run later."""
    while isinstance(function, functools.partial):
        function = function.func
    for one in (function, inspect.getattr_static(type(function), "__call__")):
        if inspect.isgeneratorfunction(one):
            kind, remedy = "generator", "a function without yield, which writes to its outputs or returns its value"
        elif inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one):
            kind, remedy = "async function", "a plain def; asyncio.run(...) inside of it runs a coroutine"
        else:
            continue
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise ParameterError(f"{name} is a {kind}: calling it would not run it", remedy=remedy)


def _signature(function: Any) -> inspect.Signature | None:
    """How a function itself is called, not what it wraps; what it wraps where it is C, which hands on what it gets."""
    for follow in (False, True):
        with contextlib.suppress(TypeError, ValueError):
            return inspect.signature(function, follow_wrapped=follow)
    return None


@overload
def whole_numbers(values: None, name: str) -> None: ...


@overload
def whole_numbers(values: Iterable[int], name: str) -> list[int]: ...


def whole_numbers(values: Iterable[int] | None, name: str) -> list[int] | None:
    """A list of ints, None of None; RegionError for anything else."""
    try:
        return None if values is None else [operator.index(value) for value in values]
    except TypeError as error:
        raise RegionError(f"{name} must be whole numbers: {error}", remedy=f"{name}=[0, 1]") from None


def check_block_ids(block_ids: Iterable[int] | None, n_blocks: int) -> list[int] | None:
    """Block ids as ints; RegionError for fractions, duplicates or ids outside the grid."""
    ids = whole_numbers(block_ids, "block_ids")
    if ids is None:
        return None
    outside = [block_id for block_id in ids if not 0 <= block_id < n_blocks]
    if outside:
        raise RegionError(f"block_ids {outside[:5]} are not in 0..{n_blocks - 1}", remedy="ids of this grid")
    if len(set(ids)) < len(ids):
        twice = sorted(block_id for block_id, times in Counter(ids).items() if times > 1)[:5]
        raise RegionError(f"block_ids {twice} are given more than once", remedy="block_ids=sorted(set(block_ids))")
    return ids


def check_limits(how: Execution, limits: Limits) -> None:
    """ConfigError where a backend cannot do what an execution asks for."""
    if how.block_timeout is not None and not limits.kills_blocks:
        raise ConfigError(
            f"job_type={how.job_type!r} cannot end a block after block_timeout={how.block_timeout} seconds",
            remedy='job_type="subprocess"',
        )
    if how.detach and not limits.detaches:
        raise ConfigError(
            f"detach=True: job_type={how.job_type!r} has no workers that go on without this process",
            remedy='job_type="slurm"',
        )
