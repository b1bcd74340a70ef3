"""What one `Project` object of a server has read and changed: as `storage.session` has it, over HTTP.

The server looks at locks and merges; documents come back as they are saved then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from ...errors import BioimageError, KeyNotFoundError, LockError, ParameterError, SourceNotFoundError
from ..storage.backups import Backups
from ..storage.folder import Change, Folder, Saved, Stamp
from ..storage.leases import Lease, LockToken
from ..storage.listing import Changes, Listing
from ..storage.session import Session
from ..values.merge import Document
from ..values.names import is_plain
from ..values.records import DescriptorRecord
from .problems import GoneError
from .sending import take_back
from .store import Store, commit_key

_SAME: Stamp = (1, 0, 0)
"""State of a document's file: events tell what has changed, not files."""
_MOST = 1000
_TOLD = 3
"""Changes of others that an error names."""


class RemoteFolder(Folder):
    """Documents on a server in the place of files.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        super().__init__(Path("/nowhere", store.id))
        self._store = store

    def read(self, name: str) -> Saved:
        """Return a document as it is saved now."""
        try:
            return Saved(self._store.read(name), _SAME)
        except KeyNotFoundError:
            return Saved(None, None)

    @property
    def notes(self) -> Path:
        """Folder of what unfinished calls have done; the server knows what they have saved."""
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        whose = f"{self._store.connection.url} {self._store.id} {self._store.connection.user}"
        return Path(home) / "bioimage_py" / "apply" / sha256(whose.encode()).hexdigest()[:32]

    def roll_forward(self) -> None:
        """Do nothing: the server ends what was cut off."""


class RemoteListing(Listing):
    """The data sets of a project on a server."""

    def __init__(self, folder: Folder, store: Store) -> None:
        self._store = store
        super().__init__(folder)

    def _scan(self) -> dict[str, Stamp]:
        rows = self._store.descriptors(limit=_MOST)
        fields = ("name", "tags", "grouping", "layers", "annotated")
        self._index = {row["identifier"]: (_SAME, [row[field] for field in fields]) for row in rows}
        return dict.fromkeys(self._index, _SAME)

    def look(self) -> Changes:
        """Ask for all data sets again."""
        before, after = self.stamps, self._scan()
        self.stamps = after
        self.generation += 1
        both = {name: _SAME for name in before if name in after}
        return Changes(set(after) - set(before), set(before) - set(after), both)

    def store(self) -> None:
        """Do nothing: the server keeps an index."""


class RemoteLock(LockToken):
    """A lock on a data set of a server; renewed there."""

    @classmethod
    def taken(cls, store: Store, identifier: str, seconds: float) -> RemoteLock:
        """Take the lock of a data set; LockError where somebody else has it."""
        if not isinstance(seconds, int | float) or not 1 <= seconds <= 3600:
            raise ParameterError(f"seconds is {seconds!r}.", remedy="1 to 3600")
        begun = time.monotonic()
        lock = cls(store.lock(identifier, seconds))
        lock._store, lock._identifier, lock._seconds, lock._until = store, identifier, seconds, begun + seconds
        return lock

    _store: Store
    _until: float

    def _lease(self) -> Lease | None:
        if not self.token or time.monotonic() >= self._until:
            return None
        state = self._store.lock_state(self._identifier)
        return state if state is not None and state.alive else None

    def renew(self) -> None:
        """Let the lock live for its full time from now.

        Raises
        ------
        LockError
            It has expired, or somebody else holds it.
        """
        self._held()
        begun = time.monotonic()
        self._store.renew(self._identifier, self.token)
        self._until = begun + self._seconds

    def unlock(self) -> None:
        """Release the lock; the token can't be used again. Nothing happens where it has expired or gone."""
        self._held()
        self._over.set()
        self._store.unlock(self._identifier, self.token)
        self.token = ""

    def _held(self) -> None:
        if not self.token:
            raise LockError("This token holds no lock.", remedy="token = descriptor.lock()")

    def _of_descriptor(self) -> Folder:
        self._held()
        return RemoteFolder(self._store)


