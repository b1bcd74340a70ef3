"""The page of one data set: its planes, what is said of it, and whose lock it has."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from ...errors import BioimageError, ParameterError
from ...projects.storage.leases import read_lease
from ...projects.storage.versions import open_version
from ...projects.values.kinds import LayerKind
from ...projects.values.models import Layer
from ...projects.values.records import DescriptorRecord
from ..accounts.locks import take_away
from ..commits import Field, Wish
from ..pictures import opened, picture_of
from ..sealed import Place
from .answers import PageRoute
from .forms import FormOf
from .looking import Annotates, Looking, Manages, Name, Reads
from .planes import MOST_ROWS, Cut, cuts_of, image_plane, limits_of, overlay
from .planes import Annotated as Drawn
from .project_routes import choices_of
from .viewer import files

routes = APIRouter(route_class=PageRoute)
_drawing, _thumbnails = CapacityLimiter(2), CapacityLimiter(1)
_DATA = "/projects/{project}/data/{descriptor}"
_NONE: list[str] = []
_BROWSER = {"Cache-Control": "private, max-age=300"}
_NO_PICTURE = Path(__file__).with_name("static").joinpath("no_picture.svg").read_bytes()
_limits: dict[str, npt.NDArray[np.float64]] = {}
_limits_lock = threading.Lock()
_MOST_LIMITS = 10_000
_ACROSS, _LONGEST = 780, 560
"""Pixels of planes side by side, and of the longest side of one."""


def position_of(request: Request) -> dict[str, int]:
    """Return the position that a request's query names, by axis."""
    found = {}
    for name, text in request.query_params.items():
        if name.startswith("at-") and len(name) < 40 and text.isascii() and text.isdigit() and len(text) < 16:
            found[name.removeprefix("at-")] = int(text)
    return found


@routes.get(_DATA)
def data_set(
    descriptor: Name, looking: Reads, request: Request, hide: Annotated[list[str], Query(max_length=200)] = _NONE
) -> Response:
    """Show a data set."""
    record = looking.record(descriptor)
    axes = record.image.axis_values()
    at = position_of(request)
    walked = [
        (axis, size, Cut("z", at).index(axis.name.lower(), size))
        for axis, size in zip(axes, record.image.shape, strict=True)
        if axis.kind not in ("channel",) and size > 1
    ]
    stored = [layer for layer in looking.settings.layers if layer.id in record.layers]
    shown = [layer.id for layer in stored if layer.id not in hide]
    query = {f"at-{axis.name.lower()}": index for axis, _, index in walked}
    lease = read_lease(looking.served.folder, descriptor)
    return looking.show(
        "data_set",
        record=record,
        axes=list(zip(axes, record.image.shape, strict=True)),
        walked=walked,
        planes=_sizes(record),
        stored=stored,
        shown=shown,
        query=query,
        lease=lease if lease is not None and lease.alive else None,
        tag_choices=choices_of(looking),
        tags=[(tag, record.tags.get(tag.id)) for tag in looking.settings.tags],
        image_problem=_problem(looking, looking.opens(descriptor)),
        neuroglancer=bool(files()),
        was=json.dumps(record.comments),
    )


def _sizes(record: DescriptorRecord) -> list[tuple[str, int, int]]:
    """Return the planes with their widths and heights on the page: voxels keep their proportions, in all of them."""
    pairs = zip(record.image.axis_values(), record.image.shape, strict=True)
    lengths = {axis.name.lower(): max(size * axis.scale, 1e-12) for axis, size in pairs if axis.kind == "space"}
    across = lengths["x"] + lengths.get("z", 0.0)
    each = min(_ACROSS / across, _LONGEST / max(lengths.values()))
    cuts = [Cut(normal, {}) for normal in cuts_of(record.image.axis_values())]
    sizes = [(cut.normal, lengths[cut.right] * each, lengths[cut.down] * each) for cut in cuts]
    return [(normal, max(1, round(width)), max(1, round(height))) for normal, width, height in sizes]


def _problem(looking: Looking, record: DescriptorRecord) -> str:
    """Return why the image is not shown; "" where it is."""
    try:
        opened(looking.served.folder, record, looking.visit.site.image_roots).close()
    except BioimageError as error:
        return error.message
    return ""


