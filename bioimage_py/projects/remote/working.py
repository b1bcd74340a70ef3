"""Workers of a project on a server: they come in with a token that the driver has put into their environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...errors import AccessError
from ..storage.session import Session
from .connection import Connection
from .session import RemoteSession
from .store import Store
from .tickets import ticket, variable


@dataclass(frozen=True)
class Worker:
    """How a worker opens a project: where it is, and the name of the variable that holds the token.

    Parameters
    ----------
    url, project : str
        Base URL of the server, and id.
    variable : str
    ca : str
        File of the certificates of the server.
    """

    url: str
    project: str
    variable: str
    ca: str

    @classmethod
    @contextmanager
    def of(cls, session: Session) -> Iterator[Worker | None]:
        """Let workers that are started inside come in; None for a project in a folder."""
        if session.remote is None:
            yield None
            return
        connection = session.remote.connection
        with ticket(connection, session.remote.id) as variable:
            yield cls(connection.url, session.remote.id, variable, connection.ca)

    @classmethod
    def reading(cls, session: Session) -> Worker | None:
        """Let workers that are started from now on read, for a day; None for a project in a folder."""
        if session.remote is None:
            return None
        connection = session.remote.connection
        return cls(connection.url, session.remote.id, variable(connection, session.remote.id), connection.ca)

    def session(self, run: str) -> RemoteSession:
        """Return the project, for one run; AccessError where the environment has no token."""
        token = os.environ.get(self.variable)
        if not token:
            raise AccessError(
                f"${self.variable} is not set in this worker, which was started before the call, or without its"
                " environment.",
                remedy="call it outside of bp.execution(...), and let workers have the environment of the driver",
            )
        # the driver has asked whether http is wanted
        session = RemoteSession(Store(Connection(self.url, token=token, insecure=True, ca=self.ca), self.project))
        session.run = run
        return session
