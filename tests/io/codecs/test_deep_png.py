"""PNG of 16 bits a sample: damage never reaches the decoder, and what is whole is what other programs mean by it."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from struct import pack

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError
from bioimage_py.io.image_files.checked.png import SIGNATURE, checked

imagecodecs = pytest.importorskip("imagecodecs")
IMAGE = np.random.default_rng(0).integers(0, 2**16, (13, 11, 3)).astype("u2")


def chunk(kind: bytes, body: bytes) -> bytes:
    return pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(kind + body))


def interlaced(image: np.ndarray) -> bytes:
    """An image by Adam7, no row of which is filtered."""
    rows = b""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for x, y, step_x, step_y in steps:
        part = image[y::step_y, x::step_x]
        if part.size:
            rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part)
    head = pack(">IIBBBBB", image.shape[1], image.shape[0], 16, 2, 0, 0, 1)
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 5, 3), (40, 300, 4), (700, 900, 3)])
def test_whole_ones_are_read(shape: tuple[int, ...], tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 2**16, shape).astype("u2")
    cv2.imwrite(str(tmp_path / "a.png"), image[..., [2, 1, 0, *range(3, shape[2])]])
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), image)


@given(st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_interlaced_ones_of_any_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(2).integers(0, 2**16, (*size, 3)).astype("u2")
    content = interlaced(image)
    np.testing.assert_array_equal(imagecodecs.png_decode(checked(content)), image)
    np.testing.assert_array_equal(iio.imread(content), image)


def test_only_pixels_are_handed_on() -> None:
    content = imagecodecs.png_encode(IMAGE)
    more = content[:33] + chunk(b"iCCP", b"\xff" * 50) + chunk(b"zTXt", b"a") + content[33:]
    assert b"iCCP" not in checked(more)
    np.testing.assert_array_equal(imagecodecs.png_decode(checked(more)), IMAGE)


def remade(content: bytes, change: str) -> bytes:
    head, body = content[16:29], zlib.decompress(content[content.index(b"IDAT") + 4 : -16])
    width = 1 + 6 * IMAGE.shape[1]
    head, body = {
        "short": (head, body[:-1]),
        "long": (head, body + b"\0"),
        "bomb": (head, body + bytes(2**28)),
        "filter": (head, body[:width] + b"\x05" + body[width + 1 :]),
        "colour": (head[:9] + b"\x03" + head[10:], body),
        "empty": (bytes(4) + head[4:], body),
        "huge": (pack(">II", 2**31 - 1, 2**31 - 1) + head[8:], body),
    }[change]
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("change", ["short", "long", "bomb", "filter", "colour", "empty", "huge"])
def test_what_checksums_do_not_tell(change: str) -> None:
    content = remade(imagecodecs.png_encode(IMAGE), change)
    with pytest.raises(ValueError, match=r"its stream|filtered|header"):
        checked(content)
    with pytest.raises(BioimageError):
        iio.imread(content)


def test_any_change_of_a_byte_is_noticed() -> None:
    content = imagecodecs.png_encode(IMAGE)
    for seed in range(300):
        drawn = random.Random(seed)
        damaged = bytearray(content)
        damaged[drawn.randrange(len(damaged))] ^= 1 << drawn.randrange(8)
        with pytest.raises(ValueError, match=r"\w"):
            checked(bytes(damaged))
    for size in range(len(content)):
        with pytest.raises(ValueError, match=r"\w"):
            checked(content[:size])
