"""What a call makes of the results of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .ledger.stage_record import Results
from .planning.stage import Plan


def nothing(results: Results) -> None:
    """No value."""


class Folded:
    """The folded value of a stage."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def __call__(self, results: Results) -> Any:
        """The value."""
        return results[self.stage]


def last_values(plan: Plan, results: Results) -> list[Any] | None:
    """Values of the last stage by ascending ids, where it keeps them."""
    stage = plan.stages[-1]
    return [value for _, value in results.each(stage.name)] if stage.returns == "each" else None


class Values:
    """Values of a stage as a list, in the order of the ids that were asked for."""

    def __init__(self, stage: str, ids: Sequence[int] | None) -> None:
        self.stage = stage
        self.ids = ids

    def __call__(self, results: Results) -> Sequence[Any]:
        """The list."""
        return list(results.listed(self.stage, self.ids))


class LazyValues(Values):
    """The same as a sequence that is read when it is looked at."""

    def __call__(self, results: Results) -> Sequence[Any]:
        """The values, which need no run folder any more."""
        return results.listed(self.stage, self.ids).detached()
