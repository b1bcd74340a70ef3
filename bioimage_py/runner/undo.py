"""Undo: before a unit is first written, its encoded bytes are kept, and read from for the whole stage.

So a block gives the same result however often it is run, by whomever, also where it changes data in place.

A unit is kept by linking its file, which costs no copy: the storage engine replaces files by renaming, so the link
keeps the old content. Whoever links first decides; a unit that did not exist is decided by a link to a tombstone
under the same name. The view beside it holds the kept units and the array's metadata, and opens as an array.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from ..sources.base import Source
from ..sources.index import Roi
from ..sources.units import METADATA_FILES, UnitFiles

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}


def can_keep(source: Source) -> bool:
    """Whether the units of a source are files that can be kept."""
    return source.unit_files(tuple(slice(0, 1) for _ in source.shape)) is not None if source.size else False


class Undo:
    """Kept units of one output in one stage.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    target : Source
        The output.
    """

    def __init__(self, folder: Path, target: Source) -> None:
        self._target = target
        self._kept = folder / "kept"
        self._view = folder / "view"
        self._tombstone = folder / "absent"
        self._source: Source | None = None
        self._lock = threading.Lock()

    @property
    def source(self) -> Source:
        """What the output held before the stage, where it has been kept."""
        with self._lock:
            if self._source is None:
                self._prepare()
                self._source = self._target.moved(str(self._view))
            return self._source

    def _prepare(self) -> None:
        self._kept.mkdir(parents=True, exist_ok=True)
        self._view.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(self._tombstone, os.O_CREAT | os.O_EXCL))
        files = self._units(tuple(slice(0, 1) for _ in self._target.shape))
        for name in METADATA_FILES:
            if os.path.exists(os.path.join(files.folder, name)):
                _copy_once(os.path.join(files.folder, name), self._view / name)

    def _units(self, roi: Roi) -> UnitFiles:
        files = self._target.unit_files(roi)
        assert files is not None
        return files

    def keep(self, roi: Roi) -> None:
        """Keep the units that a region touches, before any of them is written."""
        _ = self.source
        files = self._units(roi)
        for name in files.names:
            if not (self._view / name).exists():
                self._keep_one(os.path.join(files.folder, name), name)

    def _keep_one(self, live: str, name: str) -> None:
        kept = self._kept / name.replace("/", ".")
        if not kept.exists():
            try:
                _link(live, kept)
            except FileNotFoundError:  # never written, unless somebody has decided otherwise just now
                with suppress(FileExistsError):
                    os.link(self._tombstone, kept)
        if not os.path.samefile(kept, self._tombstone):
            view = self._view / name
            view.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.link(kept, view)


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
    """Copy a file so that it appears whole, once; whoever comes first decides."""
    private = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    shutil.copyfile(source, private)
    with open(private, "rb") as file:
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(private, target)
    os.unlink(private)
