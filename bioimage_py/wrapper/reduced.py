"""A coarser level of a pyramid in the voxels of the level above, for writing: what is written to it is reduced first.

So one block of the finer level completes its part of the coarser one, while it is in memory. A unit of writing of the
coarser level is `factor` times as large here, and where the level takes voxels of their own, a unit is those that
become one voxel.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..blocks.boxes import Bounds
from ..errors import RegionError, ShapeError
from ..sources.axes import Axis
from ..sources.base import Concurrency
from ..sources.chunked.unit_files import UnitFiles
from ..sources.indexing import Roi
from .base import WrapperSource, register_wrapper
from .downsample import DownsampleSource, normalize_factors

_shared = threading.local()


@contextmanager
def reduced_once() -> Iterator[None]:
    """Have values that this thread writes to several levels be reduced once; nobody may change them meanwhile."""
    _shared.made = {}
    try:
        yield
    finally:
        del _shared.made


def _reduced(value: np.ndarray, factors: tuple[int, ...], method: str) -> np.ndarray:
    made: dict[Any, tuple[np.ndarray, np.ndarray]] | None = getattr(_shared, "made", None)
    if made is None:
        return DownsampleSource(value, factors, method).view()
    key = (id(value), factors, method)
    if key not in made:  # the values are kept too, so that no other array gets their id
        made[key] = (value, DownsampleSource(value, factors, method).view())
    return made[key][1]


@register_wrapper
class ReducedOutput(WrapperSource):
    """A view of a level at the resolution of the level above: writing reduces as `DownsampleSource` does.

    Reading repeats the voxels of the level.

    Parameters
    ----------
    source : Source or array_like
        The coarser level.
    factors : int or sequence of int
        How many voxels become one, per axis.
    shape : sequence of int
        Shape of the level above.
    method : {"mean", "mode", "mode_nonzero", "stride"}, default "mean"
        See `DownsampleSource`.

    Raises
    ------
    ShapeError
        If the shape of the level is not ``ceil(shape / factors)``.
    """

    def __init__(self, source: Any, factors: int | Sequence[int], shape: Sequence[int], method: str = "mean") -> None:
        super().__init__(source)
        self._factors = normalize_factors(factors, self._source.ndim)
        self._shape = tuple(shape)
        self._method = method
        coarse = tuple(-(-size // factor) for size, factor in zip(self._shape, self._factors, strict=True))
        if coarse != self._source.shape:
            raise ShapeError(
                f"The level has the shape {self._source.shape}; {self._shape} by {self._factors} is {coarse}.",
                remedy=f"a level of shape {coarse}",
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis of the level above."""
        return self._shape

    @property
    def nbytes(self) -> int:
        """Bytes of the level: what is kept of all that is written."""
        return self._source.nbytes

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Voxels of the level above that one chunk stands for."""
        return self._units(self._source.chunks)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Voxels of the level above that one shard stands for."""
        return self._units(self._source.shards)

    @property
    def write_chunks(self) -> tuple[int, ...]:
        """Voxels of the level above that one unit of writing stands for, at least those of one voxel."""
        return self._units(self._source.write_chunks) or self._factors

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index at which a unit of writing begins."""
        return tuple(begin * factor for begin, factor in zip(self._source.grid_origin, self._factors, strict=True))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the level above."""
        finer = []
        for axis, factor in zip(self._source.axes, self._factors, strict=True):
            scale = axis.scale / factor
            shift = 0.0 if self._method == "stride" else (factor - 1) / 2 * scale
            finer.append(replace(axis, scale=scale, offset=axis.offset - shift))
        return tuple(finer)

    @property
    def writable(self) -> bool:
        """That of the level."""
        return self._source.writable

    @property
    def concurrency(self) -> Concurrency:
        """At most whole units of writing at the same time."""
        return "single-writer" if self._source.concurrency == "single-writer" else "aligned"

    def _units(self, units: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if units is None:
            return None
        return tuple(unit * factor for unit, factor in zip(units, self._factors, strict=True))

    def _inner(self, roi: Roi) -> Roi:
        """The voxels of the level that a box touches."""
        parts = zip(roi, self._factors, strict=True)
        return tuple(slice(part.start // factor, -(-part.stop // factor)) for part, factor in parts)

    def inner_box(self, box: Bounds) -> Bounds:
        """Return the box of the level that a box touches."""
        return tuple((part.start, part.stop) for part in self._inner(tuple(slice(*bounds) for bounds in box)))

    def _getitem(self, roi: Roi) -> np.ndarray:
        inner = self._inner(roi)
        region = self._source._getitem(inner)
        for axis, factor in enumerate(self._factors):
            region = np.repeat(region, factor, axis)
        begins = [part.start * factor for part, factor in zip(inner, self._factors, strict=True)]
        local = (slice(part.start - begin, part.stop - begin) for part, begin in zip(roi, begins, strict=True))
        return np.array(region[tuple(local)], order="C")

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        bounds = zip(roi, self._factors, self._shape, strict=True)
        if any(p.start % factor or (p.stop % factor and p.stop != size) for p, factor, size in bounds):
            where = ", ".join(f"{part.start}:{part.stop}" for part in roi)
            raise RegionError(
                f"The box [{where}] cuts voxels of a level that is coarser by {self._factors}.",
                remedy="write boxes that begin and end at multiples of the factors",
            )
        self._source._setitem(self._inner(roi), _reduced(value, self._factors, self._method))

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        """Return the files of the level's write units that a box touches."""
        return self._source.unit_files(self._inner(roi))

    def _params(self) -> dict[str, Any]:
        return {"factors": list(self._factors), "shape": list(self._shape), "method": self._method}
