"""Volumes of densely packed neurites as in electron microscopy, of any size, with known ground truth."""

from __future__ import annotations

import math
import operator
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, ShapeError
from ..sources import Axis, Source, SourceSpec, register_source
from .tissue import expose, tissue
from .tubes import tubes

# Parts of a block that fit the processor's cache; they don't change any value.
_TILE = (32, 64, 128)


@dataclass(frozen=True)
class Neurites:
    """A volume that exists only as a formula; `neurites` makes it and explains the parameters.

    Every voxel is a pure function of seed and coordinates. So any block can be made alone, in any process, blocks fit
    together whatever their grid, and a larger volume of the same seed begins with the smaller one.
    """

    shape: tuple[int, int, int]
    seed: int = 0
    spacing: tuple[float, float, float] = (30.0, 10.0, 10.0)
    diameter: float = 350.0
    noise: float = 10.0
    gaps: float = 0.007

    @property
    def raw(self) -> Source:
        """The image: read-only, uint8, bright cells with dark membranes."""
        return NeuritesSource(self, "raw")

    @property
    def labels(self) -> Source:
        """The ground truth: read-only, uint64; every voxel belongs to a neurite, there is no 0."""
        return NeuritesSource(self, "labels")

    def block(self, begin: Sequence[int], end: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Make one block.

        Parameters
        ----------
        begin, end : sequence of three int
            First voxel, and the voxel after the last one; z, y, x.

        Returns
        -------
        raw : ndarray of uint8
        labels : ndarray of uint64

        Raises
        ------
        ShapeError
            If the block leaves the volume.
        """
        if not all(0 <= b <= e <= n for b, e, n in zip(begin, end, self.shape, strict=True)):
            raise ShapeError(f"The block from {tuple(begin)} to {tuple(end)} leaves the volume of shape {self.shape}.")
        shape = [e - b for b, e in zip(begin, end, strict=True)]
        raw, labels = np.empty(shape, np.uint8), np.empty(shape, np.uint64)
        self._fill(begin, raw, labels)
        return raw, labels

    def _fill(self, begin: Sequence[int], raw: NDArray[np.uint8] | None, labels: NDArray[np.uint64] | None) -> None:
        shape = raw.shape if raw is not None else labels.shape if labels is not None else ()
        for roi in _tiles(shape):
            extent = [(b + part.start, b + part.stop) for b, part in zip(begin, roi, strict=True)]
            if raw is None and labels is not None:
                found = tubes(self.seed, extent, self.spacing, self.diameter)
                labels[roi] = np.take(found.ids, found.index)
                continue
            wide = [(low - 1, high + 1) for low, high in extent]
            found = tubes(self.seed, wide, self.spacing, self.diameter)
            if labels is not None:
                labels[roi] = np.take(found.ids, found.index[1:-1, 1:-1, 1:-1])
            if raw is not None:
                grey = tissue(self.seed, wide, self.spacing, found, self.gaps)
                raw[roi] = expose(self.seed, extent, grey, self.noise)


class NeuritesSource(Source):
    """Image or ground truth of a `Neurites` volume, made where it is read.

    Parameters
    ----------
    volume : Neurites
    content : {"raw", "labels"}
    """

    def __init__(self, volume: Neurites, content: Literal["raw", "labels"]) -> None:
        self._volume = volume
        self._content = content

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        return self._volume.shape

    @property
    def dtype(self) -> np.dtype:
        """Data type: uint8 for the image, uint64 for the labels."""
        return np.dtype(np.uint8 if self._content == "raw" else np.uint64)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes z, y, x in nanometres."""
        return tuple(Axis(n, "space", "nanometer", scale) for n, scale in zip("zyx", self._volume.spacing, strict=True))

    @property
    def identity(self) -> Hashable:
        """Equal for the same content of equal volumes."""
        return ("neurites", self._volume, self._content)

    def _getitem(self, roi: tuple[slice, ...]) -> NDArray[Any]:
        result = np.empty([part.stop - part.start for part in roi], self.dtype)
        begin = [part.start for part in roi]
        if self._content == "raw":
            self._volume._fill(begin, result, None)
        else:
            self._volume._fill(begin, None, result)
        return result

    def to_spec(self) -> SourceSpec:
        """Return the parameters of the volume, kind "neurites"."""
        return SourceSpec("neurites", params={**asdict(self._volume), "content": self._content})


def reopen(spec: SourceSpec) -> NeuritesSource:
    """Make the source of a spec of kind "neurites"."""
    arguments = spec.arguments()
    content = arguments.pop("content")
    return NeuritesSource(neurites(**arguments), content)


# By name, so that it equals the registry's own entry.
register_source(None, None, kind="neurites", reopen="bioimage_py.sample.neurites:reopen")


def neurites(
    shape: Sequence[int],
    seed: int = 0,
    *,
    spacing: Sequence[float] = (30.0, 10.0, 10.0),
    diameter: float = 350.0,
    noise: float = 10.0,
    gaps: float = 0.007,
) -> Neurites:
    """Make a volume that looks like nerve tissue in electron microscopy, with known ground truth.

    Winding neurites run in all three directions and fill the space. Their membranes are dark, with weak spots; cells
    hold mitochondria and differ in brightness; sections are thicker than pixels; voxels are noisy. Nothing is computed
    before a region is read, and the memory needed is that of the region.

    Parameters
    ----------
    shape : sequence of three int
        Size in voxels: z, y, x. Any size.
    seed : int, default 0
        Another seed gives another volume.
    spacing : sequence of three float, default (30, 10, 10)
        Size of a voxel in nm: z, y, x.
    diameter : float, default 350
        Typical diameter of a neurite in nm.
    noise : float, default 10
        Standard deviation of the noise of a voxel, in grey values.
    gaps : float, default 0.007
        Share of the membrane that is nearly invisible, 0 to below 0.5. The more, the more neurites seem to merge.

    Returns
    -------
    Neurites
        With the sources ``raw`` (uint8) and ``labels`` (uint64), inputs for any operation, and ``block(begin, end)``.

    Raises
    ------
    ShapeError
        If the shape doesn't have three positive numbers.
    ParameterError
        If another parameter is out of range.

    Examples
    --------
    >>> volume = neurites((64, 256, 256), seed=1)
    >>> volume.raw[10:12, :64, :64].shape
    (2, 64, 64)
    """
    return Neurites(
        _shape(shape),
        _integer("seed", seed),
        _spacing(spacing),
        _number("diameter", diameter, 1e-6, math.inf),
        _number("noise", noise, 0.0, math.inf),
        _number("gaps", gaps, 0.0, 0.5),
    )


def _tiles(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    for corner in np.ndindex(*(-(-size // step) for size, step in zip(shape, _TILE, strict=True))):
        yield tuple(
            slice(at * step, min((at + 1) * step, size)) for at, step, size in zip(corner, _TILE, shape, strict=True)
        )


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ParameterError(f"{name} is {value!r}, not a whole number.", remedy=f"{name}=0") from None


def _shape(shape: Any) -> tuple[int, int, int]:
    try:
        z, y, x = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        z = y = x = 0
    if min(z, y, x) < 1:
        raise ShapeError(
            f"shape is {shape!r}, not three positive whole numbers (z, y, x).", remedy="shape=(256, 256, 256)"
        )
    return z, y, x


def _spacing(spacing: Any) -> tuple[float, float, float]:
    try:
        z, y, x = (float(size) for size in spacing)
    except (TypeError, ValueError):
        z = y = x = math.nan
    if not all(math.isfinite(size) and size > 0 for size in (z, y, x)):
        raise ParameterError(
            f"spacing is {spacing!r}, not three positive numbers (nm along z, y, x).", remedy="spacing=(30, 10, 10)"
        )
    return z, y, x


def _number(name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number < high:
        default = next(field.default for field in fields(Neurites) if field.name == name)
        raise ParameterError(
            f"{name} is {value!r}, not a number from {low} to below {high}.", remedy=f"{name}={default}"
        )
    return number
