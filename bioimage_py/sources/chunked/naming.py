"""How the units of a zarr or n5 array are named: what its metadata say, and what lies there."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from ...errors import AccessError, FormatError
from ..stores.location import Location


class Naming(NamedTuple):
    """What the names of units begin with, what is between the numbers of a position; False where only they tell."""

    prefix: str
    separator: str
    said: bool = True


_NAMINGS = (Naming("", "."), Naming("", "/"), Naming("c/", "/"), Naming("c.", "."))
_LOOKED_AT = 64
"""Entries of an array's folder; the units of one array are named alike."""


def naming_of(place: Location, driver: str) -> Naming:
    """Return how the units are named.

    Early writers of zarr 2 did not say that they nest chunks (0/0/0): without ``dimension_separator``, the chunks that
    are there decide.

    Raises
    ------
    FormatError
        If there are units, but named otherwise than the metadata say: all would silently read as the fill value.
    """
    try:
        naming, ndim = _said(place, driver)
    except (KeyError, TypeError, AttributeError):  # no metadata of an array: who opens it says what is wrong with them
        return Naming("", ".")
    found = _found(place, naming, ndim) if place.folder is not None or not naming.said else naming
    if found[:2] == naming[:2]:
        return found._replace(said=True)
    if not naming.said and not found.prefix:
        return found._replace(said=False)
    raise FormatError(
        f"The chunks of {place} are named like {_example(found, ndim)}, its metadata say {_example(naming, ndim)}: none"
        " of them would be read.",
        remedy=_remedy(place, driver, found),
    )


def _said(place: Location, driver: str) -> tuple[Naming, int]:
    """Return the naming of the metadata, and the number of axes."""
    node = place.read_json({"n5": "attributes.json", "zarr": ".zarray"}.get(driver, "zarr.json"))
    if driver == "n5":
        return Naming("", "/"), len(node["dimensions"])
    ndim = len(node["shape"])
    if driver == "zarr":
        separator = node.get("dimension_separator")
        return Naming("", str(separator or "."), said=bool(separator)), ndim
    encoding = node.get("chunk_key_encoding", {})
    v2 = encoding.get("name") == "v2"
    separator = str(encoding.get("configuration", {}).get("separator", "." if v2 else "/"))
    return Naming("" if v2 else f"c{separator}", separator), ndim


def _found(place: Location, naming: Naming, ndim: int) -> Naming:
    """Return how the units are named that are there; as ``naming`` says if some are, or there are none."""
    others = [other for other in _NAMINGS if _example(other, ndim) != _example(naming, ndim)] if ndim else []
    if place.folder is None:
        others = [other for other in others if not other[0]]
        return naming if _holds(place, naming, ndim) else next((o for o in others if _holds(place, o, ndim)), naming)
    names = list(itertools.islice(_listed(place.folder), _LOOKED_AT))
    if not names or any(_fits(place.folder, name, naming, ndim) for name in names):
        return naming
    return next((other for other in others if any(_fits(place.folder, name, other, ndim) for name in names)), naming)


def _listed(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if re.fullmatch(r"(c|\d)[.\d]*", entry.name))
    except OSError:  # what is wrong with it is said where it is opened
        return


def _fits(folder: str, name: str, naming: Naming, ndim: int) -> bool:
    """Whether a name in a folder is a unit, or the folder of units, of a naming."""
    prefix, separator, _ = naming
    if separator != "/":
        return re.fullmatch(re.escape(prefix) + r"\.".join([r"\d+"] * ndim), name) is not None
    if prefix:
        return name == prefix[:-1]
    path, depth = os.path.join(folder, name), 1
    while name.isdecimal() and depth < ndim and os.path.isdir(path):
        name = next(_listed(path), "")
        path, depth = os.path.join(path, name), depth + 1
    return name.isdecimal() and depth == ndim and os.path.isfile(path)


def _holds(place: Location, naming: Naming, ndim: int) -> bool:
    """Whether a store that is slow to list has the first unit."""
    try:
        return place.exists(_example(naming, ndim))
    except AccessError:  # some buckets answer so for what does not exist
        return False


def _example(naming: Naming, ndim: int) -> str:
    return naming.prefix + naming.separator.join("0" * ndim)


def _remedy(place: Location, driver: str, found: Naming) -> str:
    prefix, separator, _ = found
    if driver == "zarr" and not prefix:
        return f'write "dimension_separator": "{separator}" into {place}/.zarray'
    if driver == "zarr3":
        encoding = f'{{"name": "{"default" if prefix else "v2"}", "configuration": {{"separator": "{separator}"}}}}'
        return f'write "chunk_key_encoding": {encoding} into {place}/zarr.json'
    return "rename the chunks, or restore the metadata that belong to them"
