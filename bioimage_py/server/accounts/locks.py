"""Locks of data sets as those see them who do not hold them: who has which, and how one is taken away."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ...errors import StorageError
from ...projects.storage.leases import Lease, LockToken, read_lease
from ..database import audit
from ..database.engine import Database
from ..served import Served

_MOST = 1000
"""Locks that are listed."""


def held(served: Served) -> list[tuple[str, Lease]]:
    """Return the locks that are held, with the identifiers of their data sets; those that end last come first."""
    found = []
    for name in _files(served.folder.locks):
        lease = _alive(served, name)
        if lease is not None:
            found.append((name, lease))
    return sorted(found, key=lambda one: -one[1].expires)[:_MOST]


def locks_of(served: Served, descriptors: Iterable[str]) -> dict[str, Lease]:
    """Return the locks of some data sets, by identifier."""
    there = set(_files(served.folder.locks))
    found = {one: _alive(served, one) for one in descriptors if one in there}
    return {one: lease for one, lease in found.items() if lease is not None}


def take_away(database: Database, served: Served, descriptor: str, by: str, note: str, address: str = "") -> None:
    """End somebody's lock, which the audit log keeps; nothing happens where there is none."""
    lease = read_lease(served.folder, descriptor)
    if lease is None or not lease.alive:
        return
    details = {"descriptor": descriptor, "owner": lease.owner, "note": note}
    with database.writing() as connection:
        audit.record(connection, by, "lock taken away", address=address, project=served.id, details=details)
    LockToken.of(served.folder, descriptor, lease.token).unlock()


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json")]
    except FileNotFoundError:
        return []


def _alive(served: Served, descriptor: str) -> Lease | None:
    with suppress(StorageError):  # a damaged file locks nothing for those who only look
        lease = read_lease(served.folder, descriptor)
        if lease is not None and lease.alive:
            return lease
    return None
