"""Minimum, maximum, mean, standard deviation and unique values of volumes of any size.

Integers are exact whatever their size and number; the result does not depend on the blocks. Of floats, mean and
standard deviation depend on the blocks by rounding in float64 only. NaN is not left out: as in numpy, a single one
makes minimum, maximum, mean and standard deviation NaN (`unique` lists it once). Use a mask to leave voxels out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.reducing import run_reduce
from ..errors import ParameterError
from ..sources import as_source
from .block_statistics import (
    BlockMoments,
    BlockSummary,
    Extrema,
    IntegerMoments,
    Moments,
    UniqueValues,
    check_dtype,
    merge_extrema,
    merge_moments,
    merge_summaries,
    merge_unique,
)

_POSITIONAL = ("num_workers", "block_shape", "job_type", "job_config", "mask", "block_ids", "resume_from")

EXTREMA = Declaration("exact", "numpy.min, numpy.max", memory=2.0)
MOMENTS = Declaration("tolerance", "numpy.dot, cv2.sumElems; exact for integers", memory=2.0)
UNIQUE = Declaration("exact", "numpy.bincount, numpy.unique", memory=2.0)

Number = int | float


@dataclass(frozen=True)
class Summary:
    """What `summary` finds.

    Parameters
    ----------
    count : int
        Number of voxels (inside the mask).
    minimum, maximum : int or float
        Exact ints for boolean and integer input, else floats.
    total : int or float
        Sum of all values: an exact int for boolean and integer input, else ``count * mean``.
    mean : float
    std : float
        Standard deviation with divisor n.
    """

    count: int
    minimum: Number
    maximum: Number
    total: Number
    mean: float
    std: float


def _reduce(name: str, kernel: Any, merge: Any, input: Any, run: RunKeywords, memory_factor: float) -> Any:
    job = Job.of(run)
    source = as_source(input)
    check_dtype(source.dtype, name)
    result = run_reduce(kernel, merge, [source], job, name=name, memory_factor=memory_factor)
    if result is None:
        raise ParameterError(
            f"stats.{name}: there is no voxel; the input of shape {source.shape} is empty, or nothing is in the mask",
            remedy="check the mask with bioimage_py.stats.max(mask)",
        )
    return result


def _extrema(name: str, input: Any, run: RunKeywords, *, smallest: bool, largest: bool) -> tuple[Any, Any]:
    found: tuple[Any, Any] = _reduce(name, Extrema(smallest, largest), merge_extrema, input, run, EXTREMA.memory)
    return found


def _moments(name: str, input: Any, run: RunKeywords, *, spread: bool) -> Moments:
    moments: Moments = _reduce(name, BlockMoments(spread), merge_moments, input, run, MOMENTS.memory)
    return moments


@operation(positional=_POSITIONAL, omit=("casting",), declaration=EXTREMA)
def min(input: Any, **run: Unpack[RunKeywords]) -> Number:
    """Smallest value.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.

    Returns
    -------
    int or float
        An exact int for boolean and integer input, else a float; NaN if any value is NaN.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    found: Number = _extrema("min", input, run, smallest=True, largest=False)[0]
    return found


@operation(positional=_POSITIONAL, omit=("casting",), declaration=EXTREMA)
def max(input: Any, **run: Unpack[RunKeywords]) -> Number:
    """Largest value.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.

    Returns
    -------
    int or float
        An exact int for boolean and integer input, else a float; NaN if any value is NaN.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    found: Number = _extrema("max", input, run, smallest=False, largest=True)[1]
    return found


@operation(positional=_POSITIONAL, omit=("casting",), declaration=EXTREMA)
def min_and_max(input: Any, **run: Unpack[RunKeywords]) -> tuple[Number, Number]:
    """Smallest and largest value in one pass.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.

    Returns
    -------
    tuple of int or float
        (smallest, largest): exact ints for boolean and integer input, else floats; NaN if any value is NaN.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    return _extrema("min_and_max", input, run, smallest=True, largest=True)


@operation(positional=_POSITIONAL, omit=("casting",), declaration=MOMENTS)
def mean(input: Any, **run: Unpack[RunKeywords]) -> float:
    """Mean.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.

    Returns
    -------
    float
        Correctly rounded for boolean and integer input; NaN if any value is NaN.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    return _moments("mean", input, run, spread=False).mean()


@operation(positional=_POSITIONAL, omit=("casting",), declaration=MOMENTS)
def std(input: Any, **run: Unpack[RunKeywords]) -> float:
    """Standard deviation with divisor n, as ``numpy.std``.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.

    Returns
    -------
    float
        From an exact variance for boolean and integer input; NaN if any value is NaN.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    return _moments("std", input, run, spread=True).std()


@operation(positional=_POSITIONAL, omit=("casting",), declaration=MOMENTS)
def mean_and_std(input: Any, **run: Unpack[RunKeywords]) -> tuple[float, float]:
    """Mean, and standard deviation with divisor n, in one pass.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.

    Returns
    -------
    tuple of float
        (mean, standard deviation); NaN if any value is NaN.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    moments = _moments("mean_and_std", input, run, spread=True)
    return moments.mean(), moments.std()


@operation(positional=_POSITIONAL, omit=("casting",), declaration=MOMENTS)
def summary(input: Any, **run: Unpack[RunKeywords]) -> Summary:
    """Count, minimum, maximum, sum, mean and standard deviation in one pass.

    Each has the value that the function of its name gives; of floats NaN if any value is NaN.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.

    Returns
    -------
    Summary
        With the fields ``count``, ``minimum``, ``maximum``, ``total``, ``mean`` and ``std``.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    (low, high), moments = _reduce("summary", BlockSummary(), merge_summaries, input, run, MOMENTS.memory)
    total = moments.total if isinstance(moments, IntegerMoments) else moments.count * moments.mean()
    return Summary(moments.count, low, high, total, moments.mean(), moments.std())


@operation(positional=_POSITIONAL, omit=("casting",), declaration=UNIQUE)
def unique(
    input: Any, return_counts: bool = False, **run: Unpack[RunKeywords]
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Different values, sorted.

    Parameters
    ----------
    input : source-like
        Boolean, integer or real floating point data.
    return_counts : bool, default False
        Also return how often each value occurs.

    Returns
    -------
    values : numpy.ndarray
        In the dtype of the input; NaN once, at the end.
    counts : numpy.ndarray
        int64, only with `return_counts`.

    Raises
    ------
    ParameterError
        If nothing is inside the mask.
    DtypeError
        For other data.
    """
    values, counts = _reduce("unique", UniqueValues(), merge_unique, input, run, UNIQUE.memory)
    return (values, counts) if return_counts else values
