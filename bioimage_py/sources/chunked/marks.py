"""Marks: what tells whether a file or object was written again, without reading it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress

from ..stores.location import Location, open_kvstore
from .unit_files import UnitFiles

_SECONDS = 20.0
_AT_ONCE = 8
_FILES = 64


def marks_of(place: Location, names: Sequence[str]) -> dict[str, str]:
    """Marks of the files or objects that exist, by name; what the store says nothing of is left out.

    Inode, time and size of a local file, and of the archive that it is in; ETag or generation of an object in a bucket;
    ETag, time and size as a web server gives them.
    """
    base, pipe, _ = place.url.partition("|zip:")
    if pipe:
        above, _, name = base.rpartition("/")
        return marks_of(Location(above or "/", place.options), [name])
    if place.folder is not None:
        return _of_files(place.folder, names)
    return _of_pages(place, names) if place.scheme in ("http", "https") else _of_objects(place, names)


def some_files(place: Location) -> UnitFiles | None:
    """Some of what lies in a local folder, evenly spread, for arrays that do not say where a voxel lies."""
    if place.folder is None:
        return None
    try:
        names = sorted(name for name in os.listdir(place.folder) if not name.startswith("."))
    except OSError:
        names = []  # nothing was written yet
    return UnitFiles(place, tuple(names[:: max(1, len(names) // _FILES)][: _FILES + 1]))


def _of_files(folder: str, names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with suppress(OSError):
            stat = os.stat(os.path.join(folder, name))
            found[name] = f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_size}"
    return found


def _of_objects(place: Location, names: Sequence[str]) -> dict[str, str]:
    store, found = open_kvstore(place), {}
    # one byte is enough for the answer to name the object's version
    answers = [(name, store.read(name, byte_range=slice(0, 1))) for name in names]
    for name, answer in answers:
        with suppress(ValueError, OSError):
            read = answer.result()
            if read.state == "value":
                found[name] = read.stamp.generation.hex()
    return found


def _of_pages(place: Location, names: Sequence[str]) -> dict[str, str]:
    import urllib.request
    from concurrent.futures import ThreadPoolExecutor

    headers = {key: os.path.expandvars(str(value)) for key, value in (place.options.get("headers") or {}).items()}

    def ask(name: str) -> str:
        request = urllib.request.Request((place / name).url, method="HEAD", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                told = {key: answer.headers.get(key) for key in ("ETag", "Last-Modified", "Content-Length")}
        except (OSError, ValueError):
            return ""
        return json.dumps(told)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {name: mark for name, mark in zip(names, pool.map(ask, names), strict=True) if mark}
