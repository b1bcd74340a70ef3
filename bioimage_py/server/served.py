"""A project that is served: commits whose event counts in the same instant, and the events in their order.

The files decide. A commit and its event are one record, and one rename lets both count (`projects.storage.folder`).
What the database knows of events follows from the files: whoever comes next takes over what a killed process left,
in the order of the numbers, each once. docs/server-storage.md says why no instant is between the two.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from ..errors import KeyNotFoundError, ParameterError, StorageError
from ..projects.storage.events import EVENTS, Origin, event_name, numbers
from ..projects.storage.folder import Change, Folder, Pair, Saved, parse
from ..projects.storage.mutex import holding
from ..system.faults import fault
from ..system.files import write_once
from .database import audit
from .database.engine import Database
from .database.tables import events, projects
from .documents import Documents

MOST = 1000
"""Events of one page."""
_CLAIM = ".server"
"""File beside the events: whose database takes them over, which lets no other one have some of them."""


class Answer(NamedTuple):
    """What a commit is answered."""

    seq: int
    """Number of its event; where it changed nothing, of the last one."""
    saved: dict[str, Saved] | None
    """What is saved now; None where the commit had been made before, and this was its repetition."""


class Page(NamedTuple):
    """Events in their order."""

    events: list[dict[str, Any]]
    last: int
    """Number of the last event that there is."""


class Gone(Exception):  # noqa: N818 - said to a client, which loads anew; no error of anybody
    """Events that are not kept any more were asked for."""


class _Done(Exception):  # noqa: N818
    def __init__(self, seq: int) -> None:
        self.seq = seq


class Served:
    """A project folder behind a server.

    Parameters
    ----------
    id : str
        Of the project.
    folder : Folder
    database : Database
        Which has the project's row.
    """

    def __init__(self, id: str, folder: Folder, database: Database) -> None:
        self.id = id
        self.folder = folder
        self._database = database
        self.documents = Documents(folder)
        """What clients read."""
        self.index: Any = None
        """What is known of the data sets for lists (`index.Index`)."""

    def commit(
        self,
        changes: Sequence[Change],
        origin: Origin,
        check: Callable[[], None] = lambda: None,
        guarded: Iterable[str] = (),
        accept: Callable[[dict[str, Pair]], None] | None = None,
    ) -> Answer:
        """Merge changes into what is saved, all of them and their event, or none; the same `origin.key` does so once.

        Parameters
        ----------
        changes : sequence of Change
        origin : Origin
            `key` is "" or two words: that of the client, and the digest of its request.
        check, guarded, accept
            As for `Folder.commit`.

        Raises
        ------
        ConflictError, LockError
        ParameterError
            The key came with another request before.
        StorageError
            The files or the database don't work. Whether the commit counts is told by repeating it with its key.
        """
        origin = origin if origin.key else replace(origin, key=f"own-{secrets.token_hex(16)}")

        def first() -> None:
            self.take_over_held()
            self._unless_done(origin)
            check()

        try:
            found = self.folder.commit(changes, first, guarded, origin, accept)
        except _Done as done:
            return Answer(done.seq, None)
        except (StorageError, OSError):  # before the instant at which it counts, or after
            counted = None
            with suppress(StorageError, OSError):
                counted = self.done(origin)
            if counted is None:
                raise
            return counted
        if found.number is None:
            return Answer(self.last(), found.saved)
        with suppress(StorageError, OSError):  # the commit counts, and whoever comes next takes its event over
            self.take_over()
        fault("server-answer")
        return Answer(found.number, found.saved)

    def done(self, origin: Origin) -> Answer | None:
        """Return the answer of a commit that was made before with the same key; None where there is none.

        Raises
        ------
        ParameterError
            The key came with another request.
        """
        self.take_over()
        try:
            self._unless_done(origin)
        except _Done as done:
            return Answer(done.seq, None)
        return None

    def take_over(self) -> None:
        """Take events that lie in the folder into the database, also of commits that were cut off when they counted.

        Raises
        ------
        StorageError
            The folder and the database have not the same past, or one of them does not work.
        """
        self.folder.roll_forward()
        found = numbers(self.folder.root)
        if found and found[-1] > self.last():
            with holding(self.folder.locks / "mutex", [EVENTS]):
                self.take_over_held()

    def take_over_held(self) -> None:
        """Do so; the caller holds what orders the commits (`EVENTS`)."""
        found = numbers(self.folder.root)
        if not found:
            raise StorageError(
                f"{self.folder.root} has lost its events.", remedy=f"bioimage-py server check; restore {EVENTS}/"
            )
        self._claim()
        with self._database.writing() as connection:
            first, last = self._kept(connection)
            self._compare(connection, found, last)
            new = [number for number in found if number > last]
            fault("server-take")
            for number in new:
                self._insert(connection, number)
            if new:
                kept = first if new[0] == last + 1 else new[0]
                connection.execute(update(projects).where(projects.c.id == self.id).values(first=kept, last=new[-1]))
            fault("server-taking")
        fault("server-taken")
        for number in found[:-1]:  # the last one stays: the next commit counts on from it
            self._path(number).unlink(missing_ok=True)

    def _claim(self) -> None:
        """Let the events be those of this database; the caller holds what orders the commits."""
        path, own = self.folder.root / EVENTS / _CLAIM, self._database.identity()
        if own and claimed_by(self.folder) != own:
            check_claim(self.folder, own)
            write_once(path, own.encode())

    def _compare(self, connection: Connection, found: list[int], last: int) -> None:
        """Refuse a folder that is older than the database, or went another way."""
        same = (events.c.project_id == self.id) & (events.c.seq == last)
        known = connection.execute(select(events.c.id).where(same)).scalar()
        there = self._event(last)["id"] if last in found else None
        if found[-1] < last or (known and there and known != there):
            raise StorageError(
                f"The project {self.id} is at event {found[-1]}, and the database at {last}, of another past.",
                remedy="restore both from one backup, or take the project off the server and add it again",
            )

    def _insert(self, connection: Connection, number: int) -> None:
        document = self._event(number)
        time = datetime.fromisoformat(document["time"]).timestamp()
        user, key = str(document["user"])[:200], str(document["key"]).partition(" ")[0]
        row = {"project_id": self.id, "seq": number, "id": document["id"], "user": user, "key": key or None}
        text = json.dumps(document)
        self._rename(connection, document["changes"])
        connection.execute(insert(events).values(**row, time=time, document=text))
        # who looks after the server need not be a member: values stay in the event, which the digest holds fast
        fields = {
            one["name"]: [one["kind"], *(".".join(path) for path, _, _ in one["fields"])] for one in document["changes"]
        }
        details = {
            "seq": number,
            "client": document["client"],
            "fields": fields,
            "sha256": sha256(text.encode()).hexdigest(),
        }
        audit.record(connection, user, "commit", project=self.id, details=details, at=time)

    def _rename(self, connection: Connection, changes: list[dict[str, Any]]) -> None:
        """Take over a new name from the settings, unless another project of the owner has it."""
        for change in changes:
            for path, _, name in change["fields"] if change["name"] == "project" else ():
                if path == ["name"]:
                    owner = select(projects.c.owner_id).where(projects.c.id == self.id).scalar_subquery()
                    taken = (projects.c.owner_id == owner) & (projects.c.name == name)
                    if connection.execute(select(projects.c.id).where(taken)).scalar() is None:
                        connection.execute(update(projects).where(projects.c.id == self.id).values(name=name))

    def _path(self, number: int) -> Any:
        return self.folder.path_of(event_name(number))

    def _event(self, number: int) -> dict[str, Any]:
        return parse(self._path(number).read_bytes(), self._path(number))

    def _unless_done(self, origin: Origin) -> None:
        key, _, digest = origin.key.partition(" ")
        if not key:
            return
        before = self._of_key(origin.user, key)
        if before is None:
            return
        if before["key"].partition(" ")[2] != digest:
            raise ParameterError(
                f"The idempotency key {key!r} came with another request before.", remedy="use a new key for each commit"
            )
        raise _Done(before["seq"])

    def made(self, user: str, key: str) -> int | None:
        """Return the number of the event of a user's commit with an idempotency key; None where there is none."""
        self.take_over()
        found = self._of_key(user, key)
        return None if found is None else int(found["seq"])

    def rename(self, user: str, new: str) -> None:
        """Let events that lie in the folder be of another name; those in the database are not looked at."""
        with holding(self.folder.locks / "mutex", [EVENTS]):
            for number in numbers(self.folder.root):
                event = self._event(number)
                if event["user"] == user:
                    write_once(self._path(number), json.dumps({**event, "user": new, "client": ""}).encode(), sync=True)

    def _of_key(self, user: str, key: str) -> dict[str, Any] | None:
        same = (events.c.project_id == self.id) & (events.c.user == user) & (events.c.key == key)
        with self._database.reading() as connection:
            text = connection.execute(select(events.c.document).where(same)).scalar()
        return None if text is None else dict(json.loads(text))

    def last(self) -> int:
        """Return the number of the last event in the database."""
        with self._database.reading() as connection:
            return self._kept(connection)[1]

    def forget(self, before: float) -> int:
        """Keep events no more that are older than a time (seconds since 1970), but for the last one; return how many.

        Clients that ask for them load anew. The audit log keeps its rows.
        """
        with self._database.writing() as connection:
            first, last = self._kept(connection)
            own = events.c.project_id == self.id
            young = select(func.min(events.c.seq)).where(own, (events.c.time >= before) | (events.c.seq == last))
            kept = connection.execute(young).scalar()
            if kept is None or kept <= first:
                return 0
            connection.execute(delete(events).where(own, events.c.seq < kept))
            connection.execute(update(projects).where(projects.c.id == self.id).values(first=kept))
            return int(kept - first)

    def newest(self) -> int | None:
        """Return the number of the last event as its file tells, which always lies there; None where it does not."""
        found = numbers(self.folder.root)
        return found[-1] if found else None

    def changed(self) -> float | None:
        """Return the time of the last event; None where none is kept."""
        query = select(events.c.time).where(events.c.project_id == self.id).order_by(events.c.seq.desc()).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).scalar()

    def _kept(self, connection: Connection) -> tuple[int, int]:
        query = select(projects.c.first, projects.c.last).where(projects.c.id == self.id)
        found = connection.execute(query).one_or_none()
        if found is None:
            raise KeyNotFoundError(f"There is no project {self.id!r} (any more).", remedy="Project.list(url)")
        return int(found[0]), int(found[1])

    def events(self, since: int, limit: int = MOST) -> Page:
        """Return the events after a number.

        Raises
        ------
        Gone
            Some of them are not kept any more, or there was none of that number: the client has to load anew.
        """
        if since == self.newest():
            return Page([], since)
        self.take_over()
        with self._database.reading() as connection:
            first, last = self._kept(connection)
            if since < first - 1 or since > last:
                raise Gone
            after = (events.c.project_id == self.id) & (events.c.seq > since)
            query = select(events.c.document).where(after).order_by(events.c.seq).limit(limit)
            return Page([json.loads(text) for text in connection.execute(query).scalars()], last)


def claimed_by(folder: Folder) -> str:
    """Return the identity of the database that takes a project's events over; "" where none has yet."""
    try:
        return (folder.root / EVENTS / _CLAIM).read_text()
    except FileNotFoundError:
        return ""


def check_claim(folder: Folder, own: str) -> None:
    """Refuse a project that a server with another database serves: each would have some of its events.

    Raises
    ------
    StorageError
    """
    if claimed_by(folder) not in ("", own):
        raise StorageError(
            f"{folder.root} is served with another database.",
            remedy=f"bioimage-py server project remove, there; where that is gone: rm {folder.root / EVENTS / _CLAIM}",
        )
