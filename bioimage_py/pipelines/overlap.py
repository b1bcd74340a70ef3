"""Calls that are run as one, so that blocks of the next call begin when those that they read are done."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

import cloudpickle

from ..errors import PipelineError
from ..runner.driver.report import RunReport, StageReport
from ..runner.execution import Execution
from ..runner.identity.definition import definition_of
from ..runner.lease.conflict import UNTELLABLE
from ..runner.planning.needs import shift_of
from ..runner.planning.stage import Stage
from ..sources.base import Source
from ..sources.promises import forget, needed, promise
from ..sources.sharing import overlap
from ..sources.to_be import ArrayToBe
from .call import Call
from .calls import Calls
from .making import to_be


class Overlap:
    """The calls of one `Pipeline.overlap` block until they are run.

    Parameters
    ----------
    calls : Calls
        Runs them.
    alone : callable
        Makes a context in which a call inside of a call is none of the pipeline's.
    """

    def __init__(self, calls: Calls, alone: Callable[[], Any]) -> None:
        self._calls = calls
        self._alone = alone
        self.waiting: list[Call] = []
        self._told: list[dict[str, str]] = []

    def add(self, call: Call) -> RunReport:
        """Take a call, which is run later; what it returns says nothing yet.

        Raises
        ------
        PipelineError
            It cannot overlap with those in front of it; says why.
        """
        check_overlap(call, self.waiting)
        self.waiting.append(call)
        self._told.append(definition_of(call.stages))
        stage = call.stages[0]
        for output in stage.outputs:
            promise(output, self.run)
        for source in stage.sources:
            needed(source, self.run)
        for array in to_be(call):
            array.pending = self.run
        return RunReport(call.name, (StageReport(stage.name, stage.units.n_blocks),), 0.0, call.how.num_workers, 0)

    def run(self) -> None:
        """Run all calls that wait.

        Raises
        ------
        PipelineError
            What one of them computes is not what it was when the script called it: a variable of its function, or an
            array in memory, has changed since.
        """
        for call, told in zip(self.waiting, self._told, strict=True):
            if not (change := _change(call, told)):
                continue
            self.abandon()
            raise PipelineError(
                f"{call.name} is run when the overlap() block ends, and what it computes has changed since the"
                f" script called it: {change}",
                remedy="give the function its values when it is made (functools.partial, or a default argument), and"
                " leave arrays in memory as they are until then",
            )
        if calls := self.drop():
            try:
                with self._alone():
                    self._calls.overlapping(calls)
            except BaseException:
                _refuse(calls)
                raise

    def abandon(self) -> None:
        """Run none of the calls that wait: whoever reads what one of them was to write is told so."""
        _refuse(self.drop())

    def drop(self) -> list[Call]:
        """Take all calls that wait, and what was promised of them."""
        calls, self.waiting, self._told = self.waiting, [], []
        forget(self.run)
        for call in calls:
            for array in to_be(call):
                array.pending = None
        return calls


def _not_run() -> None:
    raise PipelineError("the call that writes this array has not ended: its overlap() block ended with an error")


def _refuse(calls: Sequence[Call]) -> None:
    """Have whoever reads what some calls were to write be told that they have not."""
    for output in (output for call in calls for output in call.stages[0].outputs):
        promise(output, _not_run)
        if isinstance(output, ArrayToBe) and output.there:
            promise(output.made, _not_run)
    for array in (array for call in calls for array in to_be(call)):
        array.pending = _not_run


def forget_refused() -> None:
    """Let arrays be read again that calls have left unfinished."""
    forget(_not_run)


def check_overlap(call: Call, earlier: Sequence[Call]) -> None:
    """PipelineError where a call cannot begin before earlier ones have ended."""
    reason = next(_reasons(call, earlier), "")
    if reason:
        raise PipelineError(
            f"{call.name} cannot overlap with other calls: {reason}",
            remedy="move it out of the `with p.overlap():` block",
        )


def _reasons(call: Call, earlier: Sequence[Call]) -> Iterator[str]:
    yield from _of_itself(call)
    stage = call.stages[0]
    if earlier and (other := _differs(call.how, earlier[0].how)):
        yield f"its {other} is not that of {earlier[0].name}, and they run on the same workers"
    _, writes = call.units()
    for before in earlier:
        theirs, made = before.units()
        if {*writes} & {*made}:
            yield f"it writes what {before.name} writes, too"
        if {*writes} & {*theirs}:
            yield f"it changes what {before.name} reads"
        yield from _of_two(stage, before)
    written = [(output, before.name) for before in earlier for output in before.stages[0].outputs]
    for source in _held_by(stage.function):
        for output, name in written:
            if overlap(source, output):
                yield f"its function reads by itself what {name} writes, so it may need all of it"


def _of_itself(call: Call) -> Iterator[str]:
    stage = call.stages[0]
    if len(call.stages) > 1:
        yield f"it has {len(call.stages)} stages, and a later one needs all that an earlier one has found (a merge)"
    if stage.kind != "blocks":
        yield "it does not go through the blocks of an array"
    if stage.returns != "none":
        yield "it returns a value, which needs all blocks"
    if stage.setup is not None:
        yield "its set-up may look at all of its input"
    if any(value.startswith(UNTELLABLE) for value in definition_of(call.stages).values()):
        yield "what its function does cannot be compared, and could change before it is run"
    if stage.units.ids is not None:
        yield "it runs some blocks only (block_ids, skip_empty)"
    if stage.in_place:
        yield "it changes its output in place"
    if not stage.outputs or not call.kept:
        yield "its output is in memory"
    if any(output.concurrency == "single-writer" for output in stage.outputs):
        yield "its output is in a file that one process writes, when all blocks are done"
    if call.run.pre_cleanup is not None:
        yield "pre_cleanup= asks for a run of its own"
    if call.how.resume not in ("auto", "never"):
        yield "resume= names a run of its own"


def _of_two(stage: Stage, before: Call) -> Iterator[str]:
    """What keeps a stage from running at the same time as an earlier call."""
    inputs = (*stage.inputs, *(() if stage.mask is None else (stage.mask,)))
    earlier = before.stages[0]
    for output in stage.outputs:
        if any(overlap(output, other) for other in earlier.outputs):
            yield f"it writes what {before.name} writes, too"
        masks = () if earlier.mask is None else (earlier.mask,)
        if any(overlap(part, output) for source in (*earlier.inputs, *masks) for part in source.parts):
            yield f"it changes what {before.name} reads"
    for output in earlier.outputs:
        for source in inputs:
            shared = [part for part in source.parts if overlap(part, output)]
            if any(part.identity != output.identity for part in shared):
                yield f"it reads what {before.name} writes by another way; open it once, and pass that for both"
            if shared and (shift_of(source) is None or shift_of(output) is None):
                yield f"it reads what {before.name} writes through a view of which the blocks cannot be told"


def _change(call: Call, told: Mapping[str, str]) -> str:
    """What of a call is no longer as it was told; nothing where all is."""
    now = definition_of(call.stages)
    return ", ".join(key for key in {**told, **now} if told.get(key) != now.get(key))


def _differs(how: Execution, other: Execution) -> str:
    """The first setting that differs."""
    for part in fields(Execution):
        mine, theirs = getattr(how, part.name), getattr(other, part.name)
        if part.name != "progress" and mine != theirs and repr(mine) != repr(theirs):
            return part.name
    return ""


class _Finder(cloudpickle.Pickler):  # type: ignore[misc]
    """Notes the sources that something holds."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.found: list[Source] = []

    def persistent_id(self, thing: Any) -> str | None:
        """Sources are noted, and not looked into."""
        if isinstance(thing, Source):
            self.found.append(thing)
            return "source"
        return None


def _held_by(function: Any) -> list[Source]:
    finder = _Finder()
    # what cannot be sent to workers runs in this process: what was found until then counts
    with suppress(pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError):
        finder.dump(function)
    return finder.found
