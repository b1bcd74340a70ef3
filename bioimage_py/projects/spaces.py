"""Annotation spaces of a project: opened once, saved as versions like layers, merged record by record."""

from __future__ import annotations

from collections.abc import Container
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConflictError, FormatError, KeyNotFoundError, ParameterError
from ..spaces import Ontology, Space, from_document
from ..spaces.columns import rows_of
from ..spaces.document import answers_of, count_of, to_bytes, to_stored
from ..spaces.schema import ROWS
from ..system.files import write_once
from ..system.json_text import parse_json
from .storage.folder import new_stamp
from .storage.leases import LockToken, check_lease
from .storage.session import Session
from .values.merge import Document, merge
from .values.names import is_plain, is_space, plain, space_id, space_key
from .values.records import LayerRecord

if TYPE_CHECKING:
    from .descriptor import Descriptor

ROOT = "root"
_TRIES = 5
_GROUPS = ("objects", "classifications", "answers")
_EDITED = ("last_edited_at", "last_edited_by")


@dataclass
class Open:
    """A space that is in use.

    `base` is what is stored in the version `record`, or what an empty one is; `mark` changes with every change here.
    """

    identifier: str
    space: Any
    base: Document
    record: LayerRecord | None
    mark: Any = None
    before: list[tuple[Any, Document]] = field(default_factory=list)

    def now(self) -> Any:
        """Return what `mark` is, if nothing has changed."""
        return self.space._steps.stamp, answers_of(self.space)

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return bool(self.now() != self.mark)

    def document(self) -> Document:
        """Return the state as it would be stored."""
        return to_stored(self.space, ontology=False)

    def put(self, document: Document) -> None:
        """Take over another state; changes that were made before can't be undone any more."""
        space = self.space
        made = from_document(without_unknown(document, space.ontology), space.ontology, user=space.user)
        for id, instance in made._instances.items():
            known = space._instances.setdefault(id, instance)
            known.answers.clear()
            known.answers.update(instance.answers)
        space._tables, space._dynamic, space._index = made._tables, made._dynamic, made._index
        for id, instance in space._instances.items():
            if id in space and id not in made._instances:
                instance.answers.clear()
        space.grid = made.grid
        space._steps.clear()


