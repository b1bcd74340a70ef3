"""What workers do for `trace`: skeletons of blocks, and the files of objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks import BlockWithHalo, to_roi
from ..per_object.context import Context
from ..per_object.folder import hidden, writing
from ..per_object.listing import Choice
from ..per_object.numbering import numbered
from ..per_object.pieces import Pieces
from ..per_object.shards import in_order, write_shard
from ..runner.ledger.stage_record import Results
from ..sources import Source
from .cleaning import Cleaning, Lines
from .files import WriteLines
from .pieces import Skeleton, joined
from .tracing import Teasar

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FindSkeletons:
    """The skeletons in a block and the first voxels of its neighbours behind it.

    Parameters
    ----------
    choice : Choice
    teasar : Teasar
    shape : tuple of int
        Of the volume.
    """

    choice: Choice
    teasar: Teasar
    shape: tuple[int, ...]

    def __call__(
        self, block: BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Pieces | None:
        """Pieces, by id; None where nothing is."""
        inner, outer = to_roi(block.inner_block), to_roi(block.outer_block)
        ids, numbers = numbered(inputs[0][outer], self.choice.table())
        box = tuple(
            slice(part.start - around.start, min(part.stop + 1, size) - around.start)
            for part, around, size in zip(inner, outer, self.shape, strict=True)
        )
        core = tuple(
            slice(part.start - around.start, part.stop - around.start)
            for part, around in zip(inner, outer, strict=True)
        )
        sizes = np.bincount(numbers[core].reshape(-1), minlength=len(ids) + 1)[1:]
        faces = [(axis, "low") for axis, part in enumerate(inner) if part.start > 0]
        faces += [
            (axis, "high") for axis, (part, size) in enumerate(zip(inner, self.shape, strict=True)) if part.stop < size
        ]
        found = self.teasar(numbers, box, tuple(part.start for part in inner), faces) if numbers[box].any() else {}
        there = set(found) | set((np.flatnonzero(sizes) + 1).tolist())
        if not there:
            return None
        parts = {int(ids[n - 1]): found[n].to_bytes() if n in found else b"" for n in there}
        return Pieces.of(parts, {int(ids[n - 1]): int(sizes[n - 1]) for n in there})


@dataclass(frozen=True)
class Finished:
    """The lines of an object, by its place in the listing."""

    cleaning: Cleaning

    def __call__(self, index: int, context: Context) -> Lines:
        """All its blocks joined, and put in order."""
        object_id = int(context.objects.ids[index])
        found = (context.pieces[0].of(object_id, block) for block in context.objects.where(index).tolist())
        return self.cleaning(joined(Skeleton.of(data) for data in found if data))


COLUMNS = ("cable_length", "vertices", "ends", "branches", "pieces", "largest_radius")


@dataclass(frozen=True)
class WriteSkeletons:
    """The files of the objects that begin in a block.

    Parameters
    ----------
    place : str
    finished : Finished
    write : WriteLines
    """

    place: str
    finished: Finished
    write: WriteLines

    def __call__(self, index: int, context: Context) -> Any:
        """Ids, and what is told of each object."""
        folder, rows = hidden(self.place, context.earlier["begin"]), []
        home = context.objects.at_home(index).tolist()
        for one in home:
            lines, object_id = self.finished(one, context), int(context.objects.ids[one])
            with writing(folder / self.write.name(object_id)) as file:
                file.write(self.write(lines))
            rows.append(told_of(lines, self.finished.cleaning.steps))
        return context.objects.ids[home], np.array(rows, np.float64).reshape(-1, len(COLUMNS))


@dataclass(frozen=True)
class WriteSkeletonShards:
    """Every ``n``-th shard, with the objects in it."""

    place: str
    finished: Finished
    write: WriteLines
    n: int

    def __call__(self, index: int, context: Context) -> Any:
        """Ids, and what is told of each object."""
        folder = hidden(self.place, context.earlier["begin"])
        sharding, ids = context.earlier["sharding"], context.objects.ids
        rows, done = list[list[float]](), list[int]()

        def objects(shard: int) -> Iterator[tuple[int, list[bytes]]]:
            for one in in_order(ids, sharding, shard):
                lines = self.finished(one, context)
                done.append(one)
                rows.append(told_of(lines, self.finished.cleaning.steps))
                yield int(ids[one]), [self.write(lines)]

        for shard in np.unique(sharding.places(ids)[0]).tolist():
            if shard % self.n == index:
                write_shard(folder / sharding.name(shard), sharding, objects(shard))
        return ids[done], np.array(rows, np.float64).reshape(-1, len(COLUMNS))


def told_of(lines: Lines, steps: tuple[float, float, float]) -> list[float]:
    """The columns of an object."""
    degree = np.bincount(lines.edges.reshape(-1), minlength=len(lines.vertices))
    n = int(lines.pieces().max()) + 1 if len(lines.vertices) else 0
    radius = float(lines.radii.max()) if len(lines.radii) else 0.0
    ends, branches = np.count_nonzero(degree == 1), np.count_nonzero(degree > 2)
    return [float(lines.lengths(steps).sum()), len(lines.vertices), int(ends), int(branches), n, radius]


@dataclass(frozen=True)
class Table:
    """What runs once: what is told of all objects, by id."""

    def __call__(self, earlier: Results) -> tuple[Array, Array]:
        """Ids and rows."""
        found = [value for _, value in earlier.each("write")]
        ids = np.concatenate([np.empty(0, np.uint64), *(one for one, _ in found)])
        rows = np.concatenate([np.empty((0, len(COLUMNS))), *(one for _, one in found)])
        order = np.argsort(ids)
        return ids[order], rows[order]
