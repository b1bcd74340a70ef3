"""A source seen at lower resolution.

Voxel ``i`` of the view stands for the voxels ``i * factor`` to ``(i + 1) * factor - 1`` of the source. The mean and the
mode of such a block sit at its centre, half a block minus half a voxel from its first voxel: the offset of the view is
``offset + (factor - 1) / 2 * scale``. Striding keeps the first voxel, and the offset. The scale is always ``scale *
factor``, whether or not the factor divides the size; the last block of an axis has the voxels that exist.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..blocks.boxes import size_of, within
from ..blocks.lattice import Lattice
from ..errors import DtypeError, ParameterError
from ..sources.along import per_axis
from ..sources.axes import Axis
from ..sources.indexing import Roi
from .base import RegriddedSource, WrapperSource, register_wrapper
from .voxel_blocks import mean_blocks, mode_blocks

METHODS = ("mean", "mode", "mode_nonzero", "stride")

# the window of the smoothing before striding ends here, in standard deviations
_TRUNCATE = 3.0

# source bytes that are reduced at once: what a processor's cache holds, and what malloc reuses
_PIECE_BYTES = 4 << 20


def normalize_factors(scale_factor: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """One whole factor of at least 1 per axis.

    Parameters
    ----------
    scale_factor : int or sequence of int
        One factor for all axes, or one per axis in array order.
    ndim : int
        Number of axes.

    Raises
    ------
    ParameterError
        For a wrong number of factors, fractions, and factors below 1.
    """
    many = isinstance(scale_factor, list | tuple) or np.ndim(scale_factor) > 0
    given: list[Any] = list(scale_factor) if many else [scale_factor] * ndim  # type: ignore[arg-type]
    if len(given) != ndim:
        raise ParameterError(
            f"scale_factor {scale_factor!r} has {len(given)} entries, the source has {ndim} axes.",
            remedy=f"scale_factor=2, or {ndim} numbers in the order of the axes",
        )
    try:
        factors = tuple(operator.index(factor) for factor in given)
    except TypeError:
        raise ParameterError(
            f"scale_factor {scale_factor!r} is not made of whole numbers.", remedy=f"scale_factor={(2,) * ndim}"
        ) from None
    if min(factors, default=1) < 1:
        raise ParameterError(
            f"scale_factor {scale_factor!r} has an entry below 1.", remedy="use 1 for an axis that is to stay as it is"
        )
    return factors


@register_wrapper
class DownsampleSource(RegriddedSource):
    """A read-only view of a source at lower resolution; its shape is ``ceil(shape / factor)``.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    factors : int or sequence of int
        How many voxels become one: along the axes of space (all axes, where the source knows none), or per axis.
    method : {"mean", "mode", "mode_nonzero", "stride"}, default "mean"
        "mean": of each block, computed exactly for integers and rounded to the nearest (halves to even); in float64
        for floats. "mode": the most frequent value of each block, the smallest of those that tie (labels of any integer
        type, exact). "mode_nonzero": the same of the values that are not 0, so that points and thin lines stay.
        "stride": the first voxel of each block.
    anti_aliasing : bool, default False
        With "stride": smooth with a Gaussian of sigma ``(factor - 1) / 2`` first (mirror border).

    Raises
    ------
    ParameterError
        For an unknown method, factors that make no sense, or `anti_aliasing` with another method than "stride".
    DtypeError
        If the method cannot use the data type.
    """

    pictured = True

    def __init__(
        self, source: Any, factors: int | Sequence[int], method: str = "mean", anti_aliasing: bool = False
    ) -> None:
        super().__init__(source)
        if method not in METHODS:
            raise ParameterError(f"The method is {method!r}.", remedy=f"use one of {METHODS}")
        if anti_aliasing and method != "stride":
            raise ParameterError(
                f"anti_aliasing does nothing for the method {method!r}.", remedy="leave it out, or use method='stride'"
            )
        kinds = {
            "mean": "buif",
            "mode": "bui",
            "mode_nonzero": "bui",
            "stride": "buif" if anti_aliasing else "buifcOSUVmM",
        }[method]
        if self._source.dtype.kind not in kinds:
            raise DtypeError(
                f"The {method} of blocks cannot be taken of dtype {self._source.dtype}.",
                remedy="use method='stride'" if method != "stride" else "use anti_aliasing=False",
            )
        given = per_axis(factors, self._source.axes, name="factors", elsewhere=1)
        self._factors = normalize_factors(given, self._source.ndim)
        self._method = method
        self._anti_aliasing = bool(anti_aliasing)

    @property
    def factors(self) -> tuple[int, ...]:
        """How many voxels become one, per axis."""
        return self._factors

    @property
    def method(self) -> str:
        """How: "mean", "mode", "mode_nonzero" or "stride"."""
        return self._method

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis, rounded up."""
        return tuple(-(-size // factor) for size, factor in zip(self._source.shape, self._factors, strict=True))

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Voxels of the view that one chunk of the source holds, where that is a whole number."""
        chunks = self._source.chunks
        if chunks is None:
            return None
        return tuple(max(1, -(-chunk // factor)) for chunk, factor in zip(chunks, self._factors, strict=True))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the source with the scale of the view, and the offset of its first voxel."""
        centred = self._method != "stride"
        return tuple(
            replace(
                axis,
                scale=axis.scale * factor,
                offset=axis.offset + ((factor - 1) / 2 * axis.scale if centred else 0.0),
            )
            for axis, factor in zip(self._source.axes, self._factors, strict=True)
        )

    def _params(self) -> dict[str, Any]:
        return {"factors": list(self._factors), "method": self._method, "anti_aliasing": self._anti_aliasing}

    def _getitem(self, roi: Roi) -> np.ndarray:
        shape = size_of(roi)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        if self._anti_aliasing:
            return self._smooth_stride(roi)
        reduce = {
            "mean": self._mean,
            "mode": self._mode,
            "mode_nonzero": self._mode,
            "stride": self._stride,
        }[self._method]
        pieces = self._pieces(roi)
        if len(pieces) == 1:
            return reduce(roi)
        result = np.empty(shape, self.dtype)
        for piece in pieces:
            result[within(piece, roi)] = reduce(piece)
        return result

    def _pieces(self, roi: Roi) -> list[Roi]:
        """Boxes to reduce one by one, cut where no chunk of the source is read twice."""
        shape = size_of(roi)
        # of a stride only what is kept is ever in memory, where the source can read with steps
        thins = self._method == "stride" and self._source.thins
        size = self.dtype.itemsize * (1 if thins else math.prod(self._factors))
        # requests to a server are made at once, and a wrapper may read more than it is asked for
        if size * math.prod(shape) <= _PIECE_BYTES or self._source.remote or isinstance(self._source, WrapperSource):
            return [roi]
        cuts = [(lattice.step or part.stop, lattice.offset) for lattice, part in zip(self._clean(), roi, strict=True)]
        size *= math.prod(min(step, n) for (step, _), n in zip(cuts, shape, strict=True))
        axes: list[list[slice]] = []
        # from the smallest pieces on, the last axes grow first, so that rows are long
        for part, n, (step, offset) in zip(reversed(roi), reversed(shape), reversed(cuts), strict=True):
            turns = max(1, min(_PIECE_BYTES // size, -(-n // step)))
            size *= turns
            step *= turns
            first = part.start + ((offset - part.start) % step or step)
            edges = [part.start, *range(first, part.stop, step), part.stop]
            axes.insert(0, [slice(*pair) for pair in itertools.pairwise(edges)])
        return list(itertools.product(*axes))

    def _clean(self) -> list[Lattice]:
        """Where a cut of the view splits no chunk of the source, per axis."""
        chunks = self._source.chunks or (1,) * self.ndim
        clean = []
        for factor, chunk, origin in zip(self._factors, chunks, self._source.grid_origin, strict=True):
            found = Lattice(factor) & Lattice(chunk, origin % chunk)
            clean.append(Lattice(found.step // factor, found.offset // factor))
        return clean

    def _inner(self, roi: Roi) -> Roi:
        """The voxels of the source that a box stands for."""
        bounds = zip(roi, self._factors, self._source.shape, strict=True)
        return tuple(slice(part.start * f, min(part.stop * f, size)) for part, f, size in bounds)

    def _mean(self, roi: Roi) -> np.ndarray:
        return mean_blocks(self._source.view(self._inner(roi)), self._factors)

    def _mode(self, roi: Roi) -> np.ndarray:
        return mode_blocks(self._source.view(self._inner(roi)), self._factors, nonzero=self._method == "mode_nonzero")

    def _stride(self, roi: Roi) -> np.ndarray:
        steps = tuple(
            slice(part.start * f, (part.stop - 1) * f + 1, f) for part, f in zip(roi, self._factors, strict=True)
        )
        return np.asarray(self._source.read(steps), order="C")

    def _smooth_stride(self, roi: Roi) -> np.ndarray:
        from scipy.ndimage import gaussian_filter1d

        sigmas = [(factor - 1) / 2 for factor in self._factors]
        outer, picked = [], []
        for part, factor, sigma, size in zip(roi, self._factors, sigmas, self._source.shape, strict=True):
            first, last, halo = part.start * factor, (part.stop - 1) * factor, math.ceil(_TRUNCATE * sigma)
            begin = max(0, first - halo)
            outer.append(slice(begin, min(size, last + halo + 1)))
            picked.append(slice(first - begin, last - begin + 1, factor))
        block = self._source.view(tuple(outer)).astype(np.float64)
        for axis, sigma in enumerate(sigmas):
            if sigma > 0:
                block = gaussian_filter1d(block, sigma, axis, mode="mirror", radius=math.ceil(_TRUNCATE * sigma))
                # later axes need not smooth what striding leaves out
                block = block[(slice(None),) * axis + (picked[axis],)]
        if self.dtype.kind in "bui":
            block = np.rint(block)
        return block.astype(self.dtype)
