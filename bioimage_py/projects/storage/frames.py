"""Encoded chunks of label maps: each is one zstd frame (RFC 8878) that tells how much it holds."""

from __future__ import annotations

from typing import Any

from numcodecs.zstd import decompress

from ...errors import ParameterError

_MAGIC = b"\x28\xb5\x2f\xfd"


def decode(data: bytes, content: Any) -> None:
    """Decode a chunk into what has its size: nothing larger is ever made of it.

    Parameters
    ----------
    data : bytes
    content : buffer
        Contiguous, writable.

    Raises
    ------
    ParameterError
        It is none of a chunk of so many bytes.
    """
    told, size = _told(data), memoryview(content).nbytes
    if told != size:
        what = "is no zstd frame that tells its size" if told is None else f"holds {told} bytes"
        raise ParameterError(f"The chunk {what}; it takes {size}.", remedy="send it as zarr stores it")
    try:
        decompress(data, content)
    except (RuntimeError, ValueError) as error:
        raise ParameterError(f"The chunk does not decode: {error}", remedy="send it again") from None


def _told(data: bytes) -> int | None:
    """Return the size of the content that the header of a frame tells; None where it does not."""
    if len(data) < 6 or data[:4] != _MAGIC:
        return None
    flags = data[4]
    single = bool(flags & 0x20)
    length = (1 if single else 0, 2, 4, 8)[flags >> 6]
    at = 5 + (not single)
    if not length or flags & 3 or len(data) < at + length:  # no size, or a dictionary
        return None
    found = int.from_bytes(data[at : at + length], "little")
    return found + 256 if length == 2 else found
