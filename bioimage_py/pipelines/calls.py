"""The calls of a pass: done before or not, and why; skipped, run, or run again because somebody needs an output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import PipelineError
from ..runner.driver.report import RunReport
from ..runner.lease.conflict import UNTELLABLE
from ..runner.lease.folders import run_root
from ..sources.to_be import ArrayToBe
from ..system.faults import fault
from .call import Call, Explanation
from .leftovers import complete_run, end_complete, under_way
from .lineage import leads, same
from .records import CallRecord, Change, Records
from .states import MISSING, Unit, units_of


@dataclass
class _Expected:
    """The state in which a unit has to be here in the script, and which call has left it so."""

    state: str | None
    record: int | None = None
    again: Callable[[str], None] | None = None


class Calls:
    """The calls of one pass through a script.

    Parameters
    ----------
    records : Records
    scratch : Path
        Folder of the pipeline's own arrays.
    """

    def __init__(self, records: Records, scratch: Path) -> None:
        self.records = records
        self.scratch = scratch
        self.met: set[int] = set()
        self.explained: list[Explanation] = []
        self._expected: dict[str, _Expected] = {}
        self._ordinals: dict[str, int] = {}
        self._root = Path()
        begun = [Path(name) for record in records if not record.done for name in record.wrote]
        self._times = {str(path): path.stat().st_mtime_ns for path in begun if path.is_file()}

    def through(self, call: Call) -> RunReport:
        """The report of a call, which is run unless it was done."""
        definition, self._root = call.definition(), run_root(call.stages, call.how.settings.tmp_root)
        ordinal = self._ordinals[call.name] = self._ordinals.get(call.name, 0) + 1
        reads, writes = call.units()
        record, reason = self._done(call, definition, reads, writes, ordinal)
        if not call.kept:
            return self._just_run(call, reads, reason)
        if record is not None:
            report = self.skipped(call, record, reads, writes)
            if report is not None:
                return report
            reason = "what it had returned cannot be read any more"
        return self._run(call, definition, reads, writes, reason)

    def done(self, call: Call) -> tuple[CallRecord | None, str]:
        """The record of a call that was done, or why it has to be run; nothing is run."""
        ordinal = self._ordinals[call.name] = self._ordinals.get(call.name, 0) + 1
        self._root = run_root(call.stages, call.how.settings.tmp_root)
        return self._done(call, call.definition(), *call.units(), ordinal)

    def _done(
        self, call: Call, definition: dict[str, str], reads: dict[str, Unit], writes: dict[str, Unit], ordinal: int
    ) -> tuple[CallRecord | None, str]:
        if not call.kept:
            return None, "its output is in memory"
        untold = [key for key, value in definition.items() if value.startswith(UNTELLABLE)]
        if untold:
            return None, f'what {untold[0]} does cannot be compared (version="1" stands for it)'
        alike = [record for record in self.records if record.name == call.name and record.number not in self.met]
        reason = ""
        for record in alike:
            if dict(record.definition) == definition and record.done:
                changed = self._changed(record, reads, writes)
                if not changed:
                    return record, "nothing has changed since"
                reason = reason or changed
        if reason:
            return None, reason
        begun = [record for record in alike if dict(record.definition) == definition]
        if begun:
            return None, "it was not finished"
        same_place = [record for record in self.records if record.name == call.name][ordinal - 1 : ordinal]
        return None, _difference(same_place[0], definition) if same_place else "it has not been made before"

    def _changed(self, record: CallRecord, reads: dict[str, Unit], writes: dict[str, Unit]) -> str:
        """What is no longer as a call has left it; nothing where all is."""
        if set(record.wrote) != set(writes) or {*record.reads} != {*reads} - {*writes}:
            return "it reads or writes other files"
        for name, then in record.reads.items():
            now = self._now(reads[name])
            if then is None or now is None:
                return f"whether {name} was written since cannot be told"
            if not self._leads(name, then, now, reads[name]):
                return f"{name} {'is gone' if now == MISSING else 'was written since'}"
        for name, change in record.wrote.items():
            then, now = record.now(name), writes[name].state()
            if then is None or now is None:
                return f"whether {name} was written since cannot be told"
            if change.scratch and change.removed:
                continue
            if not self._leads(name, then, now, writes[name]):
                return f"{name} {'is gone' if now == MISSING else 'was written since by something else'}"
        return ""

    def _now(self, unit: Unit) -> str | None:
        """The state of a unit, as the script sees it: what was removed or changed later is made again when needed."""
        expected, now = self._expected.get(unit.name), unit.state()
        return expected.state if expected is not None and self._is_ours(expected, unit, now) else now

    def _is_ours(self, expected: _Expected, unit: Unit, now: str | None) -> bool:
        """Whether a unit is not as expected by what this pipeline did to it, and by nothing else."""
        then, name = expected.state, unit.name
        if then is None or now is None or same(self.records, name, then, now):
            return False
        change = None if expected.record is None else self.records[expected.record].wrote.get(name)
        if change is not None and change.removed:
            return True
        return leads(self.records, self._to_come(), name, then, now)

    def _to_come(self) -> list[CallRecord]:
        return [record for record in self.records if record.number not in self.met]

    def _leads(self, name: str, then: str, now: str, unit: Unit) -> bool:
        to_come = self._to_come()
        if same(self.records, name, then, now) or leads(self.records, to_come, name, then, now):
            return True
        # a call that was killed has left its stamp in what it was changing
        for record in to_come:
            change = record.wrote.get(name)
            begun = change is not None and not record.done and change.before is not None
            if (
                begun
                and change is not None
                and change.before is not None
                and under_way(record.definition, unit, self._root)
            ):
                if same(self.records, name, then, change.before):
                    return True
                if leads(self.records, to_come, name, then, change.before):
                    return True
        return False

    def skipped(
        self, call: Call, record: CallRecord, reads: dict[str, Unit], writes: dict[str, Unit]
    ) -> RunReport | None:
        """The report that a call has left; None where it cannot be read any more."""
        try:
            report = self.records.value(record)
        except OSError:
            return None
        if not isinstance(report, RunReport):
            return None
        record = self._told(call, record, writes)
        self.met.add(record.number)
        for name, then in record.reads.items():
            self._expected.setdefault(name, _Expected(then))
        place, reason = len(self.explained), "nothing has changed since"
        self.explained.append(Explanation(place + 1, call.name, "skipped", reason, record.seconds, record))

        def again(why: str) -> None:
            self._again(call, self.records[record.number], place, why)

        for name in record.wrote:
            self._expected[name] = _Expected(record.now(name), record.number, again)
        for array in to_be(call):
            name = next(iter(units_of([array])))
            array.pending = lambda name=name: self._need({name: writes[name]}, "it is read")
        return report

    def _told(self, call: Call, record: CallRecord, writes: dict[str, Unit]) -> CallRecord:
        """End the run of a call that was killed when its record was there, but its run folder was too."""
        ended = end_complete(record.definition, call.stages, self._root)
        if ended and any(record.now(name) != unit.state() for name, unit in writes.items()):
            record = record.again({name: unit.state() for name, unit in writes.items()})
            self.records.put(record)
        return record

    def _need(self, units: dict[str, Unit], why: str) -> None:
        """Have units in the state in which the script expects them."""
        for name, unit in units.items():
            expected, now = self._expected.get(name), unit.state()
            if expected is None:
                if self._changed_in_place(name, now):
                    raise _changed_later(name)
                continue
            if not self._is_ours(expected, unit, now):
                continue
            if expected.again is None:
                raise _changed_later(name)
            expected.again(why)

    def _changed_in_place(self, name: str, now: str | None) -> bool:
        """Whether a unit is as a call has left it that comes later in the script, and that changed what was there."""
        changes = [record.wrote.get(name) for record in self._to_come() if record.in_place and record.done]
        # where no state can be told, what was done once must not be done again
        return any(c is not None and (now is None or (now in c.after and c.before != now)) for c in changes)

    def _again(self, call: Call, record: CallRecord, place: int, why: str) -> None:
        """Run a call that was skipped, because a later one needs what it wrote."""
        if record.in_place:
            raise PipelineError(
                f"{', '.join(record.wrote)} was changed in place by {record.name}, and by a later call since; it cannot"
                " be made again from here",
                remedy="restore the data that the pipeline began with, remove its folder, and start it again",
            )
        reads, writes = call.units()
        self._need({name: unit for name, unit in reads.items() if name not in writes}, f"{record.name} reads it")
        for array in to_be(call):
            array.pending = None
        begin = time.perf_counter()

        def finished(report: RunReport) -> None:
            self.records.put(record.again({name: unit.state() for name, unit in writes.items()}))

        call.run(None, finished)
        now = {name: unit.state() for name, unit in writes.items()}
        if any(self.records[record.number].now(name) != state for name, state in now.items()):
            self.records.put(record.again(now))
        for name, state in now.items():
            self._expected[name].state = state
        self.explained[place] = replace(
            self.explained[place], action="run again", reason=why, seconds=time.perf_counter() - begin
        )

    def _run(
        self, call: Call, definition: dict[str, str], reads: dict[str, Unit], writes: dict[str, Unit], reason: str
    ) -> RunReport:
        begun = next(
            (r for r in self.records if not r.done and r.number not in self.met and dict(r.definition) == definition),
            None,
        )
        mine = begun is not None and any(under_way(definition, unit, self._root) for unit in writes.values())
        if not mine:
            self._need({name: unit for name, unit in reads.items() if name not in writes}, f"{call.name} reads it")
            changed = {name: unit for name, unit in writes.items() if name in reads}
            self._need(changed, f"{call.name} changes it")
        found = {name: unit.state() for name, unit in reads.items() if name not in writes}
        changes = {
            name: Change(
                begun.wrote[name].before if mine and begun is not None and name in begun.wrote else unit.state(),
                scratch=Path(name).is_relative_to(self.scratch),
            )
            for name, unit in writes.items()
        }
        number = self.records.next_number()
        was_there = any(change.before != MISSING for change in changes.values())
        in_place = any(stage.in_place or (stage.reads_outputs and was_there) for stage in call.stages)
        record = CallRecord(number, call.name, definition, found, changes, in_place)
        if writes:
            self.records.put(record)
        if begun is not None:
            self.records.forget([begun])
        fault("pipeline-begun")
        begin = time.perf_counter()
        place = len(self.explained)
        self.explained.append(Explanation(place + 1, call.name, "failed", reason))
        self.met.add(number)
        kept: list[CallRecord] = []

        def finished(report: RunReport) -> None:
            fault("pipeline-before-record")
            kept.append(self._finish(record, writes, report, time.perf_counter() - begin))
            fault("pipeline-after-record")

        # where it had come to its end when it was killed, and only the record was missing, that is taken
        over = complete_run(definition, list(writes.values()), self._root, self._times) if mine else None
        report = call.run(over, finished)
        if not kept:  # a run in memory has no folder, and nothing to lose
            kept.append(self._finish(record, writes, report, time.perf_counter() - begin))
        elif any(kept[0].now(name) != unit.state() for name, unit in writes.items()):
            # HDF5 touches a file once more when the run's stamp is taken out of it
            kept[0] = self._finish(record, writes, report, kept[0].seconds)
        for name in writes:
            self._expected[name] = _Expected(kept[0].now(name), number)
        for name, state in found.items():
            self._expected.setdefault(name, _Expected(state))
        self.explained[place] = Explanation(place + 1, call.name, "run", reason, kept[0].seconds, kept[0])
        self._remember_how(call, kept[0], place)
        return report

    def _just_run(self, call: Call, reads: dict[str, Unit], reason: str) -> RunReport:
        """Run a call of which nothing is kept."""
        self._need(reads, f"{call.name} reads it")
        begin, place = time.perf_counter(), len(self.explained)
        self.explained.append(Explanation(place + 1, call.name, "failed", reason))
        report = call.run(None, lambda report: None)
        self.explained[place] = Explanation(place + 1, call.name, "run", reason, time.perf_counter() - begin)
        return report

    def _remember_how(self, call: Call, record: CallRecord, place: int) -> None:
        """What a call has written may be needed after another one has changed it."""

        def again(why: str) -> None:
            self._again(call, self.records[record.number], place, why)

        for name in record.wrote:
            self._expected[name].again = again

    def _finish(self, record: CallRecord, writes: dict[str, Unit], report: RunReport, seconds: float) -> CallRecord:
        states = {name: unit.state() for name, unit in writes.items()}
        wrote = {name: replace(change, after=(states[name],)) for name, change in record.wrote.items()}
        blocks = sum(stage.n_blocks for stage in report.stages)
        record = replace(record, wrote=wrote, done=True, seconds=seconds, blocks=blocks, finished=time.time())
        stored = report if not hasattr(report.results, "detached") else replace(report, results=list(report.results))
        # what was changed in place must be known to be, also where its value cannot be kept
        if self.records.put_value(record, stored) or record.in_place:
            self.records.put(record)
        else:
            self.records.forget([record])
        return record


def to_be(call: Call) -> Iterator[ArrayToBe]:
    """Outputs of a call that have not been made."""
    for stage in call.stages:
        for source in stage.outputs:
            for part in source.parts:
                if isinstance(part, ArrayToBe) and not part.there:
                    yield part


def _changed_later(name: str) -> PipelineError:
    return PipelineError(
        f"{name} was changed in place by a later call of this pipeline, and one that reads it as it was before has to"
        " be run now",
        remedy="restore it, or take it as it is; in both cases remove the folder of the pipeline and start the script",
    )


def _difference(record: CallRecord, definition: dict[str, str]) -> str:
    keys = [key for key in {**record.definition, **definition} if record.definition.get(key) != definition.get(key)]
    return f"other {', '.join(keys[:3])}" if keys else "it was made before, but less often"
