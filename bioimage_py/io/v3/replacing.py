"""What a new image takes the place of: it is there until the new one is complete, and nothing else goes with it."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import AliasError, StorageError
from ...sources.arrays.tensorstore import detect_driver
from ...sources.base import Source
from ...sources.chunked.attributes import multiscales_of, read_attributes
from ...sources.file import open_source
from ...sources.sharing import overlap
from ...sources.stores.location import Location, locate
from ...sources.stores.paths import is_url
from ...system.files import clone
from ..create import array_exists, refuse_inside
from ..formats import Format, array_keys_of, split_path
from ..keys import array_keys
from .target import appearing

_OWN = re.compile(r"data|OME|[0-9]+(/[0-9]+)*")
"""Keys that images of a container have here, and in the layout of bioformats2raw."""
_NUMBERED = re.compile(r"arr_\d+")
_METADATA = {"zarr.json", ".zgroup", ".zattrs", ".zmetadata", "attributes.json"}


def check_replaced(path: str, entry: Format, adds: bool = False) -> None:
    """Refuse to put an image where something lies that is no image, or more than images (but where it `adds` to them).

    Raises
    ------
    StorageError
        Names what would be lost.
    ParameterError
        If it would lie inside of an array.
    """
    container, key = split_path(path)
    if key is not None:
        refuse_inside(container, key, entry.name)
    if is_url(path) or not os.path.lexists(container):
        return
    if os.path.exists(container) and not (os.path.isfile(container) or os.path.isdir(container)):
        raise StorageError(
            f"{container} is no file but a device, pipe or socket, whose place an image does not take.",
            remedy=f'content = imwrite("<bytes>", image, extension="{entry.extensions[0]}"), and write that there',
        )
    if os.path.exists(container) and os.path.isdir(container) != entry.stores:
        kinds = ("a folder", "a file") if entry.stores else ("a file", "a folder")
        raise StorageError(
            f"{container} is {kinds[1]}, and {entry.name} is written as {kinds[0]}, which would take its place.",
            remedy=f"another name, or remove it first: rm -r {container!r}",
        )
    if entry.stores:
        others = _others(os.path.join(container, key or ""))
    elif entry.container:
        others = _others_of_file(container, key)
    else:
        others = [] if adds else _others_of_archive(container)
    if others:
        beside = f"{path}/KEY" if entry.container else f"imopen({path!r}, 'a').write(image)"
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        raise StorageError(
            f"{path} holds {shown}, which would be lost: an image takes the place of all that is there.",
            remedy=f"{beside} puts it beside them; or remove them first: rm -r {container!r}",
        )


def _others(folder: str) -> list[str]:
    """What a folder holds besides one array, or the images that a container has by their numbers."""
    if not os.path.isdir(folder) or detect_driver(Location(folder)) is not None:
        return []
    keys = [key for key in array_keys(Location(folder)) if not _OWN.fullmatch(key)]
    known = {key.partition("/")[0] for key in keys} | _METADATA
    return keys + [name for name in sorted(os.listdir(folder)) if name not in known and not _OWN.fullmatch(name)]


def _others_of_file(path: str, key: str | None) -> list[str]:
    """The same of a file of arrays; of a key, what a group of that name holds."""
    if not os.path.getsize(path):
        return []
    try:
        keys = array_keys_of(path) or []
    except (StorageError, OSError):
        return ["what cannot be read"]
    return [one for one in keys if (not _OWN.fullmatch(one) if key is None else one.startswith(f"{key}/"))]


def _others_of_archive(path: str) -> list[str]:
    """What an archive of numpy holds besides one array, or arrays by their numbers."""
    if not path.lower().endswith(".npz") or not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        there = archive.namelist()
    said = {f"{name.removesuffix('.npy')}.json" for name in there}  # of an array that is there
    names = [name.removesuffix(".npy") for name in there if name not in said]
    return [name for name in names if not _NUMBERED.fullmatch(name)] if len(names) > 1 else []


@contextmanager
def in_place_of(path: str, entry: Format, arrays: Sequence[Any], adds: bool = False) -> Iterator[str]:
    """Give the path to write to; what is there after the body takes the place, and goes where the body fails.

    Parameters
    ----------
    path : str
        Of the image.
    entry : Format
        Its format.
    arrays : sequence of array_like
        What is written: in a bucket it may not be made of what it takes the place of.
    adds : bool, default False
        What is there is written too.

    Raises
    ------
    StorageError
        See `check_replaced`; or it cannot be written.
    AliasError
        The array that would be emptied is one of those to be read.
    """
    check_replaced(path, entry, adds)
    container, key = split_path(path)
    if is_url(path):  # where nothing can be renamed
        _refuse_own(path, container, key, entry, arrays)
        yield path
    elif key is None:
        with appearing(container, entry.stores) as beside:
            yield beside
    elif not os.path.exists(container):
        with appearing(container, entry.stores) as beside:
            yield f"{beside}/{key}"
    elif entry.stores:
        with appearing(container, True, key) as beside:
            yield beside
    else:
        with appearing(container) as beside:  # a file that is written in its place does not outlive a kill
            clone(container, beside)
            yield f"{beside}/{key}"


def _refuse_own(path: str, container: str, key: str | None, entry: Format, arrays: Sequence[Any]) -> None:
    """AliasError where one of the arrays is made of the array that is there."""
    sources = [array for array in arrays if isinstance(array, Source)]
    if not sources or not array_exists(container, key, entry.name):
        return
    with open_source(container, key or "", format=entry.name) as there:
        refuse_same(path, there, sources)


def refuse_same(path: str, there: Source, sources: Sequence[Source]) -> None:
    """Refuse to empty an array of which others are made.

    Raises
    ------
    AliasError
    """
    for source in sources:
        if overlap(source, there):
            raise AliasError(
                f"{path} would be emptied before it is read: {source!r} is made of it.", remedy="write to another array"
            )


def refuse_own_levels(path: str, sources: Sequence[Source]) -> None:
    """Refuse an output that is, or holds, an image one of whose levels is read.

    Parameters
    ----------
    path : str
        Of a container of groups, or of something in it.
    sources : sequence of Source
        What is read.

    Raises
    ------
    AliasError
    """
    container, key = split_path(path)
    root, local = locate(container), not is_url(container)
    if local and not os.path.isdir(container):
        return
    found = array_keys(root / (key or ""), None)
    inside = [os.path.normpath(f"{key}/{one}") if key else one for one in found]
    above, _, name = (key or "").rpartition("/")
    listed = [one for image in multiscales_of(read_attributes(root / above)) for one in image["datasets"]]
    levels = [str(one.get("path")) for one in listed if isinstance(one, dict)]
    if name in levels:
        inside += [f"{above}/{one}" if above else one for one in levels]
    for one in inside:
        if detect_driver(root / one) is None:
            continue
        with open_source(container, "" if one == "." else one) as there:
            for source in sources:
                if overlap(source, there):
                    raise AliasError(
                        f"{path} would take the place of what is read: {source!r} is made of {one!r} of the same image",
                        remedy="write to another path, and remove the old image when the new one is there",
                    )
