"""What the stages of a segmentation do with one block, as functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from ..filters.gaussian_kernel import Gaussian
from ..segmentation.flooding import Watershed, seed_mask

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Brightness:
    """How grey values are kept between the stages: smoothed, objects bright.

    8-bit values are kept as 16-bit multiples of 1/256, which loses less than the noise of any camera at half the size
    of float32; all other types become float32.

    Parameters
    ----------
    dtype : str
        Data type of the input.
    sigma : tuple of float, optional
        Standard deviations of the Gaussian in voxels; None leaves the image as it is.
    dark : bool
        Objects are darker than what is between them.
    """

    dtype: str
    sigma: tuple[float, ...] | None
    dark: bool = False

    @property
    def fixed(self) -> bool:
        """Whether values are kept as whole multiples of 1/256."""
        return np.dtype(self.dtype) in (np.dtype(np.uint8), np.dtype(np.bool_))

    @property
    def kept(self) -> np.dtype[Any]:
        """Data type between the stages."""
        return np.dtype(np.uint16 if self.fixed else np.float32)

    @property
    def halo(self) -> tuple[int, ...] | None:
        """Voxels needed around a block."""
        return None if self.sigma is None else Gaussian(self.sigma).halo

    def keep(self, value: float) -> float:
        """The kept form of a grey value, and of a kept form the grey value (`show`)."""
        return (255.0 - value if self.dark else value) * 256.0 if self.fixed else (-value if self.dark else value)

    def show(self, kept: float) -> float:
        """The grey value of a kept form."""
        value = kept / 256.0 if self.fixed else kept
        return (255.0 - value if self.fixed else -value) if self.dark else value

    def __call__(self, block: Array) -> Array:
        """Smooth one block, and turn it bright."""
        values = block.astype(np.float32) if self.sigma is None else Gaussian(self.sigma)(block)
        if not self.fixed:
            return np.negative(values).astype(np.float32, copy=False) if self.dark else values.astype(np.float32)
        values = values.astype(np.float32, copy=False)
        if self.dark:
            np.subtract(np.float32(255.0), values, out=values)
        values *= np.float32(256.0)
        # Rounding of the Gaussian may leave the range of the type by less than one step.
        np.clip(np.rint(values, out=values), 0.0, 65280.0, out=values)
        return values.astype(np.uint16)


@dataclass(frozen=True)
class Histogram:
    """Count values in bins of equal width between two limits, both included."""

    low: float
    high: float
    bins: int = 4096

    def __call__(self, block: Array, mask: Array | None = None) -> npt.NDArray[np.int64]:
        """Histogram of one block."""
        values = block.ravel() if mask is None else block[mask]
        if self.low == self.high:
            return np.bincount(np.zeros(values.size, np.int64), minlength=self.bins)
        scaled = (values.astype(np.float64) - self.low) * (self.bins / (self.high - self.low))
        where = np.clip(scaled.astype(np.int64), 0, self.bins - 1)
        return np.bincount(where, minlength=self.bins)


def add(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Merge two histograms."""
    return left + right


def otsu(histogram: Histogram, counts: npt.NDArray[np.int64]) -> float:
    """Threshold that separates two classes of a histogram best: voxels above it are the upper class.

    Otsu, "A threshold selection method from gray-level histograms", 1979.

    Parameters
    ----------
    histogram : Histogram
    counts : ndarray of int64, shape (bins,)

    Raises
    ------
    ParameterError
        If all values are in one bin.
    """
    from skimage.filters import threshold_otsu

    if np.count_nonzero(counts) < 2:
        raise ParameterError(
            "All voxels of the smoothed image have nearly the same value, so no threshold separates objects from"
            " what is between them.",
            remedy="check the image and the region, or pass threshold=...",
        )
    last = int(threshold_otsu(hist=(counts, np.arange(histogram.bins))))
    edge = histogram.low + (last + 1) * ((histogram.high - histogram.low) / histogram.bins)
    # Values on the edge between two bins belong to the upper one.
    return float(np.nextafter(np.float32(edge), np.float32(-np.inf)))


@dataclass(frozen=True)
class SeedMask:
    """The voxels of bright objects that lie further than a distance from everything dark."""

    threshold: float
    sampling: tuple[float, ...]
    distance: float

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block."""
        return tuple(math.ceil(self.distance / step) + 1 for step in self.sampling)

    def __call__(self, block: Array) -> Array:
        """Mask of one block."""
        return seed_mask(block > self.threshold, sampling=self.sampling, min_distance=self.distance)


@dataclass(frozen=True)
class Darkness:
    """Heights of bright objects: low inside, high on dark borders, and where they are flooded.

    Parameters
    ----------
    threshold : float, optional
        Leave voxels that are not above it to the background; None fills the space.
    """

    threshold: float | None = None

    def __call__(self, block: Array) -> tuple[Array, npt.NDArray[np.bool_] | None]:
        """Heights and mask of one block."""
        height = np.iinfo(block.dtype).max - block if block.dtype.kind == "u" else -block
        return height, None if self.threshold is None else block > self.threshold


@dataclass(frozen=True)
class Flood:
    """Grow seeds over heights, on a block with what surrounds it."""

    darkness: Darkness

    def __call__(self, block: Array, seeds: Array) -> Array:
        """Flood one block."""
        height, mask = self.darkness(block)
        return Watershed()(height, seeds, mask)


def physical(value: float | Sequence[float], steps: Sequence[float]) -> tuple[float, ...]:
    """Lengths in voxels per axis: one number counts in the smallest step and is the same length along all axes."""
    if np.ndim(value) == 0:
        finest = min(steps)
        return tuple(float(value) * finest / step for step in steps)  # type: ignore[arg-type]
    return tuple(float(number) for number in value)  # type: ignore[union-attr]
