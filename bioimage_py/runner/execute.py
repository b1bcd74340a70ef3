"""From stages to a report: which ledger a run has, where its folder lies, and what is left of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..backends import Backend, get_backend
from ..errors import ConfigError, ParameterError, ResumeConflict, RunnerError
from ..io.create import create_array
from ..run_folder import RunFolder, folder_gone
from ..sources.arrays.backing import gone
from ..sources.promises import lift, settle
from ..system.files import write_once
from .driver.debug import run_here
from .driver.driver import Driver, Left
from .driver.report import RunReport
from .driver.single_writer import copy_in, fill_scratch, hand_over
from .execution import Execution, current_session
from .identity.imports import code_of, other_code, same_code
from .lease.folders import pool_folder, run_root
from .lease.ownership import OwnedRun, own_run, reopen_run
from .ledger.driver_side import FolderLedger
from .ledger.in_memory import MemoryLedger
from .ledger.stage_record import Results
from .planning.build import with_outputs
from .planning.checks import check_limits
from .planning.defaults import arranged, chosen, on_disk, reopenable
from .planning.estimate import check_budget, plan_of
from .planning.instead import Instead
from .planning.pickling import dump_plan
from .planning.placing import placed_in_folder, placed_in_memory, run_arrays, say_elsewhere
from .planning.plan_file import keep_plan, kept_plan, plan_bytes
from .planning.stage import Plan, Stage
from .worker.process import versions
from .worker.undo import can_keep


@dataclass(frozen=True)
class Prepared:
    """A call before it runs, with the arguments of `execute`; calling it runs it."""

    name: str
    stages: tuple[Stage, ...]
    how: Execution
    value: Callable[[Results], Any] = Results.folded
    pre_cleanup: Callable[[str], None] | None = None

    def __call__(self, resume: str | None, complete: Callable[[RunReport], None]) -> RunReport:
        """Run it, or go on with the run in a folder; ``complete`` is called when all is written."""
        how = self.how if resume is None else replace(self.how, resume=resume)
        return _execute(self.name, self.stages, how, self.value, self.pre_cleanup, complete)


def execute(
    name: str,
    stages: Sequence[Stage],
    how: Execution,
    *,
    value: Callable[[Results], Any] = Results.folded,
    pre_cleanup: Callable[[str], None] | None = None,
) -> RunReport:
    """Run stages on the backend of an execution.

    Parameters
    ----------
    name : str
    stages : sequence of Stage
    how : Execution
    value : callable
        Makes ``report.results`` of the results, while the run folder is still there; by default the values of the
        once and folded stages by name.
    pre_cleanup : callable, optional
        Called with the run folder before it is removed.

    Returns
    -------
    RunReport

    Raises
    ------
    RunnerError
        Blocks failed; the run folder stays and the same call continues the run.
    RunningError, ResumeConflict
        Another run stands in the way.
    """
    if not isinstance(name, str):
        raise ParameterError(f"name={name!r} is not text", remedy=f'name="{name}"')
    if pre_cleanup is not None and not callable(pre_cleanup):
        raise ParameterError(f"pre_cleanup={pre_cleanup!r} cannot be called", remedy="leave it out")
    how = chosen(stages, how)
    stages = tuple(arranged(stage, how) for stage in stages)
    session, prepared = current_session(), Prepared(name, stages, how, value, pre_cleanup)
    if session is not None and session.through is not None and not (how.debug or how.plan):
        return session.through(name, prepared.stages, how, prepared)  # type: ignore[no-any-return]
    return _execute(name, stages, how, value, pre_cleanup)


def _execute(
    name: str,
    stages: Sequence[Stage],
    how: Execution,
    value: Callable[[Results], Any],
    pre_cleanup: Callable[[str], None] | None,
    complete: Callable[[RunReport], None] | None = None,
) -> RunReport:
    """Run stages; ``complete`` is called when all is written, before the run is forgotten."""
    for stage in stages:
        for output in () if how.debug else stage.outputs:
            lift(output)
        for source in stage.sources:
            settle(source)
    if how.debug and not how.plan:
        report = run_here(placed_in_memory(Plan(name, tuple(stages), how)))
        return replace(report, results=value(report.results))
    with _backend(how) as backend:
        limits = backend.limits
        plan = Plan(name, tuple(stages), replace(how, durability=how.durability or limits.durability))
        shares = limits.shares_memory
        promise = plan_of(plan, shares_memory=shares, one_machine=limits.one_machine, job_bytes=backend.job_bytes)
        if how.plan:
            raise Instead(promise)
        check_budget(plan, promise, shares_memory=shares)
        check_limits(how, limits)
        plan = replace(plan, stages=tuple(map(with_outputs, plan.stages)))
        if shares and not on_disk(plan):
            report = _in_memory(plan, backend, value)
        else:
            report = _in_folder(plan, backend, value, pre_cleanup, complete)
        report = replace(report, promised_bytes=promise.promised_bytes)
        if (session := current_session()) is not None:
            session.reports.append(replace(report, results=None))
        return report


@contextmanager
def _backend(how: Execution) -> Iterator[Backend]:
    """The backend of an execution: one for this run, or that which the `execution` block around the call keeps."""
    if (session := current_session()) is not None:
        key = how.job_type, repr(how.job_config)
        yield session.keep(key, lambda: get_backend(how.job_type, how.job_config))
        return
    with closing(get_backend(how.job_type, how.job_config)) as backend:
        yield backend


def _in_memory(plan: Plan, backend: Backend, value: Callable[[Results], Any]) -> RunReport:
    """Run a plan whose outputs do not outlive this process."""
    how = plan.execution
    if how.resume not in ("auto", "never"):
        raise ConfigError(
            f"resume={how.resume!r}: this run is in memory and keeps no run folder to resume from",
            remedy="call again without it",
        )
    plan = placed_in_memory(plan)
    try:
        report = Driver(plan, backend, MemoryLedger(plan)).run()
    finally:
        for stage in plan.stages:
            for output in stage.outputs:
                output.flush()
    check_outputs(plan)
    return replace(report, results=value(report.results))


def _in_folder(
    plan: Plan,
    backend: Backend,
    value: Callable[[Results], Any],
    pre_cleanup: Callable[[str], None] | None,
    complete: Callable[[RunReport], None] | None,
) -> RunReport:
    elsewhere = not backend.limits.shares_memory
    if elsewhere:
        _check_reopenable(plan)
        for stage in plan.stages:
            for source in stage.sources:
                source.flush()  # what this process holds back, its workers would not see
    plan = hand_over(plan)
    plan = replace(plan, stages=tuple(replace(stage, undo=_keeps_undo(stage)) for stage in plan.stages))
    root = run_root(plan.stages, backend.settings.tmp_root)
    payload = dump_plan(plan, needed=elsewhere)
    if current_session() is not None and backend.limits.detaches and backend.pool is None:
        backend.pool = pool_folder(root)
    with _leaving(backend):
        run = own_run(plan, versions(), root, _adopting(plan, backend))
    if plan.execution.detach:
        raise Instead(folder=str(run.folder), job=_detach(plan, backend, run, payload))
    return _drive(plan, backend, run, payload, value, pre_cleanup, complete)


def _adopting(plan: Plan, backend: Backend) -> Callable[[Path], frozenset[str]]:
    """Adopts workers that earlier drivers have left, unless they have other code: those end."""
    return lambda folder: backend.adopt(folder) if same_code(folder, plan.stages) else frozenset()


@contextmanager
def _leaving(backend: Backend) -> Iterator[None]:
    """Where a run cannot be begun, let workers that were adopted go on for the next driver."""
    try:
        yield
    except BaseException:
        backend.leave()
        raise


def _detach(plan: Plan, backend: Backend, run: OwnedRun, payload: bytes | None) -> str:
    """Hand the run over to a job, of which the id is returned, and which waits for this process to let go of it."""
    state = "failed"
    try:
        _describe(plan, backend, run, payload)
        job = backend.detach(run.folder)
        state = "detached"
    finally:
        backend.leave()
        run.release(state)
    return job


def resume_run(
    folder: str | Path,
    how: Callable[[Execution], Execution] = lambda execution: execution,
    *,
    pre_cleanup: Callable[[str], None] | None = None,
    value: Callable[[Plan, Results], Any] = lambda plan, results: results.folded(),
    keep: bool = False,
) -> RunReport:
    """Continue the unfinished run in a folder, as it was planned.

    Parameters
    ----------
    folder : path
        The run folder.
    how : callable
        Changes the run's `Execution` (other workers, another name of the backend's settings).
    pre_cleanup : callable, optional
        Called with the run folder before it is removed.
    value : callable
        Makes ``report.results`` of the plan and the results.
    keep : bool
        Leave the folder of the complete run: the call that began it takes the results from there.

    Raises
    ------
    ConfigError
        There is no unfinished run, or its plan was not kept.
    ResumeConflict
        A module was edited since the run was begun.
    RunningError, RunnerError
    """
    folder = Path(folder).absolute()
    plan, payload = kept_plan(folder), plan_bytes(RunFolder(folder).plan)
    if changed := other_code(RunFolder(folder).code()):
        raise ResumeConflict(
            f"the run in {folder} was begun with other code: {changed}",
            remedy=f"repeat the call that began it with resume={str(folder)!r} to go on with the code as it is now",
        )
    plan = replace(plan, execution=how(plan.execution))
    with _backend(plan.execution) as backend:
        durability = plan.execution.durability or backend.limits.durability
        plan = replace(plan, execution=replace(plan.execution, durability=durability))
        with _leaving(backend):
            run = reopen_run(folder, plan.stages, _adopting(plan, backend), plan.execution.job_type)
        return _drive(plan, backend, run, payload, lambda results: value(plan, results), pre_cleanup, keep=keep)


def _drive(
    plan: Plan,
    backend: Backend,
    run: OwnedRun,
    payload: bytes | None,
    value: Callable[[Results], Any],
    pre_cleanup: Callable[[str], None] | None,
    complete: Callable[[RunReport], None] | None = None,
    *,
    keep: bool = False,
) -> RunReport:
    state = "failed"
    try:
        with _leaving(backend):
            if any(stage.units.n_blocks < n for stage, n in zip(plan.stages, run.state.blocks, strict=True)):
                plan = plan.part_of_a_larger_one()
                payload = dump_plan(plan, needed=not backend.limits.shares_memory)
            placed = _with_arrays(plan, run.folder, backend)
            session, adopted = run.state.sessions, frozenset(run.state.adopted)
            ledger = FolderLedger(run.folder, placed, session=session, adopted=adopted)
            _describe(plan, backend, run, payload)
            if plan.handed:
                fill_scratch(plan, run.folder)
        report = Driver(placed, backend, ledger).run()
        check_outputs(plan, run)
        whole = all(record.n_done >= n for record, n in zip(ledger.records, run.state.blocks, strict=True))
        if plan.handed:
            copy_in(plan, run.folder, last=whole)
        if whole:
            state = "complete"
            run.complete()
        report = replace(report, results=value(report.results))
        if whole and complete is not None:
            complete(report)
        if pre_cleanup is not None:
            pre_cleanup(str(run.folder))
    except BaseException as error:
        if isinstance(error, Exception) and run.gone:
            run.release(state)
            raise folder_gone(run.state.run, run.folder, run.state.stamped) from error
        run.release("detached" if isinstance(error, Left) else state)
        if isinstance(error, RunnerError) and error.tmp_folder is None:
            error.tmp_folder = str(run.folder)
        raise
    if state == "complete" and not keep:
        run.finish()
        for handed in plan.handed:
            shutil.rmtree(handed.scratch.path, ignore_errors=True)
    else:  # the caller is yet to come, or some blocks of a larger run were asked for
        run.release(state)
    return report


def _with_arrays(plan: Plan, folder: Path, backend: Backend) -> Plan:
    """The plan with the arrays that the run makes for itself; those of an earlier session are there."""
    arrays = run_arrays(plan)
    if arrays and not backend.sees_folder:
        say_elsewhere(plan.name, folder, backend.scratch)
    place = RunFolder(folder).arrays_at
    for array in arrays:
        create_array(place, array.name, shape=array.shape, dtype=array.dtype, chunks=array.chunks, format="zarr")
    return placed_in_folder(plan, folder)


def check_outputs(plan: Plan, run: OwnedRun | None = None) -> None:
    """StorageError where an output is no longer the array that was opened: what was written to it is lost.

    Nor may an input behind a network have gone, which workers ask for now and then; of others they know.
    """
    for stage in plan.stages:
        for source in (*stage.outputs, *(part for one in stage.inputs for part in one.parts if part.remote)):
            source.check_there()
    for handed in plan.handed:
        with handed.opened() as output:
            output.check_there()
    if run is not None:
        for written in run.outputs:
            if not written.late and written.place.read(run.state.run) is None:
                raise gone(written.place.url)


def _keeps_undo(stage: Stage) -> bool:
    return (stage.in_place or stage.reads_outputs) and all(can_keep(output) for output in stage.outputs)


def _describe(plan: Plan, backend: Backend, run: OwnedRun, payload: bytes | None) -> None:
    stages = []
    for stage in plan.stages:
        grid = None if stage.units.groups is None else stage.units.groups.grid
        told = ("shape", "block_shape", "roi", "anchor")
        stages.append(
            {
                "name": stage.name,
                "kind": stage.kind,
                "blocks": stage.units.n_blocks,
                "groups": stage.units.n_groups,
                "block_shape": None if grid is None else grid.block_shape,
                "grid": None if grid is None else {name: getattr(grid, name) for name in told},
                "inputs": [repr(source) for source in stage.inputs],
                "outputs": [repr(source) for source in stage.outputs],
            }
        )
    how = {part.name: getattr(plan.execution, part.name) for part in fields(Execution)}
    changed = {name: repr(value) for name, value in how.items() if value != getattr(Execution, name)}
    shares = backend.limits.shares_memory
    about = {
        "name": plan.name,
        "execution": changed,
        "num_workers": plan.execution.num_workers,
        "shares_memory": shares,
        "promised_bytes": plan_of(plan, shares_memory=shares).promised_bytes,
        "stages": stages,
        "code": code_of(plan.stages),
    }
    write_once(RunFolder(run.folder).summary, json.dumps(about, indent=1).encode())  # before what workers wait for
    keep_plan(run.folder, payload, part=any(stage.units.shared for stage in plan.stages))


def _check_reopenable(plan: Plan) -> None:
    for stage in plan.stages:
        for kind, sources in (("input", stage.inputs), ("output", stage.outputs), ("mask", [stage.mask])):
            for index, source in enumerate(sources):
                if source is not None and not reopenable(source):
                    raise ConfigError(
                        f"{kind} {index} of {stage.name!r} ({source!r}) cannot be opened by the workers of"
                        f" job_type={plan.execution.job_type!r}",
                        remedy='copy it to a zarr array first, or use job_type="local"',
                    )
