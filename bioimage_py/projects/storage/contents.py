"""The files that a project is: all that would be missed if it were copied without them."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ...errors import FormatError
from .events import EVENTS

_LEFT_OUT = {"locks", "transactions", EVENTS, "index.json"}
"""Caches, what is of this moment only, and what belongs to the server that a project is on."""
_PART = re.compile(r"[\w-][\w.-]{0,200}", re.ASCII)
_DEEPEST = 24
_IGNORE = ".gitignore"


def files_of(root: Path, after: str = "") -> Iterator[str]:
    """Paths of a project's files, relative and with "/", in an order that stays; those after one of them."""
    yield from _below(root, "", tuple(after.split("/")) if after else ())


def _below(root: Path, inner: str, after: tuple[str, ...]) -> Iterator[str]:
    for entry in sorted(os.scandir(root / inner), key=lambda one: one.name):
        name = f"{inner}/{entry.name}" if inner else entry.name
        top = not inner
        hidden = entry.name.startswith(".") and not (top and entry.name == _IGNORE)
        if hidden or (top and entry.name in _LEFT_OUT) or (after and entry.name < after[0]) or entry.is_symlink():
            continue
        same = bool(after) and entry.name == after[0]
        if entry.is_dir(follow_symlinks=False):
            yield from _below(root, name, after[1:] if same else ())
        elif not same:
            yield name


def checked_path(name: str) -> str:
    """Return the path of a project's file that somebody else has named.

    Raises
    ------
    FormatError
        It is none.
    """
    parts = name.split("/")
    plain = all(_PART.fullmatch(part) for part in parts) or name == _IGNORE
    if not plain or len(parts) > _DEEPEST or parts[0] in _LEFT_OUT:
        raise FormatError(f"{name!r} is no file of a project.", remedy="send what lies in a project's folder")
    return name


def pack(root: Path, names: Iterator[str], target: Path) -> None:
    """Write files into a tar file; the same files always give the same bytes."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            with open(root / name, "rb") as file:
                entry.size = os.fstat(file.fileno()).st_size
                tar.addfile(entry, file)


def unpack(source: Path, folder: Path) -> None:
    """Unpack a tar file that somebody has sent: plain files of a project, nothing else.

    Raises
    ------
    FormatError
        It is no such file.
    """
    seen = set()
    try:
        with tarfile.open(source, "r:") as tar:
            for entry in tar:
                name = checked_path(entry.name)
                if not entry.isreg() or entry.sparse is not None or name in seen:
                    raise FormatError(f"{name!r} is no plain file, or there twice.", remedy="send plain files")
                seen.add(name)
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(entry)
                assert content is not None
                with open(path, "xb") as file:
                    while piece := content.read(1 << 20):
                        file.write(piece)
                if path.stat().st_size != entry.size:
                    raise FormatError(f"{name!r} was cut off.", remedy="send it again")
    except (tarfile.TarError, OSError, EOFError, UnicodeError) as error:
        raise FormatError(f"That is no archive of a project: {error}", remedy="send a tar file") from None
