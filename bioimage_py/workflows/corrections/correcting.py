"""Corrections of a segmentation: what constraints change is solved again, and the blocks that change are rewritten."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ... import graph as graphs
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.reducing import run_reduce
from ...errors import FormatError, ParameterError, ShapeError, SourceNotFoundError
from ...graph.correcting.kept import KeptPartition, open_partition, save_partition
from ...io.ome import read_multiscales
from ...operations.downsampling import downsample
from ...pipelines.folder import lock_folder
from ...runner.planning.build import plan_groups
from ...sources import Source
from ...sources.file import FileSource, absolute_path, open_source
from ...system import swap
from ...wrapper.downsample import DownsampleSource
from ..keeping import PARTITION, next_pending, pending
from .correcting_kernels import Foreign, add

Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Correction:
    """What `correct` did.

    Attributes
    ----------
    path : str
        The label image.
    n_objects : int
        Of the whole image, now.
    n_regions : int
        Superpixels that belong to another object now.
    blocks : tuple of (int, int)
        For each level of the pyramid: chunks (shards) that were rewritten, and how many there are.
    seconds : float
    """

    path: str
    n_objects: int
    n_regions: int
    blocks: tuple[tuple[int, int], ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "seconds": round(self.seconds, 4)}

    def summary(self) -> str:
        """Two lines for people."""
        levels = ", ".join(f"{some} of {every}" for some, every in self.blocks)
        return (
            f"{self.path}: {self.n_objects:,} objects, {self.n_regions:,} superpixels changed theirs"
            f"\n  rewritten: {levels or 'no'} blocks, in {self.seconds:.2f} s"
        )


@operation(omit=("mask", "block_ids", "roi", "resume_from", "skip_empty", "casting", "plan", "debug", "block_shape"))
def correct(
    labels: str | os.PathLike[str],
    keep: str | os.PathLike[str],
    constraints: graphs.Constraints | str | os.PathLike[str],
    **run: Unpack[RunKeywords],
) -> Correction:
    """Make a segmentation heed constraints: pairs of superpixels that must, or must not, be in one object.

    Only the objects that do not heed them are divided anew (see `bioimage_py.graph.correct`), and only the blocks in
    which something changes are rewritten, at all levels of the pyramid. All other objects keep their numbers. A call
    that was killed has left some blocks as they were, and some as they shall be; the next call, with the same or other
    constraints, puts all of them right.

    Parameters
    ----------
    labels : str or os.PathLike
        Label image that `segment` has made by "multicut", "agglomerate" or "mutex".
    keep : str or os.PathLike
        Folder in which that call has kept its superpixels and their graph (``segment(..., keep=)``).
    constraints : Constraints or path
        All that hold, also those that are heeded already; such as "constraints.json".

    Returns
    -------
    Correction

    Raises
    ------
    SourceNotFoundError, FormatError, ShapeError, ParameterError
        Bad input, labels that are not those of the folder, or constraints that contradict each other; before anything
        is written.
    RunningError
        Another process is correcting them.
    """
    begin = time.perf_counter()
    # What a killed call has written is written again: there is nothing to go on with.
    job = Job.of(run)
    job = replace(job, execution=replace(job.execution, resume="never"))
    folder = Path(os.path.abspath(keep))
    with _locked(folder), open_source(folder / "superpixels.zarr", format="zarr") as pieces:
        levels = _levels(labels, pieces)
        graph = graphs.open_graph(folder / "graph.zarr")
        before = open_partition(folder / PARTITION, graph)
        swap.clear(str(folder / PARTITION))
        # each call that was killed may have written some blocks: all of them stay known until one comes to its end
        left = pending(folder)
        known = [before, *(open_partition(one, graph) for one in left)]
        partition = graphs.correct(
            graph,
            before.costs,
            before.of(graph),
            constraints,
            min_size=before.min_size,
            execution=job.execution,
        )
        changed = np.logical_or.reduce([partition.parts != one.parts for one in known])
        boxes = graph.nodes.begin[changed], graph.nodes.end[changed]
        if changed.any():
            _check_labels(pieces, levels[0], Foreign(graph.nodes.ids, tuple(one.parts for one in known)), boxes, job)
            new = next_pending(folder)
            save_partition(KeptPartition(partition.parts, before.costs, before.min_size), new)
            left.append(new)
        blocks = _rewritten(pieces, levels, partition, boxes, job)
        if left:
            swap.put(str(left.pop()), str(folder / PARTITION))
        for one in left:
            swap.discard(str(one))
        for level in levels:
            level.close()
    seconds = time.perf_counter() - begin
    return Correction(absolute_path(labels), partition.n, int(np.count_nonzero(changed)), tuple(blocks), seconds)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    missing = [one for one in ("superpixels.zarr", "graph.zarr", PARTITION) if not (folder / one).exists()]
    if missing and not (missing == [PARTITION] and swap.recover(str(folder / PARTITION))):
        raise SourceNotFoundError(
            f"{folder} has no {' and no '.join(missing)}", remedy=f'segment(..., method="multicut", keep="{folder}")'
        )
    with lock_folder(folder):
        yield


def _levels(labels: str | os.PathLike[str], pieces: Source) -> list[FileSource]:
    """The levels of the label image, to be written.

    Raises
    ------
    FormatError, ShapeError
    """
    images = read_multiscales(labels)
    if len(images) != 1:
        raise FormatError(
            f"{os.fspath(labels)} describes {len(images)} images, and not one with its levels",
            remedy="the path that segment has written",
        )
    levels = [open_source(labels, name, format="zarr", mode="r+") for name, _ in images[0].levels]
    if levels[0].shape != pieces.shape:
        raise ShapeError(
            f"the labels have the shape {levels[0].shape}, the superpixels {pieces.shape}",
            remedy="the folder that was kept with these labels",
        )
    return levels


def _check_labels(pieces: Source, labels: Source, foreign: Foreign, boxes: tuple[Boxes, Boxes], job: Job) -> None:
    """ParameterError where the blocks that change hold something else than the folder knows."""
    shape, ids, _ = _blocks(pieces, labels, boxes)
    where = replace(job, block_shape=shape, block_ids=ids)
    count = run_reduce(foreign, add, [pieces, labels], where, name="check", memory_factor=6.0)
    if count:
        raise ParameterError(
            f"{count} voxels of the labels are not what the folder of superpixels makes of them",
            remedy="the folder that was kept with these labels, or segment them anew",
        )


def _blocks(source: Source, target: Source, boxes: tuple[Boxes, Boxes]) -> tuple[tuple[int, ...], list[int], int]:
    """Shape of the units of writing, those that boxes touch, and the number of all."""
    shape = target.write_chunks or target.shape
    grid = plan_groups(target.shape, [source], [target], shape, None).grid
    return shape, grid.touching(*boxes).tolist(), math.prod(grid.grid_shape)


def _rewritten(
    pieces: Source, levels: list[FileSource], partition: graphs.Partition, boxes: tuple[Boxes, Boxes], job: Job
) -> list[tuple[int, int]]:
    """Rewrite what boxes touch, level by level; how many blocks that were, and of how many."""
    if not len(boxes[0]):
        return []
    shape, ids, every = _blocks(pieces, levels[0], boxes)
    how: Any = {"execution": job.execution}
    graphs.apply_node_labels(pieces, partition, levels[0], block_shape=shape, block_ids=ids, **how)
    blocks = [(len(ids), every)]
    for level, above in zip(levels[1:], levels, strict=False):
        # rounded up where a factor does not divide the size: the factor is what gives this size
        steps = np.array([_factor(size, of) for size, of in zip(level.shape, above.shape, strict=True)])
        boxes = boxes[0] // steps, -(-boxes[1] // steps)
        view = DownsampleSource(above, tuple(steps.tolist()), "mode")
        shape, ids, every = _blocks(view, level, boxes)
        downsample(above, tuple(steps.tolist()), level, method="mode", block_shape=shape, block_ids=ids, **how)
        blocks.append((len(ids), every))
    return blocks


def _factor(size: int, above: int) -> int:
    """By which a level is coarser than the one above."""
    return 1 if size == above else max(2, round(above / size))
