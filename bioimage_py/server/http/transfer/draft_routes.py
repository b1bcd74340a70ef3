"""Routes of drafts: made, filled chunk by chunk as zarr stores them, sealed or published."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse

from ....errors import ConflictError, KeyNotFoundError
from ....projects.storage.events import Origin
from ....projects.storage.leases import check_lease
from ....projects.storage.packs import ARRAY, LINE_BYTES, PACK_BYTES, unpacked
from ....projects.values.merge import MISSING, digest
from ...accounts.members import Right
from ...commits import Commit, Field, Wish, commit
from ...refusals import DamagedError
from ...sealed import Place
from ...transfer.chunks import Grid
from ...transfer.drafts import missing, put_chunks
from ...transfer.drafts import open_draft as opened
from ...transfer.marks import Mark, Marks
from ...transfer.records import new_layer, new_record
from ...values import checked
from ..asking import Annotates, Asked, Client, Key, Name, SiteOf, needing
from ..bodies import Sealed
from ..places import LAYER, body_of, in_memory, not_there, place_of, record_of
from .bodies import Draft, DraftWish, Hashes, Missing, Published, Publishing, Rebased

routes = APIRouter()
DraftId = Annotated[str, Path(pattern=r"^[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}$")]
ChunkKey = Annotated[str, Path(max_length=300)]
_DRAFT = LAYER + "/drafts/{draft}"


@routes.post(LAYER + "/drafts", status_code=201, **needing("annotate"))
def open_draft(
    descriptor: Name,
    layer: Name,
    body: DraftWish,
    asked: Annotates,
    site: SiteOf,
) -> Draft:
    """Make a draft of a label map: what is stored, a version, or zeros; or open the caller's draft of that name."""
    if body.document is not None or body.layer is not None:
        site.members.check(asked.caller, asked.served.id, Right.manage)
    record = (
        record_of(asked, descriptor)
        if body.document is None
        else new_record(descriptor, checked(body.document, "document"))
    )
    if body.layer is None:
        place = place_of(asked, descriptor, layer)
    else:
        place = Place(asked.served.folder, descriptor, new_layer(layer, checked(body.layer, "layer")))
    mark = Mark(descriptor, layer, asked.caller.name, body.name)
    found = opened(asked.served.folder, place, record, mark, body.dtype, body.base)
    with place.draft(found.id, "r") as source:
        chunks = list(source.write_chunks or source.shape)
        shape, dtype = list(source.shape), source.dtype.name
    return Draft(id=found.id, shape=shape, dtype=dtype, chunks=chunks, base=place.base_of(found.id), made=found.made)


def _draft_of(asked: Asked, descriptor: str, layer: str, draft: str) -> Place:
    """Return where a draft lies; it is known by its mark, also where its data set is not saved yet.

    Raises
    ------
    KeyNotFoundError
        There is none, or it is somebody else's.
    """
    mark = Marks(asked.served.folder).of(draft)
    if mark is None or not mark.is_of(descriptor, layer, asked.caller.name):
        raise KeyNotFoundError(f"There is no draft {draft!r} (any more).", remedy="open a new one")
    return Place.known(asked.served.folder, descriptor, layer)


@routes.get(_DRAFT + "/{key:path}", response_class=FileResponse, **needing("annotate"))
def draft_data(descriptor: Name, layer: Name, draft: DraftId, key: ChunkKey, asked: Annotates) -> Response:
    """Give a part of a draft, as of now: a key of its zarr group."""
    path = _draft_of(asked, descriptor, layer, draft).draft_path(draft)
    if key not in ("zarr.json", f"{ARRAY}/zarr.json"):
        _grid(path).check_key(key)
    if not (path / key).is_file():
        raise not_there(path, key)
    asked.served.folder.inside(path / key)
    return FileResponse(path / key, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


_BYTES = {
    **needing("annotate")["openapi_extra"],
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}},
}
Digest = Annotated[str, Header(max_length=200, description="sha-256=:...: (RFC 9530)")]


@routes.put(_DRAFT + "/{key:path}", status_code=204, openapi_extra=_BYTES)
async def put_draft_chunk(
    descriptor: Name,
    layer: Name,
    draft: DraftId,
    key: ChunkKey,
    asked: Annotates,
    request: Request,
    content_digest: Digest = "",
) -> None:
    """Write a chunk of a draft, encoded as its zarr array has it; an empty body stands for zeros."""
    place, grid = await to_thread.run_sync(_open_to, asked, descriptor, layer, draft)
    grid.check_key(key)
    async with in_memory:
        body = await body_of(request, grid.most)
        await to_thread.run_sync(
            lambda: _put(asked, place, draft, {key: _whole(body, content_digest, f"The chunk {key}")})
        )


@routes.post(_DRAFT + "/chunks", status_code=204, openapi_extra=_BYTES)
async def put_draft_chunks(
    descriptor: Name, layer: Name, draft: DraftId, asked: Annotates, request: Request, content_digest: Digest = ""
) -> None:
    """Write chunks of a draft together: a line of JSON with their keys and sizes in bytes, then their bytes."""
    place, grid = await to_thread.run_sync(_open_to, asked, descriptor, layer, draft)
    async with in_memory:
        body = await body_of(request, LINE_BYTES + max(PACK_BYTES, grid.most))
        await to_thread.run_sync(
            lambda: _put(asked, place, draft, unpacked(_whole(body, content_digest, "What was sent")))
        )


