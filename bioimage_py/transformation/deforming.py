"""Deformation of volumes of any size by a field."""

from __future__ import annotations

from typing import Any, Unpack

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.views import run_view
from ..wrapper.warp import WarpSource
from .affine_transform import HALO, KERNEL
from .memory import reading_memory


@operation(axes="space", declaration=Declaration("exact", KERNEL, HALO, 8.0))
def warp(
    input: Any,
    field: Any,
    output: Any = None,
    *,
    displacement: bool = False,
    order: int = 0,
    fill_value: Any = 0,
    mode: str = "grid-constant",
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Deform by a field that holds a place, or a displacement, for every voxel.

    Index ``o`` of the result shows the input at ``field[:, *o]``, or with ``displacement=True`` at
    ``o + field[:, *o]``, in voxels of the input, whose centres are at integers. Order, rounding, NaN and labels are as
    for `affine`, and so is that the result does not depend on the blocks. A block reads its part of the field and the
    box of the input in which its places lie; where these are scattered so that the box has more than 2^23 voxels, the
    block is cut in halves until it has not.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    field : source-like
        Real numbers of shape (n, ...): a number for each of the n axes of space (or `axes`, in their order), for every
        voxel of the result. A field on a coarser grid is first resized:
        ``ResizedSource(field, (3, *input.shape), order=1)``. Where it is NaN or infinite there is `fill_value`.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Blocks, mask and region of interest are those of the
        output.
    displacement : bool, default False
        What the field holds. Displacements have the grid of the input.
    order : int, default 0
        Order of the spline: 0 nearest voxel (labels), 1 linear (images), up to 5.
    fill_value : scalar, default 0
        Value outside of the input.
    mode : str, default "grid-constant"
        What is seen outside of the input, see `affine`.
    physical : bool, default False
        The field is in the units of the input's axes; places count from their offset.

    Returns
    -------
    source-like
        `output`, or a numpy array of the dtype of the input. With displacements its axes are those of the input, else
        they have the scale, unit and offset that the field says.

    Raises
    ------
    ShapeError
        If the field does not fit the input.
    ParameterError
        For an unknown order or mode; with `physical`, for axes without units.
    DtypeError
        For complex data and an order above 0, and a field that holds no real numbers.

    Examples
    --------
    >>> warp(image, registration["displacement"], "moved.zarr/data", displacement=True, order=1)  # doctest: +SKIP
    """
    job = Job.of(run)
    view = WarpSource(
        input,
        field,
        displacement=displacement,
        order=order,
        fill_value=fill_value,
        mode=mode,
        axes=job.axes,
        physical=physical,
    )
    return run_view(view, output, job, name="warp", memory_factor=reading_memory(view, job))
