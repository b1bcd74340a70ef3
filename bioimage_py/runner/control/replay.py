"""Running blocks in this process, one after the other, with the outputs redirected to memory: to look for a bug."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import RegionError
from ...sources.base import Source
from ..driver.debug import Sketch
from ..ledger.interface import WorkerSide
from ..planning.stage import Plan, Stage
from ..worker.block_runner import BlockRunner, StageHandles
from ..worker.undo import Undo


@dataclass(frozen=True)
class Replay:
    """What a block did: its value, and its writes (region and array) for each output."""

    value: Any
    written: tuple[tuple[tuple[tuple[slice, ...], np.ndarray], ...], ...]


def replay_block(plan: Plan, stage: int, block_id: int, ledger: WorkerSide) -> Replay:
    """Run one block of a plan here; exceptions come as they are.

    Data that the stage changes in place is read as it was before, where that is kept.

    The values of the stages before are those of the ledger. RegionError where the stage has no such block.
    """
    check_block(plan.stages[stage], block_id)
    one = _before(plan.stages[stage], stage, ledger)
    one = replace(one, outputs=tuple(map(Sketch, one.outputs)), undo=False)
    ledger.plan = replace(plan, stages=(*plan.stages[:stage], one, *plan.stages[stage + 1 :]))
    runner = BlockRunner(one, StageHandles(ledger), stage, plan.execution.casting, ledger)
    value = runner.call(block_id)
    sketches = [output.target for output in runner.outputs if isinstance(output.target, Sketch)]
    return Replay(value, tuple(tuple(sketch.written) for sketch in sketches))


def check_block(stage: Stage, block_id: int) -> None:
    """RegionError where a stage has no such block."""
    units = stage.units
    n = units.n_blocks if units.groups is None else units.groups.grid.n_blocks
    known = units.ids is not None and stage.kind == "items" and block_id in units.ids
    if not known and not 0 <= block_id < n:
        raise RegionError(f"{stage.name!r} has no block {block_id}, only 0..{n - 1}", remedy="a block in that range")


def _before(stage: Stage, index: int, ledger: WorkerSide) -> Stage:
    """A stage that reads its outputs as they were before it."""
    if not stage.undo:
        return stage
    kept = {
        output.identity: Sketch(Undo(ledger.undo_folder(index, number), output).source)
        for number, output in enumerate(stage.outputs)
    }

    def before(source: Source) -> Source:
        return kept.get(source.identity, source)

    return stage.over(before, before)
