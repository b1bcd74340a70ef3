"""Frames: pieces of a file, each with its length and checksum, so that a torn one is seen."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ..errors import ParameterError, StorageError
from .files import damaged
from .json_text import parse_json

LARGEST = 2**32
"""Bytes of a payload, whose length is written with 32 bits."""


_HEADER = struct.Struct("<II")


def frame(payload: bytes) -> bytes:
    """A payload with its length and checksum in front.

    Raises
    ------
    ParameterError
        If it has 4 GiB or more.
    """
    if len(payload) >= LARGEST:
        raise ParameterError(
            f"a value that the function returned has {len(payload)} bytes, {LARGEST - 1} at most can be kept",
            remedy="write it to an output array, or use smaller blocks",
        )
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Payloads of a file of frames with the offsets at which they end; stops before a torn or damaged one."""
    with open(path, "rb") as file:
        yield from frames_in(file, start, os.fstat(file.fileno()).st_size if stop is None else stop)


def frames_in(file: IO[bytes], start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Payloads of the frames between two places of an open file, with the offsets at which they end."""
    file.seek(start)
    while start + _HEADER.size <= stop:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return
        length, checksum = _HEADER.unpack(head)
        if start + _HEADER.size + length > stop:
            return
        payload = file.read(length)
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        start += _HEADER.size + length
        yield start, payload


def read_frame(path: Path, offset: int) -> bytes | None:
    """The payload of the frame at an offset; None where it is torn or missing."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        return next((payload for _, payload in frames_in(file, offset, os.fstat(file.fileno()).st_size)), None)
    return None


def read_payload(path: Path) -> bytes:
    """What lies in a file of one frame; StorageError names a torn file."""
    payload = read_frame(path, 0)
    if payload is None:
        raise StorageError(
            f"{path} is damaged: its checksum does not fit", remedy="remove the run folder and call again"
        )
    return payload


def read_told(path: Path) -> Any:
    """The JSON value in a file of one frame, None where there is no file."""
    if not path.exists():
        return None
    try:
        return parse_json(read_payload(path))
    except ValueError as error:
        raise damaged(path, error) from error
