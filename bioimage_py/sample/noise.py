"""Smooth random fields without any generator state: every value is a pure function of a key and integer coordinates.

Only integer arithmetic and the four basic float operations are used on arrays (no BLAS, no transcendental functions),
so a value doesn't depend on the extent it is computed with, nor on the processor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Extent = Sequence[tuple[int, int]]
Float = NDArray[np.float32]
Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(keys: Keys) -> Keys:
    """Scramble 64-bit keys.

    Parameters
    ----------
    keys : ndarray of uint64, any shape

    Returns
    -------
    ndarray of uint64, same shape
        The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    shape = keys.shape
    # With at least one axis: numpy warns of overflow in scalars, never in arrays.
    keys = np.atleast_1d(keys) + _GOLDEN
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (keys ^ (keys >> np.uint64(31))).reshape(shape)


def stream(seed: int, number: int) -> Keys:
    """Return the key (a uint64 array of no axes) of an independent stream of random numbers of a seed."""
    base = mix(np.array(seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64))
    return mix(base ^ np.array(number, dtype=np.uint64))


def combine(keys: Keys, numbers: NDArray[np.int64]) -> Keys:
    """Derive keys from keys and signed integers that broadcast against them."""
    return mix(keys ^ mix(numbers.astype(np.uint64)))


def uniform(keys: Keys) -> NDArray[np.float64]:
    """Turn keys into numbers that are uniform in [-1, 1)."""
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def spline_weights(positions: NDArray[np.float64], order: int) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Return the first knot and the B-spline weights of positions in units of knots.

    Parameters
    ----------
    positions : ndarray of float64, any shape
    order : int
        1 (linear: two weights) or 2 (quadratic, with a continuous slope: three weights).

    Returns
    -------
    first : ndarray of int64
    weights : list of ndarray of float64
        The weights of knots ``first``, ``first + 1``, ...; they sum to 1.
    """
    if order == 1:
        first = np.floor(positions)
        t = positions - first
        return first.astype(np.int64), [1.0 - t, t]
    nearest = np.floor(positions + 0.5)
    t = positions - nearest
    weights = [0.5 * (0.5 - t) * (0.5 - t), 0.75 - t * t, 0.5 * (0.5 + t) * (0.5 + t)]
    return nearest.astype(np.int64) - 1, weights


def curves(keys: Keys, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate one smooth random curve per key.

    Parameters
    ----------
    keys : ndarray of uint64, shape (n,)
    positions : ndarray of float64, shape (m,)
        In units of the distance between knots.

    Returns
    -------
    ndarray of float64, shape (n, m)
        Values in (-1, 1).
    """
    first, weights = spline_weights(positions, 2)
    low, high = int(first[0]), int(first[-1]) + 3
    knots = uniform(combine(keys[:, None], np.arange(low, high, dtype=np.int64)[None, :]))
    total = np.zeros((keys.size, positions.size))
    for offset, weight in enumerate(weights):
        total += knots[:, first - low + offset] * weight
    return total


def _dense_weights(begin: int, end: int, period: int, order: int) -> tuple[int, Float]:
    coordinates = np.arange(begin, end, dtype=np.int64)
    # The whole part is split off in integers: far from the origin a float would lose the fraction.
    cell, rest = np.divmod(coordinates, period)
    first, weights = spline_weights((rest + 0.5) / period, order)
    first += cell
    low = int(first[0])
    dense = np.zeros((int(first[-1]) + len(weights) - low, coordinates.size), dtype=np.float32)
    for offset, weight in enumerate(weights):
        dense[first - low + offset, np.arange(coordinates.size)] = weight
    return low, dense


def field(key: Keys, extent: Extent, period: Sequence[int], order: int = 2) -> Float:
    """Evaluate a smooth random field on a region.

    Parameters
    ----------
    key : ndarray of uint64 without axes
    extent : sequence of (begin, end)
        The region in voxels, one pair per axis; any integers.
    period : sequence of int
        Distance between knots in voxels, per axis.
    order : int, default 2
        Order of the B-spline, 1 or 2.

    Returns
    -------
    ndarray of float32
        Values in [-1, 1], of the shape of the region.
    """
    axes = [_dense_weights(begin, end, p, order) for (begin, end), p in zip(extent, period, strict=True)]
    keys = key
    for axis, (low, weights) in enumerate(axes):
        numbers = np.arange(low, low + weights.shape[0], dtype=np.int64)
        keys = combine(keys[..., None], numbers.reshape((1,) * axis + (-1,)))
    values = uniform(keys).astype(np.float32)
    for axis, (_, weights) in enumerate(axes):
        values = _expand(values, axis, weights)
    return values


def _expand(values: Float, axis: int, weights: Float) -> Float:
    """Replace the knots along one axis by voxels, adding the knots in ascending order."""
    tail = (1,) * (values.ndim - axis - 1)
    knots = [np.take(values, [k], axis=axis) for k in range(values.shape[axis])]
    total: Float = knots[0] * weights[0].reshape((-1, *tail))
    product = np.empty_like(total)
    for knot, weight in zip(knots[1:], weights[1:], strict=True):
        np.multiply(knot, weight.reshape((-1, *tail)), out=product)
        total += product
    return total


def white(key: Keys, extent: Extent) -> Float:
    """Return independent noise of three axes, of mean 0, variance 1 and nearly normal distribution.

    Parameters
    ----------
    key : ndarray of uint64 without axes
    extent : sequence of three (begin, end)

    Returns
    -------
    ndarray of float32
        The sum of four bytes of a 32-bit hash of the coordinates per voxel, centred and scaled.
    """
    z, y, x = (np.arange(begin, end, dtype=np.int64) for begin, end in extent)
    rows = combine(combine(key, z)[:, None], y[None, :])
    columns = combine(key, x)
    bits = (rows >> np.uint64(32)).astype(np.uint32)[:, :, None] + (columns >> np.uint64(32)).astype(np.uint32)
    # lowbias32 of Chris Wellons' hash-prospector: 32 bits are enough here and twice as fast as 64.
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    bits ^= bits >> np.uint32(15)
    octets = bits.view(np.uint8).reshape(*bits.shape, 4)
    total = octets[..., 0].astype(np.float32)
    for n in range(1, 4):
        total += octets[..., n]
    total -= np.float32(510.0)
    total *= np.float32((4 * (256**2 - 1) / 12) ** -0.5)
    return total
