"""Routes of files as they lie in a project: all of them for who takes it home, copies of images, annotation spaces."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse

from ....errors import FormatError, KeyNotFoundError
from ....projects.storage.contents import checked_path, files_of
from ....projects.storage.folder import parse
from ....projects.storage.packs import ARRAY
from ....projects.values.names import space_key
from ....projects.values.settings import parse_settings
from ...accounts.personal import plain_array
from ...database import audit
from ...transfer.chunks import Grid
from ...transfer.marks import Mark, Marks
from ...transfer.spaces import path_of, put_space
from ..answers import json_answer
from ..asking import AddressOf, Annotates, Asked, Manages, Name, Reads, SiteOf, needing
from ..bodies import Sealed
from ..places import DATA, body_of, in_memory, not_there, record_of
from .bodies import FilePage, FileRow
from .upload_routes import images_of

routes = APIRouter()
SPACE_BYTES = 64 * 2**20
_MOST = 1000
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable", "Accept-Ranges": "bytes"}
_FILES = "/projects/{project}/files"


@routes.get(_FILES, **needing("manage"))
def files(
    asked: Manages, site: SiteOf, address: AddressOf, after: Annotated[str, Query(max_length=2000)] = ""
) -> FilePage:
    """List the files that the project is, those after one; without what is of the server."""
    asked.served.take_over()
    last, rows, root = asked.served.last(), [], asked.served.folder.root
    if not after:
        with site.database.writing() as connection:
            audit.record(connection, asked.caller.name, "exported", address=address, project=asked.served.id)
    for name in files_of(root, after):
        try:
            state = (root / name).stat()
        except FileNotFoundError:
            continue
        rows.append(FileRow(path=name, size=state.st_size, etag=_etag(state.st_mtime_ns, state.st_ino, state.st_size)))
        if len(rows) == _MOST:
            return FilePage(files=rows, next=name, last=last)
    return FilePage(files=rows, next="", last=last)


def _etag(time: int, inode: int, size: int) -> str:
    return f"{time:x}-{inode:x}-{size:x}"


@routes.get(_FILES + "/{path:path}", response_class=FileResponse, **needing("manage"))
def file(path: Annotated[str, Path(max_length=2000)], asked: Manages) -> Response:
    """Give a file of the project."""
    try:
        found = asked.served.folder.inside(asked.served.folder.root / checked_path(path))
    except FormatError as error:
        raise KeyNotFoundError(error.message, remedy=error.remedy) from None
    return _given(found, {"Cache-Control": "private, no-cache"})


@routes.get(DATA + "/image/{key:path}", response_class=FileResponse, **needing("read"))
def image(descriptor: Name, key: Annotated[str, Path(max_length=300)], asked: Reads) -> Response:
    """Give a part of the copy of an image, which never changes: a key of its zarr group."""
    if images_of(asked).made(asked.caller.name, descriptor) is None:  # one's own may be read before it counts
        record_of(asked, descriptor)
    group = asked.served.folder.root / "images" / f"{descriptor}.zarr"
    if key not in ("zarr.json", f"{ARRAY}/zarr.json"):
        if not (group / ARRAY / "zarr.json").is_file():
            raise KeyNotFoundError(f"The project has no copy of the image of {descriptor!r}.", remedy="it is elsewhere")
        Grid.of(group / ARRAY).check_key(key)
    found = asked.served.folder.inside(group / key)
    if not found.is_file():
        raise not_there(group, key)
    if asked.sight.withholds and key.endswith("zarr.json"):
        return json_answer(plain_array(parse(found.read_bytes(), found)), "", {"Cache-Control": "private, no-cache"})
    return _given(found, _IMMUTABLE)


_SPACE = DATA + "/spaces/{space}/versions"


@routes.post(
    _SPACE,
    status_code=201,
    openapi_extra={
        **needing("annotate")["openapi_extra"],
        "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}},
    },
)
async def send_space(
    descriptor: Name, space: Name, asked: Annotates, request: Request, base: Annotated[str, Query(max_length=200)] = ""
) -> Sealed:
    """Store an annotation space, or its changes since `base`, as a version, which counts when a commit names it."""

    def store() -> Sealed:
        if base:
            may_be_seen(asked, descriptor, space_key(space), base)
        asked.projects.room(asked.served).take(len(body))
        settings = parse_settings(asked.served.folder.read("project").document or {})
        record = put_space(asked.served.folder, descriptor, space_key(space), body, settings.ontology, base)
        Marks(asked.served.folder).note(record.version, Mark(descriptor, space_key(space), asked.caller.name))
        return Sealed(record=record)

    async with in_memory:
        body = await body_of(request, SPACE_BYTES)
        return await to_thread.run_sync(store)


@routes.get(_SPACE + "/{version}", response_class=FileResponse, **needing("read"))
def space_data(
    descriptor: Name,
    space: Name,
    version: Name,
    asked: Reads,
    if_none_match: Annotated[str, Header(max_length=1000)] = "",
) -> Response:
    """Give a version of an annotation space, which never changes."""
    may_be_seen(asked, descriptor, space_key(space), version)
    tag = f'"{version}"'
    if tag in if_none_match:
        return Response(status_code=304, headers={**_IMMUTABLE, "ETag": tag})
    found = path_of(asked.served.folder, descriptor, space_key(space), version)
    return _given(asked.served.folder.inside(found), {**_IMMUTABLE, "ETag": tag})


def may_be_seen(asked: Asked, descriptor: str, key: str, version: str) -> None:
    """Refuse a version of a space of a data set that is not there, unless it is the caller's own."""
    mark = Marks(asked.served.folder).of(version)
    if mark is None or not mark.is_of(descriptor, key, asked.caller.name):
        record_of(asked, descriptor)


def _given(path: FilePath, headers: dict[str, str]) -> Response:
    if not path.is_file():
        raise KeyNotFoundError(f"There is no {path.name!r} (any more).", remedy="project.sync()")
    return FileResponse(path, media_type="application/octet-stream", headers=headers)
