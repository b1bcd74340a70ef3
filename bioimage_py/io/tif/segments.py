"""Tiles and strips of pages that are too large to be decoded whole, read where a region meets them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import FormatError, StorageError
from ...sources.indexing import normalize_index
from .whole import require_page

LEAST_BYTES = 4 * 2**20
"""Of a page: smaller ones are decoded whole, and kept."""


LEAST_STRIP_BYTES = 64 * 2**10
"""Of a strip: thinner ones cost more apart than they save."""


def in_segments(page: Any) -> bool:
    """Whether a page is worth being read tile by tile, or strip by strip, and is laid out so that it can be."""
    simple = page.imagedepth == 1 and (page.samplesperpixel == 1 or page.planarconfig == 1)
    return bool(simple and page.nbytes > LEAST_BYTES and (page.is_tiled or _in_strips(page)))


def _in_strips(page: Any) -> bool:
    count = len(page.dataoffsets)
    return bool(page.compression != 1 and 1 < count <= page.nbytes // LEAST_STRIP_BYTES and page.rowsperstrip > 0)


class TiledPages:
    """Equal pages in tiles or strips as one read-only array; any number of threads may read it.

    Parameters
    ----------
    lead : tuple of int
        Shape of the axes in front of the page.
    first : tifffile.TiffPage
        One of the pages.
    page_of : callable
        ``page_of(i)`` gives page i (C order over ``lead``); None where it was never written.
    close : callable
        Closes the files.
    path : str
        For messages.
    """

    thread_safe = True

    def __init__(
        self, lead: tuple[int, ...], first: Any, page_of: Callable[[int], Any], close: Callable[[], None], path: str
    ) -> None:
        self._lead = lead
        self._page_of = page_of
        self._path = path
        self.close = close
        page_shape = tuple(first.shape)
        tile = (first.tilelength, first.tilewidth) if first.is_tiled else (first.rowsperstrip, first.imagewidth)
        self._tile = (int(tile[0]), int(tile[1]))
        if min(self._tile) < 1:
            raise FormatError(f"{path} has tiles of {self._tile} voxels.", remedy="copy the file again, or restore it")
        self.shape = (*lead, *page_shape)
        self.dtype = np.dtype(first.dtype).newbyteorder("=")
        self.chunks = (*(1 for _ in lead), *map(min, self._tile, page_shape[:2]), *page_shape[2:])

    def __getitem__(self, index: Any) -> np.ndarray:
        selection = normalize_index(index, self.shape)
        count = len(self._lead)
        lead, inner = selection.roi[:count], selection.roi[count:]
        region = np.empty(selection.roi_shape, self.dtype)
        for position in np.ndindex(region.shape[:count]):
            at = [part.start + offset for part, offset in zip(lead, position, strict=True)]
            self._fill(region[position], int(np.ravel_multi_index(at, self._lead)) if at else 0, inner)
        return selection.pick(region)

    def _fill(self, region: np.ndarray, number: int, inner: tuple[slice, ...]) -> None:
        page = self._page_of(number)
        if page is None:
            require_page(self._path, number, page)
        across = math.ceil(self.shape[len(self._lead) + 1] / self._tile[1])
        spans = [
            range(part.start // side, math.ceil(part.stop / side))
            for part, side in zip(inner[:2], self._tile, strict=True)
        ]
        for row, column in itertools.product(*spans):
            tile = self._decoded(page, number, row * across + column)
            starts = (row * self._tile[0], column * self._tile[1])
            target, source = [], []
            for part, start, side in zip(inner[:2], starts, self._tile, strict=True):
                low, high = max(part.start, start), min(part.stop, start + side)
                target.append(slice(low - part.start, high - part.start))
                source.append(slice(low - start, high - start))
            if tile is None:
                region[tuple(target)] = 0
            else:
                region[tuple(target)] = tile[(*source, *inner[2:])]

    def _decoded(self, page: Any, number: int, segment: int) -> np.ndarray | None:
        """Voxels of a segment: y, x and colour, if there is any; None for one that was left out."""
        if segment >= min(len(page.dataoffsets), len(page.databytecounts)):
            raise StorageError(
                f"{self._path} is damaged: page {number} has {len(page.dataoffsets)} tiles, and tile {segment} is asked"
                " for.",
                remedy="copy the file again, or restore it",
            )
        offset, size = page.dataoffsets[segment], page.databytecounts[segment]
        if size == 0:
            return None
        handle = page.parent.filehandle
        if offset + size > handle.size:  # of a page with thousands of tiles, only those that are read are looked at
            raise StorageError(
                f"{handle.path} is cut off: tile {segment} of page {number} ends at byte {offset + size}, the file at"
                f" byte {handle.size}.",
                remedy="copy the file again, or restore it",
            )
        try:
            with handle.lock:
                handle.seek(offset)
                data = handle.read(size)
            if len(data) != size:
                raise EOFError("it ends after the end of the file")
            found, _, shape = page.decode(data, segment, jpegtables=page.jpegtables)
        except Exception as error:  # codecs raise types of their own for damaged data
            raise StorageError(
                f"Cannot read tile {segment} of page {number} of {self._path}: {type(error).__name__}: {error}",
                remedy="copy the file again, or restore it",
            ) from error
        if found is None:
            return None
        voxels: np.ndarray = np.asarray(found).reshape(shape)[0]
        return voxels if len(self.shape) - len(self._lead) > 2 else voxels[..., 0]
