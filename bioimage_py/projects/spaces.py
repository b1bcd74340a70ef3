"""Annotation spaces of a project: opened once, saved as versions like layers, merged record by record."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConflictError, KeyNotFoundError, ParameterError, SourceNotFoundError
from ..spaces import Ontology, Space, from_document
from ..spaces.changes import Moment
from ..spaces.document import by_column, count_of, to_bytes, to_stored
from ..spaces.schema import CHANGES, COLUMNS
from ..spaces.values.audit import this_user
from ..system.faults import fault
from ..system.files import write_once
from .storage.folder import new_stamp
from .storage.leases import LockToken
from .storage.session import Session
from .stored_spaces import Stored, read_version, refuse_taken
from .values.merge import Document
from .values.names import BASE, is_plain, is_space, plain, space_id, space_key
from .values.records import LayerRecord
from .values.space_merge import merged, without_unknown

if TYPE_CHECKING:
    from .descriptor import Descriptor

ROOT = "root"
_TRIES = 5


@dataclass
class Open:
    """A space that is in use.

    `base` is what is stored in the version `record`, or what an empty one is, and `whole` what that version stands on,
    where changes to it may be told; `mark` is since when nothing has changed here.
    """

    identifier: str
    space: Any
    record: LayerRecord | None
    base: Moment
    whole: Moment | None
    mark: Moment
    before: list[Moment] = field(default_factory=list)

    def now(self) -> Moment:
        """Return what the space is now."""
        return Moment(self.space)

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return self.mark.is_over()

    def document(self) -> Document:
        """Return the state as it would be stored."""
        return to_stored(self.space, ontology=False)

    def changes(self, now: Moment) -> Document | None:
        """Return what is other than in the version that is whole; None where a whole one is as good."""
        return None if self.whole is None or not by_column(self.space) else self.whole.changes(now)

    def put(self, document: Document) -> None:
        """Take over the state of a document; changes that were made before can't be undone any more."""
        ontology = self.space.ontology
        self.take(from_document(without_unknown(document, ontology), ontology, lenient=True))

    def take(self, made: Any) -> None:
        """Take over the state of another space, which is of no use any more."""
        space = self.space
        for id, instance in made._instances.items():
            known = space._instances.setdefault(id, instance)
            known._class = instance._class
            known._answers.take(instance._answers.now)
        space._tables, space._dynamic, space._index = made._tables, made._dynamic, made._index
        for id, instance in space._instances.items():
            if id in space and id not in made._instances:
                instance._answers.take({})
        space.grid = made.grid
        space._steps.clear()


