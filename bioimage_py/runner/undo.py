"""Undo: before a unit is first written, its encoded bytes are kept, and read from for the whole stage.

So a block gives the same result however often it is run, by whomever, also where it changes data in place.

A unit is kept by linking its file, which costs no copy: the storage engine replaces files by renaming, so the link
keeps the old content. Whoever links first decides; for a unit that did not exist a symbolic link to nothing decides,
under the same name. The view beside it holds the kept units and the array's metadata, and opens as an array.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..sources.base import Source
from ..sources.index import Roi
from ..sources.units import METADATA_FILES, UnitFiles
from ..wrapper.base import WrapperSource
from .faults import fault
from .folder import sync_folder

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}
_ABSENT = "absent"
_SLASH = "%2F"
_WHERE = "where"


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
    sync : bool
        Wait for the disk.
    """

    def __init__(self, folder: Path, target: Source, *, sync: bool = False) -> None:
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
        self._kept.mkdir(parents=True, exist_ok=True)
        self._view.mkdir(parents=True, exist_ok=True)
        files = self._units(tuple(slice(0, 1) for _ in self._target.shape))
        for name in METADATA_FILES:
            if os.path.exists(os.path.join(files.folder, name)):
                _copy_once(os.path.join(files.folder, name), self._view / name)
        (self._kept.parent / _WHERE).write_text(files.folder)

    def _units(self, roi: Roi) -> UnitFiles:
        files = self._target.unit_files(roi)
        assert files is not None
        return files

    def keep(self, roi: Roi) -> None:
        """Keep the units that a region touches, before any of them is written."""
        _ = self.source
        files = self._units(roi)
        kept = [name for name in files.names if self._keep_one(os.path.join(files.folder, name), name)]
        if kept and self._sync:
            for folder in {self._kept, *((self._view / name).parent for name in kept)}:
                sync_folder(folder)

    def _keep_one(self, live: str, name: str) -> bool:
        kept, view = self._kept / name.replace("/", _SLASH), self._view / name
        if view.exists() or kept.is_symlink():
            return False
        fault("before-undo")
        try:
            _link(live, kept)
        except FileNotFoundError:  # never written, unless somebody has decided otherwise just now
            with suppress(FileExistsError):
                os.symlink(_ABSENT, kept)
        if not kept.is_symlink():
            view.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.link(kept, view)
        fault("after-undo")
        return True


def unchanged(folder: Path) -> bool:
    """Whether no unit that a run has kept was written since, as far as the run folder tells."""
    for where in folder.glob(f"undo/*/*/{_WHERE}"):
        live = Path(where.read_text())
        for kept in where.parent.glob("kept/*"):
            unit = live / kept.name.replace(_SLASH, "/")
            same = not unit.exists() if kept.is_symlink() else unit.exists() and os.path.samefile(kept, unit)
            if not same and not kept.name.startswith("."):
                return False
    return True


class Before(WrapperSource):
    """An output as it was before the stage: what is read of it is kept first.

    Parameters
    ----------
    view : Source
        The kept units.
    undo : Undo
    """

    def __init__(self, view: Source, undo: Undo) -> None:
        super().__init__(view)
        self._undo = undo

    def _getitem(self, roi: Roi) -> np.ndarray:
        self._undo.keep(roi)
        return self._source._getitem(roi)


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
    try:
        shutil.copyfile(source, private)
        with open(private, "rb") as file:
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(private, target)
    finally:
        private.unlink(missing_ok=True)
