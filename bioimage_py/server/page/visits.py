"""Who looks at the page: the cookie of a browser, where it is sent, and what proves that a form is the page's own."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ..accounts.callers import Caller
from ..refusals import NotAllowedError, UnknownCallerError
from ..site import Site
from .rendering import rendered

SIGNED_IN, FORM = "session", "form"
"""Cookies: of somebody who has signed in, and of a browser before that."""
_LOCAL = re.compile(r"/(?![/\\])[!-~]{0,2000}")
_LONGEST = 200


class SignInNeeded(Exception):  # noqa: N818 - no error: the browser is sent to where one signs in
    """Nobody has signed in."""


class Visiting:
    """The cookies of a server.

    They are `HttpOnly; Secure; SameSite=Strict`. Browsers keep cookies that are Secure from this machine's own
    addresses too, which they trust as they trust TLS. Where TLS is there, the name says so (`__Host-`, or `__Secure-`
    below a path), and no other host can set it.

    Parameters
    ----------
    insecure : bool
        Whether the operator lets browsers of other machines come without TLS: the cookie is not Secure then, or no
        browser would send it.
    """

    def __init__(self, insecure: bool) -> None:
        self._insecure = insecure

    def read(self, request: Request, kind: str) -> str:
        """Return a cookie; "" where there is none."""
        found = request.cookies.get(self._name(request, kind), "")
        return found if len(found) <= _LONGEST and found.isascii() else ""

    def give(self, request: Request, response: Response, kind: str, value: str, *, across: bool = False) -> None:
        """Let the browser keep a cookie until it is closed.

        `across`: also where the browser comes from another site by a link, as from a provider of identities.
        """
        response.set_cookie(
            self._name(request, kind),
            value,
            path=root_of(request) or "/",
            secure=not self._insecure,
            httponly=True,
            samesite="lax" if across else "strict",
        )

    def take(self, request: Request, response: Response, kind: str) -> None:
        """Let the browser forget a cookie."""
        response.delete_cookie(
            self._name(request, kind),
            path=root_of(request) or "/",
            secure=not self._insecure,
            httponly=True,
            samesite="strict",
        )

    def _name(self, request: Request, kind: str) -> str:
        if request.url.scheme != "https" or self._insecure:
            return f"bioimage-py-{kind}"
        return f"{'__Secure-' if root_of(request) else '__Host-'}bioimage-py-{kind}"


def root_of(request: Request) -> str:
    """Return the path under which a proxy shows the server, "" for none."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def local(path: str) -> str:
    """Return a path of this server that a request names, "/" where it would lead elsewhere."""
    return path if _LOCAL.fullmatch(path) else "/"


@dataclass(frozen=True)
class Visit:
    """A request of a browser.

    Parameters
    ----------
    request : Request
    caller : Caller or None
        Who has signed in.
    cookie : str
        What proves that, or the cookie of a browser before; "" for none.
    """

    request: Request
    caller: Caller | None
    cookie: str

    @property
    def site(self) -> Site:
        """What is served."""
        found: Site = self.request.app.state.site
        return found

    @property
    def visiting(self) -> Visiting:
        """The cookies of the server."""
        found: Visiting = self.request.app.state.visiting
        return found

    @property
    def user(self) -> Caller:
        """Who has signed in.

        Raises
        ------
        SignInNeeded
        """
        if self.caller is None:
            raise SignInNeeded
        return self.caller

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return self.request.client.host if self.request.client else ""

    @property
    def mark(self) -> str:
        """What forms carry, so that no other page can have sent them; nobody without the cookie can know it."""
        return hashlib.sha256(f"form {self.cookie}".encode()).hexdigest()

    @property
    def here(self) -> str:
        """Path and query of the request, without what a proxy puts before it."""
        path = str(self.request.scope["path"]).removeprefix(root_of(self.request))
        query = self.request.url.query
        return local(f"{quote(path)}?{query}" if query else quote(path))

    def url(self, path: str, **query: Any) -> str:
        """Return the address of a path of this server."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{root_of(self.request)}{quote(path)}" + (f"?{urlencode(given, doseq=True)}" if given else "")

    @property
    def base(self) -> str:
        """The server's base URL, as the browser has found it."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}{root_of(self.request)}"

    def show(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page."""
        return rendered(template, status, visit=self, url=self.url, mark=self.mark, **values)

    def go(self, path: str) -> RedirectResponse:
        """Send the browser to a path of this server, to be read anew."""
        return RedirectResponse(root_of(self.request) + local(path), 303)

    def sign_in(self, path: str, cookie: str) -> Response:
        """Let the browser keep who has signed in, and send it on."""
        response = self.go(path)
        self.visiting.give(self.request, response, SIGNED_IN, cookie)
        self.visiting.take(self.request, response, FORM)
        return response

    def form_page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page with a form for somebody who has not signed in, whose browser gets a cookie for it."""
        if self.cookie:
            return self.show(template, status, **values)
        seen = Visit(self.request, self.caller, secrets.token_urlsafe(32))
        response = seen.show(template, status, **values)
        self.visiting.give(self.request, response, FORM, seen.cookie)
        return response


def anybody_of(request: Request) -> Visit:
    """Return a request of a browser, whoever sits there."""
    visiting: Visiting = request.app.state.visiting
    cookie = visiting.read(request, SIGNED_IN)
    if cookie:
        site: Site = request.app.state.site
        try:
            caller = site.sessions.visitor(cookie)
        except UnknownCallerError:
            cookie = ""
        else:
            request.scope["state"]["user"] = caller.name
            return Visit(request, caller, cookie)
    return Visit(request, None, visiting.read(request, FORM))


def visit_of(visit: Annotated[Visit, Depends(anybody_of)]) -> Visit:
    """Return a request of somebody who has signed in; SignInNeeded where nobody has."""
    _ = visit.user
    return visit


def admin_of(visit: Annotated[Visit, Depends(visit_of)]) -> Visit:
    """Return a request of an administrator; others learn nothing of such pages."""
    if not visit.user.admin:
        raise NotAllowedError("Only administrators see this.", remedy="ask one of them")
    return visit


AnybodyOf = Annotated[Visit, Depends(anybody_of)]
VisitOf = Annotated[Visit, Depends(visit_of)]
AdminOf = Annotated[Visit, Depends(admin_of)]
