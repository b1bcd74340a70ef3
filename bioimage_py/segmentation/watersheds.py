"""The operation `watershed`: seeded flooding of a volume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.mapping import map_to
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..errors import HaloError
from ..sources import as_source
from ..sources.along import per_axis
from .flooding import FloodBlock, Watershed, check_flooding
from .forest.running import flood_once
from .tables import check_output_dtype


@operation(
    axes="space",
    declaration=Declaration("blockwise", "bioimage_cpp.segmentation.watershed", halo="1, or halo", memory=4.0),
)
def watershed(
    input: Any,
    seeds: Any,
    output: Any = None,
    *,
    halo: Any = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Grow seeds over a height map, low values first.

    Parameters
    ----------
    input : source-like
        Heights (numbers), for example boundary probabilities; flooded along 2 or 3 axes.
    seeds : source-like
        Ids of the objects (integers) where they begin, 0 elsewhere; same shape. Ids are kept exactly.
    output : source-like, optional
        Integers of the same shape; allocated as uint64 numpy array by default.
    halo : int or sequence of int, optional
        Voxels around a block that are flooded with it, along the axes of space (or `axes`). By default none: each voxel
        is flooded once, and what was reached over the faces of blocks is decided at the end (see Notes).

    Returns
    -------
    object
        The output. Voxels that no seed reaches are 0; voxels where the mask is 0 are not flooded and stay as they were.

    Raises
    ------
    HaloError
        Some blocks alone (``block_ids``, ``skip_empty``) without a halo.
    MemoryBudgetError
        Run as a whole, and the volume doesn't fit the memory budget.
    ShapeError
        Seeds of another shape, or not 2 or 3 axes to flood along.
    DtypeError
        Seeds or an output that are not integers.
    ValueRangeError
        A seed id that the output's type cannot hold.
    ParameterError
        NaN or infinite heights.

    Notes
    -----
    Without ``halo`` and ``block_shape`` the volume is flooded as a whole (with a ``mask`` too).

    In blocks without a halo, each block is flooded from its seeds and from the lowest places of its faces, and basins
    without a seed then go to that from which the climb to them is least. The seed of every voxel is one from which it
    can be reached with the least climb, as on the whole volume, however far the seed is; where several are equal, the
    result may differ from that of the whole volume (0.01 % of the voxels on boundaries of neurons, 3 % in noise of
    which most basins have no seed). That is a minimum spanning forest: Cousty et al., "Watershed cuts: minimum spanning
    forests and the drop of water principle", 2009.

    With a halo each block is flooded on its own together with it: near block borders the result may differ from that of
    the whole volume, and an object whose seed lies beyond the halo is not reached. The same grid and halo give the same
    bits on every backend. Kernel: bioimage-cpp.
    """
    job = Job.of(run)
    height, markers = as_source(input), as_source(seeds)
    along = job.along(height)
    check_flooding(len(along), height.dtype, markers.dtype)
    inputs = [height, markers] + ([] if job.mask is None else [as_source(job.mask)])
    whole = halo is None and replace(job, mask=None).unblocked()
    once = halo is None and not whole
    if once and (job.block_ids is not None or job.skip_empty):
        raise HaloError(
            "watershed of some blocks needs a halo: without one, all blocks are flooded before any is written",
            remedy=f"halo={(32,) * len(along)}",
        )
    margin = None if halo is None else per_axis(halo, height.axes, job.axes, name="halo", elsewhere=0)
    target, returned = prepare_output(output, height.shape, np.uint64, job, source=height)
    check_output_dtype(target.dtype, "watershed")
    if once:
        flood_once(height, markers, target, job, name="watershed", along=along)
        return returned
    if whole and job.mask is not None:  # as a further input: what lies outside of it stays
        inputs += [] if output is None else [target]
        job = replace(job, mask=None)
    map_to(
        Watershed(),
        inputs,
        target,
        job,
        name="watershed",
        halo=margin,
        memory_factor=2.0,
        whole=whole,
        along=along,
        block=FloodBlock,
    )
    return returned
