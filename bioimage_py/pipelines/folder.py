"""The folder of a pipeline: what it says of itself, who works in it, and what it knows."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from .. import __version__
from ..errors import ParameterError, RunningError, StorageError
from ..system.files import read_small, write_once
from ..system.json_text import parse_json
from .records import CallRecord, Records

FORMAT = 1
ABOUT = "pipeline.json"


def script_path() -> str:
    """The script that runs; nothing in an interactive session."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return "" if path is None else os.path.abspath(path)


def check_folder(path: Path) -> dict[str, Any]:
    """What the folder of a pipeline says of itself, nothing where it is new; ParameterError where it is another one."""
    about = path / ABOUT
    if not about.exists():
        if any(not entry.name.startswith(".") and entry.name != "lock" for entry in path.iterdir()):
            raise ParameterError(
                f"{path} holds other files, and is no folder of a pipeline", remedy="name a folder that is not there"
            )
        return {}
    return read_about(path)


def empty_folder(path: Path) -> None:
    """Remove all that a pipeline has left; only for who has the lock."""
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in ("lock", ABOUT):  # what says whose it is goes last
            entry.unlink()


def write_about(path: Path, about: Mapping[str, Any]) -> None:
    """Write what a pipeline's folder says of itself."""
    write_once(path / ABOUT, json.dumps({"format": FORMAT, "version": __version__, **about}).encode())


def read_about(path: Path) -> dict[str, Any]:
    """What a pipeline's folder says of itself; StorageError where it cannot be read by this version."""
    about = path / ABOUT
    try:
        told = parse_json(read_small(about))
        if told["format"] != FORMAT or not isinstance(told["script"], str):
            raise ValueError(f"its format is {told['format']!r}, this version reads {FORMAT}")
        return dict(told)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{about} cannot be read: {error}", remedy=f"rm -r {str(path)!r}") from error


_driving = False
HANDOVER_SECONDS = 60.0
"""How long a job waits for the process that it takes over from."""


@contextmanager
def driving() -> Iterator[None]:
    """Be the job that runs a script: what is to be detached is."""
    global _driving
    _driving = True
    try:
        yield
    finally:
        _driving = False


def is_driver() -> bool:
    """Whether this process is the job that runs a script."""
    return _driving


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Hold the lock of a folder; it ends with the process, however that ends.

    Raises
    ------
    RunningError
        Another process holds it.
    """
    import fcntl

    deadline = monotonic() + (HANDOVER_SECONDS if _driving else 0.0)
    with (path / "lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > deadline:
                    raise RunningError(
                        f"another process is working in {path}",
                        remedy="wait for it, or give this pipeline another folder",
                    ) from None
                sleep(0.1)
        yield


def known_calls(path: Path) -> list[CallRecord]:
    """Calls that a pipeline's folder knows, in the order in which they were first made."""
    return list(Records(path / "calls"))


def bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
