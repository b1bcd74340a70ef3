"""Ending what a dead driver has left running."""

from __future__ import annotations

from pathlib import Path

from ...backends import backend_class
from ...errors import RunningError
from ...run_folder import RunFolder, RunState
from ...system.processes import end_named


def end_workers(folder: Path, spare: frozenset[str] = frozenset()) -> None:
    """Make sure that no worker of a run whose driver is dead lives on this host or in a queue, besides some."""
    state = RunState.read(folder)
    if not spare and state is not None and not backend_class(state.job_type).end_left(folder):
        raise RunningError(f"jobs of the run in {folder} cannot be cancelled", remedy="squeue --me")
    for path in RunFolder(folder).workers.glob("*.json"):
        if path.stem not in spare:
            end_named(path)
