"""Affine transforms of volumes of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.views import run_view
from ..errors import ParameterError
from ..sources import Source, as_source
from ..sources.along import lengths, working_axes
from ..wrapper.resample import AffineSource
from .memory import reading_memory

KERNEL = "bioimage_cpp.transformation.map_coordinates; orders 2 to 5: scipy.ndimage.map_coordinates"
HALO = "none: a block reads the box of its places, and what the spline and the smoothing reach beyond"


@operation(axes="space", declaration=Declaration("exact", KERNEL, HALO, 6.0))
def affine(
    input: Any,
    matrix: Any = None,
    output: Any = None,
    *,
    scale: Any = None,
    rotation: Any = None,
    shear: Any = None,
    translation: Any = None,
    physical: bool = False,
    shape: int | Sequence[int] | None = None,
    order: int = 0,
    fill_value: Any = 0,
    mode: str = "grid-constant",
    anti_aliasing: bool | Sequence[float] = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Transform by an affine matrix: turn, scale, shear and move.

    Index ``o`` of the result shows the input at ``matrix @ (o, 1)``, with voxel centres at integers (the convention of
    `scipy.ndimage.affine_transform`): to make an image larger by 2, the scale is 1/2. Entries of the matrix are rounded
    to 2^-42: a place is off by less than 1e-8 of a voxel at a distance of 10,000. The result does not depend on the
    blocks, to the bit: a block reads the box of the input that its places lie in and what the spline reaches, in parts
    where that is more than 2^23 voxels.

    Order 0 copies the nearest voxel (half-way up), of any data type and labels up to 2^64 - 1. The others compute in
    float64, in which integers above 2^53 lose their last digits, and round once: integers half up, cut to the range of
    their type. Order 1 is scipy's to 1e-8 of the values; from order 2 on, coefficients of the spline leave out what is
    below 1e-7 of the values (scipy's filter runs over whole lines). NaN reaches all voxels that the spline through it
    does, also with a weight of 0 (and so does a `fill_value` of NaN); along axes that are only scaled and moved, as z
    in a turn about z, and with order 1, only those with a weight.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    matrix : array_like, optional
        (n, n + 1) or (n + 1, n + 1) for the n axes of space (or `axes`, in their order), or for all axes.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Blocks, mask and region of interest are those of the
        output.
    scale, rotation, shear, translation : optional
        In place of a matrix, see `compute_affine_matrix`: angles in degrees, translation in voxels.
    physical : bool, default False
        The translation counts in the units of the input's axes: along an axis that runs backwards it has the other
        sign in voxels. Scale, rotation and shear are those of voxels all the same.
    shape : int or sequence of int, optional
        Shape of the result, along the axes of the matrix or all; by default that of the input.
    order : int, default 0
        Order of the spline: 0 nearest voxel (labels), 1 linear (images), up to 5.
    fill_value : scalar, default 0
        Value outside of the input.
    mode : str, default "grid-constant"
        What is seen outside of the input, by scipy's names: "grid-constant" (`fill_value`, with which voxels at the
        border mix from order 1 on), "constant" (`fill_value` beyond the centre of the last voxel, no mixing),
        "nearest", "reflect", "mirror", "grid-wrap".
    anti_aliasing : bool or sequence of float, default False
        Smooth before with a Gaussian of ``(step - 1) / 2`` along axes of which a step of the result passes more than
        a voxel, or of these sigmas, in voxels.

    Returns
    -------
    source-like
        `output`, or a numpy array of the dtype of the input. Scale and offset of its axes are those of the new grid;
        where a rotation or shear mixes axes, the length of a step is known, and the offset is 0.

    Raises
    ------
    ParameterError
        If both a matrix and parameters are given, or neither, or one makes no sense; with `physical` also for a
        translation that is none, and axes without a scale.
    ShapeError
        If matrix or shape do not fit the input.
    DtypeError
        For complex data and an order above 0.
    MemoryBudgetError
        If smoothing needs more than 2^23 voxels for a single one.

    Examples
    --------
    >>> affine(labels, rotation=(0, 0, 30), translation=(0, 20, -10))  # doctest: +SKIP
    >>> affine(image, matrix, "turned.zarr/data", order=1, shape=(400, 900, 900))  # doctest: +SKIP

    References
    ----------
    M. Unser, Splines: a perfect fit for signal and image processing, IEEE Signal Processing Magazine 16(6), 1999.
    """
    job, source = Job.of(run), as_source(input)
    if physical:
        translation = _in_voxels(translation, source, job)
    view = AffineSource(
        source,
        shape,
        affine_matrix=matrix,
        scale=scale,
        rotation=rotation,
        shear=shear,
        translation=translation,
        order=order,
        fill_value=fill_value,
        anti_aliasing=anti_aliasing,
        mode=mode,
        axes=job.axes,
    )
    return run_view(view, output, job, name="affine", memory_factor=reading_memory(view, job))


def _in_voxels(translation: Any, source: Source, job: Job) -> tuple[Any, ...]:
    """A translation in units of the axes that are worked along, in voxels."""
    along = working_axes(source.axes, job.axes)
    if translation is None:
        raise ParameterError("physical=True is for a translation=, and none is given", remedy="leave out physical=")
    voxels = lengths(translation, source.axes, along, name="translation", physical=True)
    steps = [math.copysign(1.0, source.axes[axis].scale) for axis in along]
    # what is no number is for the parameter's own check
    return tuple(
        step * voxels[axis] if isinstance(voxels[axis], float) else voxels[axis]
        for step, axis in zip(steps, along, strict=True)
    )
