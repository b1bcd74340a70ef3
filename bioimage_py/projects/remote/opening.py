"""Opening, making and listing projects on a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ...errors import KeyNotFoundError, ParameterError
from ..storage.folder import Folder
from ..storage.session import Session
from ..values.settings import ProjectSettings
from .address import project_address, server_address
from .connection import Connection
from .session import RemoteSession
from .store import Store
from .whole.sending import send_folder

_PAGE = 1000


@dataclass(frozen=True)
class Access:
    """How somebody comes in; "" and "" stand for `login`, or the token in the environment."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    insecure: bool = False
    ca: str = ""

    def connection(self, base: str) -> Connection:
        """Return a connection to a server."""
        return Connection(base, self.username, self.password, token=self.token, insecure=self.insecure, ca=self.ca)


@dataclass(frozen=True)
class ListedProject:
    """A project of a server: how many data sets it has, and when it was changed last (UTC)."""

    id: str
    name: str
    role: Literal["viewer", "annotator", "maintainer", "owner"]
    descriptors: int
    changed: datetime


def created(settings: ProjectSettings, url: str, access: Access) -> RemoteSession:
    """Make a project on a server; errors as of `Project.create`."""
    connection = access.connection(server_address(url, insecure=access.insecure))
    return RemoteSession(Store.create(connection, settings.with_ids().to_document()))


def loaded(url: str, project: str | None, access: Access) -> RemoteSession:
    """Open a project of a server; errors as of `Project.load`."""
    base, key = project_address(url, project, insecure=access.insecure)
    connection = access.connection(base)
    known = list(_known(connection))
    found = [one["id"] for one in known if one["id"] == key] or [one["id"] for one in known if one["name"] == key]
    if not found:
        there = ", ".join(f"{one['id']} ({one['name']})" for one in known[:10]) or "none"
        raise KeyNotFoundError(f"There is no project {key!r}, or you are no member.", remedy=f"there are: {there}")
    if len(found) > 1:
        raise ParameterError(f"{len(found)} projects are called {key!r}.", remedy=f"give an id, such as {found[0]!r}")
    return RemoteSession(Store(connection, found[0]))


def uploaded(folder: Path, url: str, access: Access) -> RemoteSession:
    """Send a project to a server; errors as of `Project.upload`."""
    Session(Folder(folder))  # a project, with all commits in place
    connection = access.connection(server_address(url, insecure=access.insecure))
    return RemoteSession(Store(connection, send_folder(connection, "/uploads", folder, kind="project")))


def listed(url: str, access: Access) -> tuple[ListedProject, ...]:
    """Return the projects of a server; errors as of `Project.list`."""
    connection = access.connection(server_address(url, insecure=access.insecure))
    return tuple(_details(connection, one["id"]) for one in _known(connection))


def _known(connection: Connection) -> Iterator[dict[str, Any]]:
    after = ""
    while page := connection.get("/projects", after=after, limit=_PAGE):
        yield from page
        after = page[-1]["id"]
        if len(page) < _PAGE:
            return


def _details(connection: Connection, id: str) -> ListedProject:
    told = connection.get(f"/projects/{id}")
    changed = datetime.fromtimestamp(told["changed"], UTC)
    return ListedProject(told["id"], told["name"], told["role"], told["descriptors"], changed)
