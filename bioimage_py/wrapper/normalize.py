"""Sources with their values scaled by what holds for the whole volume, never by what a block happens to contain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arguments import data_type
from ..errors import DtypeError, ParameterError
from ..sources.base import Source
from ..sources.indexing import Roi
from .base import WrapperSource, register_wrapper
from .first_pass import mean_and_std, percentiles, value_range
from .roi import RoiSource

Pair = tuple[float, float]


class ScaledSource(WrapperSource):
    """``(voxel - shift) / width``, with one pair of numbers for the volume or for each channel.

    The pairs are given, or found by a pass over the whole source when a voxel or the spec is first asked for; they are
    part of the spec, so that workers neither repeat the pass nor come to other values.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    dtype : dtype_like
        Data type of the view, a floating point one.
    with_channels : bool
        The first axis is one of channels, each with its own pair.
    pairs : (float, float), or one for each channel, optional
        The numbers; None to find them.
    """

    def __init__(self, source: Any, dtype: Any, with_channels: bool, pairs: Any) -> None:
        super().__init__(source)
        self._dtype: np.dtype = data_type(dtype)
        if self._dtype.kind != "f":
            raise DtypeError(f"Scaled values are fractions, which {self._dtype} cannot hold.", remedy="dtype='float32'")
        if self._source.dtype.kind not in "biuf":
            raise DtypeError(f"Voxels of dtype {self._source.dtype} cannot be scaled.", remedy="use real numbers")
        self._with_channels = bool(with_channels)
        n = self._source.shape[0] if with_channels else 1
        self._pairs = None if pairs is None else _pairs(pairs, n, self._with_channels)
        self._lock = threading.Lock()

    @property
    def dtype(self) -> np.dtype:
        """Data type of the view."""
        return self._dtype

    def _find(self, source: Source) -> Pair:
        """Find the pair of a source, or of one of its channels."""
        raise ParameterError(f"A {type(self).__name__} needs its numbers.", remedy="give them")

    def _found(self) -> tuple[Pair, ...]:
        with self._lock:
            if self._pairs is None:
                n = self._source.shape[0] if self._with_channels else 1
                parts = [RoiSource(self._source, i) for i in range(n)] if self._with_channels else [self._source]
                self._pairs = tuple(self._find(part) for part in parts)
            return self._pairs

    def _scaled(self, roi: Roi, rule: Callable[[np.ndarray, float, float], np.ndarray]) -> np.ndarray:
        """Apply a rule to a box in float64, channel by channel where each has its pair."""
        block = np.asarray(self._source._viewitem(roi)).astype(np.float64)
        pairs = self._found()
        if not self._with_channels:
            return rule(block, *pairs[0]).astype(self._dtype)
        result = np.empty(block.shape, self._dtype)
        for position, pair in enumerate(pairs[roi[0].start : roi[0].stop]):
            result[position] = rule(block[position], *pair)
        return result

    def _numbers(self) -> Any:
        pairs = [list(pair) for pair in self._found()]
        return pairs if self._with_channels else pairs[0]


@register_wrapper
class NormalizeSource(ScaledSource):
    """Voxels scaled so that a range becomes 0 to 1; what lies outside of the range becomes 0 or 1.

    A volume with one value only becomes 0. NaN stays NaN; NaN and infinities don't count for the range.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    dtype : dtype_like, default "float32"
        Data type of the view, a floating point one.
    with_channels : bool, default False
        The first axis is one of channels, each with its own range.
    range : (float, float), or one for each channel, optional
        The range. None: the smallest and the largest voxel of the whole source, or the `percentiles`, found by a pass
        over the data at the first use.
    percentiles : (float, float), optional
        Low and high percentile (0 to 100) of the whole source that become 0 and 1; exact.

    Raises
    ------
    ParameterError
        If the range has another form or is empty, or range and percentiles are both given.
    DtypeError
        If a data type does not fit.
    """

    def __init__(
        self,
        source: Any,
        dtype: Any = "float32",
        with_channels: bool = False,
        *,
        range: Any = None,
        percentiles: Sequence[float] | None = None,
    ) -> None:
        super().__init__(source, dtype, with_channels, range)
        if range is not None and percentiles is not None:
            raise ParameterError("range and percentiles are both given.", remedy="give one of them")
        if percentiles is not None and not (len(percentiles) == 2 and 0 <= percentiles[0] < percentiles[1] <= 100):
            raise ParameterError(f"percentiles={percentiles!r} is no range.", remedy="percentiles=(1, 99)")
        if any(low > high for low, high in self._pairs or ()):
            raise ParameterError(f"range={range!r} has a low end above the high one.", remedy="range=(low, high)")
        self._percentiles = percentiles

    @property
    def range(self) -> tuple[Pair, ...]:
        """Low and high end, one pair or one for each channel; found at the first use."""
        return self._found()

    def _find(self, source: Source) -> Pair:
        low, high = value_range(source) if self._percentiles is None else percentiles(source, self._percentiles)
        return float(low), float(high)

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self._scaled(roi, _to_unit_range)

    def _params(self) -> dict[str, Any]:
        return {"dtype": self._dtype.str, "with_channels": self._with_channels, "range": self._numbers()}


@register_wrapper
class StandardizeSource(ScaledSource):
    """Voxels minus the mean, divided by the standard deviation; 0 for a volume with one value only.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    dtype : dtype_like, default "float32"
        Data type of the view, a floating point one.
    with_channels : bool, default False
        The first axis is one of channels, each with its own numbers.
    mean_and_std : (float, float), or one for each channel, optional
        Mean and standard deviation. None: those of the whole source, found by a pass over the data at the first use.

    Raises
    ------
    ParameterError
        If the numbers have another form, or the deviation is negative.
    DtypeError
        If a data type does not fit.
    """

    def __init__(
        self, source: Any, dtype: Any = "float32", with_channels: bool = False, *, mean_and_std: Any = None
    ) -> None:
        super().__init__(source, dtype, with_channels, mean_and_std)
        if any(std < 0 for _, std in self._pairs or ()):
            raise ParameterError(f"mean_and_std={mean_and_std!r} has a negative deviation.", remedy="use 0 or more")

    @property
    def mean_and_std(self) -> tuple[Pair, ...]:
        """Mean and standard deviation, one pair or one for each channel; found at the first use."""
        return self._found()

    def _find(self, source: Source) -> Pair:
        return mean_and_std(source)

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self._scaled(roi, _to_unit_deviation)

    def _params(self) -> dict[str, Any]:
        return {"dtype": self._dtype.str, "with_channels": self._with_channels, "mean_and_std": self._numbers()}


def _to_unit_range(block: np.ndarray, low: float, high: float) -> np.ndarray:
    block -= low
    if high > low:
        block /= high - low
    result: np.ndarray = np.clip(block, 0.0, 1.0 if high > low else 0.0)
    return result


def _to_unit_deviation(block: np.ndarray, mean: float, std: float) -> np.ndarray:
    block -= mean
    return block / std if std > 0 else block * 0.0


def _pairs(given: Any, n: int, with_channels: bool) -> tuple[Pair, ...]:
    """Return ``n`` pairs; one that is given serves all channels."""
    try:
        array = np.array(given, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape == (2,):
        array = np.broadcast_to(array, (n, 2))
    if array.shape != (n, 2) or not np.isfinite(array).all():
        wanted = f"(0, 1), or {n} pairs" if with_channels else "(0, 1)"
        raise ParameterError(f"{given!r} is no pair of finite numbers for each channel.", remedy=f"use {wanted}")
    return tuple((float(a), float(b)) for a, b in array)
