"""Ending what a dead driver has left running."""

from __future__ import annotations

from pathlib import Path

from ...backends import Backend, backend_class
from ...errors import RunningError
from ...run_folder import RunFolder, RunState
from ...system.processes import end_named


def left_by(folder: Path) -> type[Backend]:
    """The backend whose workers a run may have left: as its state says; without one, as what lies in its folder."""
    state = RunState.read(folder)
    if state is not None:
        return backend_class(state.job_type)
    return backend_class("slurm" if RunFolder(folder).orders.is_dir() else "local")


def end_workers(folder: Path, spare: frozenset[str] = frozenset()) -> None:
    """Make sure that no worker of a run whose driver is dead lives on this host or in a queue, besides some."""
    backend = left_by(folder)
    if not spare and not backend.end_left(folder):
        raise RunningError(f"jobs of the run in {folder} cannot be cancelled", remedy=backend.end_by_hand(folder))
    for path in RunFolder(folder).workers.glob("*.json"):
        if path.stem not in spare:
            end_named(path)
