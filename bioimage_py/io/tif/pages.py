"""Pages of a stack as one array, decoded whole and kept as long as there is room."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...sources.indexing import normalize_index

CACHE_BYTES = 128 * 2**20
_FEW = 8
"""Pages of which so few are kept are not, where they are read whole."""


class Pages:
    """Equal pages as one read-only array; any number of threads may read it.

    Parameters
    ----------
    lead : tuple of int
        Shape of the axes in front of the page.
    page_shape : tuple of int
        Shape of a page.
    dtype : numpy.dtype
        Data type.
    load : callable
        ``load(i)`` decodes page i (C order over ``lead``).
    close : callable
        Closes the files.
    file_of : callable, optional
        ``file_of(i)`` is the absolute path of the file that page i lies in.
    load_into : callable, optional
        ``load_into(i, out)`` decodes page i, into an array in one piece if it can.
    """

    thread_safe = True
    streamed = False
    """Whether a page is read by decoding those before it."""

    def __init__(
        self,
        lead: tuple[int, ...],
        page_shape: tuple[int, ...],
        dtype: np.dtype,
        load: Callable[[int], np.ndarray],
        close: Callable[[], None],
        file_of: Callable[[int], str] | None = None,
        load_into: Callable[[int, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._lead = lead
        self._page_shape = page_shape
        self.shape = (*lead, *page_shape)
        self.dtype = dtype
        self.chunks = (*(1 for _ in lead), *page_shape)
        self.close = close
        self._load = load
        self._load_into = load_into
        self._file_of = file_of
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        page_bytes = max(1, math.prod(page_shape) * dtype.itemsize)
        self._capacity = max(1, CACHE_BYTES // page_bytes)

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the paths of the files that the pages of a box lie in."""
        if self._file_of is None:
            return ()
        lead = [range(part.start, part.stop) for part in roi[: len(self._lead)]]
        pages = (int(np.ravel_multi_index(at, self._lead)) if at else 0 for at in itertools.product(*lead))
        return tuple(dict.fromkeys(map(self._file_of, pages)))

    def __getitem__(self, index: Any) -> np.ndarray:
        selection = normalize_index(index, self.shape)
        region = np.empty(selection.roi_shape, self.dtype)
        self.read_into(selection.roi, region)
        return selection.pick(region)

    def read_into(self, roi: tuple[slice, ...], region: np.ndarray) -> None:
        """Read a box into an array of its shape; whole pages, several or large ones, go past what is kept."""
        lead, inner = roi[: len(self._lead)], roi[len(self._lead) :]
        large = self._capacity < _FEW or math.prod(region.shape[: len(lead)]) > 1
        past = large and region.shape[len(lead) :] == self._page_shape
        for position in np.ndindex(region.shape[: len(lead)]):
            at = [part.start + offset for part, offset in zip(lead, position, strict=True)]
            number = int(np.ravel_multi_index(at, self._lead)) if at else 0
            if not past:
                region[position] = self._page(number)[inner]
                continue
            target = region[position]
            page = self._cache.get(number)
            if page is None:
                page = self._loaded(number, target if target.flags.c_contiguous else None)
            if not np.may_share_memory(page, target):
                target[...] = page

    def _page(self, number: int) -> np.ndarray:
        with self._lock:
            page = self._cache.get(number)
            if page is not None:
                self._cache.move_to_end(number)
                return page
        page = self._loaded(number)
        with self._lock:
            self._cache[number] = page
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        return page

    def _loaded(self, number: int, out: np.ndarray | None = None) -> np.ndarray:
        page = self._load(number) if out is None or self._load_into is None else self._load_into(number, out)
        if page.shape != self._page_shape:
            raise ShapeError(
                f"Page {number} has shape {page.shape}, the first one {self._page_shape}.",
                remedy="store pages of one shape in a file",
            )
        return page
