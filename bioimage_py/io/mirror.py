"""Changing zarr metadata in any store: zarr-python works on a copy in memory, and what it changed is written back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..sources.stores.location import Location
from ..system.json_text import parse_json

_DOCUMENTS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_CONSOLIDATED = ".zmetadata"


@contextmanager
def mirrored_metadata(root: Location, *keys: str) -> Iterator[Any]:
    """Give the metadata of the groups from a container down to some keys as a ``zarr.storage.MemoryStore``.

    What is new or changed at the end is written to the container, each document whole, the innermost last. Consolidated
    metadata of the container, which would hide what is new, is dropped.

    Parameters
    ----------
    root : Location
        Container.
    *keys : str
        Groups in it whose metadata is needed, with those above them.
    """
    import zarr
    from zarr.core.buffer import default_buffer_prototype

    before = _load(root, keys)
    buffer = default_buffer_prototype().buffer
    content = {name: buffer.from_bytes(_unconsolidated(name, found)) for name, found in before.items()}
    yield zarr.storage.MemoryStore(content)
    after = {name: found.to_bytes() for name, found in content.items()}
    for name in sorted((name for name in after if after[name] != before.get(name)), key=lambda name: name.count("/")):
        root.write(name, after[name])
    if after != before and root.exists(_CONSOLIDATED):
        root.delete(_CONSOLIDATED)


def _load(root: Location, keys: tuple[str, ...]) -> dict[str, bytes]:
    groups = {""}
    for key in keys:
        parts = key.strip("/").split("/") if key.strip("/") else []
        groups |= {"/".join(parts[: n + 1]) for n in range(len(parts))}
    found: dict[str, bytes] = {}
    for group in groups:
        for document in _DOCUMENTS:
            name = f"{group}/{document}".lstrip("/")
            if (content := root.read(name)) is not None:
                found[name] = content
    return found


def _unconsolidated(name: str, content: bytes) -> bytes:
    if name != "zarr.json":
        return content
    document = parse_json(content)
    if "consolidated_metadata" not in document:
        return content
    return json.dumps({key: value for key, value in document.items() if key != "consolidated_metadata"}).encode()
