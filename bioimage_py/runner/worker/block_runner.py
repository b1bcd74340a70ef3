"""Running single blocks: handles of a stage, guarded outputs, the call of the function."""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ...blocks import Block, BlockWithHalo, to_roi
from ...errors import ParameterError, StorageError
from ...sources.base import Source
from ...sources.casting import Casting
from ...system.threads import limit_loaded
from ...wrapper.cached import with_cache
from ..ledger.interface import WorkerSide
from ..planning.stage import Stage
from .inputs import GuardedInput, guarded
from .outputs import GroupBuffer, GuardedOutput
from .read_ahead import ReadAhead
from .undo import Undo


@dataclass(frozen=True)
class Opened:
    """A stage opened in one process."""

    inputs: tuple[Source, ...]
    mask: Source | None
    context: Any
    undo: tuple[Undo, ...]


_FAR_SECONDS = 1.0
"""How often it is asked whether inputs behind a network are there; the driver asks once more at the end."""
_LATER = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, map, filter, contextlib.ContextDecorator)


def ran(value: Any) -> Any:
    """What a function returned; ParameterError where that is something which has not run yet."""
    if not isinstance(value, _LATER) and not hasattr(type(value), "__await__"):
        return value
    if isinstance(value, types.CoroutineType):
        value.close()  # or Python warns that nobody awaited it
    raise ParameterError(
        f"the function returned a {type(value).__name__}, which has not run: nothing would have been done",
        remedy="do the work before the function returns: list(...) runs a generator, asyncio.run(...) a coroutine",
    )


