"""The open registry of file formats, and how a path tells its format."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FormatError, ParameterError, SourceNotFoundError
from ..extras import need
from ..sources.file import absolute_path
from ..sources.registry import load_plugins
from ..sources.spec import load_qualified
from ..sources.stores.location import Location, locate
from ..sources.stores.paths import is_url
from .new_array import Creator

Constructor = Callable[..., Any]


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

    @property
    def creator(self) -> Creator | None:
        """The function that makes an array, imported."""
        if isinstance(self.create, str):
            loaded: Creator = load_qualified(self.create)
            return loaded
        return self.create


_formats: dict[str, Format] = {}
_by_extension: dict[str, str] = {}
_lock = threading.Lock()


def register_format(
    name: str,
    extensions: Sequence[str],
    constructor: Constructor | str,
    *,
    writable: bool = False,
    create: Creator | str | None = None,
) -> None:
    """Add a file format, or replace one.

    Parameters
    ----------
    name : str
        Name of the format.
    extensions : sequence of str
        File name endings with the dot, such as [".mrc", ".rec"].
    constructor : callable or str
        ``constructor(path, mode=..., **kwargs)`` returns a mapping from keys to arrays, which may have a
        ``default_key`` and ``close()``; or one array. As a string: "module:function", imported when needed.
    writable : bool, default False
        True if it honours the modes "r+", "a" and "w"; with `create` it need not know more than "r+".
    create : callable or str, optional
        ``create(place, key, array)`` makes an array: the file is ``place.folder``, and what is wanted is `array`, a
        `NewArray`. Operations then write to paths of the format.
    """
    if isinstance(extensions, str):
        raise ParameterError(f"extensions is the string {extensions!r}.", remedy=f"pass a list: [{extensions!r}]")
    endings = tuple(_clean(extension) for extension in extensions)
    add_format(Format(name, endings, constructor, writable or create is not None, create=create))


def add_format(entry: Format) -> None:
    """Add a format with all its details."""
    with _lock:
        _formats[entry.name] = entry
        for extension in entry.extensions:
            _by_extension[extension] = entry.name


def _clean(extension: str) -> str:
    lower = extension.lower()
    return lower if not lower or lower.startswith(".") else f".{lower}"


def supported_formats() -> list[str]:
    """Return the names of all formats."""
    return list(_formats)


def supported_extensions() -> list[str]:
    """Return all file name endings, with the dot; "" stands for a folder."""
    return list(_by_extension)


def format_for_extension(ext: str) -> str | None:
    """Return the name of the format of a file name ending, None if unknown."""
    return _by_extension.get(_clean(ext))


def format_named(name: str) -> Format:
    """Return a format by name.

    Raises
    ------
    FormatError
        If there is none of that name.
    """
    if name not in _formats:
        load_plugins()
    if name not in _formats:
        raise FormatError(f"Unknown format {name!r}; known are {', '.join(_formats)}.", remedy=_REGISTER)
    return _formats[name]


_REGISTER = "register_format(name, extensions, constructor), or pass format=... with a known one"


def constructor_for_format(name: str) -> Constructor:
    """Return the function that opens containers of a format."""
    found = format_named(name).constructor
    if isinstance(found, str):
        loaded: Constructor = load_qualified(found)
        return loaded
    return found


def is_writable_format(name: str) -> bool:
    """Tell whether arrays in files of a format can be written; no array can in a format that is not known."""
    return name in supported_formats() and format_named(name).writable


def creatable_formats() -> list[Format]:
    """Return the formats in which arrays can be created."""
    return [entry for entry in _formats.values() if entry.create is not None]


def array_keys_of(path: str) -> list[str] | None:
    """Return the keys of all arrays of a local file; None where its format has but one in a file."""
    entry = format_named(infer_format(path))
    if not entry.keys:
        return None
    require_library(entry)
    keys: list[str] = load_qualified(entry.keys)(path)
    return keys


def infer_format(path: str | os.PathLike[str], ext: str | None = None) -> str:
    """Return the name of the format of a path.

    Parameters
    ----------
    path : str or os.PathLike
        File, folder or URL.
    ext : str, optional
        Take this ending instead of the path's.

    Raises
    ------
    FormatError
        If the ending is unknown; lists the known ones.
    """
    if ext is None:
        return format_of(locate(path))
    found = format_for_extension(ext)
    if found is None:
        raise _unknown(ext)
    return found


def format_of(place: Location) -> str:
    """Return the name of the format of a place: by its name, else by what a folder (or its like) holds."""
    found = _named_by(_named_part(place.url))
    if found is not None:
        return found
    if place.folder is None or os.path.isdir(place.folder):
        if any(place.exists(name) for name in ("zarr.json", ".zarray", ".zgroup")):
            return "zarr"
        attributes = place.read_json("attributes.json")
        if "n5" in attributes or "dimensions" in attributes:
            return "n5"
        if place.folder is not None:
            return "folder"
    ending = os.path.splitext(_named_part(place.url))[1]
    if not ending and "" in _by_extension and place.folder is not None:
        return _by_extension[""]
    raise _unknown(ending)


def _named_part(path: str) -> str:
    """Return the path without the query of a URL and what follows the name of an archive at its end."""
    bare = path.partition("?")[0] if is_url(path) else path
    return bare.rstrip("/").removesuffix("|zip:")


def _named_by(path: str) -> str | None:
    found = _registered_by(path)
    if found is None and os.path.splitext(path)[1]:
        load_plugins()
        found = _registered_by(path)
    return found


def _registered_by(path: str) -> str | None:
    name = os.path.basename(path.rstrip("/")).lower()
    endings = [ending for ending in _by_extension if ending and name.endswith(ending)]
    return _by_extension[max(endings, key=len)] if endings else None


def _unknown(ending: str) -> FormatError:
    known = ", ".join(sorted(extension for extension in _by_extension if extension))
    return FormatError(f"Unknown file name ending {ending!r}; known are {known}.", remedy=_REGISTER)


def split_path(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Split a path into a container: "a.zarr/raw/s0" gives ("a.zarr", "raw/s0"); None where there is no key.

    In an archive the key is what follows ``|zip:``, unless that holds a container of its own ("a.zip|zip:b.zarr/raw").
    Only endings of formats that hold several arrays split.
    """
    text = os.fspath(path)
    head, mark, query = text.partition("?") if is_url(text) else (text, "", "")
    archive, pipe, inner = head.partition("|zip:")
    if pipe and not _named_inside(inner):
        container = archive if locate(archive).archive else archive + pipe
        return container + mark + query, inner.strip("/") or None
    head = head.rstrip("/")
    keys: list[str] = []
    while os.path.basename(head):
        found = _named_by(head)
        if found is not None and (_formats[found].container or not keys):
            return head + mark + query, "/".join(reversed(keys)) or None
        keys.append(os.path.basename(head))
        head = os.path.dirname(head)
    return text, None


