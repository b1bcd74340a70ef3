"""Other ways in: with a provider of identities, and for programs that wait to be let in."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Response

from ...errors import BioimageError, KeyNotFoundError
from ..accounts.provider import Provider
from ..refusals import UnknownCallerError
from .answers import PageRoute
from .forms import FormOf
from .visits import SIGNED_IN, AnybodyOf, Visit, VisitOf, local

routes = APIRouter(route_class=PageRoute)
ABROAD = "abroad"
"""Cookie of a browser that has gone to the provider."""
Given = Annotated[str, Query(max_length=4000)]


@routes.get("/oidc/begin")
def begin(visit: AnybodyOf, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """Send the browser to the provider."""
    cookie = secrets.token_urlsafe(32)
    response = Response(status_code=303, headers={"Location": _provider(visit).begin(cookie, local(next))})
    # the provider sends the browser back from another site, so this one cannot be strict
    visit.visiting.give(visit.request, response, ABROAD, cookie, across=True)
    return response


@routes.get("/oidc/callback")
def callback(visit: AnybodyOf, code: Given = "", state: Given = "", error: Given = "", iss: Given = "") -> Response:
    """Let somebody in whom the provider has recognised."""
    provider, site = _provider(visit), visit.site
    cookie = visit.visiting.read(visit.request, ABROAD)
    onward = provider.onward(cookie, state)
    if error or not code or iss not in ("", provider.settings.issuer):
        raise UnknownCallerError("The provider did not let you in.")
    user = site.identities.user_of(provider.identity(cookie, code), provider.settings, visit.address)
    before = visit.visiting.read(visit.request, SIGNED_IN)
    kept = site.sessions.signed_in(user, visit.address, before, by=f"page, {provider.settings.issuer}")
    # the browser still counts this as the provider's doing, and would send no strict cookie with a redirect
    response = visit.show("again", to=visit.url("/")[:-1] + local(onward))
    visit.visiting.give(visit.request, response, SIGNED_IN, kept)
    visit.visiting.take(visit.request, response, ABROAD)
    return response


def _provider(visit: Visit) -> Provider:
    if visit.site.provider is None:
        raise KeyNotFoundError("This server knows no provider of identities.", remedy="sign in with a password")
    return visit.site.provider


@routes.get("/device")
def device_page(visit: VisitOf, code: Annotated[str, Query(max_length=40)] = "") -> Response:
    """Ask for the code of a program that waits, or show which one waits with it."""
    if not code:
        return visit.show("device", waiting=None, error="", done="")
    try:
        found = visit.site.devices.waiting(code, visit.user, visit.address)
    except BioimageError as error:
        return visit.show("device", 422, waiting=None, error=error.message, done="")
    return visit.show("device", waiting=found, error="", done="")


@routes.post("/device")
def answer_device(visit: VisitOf, form: FormOf) -> Response:
    """Let a program in, or not."""
    let_in = form.text("what") == "let in"
    try:
        visit.site.devices.answer(form.text("code", 40), visit.user, visit.address, let_in=let_in)
    except BioimageError as error:
        return visit.show("device", 422, waiting=None, error=error.message, done="")
    return visit.show("device", waiting=None, error="", done="in" if let_in else "out")
