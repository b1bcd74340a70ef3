"""Going through a script without running a block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

from ..backends import get_backend
from ..markup import table
from ..runner.driver.report import RunReport, StageReport
from ..runner.planning.estimate import RunPlan, plan_of
from ..runner.planning.stage import Plan
from .call import Call, Explanation
from .calls import Calls
from .making import to_be
from .states import units_of


class PlanEnds(BaseException):
    """A script needs what a call that was not run would have returned."""


class ToBe:
    """Stands for what a call would have returned; whoever looks at it ends the plan."""

    def __init__(self, call: str) -> None:
        object.__setattr__(self, "_call", call)

    def _ends(self, *_: Any, **__: Any) -> NoReturn:
        raise PlanEnds(f"what follows needs what {object.__getattribute__(self, '_call')} returns")

    def __getattribute__(self, name: str) -> Any:
        if name in ("_ends", "__class__"):
            return object.__getattribute__(self, name)
        return object.__getattribute__(self, "_ends")()

    __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __int__ = __call__ = __array__ = _ends
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _ends
    __lt__ = __le__ = __gt__ = __ge__ = __index__ = __repr__ = __str__ = __contains__ = _ends


@dataclass(frozen=True)
class PlannedCall:
    """One call of a plan.

    Attributes
    ----------
    name : str
    done : bool
        It was done, and nothing has changed since: it will be skipped.
    reason : str
        Why it will be run.
    plan : RunPlan
    """

    name: str
    done: bool
    reason: str
    plan: RunPlan

    @property
    def blocks(self) -> int:
        """Blocks of all its stages."""
        return sum(stage.n_blocks for stage in self.plan.stages)

    @property
    def bytes_read(self) -> int:
        """Uncompressed."""
        return sum(stage.bytes_read for stage in self.plan.stages)

    @property
    def bytes_written(self) -> int:
        """Uncompressed."""
        return sum(stage.bytes_written for stage in self.plan.stages)

    @property
    def files(self) -> int:
        """Files that are written."""
        return sum(stage.files_written for stage in self.plan.stages)


@dataclass(frozen=True)
class PipelinePlan:
    """What a script will do; what `Pipeline.plan` returns.

    Attributes
    ----------
    calls : tuple of PlannedCall
    ends : str
        Where the plan ends before the script does, and why; nothing where it is whole.
    """

    calls: tuple[PlannedCall, ...]
    ends: str = ""

    @property
    def to_run(self) -> tuple[PlannedCall, ...]:
        """Calls that are not done."""
        return tuple(call for call in self.calls if not call.done)

    def _rows(self) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for number, call in enumerate(self.calls, 1):
            rows.append((number, call.name, "done" if call.done else "to run", *_sizes([call]), call.reason))
        rows.append(("", "sum of what is to run", "", *_sizes(self.to_run), ""))
        return rows

    def __str__(self) -> str:
        names = ("", "call", "", "blocks", "MiB read", "MiB written", "files", "memory MiB", "workers", "why")
        rows = [names, *self._rows()]
        widths = [max(len(str(row[column])) for row in rows) for column in range(len(names))]
        lines = [
            "  ".join(
                str(cell).ljust(width) if column in (1, 2, 9) else str(cell).rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *([f"The plan ends here: {self.ends}."] if self.ends else [])])

    def _repr_html_(self) -> str:
        names = ("", "call", "", "blocks", "MiB read", "MiB written", "files", "memory MiB", "workers", "why")
        return table("pipeline" if not self.ends else f"pipeline, up to here: {self.ends}", names, self._rows())


def _sizes(calls: Any) -> tuple[object, ...]:
    return (
        sum(call.blocks for call in calls),
        f"{sum(call.bytes_read for call in calls) / 2**20:.1f}",
        f"{sum(call.bytes_written for call in calls) / 2**20:.1f}",
        sum(call.files for call in calls),
        f"{max((call.plan.promised_bytes for call in calls), default=0) / 2**20:.0f}",
        max((call.plan.num_workers for call in calls), default=0),
    )


class Planner:
    """Plans the calls of a pass.

    Parameters
    ----------
    calls : Calls
        Knows what was done.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._planned: list[PlannedCall] = []
        self._anew: set[str] = set()
        self.ends = ""

    @property
    def explained(self) -> list[Explanation]:
        """The plan as explanations."""
        return [
            Explanation(number, call.name, "skipped" if call.done else "planned", call.reason)
            for number, call in enumerate(self._planned, 1)
        ]

    def result(self) -> PipelinePlan:
        """The plan so far."""
        return PipelinePlan(tuple(self._planned), self.ends)

    def through(self, call: Call) -> RunReport:
        """Note a call, and pretend that it was run."""
        reads, writes = call.units()
        fresh = sorted(self._anew & {*reads, *writes})
        record, reason = self._calls.done(call)
        backend = get_backend(call.how.job_type, call.how.job_config)
        try:
            limits = backend.limits
            plan = plan_of(
                Plan(call.name, call.stages, call.how),
                shares_memory=limits.shares_memory,
                one_machine=limits.one_machine,
                job_bytes=backend.job_bytes,
            )
        finally:
            backend.close()
        if record is not None and not fresh:
            report = self._calls.skipped(call, record, reads, writes)
            if report is not None:
                self._planned.append(PlannedCall(call.name, True, reason, plan))
                return report
        self._planned.append(PlannedCall(call.name, False, f"{fresh[0]} is made anew" if fresh else reason, plan))
        self._anew |= set(writes)
        for array in to_be(call):
            array.pending = _Ends(call.name, next(iter(units_of([array])), ""))
        stages = tuple(StageReport(stage.name, stage.units.n_blocks) for stage in call.stages)
        report = RunReport(call.name, stages, 0.0, call.how.num_workers, 0)
        return replace(report, results=ToBe(call.name))


class _Ends:
    """What a plan does where an array is read that has not been computed."""

    def __init__(self, call: str, unit: str) -> None:
        self.call, self.unit = call, unit

    def __call__(self) -> None:
        raise PlanEnds(f"what follows reads {self.unit}, which {self.call} writes")
