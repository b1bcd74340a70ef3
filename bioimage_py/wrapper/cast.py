"""A source in another data type."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import data_type
from ..errors import ReadOnlyError
from ..sources.casting import Casting, convert_values
from ..sources.chunked.unit_files import UnitFiles
from ..sources.indexing import Roi, Selection
from .base import WrapperSource, register_wrapper


@register_wrapper
class CastSource(WrapperSource):
    """A view in another data type, for reading and, where the inner source is writable, writing.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    dtype : dtype_like
        Data type of the view.
    casting : {"checked", "unsafe"}, default "checked"
        A value that the other data type cannot hold is a ValueRangeError, or converted as ``ndarray.astype`` does;
        reading converts to `dtype`, writing back to that of the inner source. Floats become integers by truncation.

    Raises
    ------
    ParameterError
        If `casting` is unknown.
    """

    pictured = True

    def __init__(self, source: Any, dtype: Any, casting: Casting = "checked") -> None:
        super().__init__(source)
        self._dtype: np.dtype = data_type(dtype)
        self._casting = casting
        convert_values(np.zeros(0, self._dtype), self._dtype, casting)

    @property
    def dtype(self) -> np.dtype:
        """Data type of the view."""
        return self._dtype

    @property
    def writable(self) -> bool:
        """That of the inner source."""
        return self._source.writable

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self._converted(np.asarray(self._source._getitem(roi)), self._dtype, roi)

    def _viewitem(self, roi: Roi) -> np.ndarray:
        return self._converted(np.asarray(self._source._viewitem(roi)), self._dtype, roi)

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        self._source._setitem(roi, self._converted(value, self._source.dtype, roi))

    def _converted(self, region: np.ndarray, dtype: np.dtype, roi: Roi) -> np.ndarray:
        return convert_values(region, dtype, self._casting, Selection(roi, region.shape))

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        """Return the files of the storage's write units that a box touches."""
        return self._source.unit_files(roi)

    def stored_units(self) -> np.ndarray | None:
        """Return the positions of the storage's units that have a file."""
        return self._source.stored_units()

    def _params(self) -> dict[str, Any]:
        return {"dtype": self._dtype.str, "casting": self._casting}

    def _read_only(self) -> ReadOnlyError:
        return self._source._read_only()
