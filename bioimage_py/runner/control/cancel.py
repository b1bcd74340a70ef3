"""Ending and forgetting runs, from another process than their driver's."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from ...errors import ConfigError, RunningError
from ...run_folder import RunFolder, RunState
from ...sources.file import open_source
from ...system.owner import check_own
from ...system.processes import visible
from ..lease.end_workers import end_workers, left_by
from ..lease.roll_back import discard, put_back
from ..lease.stamp_places import InFolder, Place, place_of
from ..lease.stamps import Stamp, folder_of, is_copy
from .inspect import RunStatus, status_of


def cancel_run(folder: str | os.PathLike[str], *, force: bool = False, timeout: float = 30.0) -> RunStatus | None:
    """End a living run as Ctrl-C does, and the jobs of one; what is done stays done, and the same call goes on later.

    Parameters
    ----------
    folder : path
        The run folder.
    force : bool
        Kill the whole process that drives it (a notebook's kernel, for example) and its workers at once.
    timeout : float
        Seconds to wait; a local run ends when the blocks that run are through.

    Returns
    -------
    RunStatus or None
        What is left; None if the run finished meanwhile and its folder is gone.

    Raises
    ------
    ConfigError
        It does not live and has no jobs, or it lives on another host.
    AccessError
        Its folder is not one's own.
    RunningError
        It still lived after the timeout.
    """
    path = Path(folder)
    if not RunFolder(path).state.exists() and RunFolder(path).orders.is_dir():  # only its jobs are left
        check_own(path)
        end_workers(path)
        return None
    status = status_of(path)
    check_own(path)  # what it says of processes and jobs is ended
    state = RunState.read(path)
    backend = left_by(path)
    if backend.left_workers(path) and (not status.alive or backend.left_driver(path)):
        backend.end_left(path)
        return _wait(path, status, True, timeout)
    if not status.alive:
        raise ConfigError(
            f"the run {status.run!r} is not running: it is {status.state}", remedy=f"bioimage-py runs show {path}"
        )
    if state is not None and not visible(state.driver):
        elsewhere = status.host != socket.gethostname()
        where = f"on {status.host}" if elsewhere else "in the container that the call was made in"
        raise ConfigError(
            f"the run {status.run!r} is driven by process {status.pid} on {status.host}, which cannot be reached from"
            f" here ({socket.gethostname()}): it is another machine or container",
            remedy=f"{where}: bioimage-py runs cancel {path}",
        )
    try:
        os.kill(status.pid, signal.SIGKILL if force else _gentle(status.pid))
    except PermissionError as error:
        raise ConfigError(
            f"process {status.pid}, which drives the run {status.run!r}, is another user's", remedy="ask them"
        ) from error
    except ProcessLookupError:
        pass
    return _wait(path, status, force, timeout)


def _gentle(pid: int) -> signal.Signals:
    """What ends a process as Ctrl-C does; shells start background processes so that they ignore that."""
    with suppress(OSError), open(f"/proc/{pid}/status") as file:
        ignored = int(next(line for line in file if line.startswith("SigIgn:")).split()[1], 16)
        if ignored >> (signal.SIGINT - 1) & 1:
            return signal.SIGTERM
    return signal.SIGINT


def _wait(path: Path, status: RunStatus, force: bool, timeout: float) -> RunStatus | None:
    deadline = monotonic() + timeout
    while True:
        state = RunState.read(path)
        if state is None or state.state == "finished":
            return None
        if not state.alive(path):
            break
        if monotonic() > deadline:
            raise RunningError(
                f"process {status.pid} was told to end {timeout:g} s ago and still drives the run {status.run!r}"
                + ("" if force else ": it waits for the blocks that are running"),
                remedy="wait, or bioimage-py runs cancel --force",
            )
        sleep(0.05)
    if state.state in ("starting", "running", "detached"):  # the process has died at once, or left its workers
        end_workers(path)
    try:
        return status_of(path)
    except (ConfigError, FileNotFoundError):  # it has finished just now
        return None


def forget_run(folder: str | os.PathLike[str]) -> None:
    """Remove a dead run: its folder, with what it kept of data that it changed in place, and its stamps in the outputs.

    Raises
    ------
    RunningError
        It lives.
    ConfigError
        There is no run.
    AccessError
        Its folder is not one's own: nothing it names is ended or removed.
    """
    path = Path(folder)
    status = status_of(path)
    if status.alive:
        raise RunningError(
            f"the run {status.run!r} is driven by process {status.pid} on {status.host}",
            remedy=f"bioimage-py runs cancel {path}",
        )
    check_own(path)
    end_workers(path)
    if (state := RunState.read(path)) is None:
        return
    if status.state == "forgotten":
        put_back(path, state)
    discard(path, state)


def forget_lost(path: str | os.PathLike[str], key: str | None = None) -> list[str]:
    """Take an array as it is: remove the stamps of runs that are not here any more.

    Parameters
    ----------
    path : path
        The array: its folder, its URL, or the container of `key`.
    key : str, optional
        Key of the array in its container.

    Returns
    -------
    list of str
        Names of the runs that are forgotten.

    Raises
    ------
    ConfigError
        One of its runs is here, or its storage has no stamps.
    """
    place = _stamps_at(path, key)
    stamps = [Stamp.parse(name, place.read(name) or "") for name in place.names()]
    for stamp in stamps:
        if not is_copy(stamp, place) and (folder := folder_of(stamp, place)) is not None:
            raise ConfigError(
                f"the run {stamp.run!r}, which changes {place.url}, is not lost: its folder is {folder}",
                remedy=f"the same call continues it; bioimage-py runs clean {folder} --yes forgets it",
            )
    for stamp in stamps:
        place.remove(stamp.run)
    return [stamp.run for stamp in stamps]


def _stamps_at(path: str | os.PathLike[str], key: str | None) -> Place:
    folder = InFolder(os.fspath(path))
    if key is None and folder.names():
        return folder
    source = open_source(path, key, mode="r+")
    place = place_of(source)
    if place is None:
        raise ConfigError(f"{source!r} is of a storage that carries no stamps of runs", remedy="bioimage-py runs list")
    return place
