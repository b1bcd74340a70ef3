"""A project's folder: JSON documents that are replaced whole, and commits of several documents at once.

A commit of one document is one rename. A commit of several first writes all of them into one file of
``transactions/``; from its rename on they count as saved, and whoever comes next, the writer or anyone who finds the
file, puts them in place. Where the project is served, the event of a commit (`events`) is one of its documents.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConflictError, FormatError
from ...system.faults import fault
from ...system.files import real_path, sync_folder, write_once
from ...system.json_text import parse_json
from ..values.merge import Document, merge
from ..values.names import plain
from ..values.records import completed, migrate
from .events import EVENTS, Origin, event, event_name, is_event, numbers
from .mutex import BUCKETS, bucket, holding
from .space_ids import IDS, SpaceIds

Stamp = tuple[int, int, int]
SETTINGS = "project.json"
_DESCRIPTORS, _TRANSACTIONS = "descriptors", "transactions"
_MANY = 32
"""Commits of more documents wait for the disk once, not for every file."""

_last = 0


def new_stamp() -> str:
    """Return a name that no other process gives, and that sorts by time (UTC, microseconds)."""
    global _last
    _last = max(time.time_ns() // 1000, _last + 1)
    seconds, micro = divmod(_last, 1_000_000)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{micro:06}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class Change:
    """What a commit does to one document.

    Parameters
    ----------
    name : str
        "project", or the identifier of a descriptor.
    base : dict, optional
        What the writer read; None where there was nothing.
    mine : dict, optional
        What it should become; None removes it, whatever it is where `base` is None too.
    """

    name: str
    base: Document | None
    mine: Document | None


class Saved(NamedTuple):
    """A document as it is saved, and the state of its file; None and None where there is none."""

    document: Document | None
    stamp: Stamp | None


class Committed(NamedTuple):
    """What a commit has left."""

    saved: dict[str, Saved]
    """Documents by name."""
    number: int | None
    """Of its event; None where nothing was written, or the project is not served."""


Pair = tuple[Document | None, Document | None]
"""A document before and after a commit."""


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what changes whenever a file is replaced: its time, inode and size."""
    return (status.st_mtime_ns, status.st_ino, status.st_size)


_PARTS = (_DESCRIPTORS, _TRANSACTIONS, EVENTS, "locks", "history", "annotations", "images", "thumbnails", ".apply", IDS)


