"""Eigenvalues of many small symmetric matrices at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK = 1 << 13
"""Matrices at a time: their intermediate results stay in the cache."""


def pairs(ndim: int) -> list[tuple[int, int]]:
    """Row and column of the entries of a symmetric matrix that stand for all: ``(0, 0), (0, 1), ..., (1, 1), ...``."""
    return [(i, j) for i in range(ndim) for j in range(i, ndim)]


def eigenvalues(entries: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Eigenvalues of symmetric matrices, to the precision of their type relative to the largest of each.

    Parameters
    ----------
    entries : sequence of ndarray
        One array for every entry, in the order of `pairs`, all of one shape and type (float32 or float64).
    out : ndarray
        Where to write: the largest eigenvalues, the second largest, ... along the first axis, each contiguous. Not
        finite where an entry is not.
    """
    flat = [entry.reshape(-1) for entry in entries]
    if not all(one.flags.c_contiguous for one in out):
        raise ValueError("each of the outputs has to be contiguous")
    for begin in range(0, flat[0].size, CHUNK):
        part = slice(begin, begin + CHUNK)
        found = _chunk([entry[part] for entry in flat], out.shape[0])
        for index, values in enumerate(found):
            out[index].reshape(-1)[part] = values


def _chunk(entries: Sequence[np.ndarray], ndim: int) -> Sequence[np.ndarray] | np.ndarray:
    if ndim == 1:
        return entries
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        if ndim == 2:
            return _two(*entries)
        if ndim == 3:
            return _three_closed(*entries) if entries[0].dtype == np.float32 else _three_rotated(*entries)
    return _general(entries, ndim)


def _two(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle, radius = (a + c) / 2, np.hypot((a - c) / 2, b)
    return middle + radius, middle - radius


def _three_closed(
    a: np.ndarray, d: np.ndarray, e: np.ndarray, b: np.ndarray, f: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cubic by its angle (Smith 1961), in double precision up to the angle.

    In single precision two equal eigenvalues, those of a line, would be wrong by the root of the rounding error.
    """
    a, d, e, b, f, c = (entry.astype(np.float64) for entry in (a, d, e, b, f, c))
    mean = a + b
    mean += c
    mean /= 3
    a -= mean
    b -= mean
    c -= mean
    dd, ee, ff = d * d, e * e, f * f
    size = dd + ee
    size += ff
    size *= 2
    size += a * a
    size += b * b
    size += c * c
    size /= 6
    det = a * b
    det *= c
    d *= e
    d *= f
    d *= 2
    det += d
    ff *= a
    det -= ff
    ee *= b
    det -= ee
    dd *= c
    det -= dd
    det /= 2
    root = np.sqrt(size)
    size *= root
    size[size == 0] = 1
    det /= size
    # sine of the angle from its cosine while that is exact
    sine = ((1 - det) * (1 + det)).astype(np.float32)
    np.sqrt(np.maximum(sine, 0, out=sine), out=sine)
    angle = np.arctan2(sine, det.astype(np.float32))
    angle /= np.float32(3)
    middle, radius = mean.astype(np.float32), root.astype(np.float32)
    along, across = np.cos(angle), np.sin(angle)
    along *= radius
    across *= radius
    across *= np.float32(3**0.5)
    first, second, third = middle + (along + along), middle - (along - across), middle - (along + across)
    # equal ones differ by rounding, and still come in order
    return first, np.minimum(first, second, out=second), np.minimum(second, third, out=third)


def _three_rotated(*entries: np.ndarray) -> list[np.ndarray]:
    """By rotations that make the entries beside the diagonal zero (Jacobi 1846): five sweeps leave nothing of them."""
    size = np.maximum.reduce([np.abs(entry) for entry in entries])
    size[size == 0] = 1
    a, d, e, b, f, c = (entry / size for entry in entries)
    for _ in range(5):
        a, b, e, f = _rotated(a, b, d, e, f)
        a, c, d, f = _rotated(a, c, e, np.zeros_like(a), f)
        e = np.zeros_like(a)
        b, c, d, e = _rotated(b, c, f, d, e)
        f = np.zeros_like(a)
    low, high = np.minimum(a, b), np.maximum(a, b)
    return [np.maximum(high, c) * size, np.maximum(low, np.minimum(high, c)) * size, np.minimum(low, c) * size]


def _rotated(p: np.ndarray, q: np.ndarray, between: np.ndarray, u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """Both diagonal entries, and their entries with the third axis, after the rotation that makes `between` zero."""
    apart = q - p
    tangent = 2 * between
    below = np.hypot(apart, tangent)
    below = apart + np.copysign(below, apart)
    below[below == 0] = 1
    tangent /= below
    cosine = 1 / np.sqrt(tangent * tangent + 1)
    sine = tangent * cosine
    step = tangent * between
    return [p - step, q + step, cosine * u - sine * v, sine * u + cosine * v]


def _general(entries: Sequence[np.ndarray], ndim: int) -> np.ndarray:
    """By LAPACK, which refuses what is not finite."""
    matrices = np.empty((entries[0].size, ndim, ndim), np.float64)
    for (i, j), entry in zip(pairs(ndim), entries, strict=True):
        matrices[:, i, j] = matrices[:, j, i] = entry
    lost = ~np.isfinite(matrices).all(axis=(1, 2))
    matrices[lost] = 0
    values = np.linalg.eigvalsh(matrices)[:, ::-1].T
    values[:, lost] = np.nan
    return values
