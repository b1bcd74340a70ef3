"""The calls of a pass: done before or not, and why; skipped, run, or run again because somebody needs an output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import PipelineError
from ..runner.driver.report import RunReport
from ..runner.lease.conflict import UNTELLABLE
from ..runner.lease.folders import run_root
from ..system.faults import fault
from .call import Call, Explanation
from .leftovers import complete_run, end_complete, under_way
from .making import Part, begin, finish, to_be
from .records import CallRecord, Records, leads, same
from .states import MISSING, Unit, units_of

_UNREADABLE = "what it had returned cannot be read any more"


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
        part, record = self._look(call)
        if not call.kept:
            return self._just_run(call, part.reads, part.reason)
        if record is not None:
            report = self.skipped(call, record, part.reads, part.writes)
            if report is not None:
                return report
            part = replace(part, reason=_UNREADABLE)
        return self._run([part], call, part.definition)[0]

    def _look(self, call: Call) -> tuple[Part, CallRecord | None]:
        """A call that is met, and its record where it was done."""
        definition, self._root = call.definition(), run_root(call.stages, call.how.settings.tmp_root)
        ordinal = self._ordinals[call.name] = self._ordinals.get(call.name, 0) + 1
        reads, writes = call.units()
        record, reason = self._done(call, definition, reads, writes, ordinal)
        return Part(call, definition, reads, writes, reason), record

    def done(self, call: Call) -> tuple[CallRecord | None, str]:
        """The record of a call that was done, or why it has to be run; nothing is run."""
        part, record = self._look(call)
        return record, part.reason

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
                and under_way(record.of_run, unit, self._root)
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
        ended = end_complete(record.of_run, call.stages, self._root)
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
            again = record.again({name: unit.state() for name, unit in writes.items()})
            self.records.put(replace(again, run={}))  # it was run by itself now

        call.run(None, finished)
        now = {name: unit.state() for name, unit in writes.items()}
        if any(self.records[record.number].now(name) != state for name, state in now.items()):
            self.records.put(replace(record.again(now), run={}))
        for name, state in now.items():
            self._expected[name].state = state
        self.explained[place] = replace(
            self.explained[place], action="run again", reason=why, seconds=time.perf_counter() - begin
        )

    def _run(self, parts: Sequence[Part], whole: Call, run: Mapping[str, str]) -> list[RunReport]:
        """Run a call, or several as one (``whole``), whose definition is ``run``."""
        begun = [next((r for r in self._begun(part.definition) if dict(r.of_run) == dict(run)), None) for part in parts]
        written = {name: unit for part in parts for name, unit in part.writes.items()}
        units = list(written.values())
        mine = any(one is not None for one in begun) and any(under_way(run, unit, self._root) for unit in units)
        for part in parts if not mine else ():
            self._need({n: u for n, u in part.reads.items() if n not in written}, f"{part.call.name} reads it")
            self._need({n: u for n, u in part.writes.items() if n in part.reads}, f"{part.call.name} changes it")
        records, places = [], []
        for part, old in zip(parts, begun, strict=True):
            records.append(
                begin(self.records, part, old if mine else None, written, {} if len(parts) == 1 else run, self.scratch)
            )
            if old is not None:
                self.records.forget([old])
            places.append(len(self.explained))
            self.explained.append(Explanation(len(self.explained) + 1, part.call.name, "failed", part.reason))
            self.met.add(records[-1].number)
        fault("pipeline-begun")
        start = time.perf_counter()
        kept: list[CallRecord] = []

        def finished(report: RunReport) -> None:
            fault("pipeline-before-record")
            took = time.perf_counter() - start
            kept[:] = finish(self.records, records, parts, _taken_apart(report, whole, parts), took)
            fault("pipeline-after-record")

        # where it had come to its end when it was killed, and only the record was missing, that is taken
        over = complete_run(run, units, self._root, self._times) if mine else None
        # what another call has begun in arrays of the pipeline itself is of no use to anybody
        if not mine and all(Path(unit.name).is_relative_to(self.scratch) for unit in units):
            over = "never"
        report = whole.run(over, finished)
        reports = _taken_apart(report, whole, parts)
        # a run in memory has no folder, and nothing to lose; HDF5 touches a file once more when the stamp is taken out
        if not kept or any(record.now(name) != written[name].state() for record in kept for name in record.wrote):
            took = sum(record.seconds for record in kept) or time.perf_counter() - start
            kept = finish(self.records, records, parts, reports, took)
        for part, place, record in zip(parts, places, kept, strict=True):
            for name in part.writes:
                self._expected[name] = _Expected(record.now(name), record.number)
            for name, state in record.reads.items():
                self._expected.setdefault(name, _Expected(state))
            self.explained[place] = Explanation(place + 1, part.call.name, "run", part.reason, record.seconds, record)
            self._remember_how(part.call, record, place)
        return reports

    def _begun(self, definition: dict[str, str]) -> Iterator[CallRecord]:
        """Records of a call that was not finished."""
        for record in self.records:
            if not record.done and record.number not in self.met and dict(record.definition) == definition:
                yield record

    def overlapping(self, calls: Sequence[Call]) -> None:
        """Run those of some calls that have to be run as one, so that a block begins when what it reads is there."""
        parts: list[Part] = []
        anew: set[str] = set()
        for call in calls:
            part, record = self._look(call)
            touched = sorted(anew & {*part.reads, *part.writes})
            if record is not None and not touched and self.skipped(call, record, part.reads, part.writes) is not None:
                continue
            if record is not None:
                reason = f"{touched[0]} is made anew" if touched else _UNREADABLE
                part = replace(part, reason=reason)
            parts.append(part)
            anew |= set(part.writes)
        # what was begun by itself, in a script without overlap, goes on by itself
        alone = [
            any(not record.run and under_way(part.definition, unit, self._root) for unit in part.writes.values())
            for part in parts
            for record in [next(self._begun(part.definition), None)]
            if record is not None
        ]
        if len(parts) > 1 and not any(alone):
            whole = Call.together([part.call for part in parts])
            self._root = run_root(whole.stages, whole.how.settings.tmp_root)
            self._run(parts, whole, whole.definition())
            return
        for part in parts:
            self._root = run_root(part.call.stages, part.call.how.settings.tmp_root)
            self._run([part], part.call, part.definition)

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


def _taken_apart(report: RunReport, whole: Call, parts: Sequence[Part]) -> list[RunReport]:
    return [report] if len(parts) == 1 else whole.reports(report)


def _changed_later(name: str) -> PipelineError:
    return PipelineError(
        f"{name} was changed in place by a later call of this pipeline, and one that reads it as it was before has to"
        " be run now",
        remedy="restore it, or take it as it is; in both cases remove the folder of the pipeline and start the script",
    )


def _difference(record: CallRecord, definition: dict[str, str]) -> str:
    keys = [key for key in {**record.definition, **definition} if record.definition.get(key) != definition.get(key)]
    return f"other {', '.join(keys[:3])}" if keys else "it was made before, but less often"
