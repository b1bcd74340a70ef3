"""The geometry of the sample volume: a packing of winding tubes, each voxel owned by the nearest centre line.

Centre lines run along z, y and x on the three lattices of a cubic rod packing, in which no two rods meet (O'Keeffe and
Andersson, "Rod packings and crystal chemistry", 1977); they are jittered and wander smoothly, and the space itself
is warped. The cell of a line (the points that are nearer to it than to any other, minus a radius that varies along the
line) is a tube that runs through the whole volume, in touch with its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import Extent, Float, Keys, combine, curves, field, stream, uniform

_SHIFT = ((0.5, 0.0), (0.0, 0.5), (0.5, 0.0))  # where the lattice of each family begins, in lattice constants
_MISSING = 0.1  # share of lines that are left out, which makes their neighbours thick
_JITTER, _WANDER, _RADIUS, _VARICOSITY = 0.1, 0.22, 0.1, 0.08  # amplitudes in lattice constants
_REACH = 1.1  # lines further away than this many lattice constants never own a voxel
_WARP, _WARP_PERIOD = 1.2, 3.0  # amplitude and knot distance of the warp, in lattice constants
_MITOCHONDRION_CELL, _MITOCHONDRION_SHARE = 1400.0, 0.4  # nm along a line, share of these stretches that hold one


@dataclass(frozen=True)
class Tubes:
    """The tubes of one region.

    Attributes
    ----------
    index : ndarray of int16, shape of the region
        Index of the owner of each voxel in `ids` and `keys`.
    ids : ndarray of uint64, shape (n,)
        Labels; the same tube has the same label in every region.
    keys : ndarray of uint64, shape (n,)
        One random key per tube.
    border : ndarray of float32, shape of the region
        Distance to the border between the owner and the next tube, about, in nm.
    organelle : ndarray of float32, shape of the region
        Depth below the surface of the mitochondrion in nm, negative outside.
    """

    index: NDArray[np.int16]
    ids: NDArray[np.uint64]
    keys: Keys
    border: Float
    organelle: Float


@dataclass(frozen=True)
class _Line:
    """One centre line in one region: curves along its axis `along`, positions across it in nm."""

    along: int
    key: np.uint64
    id: np.uint64
    centre: tuple[NDArray[np.float64], NDArray[np.float64]]
    radius: NDArray[np.float64]
    organelle: NDArray[np.float64] | None


def _pair(i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Number the pairs of integers (Szudzik's pairing of the interleaved signs): small for small pairs, never equal."""
    a, b = (np.where(n >= 0, 2 * n, -2 * n - 1).astype(np.uint64) for n in (i, j))
    return np.where(a >= b, a * a + a + b, b * b + a)


