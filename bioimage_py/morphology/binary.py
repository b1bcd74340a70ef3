"""Erosion, dilation, opening and closing with any structuring element."""

from __future__ import annotations

import operator
from typing import Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.mapping import run_map
from ..engine.operation import operation
from ..errors import DtypeError, ParameterError
from ..sources import as_source
from ..sources.along import per_axis
from .binary_kernels import Binary


def _declared(steps: int) -> Declaration:
    halo = "iterations * (footprint size // 2)"
    return Declaration(
        "exact", "runs of the footprint, joined bit by bit (numpy)", halo if steps == 1 else f"2 * {halo}", 6.0
    )


@operation(axes="space", declaration=_declared(1))
def binary_erosion(
    input: Any,
    output: Any = None,
    *,
    footprint: Any = None,
    iterations: int = 1,
    border_value: int = 0,
    **run: Unpack[RunKeywords],
) -> Any:
    """Foreground whose whole neighbourhood is foreground.

    The same as `scipy.ndimage.binary_erosion` on the whole array, whatever the blocks are.

    Parameters
    ----------
    input : source-like
        Voxels that are not 0 are foreground. Any number of axes.
    output : source-like, optional
        By default a bool array; may not share storage with the input where blocks are used.
    footprint : array_like, optional
        The structuring element, with an axis for each one that is worked along; its centre is voxel ``size // 2``. By
        default the voxel and those that share a face with it.
    iterations : int
        How often.
    border_value : {0, 1}
        What lies beyond the volume.

    Returns
    -------
    source-like
        The output.

    Raises
    ------
    DtypeError
        Complex input.
    ParameterError
        A footprint that is empty or has other axes, iterations below 1, or another border value.

    Examples
    --------
    >>> binary_erosion(np.array([0, 1, 1, 1, 0]))
    array([False, False,  True, False, False])
    """
    return _run("binary_erosion", ("erosion",), input, output, footprint, iterations, border_value, run)


@operation(axes="space", declaration=_declared(1))
def binary_dilation(
    input: Any,
    output: Any = None,
    *,
    footprint: Any = None,
    iterations: int = 1,
    border_value: int = 0,
    **run: Unpack[RunKeywords],
) -> Any:
    """Foreground and what has some in its neighbourhood.

    The same as `scipy.ndimage.binary_dilation` on the whole array, whatever the blocks are.

    Parameters
    ----------
    input : source-like
        Voxels that are not 0 are foreground. Any number of axes.
    output : source-like, optional
        By default a bool array; may not share storage with the input where blocks are used.
    footprint : array_like, optional
        The structuring element, with an axis for each one that is worked along; its centre is voxel ``size // 2``. By
        default the voxel and those that share a face with it.
    iterations : int
        How often.
    border_value : {0, 1}
        What lies beyond the volume.

    Returns
    -------
    source-like
        The output.

    Raises
    ------
    DtypeError
        Complex input.
    ParameterError
        A footprint that is empty or has other axes, iterations below 1, or another border value.

    Examples
    --------
    >>> binary_dilation(np.array([0, 0, 1, 0, 0]))
    array([False,  True,  True,  True, False])
    """
    return _run("binary_dilation", ("dilation",), input, output, footprint, iterations, border_value, run)


