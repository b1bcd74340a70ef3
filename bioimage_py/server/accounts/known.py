"""Who has asked before: read again whenever anything in the database has changed, so what is revoked ends at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from hashlib import sha256
from typing import Any

from ..database.engine import Database
from .callers import Caller
from .members import Role
from .sights import Sight

Member = tuple[Role, Sight]
"""What somebody is in a project, and sees of it."""

_MOST = 20_000
_SECONDS = 30.0
"""So long at most: API tokens note when they were used."""


class Known:
    """Callers by token, and what they are in projects, as they were read since the database changed last.

    Parameters
    ----------
    database : Database
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._version: int | None = None
        self._found: dict[Hashable, tuple[float, Any]] = {}

    def version(self) -> int | None:
        """Return the state of the database, to be asked for before what is put is read; None: nothing is kept."""
        version = self._database.version()
        if version != self._version or len(self._found) > _MOST:
            with self._lock:
                self._found, self._version = {}, version
        return version

    def caller(self, token: str, version: int | None) -> Caller | None:
        """Return whose token this is; None where that has to be read."""
        found: Caller | None = self._get(sha256(token.encode()).digest(), version)
        return found if found is not None and self._clock() < found.until else None

    def put_caller(self, token: str, version: int | None, caller: Caller) -> None:
        """Remember whose token this is."""
        self._put(sha256(token.encode()).digest(), version, caller)

    def member(self, caller: Caller, project: str, right: int, version: int | None) -> Member | None:
        """Return what a caller is who has that right in a project; None where that has to be read."""
        found: Member | None = self._get((caller, project, right), version)
        return found

    def put_member(self, caller: Caller, project: str, right: int, version: int | None, member: Member) -> None:
        """Remember what the caller is there."""
        self._put((caller, project, right), version, member)

    def _get(self, key: Hashable, version: int | None) -> Any:
        if version is None or version != self._version:
            return None
        read, found = self._found.get(key, (0.0, None))
        return found if 0 <= self._clock() - read < _SECONDS else None

    def _put(self, key: Hashable, version: int | None, value: Any) -> None:
        with self._lock:
            if version is not None and version == self._version:
                self._found[key] = self._clock(), value
