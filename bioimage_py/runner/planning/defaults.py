"""What ``job_type="auto"`` stands for: threads, or processes where a kernel would keep all other threads waiting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...errors import NotReopenableError
from ...sources.run_array import RunArray
from ..execution import Execution
from .stage import Plan, Stage

LARGE_VOXELS = 2**27
"""Voxels of a stage from which on the start of processes, about half a second, is soon made up for."""


def chosen(stages: Sequence[Stage], how: Execution) -> Execution:
    """The execution with the backend that ``"auto"`` stands for; itself where it names another."""
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


def on_disk(plan: Plan) -> bool:
    """Whether a run in this process keeps a ledger on disk: all outputs outlive it, or the user said where."""
    outputs = [output for stage in plan.stages for output in stage.outputs if not isinstance(output, RunArray)]
    return all(map(reopenable, outputs)) if outputs else plan.execution.settings.tmp_root is not None


def _voxels(stage: Stage) -> int:
    groups = stage.units.groups
    return 0 if groups is None else stage.units.n_blocks * math.prod(groups.grid.block_shape)


def arranged(stage: Stage, how: Execution) -> Stage:
    """A stage with the chunk cache, and the inputs read ahead, that an execution asks for."""
    if stage.kind != "blocks":
        return stage
    written = {output.identity for output in stage.outputs}
    ahead = tuple(
        number
        for number, source in enumerate(stage.inputs)
        if not any(part.identity in written for part in source.parts)
        and (any(part.remote for part in source.parts) if how.read_ahead is None else how.read_ahead)
    )
    return replace(stage, cache_bytes=stage.cache_bytes if how.cache is None else how.cache, ahead=ahead)
