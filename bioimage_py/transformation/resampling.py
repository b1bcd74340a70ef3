"""Resampling volumes of any size to another number of voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from ..arguments import number
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.views import run_view
from ..errors import ParameterError
from ..sources import Source, as_source
from ..sources.along import AxisNames, per_axis, working_axes
from ..wrapper.interpolation.sampling import result_shape
from ..wrapper.interpolation.splines import check_order
from ..wrapper.resample import AffineSource, ResampledSource, ResizedSource
from .memory import reading_memory

KEPT = object()
"""Stands for an axis that is to stay as it is."""
LEAST = 1e-9
"""Width of a voxel of the result, in voxels, at least; and one over it at most."""


@operation(
    axes="space",
    declaration=Declaration(
        "exact", "numpy, axis by axis", "none: a block reads what its spline and its smoothing reach", 5.0
    ),
)
def resample(
    input: Any,
    output: Any = None,
    *,
    scale: float | Sequence[float] | None = None,
    spacing: float | Sequence[float] | None = None,
    shape: int | Sequence[int] | None = None,
    order: int = 0,
    anti_aliasing: bool | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Change the number of voxels, or their size.

    The outer border of the first voxel stays where it is: a voxel of the result, as wide as ``step`` voxels of the
    input, has its centre at ``(o + 1/2) * step - 1/2`` (centres at half indices, as in `skimage.transform.resize` and
    `scipy.ndimage.zoom` with ``grid_mode=True``). What lies beyond the border is its nearest voxel. The result does not
    depend on the blocks, to the bit; orders, rounding, NaN and labels are as for `affine`.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Blocks, mask and region of interest are those of the
        output.
    scale : float or sequence of float, optional
        Voxels of the result for each one of the input, above 0: 2 makes an image larger. The size becomes ``size *
        scale`` rounded half up, at least 1; the step is exactly ``1 / scale``.
    spacing : float or sequence of float, optional
        Width of a voxel of the result, above 0, in the units of the axes (in voxels, where the input has none): 0.5
        makes isotropic voxels of half a micrometer. The size is rounded in the same way.
    shape : int or sequence of int, optional
        Shape of the result, along the axes of space (or `axes`) or all; it covers exactly what the input does. One of
        the three is given: a number for the axes of space (or `axes`), one for each of them, or for every axis.
    order : int, default 0
        Order of the spline: 0 nearest voxel (labels), 1 linear (images), up to 5.
    anti_aliasing : bool, optional
        Smooth with a Gaussian of ``(step - 1) / 2`` before an axis becomes smaller. By default, if `order` is above 0.

    Returns
    -------
    source-like
        `output`, or a numpy array of the dtype of the input; its axes have the new scale and offset.

    Raises
    ------
    ParameterError
        If not exactly one of `scale`, `spacing` and `shape` is given, or one makes no sense.
    ShapeError
        If the shape does not fit the input.
    DtypeError
        For complex data and an order above 0.
    MemoryBudgetError
        If smoothing needs more than 2^23 voxels for a single one.

    See Also
    --------
    bioimage_py.downsample : Whole factors: the exact mean of each block, or its most frequent label.

    Examples
    --------
    >>> resample(labels, shape=(100, 512, 512))  # doctest: +SKIP
    >>> resample(image, "isotropic.zarr/data", spacing=0.5, order=1)  # doctest: +SKIP
    """
    job = Job.of(run)
    view = _view(as_source(input), scale, spacing, shape, job.axes, order, anti_aliasing)
    return run_view(view, output, job, name="resample", memory_factor=reading_memory(view, job))


def _view(
    source: Source, scale: Any, spacing: Any, shape: Any, names: AxisNames, order: int, smooth: bool | None
) -> ResampledSource:
    if sum(one is not None for one in (scale, spacing, shape)) != 1:
        raise ParameterError(
            f"scale={scale!r}, spacing={spacing!r}, shape={shape!r}: it takes one of the three.", remedy="scale=0.5"
        )
    if smooth is not None and not isinstance(smooth, bool | np.bool_):
        raise ParameterError(f"anti_aliasing={smooth!r} is neither True nor False.", remedy="anti_aliasing=True")
    anti_aliasing = check_order(order) > 0 if smooth is None else bool(smooth)
    if shape is not None:
        sizes = result_shape(shape, source.shape, working_axes(source.axes, names))
        return ResizedSource(source, sizes, order=order, anti_aliasing=anti_aliasing)
    steps = _steps(source, scale, spacing, names)
    along = [axis for axis, step in enumerate(steps) if step != 1]
    # a size that is whole but for rounding is that size
    sizes = tuple(
        max(min(size, 1), math.floor(round(size / step, 9) + 0.5))
        for size, step in zip(source.shape, steps, strict=True)
    )
    if not along:
        return ResizedSource(source, source.shape, order=order)
    factors = np.array([steps[axis] for axis in along])
    return AffineSource(
        source,
        sizes,
        affine_matrix=np.column_stack([np.diag(factors), (factors - 1) / 2]),
        order=order,
        mode="nearest",
        anti_aliasing=anti_aliasing,
        axes=along,
    )


def _steps(source: Source, scale: Any, spacing: Any, names: AxisNames) -> list[float]:
    """Voxels of the input that a voxel of the result is wide, per axis."""
    name = "scale" if spacing is None else "spacing"
    given = per_axis(scale if spacing is None else spacing, source.axes, names, name=name, elsewhere=KEPT)
    values = list(given) if isinstance(given, Sequence | np.ndarray) and np.ndim(given) else [given] * source.ndim
    if len(values) != source.ndim:
        raise ParameterError(
            f"{name}={given!r} has {len(values)} entries, the input {source.ndim} axes.", remedy=f"{name}=0.5"
        )
    for value in values:
        if value is not KEPT and not 0 < number(name, value, example=0.5) < math.inf:
            raise ParameterError(f"{name}={value!r} is not above 0 and finite.", remedy=f"{name}=0.5")
    widths = [1.0 if spacing is None else abs(axis.scale) for axis in source.axes]
    pairs = zip(values, widths, strict=True)
    steps = [1.0 if value is KEPT else 1 / value if spacing is None else value / width for value, width in pairs]
    if not all(LEAST < step < 1 / LEAST for step in steps):
        raise ParameterError(
            f"{name}={given!r} makes voxels {max(steps):g} or {min(steps):g} times as wide as they are.",
            remedy=f"{name}={0.5 if spacing is None else min(widths)}, a factor between {LEAST} and {1 / LEAST:g}",
        )
    return [float(step) for step in steps]
