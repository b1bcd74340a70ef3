"""Where a worker is: a small mapped file that outlives it."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from ...system.files import naming, own_folder, read_by_others
from .interface import Progress

_PROGRESS = struct.Struct("<qqqq")


class ProgressFile:
    """Where a worker is, in a small mapped file that outlives a kill."""

    def __init__(self, path: Path) -> None:
        own_folder(path.parent)
        self._file = open(path, "w+b", opener=read_by_others)  # noqa: SIM115 - open as long as the worker lives
        self.batches = 0
        with naming(path):
            self._file.write(_PROGRESS.pack(0, -1, -1, 0))
            self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), _PROGRESS.size)

    def put(self, done: int, block: int, stage: int) -> None:
        """Publish."""
        _PROGRESS.pack_into(self._map, 0, done, block, stage, self.batches)

    def close(self) -> None:
        """Close the file."""
        self._map.close()
        self._file.close()


def read_progress(path: Path) -> Progress:
    """Where a worker is, or was when it died."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Progress()
    return Progress(*_PROGRESS.unpack(data)) if len(data) == _PROGRESS.size else Progress()
