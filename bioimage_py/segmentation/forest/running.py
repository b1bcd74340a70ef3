"""The stages of a watershed without a halo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...blocks.shape import normalize_block_shape
from ...engine.job import Job
from ...engine.stages import BlocksStage, OnceStage, run_stages
from ...runner.planning.build import plan_groups
from ...sources import Source
from ...sources.run_array import RunArray
from .basins import Array, Mask
from .forest_blocks import AsTheyAre, FloodOnce, JoinBasins, WriteForest, forest_of

_CHUNK = 64
_AS_THEY_ARE = AsTheyAre()


def flood_once(
    height: Source,
    seeds: Source,
    target: Source,
    job: Job,
    *,
    name: str,
    along: tuple[int, ...],
    prepare: Callable[[Array], tuple[Array, Mask | None]] = _AS_THEY_ARE,
) -> None:
    """Flood a volume in blocks, each of them once.

    Parameters
    ----------
    height, seeds, target : Source
        Of one shape.
    job : Job
    name : str
        Of the operation.
    along : tuple of int
        Axes to flood along.
    prepare : callable
        See `FloodOnce`.
    """
    chunks = target.write_chunks
    if chunks is None:
        chunks = normalize_block_shape(_CHUNK if job.block_shape is None else job.block_shape, target.ndim)
    basins = RunArray("basins", target.shape, np.uint32, chunks)
    grid = plan_groups(height.shape, [height, seeds], [basins, target], job.block_shape, job.roi).grid
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage(
            "basins",
            FloodOnce(prepare, along, grid.roi),
            [height, seeds],
            [basins],
            halo=tuple(int(axis in along) for axis in range(height.ndim)),
            returns="each",
            memory_factor=5.0,
        ),
        OnceStage("forest", JoinBasins(grid.grid_shape, along, seeds.dtype.str)),
        BlocksStage("write", WriteForest(job.execution.casting), [basins], [target], setup=forest_of),
    ]
    run_stages(name, stages, job)