class OpenSpaces:
    """The spaces that one `Project` object has in use."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._open: dict[tuple[str, str], Open] = {}
        self._pools: dict[str, dict[str, Any]] = {}

    @property
    def user(self) -> str:
        """Who makes what is put without an author: on a server who has signed in, else user@host."""
        remote = self._session.remote
        return (remote is not None and remote.connection.user) or this_user()

    def ids(self, descriptor: Descriptor) -> list[str]:
        """Return the ids of the spaces of a descriptor."""
        stored = [space_id(key) for key in descriptor._record.layers if is_space(key)]
        used = [id for identifier, id in self._open if identifier == descriptor.identifier]
        return list(dict.fromkeys((ROOT, *stored, *used)))

    def identifiers(self) -> set[str]:
        """Return the identifiers of data sets with a space in use."""
        return {identifier for identifier, _ in self._open}

    def without(self, descriptor: Descriptor, id: str, ontology: Ontology) -> tuple[str, Any, Any]:
        """Save a space without the records of classes that an ontology lacks.

        Returns the name among the layers, and what was and is stored.
        """
        found = self._open[descriptor.identifier, id]
        before = self._stored(found)
        document, found.space.ontology = found.document(), ontology
        found.put(document)
        self._publish(found, None)
        after = self._stored(found)
        return space_key(id), before and before.model_dump(), after and after.model_dump()

    def space(self, descriptor: Descriptor, id: str | None, kind: str | None) -> Any:
        """Return a space, of a kind."""
        known = self.ids(descriptor)
        if id is None and len(known) > 1:
            raise ParameterError(f"There are the spaces {known}.", remedy=f"descriptor.space({known[0]!r})")
        id = known[0] if id is None else id
        if id not in known:
            raise KeyNotFoundError(
                f"There is no space {id!r}.", remedy=f"there are: {known}; descriptor.add_space(...)"
            )
        space = self.get(descriptor, id, kind)
        if kind is not None and space.kind != kind:
            raise ParameterError(
                f"The space {id!r} is of the kind {space.kind!r}, not {kind!r}.", remedy="leave kind out"
            )
        return space

    def add(self, descriptor: Descriptor, id: str, kind: str | None) -> Any:
        """Make another space."""
        if not is_plain(id) or id in self.ids(descriptor):
            raise ParameterError(
                f"There can't be a new space {id!r}: there are {self.ids(descriptor)}.",
                remedy="use letters, digits, '-', '_' and '.', and none of these",
            )
        return self.get(descriptor, id, kind)

    def get(self, descriptor: Descriptor, id: str, kind: str | None = None) -> Any:
        """Return a space, as it is stored now where it was not changed here."""
        found = self._open.get((descriptor.identifier, id))
        if found is None:
            found = self._open[descriptor.identifier, id] = self._opened(descriptor, id, kind)
        self._fresh(found)
        return found.space

    def _opened(self, descriptor: Descriptor, id: str, kind: str | None) -> Open:
        record = descriptor._record.layers.get(space_key(id))
        pool = self._pools.setdefault(descriptor.identifier, {})
        ontology = self._session.settings.ontology
        if record is None:
            stored = Stored(Space.for_image(descriptor.shape, descriptor.axes, ontology, kind=kind, space_id=id), None)
        else:
            stored = self._read(descriptor.identifier, id, record.version, ontology)
        space = stored.space
        space.user = self.user
        base = Moment(space)
        for name, instance in space._instances.items():
            pool.setdefault(name, instance)
        space._instances = pool
        found = Open(descriptor.identifier, space, record, base, stored.whole, Moment(space))
        space._save = lambda token: self.save_one(found, token)
        space._elsewhere = lambda name: any(
            name in self.get(descriptor, other) for other in self.ids(descriptor) if other != id
        )
        space._refuse_taken = lambda names: refuse_taken(self._session, self._open.values(), found, names)
        return found

    def path_of(self, identifier: str, id: str, version: str, ending: str = ".json") -> Path:
        """Path of a version, or of what it stands on."""
        return self._session.folder.annotations(identifier, space_key(id)) / f"{plain(version)}{ending}"

    def bytes_of(self, identifier: str, id: str, version: str, ending: str = ".json") -> bytes:
        """Return what is stored of a version; SourceNotFoundError where it is not there (any more)."""
        remote, path = self._session.remote, self.path_of(identifier, id, version, ending)
        try:
            if remote is not None:
                return bytes(remote.space(identifier, id, path.name.removesuffix(".json")))
            return path.read_bytes()
        except (FileNotFoundError, KeyNotFoundError):
            raise SourceNotFoundError(
                f"The version {version!r} of the space {id!r} of {identifier} is not there: {path}",
                remedy="use one of descriptor.space_versions; prune() removes old ones",
            ) from None

    def _write(self, found: Open, version: str, document: Document, data: bytes) -> Document:
        """Write a version, and return its document: changes beside a link to what they stand on, or a whole one."""
        path = self.path_of(found.identifier, found.space.space_id, version)
        if document["schema"] == CHANGES:
            try:
                os.link(self._whole_path(found), path.with_suffix(BASE))
            except OSError:  # no links there, or no more
                document = found.document()
                data = to_bytes(document)
        fault("space-base")
        write_once(path, data, sync=True)
        return document

    def _send(self, found: Open, document: Document, data: bytes) -> tuple[LayerRecord, Document]:
        """Send a version to a server, and return its record and document: changes, or a whole one."""
        remote, place = self._session.remote, (found.identifier, found.space.space_id)
        if document["schema"] == CHANGES and found.record is not None:
            with suppress(KeyNotFoundError, ParameterError):  # the server knows no changes, or not what they are to
                return remote.put_space(*place, data, found.record.version), document
            document = found.document()
            data = to_bytes(document)
        return remote.put_space(*place, data), document

    def _whole_path(self, found: Open) -> Path:
        """Path of the whole document that the stored version is or stands on."""
        assert found.record is not None
        place = found.identifier, found.space.space_id, found.record.version
        base = self.path_of(*place, BASE)
        return base if base.exists() else self.path_of(*place)

    def _read(self, identifier: str, id: str, version: str, ontology: Ontology) -> Stored:
        where = f"The version {version!r} of {id!r} of {identifier}"
        return read_version(lambda ending: self.bytes_of(identifier, id, version, ending), where, ontology)

    def _stored(self, found: Open) -> LayerRecord | None:
        return self._session.record(found.identifier).layers.get(space_key(found.space.space_id))

    def _fresh(self, found: Open) -> None:
        """Take over what is stored, where nothing was changed here."""
        ontology, stored = self._session.settings.ontology, self._stored(found)
        known = found.space.ontology == ontology
        if (known and stored == found.record) or found.changed:
            return
        found.space.ontology = ontology
        if stored is not None:
            read = self._read(found.identifier, found.space.space_id, stored.version, ontology)
            found.record, found.base, found.whole = stored, Moment(read.space), read.whole
            found.take(read.space)
            found.mark = found.now()

    @staticmethod
    def _reset(found: Open) -> None:
        """Drop what was changed here."""
        found.put(found.base.document())
        found.base = found.mark = found.now()

    def take_over(self) -> None:
        """Take over what others have saved of all spaces that were not changed here."""
        for key in list(self._open):
            if self._session.has(key[0]):
                self._fresh(self._open[key])
            else:
                del self._open[key]

    def revert(self, identifier: str | None = None) -> None:
        """Drop what was changed here."""
        for found in self._open.values():
            if identifier in (None, found.identifier) and found.changed:
                self._reset(found)

    def begin(self) -> None:
        """Remember the state, for the case that the transaction is undone."""
        for found in self._open.values():
            found.before.append(found.now())

    def end(self, *, failed: bool) -> None:
        """End a transaction of the session and its spaces."""
        try:
            if not failed:
                self.flush()
        except BaseException:
            self._session.end(failed=True)
            self._rollback()
            raise
        try:
            self._session.end(failed=failed)
        except BaseException:
            self._rollback()
            raise
        if failed:
            self._rollback()
        for found in self._open.values():
            found.before[-1:] = []

    def _rollback(self) -> None:
        for key, found in list(self._open.items()):
            found.space.ontology = self._session.settings.ontology
            if not found.before:
                if not self._session.has(found.identifier):
                    del self._open[key]
                else:
                    self._reset(found)
                continue
            moment = found.before[-1]
            if moment.is_over():
                clean = moment.is_as(found.mark)
                found.put(moment.document())
                if clean:
                    found.base = found.mark = found.now()

    def flush(self) -> bool:
        """Publish all that was changed, within the transaction of the session."""
        changed = [found for found in self._open.values() if found.changed and self._session.has(found.identifier)]
        saved = [self._publish(found, None) for found in changed]
        return any(saved)

    def save_all(self) -> None:
        """Save everything of the project; a space that somebody else has saved meanwhile is merged again."""
        session = self._session
        for left in reversed(range(_TRIES)):
            if not any(found.changed for found in self._open.values()):
                break
            session.begin()
            try:
                self.flush()
            except BaseException:
                session.end(failed=True)
                raise
            try:
                session.end(failed=False)
                break
            except ConflictError as error:
                if not left or ".layers.space." not in error.field:
                    raise
        session.save()

    def save_one(self, found: Open, token: LockToken | None) -> bool:
        """Save one space."""
        if not self._session.has(found.identifier):
            raise KeyNotFoundError(f"There is no descriptor {found.identifier!r}.", remedy="project.sync()")
        for left in reversed(range(_TRIES)):
            try:
                return self._publish(found, token)
            except ConflictError as error:
                if not left or ".layers.space." not in error.field:
                    raise
        return False

    def _publish(self, found: Open, token: LockToken | None) -> bool:
        session, identifier, id = self._session, found.identifier, found.space.space_id
        given = session.token(identifier) if token is None or not token.token else token.token
        session.check_lock(identifier, given)
        session.refresh(identifier)
        stored, theirs = self._stored(found), None
        if stored != found.record:
            theirs = self._merge(found, stored)
        now, remote = found.now(), session.remote
        if found.base.is_like(now):
            found.mark = now
            return False
        document = found.changes(now) or found.document()
        known = found.base.document() if stored is None else theirs
        data = to_bytes(document)
        sent = remote is not None and document["schema"] == CHANGES  # what is stored may be large to fetch
        if document == known or (not sent and stored and self.bytes_of(identifier, id, stored.version) == data):
            found.mark = now
            return False
        new = LayerRecord(version=new_stamp(), units=count_of(document))
        before = (found.base, found.whole, found.record, found.mark)

        def discard() -> None:
            found.base, found.whole, found.record, found.mark = before
            if remote is None and not session.folder.tells(identifier, new.version):  # Ctrl-C may come after the commit
                for ending in (".json", BASE):
                    self.path_of(identifier, id, new.version, ending).unlink(missing_ok=True)

        try:
            if remote is not None:
                new, document = self._send(found, document, data)
            else:
                document = self._write(found, new.version, document, data)
            given = "" if token is None else token.token
            session.publish(identifier, space_key(id), stored, new, given, discard)
        except BaseException:
            discard()
            raise
        found.record, found.base, found.mark = new, now, now
        if document["schema"] != CHANGES:
            found.whole = found.base if document["schema"] == COLUMNS else None
        return True

    def _merge(self, found: Open, stored: LayerRecord | None) -> Document:
        """Take over what somebody else has saved meanwhile, below what was changed here; return it."""
        space, base = found.space, found.base
        if stored is not None:
            base = Moment(self._read(found.identifier, space.space_id, stored.version, space.ontology).space)
        single, theirs = {item.id for item in space.ontology.classifications if not item.several}, base.document()
        found.put(merged(found.base.document(), found.document(), theirs, space.space_id, single))
        found.base, found.whole, found.record = base, None, stored
        return theirs
