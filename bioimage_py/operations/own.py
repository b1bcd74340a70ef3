"""Operations of one's own: a function on numpy arrays becomes one that runs on volumes of any size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import data_type, named, number
from ..blocks import normalize_halo
from ..engine.job import Job
from ..engine.mapping import run_map
from ..engine.operation import SHARED, operation
from ..errors import ArgumentError, ParameterError, ShapeError
from ..runner.planning.build import as_sources
from ..sources.along import per_axis
from .own_kernel import OwnKernel

HaloOf = int | Sequence[int] | Callable[..., int | Sequence[int]]


@named
def map(
    kernel: Callable[..., Any] | None = None,
    inputs: Any = None,
    output: Any = None,
    *,
    halo: HaloOf = 0,
    dtype: Any = None,
    channels: int | None = None,
    memory_factor: float = 4.0,
    holds_gil: bool = False,
    **run: Any,
) -> Any:
    """Apply a function on numpy arrays block by block, or make an operation of it that does so.

    ``map(kernel, inputs, output, halo=1)`` runs it; as a decorator, ``@map(halo=1)``, it makes an operation ``f(input,
    output=None, **run)`` that takes all that the operations of this package take: masks, regions, paths as outputs, any
    backend, in place (without a halo), `plan`, resume. The result equals that for the whole array if that of a voxel
    depends on no voxel further away than the halo; at the border of the volume the kernel sees where it ends.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays, **keywords)``: one array an input, all of one shape, not to be written to; returns an array of
        that shape (with its halo, which is cut off afterwards). It is sent to workers with what it refers to. What
        it takes by keyword only, the operation takes too, with its defaults.
    inputs : source-like or sequence of source-like
        Of one shape. Without them an operation is returned.
    output : source-like, optional
        Where to write, also an input where there is no halo; by default a numpy array is allocated.
    halo : int, sequence of int or callable, default 0
        Voxels that the kernel needs around a block, along the axes of space (or `axes`), or one for each of them. A
        function is called with those of the kernel's keywords that it names.
    dtype : dtype-like, optional
        Of an output that is allocated. By default that of the kernel's result for zeros.
    channels : int, optional
        The result has a first axis of this length before those of the input.
    memory_factor : float, default 4.0
        Peak bytes of the kernel over the bytes that it is given and returns, for the memory budget.
    holds_gil : bool, default False
        The kernel is mostly Python code, so that threads of one process would wait for each other:
        ``job_type="auto"`` then takes processes.
    **run
        Keywords of every operation, see `bioimage_py.Execution` and `copy`: ``block_shape``, ``num_workers``,
        ``job_type``, ``mask``, ``roi``, ``axes``, ...

    Returns
    -------
    source-like or callable
        `output`, or the array allocated; without inputs an operation, or a decorator that makes one.

    Raises
    ------
    ParameterError
        If the kernel fails for zeros and `dtype` is not given, or names a keyword that all operations have.
    ShapeError
        If the inputs, the output, or what the kernel returns have other shapes.

    Examples
    --------
    >>> import numpy as np
    >>> raw = np.arange(12, dtype="uint8").reshape(3, 4)
    >>> map(lambda block: block // 2, raw, block_shape=2)[2]
    array([4, 4, 5, 5], dtype=uint8)

    >>> from scipy import ndimage
    >>> @map(halo=lambda radius: radius)
    ... def local_range(block, *, radius=1):
    ...     size = 2 * radius + 1
    ...     return ndimage.maximum_filter(block, size) - ndimage.minimum_filter(block, size)
    >>> local_range(raw, radius=2, block_shape=2, num_workers=2)[0]
    array([10, 11, 11, 10], dtype=uint8)
    """
    if channels is not None and (isinstance(channels, bool) or not isinstance(channels, int) or channels < 1):
        raise ParameterError(f"channels={channels!r} is no whole number above 0", remedy="channels=3")
    how = _How(
        halo,
        None if dtype is None else data_type(dtype),
        channels,
        float(number("memory_factor", memory_factor, least=0.1, example=4.0)),
        holds_gil,
    )
    if inputs is not None and kernel is not None:
        sources = inputs if isinstance(inputs, list | tuple) else (inputs,)
        return how.operation(kernel, len(sources))(*sources, output, **run)
    if run or output is not None:
        raise ArgumentError(
            f"map() has no inputs to run on, but {['output'] * (output is not None) + sorted(run)}",
            remedy="map(kernel, inputs, output, ...), or give them to the operation that map() returns",
        )
    return how.operation if kernel is None else how.operation(kernel)


@dataclass(frozen=True)
class _How:
    """What an operation is made of besides its kernel."""

    halo: HaloOf
    dtype: Any
    channels: int | None
    memory_factor: float
    holds_gil: bool

    def operation(self, kernel: Callable[..., Any], n_inputs: int | None = None) -> Callable[..., Any]:
        """The operation of a kernel, for so many inputs, by default as many as it has parameters."""
        if not callable(kernel):
            raise ParameterError(f"the kernel {kernel!r} is no function", remedy="map(kernel, inputs)")
        arrays, own = _parameters(kernel, n_inputs)
        _check_keywords(own, kernel)

        def function(**given: Any) -> Any:
            sources = [given.pop(name) for name in arrays]
            output = given.pop("output", None)
            keywords = {name: given.pop(name, its.default) for name, its in own.items()}
            return self._run(kernel, sources, output, keywords, given)

        kinds = inspect.Parameter
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                *(kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in arrays),
                kinds("output", kinds.POSITIONAL_OR_KEYWORD, default=None),
                *own.values(),
                kinds("run", kinds.VAR_KEYWORD),
            ]
        )
        function.__name__ = function.__qualname__ = _name(kernel)
        function.__module__ = getattr(kernel, "__module__", None) or __name__
        function.__doc__ = kernel.__doc__ or f"{_name(kernel)}, block by block."
        made: Callable[..., Any] = operation(axes="space")(function)
        return made

    def _run(
        self,
        kernel: Callable[..., Any],
        inputs: Sequence[Any],
        output: Any,
        keywords: dict[str, Any],
        run: dict[str, Any],
    ) -> Any:
        job, sources = Job.of(run), as_sources(list(inputs))
        first = sources[0]
        along = job.along(first)
        halo = _called(self.halo, keywords) if callable(self.halo) else self.halo
        margin = per_axis(halo, first.axes, job.axes, name="halo", elsewhere=0)
        reach = normalize_halo(margin, first.ndim) or (0,) * first.ndim
        function = OwnKernel(kernel, tuple(sorted(keywords.items())), self.channels)
        dtype = self.dtype
        if dtype is None:
            shape = [2 * reach[axis] + 1 for axis in along]
            dtype = _probed(function, [np.zeros(shape, source.dtype) for source in sources])
        return run_map(
            function,
            sources,
            output,
            job,
            name=_name(kernel),
            dtype=dtype,
            channels=self.channels,
            halo=margin,
            memory_factor=self.memory_factor,
            along=along,
            holds_gil=self.holds_gil,
        )


def _name(kernel: Any) -> str:
    name = str(getattr(kernel, "__name__", type(kernel).__name__))
    return name if name.isidentifier() else "kernel"


def _parameters(kernel: Any, n_inputs: int | None) -> tuple[list[str], dict[str, inspect.Parameter]]:
    """Names of the arrays that a kernel takes, and what it takes by keyword only."""
    try:
        all_of_it = list(inspect.signature(kernel).parameters.values())
    except (TypeError, ValueError):  # of a function in C nothing may be known
        all_of_it = []
    if isinstance(kernel, np.ufunc):  # its keywords, such as where=, are not for blocks
        all_of_it, n_inputs = [], n_inputs or kernel.nin
    own = {one.name: one for one in all_of_it if one.kind is one.KEYWORD_ONLY}
    if n_inputs is None:
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        n_inputs = sum(one.kind in by_place and one.default is one.empty for one in all_of_it) or 1
    return ["input"] if n_inputs == 1 else [f"input{number}" for number in range(1, n_inputs + 1)], own


def _check_keywords(own: dict[str, inspect.Parameter], kernel: Any) -> None:
    taken = sorted(set(own) & {*SHARED, "output"})
    if taken:
        raise ParameterError(
            f"{_name(kernel)} has the keyword {taken[0]!r}, which every operation has with a meaning of its own",
            remedy=f"call it my_{taken[0]}",
        )


def _called(halo: Callable[..., Any], keywords: dict[str, Any]) -> Any:
    named = inspect.signature(halo).parameters
    return halo(**{name: value for name, value in keywords.items() if name in named})


def _probed(kernel: OwnKernel, arrays: Sequence[np.ndarray]) -> np.dtype[Any]:
    try:
        return kernel(*arrays).dtype
    except ShapeError:
        raise
    except Exception as error:  # foreign code may raise anything
        raise ParameterError(
            f"the data type of what {_name(kernel.function)} returns is not known: it failed for zeros of the shape"
            f" {arrays[0].shape} with {error!r}",
            remedy="name it: dtype='float32'",
        ) from error
