"""The operation `mutex_watershed`: superpixels from affinities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...errors import DtypeError, ParameterError, ShapeError
from ...sources import Source, as_source
from ...wrapper import RoiSource
from .mutex import Mutex
from .running import find_in_blocks


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    axes="own",
    declaration=Declaration("blockwise", "bioimage_cpp.segmentation.mutex_watershed", "the longest offset", 24.0),
)
def mutex_watershed(
    affinities: Any,
    offsets: Sequence[Sequence[int]],
    output: Any = None,
    *,
    strides: int | Sequence[int] = 1,
    halo: int | Sequence[int] | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Superpixels, or objects, of affinities: voxels are joined, and kept apart, the surest pair first.

    Affinities between voxels that share a face join; those of longer offsets keep apart, where they are low. Each block
    is cut by itself, together with as many voxels around it as the longest offset reaches, and its pieces end at its
    faces: `bioimage_py.graph.region_graph` of the same affinities, and `multicut`, join them. Ids are dense, in the
    order of the blocks. The same blocks give the same bits on every backend. The first axis of the affinities are the
    channels; all others are worked along, and are 2 or 3.

    Parameters
    ----------
    affinities : source-like
        (channel, ...): that two voxels belong together, 0 to 1 (or integers, of which the largest of their type is 1);
        a channel for each offset.
    offsets : sequence of sequence of int
        From a voxel, at which the affinity stands, to its partner.
    output : source-like, optional
        Integers of the shape of one channel; by default a uint64 numpy array.
    strides : int or sequence of int, default 1
        Take long-range affinities of every so many voxels along each axis only; faster, and joins more.
    halo : int or sequence of int, optional
        Voxels around a block that are cut with it; by default those that the longest offset reaches.

    Returns
    -------
    object
        The output. 0 where the mask is 0.

    Raises
    ------
    ShapeError
        Not one channel for each offset, or not 2 or 3 axes beside the channels.
    DtypeError
        Affinities that are no numbers, or an output that is not integer.
    ParameterError
        Offsets without one for a neighbour along each axis, or strides below 1.

    Notes
    -----
    Wolf et al., "The mutex watershed and its objective: efficient, parameter-free graph partitioning", 2019. Kernel:
    bioimage-cpp.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> affinities = np.ones((3, 1, 6), np.float32)
    >>> affinities[1, 0, 3] = 0.2  # between the third and the fourth voxel
    >>> affinities[2, 0, 2:4] = 0
    >>> bp.segmentation.mutex_watershed(affinities, [(-1, 0), (0, -1), (0, -2)]).tolist()
    [[1, 1, 1, 2, 2, 2]]
    """
    job = Job.of(run)
    source = as_source(affinities)
    steps = _checked(source, offsets)
    ndim = source.ndim - 1
    every = tuple(int(step) for step in np.broadcast_to(strides, ndim)) if np.ndim(strides) < 2 else ()
    if len(every) != ndim or min(every) < 1:
        raise ParameterError(f"strides={strides!r} are no steps along {ndim} axes", remedy=f"strides={(1,) * ndim}")
    whole = tuple(slice(0, size) for size in source.shape[1:])
    channels: list[Source] = [RoiSource(source, (number, *whole), squeeze=True) for number in range(len(steps))]
    reach = tuple(max(abs(offset[axis]) for offset in steps) for axis in range(ndim))
    along = tuple(range(ndim))
    margin = reach if halo is None else halo
    return find_in_blocks("mutex_watershed", Mutex(steps, every), channels, output, job, along, margin)


def _checked(source: Source, offsets: Any) -> tuple[tuple[int, ...], ...]:
    ndim = source.ndim - 1
    if ndim not in (2, 3):
        raise ShapeError(
            f"affinities are channels of 2 or 3 axes, got the shape {source.shape}", remedy="(channel, z, y, x)"
        )
    if source.dtype.kind not in "buif":
        raise DtypeError(f"affinities are numbers, got {source.dtype}", remedy="a network's prediction")
    steps = tuple(tuple(int(step) for step in offset) for offset in offsets)
    if source.shape[0] != len(steps) or any(len(offset) != ndim for offset in steps):
        raise ShapeError(
            f"{len(steps)} offsets {list(steps)} for affinities of shape {source.shape}",
            remedy=f"{source.shape[0]} offsets of {ndim} steps, one for each channel",
        )
    near = [set(np.flatnonzero(offset)) for offset in steps if sum(map(abs, offset)) == 1]
    if not all({axis} in near for axis in range(ndim)) or any(not any(offset) for offset in steps):
        raise ParameterError(
            f"the offsets {list(steps)} have none to a neighbour along every axis, or one that leads nowhere",
            remedy=f"begin with {[tuple(-step for step in row) for row in np.eye(ndim, dtype=int).tolist()]}",
        )
    return steps
