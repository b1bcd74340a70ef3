"""Filters that pick values of a neighbourhood: median, percentiles, ranks, top-hats."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from ..arguments import number
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..errors import DtypeError, ParameterError
from ..sources import as_source
from .applying import Along
from .footprints import Footprint, normalize_footprint
from .rank_kernels import Rank, TopHat, tophat_dtype

RANK = Declaration("exact", "comparator network (numpy); scipy.ndimage.rank_filter for large sizes", "size // 2", 4.0)
TOPHAT = Declaration("exact", "comparator network (numpy)", "size - 1", 5.0)

Size = float | Sequence[float] | None


@operation(axes="space", declaration=RANK)
def median(
    input: Any,
    size: Size = None,
    output: Any = None,
    *,
    footprint: Any = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Median of the values around every voxel: removes noise and keeps edges.

    The values are those of scipy's ``median_filter``: of an even number of voxels the upper one of the two in the
    middle, and beyond the volume the values are mirrored at its border (``c b a | a b c d | d c b``, scipy's
    ``mode="reflect"``). Exact: block by block the same bits as on the whole array, for 64-bit integers too. NaN counts
    as larger than every number; a negative zero becomes zero.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    size : int or sequence of int
        Of the box around each voxel: one for the axes of space (or `axes`), one for each of them, or one for every axis
        of the input in array order. The time goes with its number of voxels.
    output : source-like, optional
        Where to write; by default a numpy array is allocated. May not share storage with the input where blocks are
        used.
    footprint : array_like of bool, optional
        Instead of `size`: which voxels count, with as many axes as are filtered along. Its centre is
        ``shape // 2``.
    physical : bool, default False
        `size` counts in the units of the input's axes instead of voxels, and need not be whole: the box holds the
        voxels whose centre is at most half of it away.

    Returns
    -------
    source-like
        `output`, or an array of the input's shape and type.

    Raises
    ------
    ParameterError
        If both or none of size and footprint is given, a size is below 1 or not whole, or the footprint has other axes.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> bp.filters.median("raw.zarr", 3, "clean.zarr/data")  # doctest: +SKIP
    """
    return _ranked(input, size, output, footprint, lambda n: n // 2, "median", physical=physical, run=run)


@operation(axes="space", declaration=RANK)
def percentile(
    input: Any,
    percentile: float,
    size: Size = None,
    output: Any = None,
    *,
    footprint: Any = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """A percentile of the values around every voxel, such as the 10th for the background.

    It is one of the values: that of rank ``int(n * percentile / 100)`` of n, as in scipy's ``percentile_filter``, not
    interpolated. Exact, and with the border and NaN of `median`.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    percentile : float
        0 (the smallest) to 100 (the largest); -10 stands for 90.
    size, output, footprint, physical
        See `median`.

    Returns
    -------
    source-like
        `output`, or an array of the input's shape and type.

    Raises
    ------
    ParameterError
        If the percentile is beyond 100, or for a size or footprint as for `median`.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> background = bp.filters.percentile(raw, 10, 25)  # doctest: +SKIP
    """
    if not -100 <= number("percentile", percentile, example=50) <= 100:
        raise ParameterError(f"percentile={percentile!r} is not between -100 and 100", remedy="percentile=50")

    def rank_of(n: int) -> int:
        share = percentile + 100 if percentile < 0 else percentile
        return n - 1 if share == 100 else int(float(n) * share / 100)

    return _ranked(input, size, output, footprint, rank_of, "percentile", physical=physical, run=run)


@operation(axes="space", declaration=RANK)
def rank(
    input: Any,
    rank: int,
    size: Size = None,
    output: Any = None,
    *,
    footprint: Any = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """The value of one rank among those around every voxel: 0 gives an erosion, -1 a dilation of grey values.

    Exact, with the border and NaN of `median`; as scipy's ``rank_filter``.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    rank : int
        0 for the smallest value, 1 for the next, ..., -1 for the largest.
    size, output, footprint, physical
        See `median`.

    Returns
    -------
    source-like
        `output`, or an array of the input's shape and type.

    Raises
    ------
    ParameterError
        If the neighbourhood has no such rank, or for a size or footprint as for `median`.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> eroded = bp.filters.rank(raw, 0, 5)  # doctest: +SKIP
    """

    def rank_of(n: int) -> int:
        try:
            return range(n)[operator.index(rank)]
        except (TypeError, IndexError):
            raise ParameterError(
                f"rank={rank!r}, but {n} voxels have the ranks 0 to {n - 1} and -{n} to -1", remedy="rank=0"
            ) from None

    return _ranked(input, size, output, footprint, rank_of, "rank", physical=physical, run=run)


@operation(axes="space", declaration=TOPHAT)
def white_tophat(
    input: Any,
    size: Size = None,
    output: Any = None,
    *,
    footprint: Any = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """What is brighter than its surroundings and narrower than the footprint: the input minus its opening.

    Removes an uneven background under spots and lines. Exact, with the border and NaN of `median`; the values are those
    of scipy's ``white_tophat``, but they are never negative, and those of signed integers don't wrap.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    size, output, footprint, physical
        See `median`; the size is larger than the structures to keep.

    Returns
    -------
    source-like
        `output`, or an array of the input's shape and type (unsigned for signed integers, float32 for float16).

    Raises
    ------
    ParameterError
        For a size or footprint as for `median`.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> spots = bp.filters.white_tophat(raw, 15)  # doctest: +SKIP
    """
    return _tophat(input, size, output, footprint, "white_tophat", physical=physical, run=run)


@operation(axes="space", declaration=TOPHAT)
def black_tophat(
    input: Any,
    size: Size = None,
    output: Any = None,
    *,
    footprint: Any = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """What is darker than its surroundings and narrower than the footprint: the closing of the input minus the input.

    The counterpart of `white_tophat`, with the same parameters and promises.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data with any number of axes.
    size, output, footprint, physical
        See `median`; the size is larger than the structures to keep.

    Returns
    -------
    source-like
        `output`, or an array of the input's shape and type (unsigned for signed integers, float32 for float16).

    Raises
    ------
    ParameterError
        For a size or footprint as for `median`.
    DtypeError
        For complex and other non-numeric data.

    Examples
    --------
    >>> gaps = bp.filters.black_tophat(raw, 15)  # doctest: +SKIP
    """
    return _tophat(input, size, output, footprint, "black_tophat", physical=physical, run=run)


def _ranked(
    input: Any, size: Any, output: Any, footprint: Any, rank_of: Any, name: str, *, physical: bool, run: RunKeywords
) -> Any:
    along, found, dtype = _around(input, size, footprint, name, physical=physical, run=run)
    kernel = Rank(found, rank_of(len(found)))
    # comparators take microseconds, and between two of them a thread needs Python's lock
    return along.run(kernel, found.halo, output, name=name, dtype=dtype, declaration=RANK, holds_gil=True)


def _tophat(input: Any, size: Any, output: Any, footprint: Any, name: str, *, physical: bool, run: RunKeywords) -> Any:
    along, found, dtype = _around(input, size, footprint, name, physical=physical, run=run)
    kernel, dtype = TopHat(found, white=name == "white_tophat"), tophat_dtype(dtype)
    return along.run(kernel, kernel.halo, output, name=name, dtype=dtype, declaration=TOPHAT, holds_gil=True)


def _around(
    input: Any, size: Any, footprint: Any, name: str, *, physical: bool, run: RunKeywords
) -> tuple[Along, Footprint, np.dtype[Any]]:
    """Axes, neighbourhood and data type of a call."""
    source, job = as_source(input), Job.of(run)
    if source.dtype.kind not in "buif" or source.dtype.itemsize > 8:
        raise DtypeError(
            f"{name} cannot use dtype {source.dtype}",
            remedy="pass boolean, integer or real floating point data, for example array.real",
        )
    along = Along.of(source, job, size, "size")
    sizes = None if size is None else along.lengths(size, "size", physical=physical)
    return along, normalize_footprint(sizes, footprint, len(along.axes), physical=physical), source.dtype