def _open_to(asked: Asked, descriptor: str, layer: str, draft: str) -> tuple[Place, Grid]:
    place = _draft_of(asked, descriptor, layer, draft)
    return place, _grid(place.draft_path(draft))


def _put(asked: Asked, place: Place, draft: str, chunks: Mapping[str, bytes]) -> None:
    asked.projects.room(asked.served).take(sum(map(len, chunks.values())))
    put_chunks(place.draft_path(draft), chunks)
    place.check_open(draft)
    Marks(asked.served.folder).touch(draft)


def _grid(draft: object) -> Grid:
    try:
        return Grid.of(draft / ARRAY)  # type: ignore[operator]
    except FileNotFoundError:
        raise KeyNotFoundError("There is no such draft (any more).", remedy="open a new one") from None


def _whole(body: bytes, told: str, what: str) -> bytes:
    """Return what was sent, if it is what the client says that it is (DamagedError)."""
    if told.startswith("sha-256=:"):
        found = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if told != f"sha-256=:{found}:":
            raise DamagedError(f"{what} arrived damaged ({len(body)} bytes).", remedy="send it again")
    return body


@routes.post(_DRAFT + "/have", **needing("annotate"))
def have(descriptor: Name, layer: Name, draft: DraftId, body: Hashes, asked: Annotates) -> Missing:
    """Tell which chunks a draft does not have as they hash, so that only these are sent."""
    path = _draft_of(asked, descriptor, layer, draft).draft_path(draft)
    _grid(path)
    return Missing(missing=missing(path, body.chunks))


@routes.post(_DRAFT + "/seal", **needing("annotate"))
def seal(descriptor: Name, layer: Name, draft: DraftId, asked: Annotates) -> Sealed:
    """End a draft: it becomes a version, which counts when a commit names it. Doing so again gives the same."""
    found = _draft_of(asked, descriptor, layer, draft).seal(draft)
    Marks(asked.served.folder).touch(draft)
    return Sealed(record=found.record, same=found.same)


@routes.post(_DRAFT + "/rebase", **needing("annotate"))
def rebase(descriptor: Name, layer: Name, draft: DraftId, asked: Annotates) -> Rebased:
    """Let a draft be one of what is stored now: chunks that only it changed stay, and those that both did."""
    _draft_of(asked, descriptor, layer, draft)
    place, stored = place_of(asked, descriptor, layer), record_of(asked, descriptor).layers.get(layer)
    found, both = place.rebase(draft, stored)
    marks = Marks(asked.served.folder)
    if found != draft and (mark := marks.of(draft)) is not None:
        marks.note(found, mark)
    return Rebased(draft=found, both=both, base=stored)


@routes.post(_DRAFT + "/publish", **needing("annotate"))
def publish(
    descriptor: Name,
    layer: Name,
    draft: DraftId,
    body: Publishing,
    asked: Annotates,
    key: Key = "",
    client: Client = "",
) -> Published:
    """Seal a draft and let the data set name it, by one commit; nothing is saved where its base holds the same.

    Refused where the draft began with another version than `base`, or something else is stored by now; it stays.
    """
    key = key or f"publish-{draft}"
    done = asked.served.made(asked.caller.name, key)
    if done is not None and Place.known(asked.served.folder, descriptor, layer).sealed(draft) is not None:
        return Published(version=draft, seq=done)
    place, record = _draft_of(asked, descriptor, layer, draft), record_of(asked, descriptor)
    known = place.sealed(draft) is not None
    base = record.layers.get(layer) if known else place.base_of(draft)
    stored = record.layers.get(layer)
    if not known and (base != stored or ("" if base is None else base.version) != body.base):
        raise ConflictError(
            f"The draft began with the version {'' if base is None else base.version!r}; stored is"
            f" {'none' if stored is None else repr(stored.version)}.",
            field=f"descriptors.{descriptor}.layers.{layer}",
            remedy="rebase the draft",
        )
    check_lease(asked.served.folder, descriptor, body.lock)
    sealed = place.seal(draft)
    if sealed.same and base is not None:
        return Published(version=body.base, seq=asked.served.last())
    old = MISSING if not body.base else place.record_of(body.base, stored)
    wish = Wish(descriptor, (Field(("layers", layer), old, sealed.record.model_dump()),))
    mark = digest({"draft": draft, **body.model_dump()})
    origin = Origin(asked.caller.name, client, f"{key} {mark}")
    answer = commit(asked.projects, asked.served, Commit((wish,), {descriptor: body.lock}), asked.role, origin)
    return Published(version=draft, seq=answer.seq)


@routes.delete(_DRAFT, status_code=204, **needing("annotate"))
def discard(descriptor: Name, layer: Name, draft: DraftId, asked: Annotates) -> None:
    """Remove a draft, also one that was sealed, unless it is stored by now; nothing happens where there is none."""
    marks = Marks(asked.served.folder)
    mark = marks.of(draft)
    if mark is not None and mark.is_of(descriptor, layer, asked.caller.name):
        marks.remove(draft)
