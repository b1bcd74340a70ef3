"""Whether a tif file is whole: tifffile shows what is left of one that was cut off, and zeros for files it misses."""

from __future__ import annotations

import math
import operator
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from ...errors import AccessError, BioimageError, FormatError, SourceNotFoundError, StorageError
from .chain import know_pages

_AGAIN = "copy the file again, or restore it"
_MANY_PAGES = 2**16
"""A list of more pages is looked at for whether it ends."""
_MOST_PLANES = 2**22
"""That OME-XML may announce: the library makes a list of them, for 1 kB of text any number of gigabytes."""
_PIXELS = re.compile(r"<(?:\w+:)?Pixels\s[^>]*>")
_SIZE = re.compile(r"\sSize[XYZCT]\s*=\s*[\"'](\d+)[\"']")
_PLACED = ("ome", "mmstack", "ndtiff")
"""Kinds of series whose metadata place every page in some file."""


@contextmanager
def reading_structure(path: str) -> Iterator[None]:
    """Raise errors of ours where tifffile fails over the structure of a file: it raises whatever it runs into."""
    import tifffile

    try:
        yield
    except BioimageError:
        raise
    except tifffile.TiffFileError as error:
        empty = "it is empty (0 bytes)" if os.path.getsize(path) == 0 else error
        raise FormatError(
            f"{path} is no tif file: {empty}", remedy="pass format=... if it is something else"
        ) from error
    except PermissionError as error:
        raise AccessError(f"Cannot open {path}: {error}", remedy=f"check the permissions: ls -l {path}") from error
    except OSError as error:
        raise StorageError(f"Cannot open {path}: {error}", remedy="check the file and the disk") from error
    except Exception as error:
        raise FormatError(
            f"{path} is a tif file with damaged tags: {type(error).__name__}: {error}", remedy=_AGAIN
        ) from error


def open_tif(path: str) -> Any:
    """Return the ``tifffile.TiffFile`` of a path; OME-XML that makes no sense is left out, with a warning.

    Raises
    ------
    FormatError
        If its list of pages leads back into itself, along which the library goes for ever.
    """
    import tifffile

    file = tifffile.TiffFile(path)
    try:
        _require_end(path, file)
        wrong = _wrong_ome(file) if file.is_ome else None
    except BaseException:
        file.close()
        raise
    if wrong is None:
        return file
    file.close()
    warnings.warn(f"{path}: its OME-XML {wrong}; its pages are read without it.", stacklevel=3)
    return tifffile.TiffFile(path, is_ome=False)


def _wrong_ome(file: Any) -> str | None:
    """What keeps the OME-XML of a file from saying which images it holds."""
    size = math.prod(file.pages.first.shape) or 1
    for found in _PIXELS.finditer(file.ome_metadata or ""):
        planes = math.prod(map(int, _SIZE.findall(found[0]))) // size
        if planes > _MOST_PLANES:
            return f"announces {planes} planes"
    try:
        return None if file.series is not None else "tells of no images"
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises whatever it runs into
        return f"makes no sense: {type(error).__name__}: {error}"


def _require_end(path: str, file: Any) -> None:
    if know_pages(file):
        return
    try:
        file.pages[_MANY_PAGES]
    except IndexError:  # the usual end
        return
    form, handle, seen, at = file.tiff, file.filehandle, set[int](), file.pages.first.offset
    while at not in seen:
        seen.add(at)
        handle.seek(at)
        tags = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))[0]
        handle.seek(at + form.tagnosize + tags * form.tagsize)
        link = handle.read(form.offsetsize)
        at = struct.unpack(form.offsetformat, link)[0] if len(link) == form.offsetsize else 0
        if not 0 < at < handle.size:
            return
    raise FormatError(
        f"{path} is damaged: its list of {len(seen)} pages leads back to the one at byte {at}, and has no end.",
        remedy=_AGAIN,
    )


def require_chain(path: str, file: Any) -> None:
    """Raise `FormatError` if the list of pages leads out of the file, so that the pages behind are lost."""
    if len(file.pages) == 0:
        raise FormatError(f"{path} has no pages.", remedy=_AGAIN)
    form, handle, last = file.tiff, file.filehandle, file.pages[-1].offset
    handle.seek(last)
    tags = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))[0]
    handle.seek(last + form.tagnosize + tags * form.tagsize)
    link = handle.read(form.offsetsize)
    if len(link) < form.offsetsize or struct.unpack(form.offsetformat, link)[0] != 0:
        raise FormatError(
            f"{path} is cut off or damaged: page {len(file.pages) - 1} is the last that is there, and says that another"
            " follows.",
            remedy=f"{_AGAIN}; tifffile.imread({path!r}) reads the pages that are left",
        )


def require_files(path: str, file: Any, series: Any) -> None:
    """Raise `SourceNotFoundError` if a file that a series spreads over is missing; warn of pages that are in none."""
    if series.kind not in _PLACED:
        return
    missing = [number for number, page in enumerate(series.pages) if page is None]
    if not missing:
        return
    folder = os.path.dirname(path)
    absent = [name for name in _named_files(file.ome_metadata) if not os.path.exists(os.path.join(folder, name))]
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise SourceNotFoundError(
            f"{path} is one of several files of an image: {absent[0]}{more} is missing in {folder}, with"
            f" {len(missing)} of {len(series.pages)} pages.",
            remedy=f"copy {absent[0]} to {folder}",
        )
    warnings.warn(
        f"{path} has no voxels for {len(missing)} of the {len(series.pages)} pages that its metadata announce (page"
        f" {missing[0]} is the first); reading those is an error.",
        stacklevel=2,
    )


def warn_of_gaps(folder: str, names: list[str]) -> None:
    """Warn if slices are numbered with gaps: one that was not copied along would shift all that follow."""
    parts = [re.split(r"(\d+)", name) for name in names]
    varying = [n for n in range(len(parts[0])) if len({tuple(part[n : n + 1]) for part in parts}) > 1]
    if len(varying) != 1 or len({len(part) for part in parts}) > 1 or not varying[0] % 2:
        return
    numbers = [int(part[varying[0]]) for part in parts]
    step = min(after - before for before, after in pairwise(numbers)) if len(numbers) > 1 else 0
    gaps = [(before, after) for before, after in pairwise(numbers) if after - before != step]
    if gaps and step > 0:
        warnings.warn(
            f"The slices in {folder} are numbered with gaps, {len(gaps)} in all (the first is from {gaps[0][0]} to"
            f" {gaps[0][1]}); they are stacked as if there were none.",
            stacklevel=2,
        )


def _named_files(xml: str | None) -> list[str]:
    try:
        nodes = ElementTree.fromstring(xml or "").iter()
    except ElementTree.ParseError:
        return []
    return list(dict.fromkeys(node.attrib["FileName"] for node in nodes if node.attrib.get("FileName")))


def require_page(path: str, number: int, page: Any) -> None:
    """Raise `StorageError` if the voxels of a page are not there: some codecs make something up for what is cut off."""
    if page is None:
        raise StorageError(
            f"Page {number} of {path} is in no file: its metadata announce it, but it was never written.",
            remedy="read the pages that are there, by a region of interest",
        )
    size = page.parent.filehandle.size
    end = max(map(operator.add, page.dataoffsets, page.databytecounts), default=0)
    if end > size:
        raise StorageError(
            f"{page.parent.filehandle.path} is cut off: page {number} ends at byte {end}, the file at byte {size}.",
            remedy=_AGAIN,
        )
