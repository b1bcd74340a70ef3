"""Files that come in pieces: each is continued where it stopped, and used when it is whole and has its SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConflictError, KeyNotFoundError
from ...projects.storage.mutex import holding
from ...system.files import listed, write_once
from ...system.processes import server_time
from ..answered import working
from ..refusals import DamagedError
from .marks import LIVES

PIECE = 64 * 2**20
"""Bytes of a piece at most."""
UPLOADS = ".uploads"
"""Folder of a project in which copies of its images arrive."""
_CLAIMS = 3600.0
"""Seconds for which an upload that nobody goes on with keeps room for what is still to come of it."""


class Incoming(NamedTuple):
    """A file that is being sent: what for, by whom, and how much of it is there."""

    id: str
    about: dict[str, Any]
    offset: int
    size: int
    made: str | None

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there."""
        return self.offset == self.size


class Uploads:
    """Files that are being sent into a folder.

    Parameters
    ----------
    folder : Path
        Where they are kept meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def id_of(about: dict[str, Any], size: int, sha256: str) -> str:
        """Return the id of an upload: the same of the same for the same."""
        told = {"about": about, "size": size, "sha256": sha256}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]

    def open(self, about: dict[str, Any], size: int, sha256: str) -> Incoming:
        """Return the upload of the same for the same, or a new one."""
        told, id = {"about": about, "size": size, "sha256": sha256}, self.id_of(about, size, sha256)
        with holding(self.folder / "mutex", [id]):
            if not self._note(id).exists():
                write_once(self._note(id), json.dumps({**told, "made": None}).encode())
            if not self.is_made(id):  # who was killed here before has perhaps left the note alone
                self.path(id).touch()
        return self.of(id, about)

    def of(self, id: str, about: dict[str, Any]) -> Incoming:
        """Return an upload; KeyNotFoundError where there is none, or it is for something or somebody else."""
        try:
            told = json.loads(self._note(id).read_bytes())
        except OSError:
            told = None
        begun = told is not None and (told["made"] is not None or self.path(id).exists())
        if not begun or any(told["about"].get(key) != value for key, value in about.items()):
            raise KeyNotFoundError(f"There is no upload {id!r} (any more).", remedy="begin it again")
        there = told["size"] if told["made"] is not None else self.arrived_of(id)
        return Incoming(id, told["about"], there, told["size"], told["made"])

    def made(self, user: str, what: str) -> str | None:
        """Return the id of somebody's upload that has become something; None where there is none."""
        for path in listed(self.folder):
            with suppress(OSError, ValueError, KeyError):
                told = json.loads(path.read_bytes()) if path.suffix == ".json" else {}
                if told.get("made") == what and told["about"]["user"] == user:
                    return path.stem
        return None

    def append(self, id: str, offset: int, data: bytes) -> None:
        """Add a piece.

        Raises
        ------
        ConflictError
            It does not begin where the upload is, or would be too long.
        """
        with holding(self.folder / "mutex", [id]):
            told = json.loads(self._note(id).read_bytes())
            there = told["size"] if told["made"] is not None else self.path(id).stat().st_size
            if offset != there or offset + len(data) > told["size"]:
                raise ConflictError(
                    f"The upload is at {there} of {told['size']} bytes, the piece is {offset} to {offset + len(data)}.",
                    field="offset",
                    remedy=f"go on at {there}",
                )
            with open(self.path(id), "ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.utime(self._note(id))

    def check(self, id: str) -> Path:
        """Return the file of a whole upload, after looking at its SHA-256.

        Raises
        ------
        DamagedError
            It is another one; the upload begins anew.
        """
        told, digest = json.loads(self._note(id).read_bytes()), hashlib.sha256()
        with open(self.path(id), "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        if digest.hexdigest() != told["sha256"]:
            self.remove(id)
            raise DamagedError("What was sent has another SHA-256.", remedy="send it again")
        return self.path(id)

    def end(self, id: str, made: str) -> None:
        """Note what a whole upload has become, and remove its file."""
        told = json.loads(self._note(id).read_bytes())
        write_once(self._note(id), json.dumps({**told, "made": made}).encode(), sync=True)
        self.path(id).unlink(missing_ok=True)

    def alone(self, id: str) -> Any:
        """Hold what keeps others from ending the same upload."""
        return working(self.folder / "mutex", f"end-{id}")

    def remove(self, id: str) -> None:
        """Remove an upload."""
        for path in (self.path(id), self._note(id)):
            path.unlink(missing_ok=True)

    def all(self) -> list[dict[str, Any]]:
        """Return what is being sent, or was sent within a week: what for, and by whom."""
        found = []
        for path in listed(self.folder):
            with suppress(OSError, ValueError, KeyError):
                found += [dict(json.loads(path.read_bytes())["about"])] if path.suffix == ".json" else []
        return found

    def is_made(self, id: str) -> bool:
        """Whether an upload has become something."""
        with suppress(OSError, ValueError, KeyError):
            return json.loads(self._note(id).read_bytes())["made"] is not None
        return False

    def rename(self, user: str, new: str) -> None:
        """Let what somebody has sent be somebody else's, who cannot go on with it."""
        for path in self._notes(""):
            with suppress(OSError, ValueError, KeyError), holding(self.folder / "mutex", [path.stem]):
                told = json.loads(path.read_bytes())
                if told["about"]["user"] == user:
                    told["about"]["user"] = new
                    write_once(path, json.dumps(told).encode())

    def claimed(self, *, but: str = "") -> int:
        """Return the bytes that are kept for all uploads (but one); for those that go on, all that they will have."""
        found = self._notes(but)
        since = server_time(self.folder) - _CLAIMS if found else 0.0
        return sum(self._claim(path, since) for path in found)

    def promised(self, *, but: str = "") -> int:
        """Return the bytes that all uploads (but one) will still take: what is to come, and what is unpacked of it."""
        found = self._notes(but)
        since = server_time(self.folder) - _CLAIMS if found else 0.0
        return sum(2 * claim - self.arrived_of(path.stem) for path in found if (claim := self._goes_on(path, since)))

    def arrived_of(self, id: str) -> int:
        """Return the bytes of an upload that have arrived."""
        with suppress(FileNotFoundError):
            return self.path(id).stat().st_size
        return 0

    def _notes(self, but: str) -> list[Path]:
        return [path for path in listed(self.folder) if path.suffix == ".json" and path.stem != but]

    def _claim(self, note: Path, since: float) -> int:
        return self._goes_on(note, since) or self.arrived_of(note.stem)

    def _goes_on(self, note: Path, since: float) -> int:
        """Return the size of an upload that somebody goes on with, else 0."""
        with suppress(OSError, ValueError, KeyError):
            told = json.loads(note.read_bytes())
            if told["made"] is None and note.stat().st_mtime > since:
                return int(told["size"])
        return 0

    def sweep(self, now: float | None = None) -> list[Incoming]:
        """Remove uploads that nobody has gone on with for a week, and return them."""
        found, gone = listed(self.folder), []
        limit = (server_time(self.folder) if found and now is None else now or 0.0) - LIVES
        for path in found:
            with suppress(OSError, KeyError, ValueError):
                if path.suffix == ".json" and path.stat().st_mtime < limit:
                    told = json.loads(path.read_bytes())
                    gone.append(Incoming(path.stem, told["about"], 0, told["size"], told["made"]))
                    self.remove(path.stem)
        return gone

    def path(self, id: str) -> Path:
        """Path of what has arrived."""
        return self.folder / f"{id}.part"

    def _note(self, id: str) -> Path:
        return self.folder / f"{id}.json"
