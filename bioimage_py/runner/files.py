"""Files that are there whole or not at all, and whose errors name them."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import StorageError
from .journal import read_frame


def write_once(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with naming(path), open(private, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(private, path)
    except BaseException:
        private.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def made_among_others(make: Callable[[], Any]) -> None:
    """Make something in a folder that whoever leaves it empty removes: again, where that happened in between.

    ``make`` makes the folder too.
    """
    for _ in range(99):
        with suppress(FileNotFoundError, FileExistsError):  # mkdir says the latter where it sees what is gone then
            make()
            return
    make()


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where there is none, or not any more."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the errors of writing it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_whole(path: Path) -> Any:
    """The value in a file of one frame; StorageError names a torn file."""
    payload = read_frame(path, 0)
    if payload is None:
        raise StorageError(
            f"{path} is damaged: its checksum does not fit", remedy="remove the run folder and call again"
        )
    return pickle.loads(payload)
