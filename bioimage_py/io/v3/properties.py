"""What can be said of an image without its voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...sources.axes import Axis

Spacing = tuple[float | tuple[float, ...] | None, ...]


@dataclass(frozen=True)
class ImageProperties:
    """Properties of what `imread` returns for the same arguments; None is what the file does not say.

    Parameters
    ----------
    shape : tuple of int
        Shape.
    dtype : numpy.dtype
        Data type.
    n_images : int, optional
        Number of images along the first axis; None for one image.
    is_batch : bool
        Whether the first axis counts images.
    spacing : tuple, optional
        Distance between pixels along each axis, in `unit`.
    axes : tuple of str
        Name of each axis.
    unit : tuple of (str or None)
        Unit of each axis.
    origin : tuple of float, optional
        Position of the first pixel along each axis, in `unit`.
    affine : tuple of tuple of float, optional
        From indices to the world.
    channel_names, channel_colors : tuple of str, optional
        Of each channel; colours as "#rrggbb".
    time_step : float, optional
        Seconds between time points.
    positions : tuple, optional
        Of the stage.
    levels : tuple of tuple of int
        Shape of each resolution level, the finest first.
    chunks : tuple of int, optional
        What is read at once.
    compression : str, optional
        Name of the codec.
    bits : int, optional
        Significant bits, where fewer than the data type has.
    is_label : bool, optional
        Whether the pixels are ids.
    is_rgb : bool
        Whether the last axis is colour.
    format : str
        Name of the format.
    n_total : int
        Number of images in the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    n_images: int | None = None
    is_batch: bool = False
    spacing: Spacing | None = None
    axes: tuple[str, ...] = ()
    unit: tuple[str | None, ...] = ()
    origin: tuple[float, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    channel_names: tuple[str, ...] | None = None
    channel_colors: tuple[str, ...] | None = None
    time_step: float | None = None
    positions: tuple[tuple[float, ...], ...] | None = None
    levels: tuple[tuple[int, ...], ...] = ()
    chunks: tuple[int, ...] | None = None
    compression: str | None = None
    bits: int | None = None
    is_label: bool | None = None
    is_rgb: bool = False
    format: str = ""
    n_total: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return math.prod(self.shape) * self.dtype.itemsize


def time_step_of(axes: Sequence[Axis]) -> float | None:
    """Return the seconds between time points, None where the axes do not say them."""
    step = next((axis for axis in axes if axis.kind == "time" and axis.unit is not None), None)
    if step is None:
        return None
    from ..image_files.writing import factor

    by = factor(step.unit, "second")
    return None if by is None else float(step.scale) * by


def spacing_of(axes: Sequence[Axis]) -> Spacing | None:
    """Return the distance between pixels along axes, None where nothing is known of any."""
    known = tuple(float(axis.scale) if axis.unit is not None or axis.scale != 1 else None for axis in axes)
    return known if any(size is not None for size in known) else None


def usable_affine(told: Any, axes: Sequence[Axis]) -> npt.NDArray[np.float64] | None:
    """Return what is told of three axes of space and leads back, else None."""
    try:
        found = np.asarray(told, np.float64)
    except (TypeError, ValueError):
        return None
    columns = [i for i, axis in enumerate(axes) if axis.kind == "space"]
    fits = found.shape == (4, len(axes) + 1) and len(columns) == 3 and np.isfinite(found).all()
    return found if fits and np.linalg.matrix_rank(found[:3, columns]) == 3 else None
