"""A grid of blocks over a region of a volume; ids are computed, never stored."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import HaloError, RegionError

Halo = int | Sequence[int] | None


class Block:
    """One block: a box of voxels with an id.

    Attributes
    ----------
    id : int
        Position of the block in C order over its grid, -1 for a box without a grid.
    begin, end, shape : list of int
        First voxel, one past the last voxel, and their difference, per axis in index order.
    """

    __slots__ = ("begin", "end", "id")

    def __init__(self, begin: list[int], end: list[int], id: int = -1) -> None:
        self.begin = begin
        self.end = end
        self.id = id

    @property
    def shape(self) -> list[int]:
        """Number of voxels per axis."""
        return [stop - start for start, stop in zip(self.begin, self.end, strict=True)]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.begin)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Block):
            return NotImplemented
        return self.begin == other.begin and self.end == other.end and self.id == other.id

    def __hash__(self) -> int:
        return hash((tuple(self.begin), tuple(self.end), self.id))

    def __repr__(self) -> str:
        return f"Block({self.id}: {self.where()})"

    def where(self) -> str:
        """The absolute region as it would be typed, for messages: ``[0:64, 32:96]``."""
        return "[" + ", ".join(f"{b}:{e}" for b, e in zip(self.begin, self.end, strict=True)) + "]"


class BlockWithHalo:
    """A block with its surroundings.

    Attributes
    ----------
    outer_block : Block
        The block enlarged by the halo, clipped at the volume's edge.
    inner_block : Block
        The block itself, in absolute coordinates.
    inner_block_local : Block
        The block itself, in coordinates of the outer block.
    """

    __slots__ = ("inner_block", "inner_block_local", "outer_block")

    def __init__(self, outer_block: Block, inner_block: Block, inner_block_local: Block) -> None:
        self.outer_block = outer_block
        self.inner_block = inner_block
        self.inner_block_local = inner_block_local

    @property
    def id(self) -> int:
        """Id of the inner block."""
        return self.inner_block.id

    def where(self) -> str:
        """The absolute region of the inner block."""
        return self.inner_block.where()

    def __repr__(self) -> str:
        return f"BlockWithHalo({self.id}: {self.where()} in {self.outer_block.where()})"


def to_roi(block: Block) -> tuple[slice, ...]:
    """Index of a block: a tuple of slices, one an axis."""
    return tuple(slice(begin, end) for begin, end in zip(block.begin, block.end, strict=True))


def normalize_halo(halo: Halo, ndim: int) -> tuple[int, ...] | None:
    """Halo per axis.

    Parameters
    ----------
    halo : int, sequence of int or None
        Voxels on each side; one number serves all axes. None means blocks without a halo.
    ndim : int
        Number of axes.

    Returns
    -------
    tuple of int or None

    Raises
    ------
    HaloError
        Negative, fractional, or of the wrong length.
    """
    if halo is None:
        return None
    try:
        one = not isinstance(halo, Iterable)
        values = (operator.index(halo),) * ndim if one else tuple(map(operator.index, halo))  # type: ignore[arg-type]
    except TypeError:
        raise HaloError(f"halo {halo!r} is not a whole number of voxels", remedy=f"halo={(0,) * ndim}") from None
    if len(values) != ndim:
        raise HaloError(
            f"halo {values} has {len(values)} entries, the volume has {ndim} axes", remedy="one entry an axis"
        )
    if min(values, default=0) < 0:
        raise HaloError(f"halo {values} is negative", remedy=f"halo={tuple(max(0, v) for v in values)}")
    return values


def region_bounds(roi: object, shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Begin and end per axis of a region of interest.

    Parameters
    ----------
    roi : tuple of slice, slice or None
        None is the whole volume; axes that are not named are whole.
    shape : sequence of int
        Shape of the volume.

    Raises
    ------
    RegionError
        A step other than 1, an index that is not a slice, or bounds outside the volume.
    """
    given = () if roi is None else roi if isinstance(roi, tuple) else (roi,)
    if len(given) > len(shape):
        raise RegionError(
            f"roi {roi!r} names {len(given)} axes, the volume has {len(shape)}: shape {tuple(shape)}",
            remedy=f"{len(shape)} slices at most",
        )
    bounds = []
    for axis, size in enumerate(shape):
        part = given[axis] if axis < len(given) else slice(None)
        if not isinstance(part, slice):
            remedy = f"slice({part}, {part + 1})" if isinstance(part, int) else "slice(begin, end) for each axis"
            raise RegionError(f"roi entry {part!r} of axis {axis} is not a slice", remedy=remedy)
        if part.step not in (None, 1):
            raise RegionError(f"roi of axis {axis} has the step {part.step}; a region is contiguous", remedy="step 1")
        try:
            begin = 0 if part.start is None else operator.index(part.start)
            end = size if part.stop is None else operator.index(part.stop)
        except TypeError:
            message = f"roi {part} of axis {axis} is not made of whole numbers"
            raise RegionError(message, remedy="slice(0, 64)") from None
        if not 0 <= begin <= end <= size:
            raise RegionError(
                f"roi {begin}:{end} of axis {axis} is not inside the volume 0:{size} (shape {tuple(shape)})",
                remedy=f"a start and stop with 0 <= start <= stop <= {size}",
            )
        bounds.append((begin, end))
    return tuple(bounds)


