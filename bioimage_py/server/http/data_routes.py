"""Routes of the data of layers: versions by key as zarr has them, tables, locks, small pictures."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from itertools import product
from pathlib import Path as StoredPath
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse

from ...errors import KeyNotFoundError, LockError, ParameterError
from ...projects.storage.folder import parse
from ...projects.storage.leases import LockToken, read_lease
from ...projects.storage.packs import ARRAY, PACK_BYTES, PACK_CHUNKS, packed
from ..accounts.locks import take_away
from ..accounts.members import Right
from ..accounts.personal import plain_array
from ..database import audit
from ..pictures import made_picture, picture_of
from ..refusals import LostChunkError
from ..sealed import Place
from ..transfer.marks import Mark, Marks
from ..transfer.records import new_layer
from ..values import checked
from .answers import json_answer
from .asking import AddressOf, Annotates, Asked, Client, Name, Reads, SiteOf, giving, needing
from .bodies import Lock, LockProof, LockState, LockWish, Sealed
from .places import DATA, LAYER, body_of, check_there, in_memory, not_there, place_of, record_of

routes = APIRouter()
VERSION = LAYER + "/versions/{version}/{key:path}"
BOX = LAYER + "/versions/{version}/box/{box}"
TABLE_BYTES = 64 * 2**20
_AT_A_TIME = 2**20
"""Bytes that are read at once."""
_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,60})(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,60}){0,11}")
_PART = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
_pictures = CapacityLimiter(1)


@routes.get(
    BOX,
    response_class=Response,
    **giving("application/octet-stream", 200),
    **needing("read"),
)
def chunks_of_box(
    descriptor: Name,
    layer: Name,
    version: Name,
    box: Annotated[str, Path(max_length=200, description="of chunks: begin-end of every axis, such as 0-2,0-2,4-6")],
    asked: Reads,
) -> Response:
    """Give the chunks of a box together: a line of JSON with their keys and sizes, then their bytes, none for zeros.

    Those at the end of a large box are left out, to be asked for by themselves.
    """
    place, folder = _readable(asked, descriptor, layer, version), asked.served.folder
    parts = [_PART.fullmatch(part) for part in box.split(",")]
    group = place.version(version)
    if not all(parts):
        raise KeyNotFoundError("There is no such box.", remedy="begin-end of every axis, in chunks")
    spans = [range(int(part[1]), int(part[2])) for part in parts if part]
    if not 0 < math.prod(map(len, spans)) <= PACK_CHUNKS:
        raise KeyNotFoundError("There is no such box.", remedy=f"one of 1 to {PACK_CHUNKS} chunks")
    sizes, left = {}, PACK_BYTES
    for position in product(*spans):
        key = f"{ARRAY}/c/{'/'.join(map(str, position))}"
        sizes[key] = _size_of_chunk(group, key) or 0
        left -= sizes[key]
        if left < 0:
            del sizes[key]
            break
    folder.check_inside(f"{group}/{key}" for key, size in sizes.items() if size)
    found = {key: _content(f"{group}/{key}") if size else b"" for key, size in sizes.items()}
    if _size(group / ARRAY / "zarr.json") is None:  # looked at last: what goes meanwhile goes as a whole
        raise KeyNotFoundError(f"There is no version {version!r} (any more).", remedy="project.sync()")
    return Response(packed(found).body, media_type="application/octet-stream", headers=_IMMUTABLE)


@routes.get(
    VERSION,
    response_class=FileResponse,
    **giving("application/octet-stream", 200, 206),
    **needing("read"),
)
def data(
    descriptor: Name,
    layer: Name,
    version: Name,
    key: Annotated[str, Path(max_length=500)],
    asked: Reads,
    if_none_match: Annotated[str, Header(max_length=1000)] = "",
    range: Annotated[str, Header(description="as HTTP has it")] = "",
) -> Response:
    """Give a part of a version, which never changes: a key of its zarr group, or "table.csv"; ranges are allowed."""
    place = _readable(asked, descriptor, layer, version)
    if not _KEY.fullmatch(key):
        raise KeyNotFoundError("There is no such key.", remedy="keys are those of a zarr group")
    path = place.table(version) if key == "table.csv" else place.version(version) / key
    size = _size_of_chunk(place.version(version), key) if key.startswith(f"{ARRAY}/c/") else _size(path)
    if size is None:
        raise not_there(place.version(version), key)
    asked.served.folder.inside(path)
    if asked.sight.withholds and key.endswith("zarr.json"):
        return json_answer(plain_array(parse(path.read_bytes(), path)), "", dict(_IMMUTABLE))
    tag = f'"{version}/{key}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes", **_IMMUTABLE}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    if size <= _AT_A_TIME and not range:  # a streamed file takes a thread three times
        return Response(path.read_bytes(), media_type="application/octet-stream", headers=headers)
    return _Streamed(path, media_type="application/octet-stream", headers=headers)


def _size_of_chunk(group: StoredPath, key: str) -> int | None:
    """Return the bytes of a chunk, None where it is of zeros; LostChunkError where it is empty."""
    size = _size(f"{group}/{key}")
    if size == 0:
        raise LostChunkError(key)
    return size


def _readable(asked: Asked, descriptor: str, layer: str, version: str) -> Place:
    """Return where a version lies that somebody may read."""
    mark = Marks(asked.served.folder).of(version)
    if mark is not None and mark.is_of(descriptor, layer, asked.caller.name):  # one's own, before it counts
        return Place.known(asked.served.folder, descriptor, layer)
    check_there(asked, descriptor)
    return place_of(asked, descriptor, layer)


class _Streamed(FileResponse):
    chunk_size = _AT_A_TIME


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _size(path: str | StoredPath) -> int | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):  # all else is no answer, least of all that there are zeros
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@routes.get(
    "/projects/{project}/thumbnails/{descriptor}",
    response_class=FileResponse,
    **giving("image/png"),
    **needing("read"),
)
async def thumbnail(
    descriptor: Name,
    asked: Reads,
    site: SiteOf,
    generate: Annotated[bool, Query(description="make one where there is none")] = True,
) -> Response:
    """Give a small picture of an image (PNG), where the operator of the server lets it open the image."""
    record = await to_thread.run_sync(record_of, asked, descriptor)
    if not generate and await to_thread.run_sync(made_picture, asked.served.folder, record) is None:
        raise KeyNotFoundError(f"There is no picture of {descriptor!r} (yet).", remedy="load_thumbnail()")
    async with _pictures:
        path = await to_thread.run_sync(picture_of, asked.served.folder, record, site.image_roots)
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


@routes.post(
    LAYER + "/tables",
    status_code=201,
    openapi_extra={
        **needing("annotate")["openapi_extra"],
        "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}},
    },
)
async def put_table(
    descriptor: Name,
    layer: Name,
    asked: Annotates,
    site: SiteOf,
    request: Request,
    layer_document: Annotated[str, Header(max_length=60_000, description="of a layer to be added: JSON, base64")] = "",
) -> Sealed:
    """Store boxes or landmarks as a version, which counts when a commit names it."""
    if layer_document:
        await to_thread.run_sync(site.members.check, asked.caller, asked.served.id, Right.manage)
        place = Place(asked.served.folder, descriptor, new_layer(layer, _document(layer_document)))
    else:
        place = await to_thread.run_sync(place_of, asked, descriptor, layer)
    async with in_memory:
        body = await body_of(request, TABLE_BYTES)
        await to_thread.run_sync(asked.projects.room(asked.served).take, len(body))
        record = await to_thread.run_sync(place.put_table, body)
    Marks(asked.served.folder).note(record.version, Mark(descriptor, layer, asked.caller.name))
    return Sealed(record=record)


def _document(text: str) -> Any:
    try:
        return checked(json.loads(base64.b64decode(text, validate=True)), "layer")
    except (ValueError, RecursionError):
        raise ParameterError("Layer-Document is no JSON in base64.", remedy="see the settings of a project") from None


@routes.get(DATA + "/lock", **needing("read"))
def lock_state(descriptor: Name, asked: Reads) -> LockState:
    """Tell whether a data set is locked, by whom and until when."""
    check_there(asked, descriptor)
    lease = read_lease(asked.served.folder, descriptor)
    if lease is None or not lease.alive:
        return LockState(locked=False, owner="", expires=None)
    return LockState(locked=True, owner=lease.owner, expires=lease.expires)


@routes.post(DATA + "/lock", status_code=201, **needing("annotate"))
def take_lock(
    descriptor: Name, body: LockWish, asked: Annotates, site: SiteOf, address: AddressOf, client: Client = ""
) -> Lock:
    """Lock a data set: nobody else writes its annotations while the lock lives."""
    check_there(asked, descriptor)
    owner = f"{asked.caller.name} ({client or 'no client named'})"
    token = LockToken.take(asked.served.folder, descriptor, body.seconds, owner)
    _record(site, asked, address, "lock taken", {"descriptor": descriptor, "seconds": body.seconds})
    return _lock(token.token, asked, descriptor)


@routes.put(DATA + "/lock", **needing("annotate"))
def renew_lock(descriptor: Name, body: LockProof, asked: Annotates) -> Lock:
    """Let a lock live for its full time from now."""
    check_there(asked, descriptor)
    LockToken.of(asked.served.folder, descriptor, body.token).renew()
    return _lock(body.token, asked, descriptor)


@routes.delete(DATA + "/lock", status_code=204, **needing("annotate"))
def unlock(
    descriptor: Name,
    asked: Annotates,
    site: SiteOf,
    address: AddressOf,
    lock_token: Annotated[str, Header(max_length=200)] = "",
    force: Annotated[bool, Query(description="take away another's lock; for maintainers")] = False,
    note: Annotated[str, Query(max_length=500, description="why, for the audit log")] = "",
) -> None:
    """Release a lock; nothing happens where it has expired or gone."""
    folder = asked.served.folder  # the lock of a data set that was deleted is one, too
    if force:
        site.members.check(asked.caller, asked.served.id, Right.manage)
        take_away(site.database, asked.served, descriptor, asked.caller.name, note, address)
        return
    if not lock_token:
        raise ParameterError("The token of the lock is missing.", remedy="send it in the header Lock-Token")
    LockToken.of(folder, descriptor, lock_token).unlock()


def _lock(token: str, asked: Asked, descriptor: str) -> Lock:
    lease = read_lease(asked.served.folder, descriptor)
    if lease is None or lease.token != token:
        raise LockError("The lock was taken away.", remedy="lock it again")
    return Lock(token=token, expires=lease.expires)


def _record(site: SiteOf, asked: Asked, address: str, action: str, details: Mapping[str, object]) -> None:
    with site.database.writing() as connection:
        audit.record(connection, asked.caller.name, action, address=address, project=asked.served.id, details=details)
