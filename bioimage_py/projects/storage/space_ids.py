"""Ids of objects and classifications, which stand for one thing in a project: who wants one that is taken is refused.

The folder ``.ids`` has, in files that never change, every id that was ever saved, as two sorted columns of 8 bytes: of
the id, and of its data set. A commit writes what it adds before it counts, so there may be too much in them, never too
little: what is found there is looked up in the space itself. A commit costs as many looks as there are files, and those
grow as digits do, for small ones are joined. Where the folder is missing, it is made of all spaces.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import ConflictError, FormatError
from ...spaces.schema import CHANGES
from ...system.files import write_once
from ...system.json_text import parse_json
from ..values.merge import Document
from ..values.names import BASE, is_space, plain, space_id
from .mutex import holding

IDS = ".ids"
_KEPT = 4
_GROUPS = ("objects", "classifications")
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError)
Hashes = npt.NDArray[np.uint64]
Columns = npt.NDArray[np.uint64]
"""Ids and their data sets, two rows; sorted by the first."""


class Change(Protocol):
    """What a commit does to a document, as `folder.Change`."""

    @property
    def name(self) -> str:
        """Of a data set."""

    @property
    def base(self) -> Document | None:
        """What it was."""

    @property
    def mine(self) -> Document | None:
        """What it becomes."""


class Saved(Protocol):
    """A document as it is saved."""

    @property
    def document(self) -> Document | None:
        """None where there is none."""


class Files(Protocol):
    """What ids need of a project's folder, as `folder.Folder` has it."""

    root: Path
    descriptors: Path
    locks: Path

    def read(self, name: str) -> Saved:
        """Return a document as it is saved now."""

    def annotations(self, identifier: str, layer: str) -> Path:
        """Folder of the data of a layer."""

    def roll_forward(self) -> None:
        """Put in place what others have saved."""