class OpenSpaces:
    """The spaces that one `Project` object has in use."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._open: dict[tuple[str, str], Open] = {}
        self._pools: dict[str, dict[str, Any]] = {}

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
        self._session.needs_folder("Annotation spaces")
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
            space = Space.for_image(descriptor.shape, descriptor.axes, ontology, kind=kind, space_id=id)
            base = to_stored(space, ontology=False)
        else:
            base = self._read(descriptor.identifier, id, record)
            space = from_document(without_unknown(base, ontology), ontology)
        for name, instance in space._instances.items():
            pool.setdefault(name, instance)
        space._instances = pool
        found = Open(descriptor.identifier, space, base, record)
        found.mark = found.now()
        space._save = lambda token: self.save_one(found, token)
        return found

    def path_of(self, identifier: str, id: str, record: LayerRecord) -> Path:
        """Path of a version."""
        return self._session.folder.annotations(identifier, space_key(id)) / f"{plain(record.version)}.json"

    def _read(self, identifier: str, id: str, record: LayerRecord) -> Document:
        path = self.path_of(identifier, id, record)
        try:
            found = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise FormatError(f"{path} is no space: {error}", remedy="restore it from a backup") from None
        if not isinstance(found, dict) or not isinstance(found.get("objects"), list | dict):
            raise FormatError(f"{path} is no space.", remedy="restore it from a backup")
        return found

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
            self._reload(found, self._read(found.identifier, found.space.space_id, stored), stored)

    @staticmethod
    def _reload(found: Open, document: Document, record: LayerRecord | None) -> None:
        found.put(document)
        found.base, found.record, found.mark = document, record, found.now()

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
                self._reload(found, found.base, found.record)

    def begin(self) -> None:
        """Remember the state, for the case that the transaction is undone."""
        for found in self._open.values():
            found.before.append((found.now(), found.document() if found.changed else found.base))

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
                    self._reload(found, found.base, found.record)
                continue
            mark, document = found.before[-1]
            if found.now() != mark:
                clean = mark == found.mark
                found.put(document)
                if clean:
                    found.mark = found.now()

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
        check_lease(session.folder, identifier, given)
        session.refresh(identifier)
        stored, mine = self._stored(found), found.document()
        if stored != found.record:
            theirs = self._read(identifier, id, stored) if stored is not None else found.base
            single = {item.id for item in found.space.ontology.classifications if not item.several}
            mine = merged(found.base, mine, theirs, id, single)
            found.put(mine)
            mine = found.document()
            found.base, found.record = theirs, stored
        data = to_bytes(mine)
        if mine == found.base or (stored is not None and self.path_of(identifier, id, stored).read_bytes() == data):
            found.mark = found.now()
            return False
        new = LayerRecord(version=new_stamp(), units=count_of(mine))
        path = self.path_of(identifier, id, new)
        write_once(path, data, sync=True)
        before = (found.base, found.record, found.mark)

        def discard() -> None:
            found.base, found.record, found.mark = before
            if not _named(session, identifier, new):  # Ctrl-C may come after the commit
                path.unlink(missing_ok=True)

        try:
            given = "" if token is None else token.token
            session.publish(identifier, space_key(id), stored, new, given, discard)
        except BaseException:
            discard()
            raise
        found.base, found.record, found.mark = mine, new, found.now()
        return True


def _named(session: Session, identifier: str, record: LayerRecord) -> bool:
    root = session.folder.root
    paths = (session.folder.path_of(identifier), *(root / "transactions").glob("*.json"))
    return any(record.version in path.read_text() for path in paths if path.exists())


def without_unknown(document: Document, ontology: Ontology) -> Document:
    """Return a document without the records of classes that were removed."""
    known = {item.id for item in ontology}
    if isinstance(document["objects"], dict):
        classes = document["objects"].get("classes")
        if isinstance(classes, dict) and classes.keys() <= known and _all_known(document["classifications"], known):
            return document
        document = in_rows(document)
    groups = {name: [r for r in document[name] if _class_of(r) in known] for name in _GROUPS[:2]}
    if all(len(groups[name]) == len(document[name]) for name in groups):
        return document
    left = {record["id"] for records in groups.values() for record in records}
    return {**document, **groups, "answers": {id: value for id, value in document["answers"].items() if id in left}}


def _all_known(records: Any, known: Container[str]) -> bool:
    return all(_class_of(record) in known for record in records)


def in_rows(document: Document) -> Document:
    """Return a document with an object a row, whichever form it has."""
    return {**document, "schema": ROWS, "objects": rows_of(document)}


def _class_of(record: Any) -> Any:
    return record.get("class") if isinstance(record, dict) else None


def _keyed(document: Document) -> Document:
    found: Document = {"answers": document["answers"]}
    for name in _GROUPS[:2]:
        found[name] = {f"{r['id']}@{r['frame']}" if "frame" in r else r["id"]: r for r in document[name]}
    return found


def merged(base: Document, mine: Document, theirs: Document, id: str, single: Container[str]) -> Document:
    """Return what somebody else has saved with the changes made here, record by record.

    `single` has the ids of the classifications that have one answer.

    Raises
    ------
    ConflictError
        Both changed one field of a record, or answered one classification; names it.
    """
    conflicts: list[tuple[str, ...]] = []
    base, mine, theirs = in_rows(base), in_rows(mine), in_rows(theirs)
    found: Document = merge(_keyed(base), _keyed(mine), _keyed(theirs), conflicts)
    real = [path for path in conflicts if path[-1] not in _EDITED]
    if real:
        where = ".".join(("spaces", id, *real[0]))
        raise ConflictError(
            f"{where} was changed by another process too.", field=where, remedy="space.undo(), or project.revert()"
        )
    answered: dict[Any, str] = {}
    for key, record in found["classifications"].items():
        place = (record["class"], record.get("frame"))
        if place in answered and record["class"] in single:
            where = f"spaces.{id}.classifications.{key}"
            raise ConflictError(
                f"{where} answers what {answered[place]!r} of another process answers.",
                field=where,
                remedy="space.undo(), or project.revert()",
            )
        answered[place] = key
    groups = {name: list(found[name].values()) for name in _GROUPS[:2]}
    return {**deepcopy(theirs), **groups, "answers": dict(found["answers"])}
