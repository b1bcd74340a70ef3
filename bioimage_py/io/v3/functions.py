"""The six functions, in the manner of imageio v3."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BioimageError, ParameterError
from ...sources.axes import Axis
from ...sources.stores.location import locate
from ..formats import format_of
from ..recognize import fitting, recognized
from .handle import open_to_read
from .plugins import imageio_backend, is_foreign, plugin_names
from .properties import ImageProperties, usable_affine
from .resource import resource_of
from .writing import MODES, writer_of

_OF_READ = ("page", "series")
"""Keywords of formats that choose what is read, and not how the file is opened."""
_ANATOMICAL = ("dicom", "metaimage", "nifti", "nrrd")
"""Formats whose files tell how an image lies in a body."""


def imread(
    uri: Any,
    *,
    index: Any = None,
    plugin: Any = None,
    extension: str | None = None,
    format_hint: str | None = None,
    key: str | None = None,
    level: int | str = 0,
    roi: Any = None,
    axes: str | Sequence[str] | None = None,
    out: np.ndarray | None = None,
    dtype: Any = None,
    **kwargs: Any,
) -> np.ndarray:
    """Read an image.

    Parameters
    ----------
    uri : str, os.PathLike, bytes or file object
        File, folder, URL, member of a zip archive ("a.zip/b.tif"), or what such a file holds.
    index : int, ellipsis or None
        Which image: None is the first, whole; the ellipsis (or "all") is all of them, stacked on a new first axis;
        negative numbers count from the end. In GIF and video an index counts frames.
    plugin : str or type, optional
        Name of a format; "imageio:NAME" for a backend of imageio; or a class that opens the file.
    extension : str, optional
        Ending, with its dot, to go by instead of that of the name.
    format_hint : str, optional
        Deprecated: `extension`.
    key : str, optional
        Of the array, in a container.
    level : int or str, default 0
        Resolution level, 0 is the finest.
    roi : slices or mapping, optional
        Slices in the order of the axes, or by the names of axes; nothing else is decoded than what they touch.
    axes : str, optional
        Order of the axes, such as "zyx"; those that the image lacks have length 1. None: the order of the file.
    out : numpy.ndarray, optional
        Read into this array.
    dtype : dtype_like, optional
        Convert to this data type; what it cannot hold is an error.
    **kwargs
        Of the format, such as ``page`` and ``series`` (tif), ``pattern`` (folders), ``storage_options`` (zarr).

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    SourceNotFoundError, FormatError, MissingDependencyError
        If there is no such file, or nobody reads it.
    IndexingError, ParameterError, RegionError, ShapeError
        If index, key, level, roi or axes do not fit the file.
    MemoryBudgetError
        If the file claims an image that it cannot hold, or that memory cannot.

    Examples
    --------
    >>> import bioimage_py.io.v3 as iio
    >>> plane = iio.imread("stack.tif", roi={"z": slice(0, 1)}, axes="yx")  # doctest: +SKIP
    """
    extension = _extension(extension, format_hint)
    if is_foreign(plugin):
        module, name = imageio_backend(plugin)
        return np.asarray(module.imread(uri, index=index, plugin=name, extension=extension, **kwargs))
    chosen = {name: kwargs.pop(name) for name in _OF_READ if name in kwargs}
    with open_to_read(uri, plugin, extension, kwargs) as file:
        return file.read(index, key=key, level=level, roi=roi, axes=axes, out=out, dtype=dtype, **chosen)


def imiter(
    uri: Any,
    *,
    plugin: Any = None,
    extension: str | None = None,
    format_hint: str | None = None,
    index: Any = None,
    axis: str | None = None,
    **kwargs: Any,
) -> Iterator[np.ndarray]:
    """Yield the images of a file one by one, in its order; their shapes may differ.

    Parameters
    ----------
    uri, plugin, extension, format_hint
        As of `imread`.
    index : int, ellipsis or None
        Only this image.
    axis : str, optional
        Yield the slices of one image along this axis instead, such as "z".
    **kwargs
        As of `imread`: ``roi``, ``axes``, and keywords of the format.
    """
    extension = _extension(extension, format_hint)
    if is_foreign(plugin):
        module, name = imageio_backend(plugin)
        yield from module.imiter(uri, plugin=name, extension=extension, **kwargs)
        return
    names = ("roi", "axes") if axis is not None else ("roi", "axes", "level", "dtype")
    chosen = {name: kwargs.pop(name) for name in names if name in kwargs}
    with open_to_read(uri, plugin, extension, kwargs) as file:
        yield from file.iter(index, axis=axis, **chosen)


def improps(
    uri: Any,
    *,
    index: Any = None,
    plugin: Any = None,
    extension: str | None = None,
    key: str | None = None,
    level: int | str = 0,
    **kwargs: Any,
) -> ImageProperties:
    """Return the properties of what `imread` returns for the same arguments, without decoding a voxel.

    Parameters
    ----------
    uri, index, plugin, extension, key, level
        As of `imread`.
    **kwargs
        Of the format.
    """
    _extension(extension, None)
    if is_foreign(plugin):
        module, name = imageio_backend(plugin)
        found = module.improps(uri, index=index, plugin=name, extension=extension, **kwargs)
        return ImageProperties(found.shape, np.dtype(found.dtype), found.n_images, found.is_batch, found.spacing)
    names = (*_OF_READ, "axes", "roi")
    chosen = {name: kwargs.pop(name) for name in names if name in kwargs}
    with open_to_read(uri, plugin, extension, kwargs) as file:
        return file.properties(index, key=key, level=level, **chosen)


def immeta(
    uri: Any,
    *,
    index: Any = None,
    plugin: Any = None,
    extension: str | None = None,
    exclude_applied: bool = True,
    key: str | None = None,
    standard: bool = False,
    json: bool = False,
    **kwargs: Any,
) -> dict[str, Any]:
    """Return what a file says of an image, by the format's own names.

    Parameters
    ----------
    uri, index, plugin, extension, key
        As of `imread`; with ``index=...`` what it says of itself as a whole.
    exclude_applied : bool, default True
        Leave out what reading has applied, such as the orientation of a photograph.
    standard : bool, default False
        Return the same keys for all formats: image, acquired, instrument, objective, channels, pixel_sizes, stage (None
        where the file does not say), and the format's own under "raw".
    json : bool, default False
        With values that JSON can hold only.
    **kwargs
        Of the format.
    """
    _extension(extension, None)
    if is_foreign(plugin):
        module, name = imageio_backend(plugin)
        given = {"index": index} if index is not None else {}
        found = module.immeta(uri, plugin=name, extension=extension, exclude_applied=exclude_applied, **given, **kwargs)
        return dict(found)
    with open_to_read(uri, plugin, extension, kwargs) as file:
        return file.metadata(index, exclude_applied, key=key, standard=standard, json=json)


def imwrite(
    uri: Any,
    image: Any,
    *,
    plugin: Any = None,
    extension: str | None = None,
    format_hint: str | None = None,
    axes: Any = None,
    scale: Any = None,
    unit: Any = None,
    channel_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    chunks: Sequence[int] | None = None,
    compression: Any = None,
    pyramid: bool | int | None = None,
    is_batch: bool = False,
    overwrite: bool = True,
    **kwargs: Any,
) -> Any:
    """Write an image, or several, to a new file, which appears when it is complete.

    Parameters
    ----------
    uri : str, os.PathLike, file object or "<bytes>"
        Where to; "<bytes>" (with `extension`) returns the file as bytes.
    image : array_like or list of array_like
        A numpy array, or a source, zarr or dask array, which is written block by block.
    plugin : str, optional
        Name of a format.
    extension : str, optional
        Ending, with its dot, that tells the format.
    format_hint : str, optional
        Deprecated: `extension`.
    axes : str or sequence of (str or Axis), optional
        Names of the axes, such as "zyx". None: those that a source has; else yx, zyx, czyx or tczyx by their number,
        and in formats for pictures a last axis of 3 or 4 is colour.
    scale : float, sequence or mapping, optional
        Distance between pixels: of all axes of space, of every axis, or by name.
    unit : str, sequence or mapping, optional
        Of the scale, in the same way, such as "micrometer".
    channel_names : sequence of str, optional
        One for each channel.
    metadata : mapping, optional
        Further entries, by the format's own names.
    chunks, compression, pyramid
        For formats that have them: shape of chunks; name of the codec; True for coarser levels, or their number.
    is_batch : bool, default False
        The first axis (or the list) counts images.
    overwrite : bool, default True
        False refuses a file that is there.
    **kwargs
        ``dtype`` converts, and refuses what does not fit; ``casting="unsafe"`` lets it overflow; ``rescale=(lo, hi)``
        maps these to the ends of the type. ``labels=True`` says that the values are ids, of which coarser levels are no
        means, as without a word those of 32 and 64 bits. ``report=True`` returns a `WriteReport`, whose `lost` names
        what the format had no place for. Others are of the format, such as ``tiles=(256, 256)`` of tif.

    Raises
    ------
    FormatError, DtypeError, ShapeError
        If no format of that ending takes such an image; names one that does.
    StorageError
        If the file cannot be written; an old one is still there.

    Examples
    --------
    >>> import numpy as np, bioimage_py.io.v3 as iio
    >>> encoded = iio.imwrite("<bytes>", np.zeros((3, 64, 64), "u1"), extension=".tif", scale=0.5, unit="micrometer")
    >>> iio.improps(encoded).spacing
    (0.5, 0.5, 0.5)
    """
    extension = _extension(extension, format_hint)
    if is_foreign(plugin):
        module, name = imageio_backend(plugin)
        return module.imwrite(uri, image, plugin=name, extension=extension, is_batch=is_batch, **kwargs)
    report = kwargs.pop("report", False)
    given = {"chunks": chunks, "compression": compression, "pyramid": pyramid}
    options = {**{name: value for name, value in given.items() if value is not None}, **kwargs}
    writer = writer_of(uri, "w" if overwrite else "x", plugin, extension)
    with writer:
        writer.write(
            image,
            axes=axes,
            scale=scale,
            unit=unit,
            channel_names=channel_names,
            metadata=metadata,
            is_batch=is_batch,
            copy=False,
            **options,
        )
    return writer.checked_report() if report else writer.encoded


def imopen(
    uri: Any,
    io_mode: str,
    *,
    plugin: Any = None,
    extension: str | None = None,
    format_hint: str | None = None,
    legacy_mode: bool = False,
    **kwargs: Any,
) -> Any:
    """Open a file for several reads or writes; a context manager.

    Parameters
    ----------
    uri : str, os.PathLike, bytes or file object
        As of `imread` or `imwrite`.
    io_mode : {"r", "w", "a", "x"}
        Read; write a new file, whole when it is closed; add images to one; write one that must not be there.
    plugin : str or type, optional
        As of `imread`; "?" returns the names of the formats that the file fits.
    extension, format_hint
        As of `imread`.
    legacy_mode : bool, default False
        There is none.
    **kwargs
        Of the format.

    Returns
    -------
    ReadHandle or WriteHandle

    Examples
    --------
    >>> import bioimage_py.io.v3 as iio
    >>> with iio.imopen("stack.tif", "r") as file:  # doctest: +SKIP
    ...     print(len(file), file[0].shape)
    ...     source = file.source(0)
    """
    extension = _extension(extension, format_hint)
    if legacy_mode:
        raise ParameterError("legacy_mode=True: there is no old interface here.", remedy="leave it out")
    if io_mode not in MODES:
        raise ParameterError(f"io_mode is {io_mode!r}.", remedy=f"use one of {' '.join(MODES)}")
    if is_foreign(plugin):
        module, name = imageio_backend(plugin)
        return module.imopen(uri, io_mode, plugin=name, extension=extension, **kwargs)
    if io_mode != "r":
        return writer_of(uri, io_mode, plugin, extension, kwargs)
    if plugin == "?":
        return _plugins(uri, extension)
    return open_to_read(uri, plugin, extension, kwargs)


def _plugins(uri: Any, extension: str | None) -> list[str]:
    """Names of the formats of a file, in the order of the table; of all where nothing fits."""
    resource = resource_of(uri, extension)
    if os.path.isfile(resource.path):
        found = [entry.name for entry in fitting(resource.path)]
        return found or plugin_names()
    return [recognized(locate(resource.path), extension).name]


def _extension(extension: str | None, format_hint: str | None) -> str | None:
    if format_hint is not None:
        warnings.warn("format_hint is deprecated: pass extension=", DeprecationWarning, stacklevel=3)
        extension = extension or format_hint
    if extension is not None and not (isinstance(extension, str) and extension.startswith(".")):
        raise ParameterError(f"extension={extension!r} does not begin with a dot.", remedy=f'extension=".{extension}"')
    return extension


def told_affine(path: str, axes: Sequence[Axis]) -> npt.NDArray[np.float64] | None:
    """Return how a file says that its image lies in a body: (4, axes + 1), from indices in the order of its axes.

    Returns
    -------
    array or None
        None where it says nothing, or nothing that could be.
    """
    try:
        if format_of(locate(path)) not in _ANATOMICAL:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever opens it is warned
            return usable_affine(improps(path).affine, axes)
    except (BioimageError, OSError, ValueError):
        return None
