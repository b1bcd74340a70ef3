"""The operation `region_graph`: regions that touch, and what lies between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..errors import DtypeError, ParameterError, ShapeError
from ..runner.planning.checks import check_shapes
from ..sources import Source, as_source
from ..sources.output_folder import OutputFolder
from ..wrapper import RoiSource
from .building_blocks import Measure, MeasureBlock, MergeTables
from .regions import RegionGraph
from .storing.stored import check_free, open_graph

Offsets = Sequence[Sequence[int]]


@operation(
    omit=("block_ids", "resume_from", "skip_empty", "casting"),
    axes="own",
    declaration=Declaration(
        "exact", "numpy (sorting of pairs of voxels)", "1, or the longest offset", 10.0, outputs=("output_path",)
    ),
)
def region_graph(
    labels: Any,
    boundaries: Any = None,
    output_path: str | os.PathLike[str] | None = None,
    *,
    affinities: Any = None,
    offsets: Offsets | None = None,
    long_range: bool = False,
    **run: Unpack[RunKeywords],
) -> RegionGraph:
    """The graph of regions that touch, with what was measured on every edge and in every region.

    Two regions touch where two of their voxels share a face. The boundary between two voxels is the mean of both; with
    affinities it is one minus the affinity, which stands at the first voxel of its pair. All is counted in whole steps
    of 1 / 65,536, so the graph has the same bits for any blocks and on every backend.

    Parameters
    ----------
    labels : source-like
        Regions: integers of 2 or 3 axes; 0 has no edges. Ids up to 2^64 - 1.
    boundaries : source-like, optional
        Same shape: that a voxel lies on a boundary, 0 to 1 (or integers, of which the largest of their type is 1).
    output_path : path, optional
        Folder to keep the graph in, such as "graph.zarr", as `open_graph` opens it. A region graph that is there is
        replaced, in one step at the end; nothing else is. For graphs of any size: without it, the whole graph is in
        memory.
    affinities : source-like, optional
        In the place of boundaries, (channel, ...): that two voxels belong together, 0 to 1, a channel for each offset.
    offsets : sequence of sequence of int, optional
        From the first voxel of a pair to the second, such as ``[(-1, 0, 0), (0, -1, 0), (0, 0, -1)]``.
    long_range : bool
        Keep the edges between regions that do not touch but are joined by an offset of several voxels, as lifted edges
        (they have no faces).

    Returns
    -------
    RegionGraph

    Raises
    ------
    ShapeError, DtypeError, ParameterError
        Bad input, before anything is read.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> labels = np.array([[1, 1, 2], [3, 3, 2]], np.uint64)
    >>> bp.graph.region_graph(labels, np.zeros((2, 3), np.float32)).features()["size"].tolist()
    [1, 2, 1]
    """
    job = Job.of(run)
    source = as_source(labels)
    _check_labels(source)
    evidence, steps = _evidence(source, boundaries, affinities, offsets)
    check_shapes([source, *evidence], [], None if job.mask is None else as_source(job.mask))
    path = None if output_path is None else os.path.abspath(output_path)
    if path is not None:
        check_free(path, replace=True)
    names = tuple(axis.name for axis in source.axes)
    merge = MergeTables(source.shape, names, long_range, path)
    measure = Measure(steps)
    if job.whole([source, *evidence]) and not job.execution.plan:
        whole = tuple(slice(0, size) for size in source.shape)
        arrays = [one.view() for one in evidence]
        table = measure(source.view(), arrays, whole, (0,) * source.ndim)
        if path is None:
            return merge.graph([table])
        merge.write([table], path)
        return open_graph(path)
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage(
            "regions",
            MeasureBlock(measure),
            [source, *evidence],
            halo=_reach(steps, source.ndim),
            returns="each",
            memory_factor=10.0,
            holds_gil=True,
        ),
        OnceStage("merge", merge, None if path is None else OutputFolder(path)),
    ]
    graph: RegionGraph | None = run_stages("region_graph", stages, job).results["merge"]
    return open_graph(path) if graph is None and path is not None else graph  # type: ignore[return-value]


def _reach(offsets: tuple[tuple[int, ...], ...], ndim: int) -> tuple[int, ...]:
    if not offsets:
        return (1,) * ndim
    return tuple(max(1, *(abs(offset[axis]) for offset in offsets)) for axis in range(ndim))


def _check_labels(source: Source) -> None:
    if source.dtype.kind not in "ui":
        raise DtypeError(f"regions are integers, got {source.dtype}", remedy="labels.astype(np.uint64)")
    if source.ndim not in (2, 3):
        raise ShapeError(
            f"region_graph takes labels of 2 or 3 axes, got {source.ndim}", remedy="RoiSource(labels, (0, ...))"
        )


def _evidence(
    labels: Source, boundaries: Any, affinities: Any, offsets: Offsets | None
) -> tuple[list[Source], tuple[tuple[int, ...], ...]]:
    """What lies between the regions as sources of the shape of the labels, and the offsets of affinities."""
    if (boundaries is None) == (affinities is None):
        raise ParameterError(
            "region_graph takes boundaries= or affinities=, one of them", remedy="boundaries=probabilities"
        )
    if affinities is None:
        if offsets is not None:
            raise ParameterError("offsets= belong to affinities=, got boundaries", remedy="leave out offsets=")
        return [_numbers(as_source(boundaries), "boundaries")], ()
    channels = _numbers(as_source(affinities), "affinities")
    steps = tuple(tuple(int(step) for step in offset) for offset in offsets or ())
    if not steps or any(len(offset) != labels.ndim or not any(offset) for offset in steps):
        raise ParameterError(
            f"affinities need offsets of {labels.ndim} steps, not all 0, got {offsets!r}",
            remedy=f"offsets={[tuple(-step for step in row) for row in np.eye(labels.ndim, dtype=int).tolist()]}",
        )
    if channels.shape != (len(steps), *labels.shape):
        raise ShapeError(
            f"affinities of {len(steps)} offsets have the shape {(len(steps), *labels.shape)}, got {channels.shape}",
            remedy="a channel for each offset, in front",
        )
    whole = tuple(slice(0, size) for size in labels.shape)
    return [RoiSource(channels, (number, *whole), squeeze=True) for number in range(len(steps))], steps


def _numbers(source: Source, name: str) -> Source:
    if source.dtype.kind not in "buif":
        raise DtypeError(f"{name} are numbers, got {source.dtype}", remedy="a channel of probabilities")
    return source
