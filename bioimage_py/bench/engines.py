"""Who does the works: this package on two backends, and the floor below it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .protocol import works_of

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Engine:
    """Who does a work.

    Parameters
    ----------
    name : str
    script : path
        Holds the works, see `protocol`.
    backend : str
        Of those that the script knows.
    """

    name: str
    script: Path
    backend: str

    def does(self, work: str) -> bool:
        """Whether it has this work."""
        return work in _works(self.script)

    def python(self, out: Path) -> Path:
        """Return the interpreter that runs the script; environments are made below `out`."""
        return Path(sys.executable)

    def packages(self) -> tuple[str, ...]:
        """Name and version of what it is, where it is another package."""
        return ()

    def prepare(self, data: Path) -> None:
        """Make what it needs of the inputs in a folder, before anything is timed."""

    def result(self, output: Path, key: str = "") -> Any:
        """Open the result at a path, or a level of it, as an array in C order."""
        import zarr

        return zarr.open_array(str(output / key), mode="r")


@cache
def _works(script: Path) -> tuple[str, ...]:
    return tuple(works_of(script))


OWN = (
    Engine("ours", HERE / "works.py", "local"),
    Engine("ours subprocess", HERE / "works.py", "subprocess"),
    Engine("floor", HERE / "floor.py", "threads"),
)
