"""The calls that run a function: `Runner.run`, `Runner.map` and `map_blocks`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ..arguments import named
from ..backends import backend_class
from ..blocks import Halo, normalize_halo
from .control.attach import attach
from .control.detached import DetachedRun, returned
from .driver.report import RunReport
from .execute import execute, resume_run
from .execution import Execution, current_execution
from .ledger.stage_record import Results
from .planning.build import Where, blocks_stage, items_stage
from .planning.checks import check_runs, whole_numbers
from .planning.estimate import RunPlan
from .planning.stage import Plan, Stage


class Runner:
    """Runs functions over blocks or indices.

    Parameters
    ----------
    config : object, optional
        Settings of the backend.
    """

    job_type: ClassVar[str] = "local"

    @named
    def __init__(self, config: Any = None) -> None:
        backend = backend_class(self.job_type)
        backend.check(config)
        self.config = backend.default_config() if config is None else config

    @named
    def run(
        self,
        function: Callable[..., Any],
        inputs: Any,
        outputs: Any = (),
        *,
        block_shape: Any = None,
        halo: Halo = None,
        mask: Any = None,
        num_workers: int = 1,
        block_ids: Sequence[int] | None = None,
        has_return_val: bool = False,
        name: str = "",
        roi: tuple[slice, ...] | None = None,
        pre_cleanup: Callable[[Any], None] | None = None,
        resume_from: Any = None,
    ) -> list[Any] | None:
        """Call ``function(block, inputs, outputs, mask)`` for every block.

        Parameters
        ----------
        function : callable
            ``block`` is a `Block`, or a `BlockWithHalo` where ``halo`` is given (0 too); ``inputs`` and ``outputs``
            are tuples of `Source`; ``mask`` is a `Source` or None. A function writes its own block only.
        inputs, outputs : sequence of source-like
            Inputs of one shape; outputs of that shape, leading axes allowed in front.
        block_shape : sequence of int, optional
            Voxels per axis; by default chosen from the chunks.
        halo : int or sequence of int, optional
            Voxels around a block.
        mask : source-like, optional
            Handed to the function.
        num_workers : int
        block_ids : sequence of int, optional
            Ids in C order over the grid; by default all.
        has_return_val : bool
            Return the values.
        name : str
            Title of the progress bar; no bar without it.
        roi : tuple of slice, optional
            Region to run on.
        pre_cleanup : callable, optional
            Called with the run folder before it is removed; a local run has none.
        resume_from : path, optional
            Continue the unfinished run in this folder; raises where the call is another one.

        Returns
        -------
        list or None
            With ``has_return_val`` the values, in the order of ``block_ids``.

        Raises
        ------
        RunnerError
            Blocks failed.
        ConfigError
            ``resume_from`` together with ``block_ids``, or without a run in that folder.
        """
        ids = whole_numbers(block_ids, "block_ids")
        how = self._execution(num_workers, resume_from, ids)
        stage = blocks_stage(
            function,
            inputs,
            outputs,
            Where(block_shape, mask, ids, roi),
            name=name or "blocks",
            halo=halo,
            returns="each" if has_return_val else "none",
            num_workers=how.num_workers,
        )
        return _values(name, stage, how, ids, pre_cleanup)

    @named
    def map(
        self,
        function: Callable[[int], Any],
        n_items: int | None = None,
        *,
        item_ids: Sequence[int] | None = None,
        num_workers: int = 1,
        has_return_val: bool = True,
        name: str = "",
        pre_cleanup: Callable[[Any], None] | None = None,
        resume_from: Any = None,
    ) -> list[Any] | None:
        """Call ``function(index)`` for ``0..n_items-1`` or for ``item_ids``; values come in that order."""
        ids = whole_numbers(item_ids, "item_ids")
        how = self._execution(num_workers, resume_from, ids)
        stage = items_stage(function, n_items, ids, name=name or "items", returns="each" if has_return_val else "none")
        return _values(name, stage, how, ids, pre_cleanup)

    def resume(
        self,
        tmp_folder: Any,
        *,
        name: str = "resume",
        num_workers: int | None = None,
        pre_cleanup: Callable[[str], None] | None = None,
    ) -> list[Any] | None:
        """Continue the unfinished run in a folder, as it was planned.

        Parameters
        ----------
        tmp_folder : path
            The run folder (`RunnerError.tmp_folder`).
        name : str
            Title of the progress bar.
        num_workers : int, optional
            By default that of the run.
        pre_cleanup : callable, optional
            Called with the run folder before it is removed.

        Returns
        -------
        list or None
            The values, where the run had any, by ascending ids.
        """

        def how(before: Execution) -> Execution:
            changes: dict[str, Any] = {"job_type": self.job_type, "progress": before.progress and bool(name)}
            if num_workers is not None:
                changes["num_workers"] = num_workers
            return before.updated(changes)

        return resume_run(tmp_folder, how, pre_cleanup=pre_cleanup, value=_last_values).results  # type: ignore[no-any-return]

    def reattach(
        self, tmp_folder: Any, name: str = "reattach", pre_cleanup: Callable[[str], None] | None = None
    ) -> list[Any] | None:
        """Come back to a run: wait while somebody drives it, then do what is left.

        Workers that its drivers have left go on; new ones are started where they are too few.

        Parameters
        ----------
        tmp_folder : path
            The run folder.
        name : str
            Title of the progress bar.
        pre_cleanup : callable, optional
            Called with the run folder before it is removed.

        Returns
        -------
        list or None
            As `resume`.
        """

        def how(before: Execution) -> Execution:
            progress = before.progress and bool(name)
            return before.updated({"job_type": self.job_type, "job_config": self.config, "progress": progress})

        return attach(tmp_folder, how, pre_cleanup=pre_cleanup, value=_last_values).results  # type: ignore[no-any-return]

    def _execution(self, num_workers: int, resume_from: Any, ids: Sequence[int] | None) -> Execution:
        how = replace(current_execution(), job_type=self.job_type, num_workers=num_workers, job_config=self.config)
        return how.resuming(resume_from, ids)


def _values(
    name: str, stage: Stage, how: Execution, ids: Sequence[int] | None, pre_cleanup: Callable[[Any], None] | None
) -> list[Any] | None:
    """Run a stage; its values in the order of some ids, where it keeps any."""
    kept = stage.returns == "each"

    def value(results: Results) -> Any:
        return list(results.listed(stage.name, ids)) if kept else None

    report = returned(lambda: execute(name, [stage], how, value=value, pre_cleanup=pre_cleanup))
    if not isinstance(report, RunReport):  # an enclosing `execution` block says so
        return report  # type: ignore[return-value]
    return report.results if kept else None


def _last_values(plan: Plan, results: Results) -> list[Any] | None:
    """Values of the last stage by ascending ids, where it keeps them."""
    stage = plan.stages[-1]
    return [value for _, value in results.each(stage.name)] if stage.returns == "each" else None


class LocalRunner(Runner):
    """Runs on threads of this process."""

    job_type = "local"


class SubprocessRunner(Runner):
    """Runs on worker processes of this machine."""

    job_type = "subprocess"


class SlurmRunner(Runner):
    """Runs on jobs of a SLURM cluster, as `SlurmConfig` says; by default as the user's configuration file does."""

    job_type = "slurm"


