"""How an engine is timed: every engine is a script `python ENGINE.py WORK CASE...` that knows nothing of the harness.

Only the standard library, so that it runs in every peer's environment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One call of a work.

    Parameters
    ----------
    data : str
        Folder with the input arrays, zarr v3, zstd, cubic chunks.
    output : str
        Where the result goes; nothing is there yet.
    block, chunk : int
        Edge lengths in voxels.
    workers : int
    backend : str
        Of those that the engine has.
    """

    data: str
    output: str
    block: int
    chunk: int
    workers: int
    backend: str

    def input(self, name: str) -> str:
        """Path of an input array."""
        return str(Path(self.data) / f"{name}.zarr")

    def text(self) -> str:
        """The case as one argument of a command line."""
        return json.dumps(asdict(self))


Work = Callable[[Case], Any]


def main(works: Mapping[str, Work]) -> None:
    """Run a work on every case of the command line, one after the other, and print a JSON line for each.

    The first case is small: imports, first-call set-up and the start of workers show in it, and are not repeated.
    """
    if sys.argv[1] == "--works":
        print(json.dumps(sorted(works)))
        return
    work = works[sys.argv[1]]
    for text in sys.argv[2:]:
        case = Case(**json.loads(text))
        Path(case.output).parent.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        result = work(case)
        print(json.dumps({"wall": time.perf_counter() - begin, "result": result}), flush=True)
