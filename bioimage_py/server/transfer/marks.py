"""Marks of what no document names yet: whose a draft or a version is, and how long it has been left alone.

They lie in ``.drafts`` of the project. A draft that nobody has written into for a week goes, and so does a version that
was sealed and never named; a commit that names a version removes its mark.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import NamedTuple

from ...projects.storage.folder import Folder
from ...projects.values.names import plain
from ...system.files import listed, remove_whole, write_once
from ...system.processes import server_time

LIVES = 7 * 86400.0
"""Seconds after which a draft goes that nobody has written into."""


class Mark(NamedTuple):
    """What is known of a draft or version."""

    descriptor: str
    layer: str
    user: str
    name: str = ""

    def is_of(self, descriptor: str, layer: str, user: str) -> bool:
        """Whether it is somebody's, in a layer of a data set."""
        return self[:3] == (descriptor, layer, user)


class Marks:
    """The marks of a project.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._marks = folder.root / ".drafts"

    def note(self, id: str, mark: Mark) -> None:
        """Remember whose a draft or version is."""
        write_once(self._marks / f"{plain(id)}.json", json.dumps(mark._asdict()).encode())

    def forget(self, id: str) -> None:
        """Forget it: a document names it, or it has gone."""
        (self._marks / f"{plain(id)}.json").unlink(missing_ok=True)

    def of(self, id: str) -> Mark | None:
        """Return what is known of a draft or version; None: nothing (any more)."""
        try:
            return Mark(**json.loads((self._marks / f"{plain(id)}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def all(self) -> list[tuple[str, Mark | None]]:
        """Ids and what is known of them."""
        return [(path.stem, self.of(path.stem)) for path in listed(self._marks)]

    def rename(self, user: str, new: str) -> None:
        """Let what is somebody's be somebody else's."""
        for id, mark in self.all():
            if mark is not None and mark.user == user:
                self.note(id, mark._replace(user=new))

    def touch(self, id: str) -> None:
        """Let it live for another week."""
        with suppress(OSError):
            os.utime(self._marks / f"{plain(id)}.json")

    def sweep(self, now: float | None = None) -> int:
        """Remove drafts, and versions that no document names, which nobody has touched for a week; return how many."""
        found, count = listed(self._marks), 0
        limit = (server_time(self._marks) if found and now is None else now or 0.0) - LIVES
        for path in found:
            with suppress(OSError):
                if path.stat().st_mtime >= limit:
                    continue
                count += self.remove(path.stem)
        return count

    def remove(self, id: str) -> int:
        """Remove a draft, or a version that no document names, with its mark; return how many."""
        mark = self.of(id)
        count = 0 if mark is None else self._remove(id, mark)
        self.forget(id)
        return count

    def _remove(self, id: str, mark: Mark) -> int:
        folder = self._folder.annotations(mark.descriptor, mark.layer)
        found = [folder / f".draft-{id}.zarr"]
        with self._folder.guarding([mark.descriptor]):  # who is about to name it is waited for
            layers = (self._folder.read(mark.descriptor).document or {}).get("layers", {})
            if layers.get(mark.layer, {}).get("version") != id:
                found += folder.glob(f"{id}.*")
            there = [path for path in found if path.exists()]
            for path in there:
                remove_whole(path) if path.is_dir() else path.unlink()
        return len(there)