class SpaceIds:
    """The ids of a project's spaces.

    Parameters
    ----------
    folder : Files
    """

    def __init__(self, folder: Files) -> None:
        self._folder, self.root = folder, folder.root / IDS
        self._files: dict[str, Columns] = {}
        self._read: dict[Path, set[str]] = {}

    @contextmanager
    def claiming(self, changes: Sequence[Change]) -> Iterator[None]:
        """Hold the ids that a commit adds; nobody else adds ids meanwhile.

        Raises
        ------
        ConflictError
            One belongs to another data set.
        """
        wanted = {change.name: ids for change in changes if (ids := self._added(change))}
        if not wanted:
            yield
            return
        with holding(self._folder.locks / "mutex", ["ids"]):
            self._folder.roll_forward()  # whoever held it before may have been killed
            self._make()
            new = []
            for identifier, ids in wanted.items():
                names, mine = [*ids], _hash(identifier)
                hashes = hashed(names)
                if found := self._taken(identifier, names, hashes, changes):
                    raise clash(*found, ids[found[0]])
                left = hashes[~self._known(hashes, mine)]
                new.append(np.stack([left, np.full(len(left), mine)]))
            self._check_together(wanted)
            self._write(np.concatenate(new, axis=1))
            yield

    def _make(self) -> None:
        """Make the files where they are missing or damaged."""
        try:
            if self._columns():
                return
        except FormatError:
            for name in self._names():
                (self.root / name).unlink()
        self._write(self._all())

    @staticmethod
    def _check_together(wanted: Mapping[str, Mapping[str, str]]) -> None:
        owners: dict[str, str] = {}
        for identifier, ids in wanted.items() if len(wanted) > 1 else ():
            if (both := owners.keys() & ids.keys()) and (id := min(both)):
                raise clash(id, owners[id], ids[id])
            owners.update(dict.fromkeys(ids, identifier))

    def taken(self, identifier: str, ids: Sequence[str], changes: Iterable[Change] = (),
              but: Iterable[str] = ()) -> tuple[str, str] | None:  # fmt: skip
        """Return the first of some ids that belongs to another data set, and that; None where none does.

        Parameters
        ----------
        identifier : str
            Data set that wants them.
        ids : sequence of str
        changes : iterable of Change
            What is about to be saved.
        but : iterable of str
            Data sets that are not looked at.
        """
        return self._taken(identifier, ids, hashed(ids), changes, but)

    def _taken(
        self, identifier: str, ids: Sequence[str], hashes: Hashes, changes: Iterable[Change], but: Iterable[str] = ()
    ) -> tuple[str, str] | None:
        places = self._others(hashes, _hash(identifier))
        if not places:
            return None
        names = [path.name[:-5] for path in self._folder.descriptors.glob("[!.]*.json")]
        coming = {change.name: change for change in changes}
        for name in sorted({*names, *coming}.difference(but, [identifier])):
            if at := places.get(int(_hash(name))):
                there = self._of(name, coming.get(name))
                both = [ids[i] for i in at if ids[i] in there]
                if both and (new := [id for id in both if id not in self._of(identifier, None)]):
                    return new[0], name  # two that have one already, in a project of before, go on
        return None

    def _others(self, hashes: Hashes, mine: np.uint64) -> dict[int, list[int]]:
        """Return which of some ids data sets may have, by what stands for the data set."""
        found: dict[int, list[int]] = {}
        for rows, owners in self._found(hashes):
            for row, owner in zip(rows[owners != mine].tolist(), owners[owners != mine].tolist(), strict=True):
                found.setdefault(owner, []).append(row)
        return found

    def _known(self, hashes: Hashes, mine: np.uint64) -> npt.NDArray[np.bool_]:
        known = np.zeros(len(hashes), bool)
        for rows, owners in self._found(hashes):
            known[rows[owners == mine]] = True
        return known

    def _found(self, hashes: Hashes) -> Iterator[tuple[npt.NDArray[np.int64], Hashes]]:
        """Yield rows of what is known, and whose they are."""
        for columns in self._columns().values():
            begin, end = (np.searchsorted(columns[0], hashes, side) for side in ("left", "right"))
            rows, step = np.flatnonzero(end > begin), 0
            while len(rows):
                yield rows, columns[1][begin[rows] + step]
                step += 1
                rows = rows[end[rows] > begin[rows] + step]

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.root) if name.endswith(".ids") and not name.startswith(".")]
        except FileNotFoundError:
            return []

    def _columns(self) -> dict[str, Columns]:
        """Return all files; one that is joined to another meanwhile is found there."""
        while True:
            names, missing = set(self._names()), False
            for name in names - self._files.keys():
                try:
                    data = np.fromfile(self.root / name, "<u8")  # no map: another node may remove the file meanwhile
                except FileNotFoundError:
                    missing = True
                    break
                found = data[: len(data) // 2 * 2].reshape(2, -1)
                if len(data) % 2 or (found[0, 1:] < found[0, :-1]).any():
                    raise FormatError(
                        f"{self.root / name} is damaged.", remedy=f"rm -r {self.root}; a save makes it anew"
                    )
                self._files[name] = found
            if not missing:
                self._files = {name: self._files[name] for name in names}
                return self._files

    def _write(self, columns: Columns) -> None:
        """Add a file, which takes in those that are not far larger."""
        if not columns.size and self._names():
            return
        joined, parts = list[str](), [columns]
        size = columns.shape[1]
        for name, found in sorted(self._columns().items(), key=lambda one: one[1].shape[1]):
            if found.shape[1] > 2 * size:
                break
            joined.append(name)
            parts.append(found)
            size += found.shape[1]
        found = np.concatenate(parts, axis=1)
        found = found[:, np.argsort(found[0], kind="stable")]
        name = f"{secrets.token_hex(8)}.ids"
        self.root.mkdir(exist_ok=True)
        write_once(self.root / name, found.astype("<u8").tobytes(), sync=True)
        self._files[name] = found
        for old in joined:
            (self.root / old).unlink(missing_ok=True)

    def _all(self) -> Columns:
        """Return the ids of all spaces that are saved."""
        parts = [np.zeros((2, 0), np.uint64)]
        for path in sorted(self._folder.descriptors.glob("[!.]*.json")):
            if b'"space.' in path.read_bytes():
                hashes = hashed([*self._of(path.name[:-5], None)])
                parts.append(np.stack([hashes, np.full(len(hashes), _hash(path.name[:-5]), np.uint64)]))
        return np.concatenate(parts, axis=1)

    def _of(self, identifier: str, change: Change | None) -> set[str]:
        """Return all ids of a data set, with a change that is about to be saved."""
        layers = dict((self._folder.read(identifier).document or {}).get("layers", {}))
        if change is not None:
            if change.mine is None:
                return set()
            layers.update(_changed(change))
        versions = [(key, entry["version"]) for key, entry in layers.items() if is_space(key) and entry]
        return set[str]().union(*(self._instances(identifier, key, version) for key, version in versions))

    def _added(self, change: Change) -> dict[str, str]:
        """Return the ids that a change may add, and the spaces that they are put in."""
        if change.name == "project" or change.mine is None:
            return {}
        found: dict[str, str] = {}
        old = {} if change.base is None else change.base["layers"]
        for key, entry in _changed(change).items():
            if is_space(key) and entry:
                ids = self._new(change.name, key, str(entry["version"]), old.get(key))
                more = dict.fromkeys(ids, space_id(key))
                found = {**found, **more} if found else more
        return found

    def _new(self, identifier: str, key: str, version: str, old: Any) -> set[str]:
        """Return ids that a version has and the one before has not, and perhaps more."""
        path = self._path(identifier, key, version)
        with suppress(*_FAULTS):
            document = _document(path)
            if document["schema"] != CHANGES:
                return _ids(document)
            before = self._path(identifier, key, old["version"]) if old else None
            if before is not None and (base := before.with_suffix(BASE)).exists():
                if path.with_suffix(BASE).samefile(base):
                    return _ids(document) | {id for id, _ in _removed(_document(before))}
            elif before is not None and path.with_suffix(BASE).samefile(before):
                return _ids(document)
        return self._instances(identifier, key, version)

    def _instances(self, identifier: str, key: str, version: str) -> set[str]:
        """Return the ids of a version; none of one that can't be read, which `validate` tells."""
        path = self._path(identifier, key, str(version))
        if path not in self._read:
            found = set[str]()
            with suppress(*_FAULTS):
                document = _document(path)
                found = _ids(document)
                if document["schema"] == CHANGES:
                    found |= _left(_document(path.with_suffix(BASE)), document)
            for other in list(self._read)[: -_KEPT + 1]:
                del self._read[other]
            self._read[path] = found
        return self._read[path]

    def _path(self, identifier: str, key: str, version: str) -> Path:
        return self._folder.annotations(identifier, key) / f"{plain(version)}.json"


def clash(id: str, owner: str, space: str) -> ConflictError:
    """Return the error for an id that is taken."""
    return ConflictError(
        f"The id {id!r} belongs to something of the data set {owner}; an id stands for one thing of a project.",
        field=f"spaces.{space}.{id}",
        remedy="space.undo(), and give it an id of its own (without id= it gets one), or remove the other one first",
    )


def hashed(ids: Sequence[str]) -> Hashes:
    """Return 8 bytes for each id, the same in every process; of the many that the package makes, all at once."""
    usual = [i for i, id in enumerate(ids) if len(id) == 16 and id.isascii()]
    found = np.zeros(len(ids), np.uint64)
    if len(usual) < len(ids):
        digests = (blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest() for id in ids)
        found = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    if usual:
        text = "".join(ids if len(usual) == len(ids) else (ids[i] for i in usual))
        first, second = np.frombuffer(text.encode(), "<u8").reshape(-1, 2).T.astype(np.uint64)
        mixed = _mixed(_mixed(first) + second)
        if len(usual) == len(ids):
            return mixed
        found[usual] = mixed
    return found


def _mixed(numbers: Hashes) -> Hashes:
    """Spread all bits over all bits, one to one (the end of splitmix64)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(31))


def _hash(text: str) -> np.uint64:
    return np.uint64(hashed([text])[0])


def _changed(change: Change) -> dict[str, Any]:
    """Return what a change makes of layers, None where it removes them."""
    old, new = {} if change.base is None else change.base["layers"], (change.mine or {"layers": {}})["layers"]
    return {key: new.get(key) for key in {**old, **new} if old.get(key) != new.get(key)}


def _document(path: Path) -> Document:
    return dict(parse_json(path.read_bytes()))


def _ids(document: Document) -> set[str]:
    objects = document["objects"]
    ids = objects["ids"] if isinstance(objects, dict) else [record["id"] for record in objects]
    return {id for id in (*ids, *(record["id"] for record in document["classifications"])) if isinstance(id, str)}


def _removed(document: Document) -> set[tuple[str, Any]]:
    """Return what changes say that is gone: ids and frames."""
    if document["schema"] != CHANGES:
        return set()
    return {(id, frame) for group in _GROUPS for id, frame in document["removed"][group]}


def _left(base: Document, changes: Document) -> set[str]:
    """Return the ids of a document that changes leave there."""
    gone = _removed(changes)
    if not gone:
        return _ids(base)
    names, objects = {id for id, _ in gone}, base["objects"]
    if isinstance(objects, dict):
        ids = objects["ids"]
        frames = np.frombuffer(base64.b64decode(objects["frame"]), "<i4").tolist() if "frame" in objects else None
        pairs = list(zip(ids, frames or [None] * len(ids), strict=True))
    else:
        pairs = [(record["id"], record.get("frame")) for record in objects]
    pairs += [(record["id"], record.get("frame")) for record in base["classifications"]]
    return {id for id, frame in pairs if id not in names or (frame is not None and (id, frame) not in gone)}
