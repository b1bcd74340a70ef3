"""Block shapes: checking the user's, choosing one, and naming the nearest safe one."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

from ..errors import BlockShapeError
from .lattice import Lattice

TARGET_VOXELS = 2**21
"""Voxels of an automatic block: 128 cubed."""


def normalize_block_shape(block_shape: object, ndim: int) -> tuple[int, ...]:
    """Block shape per axis; one number serves all axes.

    Raises
    ------
    BlockShapeError
        Zero, negative, fractional, or of the wrong length.
    """
    try:
        if isinstance(block_shape, Sequence) or hasattr(block_shape, "__iter__"):
            values = tuple(operator.index(value) for value in block_shape)
        else:
            values = (operator.index(block_shape),) * ndim  # type: ignore[arg-type]
    except TypeError:
        raise BlockShapeError(
            f"block_shape {block_shape!r} is not made of whole numbers", remedy=f"block_shape={(64,) * ndim}"
        ) from None
    if len(values) != ndim:
        raise BlockShapeError(
            f"block_shape {values} has {len(values)} entries, the volume has {ndim} axes",
            remedy=f"block_shape={(*values, *(values[-1:] or (64,)) * ndim)[:ndim]}",
        )
    if min(values, default=1) < 1:
        raise BlockShapeError(
            f"block_shape {values} has an entry below 1",
            remedy=f"block_shape={tuple(v if v > 0 else 64 for v in values)}",
        )
    return values


def nearest_block_shape(
    block_shape: Sequence[int], lattices: Sequence[Lattice], shape: Sequence[int]
) -> tuple[int, ...]:
    """The block shape nearest to the given one whose cuts are all clean."""
    return tuple(
        max(1, round(size / lattice.step)) * lattice.step if lattice.step else extent
        for size, lattice, extent in zip(block_shape, lattices, shape, strict=True)
    )


def automatic_block_shape(
    shape: Sequence[int], lattices: Sequence[Lattice], chunks: Sequence[int] | None = None
) -> tuple[int, ...]:
    """A block shape that depends on shapes and chunks only, so that a result is reproducible elsewhere.

    Multiples of the outputs' write units, and of the input's chunks where that stays below `TARGET_VOXELS`, doubled
    along the shortest axis until the next doubling would exceed it.

    Parameters
    ----------
    shape : sequence of int
        Shape of the volume.
    lattices : sequence of Lattice
        Clean cuts per axis of the outputs.
    chunks : sequence of int, optional
        Read chunks of the first input, in its trailing axes.
    """
    whole = [max(1, size) for size in shape]
    base = [min(lat.step or size, size) for lat, size in zip(lattices, whole, strict=True)]
    if chunks is not None:
        read = [min(math.lcm(b, c), n) for b, c, n in zip(base, chunks[-len(base) :], whole, strict=True)]
        if math.prod(read) <= TARGET_VOXELS:
            base = read
    block = list(base)
    while True:
        axes = [axis for axis, size in enumerate(block) if size < whole[axis]]
        if not axes or math.prod(block) * 2 > TARGET_VOXELS:
            break
        axis = min(axes, key=lambda candidate: (block[candidate], candidate))
        # an end that is not a multiple of the unit is no cut, so the whole axis is always allowed
        block[axis] = block[axis] * 2 if block[axis] * 2 < whole[axis] else whole[axis]
    return tuple(
        -(-size // lat.step) * lat.step if lat.step else size for size, lat in zip(block, lattices, strict=True)
    )
