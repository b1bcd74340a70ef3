"""New versions of label maps and tables that clients send: written apart, sealed, then named by a commit.

A draft is an array that nobody else reads. Clients send voxels, not encoded chunks: so what is stored was encoded here,
and is never larger than its shape says. Sealing shares the chunks that are equal to those of the version that the draft
was made from, makes the files durable and gives the draft its place among the versions; doing so again does no harm. A
version counts when a commit lets the document of its data set name it, and only a sealed one can be named.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..blocks import Grid, to_roi
from ..errors import ConflictError, KeyNotFoundError, ParameterError
from ..projects.drafts import label_dtype
from ..projects.storage import versions
from ..projects.storage.folder import Folder, new_stamp
from ..projects.values.kinds import LayerKind
from ..projects.values.models import Layer
from ..projects.values.names import plain
from ..projects.values.records import DescriptorRecord, LayerRecord
from ..projects.values.sets import BoxSet, LandmarkSet, from_table, to_table
from ..sources.file import FileSource
from ..system.faults import fault
from ..system.files import sync_folder, write_once

_STAMP = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}")
_SEALED = "sealed.json"
_ROWS = {LayerKind.BOUNDINGBOX: BoxSet, LayerKind.LANDMARK: LandmarkSet}


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
        self._layer = layer

    def open_draft(self, record: DescriptorRecord, dtype: str | None) -> tuple[str, FileSource]:
        """Make a draft: what is stored, or zeros where nothing is or the data type is another one.

        Raises
        ------
        ParameterError
            The layer holds no label maps.
        DtypeError
            No integer type.
        """
        if self._layer.kind != LayerKind.PIXELWISE:
            raise ParameterError(f"The layer {self._layer.name!r} holds no label maps.", remedy="send a table")
        stored, old = record.layers.get(self._layer.id), None
        values = max((label.value or 0 for label in self._layer.labels), default=0)
        wanted = (
            np.dtype(stored.dtype) if stored and dtype is None else label_dtype(dtype or np.min_scalar_type(values))
        )
        if stored is not None and np.dtype(stored.dtype) == wanted:
            old = self.version(stored.version)
        axes = [axis for axis in record.image.axis_values() if axis.kind == "space"]
        draft, note = new_stamp(), json.dumps(None if old is None or stored is None else stored.model_dump())
        versions.make_version(self._draft(draft), _shape(record), wanted, axes, self._layer.labels, old, note)
        return draft, self.draft(draft)

    def draft(self, draft: str, mode: str = "r+") -> FileSource:
        """Open a draft; KeyNotFoundError where there is none."""
        if not self._draft(draft).is_dir():
            raise KeyNotFoundError(f"There is no draft {draft!r} (any more).", remedy="open a new one")
        return versions.open_version(self._draft(draft), mode)

    def discard(self, draft: str) -> None:
        """Remove a draft; nothing happens where there is none."""
        shutil.rmtree(self._draft(draft), ignore_errors=True)

    def seal(self, draft: str) -> LayerRecord:
        """Give a draft its place among the versions, and return what a document has to say of it.

        Raises
        ------
        KeyNotFoundError
            There is no such draft.
        """
        path, target = self._draft(draft), self.version(draft)
        if not path.is_dir() and (record := self.sealed(draft)) is not None:
            return record
        with self.draft(draft) as source:
            dtype, shape = source.dtype, source.shape
        base = json.loads(versions.note_of(path))
        old = None if base is None else self.version(base["version"])
        written = versions.share(old, path)[0] if old is not None and old.is_dir() else None
        versions.settle(path, written)
        units = sum(1 for _ in versions.chunk_files(path / versions.ARRAY))
        record = LayerRecord(version=draft, units=units, dtype=dtype.name)
        about = json.dumps({"record": record.model_dump(), "shape": shape})
        write_once(path / _SEALED, about.encode(), sync=True)
        fault("server-seal")
        os.rename(path, target)
        sync_folder(target.parent)
        return record

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
        return self._layer.kind in _ROWS or self._about(version)["shape"] == _shape(record)

    def _about(self, version: str) -> Any:
        return json.loads((self.version(version) / _SEALED).read_bytes())

    def version(self, version: str) -> Path:
        """Path of a version of a label map."""
        return self._folder / f"{plain(version)}.zarr"

    def table(self, version: str) -> Path:
        """Path of a version of a table."""
        return self._folder / f"{plain(version)}.csv"

    def _draft(self, draft: str) -> Path:
        if not _STAMP.fullmatch(draft):
            raise KeyNotFoundError(f"There is no draft {draft!r}.", remedy="open one")
        return self._folder / f".draft-{draft}.zarr"


def region_of(source: FileSource, index: Sequence[int]) -> tuple[slice, ...]:
    """Return the voxels of a chunk, cut off at the end of the array.

    Raises
    ------
    KeyNotFoundError
        There is no such chunk.
    """
    chunks = tuple(max(1, size) for size in source.write_chunks or source.shape)
    counts = [math.ceil(size / chunk) for size, chunk in zip(source.shape, chunks, strict=True)]
    if len(index) != len(counts) or any(not 0 <= i < n for i, n in zip(index, counts, strict=True)):
        raise KeyNotFoundError(
            f"There is no chunk {'.'.join(map(str, index))}.", remedy=f"chunks along the axes: {counts}"
        )
    grid = Grid(source.shape, chunks)
    return tuple(to_roi(grid[int(np.ravel_multi_index(tuple(index), counts))]))


def bytes_of(source: FileSource, region: Sequence[slice]) -> int:
    """Number of bytes of the voxels of a region."""
    return int(math.prod(part.stop - part.start for part in region) * source.dtype.itemsize)


def write(source: FileSource, region: tuple[slice, ...], data: bytes | bytearray) -> None:
    """Write the voxels of a chunk: little-endian, in C order.

    Raises
    ------
    ParameterError
        Another number of bytes.
    """
    expected = bytes_of(source, region)
    if len(data) != expected:
        raise ParameterError(
            f"The chunk takes {expected} bytes ({source.dtype}), not {len(data)}.",
            remedy="send its voxels, uncompressed",
        )
    shape = [part.stop - part.start for part in region]
    voxels: Any = np.frombuffer(data, source.dtype.newbyteorder("<")).reshape(shape)
    source.write(region, voxels)


def _shape(record: DescriptorRecord) -> list[int]:
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
