"""Files that are there whole or not at all, and whose errors name them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import StorageError
from .json_text import LARGEST

_CLONE = 0x40049409
"""FICLONE of Linux."""


def real_path(path: str | os.PathLike[str]) -> str:
    """As ``os.path.realpath``, but the system follows the links where it can, ten times as fast."""
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, AttributeError):  # nothing is there; O_PATH is of Linux
        return os.path.realpath(path)
    try:
        return os.readlink(f"/proc/self/fd/{file}")
    except OSError:
        return os.path.realpath(path)
    finally:
        os.close(file)


def read_by_others(path: str, flags: int) -> int:
    """Open a new file, not what a link of its name leads to, that others never write (for ``open(opener=...)``)."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def read_by_nobody_else(path: str, flags: int) -> int:
    """As `read_by_others`, but for a secret."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def own_folder(path: Path) -> None:
    """Make a folder, and what is missing above it, in which nobody else can write, whatever the umask says."""
    if not path.is_dir():
        own_folder(path.parent)
        with suppress(FileExistsError):
            path.mkdir(mode=0o755)


def write_once(
    path: Path, data: bytes, *, sync: bool = False, opener: Callable[[str, int], int] = read_by_others
) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with naming(path), open(private, "wb", opener=opener) as file:
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


def clone(path: str, new: str) -> None:
    """Copy a file with its times; where the file system can (btrfs, xfs) it shares its bytes, and costs nothing."""
    if sys.platform == "linux":
        import fcntl

        with open(path, "rb") as old, open(new, "wb") as file, suppress(OSError):
            fcntl.ioctl(file.fileno(), _CLONE, old.fileno())
            shutil.copystat(path, new)
            return
    shutil.copy2(path, new)


def remove_whole(folder: Path) -> None:
    """Remove a folder under a name that nobody knows: a reader must not take chunks that have gone already for zeros.

    What a kill leaves of it is ``.gone-<name>`` beside it. Nothing happens where there is none.
    """
    gone = folder if folder.name.startswith(".gone-") else folder.with_name(f".gone-{folder.name}")
    with suppress(FileNotFoundError):
        os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


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


@contextmanager
def full_disk_told(place: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Say of a full disk what was to be written where, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        folder = os.path.dirname(os.path.abspath(place))
        free = f"{shutil.disk_usage(folder).free / 2**20:.1f} MiB are free" if os.path.isdir(folder) else "full"
        raise StorageError(
            f"{os.fspath(place)}: no space left for {what} ({error.strerror or error}): {free}",
            remedy=f"free space in {folder} (df -h {folder!r}) and call it again, or write to another disk",
        ) from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damaged(path: Path, error: object) -> StorageError:
    """The error of a file that no run can have written so."""
    remedy = f"if its run can be forgotten: rm -r {str(path.parent)!r}"
    return StorageError(f"{path} is damaged: {error}", remedy=remedy)


def read_small(path: Path) -> bytes:
    """The content of a description; a file of another kind, or of an absurd size, is damaged."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise damaged(path, f"it is no file of at most {LARGEST} bytes")
        return file.read()
