"""New versions of label maps and tables that clients send: written apart, sealed, then named by a commit.

A draft is an array that nobody else reads; `transfer.drafts` fills it. Sealing shares the chunks that are equal to
those of the version that the draft was made from, makes the files durable and gives the draft its place among the
versions; doing so again does no harm. A version counts when a commit lets the document of its data set name it, and
only a sealed one can be named.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConflictError, KeyNotFoundError, ParameterError, StorageError
from ..projects.drafts import REBASED, label_dtype, rebased
from ..projects.storage import versions
from ..projects.storage.folder import Folder, new_stamp
from ..projects.storage.mutex import bucket, holding
from ..projects.storage.packs import ARRAY
from ..projects.values.kinds import LayerKind
from ..projects.values.models import Layer
from ..projects.values.names import plain
from ..projects.values.records import DescriptorRecord, LayerRecord
from ..projects.values.sets import BoxSet, LandmarkSet, from_table, to_table
from ..sources.file import FileSource
from ..system.faults import fault
from ..system.files import sync_folder, write_once
from .answered import working

_STAMP = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}")
_SEALED, _SEALING = "sealed.json", ".sealing"
_ROWS = {LayerKind.BOUNDINGBOX: BoxSet, LayerKind.LANDMARK: LandmarkSet}


class Sealed(NamedTuple):
    """A version that a draft has become: what a document says of it, and whether its base holds the same voxels."""

    record: LayerRecord
    same: bool


class Place:
    """The data of one layer of one data set.

    Parameters
    ----------
    folder : Folder
    identifier : str
        Of the data set.
    layer : Layer
    """

    def __init__(self, folder: Folder, identifier: str, layer: Layer) -> None:
        self._folder = folder.annotations(identifier, layer.id)
        self._mutexes = folder.locks / "mutex"
        self._layer = layer

    @classmethod
    def known(cls, folder: Folder, identifier: str, layer: str) -> Place:
        """Return that of a layer of which only the id is needed, to read what is there."""
        return cls(folder, identifier, Layer(layer, LayerKind.PIXELWISE, id=layer))

    def open_draft(self, record: DescriptorRecord, dtype: str | None, base: str | None = None) -> str:
        """Make a draft, and return its id: what is stored, or zeros where nothing is or the data type is another one.

        Parameters
        ----------
        record : DescriptorRecord
        dtype : str, optional
        base : str, optional
            Version to begin with, which was sealed, in place of what is stored; "" for none.

        Raises
        ------
        ParameterError
            The layer holds no label maps.
        DtypeError
            No integer type.
        ConflictError
            The version `base` was not sealed, or is none of this image.
        """
        if self._layer.kind != LayerKind.PIXELWISE:
            raise ParameterError(f"The layer {self._layer.name!r} holds no label maps.", remedy="send a table")
        stored, old = record.layers.get(self._layer.id), None
        if base is not None:
            stored = self._sealed_as(base, record) if base else None
        values = max((label.value or 0 for label in self._layer.labels), default=0)
        wanted = (
            np.dtype(stored.dtype) if stored and dtype is None else label_dtype(dtype or np.min_scalar_type(values))
        )
        if stored is not None and np.dtype(stored.dtype) == wanted:
            old = self.version(stored.version)
        axes = [axis for axis in record.image.axis_values() if axis.kind == "space"]
        draft, note = new_stamp(), json.dumps(None if stored is None else stored.model_dump())
        versions.make_version(self.draft_path(draft), shape_of(record), wanted, axes, self._layer.labels, old, note)
        return draft

    def record_of(self, version: str, named: LayerRecord | None) -> dict[str, Any]:
        """Return what a document says of a version that it may name, or names already."""
        found = named if named is not None and named.version == version else self.sealed(version)
        return {"version": version} if found is None else found.model_dump()

    def _sealed_as(self, base: str, record: DescriptorRecord) -> LayerRecord:
        named = record.layers.get(self._layer.id)
        if named is not None and named.version == base:
            return named
        found = self.sealed(base)
        if found is None or not self.fits(base, record):
            raise ConflictError(
                f"There is no version {base!r} of that image (any more).", field="layers", remedy="project.sync()"
            )
        return found

    def has_draft(self, draft: str) -> bool:
        """Whether there is a draft."""
        return self.draft_path(draft).is_dir()

    def draft(self, draft: str, mode: str = "r+") -> FileSource:
        """Open a draft; KeyNotFoundError where there is none."""
        if not self.draft_path(draft).is_dir():
            raise KeyNotFoundError(f"There is no draft {draft!r} (any more).", remedy="open a new one")
        return versions.open_version(self.draft_path(draft), mode)

    def seal(self, draft: str) -> Sealed:
        """Give a draft its place among the versions; doing so again answers the same.

        Raises
        ------
        KeyNotFoundError
            There is no such draft.
        StorageError
            The machine lost chunks of it, in a power cut.
        """
        path, target = self.draft_path(draft), self.version(draft)
        with working(self._mutexes, f"seal-{bucket(draft)}"):
            if self.sealed(draft) is not None:
                about = self._about(draft)
                return Sealed(LayerRecord(**about["record"]), about.get("same", False))
            with self.draft(draft) as source:
                dtype, shape = source.dtype, source.shape
            (path / _SEALING).touch()  # who has written a chunk by now is counted, who does so later finds it
            base = self.base_of(draft)
            old = None if base is None or np.dtype(base.dtype) != dtype else self.version(base.version)
            written, same = versions.share(old, path) if old is not None and old.is_dir() else (None, False)
            chunks = list(versions.chunk_files(path / ARRAY))
            for name in chunks if written is None else written:
                if not (path / ARRAY / name).stat().st_size:
                    raise StorageError(f"The chunk {name} of the draft {draft} was lost.", remedy="write it again")
            versions.settle(path, written)
            record = LayerRecord(version=draft, units=len(chunks), dtype=dtype.name)
            about = {"record": record.model_dump(), "shape": shape, "same": same}
            write_once(path / _SEALED, json.dumps(about).encode(), sync=True)
            fault("server-seal")
            os.rename(path, target)
            for name in (_SEALING, REBASED):
                (target / name).unlink(missing_ok=True)
            sync_folder(target.parent)
            return Sealed(record, same)

    def unseal(self, version: str) -> bool:
        """Let a version that no document names be a draft again; return whether it was one."""
        with holding(self._mutexes, [f"seal-{bucket(version)}"]):
            if not (self.version(version) / _SEALED).exists():
                return False
            os.rename(self.version(version), self.draft_path(version))
            (self.draft_path(version) / _SEALED).unlink()
            return True

    def check_open(self, draft: str) -> None:
        """Refuse a draft that was sealed, or removed, while a chunk of it was written (KeyNotFoundError).

        What the chunk held need not be in the version then.
        """
        path = self.draft_path(draft)
        if not (path / _SEALING).exists() and (path / ARRAY / "zarr.json").exists():
            return
        with holding(self._mutexes, [f"seal-{bucket(draft)}"]):  # one that was killed while it sealed has let go
            if (path / ARRAY / "zarr.json").exists():
                return
            shutil.rmtree(path, ignore_errors=True)  # the late chunk, alone
        raise KeyNotFoundError(f"The draft {draft!r} was sealed meanwhile.", remedy="open a new one")

    def base_of(self, draft: str) -> LayerRecord | None:
        """Return the version that a draft was made from; None for none."""
        found = json.loads(versions.note_of(self.draft_path(draft)))
        return None if found is None else LayerRecord(**found)

    def rebase(self, draft: str, stored: LayerRecord | None) -> tuple[str, list[str]]:
        """Take over what was published since a draft was made; return its id, and the chunks that both changed.

        What was sealed stays, and another draft is made of it.
        """
        with working(self._mutexes, f"seal-{bucket(draft)}"):
            if self.sealed(draft) is not None:
                draft = self._copied(draft)
            self.draft(draft).close()
            return draft, rebased(self.draft_path(draft), stored, lambda record: self.version(record.version))

    def _copied(self, version: str) -> str:
        draft, old = new_stamp(), self.version(version)
        with versions.open_version(old) as source:
            shape, dtype, axes = source.shape, source.dtype, source.axes
        versions.make_version(
            self.draft_path(draft), shape, dtype, axes, self._layer.labels, old, versions.note_of(old)
        )
        return draft

    def put_table(self, data: bytes) -> LayerRecord:
        """Store boxes or landmarks, and return what a document has to say of them.

        Parameters
        ----------
        data : bytes
            CSV, as it lies in the folder of a project.

        Raises
        ------
        ParameterError
            It is no such table, or names a type that the layer does not have.
        """
        kind = _ROWS.get(self._layer.kind)
        if kind is None:
            raise ParameterError(f"The layer {self._layer.name!r} holds label maps.", remedy="open a draft")
        names = {label.id: label.name for label in self._layer.labels}
        try:
            text = data.decode()
            rows = from_table(text, kind, names, "The table")
        except ValueError as error:
            raise ParameterError(f"The table is none of the layer {self._layer.name!r}: {error}", remedy="") from None
        own = to_table(rows, {name: id for id, name in names.items()})
        if len(rows) != sum(1 for line in text.splitlines()[1:] if line):
            raise ParameterError("The table names a type that the layer does not have.", remedy=f"types: {list(names)}")
        record = LayerRecord(version=new_stamp(), units=len(rows))
        write_once(self._folder / f"{record.version}.csv", own.encode(), sync=True)
        return record

    def check_table(self, stored: LayerRecord) -> None:
        """Refuse a stored table that is none of the layer, or has another number of rows (ParameterError)."""
        names = {label.id: label.name for label in self._layer.labels}
        kind = _ROWS.get(self._layer.kind)
        rows = None if kind is None else from_table(self.table(stored.version).read_text(), kind, names, stored.version)
        if rows is None or len(rows) != stored.units:
            raise ParameterError(
                f"The table {stored.version} has not the {stored.units} rows that the data set says.",
                remedy="bioimage-py project validate",
            )

    def sealed(self, version: str) -> LayerRecord | None:
        """Return what a document may say of a version, None where it cannot be named."""
        if not _STAMP.fullmatch(version):
            return None
        if self._layer.kind in _ROWS:
            path = self._folder / f"{version}.csv"
            if not path.is_file():
                return None
            with open(path, "rb") as file:
                return LayerRecord(version=version, units=max(0, sum(1 for _ in file) - 1))
        try:
            return LayerRecord(**self._about(version)["record"])
        except FileNotFoundError:
            return None

    def fits(self, version: str, record: DescriptorRecord) -> bool:
        """Whether a sealed version is of the shape of a data set's image."""
        return self._layer.kind in _ROWS or self._about(version)["shape"] == shape_of(record)

    def _about(self, version: str) -> Any:
        path = self.version(version)
        with suppress(FileNotFoundError):
            return json.loads((path / _SEALED).read_bytes())
        with versions.open_version(path) as source:  # one that a process in the folder has made, which is whole too
            units = sum(1 for _ in versions.chunk_files(path / ARRAY))
            record = LayerRecord(version=version, units=units, dtype=source.dtype.name)
            return {"record": record.model_dump(), "shape": list(source.shape)}

    def version(self, version: str) -> Path:
        """Path of a version of a label map."""
        return self._folder / f"{plain(version)}.zarr"

    def table(self, version: str) -> Path:
        """Path of a version of a table."""
        return self._folder / f"{plain(version)}.csv"

    def draft_path(self, draft: str) -> Path:
        """Path of a draft; KeyNotFoundError where that can't be one."""
        if not _STAMP.fullmatch(draft):
            raise KeyNotFoundError(f"There is no draft {draft!r}.", remedy="open one")
        return self._folder / f".draft-{draft}.zarr"


def shape_of(record: DescriptorRecord) -> list[int]:
    """Shape of the label maps of a data set."""
    axes = zip(record.image.shape, record.image.axes, strict=True)
    return [size for size, axis in axes if axis["kind"] == "space"]


def check_named(place: Place, record: DescriptorRecord, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
    """Refuse that a document names a version that was not sealed, or says something else of it.

    Raises
    ------
    ConflictError
    """
    if new is None or new == old:
        return
    version = str(new.get("version"))
    found = place.sealed(version)
    if found is None or found.model_dump() != new or not place.fits(version, record):
        raise ConflictError(
            f"The version {new.get('version')!r} was not sealed as the document says.",
            field="layers",
            remedy="seal the draft, and commit what that answers",
        )
