"""Pages of people: members of a project and what they see of it, users of the server, and the audit log."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from ...errors import BioimageError, ParameterError
from ..accounts.members import Role
from ..database import audit
from ..index import Wanted, index_of
from .answers import PageRoute
from .forms import Form, FormOf
from .looking import Looking, Manages, Reads
from .visits import AdminOf, Visit

routes = APIRouter(route_class=PageRoute)
UserName = Annotated[str, Path(min_length=1, max_length=150)]
UserId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_USERS, _AUDIT = 100, 100


@routes.get("/projects/{project}/members")
def members(looking: Reads) -> Response:
    """Show who is a member, and who sees what."""
    return _members(looking)


def _members(looking: Looking, status: int = 200, error: str = "") -> Response:
    site = looking.visit.site
    rules = site.sights.rules(looking.id)
    counts: dict[str, int] = {}
    if looking.manages:
        for names in site.sights.assigned(looking.id).values():
            for name in names:
                counts[name] = counts.get(name, 0) + 1
    rows = site.members.of(looking.id)
    return looking.visit.show(
        "members", status, looking=looking, rows=rows, roles=list(Role), rules=rules, counts=counts, error=error
    )


def _role(form: Form) -> Role:
    try:
        return Role[form.text("role")]
    except KeyError:
        raise ParameterError("There is no such role.", remedy="choose from the list") from None


@routes.post("/projects/{project}/members")
def put_member(looking: Manages, form: FormOf) -> Response:
    """Make somebody a member, or give a member another role."""
    visit, name = looking.visit, form.text("name", 150).strip()
    try:
        visit.site.members.put(looking.id, name, _role(form), visit.user, visit.address)
    except BioimageError as error:
        return _members(looking, 422, error.message)
    return visit.go(f"{looking.path}/members")


@routes.post("/projects/{project}/members/{user}/remove")
def remove_member(user: UserName, looking: Manages, form: FormOf) -> Response:
    """Let somebody be a member no more."""
    visit = looking.visit
    try:
        visit.site.members.remove(looking.id, user, visit.user, visit.address)
    except BioimageError as error:
        return _members(looking, 422, error.message)
    return visit.go("/projects" if user == visit.user.name else f"{looking.path}/members")


@routes.post("/projects/{project}/sight")
def set_sight(looking: Manages, form: FormOf) -> Response:
    """Let annotators and viewers see all data sets, or those that are assigned to them."""
    visit = looking.visit
    visit.site.sights.show_only_assigned(looking.id, "assigned_only" in form, visit.user, visit.address)
    return visit.go(f"{looking.path}/members")


@routes.post("/projects/{project}/personal")
def set_personal(looking: Manages, form: FormOf) -> Response:
    """Say from which role on members are told whom images show, and where they lie."""
    visit = looking.visit
    visit.site.sights.tell_personal(looking.id, _role(form), visit.user, visit.address)
    return visit.go(f"{looking.path}/members")


@routes.post("/projects/{project}/readers")
def set_readers(looking: Manages, form: FormOf) -> Response:
    """Let a layer be there for some annotators only, or for all."""
    visit, layer = looking.visit, looking.layer(form.text("layer", 100))
    names = [name for name in form.text("readers", 20_000).replace(",", " ").split() if name]
    try:
        visit.site.sights.set_readers(looking.id, layer.id, names, visit.user, visit.address)
    except BioimageError as error:
        return _members(looking, 422, error.message)
    return visit.go(f"{looking.path}/members")


@routes.post("/projects/{project}/assign")
def assign(looking: Manages, form: FormOf) -> Response:
    """Assign data sets whose names fit a pattern, or take them away again."""
    visit, pattern = looking.visit, form.text("pattern", 200).strip() or "*"
    rows, _ = index_of(looking.served).page(Wanted(pattern), "", 10_001)
    ids = [row.identifier for row in rows]
    take = form.text("what") == "take"
    try:
        visit.site.sights.assign(looking.id, ids, form.text("name", 150), visit.user, visit.address, take=take)
    except BioimageError as error:
        return _members(looking, 422, error.message)
    return visit.go(f"{looking.path}/members")


@routes.get("/users")
def users(visit: AdminOf, after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0) -> Response:
    """Show the users of the server."""
    return _users(visit, after)


def _users(
    visit: Visit, after: int = 0, status: int = 200, *, error: str = "", link: str = "", name: str = ""
) -> Response:
    rows = visit.site.users.all(after, _USERS + 1)
    following = rows[_USERS - 1].id if len(rows) > _USERS else 0
    return visit.show("users", status, rows=rows[:_USERS], following=following, error=error, link=link, name=name)


@routes.post("/users")
def add_user(visit: AdminOf, form: FormOf) -> Response:
    """Add a user, and show a link by which the user chooses a password."""
    site = visit.site
    try:
        user = site.users.add(
            form.text("name", 150).strip(),
            secrets.token_urlsafe(32),
            admin="admin" in form,
            by=visit.user.name,
            address=visit.address,
        )
    except BioimageError as error:
        return _users(visit, status=422, error=error.message)
    return _users(visit, name=user.name, link=site.sessions.link(user.id, visit.user.name, visit.address))


@routes.post("/users/{user}/change")
def change_user(user: UserId, visit: AdminOf, form: FormOf) -> Response:
    """Let a user in or not, make one an administrator or not, remove one, or show a link to choose a password."""
    site, what, by, address = visit.site, form.text("what"), visit.user.name, visit.address
    name = site.users.of_id(user).name
    try:
        if what == "link":
            return _users(visit, name=name, link=site.sessions.link(user, by, address))
        if what == "remove":
            site.remove_user(user, by=by, address=address)
        elif what in ("admin", "no-admin"):
            site.users.change(user, admin=what == "admin", by=by, address=address)
        elif what in ("disable", "enable"):
            site.users.change(user, disabled=what == "disable", by=by, address=address)
    except BioimageError as error:
        return _users(visit, status=422, error=error.message)
    return visit.go("/users")


@routes.get("/audit")
def audit_log(
    visit: AdminOf,
    before: Annotated[int, Query(ge=0, le=2**53)] = 0,
    project: Annotated[str, Query(max_length=100, pattern=r"^[A-Za-z0-9_.-]*$")] = "",
    user: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show the audit log, the newest first."""
    with visit.site.database.reading() as connection:
        rows = audit.newest(connection, before, _AUDIT + 1, project, user)
    following = rows[_AUDIT - 1].id if len(rows) > _AUDIT else 0
    return visit.show("audit", rows=rows[:_AUDIT], following=following, asked={"project": project, "user": user})
