"""What a run will need, said before it begins: blocks, bytes, files, memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ...blocks import Groups
from ...errors import BlockShapeError, MemoryBudgetError
from ...markup import table
from ...sources.base import Source
from ...system.memory import available_bytes
from ..execution import Execution
from .build import cache_size, plan_groups
from .defaults import arranged, on_disk
from .placing import run_arrays
from .stage import Plan, Stage
from .work_list import Units

PROCESS_BYTES = 100 * 2**20
"""A worker process before its first block: interpreter, libraries, opened sources."""


@dataclass(frozen=True)
class StagePlan:
    """One stage before it runs: how many blocks and write groups, and what they read, write and need."""

    name: str
    n_blocks: int
    n_groups: int
    block_shape: tuple[int, ...] | None
    bytes_read: int
    bytes_written: int
    files_written: int
    block_bytes: int
    cache_bytes: int


@dataclass(frozen=True)
class RunPlan:
    """A run before it begins; what ``plan=True`` returns.

    Attributes
    ----------
    name : str
    stages : tuple of StagePlan
    num_workers : int
    promised_bytes : int
        Memory that all workers together will need at most.
    budget_bytes : int
        What they may use.
    array_bytes : int
        Of the arrays that the run makes for itself: in its folder, and away with it; of a run in memory, part of what
        is promised.
    """

    name: str
    stages: tuple[StagePlan, ...]
    num_workers: int
    promised_bytes: int
    budget_bytes: int
    array_bytes: int = 0

    def __str__(self) -> str:
        need, may = self.promised_bytes / 2**20, self.budget_bytes / 2**20
        lines = [f"{self.name or 'run'}: {self.num_workers} workers, {need:.0f} MiB promised, {may:.0f} MiB allowed"]
        for stage in self.stages:
            shape = "" if stage.block_shape is None else f" of {stage.block_shape}"
            lines.append(
                f"  {stage.name}: {stage.n_blocks} blocks{shape} in {stage.n_groups} groups, reads"
                f" {stage.bytes_read / 2**20:.0f} MiB, writes {stage.bytes_written / 2**20:.0f} MiB"
                f" in {stage.files_written} files, {stage.block_bytes / 2**20:.1f} MiB a block"
            )
        if self.array_bytes:
            lines.append(f"  between stages: {self.array_bytes / 2**20:.0f} MiB, until the run ends")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        names = ("stage", "blocks", "block shape", "groups", "files", "MiB read", "MiB written", "MiB a block")
        rows = []
        for s in self.stages:
            sizes = map(_mebi, (s.bytes_read, s.bytes_written, s.block_bytes))
            rows.append((s.name, s.n_blocks, s.block_shape or "", s.n_groups, s.files_written, *sizes))
        return table(str(self).partition("\n")[0], names, rows)


def plan_of(plan: Plan, *, shares_memory: bool, one_machine: bool = True, job_bytes: int | None = None) -> RunPlan:
    """What a run will need, and may use: of this machine, or ``job_bytes`` a worker (None: nobody knows)."""
    stages = tuple(_stage(stage) for stage in plan.stages)
    workers = min(plan.execution.num_workers, plan.widest if stages else 1) or 1
    block = max((stage.block_bytes for stage in stages), default=0)
    # stages that run at the same time have their inputs open at the same time
    chains = {plan.chain(index) for index in range(len(stages))}
    cache = max((sum(stages[index].cache_bytes for index in chain) for chain in chains), default=0)
    promised = cache + workers * block if shares_memory else workers * (PROCESS_BYTES + cache + block)
    arrays = sum(array.nbytes for array in run_arrays(plan))
    promised += arrays if shares_memory and not on_disk(plan) else 0
    budget = plan.execution.memory
    if budget is None:
        budget = available_bytes() if one_machine else workers * job_bytes if job_bytes else promised
    return RunPlan(plan.name, stages, workers, promised, budget, arrays)


def _mebi(size: int) -> str:
    return f"{size / 2**20:.1f}"


def check_budget(plan: Plan, promise: RunPlan, *, shares_memory: bool) -> None:
    """MemoryBudgetError where a run promises more than it may use; its remedy is a call that fits."""
    if promise.promised_bytes <= promise.budget_bytes:
        return
    worst = max(range(len(plan.stages)), key=lambda index: promise.stages[index].block_bytes)
    stage = plan.stages[worst]
    raise MemoryBudgetError(
        f"{plan.name or 'the run'} needs about {promise.promised_bytes / 2**20:.0f} MiB with {promise.num_workers}"
        f" worker(s) (stage {stage.name!r}: {promise.stages[worst].block_bytes / 2**20:.0f} MiB a block of"
        f" {promise.stages[worst].block_shape}), the budget is {promise.budget_bytes / 2**20:.0f} MiB",
        remedy=_remedy(plan, promise, worst, shares_memory=shares_memory),
    )


def _stage(stage: Stage) -> StagePlan:
    units, groups = stage.units, stage.units.groups
    if groups is None:
        return StagePlan(stage.name, units.n_blocks, units.n_groups, None, 0, 0, 0, 0, 0)
    grid, halo = groups.grid, stage.halo or (0,) * groups.grid.ndim
    share = units.n_blocks / max(1, grid.n_blocks)
    read = sum(source.dtype.itemsize for source in stage.inputs)
    # bytes a voxel of the grid: channels are more, and a level that is reduced on its way to storage is less
    written = sum(output.nbytes for output in stage.outputs) / max(1, math.prod(grid.shape))
    sizes = zip(grid.roi, grid.grid_shape, halo, grid.shape, strict=True)
    # a halo ends with the volume
    outer = math.prod(min(end - begin + 2 * margin * n, n * whole) for (begin, end), n, margin, whole in sizes)
    # one block: what is seen of the inputs, what is changed, and the units that several blocks fill
    block = [min(size, whole) for size, whole in zip(grid.block_shape, grid.shape, strict=True)]
    seen = math.prod(min(b + 2 * margin, whole) for b, margin, whole in zip(block, halo, grid.shape, strict=True))
    ahead = seen * sum(stage.inputs[number].dtype.itemsize for number in stage.ahead)
    several = groups.largest * math.prod(block) * (written + 1) if groups.largest > 1 and written else 0
    return StagePlan(
        stage.name,
        units.n_blocks,
        units.n_groups,
        grid.block_shape,
        int(share * outer * read),
        round(share * math.prod(end - begin for begin, end in grid.roi) * written),
        sum(_files(output, grid.roi) for output in stage.outputs),
        int(stage.memory_factor * (seen * read + math.prod(block) * written) + several) + ahead,
        stage.cache_bytes,
    )


def _files(output: Source, roi: tuple[tuple[int, int], ...]) -> int:
    if output.chunks is None or output.write_chunks is None:
        return 0
    lead = output.ndim - len(roi)
    files = math.prod(-(-n // u) for n, u in zip(output.shape[:lead], output.write_chunks[:lead], strict=True))
    for (begin, end), unit, origin in zip(roi, output.write_chunks[lead:], output.grid_origin[lead:], strict=True):
        files *= -(-(end - origin) // unit) - (begin - origin) // unit
    return files


def _remedy(plan: Plan, promise: RunPlan, worst: int, *, shares_memory: bool) -> str:
    """What makes a run fit its budget: a smaller block shape, else fewer workers, else more memory."""

    def fits(changed: Plan) -> bool:
        return plan_of(changed, shares_memory=shares_memory).promised_bytes <= promise.budget_bytes

    stage = plan.stages[worst]
    groups, outputs = stage.units.groups, stage.outputs
    # where other outputs share units, their blocks are assembled, or an operation gives them a stage of their own
    both = () if groups is None else (*_smaller_shapes(groups, outputs), *_smaller_shapes(groups, outputs[:1]))
    for shape in both:
        with suppress(BlockShapeError):
            if fits(replace(plan, stages=tuple(_with_blocks(one, shape, plan.execution) for one in plan.stages))):
                return f"block_shape={shape}"
    for workers in range(promise.num_workers - 1, 0, -1):
        if fits(replace(plan, execution=replace(plan.execution, num_workers=workers))):
            return f"num_workers={workers}"
    return f"memory={promise.promised_bytes}"


def _smaller_shapes(groups: Groups, outputs: Sequence[Source]) -> Iterator[tuple[int, ...]]:
    """Block shapes of whole write units of some outputs: the longest axis is halved, again and again."""
    shape = list(groups.grid.block_shape)
    units = [1] * len(shape)
    for output in outputs:
        if output.write_chunks is not None:
            own = output.write_chunks[output.ndim - len(shape) :]
            units = [math.lcm(one, other) for one, other in zip(units, own, strict=True)]
    while axes := [axis for axis, (size, unit) in enumerate(zip(shape, units, strict=True)) if size > unit]:
        axis = max(axes, key=lambda candidate: shape[candidate])
        shape[axis] = max(units[axis], shape[axis] // 2 // units[axis] * units[axis])
        yield tuple(shape)


def _with_blocks(stage: Stage, block_shape: tuple[int, ...], how: Execution) -> Stage:
    if stage.units.groups is None:
        return stage
    grid = stage.units.groups.grid
    roi = tuple(slice(begin, end) for begin, end in grid.roi)
    groups = plan_groups(tuple(grid.shape), stage.inputs, stage.outputs, block_shape, roi)
    units = Units(groups.grid.n_blocks, groups)
    changed = replace(stage, units=units, cache_bytes=cache_size(stage.inputs, groups, stage.halo))
    return arranged(changed, how)
