"""A run that waits in the middle for a file, so that one can look at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bioimage_py as bp
from bioimage_py.errors import RunnerError
from bioimage_py.runner.control.inspect import find_runs
from bioimage_py.runner.control.watching import Look, Watching

SHAPE = (16, 32)


class Gate:
    """A function of blocks of which some wait for a file, and one may fail."""

    def __init__(self, folder: Path, last: int, bad: int = -1) -> None:
        self.gate, self.last, self.bad = folder / "gate", last, bad

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == self.bad and not (self.gate.parent / "mended").exists():
            raise ValueError("block has a <b>hole</b>")
        while block.id >= self.last and not self.gate.exists():
            time.sleep(0.01)
        outputs[0][bp.to_roi(block)] = 1


@contextmanager
def going(folder: Path, last: int, bad: int = -1, **how: Any) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A run of 32 blocks in another thread, of which those from `last` on wait; its folder, and what lets it end."""
    array = bp.io.create_array(folder / "v.zarr", "out", shape=SHAPE, chunks=(4, 4), dtype="u1")
    raised: list[BaseException] = []

    def work() -> None:
        try:
            bp.map_blocks(
                Gate(folder, last, bad), [], [array], block_shape=4, name="job", progress=False, retries=0,
                num_workers=2, job_type="local", **how,
            )  # fmt: skip
        except RunnerError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def end() -> None:
        (folder / "gate").touch()
        thread.join()

    try:
        yield until(lambda: find_runs([folder]))[0].folder, end
    finally:
        end()


def until(condition: Callable[[], Any]) -> Any:
    """What a condition says once it says something; it is asked for some minutes at most."""
    begin = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - begin < 150, "waited too long"
        time.sleep(0.02)
    return found


def look_when(watching: Watching, condition: Callable[[Look], bool]) -> Look:
    def one() -> Look | None:
        look = watching.look()
        return look if condition(look) else None

    return until(one)
