"""Pages of somebody's own account: password, API tokens, signing out everywhere."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Response

from ...errors import BioimageError, ParameterError
from ..accounts.callers import Scope
from .answers import PageRoute
from .forms import FormOf
from .visits import SIGNED_IN, Visit, VisitOf

routes = APIRouter(route_class=PageRoute)


@routes.get("/account")
def account(visit: VisitOf) -> Response:
    """Show tokens, and forms for a new one and for another password."""
    return _account(visit)


def _account(visit: Visit, status: int = 200, *, made: str = "", error: str = "") -> Response:
    tokens = visit.site.tokens.of(visit.user)
    projects = visit.site.projects.of(visit.user, "", 1000)
    return visit.show(
        "account", status, tokens=tokens, projects=projects, made=made, error=error, scopes=list(Scope), now=time.time()
    )


@routes.post("/account/tokens")
def make_token(visit: VisitOf, form: FormOf) -> Response:
    """Make an API token, and show it this once."""
    name, project = form.text("name", 100).strip(), form.text("project", 100)
    try:
        scope, days = Scope(form.text("scope")), float(form.text("days"))
    except ValueError:
        raise ParameterError("Scope or days cannot be.", remedy="choose from the list") from None
    if not name or not name.isprintable():
        return _account(visit, 422, error="A token needs a name.")
    try:
        _, proof = visit.site.tokens.make(visit.user, name, scope, days, [project] if project else None, visit.address)
    except BioimageError as error:
        return _account(visit, 422, error=error.message)
    return _account(visit, made=proof)


@routes.post("/account/tokens/{token}/revoke")
def revoke(token: Annotated[str, Path(pattern="^[0-9a-f]{16}$")], visit: VisitOf, form: FormOf) -> Response:
    """End an API token."""
    visit.site.tokens.revoke(visit.user, token, visit.address)
    return visit.go("/account")


@routes.post("/account/password")
def change_password(visit: VisitOf, form: FormOf) -> Response:
    """Change the password, which ends all else that the user is signed in with."""
    site, user = visit.site, visit.user
    if form.text("new", 4096) != form.text("again", 4096):
        return _account(visit, 422, error="The new password and its repetition are not the same.")
    try:
        site.sessions.verified(user.name, form.text("old", 4096), visit.address)
        site.users.set_password(user.user_id, form.text("new", 4096), by=user.name, address=visit.address)
    except BioimageError as error:
        return _account(visit, 422, error=error.message)
    return visit.sign_in("/account", site.sessions.signed_in(user.user_id, visit.address))


@routes.post("/account/sign-out-everywhere")
def sign_out_everywhere(visit: VisitOf, form: FormOf) -> Response:
    """End all that the user is signed in with, here too."""
    visit.site.sessions.end_everywhere(visit.user.user_id, visit.address)
    response = visit.go("/sign-in")
    visit.visiting.take(visit.request, response, SIGNED_IN)
    return response
