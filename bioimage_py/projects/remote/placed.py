"""Where a project is: in a folder, or on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import quote

from ...errors import ParameterError
from ..storage.session import Session
from .watching import Event, Watch


class Placed:
    """What every project says of itself, wherever it is."""

    _session: Session

    @property
    def id(self) -> str:
        """Unique id."""
        return self._session.settings.id

    @property
    def name(self) -> str:
        """Name; `edit` changes it."""
        return self._session.settings.name

    @property
    def path(self) -> str:
        """Absolute path of the folder; of a project on a server its URL, without credentials."""
        return self._session.path

    @property
    def is_local(self) -> bool:
        """Whether it lies in a folder."""
        return self._session.remote is None

    @property
    def is_remote(self) -> bool:
        """Whether it is on a server."""
        return self._session.remote is not None

    def refresh_access_token(self) -> None:
        """Renew the access token of a server now, which otherwise happens in time; nothing is done for a folder."""
        if self._session.remote is not None:
            self._session.remote.connection.refresh_access_token()

    def events(self, since: int | None = None, wait: float = 0.0) -> list[Event]:
        """Return what was changed on a server, by whom and when; at most 1,000 commits.

        Parameters
        ----------
        since : int, optional
            Number of an event; None: that of the last `sync`.
        wait : float, default 0.0
            Seconds to wait for one, where there is none yet; 30 at most.

        Raises
        ------
        ParameterError
            The project lies in a folder.
        """
        store = self._on_server("events", "project.sync()")
        found: list[Event] = store.events(self._session.seq if since is None else since, wait)
        return found

    def watch(self, callback: Callable[[Event], object]) -> Watch:
        """Call a function for whatever anybody saves on the server after the last `sync`, in a thread of its own.

        Parameters
        ----------
        callback : callable
            ``callback(event)``; `sync` takes over what it tells of.

        Returns
        -------
        Watch
            To be stopped with ``stop()``, or used as a context manager.

        Raises
        ------
        ParameterError
            The project lies in a folder.
        """
        return Watch(self._on_server("events", "project.sync()"), self._session.seq, callback)

    @property
    def members(self) -> dict[str, str]:
        """Names of the members on a server, with their roles; ParameterError for a folder."""
        found = self._on_server("members").connection.get(f"/projects/{self.id}/members")
        return {one["name"]: one["role"] for one in found}

    def add_member(self, user: str, role: Literal["viewer", "annotator", "maintainer", "owner"] = "annotator") -> None:
        """Make somebody a member of a project on a server, or give a member another role; at once.

        Parameters
        ----------
        user : str
            Name of an account of the server.
        role : {"viewer", "annotator", "maintainer", "owner"}
            What each may do: docs/server.md.

        Raises
        ------
        KeyNotFoundError
            The server has no such user.
        AccessError
            You are no maintainer; or no owner, where somebody becomes one or was one.
        ConflictError
            No owner would be left.
        ParameterError
            There is no such role, or the project lies in a folder.
        """
        self._on_server("members").connection.send("PUT", self._member(user), {"role": role})

    def remove_member(self, user: str) -> None:
        """Let somebody be a member no more, at once; errors as of `add_member`.

        Parameters
        ----------
        user : str
        """
        self._on_server("members").connection.send("DELETE", self._member(user))

    def _member(self, user: str) -> str:
        return f"/projects/{self.id}/members/{quote(user, safe='')}"

    def _on_server(self, what: str, remedy: str = "Project.create(settings, 'https://server')") -> Any:
        if self._session.remote is None:
            raise ParameterError(f"A project in a folder has no {what}.", remedy=remedy)
        return self._session.remote
