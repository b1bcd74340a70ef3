"""Routes of projects and their members."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from ...errors import FormatError, KeyNotFoundError, ParameterError
from ...projects.storage.events import Origin
from ...projects.values.settings import ProjectSettings, parse_settings
from ..accounts.callers import Scope
from ..accounts.members import Right, Role
from ..answered import once
from ..index import index_of
from ..keeping import backups_of, checked_backup, prune
from ..projects import Entry
from ..values import checked
from .asking import AddressOf, CallerOf, Client, Key, Manages, ProjectId, Reads, SiteOf, UserOf, needing
from .bodies import Made, Member, NewProject, ProjectDetails, ProjectInfo, Pruned, Pruning, RoleChange, Ticket

routes = APIRouter()
Cursor = Annotated[str, Query(max_length=100, pattern=r"^[A-Za-z0-9_.-]*$")]
Limit = Annotated[int, Query(ge=1, le=1000)]
BackupId = Annotated[str, Path(pattern=r"^[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}$")]
User = Annotated[str, Path(min_length=1, max_length=150)]


@routes.get("/projects", **needing("somebody"))
def projects(caller: CallerOf, site: SiteOf, after: Cursor = "", limit: Limit = 1000) -> list[ProjectInfo]:
    """List the projects of which the caller is a member, those after an id."""
    return [_info(entry) for entry in site.projects.of(caller, after, limit)]


@routes.post("/projects", status_code=201, **needing("user"))
def make_project(body: NewProject, caller: UserOf, site: SiteOf, address: AddressOf, key: Key = "") -> Made:
    """Make a project, of which the caller is the owner."""
    return Made(id=site.projects.create(settings_of(body), caller, key, address))


@routes.get("/projects/{project}", **needing("read"))
def project(asked: Reads, site: SiteOf) -> ProjectDetails:
    """Tell what a project is."""
    asked.served.take_over()
    entry = site.projects.entry(asked.caller, asked.served.id)
    changed = asked.served.changed() or entry.created
    index, sight = index_of(asked.served), asked.sight
    count = index.count() if sight.only is None else len(sight.only & index.summaries().keys())
    return ProjectDetails(**_info(entry).model_dump(), descriptors=count, changed=changed, sight=sight.changed)


@routes.delete("/projects/{project}", status_code=204, **needing("own"))
def remove_project(project: ProjectId, caller: CallerOf, site: SiteOf, address: AddressOf) -> None:
    """Delete a project with all its data; asked for again by who did so, it is answered the same."""
    try:
        site.members.check(caller, project, Right.own)
    except KeyNotFoundError:
        if not site.projects.has_deleted(project, caller):
            raise
    site.projects.delete(project, caller, address)


@routes.post("/projects/{project}/ticket", status_code=201, **needing("read, logged in"))
def make_ticket(asked: Reads, site: SiteOf, scope: Literal["read", "annotate"] = "read") -> Ticket:
    """Give a token with which workers of the caller read or annotate this project, for a day; ended as any token is."""
    id, token = site.tokens.ticket(asked.caller, asked.served.id, Scope(scope))
    return Ticket(id=id, token=token, seconds=86400.0)


@routes.get("/projects/{project}/members", **needing("read"))
def members(asked: Reads, site: SiteOf) -> list[Member]:
    """List the members of a project."""
    return [Member(name=name, role=role.label) for name, role in site.members.of(asked.served.id)]


@routes.put("/projects/{project}/members/{user}", status_code=204, **needing("manage"))
def put_member(user: User, body: RoleChange, asked: Manages, site: SiteOf, address: AddressOf) -> None:
    """Make somebody a member, or give a member another role; owners only by owners."""
    site.members.put(asked.served.id, user, Role[body.role], asked.caller, address)


@routes.delete("/projects/{project}/members/{user}", status_code=204, **needing("manage"))
def remove_member(user: User, asked: Manages, site: SiteOf, address: AddressOf) -> None:
    """Let somebody be a member no more; owners only by owners."""
    site.members.remove(asked.served.id, user, asked.caller, address)


@routes.get("/projects/{project}/backups", **needing("manage"))
def backups(asked: Manages) -> list[str]:
    """List the backups of edits that can be undone, the oldest first."""
    return backups_of(asked.served).names()


@routes.get("/projects/{project}/backups/{backup}", **needing("manage"))
def backup(backup: BackupId, asked: Manages) -> dict[str, Any]:
    """Give a backup: settings and versions before and after an edit."""
    return backups_of(asked.served).read(backup)


@routes.put("/projects/{project}/backups/{backup}", status_code=204, **needing("manage"))
def put_backup(backup: BackupId, body: dict[str, Any], asked: Manages) -> None:
    """Keep a backup of an edit, which a commit then makes."""
    backups_of(asked.served).keep(backup, checked_backup(body))


@routes.delete("/projects/{project}/backups/{backup}", status_code=204, **needing("manage"))
def remove_backup(backup: BackupId, asked: Manages) -> None:
    """Remove a backup: a commit has undone its edit, or did not make it."""
    backups_of(asked.served).remove(backup)


@routes.post("/projects/{project}/prune", **needing("manage"))
def prune_project(
    body: Pruning, asked: Manages, site: SiteOf, address: AddressOf, key: Key = "", client: Client = ""
) -> Pruned:
    """Remove files that nothing points to any more: earlier versions, data of what was deleted, old backups."""
    served, database, user = asked.served, site.database, asked.caller.name
    mutexes, wanted = served.folder.locks / "mutex", f"prune {served.id} {body.older_than!r}"

    def do() -> int:
        return prune(served, database, Origin(user, client), body.older_than, address)

    removed = once(database, mutexes, "prune", user, key, wanted, do)
    asked.projects.room(served).look_again()
    return Pruned(removed=removed)


def settings_of(body: NewProject) -> ProjectSettings:
    """Return the settings that a client sends.

    Raises
    ------
    ParameterError
        They are none.
    """
    try:
        return parse_settings(checked(body.settings, "settings"))
    except FormatError as error:
        raise ParameterError(error.message, remedy="send what ProjectSettings.to_document() gives") from None


def _info(entry: Entry) -> ProjectInfo:
    return ProjectInfo(id=entry.id, name=entry.name, role=entry.role.label, created=entry.created, last=entry.last)