_RUNNERS: dict[str, type[Runner]] = {"local": LocalRunner, "slurm": SlurmRunner, "subprocess": SubprocessRunner}


def get_runner(job_type: str, config: Any = None) -> Runner:
    """The runner of a job type.

    Parameters
    ----------
    job_type : str
        Name of a backend, in any case.
    config : object, optional
        Settings of the backend.

    Raises
    ------
    ConfigError
        Unknown job type; lists the known ones.
    """
    how = Execution(job_type=job_type)
    backend_class(how.job_type).check(config)
    if how.job_type in _RUNNERS:
        return _RUNNERS[how.job_type](config)
    runner: type[Runner] = type(f"{how.job_type.title()}Runner", (Runner,), {"job_type": how.job_type})
    return runner(config)


@named
def map_blocks(
    function: Callable[..., Any],
    inputs: Any,
    outputs: Any = (),
    *,
    block_shape: Any = None,
    halo: Halo = None,
    mask: Any = None,
    roi: tuple[slice, ...] | None = None,
    block_ids: Sequence[int] | None = None,
    has_return_val: bool = False,
    reduce: Callable[[Any, Any], Any] | None = None,
    setup: Callable[[], Any] | None = None,
    skip_empty: bool = False,
    name: str = "",
    execution: Execution | None = None,
    **settings: Any,
) -> RunReport | RunPlan | DetachedRun:
    """Call ``function(block, inputs, outputs, mask)`` for every block and report what happened.

    Parameters
    ----------
    function, inputs, outputs, block_shape, halo, mask, roi, block_ids, has_return_val, name
        As in `Runner.run`.
    reduce : callable, optional
        ``reduce(left, right)`` folds the values in a fixed tree: the same bits whatever the workers did.
    skip_empty : bool
        Leave out blocks for which the mask (without one, the first input) has no stored chunk, before workers start.
        They have no entry in the results.
    setup : callable, optional
        Called once a process; its value reaches the function as ``context=``.
    execution : Execution, optional
        How to run; by default that of the enclosing `bioimage_py.execution` block.
    **settings
        Fields of `Execution` to change (``num_workers=4``).

    Returns
    -------
    RunReport
        ``results`` holds the values (or the folded one). With ``plan=True`` a `RunPlan`, with
        ``detach=True`` a `DetachedRun`.
    """
    ids = whole_numbers(block_ids, "block_ids")
    how = current_execution(execution).resuming(settings.pop("resume_from", None)).updated(settings)
    stage = blocks_stage(
        function,
        inputs,
        outputs,
        Where(block_shape, mask, ids, roi, skip_empty),
        name=name or "blocks",
        halo=halo,
        returns="fold" if reduce is not None else "each" if has_return_val else "none",
        merge=reduce,
        setup=None if setup is None else _WithoutArguments(setup),
        num_workers=how.num_workers,
    )

    def value(results: Results) -> Any:
        if stage.returns == "each":
            return results.listed(stage.name, ids).detached()  # read when they are looked at, without the run folder
        return results[stage.name] if stage.returns == "fold" else None

    return returned(lambda: execute(name, [stage], how, value=value))


class _WithoutArguments:
    """A user's ``setup()`` as a stage's ``setup(earlier)``."""

    def __init__(self, setup: Callable[[], Any]) -> None:
        check_runs(setup)
        self.setup = setup

    def __call__(self, earlier: Results) -> Any:
        return self.setup()


def run_block(
    function: Callable[..., Any],
    grid: Any,
    block_id: int,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    mask: Any = None,
    halo: Halo = None,
) -> Any:
    """Call a block function for one block of a grid, here and now.

    Parameters
    ----------
    function : callable
        ``function(block, inputs, outputs, mask)``.
    grid : Grid
    block_id : int
    inputs, outputs : sequence of Source
    mask : Source, optional
    halo : int or sequence of int, optional
    """
    return function(grid.block(block_id, normalize_halo(halo, grid.ndim)), inputs, outputs, mask)