def _named_inside(inner: str) -> bool:
    named = map(_named_by, inner.split("/"))
    return any(name is not None and _formats[name].container for name in named)


def open_file(
    path: str | os.PathLike[str], mode: str = "r", ext: str | None = None, format: str | None = None, **kwargs: Any
) -> Any:
    """Open a container with the library of its format.

    Parameters
    ----------
    path : str or os.PathLike
        File, folder or URL.
    mode : str, default "r"
        Mode of the library; "w" empties the whole container.
    ext : str, optional
        Take this ending instead of the path's.
    format : str, optional
        Name of the format; wins over `ext`.
    **kwargs
        For the library.

    Returns
    -------
    object
        ``h5py.File``, ``zarr.Group`` or ``zarr.Array``, ``z5py.File``; a mapping with the key "" for image files.

    Raises
    ------
    SourceNotFoundError, FormatError, MissingDependencyError
    """
    resolved = absolute_path(path)
    if mode in ("r", "r+"):
        require_path(resolved)
    entry = format_named(format or infer_format(resolved, ext))
    require_library(entry)
    return constructor_for_format(entry.name)(resolved, mode=mode, **kwargs)


def require_path(path: str) -> None:
    """Raise if a local path does not exist, naming the part of it that does; of an archive, if its file does not."""
    path = locate(path).url.partition("|zip:")[0]
    if is_url(path) or os.path.exists(path):
        return
    parent = os.path.dirname(path)
    while not os.path.exists(parent) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    raise SourceNotFoundError(f"{path} does not exist.", remedy=f"check the path; {parent} exists")


def require_library(entry: Format) -> None:
    """Raise if the library of a format is not installed."""
    if entry.requires:
        need(entry.requires, f"The format {entry.name!r}")


def keep_local(path: str, name: str) -> None:
    """Raise for URLs in formats that are read from the file system only."""
    if is_url(path):
        raise FormatError(f"{path}: {name} files are read from the file system only.", remedy="download it first")


