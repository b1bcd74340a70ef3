"""What ``job_type="auto"`` stands for: threads, or processes where a kernel would keep all other threads waiting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import NotReopenableError
from ..executing import Execution
from .plan import Stage

LARGE_VOXELS = 2**27
"""Voxels of a stage from which on the start of processes, about half a second, is soon made up for."""


def chosen(stages: Sequence[Stage], how: Execution) -> Execution:
    """The execution itself, or with the backend that ``"auto"`` stands for."""
    if how.job_type != "auto":
        return how
    processes = (
        how.num_workers > 1
        and any(stage.holds_gil and _voxels(stage) >= LARGE_VOXELS for stage in stages)
        and all(reopenable(source) for stage in stages for source in stage.sources)
    )
    return replace(how, job_type="subprocess" if processes else "local")


def reopenable(source: Any) -> bool:
    """Whether another process can open a source."""
    try:
        source.to_spec()
    except NotReopenableError:
        return False
    return True


def _voxels(stage: Stage) -> int:
    groups = stage.units.groups
    return 0 if groups is None else stage.units.n_blocks * math.prod(groups.grid.block_shape)
