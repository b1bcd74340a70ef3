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

_MOST = 20_000
_SECONDS = 30.0
"""So long at most: API tokens note when they were used."""


class Known:
    """Callers by token, and their roles, as they were read since the database changed last.

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
        self._counting = threading.Lock()
        self._counted = -1.0
        self._found: dict[Hashable, tuple[float, Any]] = {}

    def version(self) -> int | None:
        """Return the state of the database, to be asked for before what is put is read; None: nothing is kept."""
        return self._noted(self._database.version()) if self._database.is_sqlite else None

    def version_since(self, asked: float) -> int | None:
        """Return the state of the database, no older than a moment (of `time.monotonic`); this may take a query.

        Those who ask together, about what each of them wants to know, share it.
        """
        if self._database.is_sqlite:
            return self.version()
        with self._counting:
            if self._counted < asked:
                begun = time.monotonic()
                self._noted(self._database.counted())
                self._counted = begun
            return self._version

    def _noted(self, version: int | None) -> int | None:
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

    def role(self, caller: Caller, project: str, right: int, version: int | None) -> Role | None:
        """Return the role of a caller who has that right in a project; None where that has to be read."""
        found: Role | None = self._get((caller, project, right), version)
        return found

    def put_role(self, caller: Caller, project: str, right: int, version: int | None, role: Role) -> None:
        """Remember the role."""
        self._put((caller, project, right), version, role)

    def sight(self, caller: Caller, project: str, role: Role, version: int | None) -> Sight | None:
        """Return what a member sees of a project; None where that has to be read."""
        found: Sight | None = self._get(("sight", caller, project, role), version)
        return found

    def put_sight(self, caller: Caller, project: str, role: Role, version: int | None, sight: Sight) -> None:
        """Remember what a member sees."""
        self._put(("sight", caller, project, role), version, sight)

    def _get(self, key: Hashable, version: int | None) -> Any:
        if version is None or version != self._version:
            return None
        read, found = self._found.get(key, (0.0, None))
        return found if 0 <= self._clock() - read < _SECONDS else None

    def _put(self, key: Hashable, version: int | None, value: Any) -> None:
        with self._lock:
            if version is not None and version == self._version:
                self._found[key] = self._clock(), value