@dataclass(frozen=True)
class Grid:
    """Blocks over a region of a volume, numbered in C order.

    Parameters
    ----------
    shape : tuple of int
        Shape of the volume.
    block_shape : tuple of int
        Shape of a block.
    roi : tuple of (int, int), optional
        Begin and end per axis; the whole volume by default.
    anchor : tuple of int, optional
        Cuts lie at ``anchor + k * block_shape``; by default the region's begin. With another anchor the blocks at
        the region's border are smaller.
    """

    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    roi: tuple[tuple[int, int], ...] = ()
    anchor: tuple[int, ...] = ()
    grid_shape: tuple[int, ...] = field(init=False)
    n_blocks: int = field(init=False, repr=False)
    first: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        roi = self.roi or tuple((0, size) for size in self.shape)
        anchor = self.anchor or tuple(begin for begin, _ in roi)
        first = tuple((b - a) // s for (b, _), a, s in zip(roi, anchor, self.block_shape, strict=True))
        counts = tuple(
            -((a - end) // size) - k if end > begin else 0
            for (begin, end), a, size, k in zip(roi, anchor, self.block_shape, first, strict=True)
        )
        found = {"roi": roi, "anchor": anchor, "first": first, "grid_shape": counts, "n_blocks": math.prod(counts)}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.n_blocks

    def position(self, block_id: int) -> tuple[int, ...]:
        """Position of a block on the grid, per axis."""
        self._check(block_id)
        position = []
        for count in reversed(self.grid_shape):
            block_id, rest = divmod(block_id, count)
            position.append(rest)
        return tuple(reversed(position))

    def id_at(self, position: Sequence[int]) -> int:
        """Id of the block at a position on the grid."""
        block_id = 0
        for index, count in zip(position, self.grid_shape, strict=True):
            block_id = block_id * count + index
        return block_id

    def __getitem__(self, block_id: int) -> Block:
        """The block with an id."""
        self._check(block_id)
        rest = block_id
        begin: list[int] = []
        end: list[int] = []
        for axis in range(len(self.shape) - 1, -1, -1):
            rest, index = divmod(rest, self.grid_shape[axis])
            size = self.block_shape[axis]
            low = self.anchor[axis] + (self.first[axis] + index) * size
            roi = self.roi[axis]
            begin.append(low if low > roi[0] else roi[0])
            end.append(low + size if low + size < roi[1] else roi[1])
        begin.reverse()
        end.reverse()
        return Block(begin, end, block_id)

    def _check(self, block_id: int) -> None:
        if not 0 <= block_id < self.n_blocks:
            raise RegionError(f"block id {block_id} is not in 0..{self.n_blocks - 1}")

    def __iter__(self) -> Iterator[Block]:
        return (self[block_id] for block_id in range(self.n_blocks))

    def touching(self, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Ids of the blocks that boxes touch, ascending, each once.

        Parameters
        ----------
        begin, end : array of int64
            Shape (n, ndim): first voxel and one past the last voxel of each box.
        """
        if not len(begin):
            return np.zeros(0, np.int64)
        ids = np.zeros((len(begin), 1), np.int64)
        inside = np.ones((len(begin), 1), bool)
        for axis, count in enumerate(self.grid_shape):
            size, origin = self.block_shape[axis], self.anchor[axis] + self.first[axis] * self.block_shape[axis]
            low, high = (begin[:, axis] - origin) // size, (end[:, axis] - 1 - origin) // size
            steps = np.arange(int((high - low).max(initial=0)) + 1)
            index = low[:, None] + steps
            fits = (index <= high[:, None]) & (index >= 0) & (index < count)
            ids = (ids[:, :, None] * count + index[:, None, :]).reshape(len(ids), -1)
            inside = (inside[:, :, None] & fits[:, None, :]).reshape(len(inside), -1)
        return np.unique(ids[inside])

    def block(self, block_id: int, halo: Sequence[int] | None) -> Block | BlockWithHalo:
        """The block with an id, with its surroundings where there is a halo, of 0 too."""
        return self[block_id] if halo is None else self.with_halo(block_id, halo)

    def with_halo(self, block_id: int, halo: Sequence[int]) -> BlockWithHalo:
        """The block with an id and its surroundings, clipped at the volume's edge (not at the region's)."""
        inner = self[block_id]
        outer_begin = [max(0, b - h) for b, h in zip(inner.begin, halo, strict=True)]
        outer_end = [min(n, e + h) for e, h, n in zip(inner.end, halo, self.shape, strict=True)]
        local_begin = [b - o for b, o in zip(inner.begin, outer_begin, strict=True)]
        local_end = [e - o for e, o in zip(inner.end, outer_begin, strict=True)]
        return BlockWithHalo(Block(outer_begin, outer_end, block_id), inner, Block(local_begin, local_end, block_id))
