"""A run's folder: what lies in it, and the state that `run.json` holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import (
    AccessError,
    StorageError,
)
from .system.files import read_small, write_once
from .system.json_text import parse_json
from .system.processes import lives
from .wrapper.base import Box


@dataclass
class RunState:
    """The content of ``run.json``.

    ``state`` is "starting", "running", "detached" (its driver has left, workers may go on), "failed" (to be continued),
    "complete" (its caller may not have seen it), "forgotten" (what it has changed is being put back) or "finished";
    ``blocks`` are the numbers of blocks of its stages, ``repeatable`` says whether these give the same result when they
    are run again, ``kept_nothing`` whether it changes data in place whose old content is not kept, ``adopted`` are
    workers of earlier sessions that go on in this one, ``stamped`` where the arrays lie that carry its stamps.
    """

    run: str
    name: str
    state: str
    created: int
    driver: dict[str, Any]
    versions: dict[str, str]
    claims: list[Claim]
    definition: dict[str, str]
    inputs: dict[str, str]
    blocks: list[int]
    repeatable: bool
    sessions: int = 1
    adopted: list[str] = field(default_factory=list)
    kept_nothing: bool = False
    stamped: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> RunState | None:
        """State of the run in a folder; None where there is none yet.

        Raises
        ------
        StorageError
            The file is damaged.
        """
        path = folder / "run.json"
        try:
            data = parse_json(read_small(path))
            claims = [Claim(c["storage"], tuple((b, e) for b, e in c["box"])) for c in data.pop("claims")]
            state = cls(claims=claims, **data)
            state._check()
            return state
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise AccessError(f"{path} may not be read: {error.strerror}", remedy=f"ls -ld {folder}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StorageError(
                f"{path} is damaged: {error}", remedy=f"if its run can be forgotten: rm -r {str(folder)!r}"
            ) from error

    def _check(self) -> None:
        """Refuse what no run writes: names that lead elsewhere, processes that are none."""
        process = {"host": str, "boot": str, "pid": int, "start": str}
        wrong = [name for name, kind in process.items() if not isinstance(self.driver[name], kind)]
        if wrong or self.driver["pid"] < 1 or not isinstance(self.state, str) or not isinstance(self.name, str):
            raise ValueError(f"its driver is {self.driver}, its state {self.state!r}, its name {self.name!r}")
        if not isinstance(self.run, str) or "/" in self.run or self.run in ("", ".", ".."):
            raise ValueError(f"the run is called {self.run!r}")
        numbers = [self.created, self.sessions, *self.blocks]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError(f"{numbers} are not all whole numbers")
        if not all(isinstance(told, dict) and isinstance(told.get("url"), str) for told in self.stamped):
            raise ValueError(f"its stamps are at {self.stamped}")

    def write(self, folder: Path, *, new: bool = False) -> None:
        """Publish; StorageError where the folder was removed meanwhile, for a half must not look like a whole."""
        if not new and not (folder / "run.json").exists():
            raise folder_gone(self.run, folder, self.stamped)
        # written three times a run: no indent, for which Python encodes value by value
        write_once(folder / "run.json", json.dumps({**vars(self), "claims": [vars(c) for c in self.claims]}).encode())

    def alive(self, folder: Path) -> bool:
        """Whether its driver can be alive and has not let go of it."""
        heartbeat = folder / "driver.alive"
        return self.state != "finished" and heartbeat.exists() and lives(self.driver, heartbeat)

    @property
    def order(self) -> tuple[int, str]:
        """Orders runs by age."""
        return self.created, self.run


def folder_gone(run: str, folder: Path, stamped: Sequence[dict[str, Any]]) -> StorageError:
    """What a driver says whose run folder was removed while it ran."""
    return StorageError(
        f"the folder of the run {run!r}, {folder}, was removed while it ran; what it has written into"
        f" {', '.join(told['url'] for told in stamped) or 'its outputs'} is a part of the result",
        remedy="restore the data; or, where they may be taken as they are, bioimage-py runs forget ARRAY; call again",
    )


STAMPS = ".bioimage_py.runs"


@dataclass(frozen=True)
class Claim:
    """What a run writes: a storage and a box of whole write units in it, in voxels of the storage."""

    storage: str
    box: Box

    def overlaps(self, other: Claim) -> bool:
        """Whether two claims share a voxel."""
        return self.storage == other.storage and boxes_overlap(self.box, other.box)


def boxes_overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share a voxel, or have different axes."""
    return len(one) != len(other) or all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))


PART = "part.pkl"
"""Plan of a call that asks for some blocks of a larger run; the run's own plan stays."""


_FILLED = "scratch.filled"


COPYING = "scratch.copying"
"""Says in a run folder that the outputs may hold a part of the result; its time, when they were last written."""


_COPIED = "scratch.copied"


LATE_SECONDS = 60.0
"""What is written so much later than the last sign of a run was not written by it."""


def copying_began(folder: Path) -> bool:
    """Whether a run died while it copied in, so that all it had done before is on the disk."""
    return (folder / COPYING).exists() and not (folder / COPYING).read_text()
