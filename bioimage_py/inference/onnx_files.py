"""What an ONNX file is made of: itself and the files that it names for its weights, which have to lie beside it.

Read here from the few fields of the format (protocol buffers, https://onnx.ai/onnx/repo-docs/IR.html) that can lead to
another file, so that nothing is opened before it is known where it lies.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

from ..errors import AccessError, FormatError, SourceNotFoundError

_LEADS_TO: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Message -> number of a field -> the message in it, for all ways to the name of a file."""
_MOST_DEPTH = 64
_PIECE = 1 << 22


def files_of(path: Path) -> list[Path]:
    """An ONNX file and those with weights that it names, each once.

    Raises
    ------
    SourceNotFoundError
        One is not there.
    FormatError
        It is no ONNX file.
    AccessError
        It names a file outside of its folder.
    """
    if not path.is_file():
        raise SourceNotFoundError(f"there is no model {path}", remedy=f"ls {path.parent}")
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise FormatError(f"{path} is empty", remedy="export the model again")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        names = sorted(set(_locations(data, "model", 0)))
    except (IndexError, ValueError) as error:
        raise FormatError(f"{path} is no ONNX file: {error}", remedy="export the model again") from None
    return [path, *(_beside(path, name) for name in names)]


def digest_of(paths: list[Path]) -> str:
    """Digest of the content of files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(f"{path.stat().st_size}:".encode())
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def _beside(path: Path, name: str) -> Path:
    """The file of a name in the folder of a model, links followed."""
    folder = path.parent.resolve()
    if "\0" in name or "\\" in name or not (found := (folder / name).resolve()).is_relative_to(folder):
        raise AccessError(
            f"{path} names weights in {name!r}, which is not in its folder {folder}",
            remedy="save the model with its weights beside it: onnx.save(model, path, save_as_external_data=True)",
        )
    if not found.is_file():
        raise SourceNotFoundError(f"{path} names weights in {found}, which is not there", remedy=f"ls {folder}")
    return found


def _locations(data: memoryview, message: str, depth: int) -> Iterator[str]:
    """Names of files in a message and all that it leads to."""
    if depth > _MOST_DEPTH:
        raise ValueError("it is nested too deep")
    leads = _LEADS_TO[message]
    for number, content in _fields(data):
        if (inner := leads.get(number)) == "entry":
            entry = dict(_fields(content))
            if bytes(entry.get(1, b"")) == b"location":
                yield bytes(entry.get(2, b"")).decode()
        elif inner is not None:
            yield from _locations(content, inner, depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Fields of a message that have a length: number and content."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        kind = key & 7
        if kind == 2:
            size, at = _number(data, at)
            if at + size > len(data):
                raise ValueError("it ends in the middle of a field")
            yield key >> 3, data[at : at + size]
            at += size
        elif kind == 0:
            _, at = _number(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field has the unknown kind {kind}")
    if at > len(data):
        raise ValueError("it ends in the middle of a field")


def _number(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has more than ten bytes")