class RemoteBackups(Backups):
    """Backups on a server in the place of files.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        super().__init__(Path())
        self._connection, self._all = store.connection, f"/projects/{store.id}/backups"

    def names(self) -> list[str]:
        """Names, which are their times, the oldest first."""
        return list(self._connection.get(self._all))

    def read(self, name: str) -> Document:
        """Return a backup; SourceNotFoundError where there is none."""
        try:
            return dict(self._connection.get(f"{self._all}/{name}"))
        except KeyNotFoundError as error:
            raise SourceNotFoundError(error.message, remedy=error.remedy) from None

    def keep(self, name: str, backup: Document) -> None:
        """Send a backup; one of that name is replaced."""
        self._connection.send("PUT", f"{self._all}/{name}", backup)

    def remove(self, name: str) -> None:
        """Remove a backup; nothing happens where there is none."""
        take_back(self._connection, f"{self._all}/{name}")  # one that stays undoes nothing that was undone


class RemoteSession(Session):
    """The state of one `Project` object of a server.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.remote = store
        self.seq = store.last()
        """Number of the last event that was taken over."""
        super().__init__(RemoteFolder(store))

    run = ""
    """Of a worker of `apply`: its run, which saves each data set once."""

    def new_document(self, identifier: str) -> Document | None:
        """Return the document of a descriptor that is not saved yet; None where it is."""
        state = self._state(identifier)
        return state.record.to_document() if state.base is None else None

    def new_layer(self, layer: str) -> Document | None:
        """Return what the settings say of a layer that is not saved yet; None where it is."""
        return None if layer in self.base["layers"] else dict(self.settings.to_document()["layers"][layer])

    @contextmanager
    def during(self, run: str) -> Iterator[None]:
        """Let commits inside be those of a run of `apply`, by which the server knows them again."""
        before, self.run = self.run, "" if self.in_transaction else run
        try:
            yield
        finally:
            self.run = before

    @property
    def path(self) -> str:
        """URL of the project."""
        return f"{self._store.connection.url}/projects/{self._store.id}"

    @property
    def _store(self) -> Store:
        assert isinstance(self.remote, Store)
        return self.remote

    def _listed(self, folder: Folder) -> Listing:
        return RemoteListing(folder, self._store)

    def _backups(self, folder: Folder) -> Backups:
        return RemoteBackups(self._store)

    def has(self, identifier: str) -> bool:
        """Whether there is such a data set."""
        if identifier in self.memory.deleted or not is_plain(identifier):
            return False
        return identifier in self.memory.states or identifier in self.listing.stamps

    def commit(self, changes: Sequence[Change], guarded: Iterable[str] = ()) -> None:
        """Save changes, all or none, and take over what is saved then."""
        also = sorted(set(guarded))
        tokens = {name: self.token(name) for name in (*(change.name for change in changes), *also)}
        key = commit_key(self.run, changes[0].name) if self.run and len(changes) == 1 else ""
        held = {name: token for name, token in tokens.items() if token}
        try:
            done = self._store.commit(changes, held, key, also)
        except LockError as error:
            raise LockError(f"{error.message}{self._meanwhile(held)}", remedy=error.remedy) from None
        for name, document in done.documents.items():
            self._take(name, Saved(document, None if document is None else _SAME))

    def _meanwhile(self, names: Iterable[str]) -> str:
        """Who has changed what of some data sets since the last `sync`: what one wants to see before one goes on."""
        wanted, said = set(names), []
        with suppress(BioimageError):  # the lock is what is told of, whatever keeps the events away
            for event in self._store.events(self.seq) if wanted else ():
                touched = {change["name"] for change in event.changes}
                if event.client != self._store.connection.client and wanted & touched:
                    said.append(f"{event.user} {event.kind} {', '.join(event.fields) or 'it'} at {event.time}")
        more = [f"{len(said) - _TOLD} more before"] if len(said) > _TOLD else []
        return f" Since then: {'; '.join([*more, *said[-_TOLD:]])}." if said else ""

    def lease(self, identifier: str) -> Lease | None:
        """Return who holds the lock of a data set."""
        return self._store.lock_state(identifier)

    def take_lock(self, identifier: str, seconds: float) -> LockToken:
        """Take the lock of a data set."""
        return RemoteLock.taken(self._store, identifier, seconds)

    def check_lock(self, identifier: str, token: str) -> None:
        """Refuse early what another's lock forbids; the server looks again when it counts."""
        state = None if token else self._store.lock_state(identifier)
        if state is not None and state.alive:
            raise LockError(f"The descriptor {identifier} is locked by {state}.", remedy="wait, or pass lock_token=")

    def sync(self) -> int:
        """Take over what others have saved; return the number of events, those of this object too."""
        with self._lock:
            count, changed = 0, set[str]()
            try:
                while page := self._store.events(self.seq):
                    count += len(page)
                    changed.update(change["name"] for event in page for change in event.changes)
                    self.seq = page[-1].seq
            except GoneError:
                self.seq, found = self._store.last(), self.listing.look()
                count += 1
                changed = {"project", *found.added, *found.removed, *self.memory.states}
            for name in changed:
                self._changed_elsewhere(name)
            return count

    def _changed_elsewhere(self, name: str) -> None:
        found = self.folder.read(name)
        if name == "project" and found.document is None:
            raise KeyNotFoundError(f"The project {self._store.id!r} was deleted.", remedy="Project.create(...)")
        self._take(name, found)
        if name != "project" and found.document is not None:
            self.listing.note(name, DescriptorRecord.parse(found.document), _SAME)
