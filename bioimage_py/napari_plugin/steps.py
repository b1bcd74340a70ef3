"""Operations one after the other, as a form collects them: run as a pipeline, which goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..catalogue.operations import Operation
from ..cli.made.commands import name_of
from ..io.formats import split_path
from ..pipelines.script import pipeline


@dataclass(frozen=True)
class Result:
    """Stands for what a step before returns; counted from 0."""

    step: int


@dataclass(frozen=True)
class Step:
    """A call that will be made.

    Parameters
    ----------
    operation : Operation
    given : mapping
        Arguments by name, some of them a `Result`.
    output : str, default ""
        Where the result is written; "" for an array that goes at the end of the pipeline.
    """

    operation: Operation
    given: Mapping[str, Any]
    output: str = ""

    @property
    def makes_array(self) -> bool:
        """Whether later steps can take its result."""
        return self.operation.output is not None and self.operation.output.kind == "source"

    @property
    def needs_output(self) -> bool:
        """Whether it has to be told where to write."""
        return self.makes_array or (self.operation.output is not None and self.operation.output.required)

    def call(self, before: Sequence[Any], output: Any, **how: Any) -> Any:
        """Make it."""
        given = {name: before[value.step] if isinstance(value, Result) else value for name, value in self.given.items()}
        if self.operation.output is not None and (self.needs_output or self.output):
            given[self.operation.output.name] = output
        return self.operation.call(**given, **how)

    def __str__(self) -> str:
        return name_of(self.operation) + (f" → {self.output}" if self.output else "")


def folder_of(output: str) -> str:
    """The folder of a pipeline whose last step writes there: beside it."""
    return os.path.splitext(split_path(output)[0])[0] + ".run"


def run_steps(
    steps: Sequence[Step], folder: str, *, done: Callable[[int], None] = lambda number: None, **how: Any
) -> list[Any]:
    """Make the calls of some steps, and return their results.

    Several are a pipeline: steps that were made, and of which nothing has changed, are not made again.

    Parameters
    ----------
    steps : sequence of Step
    folder : str
        Of the pipeline.
    done : callable, optional
        Gets the number of steps that are done.
    **how
        As for `bioimage_py.Execution`.
    """
    if len(steps) == 1:
        return [steps[0].call([], steps[0].output, **how)]
    results: list[Any] = []
    with pipeline(folder, **how) as p:
        for number, step in enumerate(steps, 1):
            results.append(step.call(results, step.output or p.scratch(f"step{number}")))
            done(number)
    return results