@operation(axes="space", declaration=_declared(2))
def binary_opening(
    input: Any,
    output: Any = None,
    *,
    footprint: Any = None,
    iterations: int = 1,
    border_value: int = 0,
    **run: Unpack[RunKeywords],
) -> Any:
    """Erosion, then dilation: without parts in which the footprint does not fit.

    The same as `scipy.ndimage.binary_opening` on the whole array, whatever the blocks are.

    Parameters
    ----------
    input : source-like
        Voxels that are not 0 are foreground. Any number of axes.
    output : source-like, optional
        By default a bool array; may not share storage with the input where blocks are used.
    footprint : array_like, optional
        The structuring element, with an axis for each one that is worked along; its centre is voxel ``size // 2``. By
        default the voxel and those that share a face with it.
    iterations : int
        How often each of the two is repeated.
    border_value : {0, 1}
        What lies beyond the volume.

    Returns
    -------
    source-like
        The output.

    Raises
    ------
    DtypeError
        Complex input.
    ParameterError
        A footprint that is empty or has other axes, iterations below 1, or another border value.

    Examples
    --------
    >>> binary_opening(np.array([0, 1, 0, 1, 1, 1]))
    array([False, False, False,  True,  True,  True])
    """
    return _run("binary_opening", ("erosion", "dilation"), input, output, footprint, iterations, border_value, run)


@operation(axes="space", declaration=_declared(2))
def binary_closing(
    input: Any,
    output: Any = None,
    *,
    footprint: Any = None,
    iterations: int = 1,
    border_value: int = 0,
    **run: Unpack[RunKeywords],
) -> Any:
    """Dilation, then erosion: with gaps in which the footprint does not fit.

    The same as `scipy.ndimage.binary_closing` on the whole array, whatever the blocks are.

    Parameters
    ----------
    input : source-like
        Voxels that are not 0 are foreground. Any number of axes.
    output : source-like, optional
        By default a bool array; may not share storage with the input where blocks are used.
    footprint : array_like, optional
        The structuring element, with an axis for each one that is worked along; its centre is voxel ``size // 2``. By
        default the voxel and those that share a face with it.
    iterations : int
        How often each of the two is repeated.
    border_value : {0, 1}
        What lies beyond the volume.

    Returns
    -------
    source-like
        The output.

    Raises
    ------
    DtypeError
        Complex input.
    ParameterError
        A footprint that is empty or has other axes, iterations below 1, or another border value.

    Examples
    --------
    >>> binary_closing(np.array([0, 1, 0, 1, 0, 0]))
    array([False,  True,  True,  True, False, False])
    """
    return _run("binary_closing", ("dilation", "erosion"), input, output, footprint, iterations, border_value, run)


def _run(
    name: str,
    steps: tuple[str, ...],
    input: Any,
    output: Any,
    footprint: Any,
    iterations: int,
    border_value: int,
    run: RunKeywords,
) -> Any:
    job, source = Job.of(run), as_source(input)
    if source.dtype.kind not in "biuf":
        raise DtypeError(f"{name} cannot tell the background of {source.dtype}", remedy="array != 0")
    along = job.along(source)
    structure = _structure(footprint, len(along))
    if border_value not in (0, 1):
        raise ParameterError(f"border_value={border_value!r} is neither 0 nor 1", remedy="border_value=0")
    kernel = Binary(structure.tobytes(), structure.shape, steps, _iterations(iterations), int(border_value))
    return run_map(
        kernel,
        [source],
        output,
        job,
        name=name,
        dtype=np.bool_,
        halo=per_axis(kernel.halo, source.axes, along, name="halo", elsewhere=0),
        memory_factor=6.0,
        along=along,
    )


def _structure(footprint: Any, ndim: int) -> np.ndarray:
    from scipy.ndimage import generate_binary_structure

    if footprint is None:
        return np.asarray(generate_binary_structure(ndim, 1), np.bool_)
    given = np.asarray(footprint)
    if given.dtype.kind not in "biuf" or given.ndim != ndim or not given.any():
        raise ParameterError(
            f"the footprint of shape {given.shape} is empty or has not {ndim} axes",
            remedy=f"footprint=np.ones({(3,) * ndim}, bool)",
        )
    return np.ascontiguousarray(given != 0)


def _iterations(value: Any) -> int:
    try:
        found = operator.index(value)
    except TypeError:
        found = 0
    if found < 1:
        raise ParameterError(f"iterations={value!r} is not a whole number above 0", remedy="iterations=1")
    return found
