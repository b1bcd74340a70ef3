"""What workers do for `surfaces`: pieces of blocks, joined cell by cell, and the files of objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks import BlockWithHalo, to_roi
from ..per_object.context import Context
from ..per_object.folder import hidden
from ..per_object.listing import Choice
from ..per_object.numbering import numbered
from ..per_object.pieces import Pieces, PiecesOf
from ..runner.ledger.stage_record import Results
from ..sources import Source
from .cells import Cells
from .larger_voxels import ANEW, LARGE, Large, LargerVoxels
from .marching import surfaces_of
from .pieces import Joined, Piece, Surface, from_bytes, to_bytes
from .seams import coarser
from .simplifying import simplified

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FindSurfaces:
    """The surfaces in a block, which begins one voxel before its first one.

    Parameters
    ----------
    choice : Choice
    error : float
        Bound of the simplification, 0 for none.
    steps : tuple of float
        Size of a voxel.
    """

    choice: Choice
    error: float
    steps: tuple[float, float, float]

    def __call__(
        self, block: BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Pieces | None:
        """Pieces, by id; None where nothing is."""
        inner = to_roi(block.inner_block)
        box = tuple(slice(max(0, part.start - 1), part.stop) for part in inner)
        around = [(int(part.start == 0), 0) for part in inner]
        ids, numbers = numbered(np.pad(inputs[0][box], around), self.choice.table())
        if not len(ids):
            return None
        sizes = np.bincount(numbers[1:, 1:, 1:].reshape(-1), minlength=len(ids) + 1)[1:].tolist()
        parts = dict.fromkeys(ids.tolist(), b"")
        size = tuple(part.stop - part.start for part in inner)
        for number, surface in surfaces_of(numbers, len(ids)):
            parts[int(ids[number - 1])] = to_bytes(coarser(surface, self.error, self.steps, size))
        return Pieces.of(parts, dict(zip(ids.tolist(), sizes, strict=True)))


@dataclass(frozen=True)
class JoinCells:
    """The surfaces of a coarser cell: those of its eight cells joined, and simplified with a larger error.

    Parameters
    ----------
    cells : Cells
    error : float
    steps : tuple of float
    most : int
        Bytes of an object in the eight cells. One that has more is simplified in each of them first; where that is not
        enough, no bytes of it are left.
    """

    cells: Cells
    error: float
    steps: tuple[float, float, float]
    most: int

    def __call__(self, index: int, context: Context) -> Pieces | None:
        """Pieces, by id."""
        there = context.pieces[-1].blocks(self.cells.children(index))
        level, listing, corner = self.cells.level, context.objects, np.array(self.cells.corner(index))
        large = [] if level == 1 else listing.ids[context.earlier[LARGE.format(level - 1)].objects].tolist()
        parts: dict[int, bytes] = {}
        for object_id in sorted({one for _, pieces in there for one in pieces.ids.tolist()}.difference(large)):
            found = [(cell, data) for cell, pieces in there if (data := pieces.get(object_id))]
            if found and listing.index_of(object_id) is not None:
                parts[object_id] = self._joined(found, corner)
        return Pieces.of(parts) if parts else None

    def _joined(self, found: Sequence[tuple[int, bytes | memoryview]], corner: Array) -> bytes:
        finer = self.cells.finer
        if _length(found) > self.most:
            # their seams stay: a neighbour of this cell may have less, and join the eight at once
            found = [
                (cell, to_bytes(simplified(from_bytes(data), self.error, self.steps, finer.size)))
                for cell, data in found
            ]
        if _length(found) > self.most:
            return b""
        joined = Joined([Piece(finer.corner(cell), finer.size, partial(from_bytes, data)) for cell, data in found])
        vertices, faces = joined.whole()
        return self._simplified((vertices - corner, faces), self.cells.size)

    def _simplified(self, surface: Surface, size: tuple[int, ...]) -> bytes:
        return to_bytes(coarser(surface, self.error, self.steps, size))


def _length(found: Sequence[tuple[int, bytes | memoryview]]) -> int:
    return sum(len(data) for _, data in found)


@dataclass(frozen=True)
class MakeAnew:
    """The surfaces in a coarser cell of the objects that are too large to be joined there.

    Parameters
    ----------
    cells : Cells
    error : float
    steps : tuple of float
    labels : Source
    """

    cells: Cells
    error: float
    steps: tuple[float, float, float]
    labels: Source

    def setup(self, earlier: Results) -> tuple[Array, Large]:
        """The ids of all objects, and which are too large."""
        return earlier["objects"].ids, earlier[LARGE.format(self.cells.level)]

    def __call__(self, index: int, context: tuple[Array, Large]) -> Pieces | None:
        """Pieces, by id."""
        ids, large = context
        voxels = LargerVoxels(self.cells)
        parts = {
            one: to_bytes(coarser(surface, self.error, self.steps, self.cells.size, voxels.steps))
            for one, surface in voxels.surfaces(self.labels, index, ids[large.at(index)].tolist())
        }
        return Pieces.of(parts) if parts else None


def joined_object(index: int, context: Context, cells: Cells) -> Joined:
    """The surface of an object at a level, read piece by piece."""
    object_id = int(context.objects.ids[index])
    where, there = cells.of_blocks(context.objects.where(index)), context.pieces[cells.level]
    if cells.level and len(anew := context.earlier[LARGE.format(cells.level)].where(index)):
        where, there = anew, PiecesOf(context.earlier, ANEW.format(cells.level))
    pieces = []
    for cell in where.tolist():
        load = partial(_loaded, there, object_id, cell)
        pieces.append(Piece(cells.corner(cell), cells.size, load))
    return Joined(pieces)


def _loaded(pieces: PiecesOf, object_id: int, cell: int) -> Any:
    data = pieces.of(object_id, cell)
    return from_bytes(data) if data else (np.empty((0, 3)), np.empty((0, 3), np.int64))


@dataclass(frozen=True)
class WriteObjects:
    """The files of the objects that begin in a block.

    Parameters
    ----------
    place : str
        The folder, by the name that it will have.
    cells : Cells
        The blocks.
    write : callable
        ``write(folder, object_id, joined)``.
    fill_holes : bool
        Leave out surfaces of cavities.
    """

    place: str
    cells: Cells
    write: Callable[..., None]
    fill_holes: bool = False

    def __call__(self, index: int, context: Context) -> int:
        """Number of objects written."""
        folder = hidden(self.place, context.earlier["begin"])
        home = context.objects.at_home(index)
        for one in home.tolist():
            joined = joined_object(one, context, self.cells)
            self.write(folder, int(context.objects.ids[one]), without_cavities(joined) if self.fill_holes else joined)
        return len(home)


def without_cavities(joined: Joined) -> Joined:
    """The surface without those pieces that enclose a cavity of the object: they are seen from inside."""
    from .cavities import outer

    return outer(joined)
