"""The audit log: rows are only added, and each one's hash covers the one before, so none can be changed or taken out.

Who can write the database can make all hashes anew; whoever keeps a copy of the last one elsewhere sees that. Once a
row is changed all the same: with an account its name goes, here as well, and a row tells the hash that was the last.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from .engine import alone, identity_of
from .tables import audit


@dataclass(frozen=True)
class Entry:
    """One row of the audit log."""

    id: int
    time: float
    user: str
    address: str
    action: str
    project: str
    details: dict[str, Any]


def record(
    connection: Connection,
    user: str,
    action: str,
    *,
    address: str = "",
    project: str = "",
    details: Mapping[str, Any] | None = None,
    at: float | None = None,
) -> None:
    """Add a row, with the transaction of what it tells of.

    Parameters
    ----------
    connection : Connection
        Of `Database.writing`.
    user, action : str
        Who did what.
    address, project : str
        From where, and to which project (its id); "" for none.
    details : mapping, optional
        JSON values; no secrets.
    at : float, optional
        When; None: now.
    """
    alone(connection, audit)
    before = connection.execute(select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)).scalar() or ""
    row = {
        "time": time.time() if at is None else at,
        "user": user[:200],
        "address": address[:100],
        "action": action,
        "project": project,
        "details": json.dumps(dict(details or {}), sort_keys=True),
    }
    connection.execute(insert(audit).values(**row, hash=_hash(before, row)))


def is_told(connection: Connection, action: str, details: Mapping[str, Any]) -> bool:
    """Whether there is a row of an action with exactly these details."""
    same = (audit.c.action == action) & (audit.c.details == json.dumps(dict(details), sort_keys=True))
    return connection.execute(select(audit.c.id).where(same).limit(1)).scalar() is not None


def entries(connection: Connection, after: int = 0, limit: int = 1000, project: str = "") -> list[Entry]:
    """Return rows in their order, those after an id."""
    query = select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(limit)
    if project:
        query = query.where(audit.c.project == project)
    return [_entry(row) for row in connection.execute(query).mappings()]


def newest(connection: Connection, before: int, limit: int, project: str = "", user: str = "") -> list[Entry]:
    """Return rows, the newest first: those before an id (0: all), of one project or user, or of all ("")."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    for wanted, test in (
        (before, audit.c.id < before),
        (project, audit.c.project == project),
        (user, audit.c.user == user),
    ):
        if wanted:
            query = query.where(test)
    return [_entry(row) for row in connection.execute(query).mappings()]


def rename(connection: Connection, old: str, new: str, texts: Mapping[str, str]) -> None:
    """Let all rows tell of somebody by another name, and add one that says so: from where on hashes are others now.

    Where that somebody came from, by which program and provider, goes from rows.

    Parameters
    ----------
    connection : Connection
        Of `Database.writing`.
    old, new : str
    texts : mapping
        SHA-256 of events that have become others by this, by that before.
    """
    alone(connection, audit)
    identity = identity_of(connection)
    last = connection.execute(select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)).scalar() or ""
    change = update(audit).where(audit.c.id == bindparam("_id"))
    at, first, before = 0, 0, ""
    while rows := connection.execute(select(audit).where(audit.c.id > at).order_by(audit.c.id).limit(1000)).all():
        changed = []
        for row in rows:
            own = _own(row._mapping)
            told = _renamed(own, old, new, texts)
            first = first or (row.id if told != own else 0)
            before = _hash(before, told) if first else row.hash
            if first:
                changed.append({"_id": row.id, **told, "hash": before})
        if changed:
            connection.execute(change, changed)
        at = rows[-1].id
    said = {"from": first, "hash": last, "identity": identity}
    record(connection, "server", "log rewritten", details={**said, "name": new})


def _renamed(row: dict[str, Any], old: str, new: str, texts: Mapping[str, str]) -> dict[str, Any]:
    details, action, by = json.loads(row["details"]), row["action"], row["user"] == old
    if action in _OF_USERS and details.get("name") == old:
        details |= {"name": new, **({"subject": ""} if "subject" in details else {})}
    if old in details.get("readers", ()):
        details["readers"] = [new if one == old else one for one in details["readers"]]
    if str(details.get("owner", "")).startswith(f"{old} ("):
        details["owner"] = new
    if by:
        details |= {key: "" for key in ("client", *(["name"] if action == "token made" else [])) if key in details}
        details |= {"sha256": texts[details["sha256"]]} if details.get("sha256") in texts else {}
    found = {**row, "details": json.dumps(details, sort_keys=True)}
    return {**found, "user": new, "address": ""} if by else found


_OF_USERS = {
    "assigned",
    "assignment ended",
    "identity linked",
    "link made",
    "member changed",
    "member removed",
    "password changed",
    "user added",
    "user changed",
    "user removed",
}
"""Actions whose details have the name of a user."""


def _entry(row: Any) -> Entry:
    return Entry(**{**_own(row), "id": row["id"], "details": json.loads(row["details"])})


def broken(connection: Connection) -> int | None:
    """Return the id of the first row that does not follow from those before it; None where all do."""
    before = ""
    for row in _all(connection):
        if row["hash"] != _hash(before, _own(row)):
            return int(row["id"])
        before = row["hash"]
    return None


def _all(connection: Connection) -> Iterator[Any]:
    query = select(audit).order_by(audit.c.id).execution_options(yield_per=1000)
    yield from connection.execute(query).mappings()


def _own(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in ("time", "user", "address", "action", "project", "details")}


def _hash(before: str, row: Mapping[str, Any]) -> str:
    text = json.dumps([before, *(row[name] for name in sorted(row))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
