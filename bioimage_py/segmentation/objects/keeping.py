"""The operations `keep_largest` and `remove_border_objects`: objects of a segmentation that stay, or go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from ...arguments import number
from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.outputs import prepare_output
from ...engine.stages import BlocksStage, OnceStage, run_stages
from ...runner.planning.build import plan_groups
from ...sources import Source, as_source
from ...sources.along import lengths
from .. import tables
from ..partial import Others
from .groups import Apart, MakeGrouped, WriteGrouped, merge_grouped, table_of
from .keeping_blocks import BorderIds, CountGrouped, Every, Largest


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    axes="space",
    declaration=Declaration("exact", "fastremap.unique, then numpy.searchsorted", memory=2.0),
)
def keep_largest(input: Any, output: Any = None, *, n: int = 1, **run: Unpack[RunKeywords]) -> Any:
    """Keep the largest objects and set all others to 0.

    The result is exactly that of the whole array, whatever the blocks.

    Parameters
    ----------
    input : source-like
        Labels, any integer type; 0 is background. An object is all voxels of one id, connected or not
        (`split_disconnected`); at every channel and time by itself (see `axes`).
    output : source-like, optional
        Allocated as numpy array of the input's type by default.
    n : int, default 1
        How many stay, by the number of their voxels inside the mask; of equal ones those with the smaller ids.

    Returns
    -------
    object
        The output. Ids are kept.

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        Unless `n` is a whole number >= 0.
    ValueRangeError
        If an id that stays doesn't fit the output's type (as cause of a `RunnerError`).

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> bp.segmentation.keep_largest(np.array([5, 5, 0, 7, 7, 7, 2]), progress=False)
    array([0, 0, 0, 7, 7, 7, 0])
    """
    job, source, target, returned, apart = _prepared("keep_largest", input, output, run)
    choose = Largest(tables.whole_number(n, "n"))
    _chosen("keep_largest", CountGrouped(apart), choose, "zero", (source, target), apart, job)
    return returned


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    axes="space",
    declaration=Declaration("exact", "fastremap.unique, then numpy.searchsorted", memory=2.0),
)
def remove_border_objects(
    input: Any, output: Any = None, *, buffer_size: float = 0, physical: bool = False, **run: Unpack[RunKeywords]
) -> Any:
    """Set objects that touch the border of the volume to 0.

    The result is exactly that of the whole array, whatever the blocks: an object goes as a whole.

    Parameters
    ----------
    input : source-like
        Labels, any integer type; 0 is background. An object is all voxels of one id; at every channel and time by
        itself (see `axes`). The border is that along the axes that are worked along.
    output : source-like, optional
        Allocated as numpy array of the input's type by default.
    buffer_size : int, default 0
        Objects with a voxel that is at most so many voxels away from a voxel of the border go too.
    physical : bool, default False
        `buffer_size` counts in the units of the input's axes, and need not be whole: along each axis it is rounded down
        to whole voxels.

    Returns
    -------
    object
        The output. Ids are kept.

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        Unless the buffer is a whole number >= 0, or any such number where `physical` is set; then also for axes without
        a scale.
    ValueRangeError
        If an id that stays doesn't fit the output's type (as cause of a `RunnerError`).

    Notes
    -----
    With `roi` the border is that of the region. Only blocks at the border are read to find the objects. Means the same
    as ``skimage.segmentation.clear_border``.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 0, 0], [0, 0, 7, 0], [0, 0, 0, 0]])
    >>> bp.segmentation.remove_border_objects(labels, progress=False)
    array([[0, 0, 0, 0],
           [0, 0, 7, 0],
           [0, 0, 0, 0]])
    """
    job, source, target, returned, apart = _prepared("remove_border_objects", input, output, run)
    region = plan_groups(source.shape, [source], [target], job.block_shape, job.roi).grid.roi
    if physical:
        number("buffer_size", buffer_size, least=0, example=0.5)
        found = lengths(buffer_size, source.axes, apart.along, name="buffer_size", physical=True)
        depth = [int(min(found[axis] * (1 + 1e-9), source.shape[axis])) + 1 for axis in apart.along]
    else:
        depth = [tables.whole_number(buffer_size, "buffer_size") + 1] * len(apart.along)
    find = BorderIds(apart, tuple(region), tuple(depth))
    _chosen("remove_border_objects", find, Every(), "stay", (source, target), apart, job)
    return returned


def _prepared(name: str, input: Any, output: Any, run: RunKeywords) -> tuple[Job, Source, Source, Any, Apart]:
    job, source = Job.of(run), as_source(input)
    tables.check_label_dtype(source.dtype, f"the input of {name}")
    if job.whole([source]):
        job = job.as_one(source.shape)
    target, returned = prepare_output(output, source.shape, source.dtype, job, source=source)
    return job, source, target, returned, Apart(tuple(source.shape), job.along(source))


def _chosen(
    name: str,
    find: Callable[..., Any],
    choose: Callable[..., Any],
    others: Others,
    sources: tuple[Source, Source],
    apart: Apart,
    job: Job,
) -> None:
    """Find objects, choose some of them, and write: these and 0 for others ("zero"), or 0 for these ("stay")."""
    source, target = sources
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage("ids", find, [source], returns="fold", merge=merge_grouped, memory_factor=2.0),
        OnceStage("table", MakeGrouped(choose, source.dtype, others)),
        BlocksStage(
            "write",
            WriteGrouped(apart, job.execution.casting),
            [source],
            [target],
            setup=table_of,
            memory_factor=2.0,
        ),
    ]
    run_stages(name, stages, job)
