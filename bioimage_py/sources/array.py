"""Sources over arrays that the caller opened."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from .base import Source
from .index import Roi, Selection


class ArraySource(Source):
    def __init__(self, array: Any) -> None:
        self._array = array
        self._data = np.asarray(array)

    @property
    def array(self) -> Any:
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def writable(self) -> bool:
        return self._data.flags.writeable

    @property
    def identity(self) -> Hashable:
        base = self._data
        while isinstance(base.base, np.ndarray):
            base = base.base
        return ("numpy", base.__array_interface__["data"][0])

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self._data[roi].copy()

    def _viewitem(self, roi: Roi) -> np.ndarray:
        return self._data[roi]

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        self._data[roi] = value

    def _write(self, selection: Selection, value: np.ndarray) -> None:
        selection.pick(self._data[selection.roi])[...] = value