class Folder:
    """The files of one project; names that lead out of it are refused, and so are links.

    Parameters
    ----------
    root : Path
        Absolute path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.descriptors = root / _DESCRIPTORS
        self.transactions = root / _TRANSACTIONS
        self.locks = root / "locks"
        self.history = root / "history"
        for part in _PARTS:
            self.inside(root / part)
        self.ids = SpaceIds(self)
        """Ids in its spaces."""
        self.opened = 0
        """Number of descriptor files that were opened through this object."""

    def path_of(self, name: str) -> Path:
        """Path of a document."""
        if is_event(name):
            return self.root / f"{name}.json"
        return self.root / SETTINGS if name == "project" else self.descriptors / f"{plain(name)}.json"

    def inside(self, path: Path) -> Path:
        """Return a path under the project's folder.

        Raises
        ------
        FormatError
            A link leads it out of the project.
        """
        self.check_inside([path])
        return path

    def check_inside(self, paths: Iterable[str | Path]) -> None:
        """Refuse paths that are not under the project's folder, as `inside` does."""
        root = real_path(self.root)
        for path in paths:
            if not (real := real_path(path)).startswith(root + os.sep):
                raise FormatError(
                    f"{path} leads to {real}, out of the project {root}.",
                    remedy="put the whole project there, or mount the other disk in its place, or remove the link",
                )

    def read(self, name: str) -> Saved:
        """Return a document as it is saved now."""
        path = self.path_of(name)
        if name != "project":
            self.opened += 1
        try:
            with open(path, "rb") as file:
                text, stamp = file.read(), stamp_of(os.fstat(file.fileno()))
        except FileNotFoundError:
            return Saved(None, None)
        return Saved(migrate(parse(text, path), str(path)), stamp)

    def annotations(self, identifier: str, layer: str) -> Path:
        """Folder of the data of one layer of one descriptor."""
        return self.inside(self.root / "annotations" / plain(identifier) / plain(layer))

    def guarding(self, names: Iterable[str]) -> AbstractContextManager[None]:
        """Hold what guards documents, and find them with all earlier commits in place."""
        return _Guard(self, names)

    def commit(
        self,
        changes: Sequence[Change],
        check: Callable[[], None],
        guarded: Iterable[str] = (),
        origin: Origin | None = None,
        accept: Callable[[dict[str, Pair]], None] | None = None,
    ) -> Committed:
        """Merge changes into what is saved, all of them or none.

        Parameters
        ----------
        changes : sequence of Change
        check : callable
            Called when nobody else can write these documents any more; what it raises ends the commit.
        guarded : iterable of str
            Further documents that nobody may write meanwhile.
        origin : Origin, optional
            Who asks for it; None: this process.
        accept : callable, optional
            Called with the documents that will be written, before and after, by name; what it raises ends the commit.

        Raises
        ------
        ConflictError
            Another writer changed a field that these changes change too, or uses an id that they bring.
        """
        names = (*(change.name for change in changes), *guarded)
        with self.guarding(names), self.ids.claiming(changes), self._logging() as number:
            check()
            saved = {change.name: self.read(change.name) for change in changes}
            written: dict[str, Pair] = {}
            for change in changes:
                before = saved[change.name].document
                merged = merged_document(change, before)
                if merged != before:
                    timed = merged is not None and change.name != "project"
                    written[change.name] = before, completed(merged) if timed and merged else merged
            if accept is not None:
                accept(written)
            if not written:
                number = None
            self._write(written, number, origin)
            after = {name: written[name][1] if name in written else found.document for name, found in saved.items()}
            return Committed({name: Saved(document, self.stamp(name)) for name, document in after.items()}, number)

    @contextmanager
    def _logging(self) -> Iterator[int | None]:
        """Hold what orders the commits of a served project, and find the number of the next one; else None."""
        if not (self.root / EVENTS).is_dir():
            yield None
            return
        with holding(self.locks / "mutex", [EVENTS]):
            self.roll_forward()  # whoever held it before may have been killed
            found = numbers(self.root)
            yield found[-1] + 1 if found else None

    def serve(self, number: int, origin: Origin) -> None:
        """Let all commits from now on leave events; the first gets the number after this one.

        Nothing happens where they do already.
        """
        with holding(self.locks / "mutex", [*BUCKETS, "project"]):
            self.roll_forward()
            with holding(self.locks / "mutex", [EVENTS]):
                if not numbers(self.root):
                    self._place(event_name(number), event(number, origin, {}), sync=True)

    def stamp(self, name: str) -> Stamp | None:
        """Return the state of a document's file, which every rename changes; None where there is none."""
        try:
            return stamp_of(os.stat(self.path_of(name)))
        except FileNotFoundError:
            return None

    def _write(self, written: dict[str, Pair], number: int | None, origin: Origin | None) -> None:
        if not written:
            return
        documents = {name: after for name, (_, after) in written.items()}
        if number is not None:  # last: who sees the event, sees what it tells of
            documents[event_name(number)] = event(number, origin or Origin.here(), written)
        self.descriptors.mkdir(exist_ok=True)
        fault("project-commit")
        if len(documents) == 1:
            ((name, document),) = documents.items()
            self._place(name, document, sync=True)
            return
        record = json.dumps(documents).encode()
        write_once(self.transactions / f"{new_stamp()}.json", record, sync=True)
        fault("project-transaction")
        self.roll_forward()

    def _place(self, name: str, document: Document | None, *, sync: bool) -> None:
        path = self.path_of(name)
        if document is not None:
            write_once(path, to_text(document).encode(), sync=sync)
            return
        path.unlink(missing_ok=True)
        if sync:
            sync_folder(path.parent)

    def tells(self, name: str, text: str) -> bool:
        """Whether a text stands in a document, also as a commit has it that others will end."""
        for path in (self.path_of(name), *self._pending(), self.path_of(name)):  # one may be put in place meanwhile
            with suppress(FileNotFoundError):
                if text in path.read_text():
                    return True
        return False

    @property
    def notes(self) -> Path:
        """Folder of what unfinished calls have done."""
        return self.root / ".apply"

    def roll_forward(self) -> None:
        """Put in place what commits of several documents have saved."""
        if not self._pending():
            return
        with holding(self.locks / "mutex", ["transactions"]):
            for record in self._pending():
                documents = parse(record.read_bytes(), record)
                for name, document in documents.items():  # all are looked at before the first one is put in place
                    self.path_of(name)
                    if not isinstance(document, dict | None):
                        raise FormatError(f"{record}: {name!r} is no document.", remedy=f"look at it; rm {record}")
                for name, document in documents.items():
                    fault("project-place")
                    self._place(name, document, sync=len(documents) <= _MANY)
                if len(documents) > _MANY:
                    os.sync()
                record.unlink()

    def _pending(self) -> list[Path]:
        try:
            names = sorted(name for name in os.listdir(self.transactions) if name.endswith(".json"))
        except FileNotFoundError:
            return []
        return [self.transactions / name for name in names if not name.startswith(".")]


class _Guard(AbstractContextManager[None]):
    def __init__(self, folder: Folder, names: Iterable[str]) -> None:
        self._folder = folder
        buckets = {name if name == "project" else bucket(name) for name in names}
        self._mutexes = holding(folder.locks / "mutex", buckets)

    def __enter__(self) -> None:
        self._mutexes.__enter__()
        try:
            self._folder.roll_forward()
        except BaseException:
            self._mutexes.__exit__(None, None, None)
            raise

    def __exit__(self, *error: Any) -> None:
        self._mutexes.__exit__(*error)


def merged_document(change: Change, saved: Document | None) -> Document | None:
    """Return what a document becomes, given what is saved now.

    Raises
    ------
    ConflictError
        Both changed the same field, or one of them removed the document.
    """
    if change.base is None and change.mine is None:
        return None
    where = "" if change.name == "project" else f"descriptors.{change.name}"
    conflicts: list[tuple[str, ...]] = []
    merged: Document | None = merge(change.base, change.mine, saved, conflicts)
    if not conflicts:
        return merged
    field = ".".join((*([where] if where else []), *conflicts[0]))
    mine, theirs = (_at(document, conflicts[0]) for document in (change.mine, saved))
    others = f" ({len(conflicts)} fields in all)" if len(conflicts) > 1 else ""
    raise ConflictError(
        f"{field or 'project'} was changed here to {mine}, and elsewhere to {theirs}, since it was read{others}.",
        field=field,
        remedy="revert() what you changed there (or project.revert()), look at the new value, and change it again",
    )


def _at(document: Document | None, path: tuple[str, ...]) -> str:
    if document is None:
        return "nothing (removed)"
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return json.dumps(value)[:200]


def to_text(document: Document) -> str:
    """Return the JSON text of a document, one field a line."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parse(text: bytes, path: Path) -> Document:
    """Return the document of a JSON text."""
    what = ""
    try:
        found = parse_json(text, unique=True)
        if isinstance(found, dict):
            return found
    except ValueError as error:
        what = f": {error}"
    raise FormatError(f"{path} is no JSON object{what}.", remedy="restore it from version control or a backup")
