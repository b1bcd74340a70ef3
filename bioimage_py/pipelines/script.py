"""A script whose calls are remembered: what was done is not done again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ParameterError, PipelineError
from ..io.target import OwnPath
from ..runner.driver.report import RunReport
from ..runner.execute import Prepared
from ..runner.execution import Execution, current_execution, current_session, execution
from ..runner.planning.stage import Stage
from ..system.files import own_folder, write_once
from ..system.owner import check_own
from .call import Call, Explanation, Whole
from .calls import Calls
from .detached import as_job, wanted_as_job
from .folder import bytes_in, check_folder, empty_folder, is_driver, lock_folder, script_path, write_about
from .overlap import Overlap, check_overlap, forget_refused
from .plan import PipelinePlan, PlanEnds, Planner
from .records import Records
from .settings import Settings, settings_beside
from .states import units_of


class Pipeline:
    """What `pipeline` gives to a ``with`` block.

    Attributes
    ----------
    folder : Path
        Where it keeps what it knows.
    parameters : dict
        Those of the file of settings beside the script.
    """

    def __init__(self, folder: Path, *, scratch_bytes: int | None, keep: bool, plan: bool, settings: Settings) -> None:
        self.folder = folder
        self.parameters = settings.parameters
        self.scratch_bytes = scratch_bytes
        self.keep = keep
        self.discarded = False
        self.new = False
        self._settings = settings
        self._scratch = folder / "scratch"
        self._names: dict[str, Path] = {}
        self._records = Records(folder / "calls")
        self._records.settle()
        self.new = not any(True for _ in self._records)
        self._calls = Calls(self._records, self._scratch)
        self._overlap: Overlap | None = None
        self._planner = Planner(self._calls) if plan else None
        for name in {name for record in self._records for name, change in record.wrote.items() if change.removed}:
            if Path(name).is_relative_to(self._scratch):  # a kill may have left a part of it
                shutil.rmtree(name, ignore_errors=True)

    def scratch(self, name: str) -> Path:
        """An output that belongs to the pipeline: made when a call writes it, removed when all is done.

        Parameters
        ----------
        name : str
            Of the array, such as "smooth".

        Returns
        -------
        Path
            To be given to operations as their output; what they return is the array.

        Raises
        ------
        ParameterError
            The name is taken in this pass, or is none of a file.

        Examples
        --------
        >>> smooth = bioimage_py.filters.gaussian_smoothing(raw, 2.0, p.scratch("smooth"))  # doctest: +SKIP
        """
        if not isinstance(name, str) or not name or name.startswith(".") or "/" in name or os.sep in name:
            raise ParameterError(f"{name!r} is no name of an array", remedy='p.scratch("smooth")')
        if name in self._names:
            raise ParameterError(f"this pipeline has an array {name!r} already", remedy=f'p.scratch("{name}2")')
        self._names[name] = OwnPath(self._scratch / f"{name}.zarr")
        return self._names[name]

    def explain(self) -> list[Explanation]:
        """What became of every call so far, and why.

        Returns
        -------
        list of Explanation
            Printed, each is a line.
        """
        return list(self._calls.explained if self._planner is None else self._planner.explained)

    def plan(self) -> PipelinePlan:
        """What the calls of this pass need, and what of it is done already; complete at the end of the script.

        Raises
        ------
        ConfigError
            The pipeline runs its calls: begin it with ``plan=True``.
        """
        if self._planner is None:
            raise ConfigError("this pipeline runs its calls", remedy="bioimage_py.pipeline(..., plan=True)")
        return self._planner.result()

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page: a bar for each call, what each has read and written, and why it was skipped or run.

        Parameters
        ----------
        path : path
            Such as "report.html".
        """
        from .report import page

        write_once(Path(path), page(self.folder.name, self.explain()).encode())

    def _through(self, name: str, stages: tuple[Stage, ...], how: Execution, run: Prepared | Whole) -> RunReport:
        if how.detach:
            raise ConfigError("a call of a pipeline cannot be detached by itself", remedy="drop detach=True")
        call = Call(name or _called(stages[-1].function), stages, how, run)
        waiting = [] if self._overlap is None else self._overlap.waiting
        if self._planner is not None:
            if self._overlap is not None:
                check_overlap(call, waiting)
                waiting.append(call)
            return self._planner.through(call)
        self._check_budget([*waiting, call])
        if self._overlap is not None:
            return self._overlap.add(call)
        with _nobodys():
            return self._calls.through(call)

    @contextmanager
    def overlap(self) -> Iterator[None]:
        """Run the calls of a ``with`` block as one: blocks of the next one begin when those that they read are done.

        So no worker waits for the last blocks of a call. The results have the same bits, and a script that died goes
        on as ever. The calls are run when the block ends, or when an array that one of them writes is read in it.

        Raises
        ------
        PipelineError
            A call needs all of what others write (it merges or returns a value, changes data in place, ...); says why.

        Examples
        --------
        >>> with p.overlap():  # doctest: +SKIP
        ...     smooth = bioimage_py.filters.gaussian_smoothing(raw, 2.0, p.scratch("smooth"))
        ...     bright = bioimage_py.operations.multiply(smooth, 2, "bright.zarr")
        """
        if self._overlap is not None:
            raise PipelineError("this is inside of another overlap() already", remedy="one `with p.overlap():` for all")
        overlap = self._overlap = Overlap(self._calls, _nobodys)
        try:
            yield
        except BaseException:
            overlap.abandon()
            raise
        finally:
            self._overlap = None
        if self._planner is None:
            overlap.run()

    def _check_budget(self, calls: Sequence[Call]) -> None:
        if self.scratch_bytes is None:
            return
        new = sum(
            output.nbytes
            for call in calls
            for stage in call.stages
            for output in stage.outputs
            if any(Path(name).is_relative_to(self._scratch) for name in units_of([output]))
        )
        there = bytes_in(self._scratch)
        if new and new + there > self.scratch_bytes:
            raise PipelineError(
                f"{calls[-1].name} makes a scratch array of {new / 2**20:.1f} MiB; with {there / 2**20:.1f} MiB that"
                f" are there, this is above scratch_bytes={self.scratch_bytes}",
                remedy=f"scratch_bytes={new + there}, or p.remove(...) what no later call reads",
            )

    def discard(self) -> None:
        """Have the whole folder removed at the end of the block: nothing of it is needed any more."""
        self.discarded = True

    def remove(self, name: str) -> None:
        """Remove a scratch array that no later call reads; where one does, it is made again.

        Parameters
        ----------
        name : str
            As given to `scratch`.
        """
        path = self._names.get(name)
        if path is None:
            raise ParameterError(f"this pipeline has no array {name!r}", remedy=f"one of {sorted(self._names)}")
        if self._overlap is not None:
            self._overlap.run()
        if self._planner is None:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        """Remove an array; what was removed is told first, so that a kill in between is no loss."""
        for record in self._records:
            if record.done and str(path) in record.wrote and not record.wrote[str(path)].removed:
                change = replace(record.wrote[str(path)], removed=True)
                self._records.put(replace(record, wrote={**record.wrote, str(path): change}))
        shutil.rmtree(path, ignore_errors=True)

    def _end(self) -> None:
        """The script has come to its end: what it did not call is forgotten, scratch arrays go."""
        # what was changed in place stays changed, also where the script leaves that out for once
        stale = [r for r in self._records if r.number not in self._calls.met and not (r.in_place and r.done)]
        self._records.forget(stale)
        if self.keep or not self._scratch.is_dir():
            return
        for path in sorted(self._scratch.iterdir()):
            if path.suffix == ".zarr":
                self._remove(path)
        shutil.rmtree(self._scratch, ignore_errors=True)


