"""What a file says of an image beside its voxels, and what is handed to a format to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..sources.axes import Axis


@dataclass(frozen=True)
class Details:
    """What a file says of one image; everything is optional, since most files say little.

    Parameters
    ----------
    raw : mapping
        The format's own names and values, of this image.
    file : mapping
        The same, of the file as a whole.
    applied : mapping
        What reading has done to the voxels, by the names of `raw` ("orientation": 6): not to be done again.
    standard : mapping
        The part that all formats share: any of image, acquired, instrument, objective, channels, pixel_sizes, stage.
    channel_names : tuple of str, optional
        One for each channel.
    channel_colors : tuple of str, optional
        As "#rrggbb", one for each channel.
    time_step : float, optional
        Seconds from one time point to the next.
    positions : tuple of tuple of float, optional
        Where the stage stood, in the units of the spatial axes.
    affine : tuple of tuple of float, optional
        Rows of the matrix from indices, in the order of the axes, to the world.
    compression : str, optional
        Name of the codec.
    bits : int, optional
        Significant bits of a voxel, where fewer than the data type has.
    is_label : bool, optional
        Whether the voxels are ids.
    is_rgb : bool, default False
        Whether the last axis is colour.
    """

    raw: Mapping[str, Any] = field(default_factory=dict)
    file: Mapping[str, Any] = field(default_factory=dict)
    applied: Mapping[str, Any] = field(default_factory=dict)
    standard: Mapping[str, Any] = field(default_factory=dict)
    channel_names: tuple[str, ...] | None = None
    channel_colors: tuple[str, ...] | None = None
    time_step: float | None = None
    positions: tuple[tuple[float, ...], ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    compression: str | None = None
    bits: int | None = None
    is_label: bool | None = None
    is_rgb: bool = False


@dataclass(frozen=True)
class Image:
    """One image that is to be written to a file.

    Parameters
    ----------
    array : array_like
        Voxels: a numpy array, or what gives one for slices (a source), for formats that take them block by block.
    axes : tuple of Axis
        One for each axis of `array`: names, units, scale.
    name : str
        Name, where the format has a place for one.
    details : Details
        Channel names and further metadata.
    """

    array: Any
    axes: tuple[Axis, ...]
    name: str = ""
    details: Details = Details()
