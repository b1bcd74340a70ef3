"""Routes of what comes in pieces: copies of images, and whole projects."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request

from ...accounts.callers import Caller
from ...keeping import sweep
from ...refusals import DamagedError
from ...site import Site
from ...transfer.copies import take_image
from ...transfer.room import check_room
from ...transfer.uploads import PIECE, UPLOADS, Incoming, Uploads
from ..asking import AddressOf, Asked, Manages, SiteOf, UserOf, needing
from ..places import body_of, in_memory
from .bodies import ProjectUploadWish, Upload, UploadWish

routes = APIRouter()
UploadId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Offset = Annotated[int, Header(alias="Upload-Offset", ge=0, le=2**53)]
_OF_PROJECT = "/projects/{project}/uploads"
_BODY: dict[str, Any] = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}


@routes.post(_OF_PROJECT, status_code=201, **needing("manage"))
def begin_image(body: UploadWish, asked: Manages) -> Upload:
    """Begin to send the copy of an image of a data set that is not saved yet; or learn how far it has come."""
    folder, uploads = asked.served.folder, images_of(asked)
    sweep(asked.served)  # copies that no data set has named go, too
    about = {"user": asked.caller.name, "descriptor": body.descriptor}
    with asked.projects.room(asked.served).for_upload(uploads, *_told_of(about, body)):
        found = uploads.open(about, body.size, body.sha256)
        if found.made is not None and not (folder.root / "images" / f"{found.made}.zarr").is_dir():
            uploads.remove(found.id)
            found = uploads.open(about, body.size, body.sha256)
    return _told(found)


def _told_of(about: dict[str, Any], body: UploadWish | ProjectUploadWish) -> tuple[str, int]:
    return Uploads.id_of(about, body.size, body.sha256), body.size


@routes.get(_OF_PROJECT + "/{upload}", **needing("manage"))
def image_offset(upload: UploadId, asked: Manages) -> Upload:
    """Tell how far it has come."""
    return _told(images_of(asked).of(upload, {"user": asked.caller.name}))


@routes.patch(_OF_PROJECT + "/{upload}", openapi_extra={**needing("manage")["openapi_extra"], "requestBody": _BODY})
async def send_image(upload: UploadId, asked: Manages, request: Request, upload_offset: Offset) -> Upload:
    """Send the piece that begins at an offset; with the last one the copy is looked at and put in its place."""
    uploads = images_of(asked)
    incoming = await _append(uploads, upload, {"user": asked.caller.name}, request, upload_offset)

    def end() -> Incoming:
        with uploads.alone(upload):
            found = uploads.of(upload, {"user": asked.caller.name})
            if found.made is None:
                take_image(asked.served.folder, found.about["descriptor"], uploads.check(upload))
                uploads.end(upload, found.about["descriptor"])
                asked.projects.room(asked.served).look_again()
        return uploads.of(upload, {"user": asked.caller.name})

    return _told(await to_thread.run_sync(end) if incoming.is_whole and incoming.made is None else incoming)


@routes.post("/uploads", status_code=201, **needing("user"))
def begin_project(body: ProjectUploadWish, caller: UserOf, site: SiteOf) -> Upload:
    """Begin to send a project, of which the caller will be the owner; or learn how far it has come."""
    uploads, about = _projects(site), {"user": caller.name}
    check_room(site.projects.most, 0, body.size)
    uploads.sweep()
    with site.projects.disk.for_upload(uploads, *_told_of(about, body)):
        found = uploads.open(about, body.size, body.sha256)
        if found.made is not None and not site.projects.has(found.made):
            uploads.remove(found.id)
            found = uploads.open(about, body.size, body.sha256)
    return _told(found)


@routes.get("/uploads/{upload}", **needing("user"))
def project_offset(upload: UploadId, caller: UserOf, site: SiteOf) -> Upload:
    """Tell how far it has come."""
    return _told(_projects(site).of(upload, {"user": caller.name}))


@routes.patch("/uploads/{upload}", openapi_extra={**needing("user")["openapi_extra"], "requestBody": _BODY})
async def send_project(
    upload: UploadId, caller: UserOf, site: SiteOf, address: AddressOf, request: Request, upload_offset: Offset
) -> Upload:
    """Send the piece that begins at an offset; with the last one the project is looked at and served."""
    uploads = _projects(site)
    incoming = await _append(uploads, upload, {"user": caller.name}, request, upload_offset)
    ended = incoming.is_whole and incoming.made is None
    return _told(await to_thread.run_sync(_adopted, uploads, upload, caller, site, address) if ended else incoming)


def _adopted(uploads: Uploads, upload: str, caller: Caller, site: Site, address: str) -> Incoming:
    about = {"user": caller.name}
    with uploads.alone(upload):
        if uploads.of(upload, about).made is None:
            uploads.end(upload, site.projects.adopt(uploads.check(upload), caller, address))
    return uploads.of(upload, about)


async def _append(uploads: Uploads, id: str, about: dict[str, Any], request: Request, offset: int) -> Incoming:
    await to_thread.run_sync(uploads.of, id, about)
    async with in_memory:
        body = await body_of(request, PIECE)
        _check_length(request, body)
        await to_thread.run_sync(uploads.append, id, offset, body)
    return await to_thread.run_sync(uploads.of, id, about)


def _check_length(request: Request, body: bytes) -> None:
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) != len(body):
        raise DamagedError("The piece was cut off.", remedy="send it again")


def _told(incoming: Incoming) -> Upload:
    return Upload(id=incoming.id, offset=incoming.offset, size=incoming.size, made=incoming.made)


def images_of(asked: Asked) -> Uploads:
    """Return the copies of images that are being sent into a project."""
    return Uploads(asked.served.folder.root / UPLOADS)


def _projects(site: Site) -> Uploads:
    return Uploads(site.root / "uploads")
