"""The operations `expand_labels` and `skeletonize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from ..arguments import number
from ..engine.apart import apart
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.mapping import map_to, run_map
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..errors import DtypeError, ParameterError
from ..sources import as_source
from ..sources.along import per_axis, steps_of
from .binary_kernels import Expand, Skeleton
from .measures.measuring import as_labels


@operation(
    axes="space",
    declaration=Declaration("exact", "lower envelopes of whole lines in numpy", "distance / sampling", 12.0),
)
def expand_labels(
    input: Any,
    distance: float = 1,
    output: Any = None,
    *,
    sampling: float | Sequence[float] | None = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Objects grow by a distance into the background, and not into each other.

    A background voxel at most `distance` from an object gets the id of the nearest one; where several are equally near,
    the lowest id. So the result is the same for any blocks; elsewhere it is that of
    `skimage.segmentation.expand_labels`, which does not say what happens between equals.

    Parameters
    ----------
    input : source-like
        Labels, any integer type or bool; 0 is background.
    distance : float
        In voxels, in the units of `sampling`, or of the axes where `physical` is set.
    output : source-like, optional
        By default an array of the type of the input; may not share storage with it where blocks are used.
    sampling : float or sequence of float, optional
        Size of a voxel along each axis that is worked along, by default 1.
    physical : bool, default False
        Take the sizes of voxels from the axes of the input instead.

    Returns
    -------
    source-like
        The output.

    Raises
    ------
    DtypeError
        Labels that are not integers.
    ParameterError
        A negative distance, or a sampling that is none.

    Examples
    --------
    >>> expand_labels(np.array([0, 0, 4, 0, 0, 0, 2]), 2)
    array([4, 4, 4, 4, 2, 2, 2])
    """
    job, source = Job.of(run), as_labels(input, "expand_labels")
    along = job.along(source)
    reach = number("distance", distance, example=2)
    if not 0 <= reach < np.inf:
        raise ParameterError(f"distance={distance!r} is negative or infinite", remedy="distance=2")
    steps = steps_of([source.axes[axis] for axis in along], sampling, name="sampling", physical=physical)
    kernel = Expand(reach, steps)
    return run_map(
        kernel,
        [source],
        output,
        job,
        name="expand_labels",
        dtype=source.dtype,
        halo=per_axis(kernel.halo, source.axes, along, name="halo", elsewhere=0),
        memory_factor=4.0 + 32 / source.dtype.itemsize,
        along=along,
    )


@operation(
    omit=("mask", "roi", "block_ids", "block_shape", "skip_empty", "resume_from"),
    axes="space",
    declaration=Declaration("exact", "skimage.morphology.skeletonize", "not in blocks", 12.0),
)
def skeletonize(input: Any, output: Any = None, **run: Unpack[RunKeywords]) -> Any:
    """Thin foreground to lines of one voxel, of the whole array at once.

    Thinning takes away voxels layer by layer in an order that runs through the whole object, and each decision depends
    on those before it: no margin around a block is wide enough, and pieces that were thinned by themselves do not meet.
    So this is not done in blocks, and refused where the array does not fit the memory.

    Parameters
    ----------
    input : source-like
        Voxels that are not 0 are foreground; 2 or 3 axes that are worked along.
    output : source-like, optional
        By default a bool array.

    Returns
    -------
    source-like
        The output.

    Raises
    ------
    MemoryBudgetError
        The array is too large.
    DtypeError, ParameterError
        Complex input, or another number of axes.

    Notes
    -----
    T. Zhang, C. Suen 1984 (2D) and T. Lee et al. 1994 (3D), as in scikit-image. For large objects: skeletons of each
    object's own crop, with the boxes of `morphology`.
    """
    job, source = Job.of(run), as_source(input)
    if source.dtype.kind not in "biuf":
        raise DtypeError(f"skeletonize cannot tell the background of {source.dtype}", remedy="array != 0")
    along = job.along(source)
    if len(along) not in (2, 3):
        raise ParameterError(f"skeletonize works along 2 or 3 axes, not {len(along)}", remedy='axes="yx"')
    target, returned = prepare_output(output, tuple(source.shape), np.bool_, job, source=source)
    if not job.unblocked():
        job = job.as_one(source.shape)
    map_to(
        apart(Skeleton(), along, source.ndim), [source], target, job, name="skeletonize", memory_factor=12.0, whole=True
    )
    return returned
