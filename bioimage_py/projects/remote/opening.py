"""Opening and making projects on a server."""

from __future__ import annotations

from ...errors import KeyNotFoundError, ParameterError
from ..values.settings import ProjectSettings
from .address import project_address, server_address
from .connection import Connection
from .session import RemoteSession
from .store import Store


def created(settings: ProjectSettings, url: str, username: str, password: str) -> RemoteSession:
    """Make a project on a server; errors as of `Content.create`."""
    connection = Connection(server_address(url), username, password)
    return RemoteSession(Store.create(connection, settings.with_ids().to_document()))


def loaded(url: str, project: str | None, username: str, password: str) -> RemoteSession:
    """Open a project of a server; errors as of `Content.load`."""
    base, key = project_address(url, project)
    connection = Connection(base, username, password)
    known = connection.get("/projects")
    found = [one["id"] for one in known if one["id"] == key] or [one["id"] for one in known if one["name"] == key]
    if not found:
        there = ", ".join(f"{one['id']} ({one['name']})" for one in known[:10]) or "none"
        raise KeyNotFoundError(f"There is no project {key!r}, or you are no member.", remedy=f"there are: {there}")
    if len(found) > 1:
        raise ParameterError(f"{len(found)} projects are called {key!r}.", remedy=f"give an id, such as {found[0]!r}")
    return RemoteSession(Store(connection, found[0]))
