"""Operations of several stages, of which the last alone writes the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..blocks import Halo
from ..runner.driver.report import RunReport
from ..runner.execute import execute
from ..runner.ledger.stage_record import Results
from ..runner.planning.build import Where, blocks_stage, once_stage
from ..runner.planning.stage import Stage
from ..sources import Source
from .job import Job


@dataclass(frozen=True)
class BlocksStage:
    """A stage of a multi-stage operation that calls ``function(block, inputs, outputs, mask)`` for every block.

    Parameters
    ----------
    name : str
    function : callable
        Picklable; gets ``context=`` as well where ``setup`` is given.
    inputs, outputs : sequence of Source
    halo : int or sequence of int, optional
    returns : {"none", "each", "fold"}
        ``"each"`` keeps the values by block id for later stages, ``"fold"`` folds them with ``merge``.
    merge : callable, optional
    setup : callable, optional
        ``setup(earlier)`` once a process, where ``earlier["stage"]`` is the value of an earlier once or folded stage
        and ``earlier.each("stage")`` iterates over ``(block_id, value)``.
    memory_factor : float
        Peak bytes of the function over the bytes of the blocks that it reads and writes.
    holds_gil : bool
        Most of the function's time is spent in a kernel that lets no other thread of its process run.
    where : Where, optional
        Another grid, of a stage without outputs: what it finds then does not depend on the blocks that are written.
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[Source]
    outputs: Sequence[Source] = ()
    halo: Halo = None
    returns: Literal["none", "each", "fold"] = "none"
    merge: Callable[[Any, Any], Any] | None = None
    setup: Callable[[Results], Any] | None = None
    memory_factor: float = 3.0
    holds_gil: bool = False
    where: Where | None = None


@dataclass(frozen=True)
class OnceStage:
    """A stage that one worker runs a single time: ``function(earlier)``; see `BlocksStage` for ``earlier``."""

    name: str
    function: Callable[[Results], Any]


def run_stages(name: str, stages: Sequence[BlocksStage | OnceStage], job: Job) -> RunReport:
    """Run the stages of an operation one after the other on the same workers.

    Block stages have the same grid: that of the outputs, which only the last stage may have. A reading stage can name
    another one.

    Returns
    -------
    RunReport
        ``report.results["stage"]`` is the value of a once or folded stage.
    """
    outputs = [output for stage in stages if isinstance(stage, BlocksStage) for output in stage.outputs]
    built = [_build(stage, outputs, job) for stage in stages]
    return execute(name, built, job.execution)


def _build(stage: BlocksStage | OnceStage, outputs: Sequence[Source], job: Job) -> Stage:
    if isinstance(stage, OnceStage):
        return once_stage(stage.function, name=stage.name)
    built = blocks_stage(
        stage.function,
        list(stage.inputs),
        list(outputs if stage.where is None else stage.outputs),
        job if stage.where is None else stage.where,
        name=stage.name,
        halo=stage.halo,
        returns=stage.returns,
        merge=stage.merge,
        setup=stage.setup,
        num_workers=job.execution.num_workers,
        reads_outputs=False,
        memory_factor=stage.memory_factor,
        holds_gil=stage.holds_gil,
    )
    if stage.outputs:
        return built
    # reading stages share the grid, not the outputs: nothing they read is written yet, and they may be run again
    return replace(built, outputs=(), in_place=False)
