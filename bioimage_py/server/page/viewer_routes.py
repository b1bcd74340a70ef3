"""What neuroglancer asks for, below the page of a data set: its own files, what to show, voxels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from ...errors import BioimageError, KeyNotFoundError, ParameterError
from ...extras import pip_line
from .answers import PageRoute
from .data_set_routes import limits_for
from .looking import Looking, Name, Reads
from .planes import MOST_BYTES
from .viewer import IMAGE, POLICY, Volume, files, kind_of, state_of

routes = APIRouter(route_class=PageRoute)
_DATA = "/projects/{project}/data/{descriptor}"
_reading = CapacityLimiter(4)
_LOOK, _BEAT, _LONGEST = 1.0, 15, 8 * 3600.0
"""Seconds between looks whether the server ends, looks between two signs of life, seconds that a stream lasts."""
Places = Annotated[str, Path(pattern=r"^[0-9]{1,15}(,[0-9]{1,15}){0,7}$")]


@routes.get(_DATA + "/v/look/{name:path}")
def page(name: str, looking: Reads, descriptor: Name) -> Response:
    """Give a file of neuroglancer's page."""
    path = files().get(name or "index.html")
    if path is None:
        raise KeyNotFoundError("There is no such file.", remedy=f"{pip_line('neuroglancer')}, on the server")
    headers = {"Content-Security-Policy": POLICY}
    if name:
        headers["Cache-Control"] = "private, max-age=86400"
    return FileResponse(path, media_type=kind_of(path), headers=headers)


@routes.get(_DATA + "/events/look")
async def events(
    looking: Reads, descriptor: Name, request: Request, c: Annotated[str, Query(max_length=100)]
) -> Response:
    """Tell neuroglancer what to show, once; the stream stays open, or it would say that its server has gone."""
    state = await to_thread.run_sync(_state, looking, descriptor)

    async def told() -> AsyncIterator[bytes]:
        for key, value in (("c", {}), ("s", state)):
            yield b"data: " + json.dumps({"k": key, "s": value, "g": "server/0"}).encode() + b"\n\n"
        for beat in range(int(_LONGEST / _LOOK)):
            if request.app.state.news.over:
                return
            await asyncio.sleep(_LOOK)
            if beat % _BEAT == 0:
                yield b":\n\n"

    return StreamingResponse(told(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _state(looking: Looking, descriptor: str) -> dict[str, Any]:
    record = looking.opens(descriptor)  # of which the shape, the axes and what was annotated are told
    try:
        limits = limits_for(looking, record)
    except BioimageError:
        return state_of(looking, record, visible=False)
    return state_of(looking, record, visible=True, limits=limits)


@routes.post(_DATA + "/state/look")
def state(looking: Reads, descriptor: Name) -> Response:
    """Take what somebody looks at, which nobody keeps."""
    return JSONResponse({"g": "server/0"})


@routes.get(_DATA + "/neuroglancer/info/{key}")
def info(looking: Reads, descriptor: Name, key: Name) -> Response:
    """Tell the shape of a volume."""
    from neuroglancer.json_utils import json_encoder_default

    with closing(Volume(looking, looking.opens(descriptor), key)) as volume:
        text = json.dumps(volume.served.info(), default=json_encoder_default)
    return Response(text, media_type="application/json")


@routes.get(_DATA + "/neuroglancer/raw/{key}/{scale}/{start}/{end}")
async def voxels(looking: Reads, descriptor: Name, key: Name, scale: Places, start: Places, end: Places) -> Response:
    """Give a part of a volume, perhaps coarser."""
    data = await to_thread.run_sync(_voxels, looking, descriptor, key, scale, start, end, limiter=_reading)
    headers = {"Cache-Control": "private, max-age=300" if key == IMAGE else "private, no-cache"}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _voxels(looking: Looking, descriptor: str, key: str, scale: str, start: str, end: str) -> bytes:
    first, last = ([int(part) for part in text.split(",")] for text in (start, end))
    with closing(Volume(looking, looking.opens(descriptor), key)) as volume:
        size = volume.cost(first, last, [int(part) for part in scale.split(",")])
        if size > MOST_BYTES:
            raise ParameterError(f"This would take {size} bytes of the volume.", remedy=f"at most {MOST_BYTES}")
        try:
            return volume.served.get_encoded_subvolume("raw", first, last, scale)[0]
        except ValueError as error:
            raise ParameterError(f"There is no such part: {error}", remedy="load the page again") from None
