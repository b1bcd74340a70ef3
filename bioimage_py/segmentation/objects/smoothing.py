"""The operation `majority`: smooth the borders of objects."""

from __future__ import annotations

import math
from typing import Any, Unpack

from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.mapping import run_map
from ...engine.operation import operation
from ...errors import ParameterError
from ...sources import Source, as_source
from ...sources.along import lengths, per_axis
from .. import tables
from .majority_kernel import Majority


@operation(
    axes="space",
    declaration=Declaration("exact", "numpy.sort of the labels around a voxel", halo="size // 2", memory=8.0),
)
def majority(
    input: Any, output: Any = None, *, size: Any = 3, physical: bool = False, **run: Unpack[RunKeywords]
) -> Any:
    """Give every voxel the label that most voxels around it have: smooth borders, no single voxels, all ids kept.

    The result is exactly that of the whole array, whatever the blocks.

    Parameters
    ----------
    input : source-like
        Labels, any integer type; background is a label like the others.
    output : source-like, optional
        Allocated as numpy array of the input's type by default.
    size : int or sequence of int, default 3
        Voxels of the box around a voxel along the axes of space (or `axes`), odd numbers. Beyond the volume's edge and
        where the mask is 0 nothing counts.
    physical : bool, default False
        `size` counts in the units of the input's axes instead of voxels, and need not be whole: the box holds the
        voxels whose centre is at most half of it away.

    Returns
    -------
    object
        The output. Of labels that are equally frequent that of the voxel itself is taken if it is one of them, else the
        smallest.

    Raises
    ------
    DtypeError
        If labels are not integers.
    ParameterError
        A size that is even, below 1, or not one for each axis.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> bp.segmentation.majority(np.array([3, 3, 8, 3, 3, 9, 9, 9]), progress=False)
    array([3, 3, 3, 3, 3, 9, 9, 9])
    """
    job, source = Job.of(run), as_source(input)
    tables.check_label_dtype(source.dtype, "the input of majority")
    along = job.along(source)
    reach = _reach(size, source, along, job, physical=physical)
    masks = [] if job.mask is None else [as_source(job.mask)]
    halo = [0] * source.ndim
    for axis, one in zip(along, reach, strict=True):
        halo[axis] = one
    return run_map(
        Majority(reach),
        [source, *masks],
        output,
        job,
        name="majority",
        dtype=source.dtype,
        halo=halo,
        memory_factor=8.0,
        along=along,
    )


def _reach(size: Any, source: Source, along: tuple[int, ...], job: Job, *, physical: bool) -> tuple[int, ...]:
    if physical:
        found = [one for one in lengths(size, source.axes, job.axes, name="size", physical=True) if one is not None]
        if all(isinstance(one, float) and math.isfinite(one) and one > 0 for one in found):
            return tuple(int(one / 2) for one in found)
        raise ParameterError(f"size={size!r} is not above 0 along every axis", remedy="size=3.0")
    given = per_axis(size, source.axes, job.axes, name="size", elsewhere=1)
    values = list(given) if hasattr(given, "__len__") else [given] * source.ndim
    if len(values) == source.ndim:
        sizes = [tables.whole_number(values[axis], "size") for axis in along]
        if all(one % 2 for one in sizes):
            return tuple(one // 2 for one in sizes)
    raise ParameterError(
        f"size={size!r} is not an odd number for each of {len(along)} axes: a box has a voxel in its middle",
        remedy=f"size={(3,) * len(along)}",
    )
