"""What a caller says of values: how voxels become what a model takes, and predictions what is stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import named_fields, number
from ..errors import DtypeError, ParameterError
from .scaling import Scaling
from .tile_blocks import Rounding


@named_fields
@dataclass(frozen=True)
class Percentiles:
    """Scale so that two percentiles of the volume become 0 and 1: ``normalize=Percentiles(1, 99.8)``.

    Parameters
    ----------
    low, high : float
        0 to 100, the low one below the high one.
    """

    low: float = 1.0
    high: float = 99.8

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high)):
            number(name, value, least=0, example=1.0)
        if not self.low < self.high <= 100:
            raise ParameterError(f"{self!r} is no range of percentiles", remedy="Percentiles(1, 99.8)")


def asked_scaling(normalize: Any, n_channels: int) -> Scaling:
    """The scaling that ``normalize=`` asks for; ParameterError for what is none."""
    if normalize is None:
        return Scaling()
    if isinstance(normalize, Percentiles):
        return Scaling("percentiles", (normalize.low, normalize.high))
    if normalize == "standard" if isinstance(normalize, str) else False:
        return Scaling("standard")
    try:
        pairs = np.array(normalize, np.float64)
    except (TypeError, ValueError):
        pairs = np.zeros(0)
    pairs = pairs[np.newaxis] if pairs.shape == (2,) else pairs
    if pairs.shape not in ((1, 2), (n_channels, 2)) or not np.isfinite(pairs).all() or not pairs[:, 1].all():
        raise ParameterError(
            f"normalize={normalize!r} is neither (shift, width) with a width that is not 0, nor one such pair for each"
            f' of {n_channels} channels, nor "standard", nor Percentiles(...)',
            remedy='normalize=(128.0, 50.0), or normalize="standard"',
        )
    return Scaling("given", tuple((float(shift), float(width)) for shift, width in pairs))


def output_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of an output; DtypeError where predictions cannot be stored in it."""
    if dtype.kind not in "uif":
        raise DtypeError(f"a prediction cannot be stored as {dtype}", remedy='dtype="float32", "float16" or "uint8"')
    return dtype


def asked_rounding(dtype: np.dtype[Any], scale: float | None) -> Rounding:
    """The rounding to an output of a type, with ``scale=``; ParameterError where that is no number."""
    if scale is None:
        scale = float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
    elif not math.isfinite(number("scale", scale, example=255.0)):
        raise ParameterError(f"scale={scale!r} is not finite", remedy="scale=255.0")
    return Rounding(dtype, float(scale))
