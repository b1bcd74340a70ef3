"""A call as an operation, or a job of several, hands it over, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from .. import __version__
from ..runner.driver.report import RunReport, StageReport
from ..runner.execute import Prepared
from ..runner.execution import Execution, current_session
from ..runner.identity.definition import definition_of
from ..runner.planning.build import once_stage
from ..runner.planning.stage import Stage
from ..runner.together import reports_of, together
from ..sources.base import Source
from ..system.memory import peak_bytes
from .records import CallRecord
from .states import Unit, in_memory, units_of


@dataclass(frozen=True)
class Call:
    """What an operation hands over to be run.

    Parameters
    ----------
    name : str
    stages : tuple of Stage
    how : Execution
    run : Prepared
        ``run(resume, on_complete)`` runs it; ``on_complete(report)`` is called when all is written, before the run's
        folder goes.
    reports : callable
        Takes the report of several calls apart.
    """

    name: str
    stages: tuple[Stage, ...]
    how: Execution
    run: Prepared | Whole
    reports: Callable[[RunReport], list[RunReport]] = lambda report: [report]

    @classmethod
    def together(cls, calls: Sequence[Call]) -> Call:
        """Several calls as one, whose report `reports` takes apart."""
        prepared = [call.run for call in calls if isinstance(call.run, Prepared)]
        run = together(prepared)
        return cls(run.name, run.stages, run.how, run, lambda report: reports_of(report, prepared))

    def definition(self) -> dict[str, str]:
        """What it computes."""
        how = self.how
        told = definition_of(self.stages, casting=how.casting, version=how.version)
        return {"package": __version__, **told}

    def units(self) -> tuple[dict[str, Unit], dict[str, Unit]]:
        """Where its inputs lie, and its outputs."""
        outputs = [source for stage in self.stages for source in stage.outputs]
        masks = [stage.mask for stage in self.stages if stage.mask is not None]
        inputs = [source for stage in self.stages for source in stage.inputs]
        return units_of([*inputs, *masks]), units_of(outputs)

    @property
    def kept(self) -> bool:
        """Whether another process can look at all that it writes."""
        return not any(in_memory(source) for stage in self.stages for source in stage.outputs)


@dataclass(frozen=True)
class Explanation:
    """What became of a call.

    Attributes
    ----------
    number : int
        Of the calls of this pass, from 1.
    name : str
    action : {"skipped", "run", "run again", "failed", "planned"}
    reason : str
    seconds : float
        That it took now; of a skipped call, that it took when it was run.
    record : CallRecord, optional
    """

    number: int
    name: str
    action: str
    reason: str
    seconds: float = 0.0
    record: CallRecord | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.number:3d}  {self.action:<9}  {self.name}: {self.reason}"


@dataclass(frozen=True)
class Whole:
    """What runs a job when it has to be run; it goes on by itself where it was."""

    name: str
    how: Execution
    work: Callable[[], Any]
    pre_cleanup: None = None

    def __call__(self, resume: str | None, complete: Callable[[RunReport], None]) -> RunReport:
        """Run it; ``complete`` is called when all is written."""
        begin = perf_counter()
        value = self.work()
        stages = (StageReport(self.name, 1, 1),)
        report = RunReport(self.name, stages, perf_counter() - begin, self.how.num_workers, peak_bytes(), results=value)
        complete(report)
        return report


def within_pipeline() -> bool:
    """Whether calls made here are those of a pipeline."""
    session = current_session()
    return session is not None and session.through is not None


def as_one_call(
    name: str,
    does: Any,
    inputs: Sequence[Source],
    outputs: Sequence[Source],
    how: Execution,
    work: Callable[[], Any],
) -> Any:
    """What a job returns, which is one call of the pipeline around it, if there is any.

    Parameters
    ----------
    name : str
    does : callable
        Stands for what it computes, in the comparison with an earlier call.
    inputs, outputs : sequence of Source
        What it reads and writes; outputs may be `ArrayToBe`.
    how : Execution
    work : callable
        Runs it; not called where it was done and nothing has changed.
    """
    session = current_session()
    if session is None or session.through is None:
        return work()
    stage = replace(once_stage(does, name=name), inputs=tuple(inputs), outputs=tuple(outputs))
    return session.through(name, (stage,), how, Whole(name, how, work)).results
