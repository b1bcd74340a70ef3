"""Several calls as one run, in which blocks of a later call begin when what they read has been written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .driver.report import RunReport
from .execute import Prepared
from .ledger.stage_record import Results


def together(calls: Sequence[Prepared]) -> Prepared:
    """One run of calls that have a stage each, in their order; `reports_of` takes its report apart.

    They are run as the first one is to be.
    """
    stages = tuple(
        replace(call.stages[0], name=f"{number} {call.stages[0].name}", early=number > 1)
        for number, call in enumerate(calls, 1)
    )

    def value(results: Results) -> list[Any]:
        return [call.value(results.alone(number, call.stages[0])) for number, call in enumerate(calls)]

    return Prepared(", ".join(call.name or call.stages[0].name for call in calls), stages, calls[0].how, value)


def reports_of(report: RunReport, calls: Sequence[Prepared]) -> list[RunReport]:
    """The report of each call of a run of several, with the time from its first block to its last one."""
    reports = []
    for call, stage, results in zip(calls, report.stages, report.results, strict=True):
        begin = min((span.begin for span in stage.spans), default=0.0)
        seconds = max((span.end for span in stage.spans), default=0.0) - begin
        alone = (replace(stage, name=call.stages[0].name),)
        reports.append(replace(report, name=call.name, stages=alone, seconds=seconds, results=results))
    return reports