def _row(name: str, extensions: tuple[str, ...], module: str, **more: Any) -> Format:
    """A format of this package, in whose file the functions have these names."""
    file = f"{__name__.rpartition('.')[0]}.{module}"
    more |= {field: f"{file}:{more[field]}" for field in ("create", "keys", "details", "write") if field in more}
    return Format(name, extensions, f"{file}:construct", "create" in more, f"{file}:open_dataset", **more)


_CHUNKED: dict[str, Any] = {"create": "create", "container": True, "stores": True, "levels": True}
for _entry in (
    _row("hdf5", (".h5", ".hdf", ".hdf5"), "hdf5", create="create", keys="keys", container=True, requires="h5py"),
    _row("n5", (".n5",), "n5", **_CHUNKED),
    _row("zarr", (".zarr", ".zr", ".ozx", ".zip"), "zarr", **_CHUNKED, shards=True, requires="zarr"),
    _row(
        "nifti",
        (".nii", ".nii.gz"),
        "image_files.nifti",
        requires="nibabel",
        magic=((344, b"n+1\0"), (4, b"n+2\0\r\n\x1a\n")),
        details="details",
        write="write",
    ),
    _row("tif", (".tif", ".tiff"), "tif", keys="keys", requires="tifffile"),
    _row("folder", ("",), "tif", requires="tifffile"),
    _row(
        "mrc",
        (".mrc", ".mrcs", ".map", ".rec", ".st", ".ccp4"),
        "image_files.mrc",
        requires="mrcfile",
        magic=((208, b"MAP "), (208, b"MAP\0")),
        details="details",
        write="write",
    ),
    _row(
        "nrrd",
        (".nrrd", ".nhdr"),
        "image_files.nrrd",
        magic=((0, b"NRRD000"),),
        details="details",
        write="write",
        options=("compression",),
    ),
    _row(
        "metaimage",
        (".mha", ".mhd"),
        "image_files.metaimage",
        magic=((0, b"ObjectType = "), (0, b"NDims = ")),
        details="details",
        write="write",
        options=("compression",),
    ),
    _row(
        "npy",
        (".npy", ".npz"),
        "image_files.npy",
        keys="keys",
        magic=((0, b"\x93NUMPY"),),
        details="details",
        write="write",
        options=("compression",),
    ),
    _row(
        "analyze",
        (".hdr", ".img", ".hdr.gz", ".img.gz"),
        "image_files.nifti",
        requires="nibabel",
        magic=((344, b"ni1\0"), (0, b"\x5c\x01\0\0"), (0, b"\0\0\x01\x5c")),
        details="details",
    ),
    _row(
        "dicom",
        (".dcm", ".dicom"),
        "image_files.dicom.files",
        keys="keys",
        requires="pydicom",
        magic=((128, b"DICM"),),
        details="details",
    ),
    _row("imaris", (".ims",), "image_files.microscopes.imaris", levels=True, requires="h5py", details="details"),
    _row("bdv", (".xml",), "image_files.microscopes.bdv", keys="keys", levels=True, requires="h5py", details="details"),
    _row(
        "nd2",
        (".nd2",),
        "image_files.microscopes.nd2",
        keys="keys",
        requires="nd2",
        magic=((0, b"\xda\xce\xbe\x0a"),),
        details="details",
    ),
    _row(
        "lif",
        (".lif", ".lof"),
        "image_files.microscopes.lif",
        keys="keys",
        requires="liffile",
        details="details",
    ),
    _row(
        "czi",
        (".czi",),
        "image_files.microscopes.czi",
        keys="keys",
        levels=True,
        magic=((0, b"ZISRAWFILE"),),
        details="details",
    ),
    _row(
        "video",
        (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"),
        "image_files.video",
        requires="av",
        magic=((4, b"ftyp"), (8, b"AVI "), (0, b"\x1aE\xdf\xa3")),
        details="details",
        write="write",
        options=("compression", "quality"),
    ),
    _row("knossos", (".k.toml", ".conf"), "image_files.knossos", keys="keys", levels=True, details="details"),
    _row(
        "obf",
        (".obf", ".msr"),
        "image_files.microscopes.obf",
        keys="keys",
        magic=((0, b"OMAS_BF\n\xff\xff"),),
        details="details",
    ),
):
    add_format(_entry)
