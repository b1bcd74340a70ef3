"""What is written down of calls that are run: when they begin, and when they are done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..runner.driver.report import RunReport
from ..sources.to_be import ArrayToBe
from .call import Call
from .records import CallRecord, Change, Records
from .states import MISSING, Unit


@dataclass(frozen=True)
class Part:
    """A call that is looked at: what it computes, the units that it reads and writes, and why it is run."""

    call: Call
    definition: dict[str, str]
    reads: dict[str, Unit]
    writes: dict[str, Unit]
    reason: str


def begin(
    records: Records,
    part: Part,
    old: CallRecord | None,
    written: Mapping[str, Unit],
    run: Mapping[str, str],
    scratch: Path,
) -> CallRecord:
    """Write down that a call begins; ``old`` is what was written of the run that goes on."""
    # what calls of the same run write has no state before they have
    reads = {name: unit for name, unit in part.reads.items() if name not in part.writes}
    found = {name: None if name in written else unit.state() for name, unit in reads.items()}
    changes = {
        name: Change(
            old.wrote[name].before if old is not None and name in old.wrote else unit.state(),
            scratch=Path(name).is_relative_to(scratch),
        )
        for name, unit in part.writes.items()
    }
    was_there = any(change.before != MISSING for change in changes.values())
    stages = part.call.stages
    in_place = any(stage.in_place or (stage.reads_outputs and was_there) for stage in stages)
    number = records.next_number()
    record = CallRecord(number, part.call.name, part.definition, found, changes, in_place, run=run)
    if part.writes:
        records.put(record)
    return record


def finish(
    store: Records, begun: Sequence[CallRecord], parts: Sequence[Part], reports: Sequence[RunReport], seconds: float
) -> list[CallRecord]:
    """Write down that calls are done, all or none, and in which state they have left the data."""
    done, forgotten = [], []
    states = {name: unit.state() for part in parts for name, unit in part.writes.items()}
    for record, report in zip(begun, reports, strict=True):
        wrote = {name: replace(change, after=(states[name],)) for name, change in record.wrote.items()}
        reads = {name: states.get(name, state) for name, state in record.reads.items()}
        blocks = sum(stage.n_blocks for stage in report.stages)
        took = seconds if len(begun) == 1 else report.seconds
        record = replace(record, reads=reads, wrote=wrote, done=True, seconds=took, blocks=blocks, finished=time.time())
        stored = report if not hasattr(report.results, "detached") else replace(report, results=list(report.results))
        # what was changed in place must be known to be, also where its value cannot be kept
        if not store.put_value(record, stored) and not record.in_place:
            forgotten.append(record)
        done.append(record)
    store.put_all(done)
    store.forget(forgotten)
    return done


def to_be(call: Call) -> Iterator[ArrayToBe]:
    """Outputs of a call that have not been made."""
    for stage in call.stages:
        for source in stage.outputs:
            for part in source.parts:
                if isinstance(part, ArrayToBe) and not part.there:
                    yield part
