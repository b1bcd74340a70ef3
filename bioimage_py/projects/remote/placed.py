"""Where a project is: in a folder, or on a server."""

from __future__ import annotations

from ...errors import ParameterError
from ..storage.session import Session
from .store import Event


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
        if self._session.remote is None:
            raise ParameterError("A project in a folder keeps no events.", remedy="project.sync()")
        found: list[Event] = self._session.remote.events(self._session.seq if since is None else since, wait)
        return found
