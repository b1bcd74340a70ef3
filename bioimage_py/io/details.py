"""Values that go between formats and the rest: what a file says of an image beside its voxels, an image that is to be
written, an array that is to be created.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from ..sources.axes import Axis
from ..sources.chunked.conventions import OWN_ATTRIBUTE
from ..sources.stores.location import Location


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


class Described(Protocol):
    """A container (`Opened.container`) that knows, from being opened, what else would take another look at the file."""

    count: int
    """Number of images in the file."""
    level_shapes: tuple[tuple[int, ...], ...]
    """Shapes of the levels of its image, the finest first."""

    def details(self) -> Details:
        """What the file says of its image."""


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

    @property
    def reduced_by(self) -> Literal["mean", "mode"]:
        """How coarser levels are made: ids are never averaged, and where nothing is said, 32 and 64 bits are ids."""
        dtype = np.dtype(self.array.dtype)
        guess = dtype.kind in "iu" and dtype.itemsize >= 4
        return "mode" if (guess if self.details.is_label is None else self.details.is_label) else "mean"


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
    channel_names : tuple of str
        One for each channel, where they are known.
    metadata : mapping
        What else is to be said of it, as JSON can hold it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    axes: tuple[Axis, ...] = ()
    compressor: Any = None
    fill_value: Any = 0
    channel_names: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own_attributes(self) -> dict[str, Any]:
        """What no convention has a place for, under the name by which it is read again."""
        own: dict[str, Any] = {"axes": [asdict(axis) for axis in self.axes]} if self.axes else {}
        own |= {"channel_names": list(self.channel_names)} if self.channel_names else {}
        own |= {"metadata": dict(self.metadata)} if self.metadata else {}
        return {OWN_ATTRIBUTE: own} if own else {}


def own_channel_names(attributes: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the channels that `NewArray.own_attributes` holds; None for what makes no sense."""
    own = attributes.get(OWN_ATTRIBUTE)
    names = own.get("channel_names") if isinstance(own, Mapping) else None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def own_metadata(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that `NewArray.own_attributes` holds; nothing for what makes no sense."""
    own = attributes.get(OWN_ATTRIBUTE)
    said = own.get("metadata") if isinstance(own, Mapping) else None
    return dict(said) if isinstance(said, Mapping) else {}


Creator = Callable[[Location, str, NewArray], None]
