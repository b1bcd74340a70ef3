"""How much memory a block of a transformed volume takes."""

from __future__ import annotations

import math

from ..blocks import normalize_block_shape
from ..blocks.shape import TARGET_VOXELS
from ..engine.job import Job
from ..wrapper.resample import SampledSource


def reading_memory(view: SampledSource, job: Job) -> float:
    """Peak bytes over those of a block of the view and of the result, as measured."""
    if job.block_shape is None:
        voxels = min(TARGET_VOXELS, view.size)
    else:
        block = normalize_block_shape(job.block_shape, view.ndim)
        voxels = math.prod(min(size, whole) for size, whole in zip(block, view.shape, strict=True))
    return max(2.0, view.block_bytes(max(1, voxels)) / (2 * view.dtype.itemsize * max(1, voxels)))
