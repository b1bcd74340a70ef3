"""Locks of descriptors: leases that expire, in the file server's time.

A lease is a file that names its token and owner; its modification time, which the file server gives, is when it was
taken or renewed. It is read and written only while the descriptor is guarded (`Folder.guarding`), so no two
processes, on any nodes, can both believe that they hold it, and a commit is checked at the instant that it counts.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from ...errors import LockError, ParameterError, StorageError
from ...system.files import write_once
from ...system.json_text import parse_json
from ...system.processes import server_time
from ..values.names import plain
from .events import Origin
from .folder import Folder

SECONDS = 300.0
"""How long a lock lives that nobody renews."""
_MOST = 10_000
_ends: dict[tuple[str, str, int], float] = {}
"""By file, token and the time that it bears: a clock of files that is put back prolongs no lease."""


@dataclass(frozen=True)
class Lease:
    """A lock as it is stored: who holds it, and until when (seconds since 1970 by the file server's clock)."""

    token: str
    owner: str
    expires: float
    alive: bool

    @property
    def holder(self) -> LockHolder:
        """What everybody may know of it."""
        return LockHolder(self.owner, datetime.fromtimestamp(self.expires, UTC))

    def __str__(self) -> str:
        verb = "expires" if self.alive else "expired"
        return f"{self.owner}, {verb} at {datetime.fromtimestamp(self.expires, UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class LockHolder:
    """Who has locked a data set, from `Descriptor.locked_by`.

    Parameters
    ----------
    owner : str
        Who, and with which program.
    expires : datetime
        When the lock ends (UTC) unless it is renewed.
    """

    owner: str
    expires: datetime

    def __str__(self) -> str:
        return f"{self.owner}, until {self.expires:%Y-%m-%d %H:%M:%S} UTC"


def read_lease(folder: Folder, identifier: str) -> Lease | None:
    """Return the lease of a descriptor, None where there is none."""
    path = _path(folder, identifier)
    try:
        with open(path, "rb") as file:
            stored, taken = parse_json(file.read()), os.fstat(file.fileno())
        token, owner, seconds = str(stored["token"]), str(stored["owner"]), float(stored["seconds"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged.", remedy=f"rm {path}") from error
    now = server_time(path.parent)
    left = taken.st_mtime + seconds - now
    ends = _seen((str(path), token, taken.st_mtime_ns), monotonic() + min(seconds, left))
    left = min(left, ends - monotonic())
    return Lease(token, owner, now + left, left > 0)


def _seen(lease: tuple[str, str, int], ends: float) -> float:
    """Return when a lease ends by the clock that never jumps, as it was when this process saw it first."""
    if len(_ends) >= _MOST and lease not in _ends:
        for one in [one for one, end in _ends.items() if end < monotonic()] or list(_ends)[: _MOST // 2]:
            _ends.pop(one, None)
    return _ends.setdefault(lease, ends)


def check_lease(folder: Folder, identifier: str, token: str) -> None:
    """Refuse a write that another's lock forbids, or whose own lock has gone.

    Raises
    ------
    LockError
    """
    lease = read_lease(folder, identifier)
    if token:
        if lease is None or lease.token != token:
            now = f"it is held by {lease}" if lease is not None and lease.alive else "it was released"
            raise LockError(
                f"The lock of the descriptor {identifier} is not yours any more: {now}.",
                remedy="lock it again, look at what was saved meanwhile, and repeat your change",
            )
        if not lease.alive:
            raise LockError(
                f"The lock of the descriptor {identifier} has expired ({lease}).",
                remedy="look at what was saved meanwhile, and save again within: with descriptor.lock() as token",
            )
    elif lease is not None and lease.alive:
        raise LockError(
            f"The descriptor {identifier} is locked by {lease}.", remedy="wait, or pass lock_token= if it is yours"
        )


class LockToken:
    """A lock on one descriptor, from `Descriptor.lock`; as a context manager it is renewed until the block ends.

    Parameters
    ----------
    token : str, default ""
        What proves the lock, also in another process; "" stands for no lock.
    """

    def __init__(self, token: str = "") -> None:
        self.token = token
        self._folder: Folder | None = None
        self._identifier = ""
        self._seconds = SECONDS
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def take(cls, folder: Folder, identifier: str, seconds: float, owner: str = "") -> LockToken:
        """Take the lock of a descriptor, for this process or, as a server does, for another owner.

        Raises
        ------
        LockError
            Another one lives.
        ParameterError
            A time that is not positive.
        """
        if not seconds > 0:
            raise ParameterError(f"seconds is {seconds!r}.", remedy=f"seconds={SECONDS}")
        token = cls(secrets.token_hex(8))
        token._folder, token._identifier, token._seconds = folder, identifier, float(seconds)
        stored = {"descriptor": identifier, "owner": owner or _owner(), "token": token.token, "seconds": token._seconds}
        with folder.guarding([identifier]):
            check_lease(folder, identifier, "")
            write_once(_path(folder, identifier), json.dumps(stored, indent=1).encode())
            read_lease(folder, identifier)  # so that its end is known
        return token

    @classmethod
    def of(cls, folder: Folder, identifier: str, token: str) -> LockToken:
        """Return a lock that somebody has taken, whose token is known."""
        found = cls(token)
        found._folder, found._identifier = folder, identifier
        return found

    def __bool__(self) -> bool:
        return bool(self.token)

    def proof_of(self, identifier: str) -> str:
        """Return the token, for a write to a descriptor; LockError where it is another one's, or was released."""
        if self._identifier and self._identifier != identifier:
            raise LockError(
                f"The lock is that of the descriptor {self._identifier}, not of {identifier}.",
                remedy="token = descriptor.lock() of the one that you change",
            )
        if not self.token:
            raise LockError(
                f"The lock of the descriptor {identifier} was released.",
                remedy="token = descriptor.lock(), or no token where you need no lock",
            )
        return self.token

    @property
    def is_none(self) -> bool:
        """Whether it stands for no lock; one that was released does not."""
        return not self.token and not self._identifier

    @property
    def expires(self) -> datetime | None:
        """When the lock ends unless it is renewed; None where it is not held."""
        lease = self._lease()
        return None if lease is None else datetime.fromtimestamp(lease.expires, UTC)

    @property
    def is_valid(self) -> bool:
        """Whether the lock is held now."""
        lease = self._lease()
        return lease is not None and lease.alive

    def _lease(self) -> Lease | None:
        lease = read_lease(self._folder, self._identifier) if self._folder is not None else None
        return lease if lease is not None and lease.token == self.token else None

    def renew(self) -> None:
        """Let the lock live for its full time from now.

        Raises
        ------
        LockError
            It has expired, or somebody else holds it.
        """
        folder = self._of_descriptor()
        with folder.guarding([self._identifier]):
            check_lease(folder, self._identifier, self.token)
            os.utime(_path(folder, self._identifier))
            read_lease(folder, self._identifier)

    def unlock(self) -> None:
        """Release the lock; the token can't be used again. Nothing happens where it has expired or gone."""
        folder = self._of_descriptor()
        self._over.set()
        with folder.guarding([self._identifier]):
            lease = read_lease(folder, self._identifier)
            if lease is not None and lease.token == self.token:
                _path(folder, self._identifier).unlink(missing_ok=True)
        self.token = ""

    def _of_descriptor(self) -> Folder:
        if self._folder is None or not self.token:
            raise LockError("This token holds no lock.", remedy="token = descriptor.lock()")
        return self._folder

    def __enter__(self) -> Self:
        self._of_descriptor()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="bioimage_py-lock")
        self._thread.start()
        return self

    def _keep(self) -> None:
        while not self._over.wait(self._seconds / 3):
            with suppress(OSError):  # a file server that is away for a moment; the commit decides
                try:
                    self.renew()
                except LockError:
                    return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self.token:
            self.unlock()

    def __repr__(self) -> str:
        return f"LockToken(token={self.token!r})"


def _path(folder: Folder, identifier: str) -> Path:
    return folder.locks / f"{plain(identifier)}.json"


def _owner() -> str:
    here = Origin.here()
    return f"{here.user} ({here.client})"
