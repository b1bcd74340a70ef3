"""Where blocks may be cut: the lattice of write-unit borders that all outputs share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lattice:
    """Clean cuts of one axis: positions ``offset + k * step``; step 0 means no cut is clean.

    A cut is clean where it splits no write unit of any output.
    """

    step: int
    offset: int = 0

    def clean(self, position: int) -> bool:
        """Whether a cut at this position splits no write unit."""
        return self.step > 0 and (position - self.offset) % self.step == 0

    def __and__(self, other: Lattice) -> Lattice:
        """Positions that are clean in both (Chinese remainder theorem)."""
        if not self.step or not other.step:
            return Lattice(0)
        divisor = math.gcd(self.step, other.step)
        gap = other.offset - self.offset
        if gap % divisor:
            return Lattice(0)
        modulus = other.step // divisor
        turns = (gap // divisor * pow(self.step // divisor, -1, modulus)) % modulus if modulus > 1 else 0
        step = self.step // divisor * other.step
        return Lattice(step, (self.offset + self.step * turns) % step)


def common_lattice(
    units: Iterable[tuple[Sequence[int] | None, Sequence[int]]], shape: Sequence[int]
) -> tuple[Lattice, ...]:
    """Lattice per axis shared by all outputs.

    Parameters
    ----------
    units : iterable of (write unit shape or None, grid origin)
        One entry an output, in its own axes; leading axes beyond the volume's (channels) do not count. None as the
        unit means that every voxel can be written alone.
    shape : sequence of int
        Shape of the volume.
    """
    lattices = [Lattice(1)] * len(shape)
    for unit, origin in units:
        if unit is None:
            continue
        lead = len(unit) - len(shape)
        for axis in range(len(shape)):
            size, start = int(unit[lead + axis]), int(origin[lead + axis])
            lattices[axis] &= Lattice(size, start % size)
    return tuple(lattices)