class StageHandles:
    """What the workers of one process share while they run a stage: opened inputs and the stage's context.

    Inputs that a worker of the stage writes are opened without a chunk cache, or as they were before the stage.
    Outputs that take one writer only are written while holding ``turn``.
    """

    def __init__(self, ledger: WorkerSide) -> None:
        self._ledger = ledger
        self.turn = threading.Lock()
        self._lock = threading.Lock()
        self._opened: dict[int, Opened] = {}

    def open(self, index: int) -> Opened:
        """A stage, opened by the first worker that asks."""
        with self._lock:
            if index not in self._opened:
                # earlier stages are over, but for those that run at the same time: their handles and caches go
                chain = self._ledger.plan.chain(index)
                self._opened = {stage: opened for stage, opened in self._opened.items() if stage in chain}
                self._opened[index] = self._open(index, self._ledger.plan.stages[index])
            return self._opened[index]

    def _open(self, index: int, stage: Stage) -> Opened:
        undo: tuple[Undo, ...] = ()
        if stage.undo:
            synced = self._ledger.plan.execution.durability == "node"
            folders = [self._ledger.undo_folder(index, number) for number in range(len(stage.outputs))]
            undo = tuple(
                Undo(folders[number], output, sync=synced, decider=self._ledger.decider(index, number))
                for number, output in enumerate(stage.outputs)
            )
        written = {output.identity: number for number, output in enumerate(stage.outputs)}

        cached = sum(source.chunks is not None and source.identity not in written for source in stage.inputs)

        def opened(source: Source, cache_bytes: int) -> Source:
            if (number := written.get(source.identity)) is not None:
                return undo[number].source if undo else source.fresh()
            return with_cache(source, cache_bytes)

        inputs = tuple(opened(source, stage.cache_bytes // max(1, cached)) for source in stage.inputs)
        mask = None if stage.mask is None else opened(stage.mask, 0)
        context = None if stage.setup is None else ran(stage.setup(self._ledger.earlier(index)))
        return Opened(inputs, mask, context, undo)


class BlockRunner:
    """Runs the groups of one stage in one worker; ``hold`` raises where it may not write any more."""

    def __init__(
        self,
        stage: Stage,
        handles: StageHandles,
        index: int,
        casting: Casting,
        ledger: WorkerSide,
        hold: Callable[[], None] = lambda: None,
    ) -> None:
        self.stage = stage
        self._hold = hold
        opened = handles.open(index)
        self._undo = opened.undo
        synced = ledger.plan.execution.durability == "node"
        self.outputs = tuple(
            GuardedOutput(
                output.durable() if synced else output,
                casting,
                handles.turn if output.concurrency == "single-writer" else None,
                opened.undo[number].source if opened.undo else None,
                hold,
            )
            for number, output in enumerate(stage.outputs)
        )
        inputs = opened.inputs
        read = inputs if opened.mask is None else (*inputs, opened.mask)
        self._read = tuple(part for source in read for part in source.parts)
        self._looked = monotonic()
        inputs = tuple(ReadAhead(one) if number in stage.ahead else one for number, one in enumerate(inputs))
        self._ahead = [one for one in inputs if isinstance(one, ReadAhead)]
        in_front = ledger.plan.stages[ledger.plan.chain(index).start : index]
        written = frozenset(output.identity for one in in_front for output in one.outputs)
        self._inputs = tuple(guarded(one, written) for one in inputs)
        self._mask = None if opened.mask is None else guarded(opened.mask, written)
        self._guards = [one for one in (*self._inputs, self._mask) if isinstance(one, GuardedInput)]
        self._extra = {} if stage.setup is None else {"context": opened.context}
        self._earlier = ledger.earlier(index) if stage.kind == "once" else None

    def buffer(self, group: int, n_blocks: int) -> list[GroupBuffer]:
        """Keep what a group will overwrite, and assemble its blocks so that units are written once.

        A single block is written at once, unless what it has written must not be what it reads.
        """
        groups = self.stage.units.groups
        if groups is None or not self.outputs or (n_blocks == 1 and not self._undo):
            return []
        begin, end = self.stage.units.box(group)
        for undo, output in zip(self._undo, self.outputs, strict=False):
            lead = output.shape[: output.ndim - len(begin)]
            undo.keep((*(slice(0, size) for size in lead), *map(slice, begin, end)))
        buffers = [GroupBuffer(output, begin, end) for output in self.outputs]
        for output, buffer in zip(self.outputs, buffers, strict=True):
            output.buffer = buffer
        return buffers

    def flush(self, buffers: list[GroupBuffer], group: int, done: list[int]) -> None:
        """Write an assembled group: at once if all its blocks are done, else these only, for others write the rest."""
        for output in self.outputs:
            output.buffer = None
        if not buffers:
            return
        units = self.stage.units
        boxes: list[Block | None] = [None]
        if units.groups is not None and (units.shared or len(done) < len(units.blocks(group))):
            boxes = [units.groups.grid[block_id] for block_id in done]
        for buffer in buffers:
            for box in boxes:
                buffer.flush(box)

    def settle(self) -> None:
        """Have what was written survive this process, before it is recorded as done.

        Raises
        ------
        StorageError
            An input was removed, moved away or replaced: what was read since may be fill values.
        """
        self._hold()  # a function may have gone on after a write that was refused
        if far := monotonic() - self._looked > _FAR_SECONDS:
            self._looked = monotonic()
        for source in self._read:
            if source.remote and not far:
                continue
            try:
                source.check_there()
            except StorageError as error:
                raise StorageError(
                    f"An input was removed, moved or replaced while blocks read it ({error.message})",
                    remedy="put it back, and repeat the call: these blocks are done again",
                ) from None
        for output in self.outputs:
            output.target.flush()

    def call(self, block_id: int, following: int | None = None) -> Any:
        """Run the function on one block, and meanwhile read what the following one asks for."""
        limit_loaded()
        stage = self.stage
        if stage.kind == "once":
            return ran(stage.function(self._earlier))
        if stage.kind == "items":
            return ran(stage.function(block_id, **self._extra))
        grid = stage.units.groups.grid  # type: ignore[union-attr]
        block = grid.block(block_id, stage.halo)
        for source in self._ahead:
            source.enter(_read_box(block), None if following is None else _read_box(grid.block(following, stage.halo)))
        for guard in self._guards:
            guard.enter(_read_box(block))
        for output in self.outputs:
            output.enter(block.inner_block if isinstance(block, BlockWithHalo) else block)
        return ran(stage.function(block, self._inputs, self.outputs, self._mask, **self._extra))


def _read_box(block: Block | BlockWithHalo) -> tuple[slice, ...]:
    """The box of its inputs that a block reads."""
    return to_roi(block.outer_block if isinstance(block, BlockWithHalo) else block)