def _organelles(keys: Keys, s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radius of the mitochondrion of each line at positions `s` (nm); -inf where there is none."""
    cell = np.floor(s / _MITOCHONDRION_CELL)
    low = int(cell[0])
    cells = np.arange(low, int(cell[-1]) + 1, dtype=np.int64)
    draws = combine(keys[:, None], cells[None, :])
    present, half, centre, radius = (uniform(combine(draws, np.array(n, dtype=np.int64))) for n in range(4))
    half = 350.0 + 150.0 * half
    middle = (cells + 0.5) * _MITOCHONDRION_CELL + centre * (0.5 * _MITOCHONDRION_CELL - half)
    at = cell.astype(np.int64) - low
    offset = (s - middle[:, at]) / half[:, at]
    inside = (np.abs(offset) < 1.0) & (present[:, at] < 2.0 * _MITOCHONDRION_SHARE - 1.0)
    profile = np.sqrt(np.maximum(1.0 - offset * offset * offset * offset, 0.0))
    return np.where(inside, (75.0 + 20.0 * radius[:, at]) * profile, -np.inf)


def _lines(
    seed: int, extent: Extent, spacing: Sequence[float], lattice: float, warp: Sequence[tuple[float, float]]
) -> Iterator[_Line]:
    """Yield, in a fixed order, every line that can come within reach of the region."""
    reach = (_REACH + _JITTER + _WANDER) * lattice
    for along in range(3):
        p, q = (axis for axis in range(3) if axis != along)
        ranges = []
        for axis, shift in zip((p, q), _SHIFT[along], strict=True):
            begin, end = (n * spacing[axis] for n in extent[axis])
            low = (begin + warp[axis][0] - reach) / lattice - shift
            high = (end + warp[axis][1] + reach) / lattice - shift
            ranges.append(np.arange(int(np.floor(low)), int(np.ceil(high)) + 1, dtype=np.int64))
        i, j = (n.ravel() for n in np.meshgrid(*ranges, indexing="ij"))
        keys = combine(combine(combine(stream(seed, 0), np.array([along])), i), j)
        kept = uniform(combine(keys, np.array(-1))) >= 2.0 * _MISSING - 1.0
        i, j, keys = i[kept], j[kept], keys[kept]
        s = (np.arange(*extent[along], dtype=np.float64) + 0.5) * spacing[along]
        draws = [uniform(combine(keys, np.array([-2 - n]))) for n in range(3)]
        wander = [curves(combine(keys, np.array([-5 - n])), s / (1.5 * lattice)) for n in range(3)]
        centres = [
            (n + shift + _JITTER * draw)[:, None] * lattice + _WANDER * lattice * curve
            for n, shift, draw, curve in zip((i, j), _SHIFT[along], draws, wander, strict=False)
        ]
        radius = lattice * (_RADIUS * draws[2][:, None] + _VARICOSITY * wander[2])
        organelles = _organelles(keys, s)
        ids = _pair(i, j) * np.uint64(3) + np.uint64(along + 1)
        for n in range(keys.size):
            organelle = organelles[n] if np.isfinite(organelles[n]).any() else None
            yield _Line(along, keys[n], ids[n], (centres[0][n], centres[1][n]), radius[n], organelle)


def _along(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return values.reshape([-1 if n == axis else 1 for n in range(3)])


def tubes(seed: int, extent: Extent, spacing: Sequence[float], diameter: float) -> Tubes:
    """Compute the tubes of a region.

    Parameters
    ----------
    seed : int
    extent : sequence of three (begin, end)
        Region in voxels, z, y, x; any integers.
    spacing : sequence of three float
        Size of a voxel in nm, z, y, x.
    diameter : float
        Typical diameter of a tube in nm.

    Returns
    -------
    Tubes
    """
    # Three tubes share the square of the lattice constant.
    lattice = diameter * (0.25 * np.pi * 3.0) ** 0.5
    shape = tuple(end - begin for begin, end in extent)
    period = [max(1, round(_WARP_PERIOD * lattice / size)) for size in spacing]
    warp = [field(stream(seed, 1 + axis), extent, period) for axis in range(3)]
    for displacement in warp:
        displacement *= np.float32(_WARP * lattice)
    bounds = [(float(displacement.min()), float(displacement.max())) for displacement in warp]
    coordinates = [
        (np.arange(*pair, dtype=np.float64) + 0.5) * size for pair, size in zip(extent, spacing, strict=True)
    ]

    limit = np.float32(_REACH * lattice)
    nearest, second = np.full(shape, limit), np.full(shape, limit)
    index = np.zeros(shape, dtype=np.int16)
    organelle = np.full(shape, -np.inf, dtype=np.float32)
    owners: list[_Line] = []
    scratch = [np.empty(shape, dtype=np.float32) for _ in range(2)] + [np.empty(shape, dtype=bool)]
    for line in _lines(seed, extent, spacing, lattice, bounds):
        box = _box(line, coordinates, bounds, float(limit))
        if box is None:
            continue
        number = len(owners)
        owners.append(line)
        distance, square, closer = (array[box] for array in scratch)
        _distance(line, coordinates, warp, box, distance, square)
        first, next_ = nearest[box], second[box]
        np.less(distance, first, out=closer)
        np.maximum(first, distance, out=square)
        np.minimum(next_, square, out=next_)
        np.minimum(first, distance, out=first)
        np.copyto(index[box], np.int16(number), where=closer)
    for number, line in enumerate(owners):
        if line.organelle is None:
            continue
        box = _box(line, coordinates, bounds, float(limit))
        assert box is not None
        depth = (
            _along(line.organelle - line.radius, line.along)[_only(box, line.along)].astype(np.float32) - nearest[box]
        )
        np.copyto(organelle[box], depth, where=index[box] == number)
    second -= nearest
    second *= np.float32(0.5)
    ids = np.array([line.id for line in owners], dtype=np.uint64)
    return Tubes(index, ids, np.array([line.key for line in owners], dtype=np.uint64), second, organelle)


def _only(box: tuple[slice, ...], axis: int) -> tuple[slice, ...]:
    return tuple(part if n == axis else slice(None) for n, part in enumerate(box))


def _box(
    line: _Line, coordinates: Sequence[NDArray[np.float64]], bounds: Sequence[tuple[float, float]], limit: float
) -> tuple[slice, ...] | None:
    """Return the part of the region outside of which no voxel is within reach of the line."""
    box = [slice(None)] * 3
    reach = limit + float(line.radius.max())
    across = [axis for axis in range(3) if axis != line.along]
    for axis, centre in zip(across, line.centre, strict=True):
        low = float(centre.min()) - reach - bounds[axis][1]
        high = float(centre.max()) + reach - bounds[axis][0]
        begin, end = np.searchsorted(coordinates[axis], (low, high))
        if begin >= end:
            return None
        box[axis] = slice(int(begin), int(end))
    return tuple(box)


def _distance(
    line: _Line,
    coordinates: Sequence[NDArray[np.float64]],
    warp: Sequence[Float],
    box: tuple[slice, ...],
    out: Float,
    square: Float,
) -> None:
    """Write the distance to the line minus its radius into `out`."""
    p, q = (axis for axis in range(3) if axis != line.along)
    targets = (out, square)
    for axis, centre, target in zip((p, q), line.centre, targets, strict=True):
        # The large numbers cancel in float64, before anything becomes float32.
        relative = _along(coordinates[axis], axis)[_only(box, axis)] - _along(centre, line.along)
        np.add(warp[axis][box], relative.astype(np.float32), out=target)
        np.multiply(target, target, out=target)
    np.add(out, square, out=out)
    np.sqrt(out, out=out)
    np.subtract(out, _along(line.radius, line.along).astype(np.float32), out=out)
