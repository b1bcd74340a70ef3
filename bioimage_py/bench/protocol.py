"""How a work is timed: ``python protocol.py SCRIPT WORK CASE...`` runs a work of a script that holds ``WORKS``.

Only the standard library, and run by path, so that it works in environments without this package, or with another one
of the same name. A script knows nothing of the harness: its works take a `Case` and import their libraries themselves.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

SPENT, CALLS = 2.5, 7
"""The last case is run until its calls took so many seconds, so often at most: what happens once is not its speed."""


@dataclass(frozen=True)
class Case:
    """One call of a work.

    Parameters
    ----------
    data : str
        Folder with the input arrays.
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
        """Path of an input, zarr v3 with zstd and cubic chunks."""
        return str(Path(self.data) / f"{name}.zarr")

    def text(self) -> str:
        """The case as one argument of a command line."""
        return json.dumps(asdict(self))


Work = Callable[[Case], Any]


def load(script: Path, name: str) -> ModuleType:
    """Run a script as a module of that name."""
    module = ModuleType(name)
    module.__file__ = str(script)
    exec(compile(script.read_bytes(), str(script), "exec"), vars(module))
    return module


def works_of(script: Path) -> Mapping[str, Work]:
    """What a script can do."""
    works: Mapping[str, Work] = load(script, script.stem).WORKS
    return works


def main(script: str, work: str, *cases: str) -> None:
    """Run a work on every case, one after the other, and print a JSON line for each: ``wall`` (seconds), ``result``.

    Those of the last case are the median of several calls where one is short, see `SPENT`.
    """
    # as the main module, whose functions every library that starts workers knows how to send to them
    module = load(Path(script), "__main__")
    sys.modules["__main__"] = module
    for number, text in enumerate(cases, 1):
        walls: list[float] = []
        while not walls or (number == len(cases) and len(walls) < CALLS and sum(walls) < SPENT):
            wall, result = _timed(module.WORKS[work], Case(**json.loads(text)))
            walls.append(wall)
        print(json.dumps({"wall": statistics.median(walls), "result": result}), flush=True)


def _timed(work: Work, case: Case) -> tuple[float, Any]:
    output = Path(case.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    for left in output.parent.glob(f"{output.name}*"):  # of the call before: the result, and what lies beside it
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    begin = time.perf_counter()
    result = work(case)
    return time.perf_counter() - begin, result


if __name__ == "__main__":
    main(*sys.argv[1:])
