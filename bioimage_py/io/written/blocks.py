"""Copying an image to the arrays that it is written as, by several threads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np

from ...blocks.boxes import within
from ...sources.base import Source
from ...sources.indexing import Roi
from ...system.threads import usable_cores
from ...wrapper.reduced import reduced_once

BLOCK_BYTES = 64 * 2**20
"""Of an image, in memory at once."""
PIECES_BYTES = 256 * 2**20
"""The same, where it is stored in pieces that are slow to read twice."""
MOST_THREADS = 8


def copy_blocks(source: Source, outputs: Sequence[Source]) -> None:
    """Copy voxels to every output, in boxes of whole units of writing of all.

    What is stored in large pieces, such as the compressed pages of a stack, is read in boxes of whole ones, if these
    are not too large, and what was read is written by several threads.

    Parameters
    ----------
    source : Source
    outputs : sequence of Source
        Of its shape; an output may stand for a coarser level (`ReducedOutput`).
    """
    unit = units_of(outputs)
    threads = 1 if any(output.concurrency == "single-writer" for output in outputs) else usable_cores()
    threads = min(threads, MOST_THREADS)
    box = grown(unit, source.shape, BLOCK_BYTES // (2 * threads) // source.dtype.itemsize)
    pieces = whole_pieces(source, unit)

    def put(part: Roi, values: np.ndarray | None = None) -> None:
        with reduced_once():
            found = source.view(part) if values is None else values
            for output in outputs:
                output[part] = found

    whole = tuple(slice(0, size) for size in source.shape)
    with ThreadPoolExecutor(threads) as pool:
        at_work: set[Future[None]] = set()
        if pieces is None:
            for part in boxes(box, whole):
                at_work = _waited(at_work, threads)
                at_work.add(pool.submit(put, part))
        else:
            for roi in boxes(pieces, whole):
                values = source.view(roi)
                at_work = _waited(at_work, threads)  # of the box before hardly anything is in memory any more
                at_work |= {pool.submit(put, part, values[within(part, roi)]) for part in boxes(box, roi)}
        _waited(at_work, 0)


def _waited(at_work: set[Future[None]], most: int) -> set[Future[None]]:
    """Wait until at most so many are at work; what failed is raised."""
    while len(at_work) > most:
        done, at_work = wait(at_work, return_when=FIRST_COMPLETED)
        for one in done:
            one.result()
    return at_work


def units_of(outputs: Sequence[Source]) -> tuple[int, ...]:
    """Smallest box of whole units of writing of all outputs."""
    shape = outputs[0].shape
    units = [output.write_chunks or shape for output in outputs]
    return tuple(min(math.lcm(*sides), max(size, 1)) for *sides, size in zip(*units, shape, strict=True))


def grown(unit: Sequence[int], shape: Sequence[int], voxels: int) -> tuple[int, ...]:
    """A box of units, as many as fit, along the last axes first."""
    box = list(unit)
    for axis in reversed(range(len(box))):
        while math.prod(box) * 2 <= voxels and box[axis] < shape[axis]:
            box[axis] *= 2
    return tuple(box)


def whole_pieces(source: Source, unit: Sequence[int]) -> tuple[int, ...] | None:
    """A box of whole units and whole chunks of a source; None if the units hold whole chunks, or it is too large."""
    if source.chunks is None:
        return None
    sides = zip(unit, source.chunks, source.shape, strict=True)
    box = tuple(min(math.lcm(side, chunk), max(size, 1)) for side, chunk, size in sides)
    return None if box == tuple(unit) or math.prod(box) * source.dtype.itemsize > PIECES_BYTES else box


def boxes(box: Sequence[int], region: Roi) -> Iterator[Roi]:
    """Cut a region into boxes, in C order."""
    steps = [range(part.start, part.stop, side) for part, side in zip(region, box, strict=True)]
    for start in itertools.product(*steps):
        yield tuple(slice(low, min(low + side, part.stop)) for low, side, part in zip(start, box, region, strict=True))
