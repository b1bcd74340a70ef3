"""Keys of arrays in containers of groups (zarr, n5): finding the one that is meant, and naming those that there are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import FormatError, KeyNotFoundError, ParameterError
from ..sources.arrays.backing import Backing
from ..sources.arrays.tensorstore import detect_driver
from ..sources.chunked.attributes import multiscales_of, read_attributes, refuse_damaged
from ..sources.file import Opened
from ..sources.stores.location import Location

# Returns the keys of the resolution levels of a group, finest first; none where it is no image.
Levels = Callable[[Location], list[str]]

_SHOWN = 50
_METADATA = ("zarr.json", ".zarray", ".zgroup", "attributes.json")


def open_keyed(
    root: Location,
    key: str | None,
    level: int | str | None,
    levels: Levels,
    opener: Callable[[str], Backing],
    name: str,
) -> Opened:
    """Open an array in a container of groups.

    Parameters
    ----------
    root : Location
        Container.
    key : str, optional
        Key of the array or of a group.
    level : int or str, optional
        Number or name of the resolution level of a group.
    levels : callable
        Returns the keys of the levels of a group.
    opener : callable
        Opens the array of a key.
    name : str
        Name of the format, for messages.
    """
    if root.folder is not None and not os.path.isdir(root.folder):
        raise FormatError(f"{root} is a file, not a {name} folder.", remedy="pass format=... if it is something else")
    place = root / (key or "")
    if level is None and detect_driver(place) is not None:
        return Opened(opener(key or ""), key or "")
    found = levels(place)
    if not found:
        only = _only(root, key, level, name)
        return Opened(opener(only), only)
    inner = _level(place, found, level)
    full = f"{key}/{inner}" if key else inner
    if detect_driver(root / full) is None:
        raise KeyNotFoundError(
            f"{place} describes the level {inner!r}, but there is no such array.",
            remedy="write the array, or open another level",
        )
    return Opened(opener(full), full)


def _level(place: Location, found: list[str], level: int | str | None) -> str:
    if level is None:
        return found[0]
    if isinstance(level, str):
        named = [key for key in found if level == key or level in key.split("/")]
        if len(named) == 1:
            return named[0]
    elif -len(found) <= level < len(found):
        return found[level]
    raise KeyNotFoundError(
        f"{place} has no level {level!r}. Its levels are {', '.join(found)}.",
        remedy=f"level={found[-1]!r}, or a number from 0 to {len(found) - 1}",
    )


def _only(root: Location, key: str | None, level: int | str | None, name: str) -> str:
    if level is not None and detect_driver(root / (key or "")) is not None:
        raise KeyNotFoundError(f"{root / (key or '')} is one array, it has no levels.", remedy="leave level out")
    keys = array_keys(root)
    listed = bool(keys) or is_listed(root)
    for place in dict.fromkeys((root / (key or ""), root)):
        refuse_damaged(place)
    if not keys and not is_group(root):
        files = [name for name in (root.archive and root.names()) or () if not name.endswith("/")]
        archive = root.url.partition("|zip:")[0]
        remedy = f"{archive}/{files[0]}" if files else "pass format=... if it is something else"
        raise FormatError(f"{root} is no {name} container.", remedy=remedy)
    known = keys if listed else None
    if level is not None:
        raise no_key(root.url, known) if key is None else wrong_key(root.url, key, known)
    return key_among(root.url, key, known)


def ome_levels(place: Location) -> list[str]:
    """Return the keys of the levels of an OME-Zarr group, or of the only series of the bioformats2raw layout."""
    levels = _levels_of(place)
    if levels or len(series := series_of(place)) != 1:
        return levels
    return [f"{series[0]}/{level}" for level in _levels_of(place / series[0])]


def _levels_of(place: Location) -> list[str]:
    for entry in multiscales_of(read_attributes(place)):
        paths = [item.get("path") for item in entry["datasets"] if isinstance(item, dict)]
        return [path.strip("/") for path in paths if isinstance(path, str)]
    return []


def series_of(place: Location) -> list[str]:
    """Return the keys of the images in a container of the bioformats2raw layout (OME-Zarr 0.4 and 0.5); else none."""
    attributes = read_attributes(place)
    ome = _ome(attributes)
    if "bioformats2raw.layout" not in ome:
        return []
    listed = _ome(read_attributes(place / "OME")).get("series")
    if isinstance(listed, list):
        return [str(key).strip("/") for key in listed]
    found: list[str] = []  # without a list, the images are numbered from 0 without a gap
    while multiscales_of(read_attributes(place / str(len(found)))):
        found.append(str(len(found)))
    return found


def label_names_of(place: Location) -> list[str]:
    """Return the names of the label images of an OME-Zarr image."""
    names = _ome(read_attributes(place / "labels")).get("labels")
    return [str(name) for name in names] if isinstance(names, list) else []


def _ome(attributes: dict[str, Any]) -> dict[str, Any]:
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def is_group(place: Location) -> bool:
    """Tell whether there is the metadata of a group."""
    return any(place.exists(name) for name in _METADATA)


def array_keys(root: Location, limit: int | None = _SHOWN + 1) -> list[str]:
    """Return the keys of the first arrays in a container, sorted level by level; of all with ``limit=None``.

    Buckets and web servers are not listed, which may take long (see `is_listed`): their keys are those that the
    metadata names.
    """
    if root.folder is not None:
        return list(itertools.islice(_walk(root.folder), limit))
    if not is_listed(root):
        return _named_keys(root)[:limit]
    names = root.names() or []
    folders = {os.path.dirname(name) for name in names if os.path.basename(name) in _METADATA}
    ordered = sorted(folders, key=lambda key: (key.count("/"), key))
    return list(itertools.islice((key for key in ordered if detect_driver(root / key)), limit))


def is_listed(root: Location) -> bool:
    """Whether all arrays of a container are found quickly: not in buckets, nor on web servers."""
    return root.folder is not None or root.archive or root.scheme == "memory"


def _walk(path: str) -> Iterator[str]:
    for folder, names, _ in os.walk(path):
        names.sort()
        if detect_driver(Location(folder)) is not None:
            names.clear()
            yield os.path.relpath(folder, path)


def _named_keys(root: Location) -> list[str]:
    """Keys that consolidated metadata (zarr), or the images of OME-Zarr, name."""
    consolidated = root.read_json("zarr.json").get("consolidated_metadata") or {}
    found = [key for key, node in (consolidated.get("metadata") or {}).items() if node.get("node_type") == "array"]
    old = root.read_json(".zmetadata").get("metadata") or {}
    found += [key.rpartition("/")[0] for key in old if key.endswith("/.zarray")]
    if not found:
        images = ["", *series_of(root), *(f"labels/{name}" for name in label_names_of(root))]
        found = [f"{image}/{level}".strip("/") for image in images for level in _levels_of(root / image)]
    return sorted(found, key=lambda key: (key.count("/"), key))


def key_among(path: str, key: str | None, keys: list[str] | None) -> str:
    """Return the key of the only array of a container where none is given; otherwise raise what is wrong with the key.

    Raises
    ------
    ParameterError, KeyNotFoundError
        See `no_key` and `wrong_key`.
    """
    if key is None and keys is not None and len(keys) == 1:
        return keys[0]
    raise no_key(path, keys) if key is None else wrong_key(path, key, keys)


def no_key(path: str, keys: list[str] | None) -> ParameterError:
    """Return the error for a container with several arrays (None: not known which) and no key."""
    return ParameterError(
        f"{path} is a container, and no key is given. {_listed(keys)}",
        remedy=f"open_source({path!r}, {keys[0] if keys else '...'!r})",
    )


def wrong_key(path: str, key: str, keys: list[str] | None) -> KeyNotFoundError:
    """Return the error for a key that a container does not have; ``keys`` as in `no_key`."""
    close = [name for name in keys or [] if name.endswith(key.rpartition("/")[2])] or keys
    return KeyNotFoundError(
        f"{path} has no array {key!r}. {_listed(keys)}",
        remedy=f"open_source({path!r}, {close[0] if close else '...'!r})",
    )


def _listed(keys: list[str] | None) -> str:
    if keys is None:
        return "Its store is not searched for arrays."
    if not keys:
        return "It has no arrays."
    more = ", ..." if len(keys) > _SHOWN else ""
    return f"It has: {', '.join(keys[:_SHOWN])}{more}."
