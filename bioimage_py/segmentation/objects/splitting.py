"""The operation `split_disconnected`: every piece of an object becomes an object."""

from __future__ import annotations

from typing import Any, Unpack

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.outputs import prepare_output
from ...engine.stages import BlocksStage, OnceStage, run_stages
from ...runner.planning.build import plan_groups
from ...sources import as_source
from .. import components, tables
from ..labelling_blocks import Labelling, WriteComponents, merged_of
from .groups import Apart
from .splitting_blocks import FindPieces, MergePieces


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    axes="space",
    declaration=Declaration("exact", "cc3d.connected_components", memory=3.0),
)
def split_disconnected(
    input: Any, output: Any = None, *, connectivity: int | None = None, **run: Unpack[RunKeywords]
) -> Any:
    """Give the pieces of objects that are not connected ids of their own.

    The result is exactly that of the whole array, whatever the blocks.

    Parameters
    ----------
    input : source-like
        Labels, any integer type; 0 is background.
    output : source-like, optional
        Integers of the shape of the input; allocated as numpy array of the input's type by default. Every voxel is
        written: 0 where the mask is 0.
    connectivity : int, optional
        Number of axes along which neighbours may differ, 1 to as many as are worked along; 1 (default) joins voxels
        that share a face.

    Returns
    -------
    object
        The output. The largest piece of an object keeps its id (of equal ones that whose first voxel comes first in C
        order), at every channel and time by itself (see `axes`). The others get ids above the highest one there is,
        consecutive, in the order of their first voxels.

    Raises
    ------
    DtypeError
        If labels are not integers, or the output's type is none.
    ParameterError
        A connectivity out of range.
    ValueRangeError
        If there are not enough ids above the highest one (as cause of a `RunnerError`); nothing has been written then.

    Notes
    -----
    Two passes over the input, as `label`. Kernel: connected-components-3d.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> bp.segmentation.split_disconnected(np.array([4, 0, 4, 4, 0, 7]), progress=False)
    array([8, 0, 4, 4, 0, 7])
    """
    job, source = Job.of(run), as_source(input)
    tables.check_label_dtype(source.dtype, "the input of split_disconnected")
    along = job.along(source)
    kernel = Labelling(components.check_connectivity(connectivity, len(along)), multi_label=True, along=along)
    if job.whole([source]):
        job = job.as_one(source.shape)
    target, returned = prepare_output(output, source.shape, source.dtype, job, source=source)
    tables.check_output_dtype(target.dtype, "split_disconnected")
    grid = plan_groups(source.shape, [source], [target], job.block_shape, job.roi).grid
    apart = Apart(tuple(high - low for low, high in grid.roi), along)
    merge = MergePieces(grid.grid_shape, kernel.connectivity, apart, source.dtype, target.dtype)
    factor = 1 + 22 / source.dtype.itemsize
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage(
            "pieces",
            FindPieces(kernel, grid.roi),
            [source],
            returns="each",
            memory_factor=factor,
            holds_gil=True,
        ),
        OnceStage("merge", merge),
        BlocksStage(
            "write",
            WriteComponents(kernel),
            [source],
            [target],
            setup=merged_of,
            memory_factor=factor,
            holds_gil=True,
        ),
    ]
    run_stages("split_disconnected", stages, job)
    return returned
