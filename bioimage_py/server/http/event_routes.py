"""Routes of events: page by page, waiting for the next one, or as a stream (server-sent events of HTML)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from ...errors import BioimageError
from ..accounts.members import Right
from ..accounts.sights import Sight
from ..refusals import UnknownCallerError
from ..served import MOST, Gone, Page
from .answers import Accepts, json_answer
from .asking import Asked, Reads, needing, still_sees
from .bodies import EventPage
from .news import News

routes = APIRouter()
BEAT = 15.0
"""Seconds after which a stream on which nothing happens sends a comment, so that no proxy takes it for dead."""


@routes.get("/projects/{project}/events", response_model=EventPage, **needing("read"))
async def events(
    asked: Reads,
    request: Request,
    since: Annotated[int, Query(ge=0, le=2**53)],
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
    wait: Annotated[float, Query(ge=0, le=30, allow_inf_nan=False)] = 0.0,
    accepts: Accepts = "",
) -> Response:
    """List the events after a number, in their order; where there is none, wait for one as long as is asked for."""
    news: News = request.app.state.news
    page = await news.page(asked.served, since, limit)
    if wait and not page.events and await news.wait(asked.served, since, wait):
        page = await news.page(asked.served, since, limit)
    following = page.events[-1]["seq"] if page.events else since
    sight = await still_sees(request, asked, Right.read) if wait else asked.sight
    if sight is None:
        raise UnknownCallerError
    found = await _seen(page.events, sight)
    return json_answer({"events": found, "next": following, "last": page.last, "sight": sight.changed}, accepts)


class EventStream(StreamingResponse):
    """A stream of events, as OpenAPI names it."""

    media_type = "text/event-stream"

    over: Callable[[], None]
    """Called at its end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.over()


@routes.get("/projects/{project}/events/stream", response_class=EventStream, **needing("read"))
async def stream(
    asked: Reads,
    request: Request,
    since: Annotated[int, Query(ge=0, le=2**53, description="number of the last event that is known")] = 0,
    last_event_id: Annotated[str, Header(pattern="^[0-9]{0,15}$", description="the same; counts more")] = "",
) -> Response:
    """Send events as they come, each with its number as id, until the client goes or may not read any more."""
    news: News = request.app.state.news
    known = int(last_event_id) if last_event_id else since
    await news.page(asked.served, known, 1)  # 410 is told before anything is sent
    news.begin_stream()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    answer = EventStream(_sent(asked, request, news, known), headers=headers)
    answer.over = news.end_stream
    return answer


async def _sent(asked: Asked, request: Request, news: News, known: int) -> AsyncIterator[bytes]:
    yield b": events follow\n\n"
    while not news.over:
        try:
            page, text = await news.told(asked.served, known, _for_all)
            sight = await still_sees(request, asked, Right.read)
            if sight is None or sight.changed != asked.sight.changed:  # the client loads anew what there is
                return
        except (Gone, BioimageError):  # the next request is told what it is
            return
        if page.events:
            yield text if sight.is_whole else b"".join(map(_message, await _seen(page.events, sight)))
            known = page.events[-1]["seq"]
            continue
        if not await news.wait(asked.served, known, BEAT):
            yield b":\n\n"


def _for_all(page: Page) -> bytes:
    return b"".join(_message(told(event)) for event in page.events)


def _message(event: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (event["seq"], to_json(event))


async def _seen(events: list[dict[str, Any]], sight: Sight) -> list[dict[str, Any]]:
    """Return events as they are there for somebody; what is assigned to whom is asked of the database."""
    if not sight.is_whole:
        await to_thread.run_sync(lambda: sight.only)
    return [shown(event, sight) for event in events]


def shown(event: dict[str, Any], sight: Sight) -> dict[str, Any]:
    """Return an event as it is there for somebody, without keys of its user's requests; of fields, the paths."""
    return told(sight.event(event))


def told(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as it is there for who sees the whole project."""
    changes = [
        {"name": one["name"], "kind": one["kind"], "fields": [path for path, _, _ in one["fields"]]}
        for one in event["changes"]
    ]
    return {**{name: event[name] for name in ("seq", "time", "user", "client")}, "changes": changes}
