"""Coarser levels of images that are written with a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ParameterError
from ...sources.axes import Axis
from ...sources.base import Source
from ...sources.registry import as_source
from ...wrapper.downsample import DownsampleSource
from ..details import Image

SMALLEST = 256
"""An image of this size in y and x has no coarser level by itself."""


def number_of_levels(pyramid: Any, shape: Sequence[int], axes: Sequence[Axis]) -> int:
    """Return how many coarser levels there are to be, for ``pyramid=`` True, False, None or their number."""
    if pyramid is None or pyramid is False:
        return 0
    sizes = [size for size, axis in zip(shape, axes, strict=True) if axis.kind == "space"][-2:]
    if pyramid is True:
        return max(0, (max(sizes, default=1) - 1) // SMALLEST).bit_length()
    if isinstance(pyramid, bool) or not isinstance(pyramid, int | np.integer) or not 0 <= pyramid <= 32:
        raise ParameterError(f"pyramid={pyramid!r} is no number of levels.", remedy="pyramid=True")
    return int(pyramid)


def factors_of(axes: Sequence[Axis], names: str) -> tuple[int, ...]:
    """Return 2 for axes of these names, 1 for others."""
    return tuple(2 if axis.name in names else 1 for axis in axes)


def halved(source: Any, factors: tuple[int, ...], image: Image) -> Source:
    """Return a level at half the resolution along some axes, as `downsample` makes it."""
    return DownsampleSource(as_source(source), factors, image.reduced_by)
