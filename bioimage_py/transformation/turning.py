"""Turning, cutting and padding volumes of any size: views, copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.views import run_view
from ..sources import as_source
from ..sources.along import per_axis, working_axes
from ..wrapper.pad import PadSource
from ..wrapper.roi import RoiSource
from ..wrapper.view import FlipSource, Rotate90Source, TransposeSource

_COPY = Declaration("exact", "none: voxels are copied", memory=2.0)


@operation(axes="own", declaration=_COPY)
def rotate90(
    input: Any,
    k: int = 1,
    output: Any = None,
    *,
    plane: Sequence[int | str] | None = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Turn by quarter turns in the plane of two axes, as `numpy.rot90`.

    The axes go with their voxels: every voxel keeps its place in the world, and a quarter turn of (y, x) has the axes
    (x, y), of which the first has a negative scale. Nothing is copied by ``bioimage_py.wrapper.Rotate90Source``, a view
    that can be written too.

    Parameters
    ----------
    input : source-like
        Data with two axes at least.
    k : int, default 1
        Quarter turns from the first axis of the plane to the second; negative ones turn back.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Blocks, mask and region of interest are those of the
        output.
    plane : sequence of two int or str, optional
        Two axes, by number or name; by default the last two of space.

    Returns
    -------
    source-like
        `output`, or a numpy array.

    Raises
    ------
    ParameterError
        If these are not two axes of the input, or `k` is no whole number.

    Examples
    --------
    >>> rotate90(np.arange(4).reshape(2, 2))
    array([[1, 3],
           [0, 2]])
    """
    source = as_source(input)
    view = Rotate90Source(source, k, working_axes(source.axes)[-2:] if plane is None else plane)
    return run_view(view, output, Job.of(run), name="rotate90")


@operation(axes="own", declaration=_COPY)
def flip(
    input: Any,
    axis: int | str | Sequence[int | str] | None = None,
    output: Any = None,
    **run: Unpack[RunKeywords],
) -> Any:
    """Reverse some axes.

    Every voxel keeps its place in the world: a reversed axis has the negative scale, and the offset of its last voxel.
    ``bioimage_py.wrapper.FlipSource`` is the view, which can be written too.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    axis : int, str, or sequence of these, optional
        Axes, by number or name; by default those of space.
    output : source-like, optional
        Where to write; by default a numpy array is allocated.

    Returns
    -------
    source-like
        `output`, or a numpy array.

    Raises
    ------
    ParameterError
        If there is no such axis.

    Examples
    --------
    >>> flip(np.arange(3))
    array([2, 1, 0])
    """
    source = as_source(input)
    view = FlipSource(source, working_axes(source.axes) if axis is None else axis)
    return run_view(view, output, Job.of(run), name="flip")


@operation(axes="own", declaration=_COPY)
def transpose(
    input: Any, order: Sequence[int | str] | None = None, output: Any = None, **run: Unpack[RunKeywords]
) -> Any:
    """Put the axes in another order.

    ``bioimage_py.wrapper.TransposeSource`` is the view, which can be written too.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    order : sequence of int or str, optional
        Axes of the input, by number or name (``"xyz"``), in the order of the result. None reverses them.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Blocks, mask and region of interest are those of the
        output.

    Returns
    -------
    source-like
        `output`, or a numpy array.

    Raises
    ------
    ParameterError
        If it does not name every axis once.

    Examples
    --------
    >>> transpose(np.arange(4).reshape(2, 2), (1, 0))
    array([[0, 2],
           [1, 3]])
    """
    return run_view(TransposeSource(input, order), output, Job.of(run), name="transpose")


@operation(axes="own", declaration=_COPY)
def crop(
    input: Any,
    region: int | slice | Sequence[int | slice],
    output: Any = None,
    *,
    squeeze: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Cut out a region.

    The offset of the axes is that of the region, so that every voxel keeps its place in the world.
    ``bioimage_py.wrapper.RoiSource`` is the view, which can be written too. (``roi=`` is something else: the part of
    the *result* that is computed.)

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    region : int, slice, or sequence of these
        The region, with numpy's meaning of negative numbers and None; missing axes are taken whole. No steps, nothing
        beyond the volume, nothing empty.
    output : source-like, optional
        Where to write; by default a numpy array is allocated.
    squeeze : bool, default False
        Drop the axes for which `region` has an integer; else they stay, with size 1.

    Returns
    -------
    source-like
        `output`, or a numpy array.

    Raises
    ------
    RegionError
        If the region does not fit the input.

    Examples
    --------
    >>> crop(np.arange(6).reshape(2, 3), (slice(None), slice(1, 3)))
    array([[1, 2],
           [4, 5]])
    """
    return run_view(RoiSource(input, region, squeeze), output, Job.of(run), name="crop")


@operation(axes="space", declaration=Declaration("exact", "numpy.pad", memory=2.0))
def pad(
    input: Any,
    pad_width: int | Sequence[Any],
    output: Any = None,
    *,
    mode: str = "constant",
    constant_values: Any = 0,
    **run: Unpack[RunKeywords],
) -> Any:
    """Add voxels around.

    The offset of the axes is that of the first voxel that was added. ``bioimage_py.wrapper.PadSource`` is the view,
    which is read-only: what was added has no place in the input.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    pad_width : int, or sequence of int or (int, int)
        Voxels to add for the axes of space (or `axes`), for each of them, or for every axis of the input: behind the
        end, or a pair (before, behind). (A number means the end only, as in `PadSource`; `numpy.pad` adds to both.)
    output : source-like, optional
        Where to write; by default a numpy array is allocated. Blocks, mask and region of interest are those of the
        output.
    mode : str, default "constant"
        What they hold, as in `numpy.pad`: "constant", "edge", "reflect", "symmetric", "wrap"; or "linear_ramp",
        "maximum", "mean", "median", "minimum", for which a block at a padded side reads whole lines of the volume.
    constant_values : scalar, default 0
        Value for "constant", end value for "linear_ramp".

    Returns
    -------
    source-like
        `output`, or a numpy array.

    Raises
    ------
    ParameterError
        For an unknown mode, or widths that make no sense.

    Examples
    --------
    >>> pad(np.ones(2, int), [(1, 2)])
    array([0, 1, 1, 0, 0])
    """
    job, source = Job.of(run), as_source(input)
    widths = per_axis(pad_width, source.axes, job.axes, name="pad_width", elsewhere=0)
    view = PadSource(source, widths, mode, constant_values=constant_values)
    return run_view(view, output, job, name="pad")
