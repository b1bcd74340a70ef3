"""The one worker loop: claim a batch, run its blocks, hand it in, repeat."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

from ..blocks import Block, BlockWithHalo
from ..sources.base import Source
from ..sources.values import Casting
from .fold import Fold
from .guard import GroupBuffer, GuardedOutput
from .ledger import BatchRecord, BlockFailure, MemoryLedger
from .plan import Batch, Stage


class StageHandles:
    """What the workers of one process share while they run a stage: opened inputs and the stage's context.

    Inputs that a worker of the stage writes are opened without a chunk cache.
    """

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._opened: dict[int, tuple[tuple[Source, ...], Source | None, Any]] = {}

    def open(self, index: int) -> tuple[tuple[Source, ...], Source | None, Any]:
        """Inputs, mask and context of a stage; opened by the first worker that asks."""
        with self._lock:
            if index not in self._opened:
                stage = self._ledger.plan.stages[index]
                written = {output.identity for output in stage.outputs}
                inputs = tuple(
                    source.fresh(cache_bytes=0 if source.identity in written else stage.cache_bytes)
                    for source in stage.inputs
                )
                mask = None if stage.mask is None else stage.mask.fresh()
                context = None if stage.setup is None else stage.setup(self._ledger.earlier(index))
                self._opened[index] = (inputs, mask, context)
            return self._opened[index]


class BlockRunner:
    """Runs the groups of one stage in one worker."""

    def __init__(self, stage: Stage, handles: StageHandles, index: int, casting: Casting, ledger: MemoryLedger) -> None:
        self.stage = stage
        self.outputs = tuple(GuardedOutput(output, casting) for output in stage.outputs)
        inputs, mask, context = handles.open(index)
        self._call = self._calls(inputs, mask, context, ledger.earlier(index) if stage.kind == "once" else None)

    def _calls(
        self, inputs: tuple[Source, ...], mask: Source | None, context: Any, earlier: Any
    ) -> Callable[[int], Any]:
        stage, function, outputs = self.stage, self.stage.function, self.outputs
        extra = {} if stage.setup is None else {"context": context}
        if stage.kind == "once":
            return lambda _: function(earlier)
        if stage.kind == "items":
            return lambda item: function(item, **extra)
        grid, halo = stage.units.groups.grid, stage.halo  # type: ignore[union-attr]

        def call(block_id: int) -> Any:
            block: Block | BlockWithHalo
            if halo is None:
                block = inner = grid[block_id]
            else:
                block = grid.with_halo(block_id, halo)
                inner = block.inner_block
            for output in outputs:
                output.enter(inner)
            return function(block, inputs, outputs, mask, **extra)

        return call

    def buffer(self, group: int, n_blocks: int) -> list[GroupBuffer]:
        """Buffers that assemble a group of several blocks, so that its write units are written once."""
        groups = self.stage.units.groups
        if groups is None or groups.trivial or not self.outputs or n_blocks == 1:
            return []
        begin, end = groups.box(group)
        buffers = [GroupBuffer(output.target, begin, end) for output in self.outputs]
        for output, buffer in zip(self.outputs, buffers, strict=True):
            output.buffer = buffer
        return buffers

    def flush(self, buffers: list[GroupBuffer]) -> None:
        """Write assembled groups."""
        for output, buffer in zip(self.outputs, buffers, strict=False):
            output.buffer = None
            buffer.flush()

    def call(self, block_id: int) -> Any:
        """Run the function on one block."""
        return self._call(block_id)


def work(worker: str, ledger: MemoryLedger, handles: StageHandles) -> None:
    """Run batches until the ledger says that there is nothing left to do.

    Parameters
    ----------
    worker : str
        Name of this worker.
    ledger : MemoryLedger
    handles : StageHandles
        Shared by the workers of this process.
    """
    runner: BlockRunner | None = None
    current = -1
    total = 0
    while (batch := ledger.claim(worker)) is not None:
        if batch.stage != current or runner is None:
            current = batch.stage
            stage = ledger.plan.stages[current]
            runner = BlockRunner(stage, handles, current, ledger.plan.execution.casting, ledger)
        total = run_batch(worker, batch, runner, ledger, total)


def run_batch(worker: str, batch: Batch, runner: BlockRunner, ledger: MemoryLedger, total: int) -> int:
    """Run one batch and hand it in; returns the number of blocks this worker has done so far."""
    stage, record = runner.stage, BatchRecord(worker, batch)
    fold = Fold(stage.merge) if stage.merge is not None else None
    keep = stage.returns == "each"
    for group, ids in batch.groups(stage.units):
        failures: list[BlockFailure] = []
        buffers = runner.buffer(group, len(ids))
        done: list[int] = []
        values: list[Any] = []
        for block_id in ids:
            if ledger.stopping:
                break
            begin = perf_counter()
            try:
                value = runner.call(block_id)
            except BaseException as error:  # noqa: BLE001 - SystemExit of user code must not end a worker
                failures.append(_failure(worker, batch, runner, block_id, error))
                continue
            record.seconds.append(perf_counter() - begin)
            done.append(block_id)
            if keep or fold is not None:
                values.append(value)
        try:
            runner.flush(buffers)
        except BaseException as error:  # noqa: BLE001 - a group that cannot be written has no block done
            failures += [_failure(worker, batch, runner, block_id, error) for block_id in done]
            del record.seconds[len(record.seconds) - len(done) :]
            done, values = [], []
        if failures and fold is not None:  # a folded value covers the group as a whole
            del record.seconds[len(record.seconds) - len(done) :]
            done = []
        record.ids.extend(done)
        total += len(done)
        ledger.count(worker, total)
        if keep:
            record.values += values
        if fold is not None and not failures:
            for value in values[1:]:
                values[0] = value if values[0] is None else values[0] if value is None else fold.merge(values[0], value)
            fold.add(0, group, values[0] if values else None)
        if failures:
            ledger.fail(batch, group, failures, ids if fold is not None else [f.block_id for f in failures])
        if ledger.stopping:
            break
    if fold is not None:
        record.nodes = fold.partial()
    ledger.hand_in(record)
    return total


def _failure(worker: str, batch: Batch, runner: BlockRunner, block_id: int, error: BaseException) -> BlockFailure:
    return BlockFailure.of(batch.stage, block_id, runner.stage.where(block_id), worker, batch.attempt, error)
