"""Undo: before a unit is first written, its encoded bytes are kept, and read from for the whole stage.

So a block gives the same result however often it is run, by whomever, also where it changes data in place.

A unit is kept by linking its file, which costs no copy: the storage engine replaces files by renaming, so the link
keeps the old content. Of an object in a bucket, a copy in the run's folder is linked: whoever links first has read the
object before it was first written. Whoever links first decides; for a unit that did not exist a symbolic link to
nothing decides, under the same name. The view beside it holds the kept units and the array's metadata, and opens as an
array.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...sources.base import Source
from ...sources.chunked.unit_files import METADATA_FILES, UnitFiles
from ...sources.indexing import Roi
from ...sources.stores.location import Location
from ...system.faults import fault
from ...system.files import naming, own_folder, read_by_others, sync_folder
from ...system.frames import frame
from ...wrapper.base import WrapperSource

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}
_ABSENT = "absent"
_SLASH = "%2F"
_WHERE = "where"


def can_keep(source: Source) -> bool:
    """Whether the units of a source are files that can be kept."""
    return source.unit_files(tuple(slice(0, 1) for _ in source.shape)) is not None if source.size else False


class Undo:
    """Kept units of one output (``target``) in one stage, in a folder; with ``sync``, keeping waits for the disk.

    Where the folder is the worker's alone, ``decider(name, content)`` tells what a unit held before the stage (None: it
    was not there), and is told what the worker has found.
    """

    def __init__(
        self,
        folder: Path,
        target: Source,
        *,
        sync: bool = False,
        decider: Callable[[str, bytes | None], bytes | None] | None = None,
    ) -> None:
        self._decider = decider
        self._target = target
        self._kept = folder / "kept"
        self._view = folder / "view"
        self._sync = sync
        self._source: Source | None = None
        self._lock = threading.Lock()

    @property
    def source(self) -> Source:
        """What the output held before the stage."""
        with self._lock:
            if self._source is None:
                self._prepare()
                self._source = Before(self._target.moved(str(self._view)), self)
            return self._source

    def _prepare(self) -> None:
        own_folder(self._kept)
        own_folder(self._view)
        files = self._units(tuple(slice(0, 1) for _ in self._target.shape))
        for name in METADATA_FILES:
            if (content := files.place.read(name)) is not None:
                _write_once(io.BytesIO(content), self._view / name)
        place = {"url": files.place.url, "options": dict(files.place.options)}
        content = frame((files.folder or json.dumps(place)).encode())
        _write_once(io.BytesIO(content), self._kept.parent / _WHERE)

    def _units(self, roi: Roi) -> UnitFiles:
        files = self._target.unit_files(roi)
        assert files is not None
        return files

    def keep(self, roi: Roi) -> None:
        """Keep the units that a region touches, before any of them is written."""
        _ = self.source
        files = self._units(roi)
        kept = [name for name in files.names if self._keep_one(files.place, name)]
        if kept and self._sync:
            views = {(self._view / name).parent for name in kept}
            for folder in (self._kept, *filter(Path.exists, views)):  # a unit that was absent has no place in the view
                sync_folder(folder)

    def _keep_one(self, place: Location, name: str) -> bool:
        kept, view = self._kept / name.replace("/", _SLASH), self._view / name
        if view.exists() or kept.is_symlink():
            return False
        fault("before-undo")
        try:
            if self._decider is None:
                _keep(place, name, kept)
            elif (content := self._decider(name, place.read(name))) is None:
                raise FileNotFoundError(name)
            else:
                _write_once(io.BytesIO(content), kept)
        except FileNotFoundError:  # never written, unless somebody has decided otherwise just now
            with suppress(FileExistsError):
                os.symlink(_ABSENT, kept)
        if not kept.is_symlink():
            own_folder(view.parent)
            with suppress(FileExistsError):
                os.link(kept, view)
        fault("after-undo")
        return True

    def decide(self, name: str, content: BinaryIO | None) -> bytes | None:
        """Keep a unit as somebody has found it, unless that is decided; what it held before the stage."""
        _ = self.source
        kept, view = self._kept / name.replace("/", _SLASH), self._view / name
        if content is None:
            with suppress(FileExistsError):
                os.symlink(_ABSENT, kept)
        else:
            _write_once(content, kept)
        if self._sync:
            sync_folder(self._kept)
        if kept.is_symlink():
            return None
        own_folder(view.parent)
        with suppress(FileExistsError):
            os.link(kept, view)
        return kept.read_bytes()


class Before(WrapperSource):
    """An output as it was before the stage, by the view of its kept units: what is read of it is kept first."""

    def __init__(self, view: Source, undo: Undo) -> None:
        super().__init__(view)
        self._undo = undo

    def _getitem(self, roi: Roi) -> np.ndarray:
        self._undo.keep(roi)
        return self._source._getitem(roi)


def _keep(place: Location, name: str, kept: Path) -> None:
    """Keep a unit; FileNotFoundError where it was never written."""
    if place.folder is not None:
        _link(os.path.join(place.folder, name), kept)
    elif (content := place.read(name)) is None:
        raise FileNotFoundError(name)
    else:
        _write_once(io.BytesIO(content), kept)


def _link(live: str, kept: Path) -> None:
    try:
        os.link(live, kept)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy_once(live, kept)


def _copy_once(source: str, target: Path) -> None:
    with open(source, "rb") as file:
        _write_once(file, target)


def _write_once(content: BinaryIO, target: Path) -> None:
    """Write a file so that it appears whole, once; whoever comes first decides."""
    private = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with naming(private), open(private, "wb", opener=read_by_others) as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(private, target)
    finally:
        private.unlink(missing_ok=True)
