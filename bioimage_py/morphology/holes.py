"""The operations `fill_holes`, `remove_small_holes` and `remove_small_objects`: holes and objects of any size."""

from __future__ import annotations

import operator
from typing import Any, Unpack

from ..blocks import region_bounds
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..errors import ParameterError
from ..runner.planning.build import plan_groups
from ..segmentation import components, size_filter
from ..segmentation.objects.groups import Apart, MakeGrouped, WriteGrouped, merge_grouped, table_of
from ..segmentation.objects.keeping_blocks import CountGrouped
from ..sources import Source
from .holes_blocks import ChangePieces, ChoosePieces, FindPieces, Pieces, Small, filling_of
from .measures.measuring import as_labels

_OMIT = ("block_ids", "resume_from", "skip_empty")
_DECLARED = Declaration("exact", "cc3d.connected_components", "1 voxel in the first pass", 8.0)


@operation(omit=_OMIT, axes="space", declaration=_DECLARED)
def fill_holes(
    input: Any,
    output: Any = None,
    *,
    connectivity: int | None = None,
    max_size: int | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Fill holes of any size: background that does not reach the border.

    Of binary images the same as `scipy.ndimage.binary_fill_holes` on the whole array. In a label image a hole gets the
    id of the object around it; what lies between several objects is no hole.

    Parameters
    ----------
    input : source-like
        Bool, or labels of any integer type; 0 is background.
    output : source-like, optional
        By default an array of the type of the input; may be the input.
    connectivity : int, optional
        Number of axes along which neighbouring background voxels may differ: 1 (default) joins those that share a face.
    max_size : int, optional
        Leave larger holes, in voxels.

    Returns
    -------
    source-like
        The output. With a mask or a region, its border counts as the border, and what lies outside stays as it is.

    Raises
    ------
    DtypeError
        Input that is not integer.
    ParameterError
        A connectivity or size out of range.

    Examples
    --------
    >>> fill_holes(np.array([[7, 7, 7], [7, 0, 7], [7, 7, 7], [0, 0, 0]]))[1]
    array([7, 7, 7])
    """
    return _run("fill_holes", input, output, connectivity, max_size, run, background=True, closed=True)


@operation(omit=_OMIT, axes="space", declaration=_DECLARED)
def remove_small_holes(
    input: Any,
    output: Any = None,
    *,
    max_size: int = 64,
    connectivity: int | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Fill background components of at most so many voxels, also those at the border.

    Of binary images the same as `skimage.morphology.remove_small_holes` on the whole array, with 0 for an image without
    foreground. In a label image a hole gets the id of the object around it; what lies between several objects is no
    hole.

    Parameters
    ----------
    input : source-like
        Bool, or labels of any integer type; 0 is background.
    output : source-like, optional
        By default an array of the type of the input; may be the input.
    max_size : int
        Voxels of the largest hole that is filled.
    connectivity : int, optional
        Number of axes along which neighbouring background voxels may differ: 1 (default) joins those that share a face.

    Returns
    -------
    source-like
        The output. With a mask or a region, holes end there, and what lies outside stays as it is.

    Raises
    ------
    DtypeError
        Input that is not integer.
    ParameterError
        A connectivity or size out of range.
    """
    return _run("remove_small_holes", input, output, connectivity, max_size, run, background=True, closed=False)


@operation(omit=_OMIT, axes="space", declaration=_DECLARED)
def remove_small_objects(
    input: Any,
    output: Any = None,
    *,
    max_size: int = 64,
    connectivity: int | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Set objects of at most so many voxels to 0.

    The same as `skimage.morphology.remove_small_objects` on the whole array: of a bool image objects are connected
    components, of a label image all voxels of an id, wherever they are; at every channel and time by itself (`axes`).

    Parameters
    ----------
    input : source-like
        Bool, or labels of any integer type; 0 is background.
    output : source-like, optional
        By default an array of the type of the input; may be the input.
    max_size : int
        Voxels of the largest object that is removed.
    connectivity : int, optional
        Of a bool image: number of axes along which neighbouring voxels may differ, by default 1.

    Returns
    -------
    source-like
        The output.

    Raises
    ------
    DtypeError
        Input that is not integer.
    ParameterError
        A connectivity or size out of range, or a connectivity for labels.
    """
    source = as_labels(input, "remove_small_objects")
    if source.dtype.kind == "b":
        return _run("remove_small_objects", input, output, connectivity, max_size, run, background=False, closed=False)
    if connectivity is not None:
        raise ParameterError(
            f"connectivity={connectivity!r}: the objects of a label image are its ids", remedy="leave out connectivity="
        )
    job, limit = Job.of(run), _size(max_size)
    along = job.along(source)
    if len(along) == source.ndim:
        how: Any = {name: value for name, value in run.items() if name != "axes"}
        return size_filter(input, output, min_size=limit + 1, relabel=False, **how)
    return _without_small(source, output, limit, Apart(tuple(source.shape), along), job)


def _without_small(source: Source, output: Any, limit: int, apart: Apart, job: Job) -> Any:
    """Labels without the ids that have few voxels, at each index of the axes that are kept apart."""
    target, returned = prepare_output(output, tuple(source.shape), source.dtype, job, source=source)
    if job.whole([source]):
        job = job.as_one(source.shape)
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage("ids", CountGrouped(apart), [source], returns="fold", merge=merge_grouped, memory_factor=2.0),
        OnceStage("table", MakeGrouped(Small(limit), source.dtype, "stay")),
        BlocksStage(
            "write",
            WriteGrouped(apart, job.execution.casting),
            [source],
            [target],
            setup=table_of,
            memory_factor=2.0,
        ),
    ]
    run_stages("remove_small_objects", stages, job)
    return returned


def _run(
    name: str,
    input: Any,
    output: Any,
    connectivity: int | None,
    max_size: int | None,
    run: RunKeywords,
    *,
    background: bool,
    closed: bool,
) -> Any:
    job, source = Job.of(run), as_labels(input, name)
    along = job.along(source)
    limit = None if max_size is None else _size(max_size)
    pieces = Pieces(background, components.check_connectivity(connectivity, len(along)), along, limit, closed)
    target, returned = prepare_output(output, tuple(source.shape), source.dtype, job, source=source)
    if job.whole([source]):
        job = job.as_one(source.shape)
    groups = plan_groups(tuple(source.shape), [source], [target], job.block_shape, job.roi)
    region = tuple(region_bounds(job.roi, source.shape))
    factor = 2.0 + 14 / source.dtype.itemsize
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage(
            "pieces", FindPieces(pieces, region), [source], returns="each", memory_factor=factor, holds_gil=True
        ),
        OnceStage("choice", ChoosePieces(pieces, groups.grid.grid_shape)),
        BlocksStage(
            "write", ChangePieces(pieces), [source], [target], setup=filling_of, memory_factor=factor, holds_gil=True
        ),
    ]
    run_stages(name, stages, job)
    return returned


def _size(value: Any) -> int:
    try:
        found = operator.index(value)
    except TypeError:
        found = -1
    if found < 0:
        raise ParameterError(f"max_size={value!r} is not a whole number, 0 or more", remedy="max_size=64")
    return found
