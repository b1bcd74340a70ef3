"""tif files of any size that take no room: their voxels are holes, but for the pages that are given."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def sparse_tif(
    path: Path,
    pages: int,
    height: int,
    width: int,
    tile: tuple[int, int] | None = None,
    voxels: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Write a BigTIFF of 16 bits, uncompressed, page by page.

    Parameters
    ----------
    path : Path
    pages, height, width : int
    tile : tuple of int, optional
        Its sides divide height and width; None: each page is one strip.
    voxels : mapping, optional
        Of some pages, by their number.
    """
    across = 1 if tile is None else width // tile[1]
    count = 1 if tile is None else (height // tile[0]) * across
    piece = height * width * 2 // count
    tables = 16 * count if count > 1 else 0
    directory = 8 + 20 * (9 if tile is None else 10) + 8
    start = -(-(directory + tables) // 4096) * 4096
    step = start + count * piece
    with open(path, "wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 4096))
        for page in range(pages):
            base = 4096 + page * step
            first = base + start
            offsets = first if count == 1 else base + directory
            sizes = piece if count == 1 else base + directory + 8 * count
            tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
            if tile is None:
                tags += [(273, 16, 1, offsets), (277, 3, 1, 1), (278, 4, 1, height), (279, 16, 1, sizes)]
            else:
                tags += [(277, 3, 1, 1), (322, 4, 1, tile[1]), (323, 4, 1, tile[0])]
                tags += [(324, 16, count, offsets), (325, 16, count, sizes)]
            file.seek(base)
            file.write(struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *tag) for tag in tags))
            file.write(struct.pack("<Q", base + step if page + 1 < pages else 0))
            if count > 1:
                file.write((first + piece * np.arange(count, dtype="<u8")).tobytes())
                file.write(np.full(count, piece, "<u8").tobytes())
            if voxels is not None and page in voxels:
                file.seek(first)
                file.write(_stored(voxels[page], tile).tobytes())
        file.truncate(4096 + pages * step)


def _stored(page: np.ndarray, tile: tuple[int, int] | None) -> np.ndarray:
    if tile is None:
        return page.astype("<u2")
    rows, columns = (math.ceil(size / side) for size, side in zip(page.shape, tile, strict=True))
    return page.astype("<u2").reshape(rows, tile[0], columns, tile[1]).swapaxes(1, 2)


def room_of(path: Path) -> int:
    """Return the bytes that a file takes on the disk."""
    return os.stat(path).st_blocks * 512
