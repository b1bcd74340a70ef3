"""A source seen at lower resolution.

Voxel ``i`` of the view stands for the voxels ``i * factor`` to ``(i + 1) * factor - 1`` of the source. The mean and the
mode of such a block sit at its centre, half a block minus half a voxel from its first voxel: the offset of the view is
``offset + (factor - 1) / 2 * scale``. Striding keeps the first voxel, and the offset. The scale is always ``scale *
factor``, whether or not the factor divides the size; the last block of an axis has the voxels that exist.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DtypeError, ParameterError
from ..sources.base import Axis
from ..sources.index import Roi
from .base import WrapperSource

METHODS = ("mean", "mode", "stride")

# the window of the smoothing before striding ends here, in standard deviations
_TRUNCATE = 3.0

# voxels whose mode is sorted out at once
_MODE_VOXELS = 1 << 20

# blocks up to this size are compared voxel by voxel, ten times faster than sorting each of them
_PAIRWISE = 27


def normalize_factors(scale_factor: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """One whole factor of at least 1 per axis.

    Parameters
    ----------
    scale_factor : int or sequence of int
        One factor for all axes, or one per axis in array order.
    ndim : int
        Number of axes.

    Raises
    ------
    ParameterError
        For a wrong number of factors, fractions, and factors below 1.
    """
    given: list[Any] = [scale_factor] * ndim if np.ndim(scale_factor) == 0 else list(scale_factor)  # type: ignore[arg-type]
    if len(given) != ndim:
        raise ParameterError(
            f"scale_factor {scale_factor!r} has {len(given)} entries, the source has {ndim} axes.",
            remedy=f"scale_factor=2, or {ndim} numbers in the order of the axes",
        )
    try:
        factors = tuple(operator.index(factor) for factor in given)
    except TypeError:
        raise ParameterError(
            f"scale_factor {scale_factor!r} is not made of whole numbers.", remedy=f"scale_factor={(2,) * ndim}"
        ) from None
    if min(factors, default=1) < 1:
        raise ParameterError(
            f"scale_factor {scale_factor!r} has an entry below 1.", remedy="use 1 for an axis that is to stay as it is"
        )
    return factors


class DownsampleSource(WrapperSource):
    """A read-only view of a source at lower resolution; its shape is ``ceil(shape / factor)``.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    factors : int or sequence of int
        How many voxels become one, per axis.
    method : {"mean", "mode", "stride"}, default "mean"
        "mean": of each block, computed exactly for integers and rounded to the nearest (half towards +infinity);
        in float64 for floats. "mode": the most frequent value of each block, the smallest of those that tie (labels of
        any integer type, exact). "stride": the first voxel of each block.
    anti_aliasing : bool, default False
        With "stride": smooth with a Gaussian of sigma ``(factor - 1) / 2`` first (mirror border).

    Raises
    ------
    ParameterError
        For an unknown method, factors that make no sense, or `anti_aliasing` with another method than "stride".
    DtypeError
        If the method cannot use the data type.
    """

    def __init__(
        self, source: Any, factors: int | Sequence[int], method: str = "mean", anti_aliasing: bool = False
    ) -> None:
        super().__init__(source)
        if method not in METHODS:
            raise ParameterError(f"The method is {method!r}.", remedy=f"use one of {METHODS}")
        if anti_aliasing and method != "stride":
            raise ParameterError(
                f"anti_aliasing does nothing for the method {method!r}.", remedy="leave it out, or use method='stride'"
            )
        kinds = {"mean": "buif", "mode": "bui", "stride": "buif" if anti_aliasing else "buifcOSUVmM"}[method]
        if self._source.dtype.kind not in kinds:
            raise DtypeError(
                f"The {method} of blocks cannot be taken of dtype {self._source.dtype}.",
                remedy="use method='stride'" if method != "stride" else "use anti_aliasing=False",
            )
        self._factors = normalize_factors(factors, self._source.ndim)
        self._method = method
        self._anti_aliasing = bool(anti_aliasing)

    @property
    def factors(self) -> tuple[int, ...]:
        """How many voxels become one, per axis."""
        return self._factors

    @property
    def method(self) -> str:
        """How: "mean", "mode" or "stride"."""
        return self._method

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis, rounded up."""
        return tuple(-(-size // factor) for size, factor in zip(self._source.shape, self._factors, strict=True))

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Voxels of the view that one chunk of the source holds, where that is a whole number."""
        chunks = self._source.chunks
        if chunks is None:
            return None
        return tuple(max(1, -(-chunk // factor)) for chunk, factor in zip(chunks, self._factors, strict=True))

    @property
    def shards(self) -> tuple[int, ...] | None:
        """None: the view cannot be written."""
        return None

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """None: the view cannot be written."""
        return None

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Zero: the view cannot be written."""
        return (0,) * self.ndim

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the source with the scale of the view, and the offset of its first voxel."""
        centred = self._method != "stride"
        return tuple(
            replace(
                axis,
                scale=axis.scale * factor,
                offset=axis.offset + ((factor - 1) / 2 * axis.scale if centred else 0.0),
            )
            for axis, factor in zip(self._source.axes, self._factors, strict=True)
        )

    def _params(self) -> dict[str, Any]:
        return {"factors": list(self._factors), "method": self._method, "anti_aliasing": self._anti_aliasing}

    def _getitem(self, roi: Roi) -> np.ndarray:
        if 0 in (part.stop - part.start for part in roi):
            return np.empty([part.stop - part.start for part in roi], self.dtype)
        if self._method == "stride":
            return self._smooth_stride(roi) if self._anti_aliasing else self._stride(roi)
        bounds = zip(roi, self._factors, self._source.shape, strict=True)
        inner = tuple(slice(part.start * f, min(part.stop * f, size)) for part, f, size in bounds)
        block = self._source.view(inner)
        return (mean_blocks if self._method == "mean" else mode_blocks)(block, self._factors)

    def _stride(self, roi: Roi) -> np.ndarray:
        steps = tuple(
            slice(part.start * f, (part.stop - 1) * f + 1, f) for part, f in zip(roi, self._factors, strict=True)
        )
        return np.array(self._source.view(steps), order="C")

    def _smooth_stride(self, roi: Roi) -> np.ndarray:
        from scipy.ndimage import gaussian_filter1d

        sigmas = [(factor - 1) / 2 for factor in self._factors]
        outer, picked = [], []
        for part, factor, sigma, size in zip(roi, self._factors, sigmas, self._source.shape, strict=True):
            first, last, halo = part.start * factor, (part.stop - 1) * factor, math.ceil(_TRUNCATE * sigma)
            begin = max(0, first - halo)
            outer.append(slice(begin, min(size, last + halo + 1)))
            picked.append(slice(first - begin, last - begin + 1, factor))
        block = self._source.view(tuple(outer)).astype(np.float64)
        for axis, sigma in enumerate(sigmas):
            if sigma > 0:
                block = gaussian_filter1d(block, sigma, axis, mode="mirror", radius=math.ceil(_TRUNCATE * sigma))
                # later axes need not smooth what striding leaves out
                block = block[(slice(None),) * axis + (picked[axis],)]
        if self.dtype.kind in "bui":
            block = np.floor(block + 0.5)
        return block.astype(self.dtype)


Region = tuple[Roi, Roi, tuple[int, ...]]


def _regions(shape: Sequence[int], factors: Sequence[int]) -> Iterator[Region]:
    """(region of the result, region of the array, factors there): apart from the whole blocks one for every edge."""
    per_axis = []
    for size, factor in zip(shape, factors, strict=True):
        whole, rest = divmod(size, factor)
        parts = [(slice(0, whole), slice(0, whole * factor), factor)] if whole else []
        if rest:
            parts.append((slice(whole, whole + 1), slice(whole * factor, size), rest))
        per_axis.append(parts)
    for combination in itertools.product(*per_axis):
        yield (
            tuple(part[0] for part in combination),
            tuple(part[1] for part in combination),
            tuple(part[2] for part in combination),
        )


def _blockwise(
    function: Callable[[np.ndarray, Sequence[int]], np.ndarray], array: np.ndarray, factors: Sequence[int]
) -> np.ndarray:
    """Apply a function of whole blocks to an array that may end within a block."""
    result = np.empty([-(-size // factor) for size, factor in zip(array.shape, factors, strict=True)], array.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        for target, region, sizes in _regions(array.shape, factors):
            result[target] = function(array[region], sizes)
    return result


def mean_blocks(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Mean of every block of `factors` voxels, in the dtype of `array`.

    Parameters
    ----------
    array : numpy.ndarray
        Booleans, integers (summed exactly, rounded to the nearest, half up) or floats (summed in float64).
    factors : sequence of int
        Voxels of a block per axis; blocks at the end may be smaller and are averaged over what they have.

    Returns
    -------
    numpy.ndarray
        Shape ``ceil(shape / factors)``.
    """
    if array.dtype.kind == "b":
        return mean_blocks(array.view(np.uint8), factors).view(bool)
    return _blockwise(_mean, array, factors)


def mode_blocks(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Most frequent value of every block of `factors` voxels, the smallest of those that tie.

    Parameters
    ----------
    array : numpy.ndarray
        Booleans or integers; 64-bit ids are exact.
    factors : sequence of int
        Voxels of a block per axis; blocks at the end may be smaller.

    Returns
    -------
    numpy.ndarray
        Shape ``ceil(shape / factors)``, dtype of `array`.
    """
    return _blockwise(_mode, array, factors)


def _reduce(ufunc: np.ufunc, array: np.ndarray, factors: Sequence[int], dtype: Any = None) -> np.ndarray:
    """Reduce whole blocks axis by axis; the first axes first, where rows are contiguous and vectorised."""
    result = array
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        parts = [result[(slice(None),) * axis + (slice(i, None, factor),)] for i in range(factor)]
        result = ufunc(parts[0], parts[1], dtype=dtype, casting="unsafe")
        for part in parts[2:]:
            ufunc(result, part, out=result, dtype=dtype, casting="unsafe")
    return result


def _mean(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    n = math.prod(factors)
    if n == 1:
        return array
    if array.dtype.kind == "f":
        return _reduce(np.add, array, factors, np.float64) / n
    info = np.iinfo(array.dtype)
    wide = _wide_type(int(info.min) * n, int(info.max) * n + n // 2)
    if wide is not None:
        return _rounded(_reduce(np.add, array, factors, wide), n)
    # 64 bit: the quotients sum without overflow, the remainders stay small
    quotient = array // array.dtype.type(n)
    remainder = array - quotient * array.dtype.type(n)
    rest = _rounded(_reduce(np.add, remainder, factors, np.int64), n)
    mean: np.ndarray = _reduce(np.add, quotient, factors) + rest.astype(array.dtype)
    return mean


def _wide_type(low: int, high: int) -> np.dtype[Any] | None:
    for name in ("u2", "u4", "u8") if low >= 0 else ("i2", "i4", "i8"):
        info = np.iinfo(name)
        if int(info.min) <= low and high <= int(info.max):
            return np.dtype(name)
    return None


def _rounded(total: np.ndarray, n: int) -> np.ndarray:
    """``floor(total / n + 1/2)``, exactly; for odd n there is no half."""
    kind = total.dtype.type
    total = total + kind(n // 2)
    mean: np.ndarray = total >> kind(n.bit_length() - 1) if n & (n - 1) == 0 else total // kind(n)
    return mean


def _mode(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    if math.prod(factors) == 1:
        return array
    low = _reduce(np.minimum, array, factors)
    # inside of objects all voxels of a block agree, which costs no sorting to see
    mixed = np.nonzero(low != _reduce(np.maximum, array, factors))
    step = max(1, _MODE_VOXELS // math.prod(factors))
    for begin in range(0, mixed[0].size, step):
        part = tuple(index[begin : begin + step] for index in mixed)
        starts = [index * factor for index, factor in zip(part, factors, strict=True)]
        offsets = itertools.product(*(range(factor) for factor in factors))
        members = [array[tuple(s + o for s, o in zip(starts, offset, strict=True))] for offset in offsets]
        low[part] = _pairwise_mode(members) if len(members) <= _PAIRWISE else _sorted_mode(np.stack(members, axis=1))
    return low


def _pairwise_mode(members: Sequence[np.ndarray]) -> np.ndarray:
    """Most frequent of the values at each position, the smallest of those that tie, by comparing all pairs."""
    counts = [np.ones(members[0].size, np.uint8) for _ in members]
    for i, j in itertools.combinations(range(len(members)), 2):
        equal = (members[i] == members[j]).view(np.uint8)
        counts[i] += equal
        counts[j] += equal
    best, most = members[0], counts[0]
    for member, count in zip(members[1:], counts[1:], strict=True):
        better = (count > most) | ((count == most) & (member < best))
        best = np.where(better, member, best)
        most = np.maximum(count, most)
    return best


def _sorted_mode(rows: np.ndarray) -> np.ndarray:
    """Most frequent value of each row, the smallest of those that tie."""
    rows = np.sort(rows, axis=1)
    new = np.ones(rows.shape, bool)
    new[:, 1:] = rows[:, 1:] != rows[:, :-1]
    runs = np.flatnonzero(new)
    lengths = np.diff(runs, append=rows.size)
    row = runs // rows.shape[1]
    first = np.searchsorted(row, np.arange(len(rows)))
    longest = np.flatnonzero(lengths == np.maximum.reduceat(lengths, first)[row])
    # runs are in the order of rows and values: the first longest run of a row has its smallest value
    winners = longest[np.searchsorted(row[longest], np.arange(len(rows)))]
    return rows.reshape(-1)[runs[winners]]
