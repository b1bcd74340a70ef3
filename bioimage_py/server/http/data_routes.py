"""Routes of the data of layers: versions by key as zarr has them, drafts by chunk, tables, locks."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from collections.abc import Mapping
from pathlib import Path as StoredPath
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from ...errors import KeyNotFoundError, LockError, ParameterError
from ...projects.storage.leases import LockToken, check_lease, read_lease
from ...projects.values.names import is_space
from ...projects.values.records import DescriptorRecord
from ..accounts.members import Right
from ..commits import new_record
from ..database import audit
from ..pictures import picture_of
from ..refusals import DamagedError
from ..sealed import Place, bytes_of, region_of, write
from ..values import checked
from .asking import AddressOf, Annotates, Asked, Client, Name, Reads, SiteOf, giving, needing
from .bodies import Draft, DraftWish, Lock, LockProof, LockState, LockWish, Sealed

routes = APIRouter()
CHUNK_BYTES = 64 * 2**20
TABLE_BYTES = 64 * 2**20
_AT_ONCE = 4
"""Chunks that are in memory at once."""
_AT_A_TIME = 2**20
"""Bytes that are read at once."""
_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,60})(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,60}){0,11}")
_DATA = "/projects/{project}/descriptors/{descriptor}"
_LAYER = _DATA + "/layers/{layer}"
_chunks, _pictures = CapacityLimiter(_AT_ONCE), CapacityLimiter(1)


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


@routes.get(
    _LAYER + "/versions/{version}/{key:path}",
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
    check_there(asked, descriptor)
    place = place_of(asked, descriptor, layer)
    if not _KEY.fullmatch(key):
        raise KeyNotFoundError("There is no such key.", remedy="keys are those of a zarr group")
    path = place.table(version) if key == "table.csv" else place.version(version) / key
    size = _size(path)
    if size is None:
        raise KeyNotFoundError(f"There is no {key!r}.", remedy="a chunk that is not there holds zeros")
    asked.served.folder.inside(path)
    tag = f'"{version}/{key}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=31536000, immutable", "Accept-Ranges": "bytes"}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    if size <= _AT_A_TIME and not range:  # a streamed file takes a thread three times
        return Response(path.read_bytes(), media_type="application/octet-stream", headers=headers)
    return _Streamed(path, media_type="application/octet-stream", headers=headers)


class _Streamed(FileResponse):
    chunk_size = _AT_A_TIME


def _size(path: StoredPath) -> int | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@routes.get(
    "/projects/{project}/thumbnails/{descriptor}",
    response_class=FileResponse,
    **giving("image/png"),
    **needing("read"),
)
async def thumbnail(descriptor: Name, asked: Reads, site: SiteOf) -> Response:
    """Give a small picture of an image (PNG), where the operator of the server lets it open the image."""
    record = await to_thread.run_sync(record_of, asked, descriptor)
    async with _pictures:
        path = await to_thread.run_sync(picture_of, asked.served.folder, record, site.image_roots)
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


@routes.post(_LAYER + "/drafts", status_code=201, **needing("annotate"))
def open_draft(
    descriptor: Name,
    layer: Name,
    body: DraftWish,
    asked: Annotates,
    site: SiteOf,
    lock_token: Annotated[str, Header(max_length=200)] = "",
) -> Draft:
    """Make a draft of a label map: what is stored, or zeros."""
    check_lease(asked.served.folder, descriptor, lock_token)
    if body.document is None:
        record = record_of(asked, descriptor)
    else:
        site.members.check(asked.caller, asked.served.id, Right.manage)
        record = new_record(descriptor, checked(body.document, "document"))
    draft, source = place_of(asked, descriptor, layer).open_draft(record, body.dtype)
    with source:
        chunks = list(source.write_chunks or source.shape)
        return Draft(id=draft, shape=list(source.shape), dtype=source.dtype.name, chunks=chunks)


DraftId = Annotated[str, Path(pattern=r"^[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}$")]


@routes.put(
    _LAYER + "/drafts/{draft}/chunks/{chunk}",
    status_code=204,
    openapi_extra={
        **needing("annotate")["openapi_extra"],
        "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}},
    },
)
async def put_chunk(
    descriptor: Name,
    layer: Name,
    draft: DraftId,
    chunk: Annotated[str, Path(pattern=r"^[0-9]{1,15}(\.[0-9]{1,15}){0,15}$")],
    asked: Annotates,
    request: Request,
    content_digest: Annotated[str, Header(max_length=200, description="sha-256=:...: (RFC 9530)")] = "",
) -> None:
    """Write a chunk of a draft: all its voxels, little-endian, in C order."""
    place = await to_thread.run_sync(place_of, asked, descriptor, layer)
    index = [int(part) for part in chunk.split(".")]
    async with _chunks:
        source = await to_thread.run_sync(place.draft, draft)
        with source:
            region = region_of(source, index)
            size = bytes_of(source, region)
            if size > CHUNK_BYTES:
                raise HTTPException(413, f"A chunk has at most {CHUNK_BYTES} bytes, this one {size}.")
            body = await _body(request, size)
            _check_digest(body, content_digest, chunk)
            await to_thread.run_sync(write, source, region, body)


def _check_digest(body: bytearray, told: str, chunk: str) -> None:
    found = base64.b64encode(hashlib.sha256(body).digest()).decode()
    if told.startswith("sha-256=:") and told != f"sha-256=:{found}:":
        raise DamagedError(f"The chunk {chunk} arrived damaged ({len(body)} bytes).", remedy="send it again")


async def _body(request: Request, limit: int) -> bytearray:
    """Read a body of at most so many bytes into memory."""
    request.scope["state"]["call"].limit = limit
    body = bytearray()
    async for part in request.stream():
        body += part
    return body


@routes.post(_LAYER + "/drafts/{draft}/seal", **needing("annotate"))
def seal(descriptor: Name, layer: Name, draft: DraftId, asked: Annotates) -> Sealed:
    """End a draft: it becomes a version, which counts when a commit names it. Doing so again gives the same."""
    return Sealed(record=place_of(asked, descriptor, layer).seal(draft))


@routes.delete(_LAYER + "/drafts/{draft}", status_code=204, **needing("annotate"))
def discard(descriptor: Name, layer: Name, draft: DraftId, asked: Annotates) -> None:
    """Remove a draft."""
    place_of(asked, descriptor, layer).discard(draft)


@routes.post(
    _LAYER + "/tables",
    status_code=201,
    openapi_extra={
        **needing("annotate")["openapi_extra"],
        "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}},
    },
)
async def put_table(descriptor: Name, layer: Name, asked: Annotates, request: Request) -> Sealed:
    """Store boxes or landmarks as a version, which counts when a commit names it."""
    place = await to_thread.run_sync(place_of, asked, descriptor, layer)
    async with _chunks:
        body = await _body(request, TABLE_BYTES)
        return Sealed(record=await to_thread.run_sync(place.put_table, bytes(body)))


@routes.get(_DATA + "/lock", **needing("read"))
def lock_state(descriptor: Name, asked: Reads) -> LockState:
    """Tell whether a data set is locked, by whom and until when."""
    check_there(asked, descriptor)
    lease = read_lease(asked.served.folder, descriptor)
    if lease is None or not lease.alive:
        return LockState(locked=False, owner="", expires=None)
    return LockState(locked=True, owner=lease.owner, expires=lease.expires)


@routes.post(_DATA + "/lock", status_code=201, **needing("annotate"))
def take_lock(
    descriptor: Name, body: LockWish, asked: Annotates, site: SiteOf, address: AddressOf, client: Client = ""
) -> Lock:
    """Lock a data set: nobody else writes its annotations while the lock lives."""
    check_there(asked, descriptor)
    owner = f"{asked.caller.name} ({client or 'no client named'})"
    token = LockToken.take(asked.served.folder, descriptor, body.seconds, owner)
    _record(site, asked, address, "lock taken", {"descriptor": descriptor, "seconds": body.seconds})
    return _lock(token.token, asked, descriptor)


@routes.put(_DATA + "/lock", **needing("annotate"))
def renew_lock(descriptor: Name, body: LockProof, asked: Annotates) -> Lock:
    """Let a lock live for its full time from now."""
    check_there(asked, descriptor)
    LockToken.of(asked.served.folder, descriptor, body.token).renew()
    return _lock(body.token, asked, descriptor)


@routes.delete(_DATA + "/lock", status_code=204, **needing("annotate"))
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
    record_of(asked, descriptor)
    folder = asked.served.folder
    if force:
        site.members.check(asked.caller, asked.served.id, Right.manage)
        lease = read_lease(folder, descriptor)
        if lease is None or not lease.alive:
            return
        details = {"descriptor": descriptor, "owner": lease.owner, "note": note}
        _record(site, asked, address, "lock taken away", details)
        lock_token = lease.token
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
