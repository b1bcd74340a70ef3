"""What a format is asked for when an array is created in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..sources.axes import Axis
from ..sources.stores.location import Location


@dataclass(frozen=True)
class NewArray:
    """An array that is to be created; all of it has been checked, but for what its format cannot do.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    chunks : tuple of int
    shards : tuple of int, optional
        None too where the format has no shards.
    axes : tuple of Axis
        Empty where nothing is known of them.
    compressor : object
        A name, a codec object of the format's library, or None for the usual one.
    fill_value : object
        Of voxels that are never written; None says that it does not matter.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    axes: tuple[Axis, ...] = ()
    compressor: Any = None
    fill_value: Any = 0


Creator = Callable[[Location, str, NewArray], None]