@contextmanager
def _nobodys() -> Iterator[None]:
    """A call inside of a call, of its pre_cleanup say, is none of the script's."""
    session = current_session()
    if session is None:
        yield
        return
    session.through, through = None, session.through
    try:
        yield
    finally:
        session.through = through


def _called(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


@contextmanager
def pipeline(
    folder: str | os.PathLike[str],
    *,
    scratch_bytes: int | None = None,
    keep: bool = False,
    plan: bool = False,
    settings: str | os.PathLike[str] | None = None,
    detach: bool = False,
    **how: Any,
) -> Iterator[Pipeline]:
    """Remember the calls of a ``with`` block, so that a script that died goes on where it was.

    Every call of this package in the block that has come to its end leaves a record in the folder. When the script is
    started again, a call whose function, parameters, inputs and outputs are as they were returns at once what it
    returned then; any other is run, and with it what reads its output. Where a change cannot be told, the call is run.

    Parameters
    ----------
    folder : path
        Where the records and the scratch arrays lie; made when it is not there. One process at a time works in it.
    scratch_bytes : int, optional
        How much the scratch arrays may take on the disk; by default as much as they need.
    keep : bool, default False
        Leave the scratch arrays when all is done. After an error they stay in any case.
    plan : bool, default False
        Go through the block without running anything: see `Pipeline.plan`. It ends where a value is needed that a call
        has yet to return.
    settings : path, optional
        TOML that changes keywords: see the page on pipelines. By default the file that is called as the script, with
        the ending ``.toml``, where there is one.
    detach : bool, default False
        Run the whole script as a job that goes on without this process: of the scheduler where ``job_type="slurm"``,
        else a process of its own session on this machine. Here the script ends at this line, with `Detached`.
    **how
        Fields of `bioimage_py.Execution` for all calls in the block, such as ``job_type="slurm", num_workers=200``.
        Workers live across the calls.

    Yields
    ------
    Pipeline

    Raises
    ------
    RunningError
        Another process is working in the folder.
    AccessError
        The folder is somebody else's, or others can write in it: what it holds would be opened as code.
    PipelineError
        A call has to be run on data as they were before a later call changed them in place.
    Detached
        The script goes on as a job: an exit of this process with code 0, unless it is caught.

    Examples
    --------
    >>> with bioimage_py.pipeline("neurons.run", num_workers=2) as p:  # doctest: +SKIP
    ...     smooth = bioimage_py.filters.gaussian_smoothing(raw, 2.0, p.scratch("smooth"))
    ...     labels = bioimage_py.segmentation.label(smooth, "out.zarr/labels", threshold=120)
    """
    path = Path(os.path.abspath(os.fspath(folder)))
    plans = _plans.get()
    plan = plan or plans is not None
    script = script_path()
    chosen = settings_beside(script) if settings is None else Settings.read(Path(settings))
    settled = dict(chosen.execution)
    chosen = replace(chosen, execution=settled)
    detach = bool(settled.pop("detach", detach)) or wanted_as_job()
    if detach and not (plan or is_driver()):
        raise as_job(path, script, current_execution().updated({**how, **chosen.execution}))
    about = {"script": script}
    with _opened(path, about, chosen, scratch_bytes=scratch_bytes, keep=keep, plan=plan, how=how) as made:
        try:
            yield made
        except PlanEnds as end:
            if made._planner is None:
                raise
            made._planner.ends = str(end)
        if plans is not None:
            plans.append((path, made.plan()))


@contextmanager
def job_pipeline(folder: Path, purpose: str | None, how: Execution) -> Iterator[Pipeline]:
    """The pipeline of a job that is one call to its user: settings beside the script are none of its business.

    What was left there for another ``purpose`` goes first; with None, all that was left. The folder goes at the end of
    the block, and after an error where `Pipeline.discard` was called.
    """
    about = {"script": "", "purpose": purpose}
    with _opened(folder, about, Settings(), how={"job_type": how}) as made:
        yield made
        made.discard()


@contextmanager
def planned_pipeline(folder: Path, how: Execution) -> Iterator[Pipeline]:
    """The pipeline of such a job in a folder that is thrown away: its calls are planned, none is run."""
    with _opened(folder, {"script": ""}, Settings(), how={"job_type": how}, plan=True) as made:
        yield made


@contextmanager
def _opened(
    path: Path,
    about: dict[str, Any],
    settings: Settings,
    *,
    how: dict[str, Any],
    scratch_bytes: int | None = None,
    keep: bool = False,
    plan: bool = False,
) -> Iterator[Pipeline]:
    own_folder(path)
    check_own(path)
    known = check_folder(path)
    with lock_folder(path):
        if "purpose" in about and (about["purpose"] is None or known.get("purpose") != about["purpose"]):
            empty_folder(path)
        write_about(path, about)
        made = Pipeline(path, scratch_bytes=scratch_bytes, keep=keep, plan=plan, settings=settings)
        try:
            with execution(**{**how, **settings.execution}):
                session = current_session()
                assert session is not None
                session.through, session.override = made._through, settings.override
                yield made
            if not plan and not made.discarded:
                made._end()
        finally:
            forget_refused()
            if made.discarded:
                shutil.rmtree(path, ignore_errors=True)


_plans: ContextVar[list[tuple[Path, PipelinePlan]] | None] = ContextVar("bioimage_py_plans", default=None)


@contextmanager
def planning() -> Iterator[list[tuple[Path, PipelinePlan]]]:
    """Have all pipelines in a ``with`` block planned, and collect the plans; a script ends where a value is missing."""
    plans: list[tuple[Path, PipelinePlan]] = []
    token = _plans.set(plans)
    try:
        yield plans
    except (NameError, PlanEnds):
        # what follows a pipeline may ask for what a call would have returned
        if not plans:
            raise
    finally:
        _plans.reset(token)
