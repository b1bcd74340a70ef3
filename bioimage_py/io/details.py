"""Values that go between formats and the rest: a row of the table of formats, what a file says of an image beside its
voxels, and an image that is to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..sources.axes import Axis
from ..sources.spec import load_qualified
from .new_array import Creator

Constructor = Callable[..., Any]


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


@dataclass(frozen=True)
class Format:
    """One file format: a row of the table, which is all that the rest of the package knows of it.

    Parameters
    ----------
    name : str
        Name.
    extensions : tuple of str
        With the dot, in lower case; "" stands for a folder without extension.
    constructor : callable or str
        ``constructor(path, mode=..., **kwargs)`` returns the container, or the array of a file that is one; a string
        is imported when needed ("module:function").
    writable : bool
        True if arrays in it can be written.
    opener : str
        "module:function" that opens one array of it (see `bioimage_py.io.datasets`); "" goes by the constructor.
    create : callable or str, optional
        ``create(place, key, array)`` makes an array (a `NewArray`) at a `Location`, replacing one that is there; a
        string is imported when needed. None where arrays cannot be created.
    keys : str
        "module:function" that lists the keys of all arrays of a file; "" where there is but one.
    container : bool
        True if it holds several arrays by their keys, so that "a.zarr/raw" is a key in it.
    stores : bool
        True if arrays lie chunk by chunk in a folder or a bucket: it takes ``storage_options=``.
    levels : bool
        True if it has resolution levels: it takes ``level=``.
    shards : bool
        True if chunks can be put together in shards.
    requires : str
        Module without which the constructor does not work.
    magic : tuple of (int, bytes)
        What such a file holds at which offset; one of them is enough.
    details : str
        "module:function" ``(path, key) -> Details``: what the file says of one image, without decoding voxels.
    write : str
        "module:function" ``(path, images, options) -> tuple of str``: writes a whole new file from a list of `Image`
        and a mapping of options, and returns what the format had no place for. The caller renames the file.
    options : tuple of str
        Names of the options that `write` knows.
    reads : tuple of str, optional
        Names of the options of reading; None where the library of the format takes what it will.
    first : str
        Key of the first image, where it is the same in all files.
    frames : bool
        True if an index counts the frames along the first axis of its one image (GIF, video).
    """

    name: str
    extensions: tuple[str, ...]
    constructor: Constructor | str
    writable: bool = False
    opener: str = ""
    create: Creator | str | None = None
    keys: str = ""
    container: bool = False
    stores: bool = False
    levels: bool = False
    shards: bool = False
    requires: str = ""
    magic: tuple[tuple[int, bytes], ...] = ()
    details: str = ""
    write: str = ""
    options: tuple[str, ...] = ()
    reads: tuple[str, ...] | None = ()
    first: str = ""
    frames: bool = False

    @property
    def creator(self) -> Creator | None:
        """The function that makes an array, imported."""
        if isinstance(self.create, str):
            loaded: Creator = load_qualified(self.create)
            return loaded
        return self.create
