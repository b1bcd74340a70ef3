"""Whether data are still what a call has read or left, but for what later calls of the same pipeline did to them."""

from __future__ import annotations

from collections.abc import Iterable

from .records import CallRecord


def same(records: Iterable[CallRecord], unit: str, one: str | None, other: str | None) -> bool:
    """Whether two states of a unit have the same content: a call that was run again has left both."""
    return one is not None and other is not None and _first(records, unit, one) == _first(records, unit, other)


def leads(records: Iterable[CallRecord], to_come: Iterable[CallRecord], unit: str, then: str, now: str) -> bool:
    """Whether a unit has come from one state to another by calls that are still to come in this pass.

    Parameters
    ----------
    records : iterable of CallRecord
        All that the pipeline knows.
    to_come : iterable of CallRecord
        Calls that were made before and have not been met yet since the script was started.
    unit : str
    then, now : str
        States.
    """
    known = list(records)
    end, reached, fresh = _first(known, unit, now), {_first(known, unit, then)}, {_first(known, unit, then)}
    steps = [
        (_first(known, unit, change.before), _first(known, unit, change.after[0]))
        for record in to_come
        if (change := record.wrote.get(unit)) is not None and change.after
    ]
    while fresh:
        fresh = {after for before, after in steps if before in fresh} - reached
        reached |= fresh
    return end is not None and end in reached


def _first(records: Iterable[CallRecord], unit: str, state: str | None) -> str | None:
    """The first state in which a unit had the content that it has in some state."""
    for record in records:
        change = record.wrote.get(unit)
        if change is not None and state in change.after:
            return change.after[0]
    return state
