"""The grey values between which an image is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .levels import Level

_MOST = 2_000_000
"""Voxels that are looked at."""
_PARTS = 3


def contrast(levels: Sequence[Level], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Two percentiles of an image, of its coarsest level; of a few boxes of it where that is large.

    NaN and infinity don't count; the ends of a constant image are one apart.
    """
    source = levels[-1].source
    if not source.size:
        return 0.0, 1.0
    found = [source.read(box).reshape(-1) for box in _boxes(source.shape)]
    values = np.concatenate(found).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, percentiles))
    return (low, high) if low < high else (low, low + 1.0)


def _boxes(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """All of a small array; else boxes on its diagonals, from a sixth to five sixths of each axis."""
    if math.prod(shape) <= _MOST:
        return [tuple(slice(0, size) for size in shape)]
    edge = max(1, int((_MOST / _PARTS**2) ** (1 / max(1, sum(size > 1 for size in shape)))))
    boxes = []
    for first in range(_PARTS):
        for rest in range(_PARTS):
            parts = (first, *(rest,) * (len(shape) - 1))
            box = []
            for size, part in zip(shape, parts, strict=True):
                length = min(edge, size)
                begin = min(size - length, max(0, size * (2 * part + 1) // (2 * _PARTS) - length // 2))
                box.append(slice(begin, begin + length))
            boxes.append(tuple(box))
    return boxes
