"""Chunks as clients send them: encoded, and looked at before they are stored.

Whoever reads a stored chunk later decodes it, so one is taken only if it is a single zstd frame (RFC 8878) that says
that it holds as many bytes as the chunk has, and does hold them. Nothing larger than that is ever made of it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import KeyNotFoundError, ParameterError
from ...projects.storage.frames import decode
from ...projects.storage.packs import ARRAY

LARGEST = 64 * 2**20
"""Bytes of a chunk, decoded or not."""
_MORE = 64 * 1024
"""So much longer than its content may be what is encoded badly."""


class Grid(NamedTuple):
    """How the array of a label map or image is cut into chunks."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    size: int
    """Bytes of a chunk."""

    @classmethod
    def of(cls, array: Path) -> Grid:
        """Return that of an array in a folder.

        Raises
        ------
        ParameterError
            It is not stored as this package stores label maps, so its chunks can't be looked at.
        """
        grid = _parsed((array / "zarr.json").read_bytes())
        if grid.size > LARGEST:
            raise ParameterError(
                f"A chunk has at most {LARGEST} bytes, these have {grid.size}.", remedy="smaller chunks"
            )
        return grid

    def check_key(self, key: str) -> None:
        """Refuse a key that is none of a chunk (KeyNotFoundError)."""
        parts = key.removeprefix(f"{ARRAY}/c/").split("/")
        counts = [-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True)]
        fits = len(parts) == len(counts) and all(part.isdecimal() and part.isascii() for part in parts)
        if not (key.startswith(f"{ARRAY}/c/") and fits and all(len(part) < 17 for part in parts)) or any(
            str(int(part)) != part or int(part) >= count for part, count in zip(parts, counts, strict=True)
        ):
            raise KeyNotFoundError(f"There is no chunk {key!r}.", remedy=f"chunks along the axes: {counts}")

    @property
    def most(self) -> int:
        """Bytes that an encoded chunk has at most."""
        return self.size + self.size // 128 + _MORE


def _parsed(text: bytes) -> Grid:
    try:
        found: dict[str, Any] = json.loads(text)
        shape = tuple(int(size) for size in found["shape"])
        chunks = tuple(int(size) for size in found["chunk_grid"]["configuration"]["chunk_shape"])
        size = math.prod(chunks) * _BYTES[found["data_type"]]
        separator = found["chunk_key_encoding"]["configuration"]["separator"]
        plain = found["chunk_key_encoding"]["name"] == "default" and separator == "/"
        names = [codec["name"] for codec in found["codecs"]]
        little = all(codec.get("configuration", {}).get("endian", "little") == "little" for codec in found["codecs"])
    except (ValueError, KeyError, TypeError, AttributeError):
        names, plain, little = [], False, False
    if names != ["bytes", "zstd"] or not plain or not little or len(chunks) != len(shape) or min(chunks, default=1) < 1:
        raise ParameterError("The array is not stored as label maps are.", remedy="begin with an empty draft")
    return Grid(shape, chunks, size)


_BYTES = {f"{sign}int{8 * size}": size for sign in ("", "u") for size in (1, 2, 4, 8)}
_BYTES |= {"bool": 1, "float16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16}


def decoded(data: bytes, size: int) -> bytearray:
    """Return the content of an encoded chunk; ParameterError where it is none of a chunk of so many bytes."""
    content = bytearray(size)
    decode(data, content)
    return content
