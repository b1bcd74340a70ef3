"""EM-like volumes of winding, densely packed neurites with known ground truth, of any size, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import Extent, Float, field, stream, uniform, white, combine
from .tubes import Tubes, tubes

_TILE = (32, 64, 128)


@dataclass(frozen=True)
class Neurites:
    shape: tuple[int, int, int]
    seed: int = 0
    spacing: tuple[float, float, float] = (30.0, 10.0, 10.0)
    diameter: float = 300.0
    noise: float = 10.0
    gaps: float = 2.0

    def block(self, begin, end):
        shape = tuple(e - b for b, e in zip(begin, end))
        raw = np.empty(shape, np.uint8)
        labels = np.empty(shape, np.uint64)
        for z in range(0, shape[0], _TILE[0]):
            for y in range(0, shape[1], _TILE[1]):
                for x in range(0, shape[2], _TILE[2]):
                    roi = tuple(slice(o, min(o + t, n)) for o, t, n in zip((z, y, x), _TILE, shape))
                    extent = [(b + s.start, b + s.stop) for b, s in zip(begin, roi)]
                    self._tile(extent, raw[roi], labels[roi])
        return raw, labels

    def _tile(self, extent, raw, labels):
        wide = [(b - 1, e + 1) for b, e in extent]
        t = tubes(self.seed, wide, self.spacing, self.diameter)
        v = self._tissue(wide, t)
        v = _blur(v)
        n = white(stream(self.seed, 9), extent)
        n *= np.float32(self.noise)
        v += n
        np.clip(v, 0, 255, out=v)
        np.rint(v, out=v)
        raw[...] = v
        np.take(t.ids, t.index[1:-1, 1:-1, 1:-1], out=labels) if labels.flags.c_contiguous else labels.__setitem__(..., t.ids[t.index[1:-1,1:-1,1:-1]])

    def _field(self, number, extent, size, order=2):
        period = [max(1, round(size / s)) for s in self.spacing]
        return field(stream(self.seed, number), extent, period, order)

    def _tissue(self, extent: Extent, t: Tubes) -> Float:
        shade = (168.0 + 14.0 * uniform(t.keys)).astype(np.float32)
        v = np.take(shade, t.index)
        f = self._field(5, extent, 25.0, 1)
        f *= np.float32(16)
        v += f
        f = self._field(6, extent, 90.0, 1)
        f *= np.float32(22)
        v += f
        # mitochondria
        m = t.organelle
        inside = np.clip((m + 6) / 12, 0, 1)
        inside *= np.clip((t.border - 22) / 10, 0, 1)
        rim = np.clip(1 - np.abs(m - 8) / 12, 0, 1)
        v += inside * (np.float32(-38) - 40 * rim)
        # membranes
        dark = np.clip((22 - t.border) / 14, 0, 1)
        gap = self._field(7, extent, 130.0, 2)
        gap = np.clip((gap - self.gaps) / 0.1, 0, 1) * np.float32(0.85)
        dark *= 1 - gap
        v += dark * (np.float32(62) - v)
        z = np.arange(*extent[0])
        v += (3 * uniform(combine(stream(self.seed, 8), z))).astype(np.float32)[:, None, None]
        return v


def _blur(v: Float) -> Float:
    for axis, side in ((0, 0.2), (1, 0.25), (2, 0.25)):
        n = v.shape[axis]
        a, b, c = (np.moveaxis(v, axis, 0)[k: n - 2 + k] for k in range(3))
        o = a + c
        o *= np.float32(side)
        o += b * np.float32(1 - 2 * side)
        v = np.moveaxis(o, 0, axis)
    return v
