"""A volume at lower and lower resolution, in one run."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from ..blocks import Groups
from ..engine.job import Job, RunKeywords, in_memory
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..errors import BlockShapeError, ParameterError
from ..io.formats import split_path
from ..io.ome import check_axes, read_multiscales, write_multiscales
from ..io.target import Target, target_of
from ..runner.execute import execute
from ..runner.planning.build import Where, blocks_stage, plan_groups
from ..runner.planning.stage import Stage
from ..sources import Source, as_source
from ..sources.along import per_axis
from ..sources.sharing import overlap
from ..sources.to_be import ArrayToBe
from ..wrapper.downsample import DownsampleSource
from ..wrapper.reduced import ReducedOutput
from .copy_kernels import write_levels
from .downsampling import DOWNSAMPLE, downsample, view_memory


@operation(omit=("mask", "block_ids", "roi", "skip_empty"), axes="space", declaration=DOWNSAMPLE)
def pyramid(
    input: Any,
    scale_factors: Sequence[int | Sequence[int]],
    outputs: Sequence[Any] | str | os.PathLike[str] | None = None,
    *,
    method: Literal["mean", "mode", "mode_nonzero", "stride"] = "mean",
    **run: Unpack[RunKeywords],
) -> list[Any]:
    """Lower the resolution step by step, every level from the one above: `downsample` for all levels in one run.

    The result does not depend on the blocks, and is that of a call of `downsample` per level. A block writes all levels
    of which it has whole chunks (shards), while it is in memory: with blocks of two chunks along each axis, and factors
    of 2, two levels at a time.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    scale_factors : sequence of (int or sequence of int)
        For every level, the factors against the level above, each as for `downsample`: ``[2, 2, 4]`` makes three
        levels. A factor of 1 copies: ``[1, 2, 2]`` writes the input and two levels while its blocks are in memory.
    outputs : sequence of (source-like or path), or path, optional
        Where to write each level, of shape ``ceil(shape of the level above / factor)``; by default numpy arrays. One
        path is that of a container, or of a group in one: the levels become its arrays "1", "2", ..., and zarr groups
        are described as an OME-Zarr image, with the input as its level "0" if that lies there.
    method : {"mean", "mode", "mode_nonzero", "stride"}, default "mean"
        "mean" for images, "mode" for labels, "mode_nonzero" for labels that are points or lines; see `downsample`.

    Returns
    -------
    list of source-like
        `outputs`, or numpy arrays of the dtype of the input.

    Raises
    ------
    ParameterError
        If there is not one output for each factor, for factors below 1 or not whole, an unknown method, or axes that
        OME-Zarr cannot describe.
    DtypeError
        If the method cannot use the data type ("mode" of floats).
    """
    job = Job.of(run)
    source = as_source(input)
    factors = _factors(scale_factors, source, job)
    group = None
    if isinstance(outputs, str | os.PathLike):
        path = os.fspath(outputs).rstrip("/")
        group = _Group.of(path, len(factors), source)
        outputs = [f"{path}/{number}" for number in range(1, len(factors) + 1)]
    targets = [None] * len(factors) if outputs is None else _listed("outputs", outputs)
    if len(targets) != len(factors):
        raise ParameterError(
            f"There are {len(factors)} scale factors and {len(targets)} outputs.", remedy="one output for each"
        )
    views: list[DownsampleSource] = []
    for each in factors:  # all are checked before an output is made
        views.append(DownsampleSource(views[-1] if views else source, each, method))
    levels, returned = [source], []
    for number, target in enumerate(targets):
        view = DownsampleSource(levels[-1], views[number].factors, method)
        level, result = prepare_output(target, view.shape, view.dtype, job, source=views[number])
        views[number] = view
        levels.append(level)
        returned.append(result)
    # what one process alone writes lies in a scratch array until its run is over
    direct = job.unblocked() and all(map(in_memory, levels[:-1]))
    try:
        _run(views, levels, job, direct, run)
    finally:  # also where a run was cut short, or goes on elsewhere
        if group is not None and not job.execution.plan:
            group.describe(levels, method)
    return returned


def _run(views: Sequence[DownsampleSource], levels: Sequence[Source], job: Job, direct: bool, run: RunKeywords) -> None:
    if job.execution.plan:
        one = job.as_one(views[0].shape) if direct and views else job
        execute("pyramid", _stages(views, levels[1:], one), job.execution)
    elif direct or any(level.concurrency == "single-writer" for level in levels[1:]):
        how: Any = {name: value for name, value in run.items() if name not in ("axes", "chunks", "shards")}
        for view, level in zip(views, levels[1:], strict=True):
            downsample(view.source, view.factors, level, method=view.method, **how)  # type: ignore[arg-type]
    elif views:
        execute("pyramid", _stages(views, levels[1:], job), job.execution)


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not hasattr(values, "__len__") or hasattr(values, "dtype"):
        example = "scale_factors=[2, 2]" if name == "scale_factors" else "one output for each factor"
        raise ParameterError(f"{name}={reprlib.repr(values)} is no list with an entry for every level", remedy=example)
    return list(values)


def _factors(scale_factors: Any, source: Source, job: Job) -> list[tuple[int, ...]]:
    """The factor of every axis, for every level."""
    given = _listed("scale_factors", scale_factors)
    return [per_axis(one, source.axes, job.axes, name="scale_factor", elsewhere=1) for one in given]


@dataclass(frozen=True)
class _Group:
    """A group that takes the levels of an image, as its arrays "1", "2", ...; zarr groups are described."""

    place: Target
    first: bool
    n_levels: int

    @classmethod
    def of(cls, path: str, n_levels: int, source: Source) -> _Group:
        """The group at a path; ParameterError where it has another image, or cannot describe this one."""
        container, key = split_path(path)
        place = target_of(container, key or "")
        finest = f"{place.key}/0".lstrip("/")
        first = (getattr(source, "path", None), getattr(source, "internal_path", None)) == (place.path, finest)
        group = cls(place, first, n_levels)
        if place.format == "zarr":
            check_axes(source.axes)
            for image in read_multiscales(place.path, place.key):
                if not image.name and not {name for name, _ in image.levels} <= {*group.names}:
                    raise ParameterError(
                        f"{path} holds an image with the levels {[name for name, _ in image.levels]}, and the input is"
                        " not the first of them",
                        remedy="write to another group, or make the levels of that image",
                    )
        return group

    @property
    def names(self) -> list[str]:
        """Of all levels that are described."""
        return [str(number) for number in range(0 if self.first else 1, self.n_levels + 1)]

    def describe(self, levels: Sequence[Source], method: str) -> None:
        """Describe the levels, the input first."""
        if self.place.format == "zarr" and self.n_levels:
            if not all(level.there for level in levels if isinstance(level, ArrayToBe)):
                return
            axes = [level.axes for level in (levels if self.first else levels[1:])]
            described = list(zip(self.names, axes, strict=True))
            write_multiscales(self.place.path, self.place.key, levels=described, method=method)


def _stages(views: Sequence[DownsampleSource], levels: Sequence[Source], job: Job) -> list[Stage]:
    """Levels that a block can complete share a stage."""
    stages, first = [], 0
    while first < len(views):
        view, level = views[first], levels[first]
        # a level that is no coarser is a copy
        shown = view.source if max(view.factors, default=1) == 1 and view.dtype == view.source.dtype else view
        groups = plan_groups(view.shape, [shown], [level], job.block_shape, None)
        outputs = [level, *_completed(views[first:], levels[first:], groups)]
        last = first + len(outputs)
        stages.append(
            blocks_stage(
                write_levels,
                [shown],
                outputs,
                Where(groups.grid.block_shape),
                name=f"level {last}" if len(outputs) == 1 else f"levels {first + 1}-{last}",
                num_workers=job.execution.num_workers,
                reads_outputs=False,
                memory_factor=view_memory(view),
            )
        )
        first = last
    return stages


def _completed(views: Sequence[DownsampleSource], levels: Sequence[Source], groups: Groups) -> list[Source]:
    """The levels after the first that its blocks complete, in its voxels.

    A block has whole write units of them, and the values of each level are those that are stored of it.
    """
    found: list[Source] = []
    for number in range(1, len(levels)):
        above, level = levels[:number], levels[number]
        if not above[-1].lossless or {one.dtype for one in levels[: number + 1]} != {views[0].dtype}:
            break
        if any(overlap(level, other) for other in (*views[0].parts, *above)):
            break
        for view in views[number:0:-1]:
            level = ReducedOutput(level, view.factors, view.source.shape, view.method)
        try:
            shared = plan_groups(views[0].shape, [views[0]], [levels[0], *found, level], groups.grid.block_shape, None)
        except BlockShapeError:
            break
        if not shared.trivial or shared.n_groups < groups.n_groups:
            break
        found.append(level)
    return found
