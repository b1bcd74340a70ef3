"""What is told of an open file and of the images in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...sources.axes import Axis


@dataclass(frozen=True)
class Request:
    """What a handle was opened with: the file and the mode."""

    uri: Any
    mode: str


@dataclass(frozen=True)
class ImageInfo:
    """One image of a file, without its voxels.

    Parameters
    ----------
    name : str
        Name or key, "" where it has none.
    shape : tuple of int
    dtype : numpy.dtype
    axes : tuple of Axis
    levels : tuple of tuple of int
        Shape of each resolution level.
    channels : tuple of str
        Names of the channels.
    n_planes : int
        Number of planes of y and x.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[Axis, ...]
    levels: tuple[tuple[int, ...], ...]
    channels: tuple[str, ...]
    n_planes: int
