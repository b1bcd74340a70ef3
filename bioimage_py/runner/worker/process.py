"""The process of a worker: it serves one run after the other, as its driver names them.

Lines of JSON on standard input name a run folder and the worker's name in it (of a job also its memory, and how long it
waits for a driver that has gone); each is answered by a line on standard output. Everything else that is printed goes
to the worker's log in the run folder.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...run_folder import RunFolder
from ...system.memory import keep_freed, peak_bytes

CANNOT_START = "cannot start"
STALE = "stale"
_BEGAN = time.time()


NOT_THE_DRIVERS = (
    "is not what the driver has imported: the file was edited, or the value changed, since then;"
    " importlib.reload(module) or a new Python, and the call again, run it as the file has it"
)


def versions() -> dict[str, str]:
    """What driver and worker must agree on: major and minor versions of Python, numpy and this package."""
    import numpy as np

    from ... import __version__

    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": ".".join(np.__version__.split(".")[:2]),
        "bioimage_py": __version__,
    }


def mismatch(run: Path) -> str:
    """How this process differs from the driver of a run; empty where it does not."""
    return difference(RunFolder(run).versions())


def difference(theirs: Mapping[str, str]) -> str:
    """How this process differs from one that has other versions; empty where it does not."""
    mine = versions()
    wrong = [
        f"{name} {mine.get(name)} (the driver has {theirs[name]})" for name in theirs if mine.get(name) != theirs[name]
    ]
    return "" if not wrong else f"the worker's {sys.executable} has " + ", ".join(wrong)


def serve(
    run: Path, worker: str, *, fresh: bool = True, idle_timeout: float | None = None, mem: int | None = None
) -> dict[str, Any]:
    """Work on a run until there is nothing left to do; the answer for the driver.

    A process that is not ``fresh`` has modules of earlier runs; where those are not the driver's, it is `STALE`.
    """
    try:
        _log_to(RunFolder(run).log_of(worker))
        from ...system.files import write_once
        from ...system.processes import identify

        write_once(RunFolder(run).process_of(worker), json.dumps(identify()).encode())
        opened = open_work(run, fresh=fresh, idle_timeout=idle_timeout, mem=mem)
        if isinstance(opened, dict):
            return opened
        signal.signal(signal.SIGUSR2, lambda *_: opened.leave())
    except BaseException:  # noqa: BLE001 - whatever it is, the driver has to say it
        return {"kind": CANNOT_START if fresh else STALE, "detail": traceback.format_exc()}
    try:
        return do_work(opened, worker)
    finally:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def open_work(
    run: Path, *, fresh: bool, began: float = _BEGAN, idle_timeout: float | None = None, mem: int | None = None
) -> Any:
    """The ledger of a run as a worker sees it; where the run cannot be begun here, the answer for the driver.

    ``began`` is when this process may have imported the first module of a run, where it is not ``fresh``.
    """
    try:
        if wrong := mismatch(run):
            return {"kind": CANNOT_START, "detail": wrong}
        from ..ledger.worker_side import FolderWork
        from ..planning.plan_file import read_plan

        plan = read_plan(run)
        other = ""
        if code := RunFolder(run).code():
            from ..identity.imports import other_code

            other = other_code(code, math.inf if fresh else began)
        if other:
            return {"kind": CANNOT_START if fresh else STALE, "detail": f"{other} {NOT_THE_DRIVERS}"}
        return FolderWork(run, plan, idle_timeout=idle_timeout, memory=mem)
    except BaseException:  # noqa: BLE001 - whatever it is, the driver has to say it
        return {"kind": CANNOT_START if fresh else STALE, "detail": traceback.format_exc()}


def do_work(ledger: Any, worker: str) -> dict[str, Any]:
    """Work on a run that is open until there is nothing left to do; the answer for the driver."""
    from ..ledger.fence import HeldDeadError
    from .loop import InProcess

    try:
        InProcess(ledger)(worker)
    except HeldDeadError as error:
        return {"kind": "node", "detail": str(error)}
    except BaseException:  # noqa: BLE001 - an error outside of blocks: the driver has to say it
        return {"kind": "crashed", "detail": traceback.format_exc()}
    finally:
        ledger.shut()
        # an HDF5 file that stays open shows the next run what it held when this one began
        for source in (source for stage in ledger.plan.stages for source in stage.sources):
            with suppress(Exception):  # the run is over, and what ended it is what the driver has to hear
                source.close()
    return {"kind": "finished", "detail": ""}


def _log_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    if log > 2:  # a block may have closed those of the run before
        os.close(log)


def main() -> None:
    """Serve the runs named on standard input; a process that has other modules than a driver begins anew, as itself.

    The order that it could not serve is its argument then.
    """
    keep_freed()
    answers, orders = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0))
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the log of a worker that is killed holds what it printed
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for served, line in enumerate(itertools.chain(sys.argv[1:], orders)):
        order = json.loads(line)
        run, worker = Path(order.pop("run")), order.pop("worker")
        answer = {**serve(run, worker, fresh=not served, **order), "worker": worker, "peak_bytes": peak_bytes()}
        if answer["kind"] == STALE:
            for descriptor, file in enumerate((orders, answers)):
                os.dup2(file.fileno(), descriptor)
            # a driver speaks after it was answered, so nothing that it has said is lost in a buffer
            os.execv(sys.executable, [*sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1], line])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
