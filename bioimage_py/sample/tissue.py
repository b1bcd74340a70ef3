"""The look of the sample volume: grey values of cytoplasm, membranes and mitochondria, as in electron microscopy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from .noise import Extent, Float, combine, field, stream, uniform, white
from .tubes import Tubes

# Streams of random numbers; 0 to 3 belong to the tubes.
_GRAIN, _CLOUDS, _GAPS, _SECTIONS, _NOISE = range(4, 9)
_CYTOPLASM, _MEMBRANE = 168.0, 62.0  # grey values
_MEMBRANE_OUTER, _MEMBRANE_INNER = 25.0, 11.0  # nm from the border: where it begins to darken, where it is darkest
_FIELD_SPREAD = 0.235  # standard deviation of a quadratic `field`


def tissue(seed: int, extent: Extent, spacing: Sequence[float], tubes: Tubes, gaps: float) -> Float:
    """Return grey values before blur and noise, float32 of the shape of the region.

    Parameters
    ----------
    seed : int
    extent : sequence of three (begin, end)
        Region in voxels, z, y, x.
    spacing : sequence of three float
        Size of a voxel in nm.
    tubes : Tubes
        The tubes of the region.
    gaps : float
        Share of the membrane that is nearly invisible, 0 to 0.5.
    """

    def texture(number: int, size: float, order: int) -> Float:
        return field(stream(seed, number), extent, [max(1, round(size / step)) for step in spacing], order)

    shades = (_CYTOPLASM + 14.0 * uniform(tubes.keys)).astype(np.float32)
    grey = np.take(shades, tubes.index)
    for number, size, amplitude in ((_GRAIN, 25.0, 16.0), (_CLOUDS, 90.0, 22.0)):
        values = texture(number, size, 1)
        values *= np.float32(amplitude)
        grey += values
    _add_mitochondria(grey, tubes)
    dark = _ramp(tubes.border, _MEMBRANE_OUTER, _MEMBRANE_INNER)
    if gaps > 0:
        threshold = _FIELD_SPREAD * NormalDist().inv_cdf(1.0 - gaps)
        visible = _ramp(texture(_GAPS, 70.0, 2), threshold + 0.08, threshold)
        visible *= np.float32(0.85)
        visible += np.float32(0.15)
        dark *= visible
    grey += dark * (np.float32(_MEMBRANE) - grey)
    sections = uniform(combine(stream(seed, _SECTIONS), np.arange(*extent[0], dtype=np.int64)))
    grey += (3.0 * sections).astype(np.float32)[:, None, None]
    return grey


def expose(seed: int, extent: Extent, grey: Float, noise: float) -> Float:
    """Blur grey values a little, and add noise.

    Parameters
    ----------
    seed : int
    extent : sequence of three (begin, end)
        Region of the result, one voxel smaller than that of `grey` on every side.
    grey : ndarray of float32
    noise : float
        Standard deviation of the noise of a voxel.

    Returns
    -------
    ndarray of float32
        Whole numbers from 0 to 255.
    """
    # Most of the blur lies in the sections: a section is thick, and its light is gathered over several pixels.
    for axis, side in ((0, 0.2), (1, 0.25), (2, 0.25)):
        low, middle, high = (grey[_shifted(axis, offset, grey.shape[axis])] for offset in range(3))
        grey = low + high
        grey *= np.float32(side)
        grey += middle * np.float32(1.0 - 2.0 * side)
    if noise > 0:
        values = white(stream(seed, _NOISE), extent)
        values *= np.float32(noise)
        grey += values
    np.clip(grey, 0.0, 255.0, out=grey)
    return np.rint(grey, out=grey)


def _shifted(axis: int, offset: int, size: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(offset, size - 2 + offset),)


def _ramp(values: Float, zero: float, one: float) -> Float:
    """Map values linearly so that `zero` becomes 0 and `one` becomes 1, and clip there."""
    result = values - np.float32(zero)
    result *= np.float32(1.0 / (one - zero))
    return np.clip(result, 0.0, 1.0, out=result)


def _add_mitochondria(grey: Float, tubes: Tubes) -> None:
    if not np.isfinite(tubes.organelle).any():
        return
    depth = np.maximum(tubes.organelle, np.float32(-100.0))
    inside = _ramp(depth, -6.0, 6.0)
    # Where the tube is too thin for it, the membrane of the tube stays whole.
    inside *= _ramp(tubes.border, 22.0, 32.0)
    rim = np.abs(depth - np.float32(8.0))
    shade = _ramp(rim, 12.0, 0.0)
    shade *= np.float32(-30.0)
    shade -= np.float32(22.0)
    grey += inside * shade
