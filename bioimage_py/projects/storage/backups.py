"""Backups of edits: settings and versions before and after each, by which it is undone."""

from __future__ import annotations

from pathlib import Path

from ...errors import SourceNotFoundError
from ...system.files import write_once
from ..values.merge import Document
from ..values.names import plain
from .folder import parse, to_text


class Backups:
    """The backups of a project.

    Parameters
    ----------
    folder : Path
        Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.undone: set[str] = set()
        """Those that the open transaction has used."""

    def names(self) -> list[str]:
        """Names, which are their times, the oldest first."""
        return sorted(path.stem for path in self._folder.glob("[!.]*.json"))

    def read(self, name: str) -> Document:
        """Return a backup; SourceNotFoundError where there is none."""
        path = self._path(name)
        try:
            return parse(path.read_bytes(), path)
        except FileNotFoundError:
            raise SourceNotFoundError(
                f"There is no backup {name!r} (any more).", remedy="somebody else has undone or pruned it"
            ) from None

    def keep(self, name: str, backup: Document) -> None:
        """Write a backup; one of that name is replaced."""
        write_once(self._path(name), to_text(backup).encode(), sync=True)

    def remove(self, name: str) -> None:
        """Remove a backup; nothing happens where there is none."""
        self._path(name).unlink(missing_ok=True)

    def forget(self, before: float) -> None:
        """Remove those that are older than a time (seconds since 1970, by the file server)."""
        for name in self.names():
            if self._path(name).stat().st_mtime < before:
                self.remove(name)

    def _path(self, name: str) -> Path:
        return self._folder / f"{plain(name)}.json"
