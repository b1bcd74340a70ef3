"""Encoded chunks that travel together: a line of JSON with their keys and sizes, then their bytes.

A chunk of no bytes stands for zeros: none that is stored is empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...errors import ParameterError

ARRAY = "0"
"""Key of the array in the group of a label map, with which the keys of its chunks begin."""
PACK_BYTES = 4 * 2**20
"""Of the chunks that are sent together; one that is larger travels alone."""
LINE_BYTES = 64 * 2**10
PACK_CHUNKS = 256


class Pack(NamedTuple):
    """Chunks that travel together."""

    keys: list[str]
    body: bytes


def packs(chunks: Mapping[str, bytes]) -> Iterator[Pack]:
    """Packs of chunks by key, each of at most `PACK_BYTES`, unless it is of one chunk."""
    some: dict[str, bytes] = {}
    size = 0
    for key, data in chunks.items():
        if some and (size + len(data) > PACK_BYTES or len(some) == PACK_CHUNKS):
            yield packed(some)
            some, size = {}, 0
        some[key] = data
        size += len(data)
    if some:
        yield packed(some)


def packed(chunks: Mapping[str, bytes]) -> Pack:
    """Return chunks by key as one pack."""
    sizes = {key: len(data) for key, data in chunks.items()}
    return Pack(list(chunks), b"".join((json.dumps(sizes).encode(), b"\n", *chunks.values())))


def unpacked(body: bytes) -> dict[str, bytes]:
    """Return the chunks of a body by key.

    Raises
    ------
    ParameterError
        It is none, or its line says something else than what comes after it.
    """
    end = body.find(b"\n", 0, LINE_BYTES)
    try:
        sizes = json.loads(body[: max(end, 0)])
    except (ValueError, RecursionError):
        sizes = None
    if not isinstance(sizes, dict) or not all(type(size) is int and size >= 0 for size in sizes.values()):
        raise ParameterError("The body begins with no line of keys and sizes.", remedy="see docs/server.md")
    if end + 1 + sum(sizes.values()) != len(body):
        raise ParameterError(
            f"The line tells of {sum(sizes.values())} bytes, {len(body) - end - 1} follow.", remedy="send it again"
        )
    found, at = {}, end + 1
    for key, size in sizes.items():
        found[key] = body[at : at + size]
        at += size
    return found
