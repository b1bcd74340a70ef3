"""Documents as they are sent: text and ETag are kept for as long as the file stays the same, so most are not opened."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from pydantic_core import to_json

from ..projects.storage.folder import Folder, Stamp
from ..projects.values.merge import digest
from ..projects.values.settings import ProjectSettings, parse_settings

_BYTES = 32 * 2**20


class Sent(NamedTuple):
    """A document as it is sent."""

    text: bytes
    etag: str


class Documents:
    """The documents of a project.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Stamp, Sent]] = OrderedDict()
        self._size = 0
        self._settings: tuple[Stamp | None, ProjectSettings] | None = None

    def sent(self, name: str) -> Sent | None:
        """Return a document as it is saved now; None where there is none."""
        stamp = self._folder.stamp(name)
        with self._lock:
            found = self._kept.get(name)
            if found is not None and found[0] == stamp:
                self._kept.move_to_end(name)
                return found[1]
        document, stamp = self._folder.read(name)
        if document is None or stamp is None:
            return None
        sent = Sent(to_json(document), digest(document))
        with self._lock:
            self._forget(name)
            self._kept[name] = stamp, sent
            self._size += len(sent.text)
            while self._size > _BYTES:
                self._forget(next(iter(self._kept)))
        return sent

    def exists(self, name: str) -> bool:
        """Whether there is such a document."""
        return self._folder.stamp(name) is not None

    def settings(self) -> ProjectSettings:
        """Return the settings of the project as they are saved now."""
        stamp, kept = self._folder.stamp("project"), self._settings
        if kept is None or stamp is None or kept[0] != stamp:
            document, stamp = self._folder.read("project")
            self._settings = kept = stamp, parse_settings(document or {})
        return kept[1]

    def _forget(self, name: str) -> None:
        found = self._kept.pop(name, None)
        if found is not None:
            self._size -= len(found[1].text)
