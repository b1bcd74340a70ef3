"""Downsampling volumes of any size."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, Unpack

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.views import run_view
from ..errors import ParameterError
from ..sources import as_source
from ..sources.along import per_axis
from ..wrapper.downsample import DownsampleSource

DOWNSAMPLE = Declaration("exact", "numpy; scipy.ndimage for anti_aliasing=", "none; 4 sigma for anti_aliasing=", 11.0)


@operation(axes="space", declaration=DOWNSAMPLE)
def downsample(
    input: Any,
    scale_factor: int | Sequence[int],
    output: Any = None,
    *,
    order: int = 0,
    anti_aliasing: bool = False,
    method: Literal["mean", "mode", "mode_nonzero", "stride"] | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Lower the resolution by whole factors.

    Voxel ``i`` of the result stands for the voxels ``i * factor`` to ``(i + 1) * factor - 1``; the last block of an
    axis has those that exist. Mean and mode sit at the centre of the block, half a block minus half a voxel after its
    first voxel (physical offset + (factor - 1) / 2 * scale); striding sits at the first voxel (same offset). The new
    scale is the old one times the factor, also where the factor does not divide the size. The result does not depend on
    the blocks.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    scale_factor : int or sequence of int
        Factor of at least 1: one for the axes of space (or `axes`), one for each of them, or one for every axis of the
        input in array order.
    output : source-like, optional
        Where to write, of shape ``ceil(shape / scale_factor)``; by default a numpy array is allocated. Blocks, mask and
        region of interest are those of the output.
    order : int, default 0
        With ``method=None``: order of the spline, 0 to 5. The samples lie at whole voxels, where every spline passes
        through the voxel's value, so it does not change the result.
    anti_aliasing : bool, default False
        With ``method=None``: smooth with a Gaussian of sigma ``(scale_factor - 1) / 2`` (mirror border) before
        sampling.
    method : {"mean", "mode", "mode_nonzero", "stride"}, optional
        "mean" for images: of each block, exact for integers, halves rounded to even. "mode" for labels: the most
        frequent value, the smallest of those that tie. "mode_nonzero": the same of the values that are not 0, so that
        points and thin lines stay. "stride": the first voxel. None samples at the first voxel of each
        block, after `anti_aliasing` if asked for.

    Returns
    -------
    source-like
        `output`, or a numpy array of the dtype of the input.

    Raises
    ------
    ParameterError
        For factors below 1 or not whole, an unknown method, an order out of range, or a method together with `order` or
        `anti_aliasing`.
    DtypeError
        If the method cannot use the data type ("mode" of floats).
    """
    job = Job.of(run)
    _check(order, anti_aliasing, method)
    source = as_source(input)
    factors = per_axis(scale_factor, source.axes, job.axes, name="scale_factor", elsewhere=1)
    view = DownsampleSource(source, factors, method or "stride", anti_aliasing)
    return run_view(view, output, job, name="downsample", memory_factor=view_memory(view, anti_aliasing))


def view_memory(view: DownsampleSource, anti_aliasing: bool = False) -> float:
    """Peak bytes over those of a block of the view and of the result, as measured."""
    voxels, size = math.prod(view.factors), view.dtype.itemsize
    if anti_aliasing:
        return 1 + voxels * (size + 12) / (2 * size)
    return 1 + voxels * (0.6 if view.method == "stride" else 1.25)


def _check(order: int, anti_aliasing: bool, method: str | None) -> None:
    try:
        known = 0 <= operator.index(order) <= 5
    except TypeError:
        known = False
    if not known:
        raise ParameterError(f"order is {order!r}, not one of 0 to 5", remedy="order=0")
    if method is not None and (order != 0 or anti_aliasing):
        raise ParameterError(
            f"order={order} and anti_aliasing={anti_aliasing} do nothing for method={method!r}",
            remedy=f"leave them out, or leave out method={method!r}",
        )
