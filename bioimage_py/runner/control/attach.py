"""Coming back to a run: follow whoever drives it; where nobody does, drive it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ...backends import get_backend
from ...errors import RunningError
from ...run_folder import RunFolder, RunState
from ..driver.driver import Left
from ..driver.progress import bar
from ..driver.report import RunReport
from ..execute import resume_run
from ..execution import Execution
from ..ledger.progress import read_progress
from ..ledger.stage_record import Results
from ..planning.plan_file import kept_plan
from ..planning.stage import Plan
from .inspect import described

FOLLOW_SECONDS = 1.0
HANDOVER_SECONDS = 150.0
"""How long a driver's job waits for the lease: the one before it may have died a moment ago."""


def attach(
    folder: str | Path,
    how: Callable[[Execution], Execution] = lambda execution: execution,
    *,
    pre_cleanup: Callable[[str], None] | None = None,
    value: Callable[[Plan, Results], Any] = lambda plan, results: results.folded(),
    keep: bool = False,
) -> RunReport:
    """Come back to a run.

    While a driver lives, its progress is shown. After that what is left is done from here: nothing, where it has come
    to its end. Jobs that live are not submitted again.

    Parameters, result and errors are those of `resume_run`.
    """
    path = Path(folder)
    while True:
        follow(path, progress=how(kept_plan(path).execution).progress)
        try:
            return resume_run(path, how, pre_cleanup=pre_cleanup, value=value, keep=keep)
        except RunningError:
            if not _driven(path):  # another run is in the way
                raise


def follow(folder: Path, *, progress: bool = True) -> None:
    """Show how far a run is until nobody drives it any more."""
    if not _driven(folder):
        return
    about = described(folder)
    total = sum(stage["blocks"] for stage in about["stages"])
    shown = bar(total, about.get("name") or folder.name, wanted=progress)
    try:
        while _driven(folder):
            if shown is not None:
                done = sum(read_progress(path).done for path in RunFolder(folder).progress.glob("[!.]*"))
                shown.update(min(done, total) - shown.n)
            sleep(FOLLOW_SECONDS)
    finally:
        if shown is not None:
            shown.close()


def _driven(folder: Path) -> bool:
    state = RunState.read(folder)
    return state is not None and state.state in ("starting", "running") and state.alive(folder)


def main() -> None:
    """Drive the run in the folder ``argv[1]``, as a job of its own.

    When it is told to end, the workers go on; where that is because its time is up, another job takes over.
    """
    folder, told = Path(sys.argv[1]), []

    def leave(number: int, _: object) -> None:
        told.append(number)
        raise Left

    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        _drive(folder)
    except Left:
        if signal.SIGUSR2 in told:
            how = kept_plan(folder).execution
            get_backend(how.job_type, how.job_config).detach(folder)


def _drive(folder: Path) -> None:
    deadline = monotonic() + HANDOVER_SECONDS
    while True:
        try:
            resume_run(folder, lambda how: how.updated({"detach": False, "progress": False}), keep=True)
            return
        except RunningError:
            if monotonic() > deadline:
                raise
        sleep(FOLLOW_SECONDS)
