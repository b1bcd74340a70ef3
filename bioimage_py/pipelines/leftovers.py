"""What a killed script has left of the run of a call, and whose it is."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..run_folder import RunFolder, RunState
from ..runner.lease.ownership import runs_in
from ..runner.lease.roll_back import end
from ..runner.lease.stamp_places import place_of
from ..runner.lease.stamps import Stamp, folder_of, outputs_of
from ..runner.planning.stage import Stage
from ..system.json_text import parse_json
from ..system.owner import is_own
from .states import MISSING, Unit

_DATA = re.compile(r"\.(input \d+|output \d+|mask)$")
_SCRATCH = ".scratch.zarr"
"""Ending of the arrays through which HDF5 files are written."""


def under_way(definition: Mapping[str, str], unit: Unit, root: Path) -> bool:
    """Whether the run of a call is still there: in a folder of runs, or where a stamp of the data says."""
    if any(True for _ in runs_of(definition, root)):
        return True
    if unit.state() == MISSING or (place := place_of(unit.source)) is None:
        return False
    for name in place.names():
        folder = folder_of(Stamp.parse(name, place.read(name) or ""), place)
        state = None if folder is None else RunState.read(folder)
        if state is not None and _is_run_of(state, definition):
            return True
    return False


def runs_of(definition: Mapping[str, str], root: Path) -> Iterator[tuple[Path, RunState]]:
    """Runs of a call in a folder of runs that nobody drives."""
    for folder, state in runs_in(root):
        if _is_run_of(state, definition) and not state.alive(folder) and is_own(folder):
            yield folder, state


def complete_run(
    definition: Mapping[str, str], units: Sequence[Unit], root: Path, times: Mapping[str, int]
) -> str | None:
    """The folder of a run that had done all when it was killed, where the data are as it has left them.

    ``times`` are those of files before this process opened them, in nanoseconds.
    """
    for folder, state in runs_of(definition, root):
        if state.state == "complete" and all(_untouched(unit, folder, state, times) for unit in units):
            return str(folder)
    return None


def end_complete(definition: Mapping[str, str], stages: Sequence[Stage], root: Path) -> bool:
    """Remove the runs of a call that is known to be done; whether there were any."""
    found = [(folder, state) for folder, state in runs_of(definition, root) if state.state == "complete"]
    for folder, state in found:
        end(folder, state, outputs_of(stages))
        for key, value in state.definition.items():
            if ".output " in key and (path := _path_of(value)).endswith(_SCRATCH):
                shutil.rmtree(path, ignore_errors=True)
    return bool(found)


def _untouched(unit: Unit, folder: Path, state: RunState, times: Mapping[str, int]) -> bool:
    if os.path.isfile(unit.name):
        return times.get(unit.name, sys.maxsize) <= os.stat(RunFolder(folder).state).st_mtime_ns
    place = place_of(unit.source)
    return place is not None and place.read(state.run) is not None


def _is_run_of(state: RunState, definition: Mapping[str, str]) -> bool:
    """Whether a run is that of a call; one that writes a file goes through other arrays, and names its data sets."""
    wanted = {key: value for key, value in definition.items() if key != "package"}
    if state.definition == wanted:
        return True
    data = {key for key in wanted if _DATA.search(key)}
    if any(state.definition.get(key) != value for key, value in wanted.items() if key not in data):
        return False
    told = {(one["url"], str(one["key"]).strip("/")) for one in state.stamped if "key" in one}
    outputs = {(_path_of(wanted[key]), _key_of(wanted[key])) for key in data if ".output " in key}
    return bool(told) and told == outputs


def _path_of(text: str) -> str:
    return str(_innermost(text).get("path") or "")


def _key_of(text: str) -> str:
    return str(_innermost(text).get("internal_path") or "").strip("/")


def _innermost(text: str) -> dict[str, object]:
    """What a description of a source says of its storage; nothing where it is no spec."""
    try:
        spec = parse_json(text)
        while spec.get("wrapped") is not None:
            spec = spec["wrapped"]
        return dict(spec)
    except (ValueError, AttributeError, TypeError):
        return {}
