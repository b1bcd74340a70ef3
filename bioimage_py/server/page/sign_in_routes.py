"""Pages on which one signs in, chooses a password by a link, and signs out; and the files that all pages load."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi import Path as InPath

from ...errors import BioimageError, KeyNotFoundError
from ..refusals import TooManyError, UnknownCallerError
from .answers import PageRoute
from .forms import FormOf
from .visits import SIGNED_IN, AnybodyOf, Visit, VisitOf

routes = APIRouter(route_class=PageRoute)
_STATIC = {path.name: path.read_bytes() for path in sorted(Path(__file__).with_name("static").iterdir())}
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
Link = Annotated[str, InPath(pattern=r"^bil_[A-Za-z0-9_-]{20,100}$")]


@routes.get("/")
def home(visit: VisitOf) -> Response:
    """Send the browser to the projects."""
    return visit.go("/projects")


@routes.get("/static/{name}")
def static(name: str, if_none_match: Annotated[str, Header(max_length=200)] = "") -> Response:
    """Give a style sheet or a script."""
    if name not in _STATIC:
        raise KeyNotFoundError("There is no such file.", remedy="start from the projects")
    tag = f'"{hashlib.sha256(_STATIC[name]).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "public, no-cache"}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(_STATIC[name], headers=headers, media_type=_KINDS[Path(name).suffix])


@routes.get("/favicon.ico")
def icon() -> Response:
    """Give the picture of pages that name none, such as that of neuroglancer."""
    return static("icon.svg")


@routes.get("/sign-in")
def sign_in_page(visit: AnybodyOf, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """Ask for name and password."""
    return _asking(visit, next)


@routes.post("/sign-in")
def sign_in(visit: AnybodyOf, form: FormOf) -> Response:
    """Let somebody in; what the browser was signed in with before ends."""
    name, onward = form.text("username", 150), form.text("next", 2000)
    before = visit.visiting.read(visit.request, SIGNED_IN)
    try:
        cookie = visit.site.sessions.sign_in(name, form.text("password", 4096), visit.address, before)
    except UnknownCallerError:
        return _asking(visit, onward, 401, name=name, error="Name or password is wrong.")
    except TooManyError as error:
        response = _asking(visit, onward, 429, name=name, error=error.message)
        response.headers["Retry-After"] = str(max(1, round(error.seconds)))
        return response
    return visit.sign_in(onward, cookie)


def _asking(visit: Visit, onward: str, status: int = 200, name: str = "", error: str = "") -> Response:
    return visit.form_page("sign_in", status, next=onward, name=name, error=error)


@routes.post("/sign-out")
def sign_out(visit: VisitOf, form: FormOf) -> Response:
    """End what the browser is signed in with."""
    visit.site.sessions.log_out(visit.user.family)
    response = visit.go("/sign-in")
    visit.visiting.take(visit.request, response, SIGNED_IN)
    return response


@routes.get("/link/{link}")
def link_page(link: Link, visit: AnybodyOf) -> Response:
    """Ask for a password; the link goes on working until one is chosen."""
    return _choosing(visit, visit.site.sessions.linked(link).name)


@routes.post("/link/{link}")
def choose(link: Link, visit: AnybodyOf, form: FormOf) -> Response:
    """Take a password, which ends the link and all that the user was signed in with."""
    caller = visit.site.sessions.linked(link)
    password = form.text("password", 4096)
    if password != form.text("again", 4096):
        return _choosing(visit, caller.name, 422, "The two are not the same.")
    try:
        visit.site.users.set_password(caller.user_id, password, by=caller.name, address=visit.address)
    except BioimageError as error:
        return _choosing(visit, caller.name, 422, error.message)
    return visit.sign_in("/", visit.site.sessions.signed_in(caller.user_id, visit.address))


def _choosing(visit: Visit, name: str, status: int = 200, error: str = "") -> Response:
    return visit.form_page("link", status, name=name, error=error)
