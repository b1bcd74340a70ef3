"""PNG of 16 bits a sample, made safe for a decoder that fails badly: what it gets is whole.

All that it could fail over is checked here: lengths, checksums, order of chunks, and the compressed stream, which has
to end where the image does. Of chunks that say something else than the pixels none is handed on.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from struct import pack, unpack
from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Begin and step along x and y of each pass of an interlaced image."""
_PIECE = 2**20
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def checked(content: bytes) -> bytes:
    """Return a PNG file with the pixels of another one, and nothing else.

    Raises
    ------
    ValueError
        It is cut off or damaged, or has not 16 bits a sample.
    """
    head = b""
    data: list[bytes] = []
    for kind, body in _chunks(content):
        if kind == b"IHDR":
            head = body
        elif kind == b"IDAT":
            data.append(body)
    width, height, depth, colour, method, filtering, interlaced = unpack(">IIBBBBB", head)
    if depth != 16 or colour not in _CHANNELS or method or filtering or interlaced > 1 or not width or not height:
        raise ValueError("its header says what no such image has")
    _check_stream(data, list(_rows(width, height, _CHANNELS[colour] * 2, bool(interlaced))))
    return SIGNATURE + b"".join([_chunk(b"IHDR", head), *(_chunk(b"IDAT", one) for one in data), _chunk(b"IEND", b"")])


def without_texts(content: bytes) -> bytes:
    """Return a PNG file without its texts and its profile of colours.

    Raises
    ------
    ValueError
        It is cut off or damaged.
    """
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in _chunks(content) if kind not in _TEXTS)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk, of which the first is the header."""
    at, ended, seen = len(SIGNATURE), False, False
    if not content.startswith(SIGNATURE):
        raise ValueError("it does not begin as PNG does")
    while at + 12 <= len(content):
        (size,) = unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        if len(body) < size or content[at + 8 + size : at + 12 + size] != pack(">I", zlib.crc32(kind + body)):
            raise ValueError(f"the checksum of its chunk at byte {at} is another one")
        if (kind == b"IHDR") == seen or (kind == b"IHDR" and size != 13):
            raise ValueError("it has not one header, at its begin")
        seen = True
        yield kind, body
        at += 12 + size
        if ended := kind == b"IEND":
            break
    if not ended:
        raise ValueError("it has no end")


def _rows(width: int, height: int, pixel: int, interlaced: bool) -> Iterator[tuple[int, int]]:
    """Number and bytes of the rows of each pass, with the byte that says how a row is filtered."""
    for x, y, step_x, step_y in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            yield rows, 1 + columns * pixel


def _check_stream(data: list[bytes], passes: list[tuple[int, int]]) -> None:
    """Look at the stream piece by piece: its length, its checksum, and how each row is filtered."""
    left = sum(rows * size for rows, size in passes)
    sizes = itertools.chain.from_iterable(itertools.repeat(size, rows) for rows, size in passes)
    stream, until = zlib.decompressobj(), 0  # bytes to the next row
    try:
        for piece in _inflated(stream, data):
            left -= len(piece)
            if left < 0:
                break
            while until < len(piece):
                if piece[until] > 4:
                    raise ValueError(f"a row is filtered by {piece[until]}")
                until += next(sizes)
            until -= len(piece)
    except zlib.error as error:
        raise ValueError(f"its stream: {error}") from error
    if left or not stream.eof:
        raise ValueError("its stream has not the length of the image")


def _inflated(stream: Any, data: list[bytes]) -> Iterator[bytes]:
    for part in data:
        piece = stream.decompress(part, _PIECE)
        yield piece
        while stream.unconsumed_tail or len(piece) == _PIECE:
            piece = stream.decompress(stream.unconsumed_tail, _PIECE)
            yield piece


def _chunk(kind: bytes, body: bytes) -> bytes:
    return pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(kind + body))
