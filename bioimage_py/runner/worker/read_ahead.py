"""What a stage keeps and fetches of its inputs: the size of the chunk cache, and which are read one block ahead.

While a block is computed, a thread of its worker reads what the next block of the batch will ask for. The same voxels
are read by the same calls, only earlier, so results don't change; inputs that a worker of the stage writes are never
read ahead. One block more of memory a worker is promised for it.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...blocks.boxes import within
from ...sources.base import Source
from ...sources.chunked.encoded import EncodedChunks
from ...sources.indexing import Roi
from ...sources.spec import SourceSpec
from ...wrapper.base import WrapperSource


@dataclass
class _Reading:
    """A box that is being read; its result is None where that failed."""

    roi: Roi
    voxels: Future[np.ndarray | None] = field(default_factory=Future)

    def run(self, source: Source) -> None:
        try:
            self.voxels.set_result(source._getitem(self.roi))
        except BaseException:  # noqa: BLE001 - the block that needs the voxels reads again, and fails in its own name
            self.voxels.set_result(None)

    def part(self, roi: Roi) -> np.ndarray | None:
        """Wait for a box within; the array itself if it is the whole one."""
        if any(p.start < own.start or p.stop > own.stop for p, own in zip(roi, self.roi, strict=True)):
            return None
        voxels = self.voxels.result()
        if voxels is None or roi == self.roi:
            return voxels
        return voxels[within(roi, self.roi)]


class ReadAhead(WrapperSource):
    """An input of one worker that reads the next block while this one is computed.

    It stops where a block did not read its box (it was masked, or reads elsewhere), until one does again.
    """

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self._lock = threading.Lock()
        self._here: Roi | None = None
        self._ready: _Reading | None = None
        self._next: _Reading | None = None
        self._asked = True

    def enter(self, roi: Roi, following: Roi | None) -> None:
        """Begin a block that will read a box, and reading the box of the one after it."""
        with self._lock:
            self._ready = self._next if self._next is not None and self._next.roi == roi else None
            self._next = _Reading(following) if following is not None and self._asked else None
            self._here, self._asked = roi, False
        if self._next is not None:
            # a daemon: a server that stalls must not keep a worker from ending
            threading.Thread(target=self._next.run, args=(self._source,), name="read ahead", daemon=True).start()

    def _getitem(self, roi: Roi) -> np.ndarray:
        found, whole = self._taken(roi)
        if found is None:
            return self._source._getitem(roi)
        return found if whole else found.copy()

    def _viewitem(self, roi: Roi) -> np.ndarray:
        found, _ = self._taken(roi)
        return self._source._viewitem(roi) if found is None else found

    def _taken(self, roi: Roi) -> tuple[np.ndarray | None, bool]:
        """What was read of a box, and whether it is all of it, which then is the function's own."""
        with self._lock:
            self._asked = self._asked or roi == self._here
            ready = self._ready
            whole = ready is not None and ready.roi == roi
            if whole:
                self._ready = None
        return (None if ready is None else ready.part(roi)), whole

    def encoded(self, roi: Roi) -> tuple[EncodedChunks, ...]:
        """Return the chunks of the input as they are stored: they are not read ahead."""
        return self._source.encoded(roi)

    def to_spec(self) -> SourceSpec:
        """Return that of the input."""
        return self._source.to_spec()
