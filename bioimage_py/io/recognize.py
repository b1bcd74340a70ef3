"""Which format a file has: by what it holds, then by its name."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib

from ..errors import AccessError, FormatError, StorageError
from ..sources.stores.location import Location
from .formats import Format, fits, format_for_extension, format_named, format_of, longest_sign

_SHOWN = 12
_GZIP = b"\x1f\x8b"
_PACKED = 4096
"""Bytes of a gzipped file that are unpacked to see how it begins."""
_PASS = "pass plugin=... (imopen(path, 'r', plugin='?') lists them), of open_source format=..."


def head_of(path: str, size: int) -> bytes:
    """Return the first bytes of a local file; AccessError or StorageError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except PermissionError as error:
        raise AccessError(f"Cannot open {path}: {error}", remedy=f"check the permissions: ls -l {path}") from error
    except OSError as error:
        raise StorageError(f"Cannot open {path}: {error}", remedy="check the file and the disk") from error


def fitting(path: str) -> list[Format]:
    """Return the formats whose files begin as a local file does, in the order of the table."""
    return _fitting(head_of(path, max(longest_sign(), _PACKED)))


def _fitting(head: bytes) -> list[Format]:
    """The formats of a head; of one that is packed those that are written so, by what is in it."""
    if not head.startswith(_GZIP):
        return fits(head)
    try:
        inner = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, longest_sign())
    except zlib.error:
        return fits(head)
    return [entry for entry in fits(inner) if any(ending.endswith(".gz") for ending in entry.extensions)] or fits(head)


def recognized(place: Location, extension: str | None = None, *, strict: bool = False) -> Format:
    """Return the format of a place: for a file, what it holds, before what its name says.

    Parameters
    ----------
    place : Location
        File, folder or URL.
    extension : str, optional
        Ending, with the dot, that stands for that of the name.
    strict : bool, default False
        Refuse a file that does not begin as files of its name do, instead of leaving it to their reader.

    Raises
    ------
    FormatError
        If neither tells; names the first bytes.
    """
    path = place.folder
    archive = place.url.partition("|zip:")[0] if strict and place.archive else ""
    if os.path.isfile(archive) and not zipfile.is_zipfile(archive):
        raise FormatError(f"{not_an_image(archive)} It is no zip archive.", remedy="copy the file again if it was one")
    if path is None or not os.path.isfile(path):
        return _named(place, extension)
    found = fitting(path)
    if not extension and not os.path.splitext(path)[1]:
        if not found:
            raise FormatError(f"{not_an_image(path)} It has no ending.", remedy=_PASS)
        return found[0]
    try:
        named = _named(place, extension)
    except FormatError as error:
        if found:
            return found[0]
        raise FormatError(f"{not_an_image(path)} {error.message}", remedy=error.remedy) from None
    unsigned = (extension or os.path.basename(path)).lower().endswith(named.unsigned or ("/",))
    if strict and not found and named.magic and not unsigned:
        raise unlike(path, named)
    # a format without signs of its own can hold anything, also another one inside of it
    if not found or not named.magic or named in found or unsigned:
        return named
    warnings.warn(f"{path} is named as {named.name}, but holds {found[0].name}, as which it is read.", stacklevel=4)
    return found[0]


def require_signs(path: str, entry: Format) -> None:
    """Raise `FormatError` for a local file that does not begin as files of its format do."""
    if not entry.magic or not os.path.isfile(path):
        return
    if entry not in fitting(path):
        raise unlike(path, entry)


def unlike(path: str, entry: Format) -> FormatError:
    """The error for a file that is not of the format of its name, and of no other one."""
    return FormatError(
        f"{not_an_image(path)} It is none of the format {entry.name!r}, and of no other that is known.",
        remedy=f"copy the file again if it was one, or {_PASS}",
    )


def not_an_image(path: str) -> str:
    """What to say of a file that nobody reads."""
    head = head_of(path, _SHOWN)
    return f"{path} is not an image: " + (f"begins with {head!r}." if head else "it is empty (0 bytes).")


def _named(place: Location, extension: str | None) -> Format:
    name = format_for_extension(extension) if extension else None
    return format_named(name or format_of(place))
