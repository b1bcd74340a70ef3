"""Data sets and layers that requests name, and bodies of bytes, of which few are in memory at once."""

from __future__ import annotations

from pathlib import Path

from anyio import CapacityLimiter
from fastapi import Request

from ...errors import KeyNotFoundError
from ...projects.storage.packs import ARRAY
from ...projects.values.names import is_space
from ...projects.values.records import DescriptorRecord
from ..refusals import NoChunkError
from ..sealed import Place
from .asking import Asked

DATA = "/projects/{project}/descriptors/{descriptor}"
LAYER = DATA + "/layers/{layer}"
in_memory = CapacityLimiter(4)
"""Held by who has a body in memory."""


def not_there(group: Path, key: str) -> KeyNotFoundError:
    """Return what a key that has not been found in a zarr group is: a chunk of zeros, or nothing that there is."""
    if key.startswith(f"{ARRAY}/c/") and (group / ARRAY / "zarr.json").is_file():  # looked at last: it goes as a whole
        return NoChunkError(key)
    return KeyNotFoundError(f"There is no {key!r} (any more).", remedy="project.sync()")


async def body_of(request: Request, limit: int) -> bytes:
    """Read a body of at most so many bytes into memory."""
    request.scope["state"]["call"].limit = limit
    body = bytearray()
    async for part in request.stream():
        body += part
    return bytes(body)


def record_of(asked: Asked, descriptor: str) -> DescriptorRecord:
    """Return what is saved of a data set; KeyNotFoundError where there is none."""
    document = asked.served.folder.read(descriptor).document if descriptor != "project" else None
    if document is None:
        raise KeyNotFoundError(f"There is no data set {descriptor!r} (any more).", remedy="project.sync()")
    return DescriptorRecord.parse(document)


def check_there(asked: Asked, descriptor: str) -> None:
    """Refuse a data set that there is not (KeyNotFoundError)."""
    if descriptor == "project" or not asked.served.documents.exists(descriptor):
        raise KeyNotFoundError(f"There is no data set {descriptor!r} (any more).", remedy="project.sync()")


def place_of(asked: Asked, descriptor: str, layer: str) -> Place:
    """Return where the data of a layer lies, also of a data set that is not saved yet.

    Raises
    ------
    KeyNotFoundError
        The project has no such layer.
    """
    for one in asked.served.documents.settings().layers:
        if one.id == layer and not is_space(layer):
            return Place(asked.served.folder, descriptor, one)
    raise KeyNotFoundError(f"There is no layer {layer!r} (any more).", remedy="project.sync()")