@routes.get(_DATA + "/image/{normal}.png")
async def image(descriptor: Name, normal: Literal["z", "y", "x"], looking: Reads, request: Request) -> Response:
    """Give a plane of the image."""
    cut = Cut(normal, position_of(request))
    data = await to_thread.run_sync(_image, looking, descriptor, cut, limiter=_drawing)
    return Response(data, media_type="image/png", headers=_BROWSER)


def _image(looking: Looking, descriptor: str, cut: Cut) -> bytes:
    record = looking.opens(descriptor)
    axes = record.image.axis_values()
    limits = limits_for(looking, record)
    with opened(looking.served.folder, record, looking.visit.site.image_roots) as source:
        return image_plane(source, axes, cut, limits)


def limits_for(looking: Looking, record: DescriptorRecord) -> npt.NDArray[np.float64]:
    """Return which values of an image are black and white, the same in all of its planes; they are kept.

    Raises
    ------
    ParameterError
        The server may not open the image.
    """
    key = f"{looking.id}/{record.identifier}/{json.dumps(record.image.spec, sort_keys=True)}"
    with _limits_lock:
        known = _limits.get(key)
    with opened(looking.served.folder, record, looking.visit.site.image_roots) as source:
        found = limits_of(source, record.image.axis_values()) if known is None else known
    with _limits_lock:
        if len(_limits) >= _MOST_LIMITS:
            _limits.clear()
        _limits[key] = found
    return found


@routes.get(_DATA + "/layers/{normal}.png")
async def layers(
    descriptor: Name,
    normal: Literal["z", "y", "x"],
    looking: Reads,
    request: Request,
    show: Annotated[list[str], Query(max_length=200)] = _NONE,
) -> Response:
    """Give what was annotated on a plane."""
    cut = Cut(normal, position_of(request))
    data = await to_thread.run_sync(_layers, looking, descriptor, cut, show, limiter=_drawing)
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


def _layers(looking: Looking, descriptor: str, cut: Cut, show: list[str]) -> bytes:
    record = looking.record(descriptor)
    found = [_annotated(looking, record, layer) for layer in looking.settings.layers if layer.id in show]
    return overlay(record, cut, [one for one in found if one is not None])


def _annotated(looking: Looking, record: DescriptorRecord, layer: Layer) -> Drawn | None:
    stored = record.layers.get(layer.id)
    if stored is None or not stored.units:
        return None
    place = Place(looking.served.folder, record.identifier, layer)
    if layer.kind == LayerKind.PIXELWISE:
        return Drawn(layer, source=open_version(looking.served.folder.inside(place.version(stored.version))))
    if stored.units > MOST_ROWS:
        return None
    return Drawn(layer, table=looking.served.folder.inside(place.table(stored.version)).read_text("utf-8"))


@routes.get(_DATA + "/thumbnail.png")
async def thumbnail(descriptor: Name, looking: Reads) -> Response:
    """Give a small picture; an empty one where the server may not open the image."""
    record = await to_thread.run_sync(looking.opens, descriptor)
    try:
        path = await to_thread.run_sync(
            picture_of, looking.served.folder, record, looking.visit.site.image_roots, limiter=_thumbnails
        )
    except ParameterError:
        return Response(_NO_PICTURE, media_type="image/svg+xml", headers=_BROWSER)
    return FileResponse(path, media_type="image/png", headers=_BROWSER)


@routes.post(_DATA + "/comments")
def set_comments(descriptor: Name, looking: Annotates, form: FormOf) -> Response:
    """Change the comments, unless somebody else has since the page was drawn."""
    record = looking.record(descriptor)
    old, new = form.value("was"), form.text("comments", 50_000).replace("\r\n", "\n")
    if new != old:
        looking.change(Wish(record.identifier, (Field(("comments",), old, new),)))
    return looking.visit.go(f"{looking.path}/data/{descriptor}")


@routes.post(_DATA + "/unlock")
def unlock(descriptor: Name, looking: Manages, form: FormOf) -> Response:
    """Take away somebody's lock; the audit log keeps why."""
    looking.record(descriptor)
    note = form.text("note", 500).strip()
    if not note:
        raise ParameterError("A lock is taken away for a reason.", remedy="write a note for the audit log")
    visit = looking.visit
    take_away(visit.site.database, looking.served, descriptor, visit.user.name, note, visit.address)
    return visit.go(f"{looking.path}/locks")
