"""Operations of several stages, each with the grid that suits it; one may hand an array of the run's own to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..blocks import Groups, Halo
from ..runner.driver.report import RunReport
from ..runner.execute import execute
from ..runner.ledger.stage_record import Results
from ..runner.planning.build import Where, blocks_stage, items_stage, once_stage, plan_groups
from ..runner.planning.checks import check_shapes
from ..runner.planning.stage import Stage
from ..sources import Source
from ..sources.output_folder import OutputFolder
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
        An output may be a `RunArray`: the run makes it in its folder (or in memory), later stages have it as an input,
        and it goes when the run ends.
    where : Where, optional
        Grid, region and mask of this stage alone, for its own inputs and outputs, whose shape may be another one; by
        default those of the call, shared with all other stages that have none.
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
    mapped : bool
        Large arrays in the values become files of the run, of which later stages read only the parts that they need
        (``earlier.some("stage", ids)``).
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[Source]
    outputs: Sequence[Source] = ()
    where: Where | None = None
    halo: Halo = None
    returns: Literal["none", "each", "fold"] = "none"
    merge: Callable[[Any, Any], Any] | None = None
    setup: Callable[[Results], Any] | None = None
    memory_factor: float = 3.0
    holds_gil: bool = False
    mapped: bool = False


@dataclass(frozen=True)
class ItemsStage:
    """A stage that calls ``function(index, context=...)`` for 0 .. n - 1 and keeps the values for later stages.

    Parameters
    ----------
    name : str
    function : callable
    n : int
    setup : callable
        As of a `BlocksStage`.
    folder : OutputFolder, optional
        Where the function writes files.
    mapped : bool
        As of a `BlocksStage`.
    """

    name: str
    function: Callable[..., Any]
    n: int
    setup: Callable[[Results], Any]
    folder: OutputFolder | None = None
    mapped: bool = False


@dataclass(frozen=True)
class OnceStage:
    """A stage that one worker runs a single time: ``function(earlier)``; see `BlocksStage` for ``earlier``.

    Parameters
    ----------
    name : str
    function : callable
    folder : OutputFolder, optional
        Where the function writes files.
    """

    name: str
    function: Callable[[Results], Any]
    folder: OutputFolder | None = None


AnyStage = BlocksStage | ItemsStage | OnceStage


def run_stages(
    name: str,
    stages: Sequence[AnyStage],
    job: Job,
    *,
    pre_cleanup: Callable[[str], None] | None = None,
) -> RunReport:
    """Run the stages of an operation one after the other on the same workers.

    Stages without a `where` of their own have one grid, so that they may speak of blocks by number: its cuts suit the
    outputs of all of them. ``pre_cleanup`` is called with the run folder before it is removed.

    Returns
    -------
    RunReport
        ``report.results["stage"]`` is the value of a once or folded stage.
    """
    alike = [stage for stage in stages if isinstance(stage, BlocksStage) and stage.where is None]
    groups = _common(alike, job) if alike else None
    built = [_build(stage, groups, job) for stage in stages]
    return execute(name, built, job.execution, pre_cleanup=pre_cleanup)


def _common(stages: Sequence[BlocksStage], job: Job) -> Groups:
    """Grid and write groups of stages that share them."""
    inputs = [source for stage in stages for source in stage.inputs]
    outputs = [output for stage in stages for output in stage.outputs]
    shape = check_shapes(inputs, outputs, None)
    return plan_groups(shape, inputs, outputs, job.block_shape, job.roi)


def _build(stage: AnyStage, groups: Groups | None, job: Job) -> Stage:
    if isinstance(stage, OnceStage):
        return once_stage(stage.function, name=stage.name, outputs=() if stage.folder is None else (stage.folder,))
    if isinstance(stage, ItemsStage):
        outputs = () if stage.folder is None else (stage.folder,)
        return items_stage(
            stage.function, stage.n, None, name=stage.name, setup=stage.setup, outputs=outputs, mapped=stage.mapped
        )
    return blocks_stage(
        stage.function,
        list(stage.inputs),
        list(stage.outputs),
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
        groups=groups if stage.where is None else None,
        mapped=stage.mapped,
    )
