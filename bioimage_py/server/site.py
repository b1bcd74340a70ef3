"""Everything that a server consists of, opened once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .accounts.api_tokens import ApiTokens
from .accounts.devices import Devices
from .accounts.identities import Identities
from .accounts.known import Known
from .accounts.members import Members
from .accounts.provider import Provider, ProviderSettings
from .accounts.sessions import Sessions
from .accounts.sights import Sights
from .accounts.users import Users
from .database.engine import Database
from .projects import Projects
from .transfer.uploads import Uploads


@dataclass(frozen=True)
class Times:
    """How long tokens live, in seconds."""

    access: float = 900.0
    refresh: float = 30 * 86400.0
    page: float = 12 * 3600.0


class Site:
    """A folder that is served.

    Parameters
    ----------
    root : Path
        With the projects, and the database unless that is elsewhere.
    url : str, optional
        Of the database; "" for SQLite in the folder.
    times : Times
    clock : callable
        Seconds since 1970.
    image_roots : sequence of Path
        Folders of images of which pictures are made.
    provider : ProviderSettings, optional
        With which users may sign in.
    project_bytes : int, default 0
        That a project may take; 0 for as many as the disk has.
    """

    def __init__(
        self,
        root: Path,
        url: str = "",
        times: Times | None = None,
        clock: Callable[[], float] = time.time,
        image_roots: Sequence[Path] = (),
        provider: ProviderSettings | None = None,
        project_bytes: int = 0,
    ) -> None:
        times = times or Times()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root.resolve()
        self.image_roots = tuple(image_roots)
        self.database = Database(url or f"sqlite:///{self.root / 'server.db'}", self.root)
        self.users = Users(self.database)
        self.sessions = Sessions(self.database, times.access, times.refresh, clock, times.page)
        self.tokens = ApiTokens(self.database, clock)
        self.devices = Devices(self.database, self.sessions, clock)
        self.identities = Identities(self.database)
        self.provider = None if provider is None else Provider(provider, clock)
        self.members = Members(self.database)
        self.sights = Sights(self.database)
        self.known = Known(self.database, clock)
        self.projects = Projects(self.root, self.database, project_bytes)

    def first_admin(self) -> tuple[str, str] | None:
        """Make the administrator "admin" where there is nobody yet.

        Returns
        -------
        (str, str) or None
            The password, and the end of a link that lets choose another one, once.
        """
        if not self.users.is_empty():
            return None
        password = secrets.token_urlsafe(18)
        user = self.users.add("admin", password, admin=True, by="server")
        return password, self.sessions.link(user.id, by="server")

    def remove_user(self, id: int, *, by: str, address: str = "") -> None:
        """Delete an account; what it did stays under a number. Errors as of `Users.remove`."""

        def forget(name: str, number: str) -> None:
            self.projects.rename(name, number)
            Uploads(self.root / "uploads").rename(name, number)

        self.users.remove(id, by=by, address=address, forget=forget)

    def close(self) -> None:
        """Close the database."""
        if self.provider is not None:
            self.provider.close()
        self.database.close()
