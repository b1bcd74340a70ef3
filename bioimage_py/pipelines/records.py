"""What a finished call leaves in the folder of its pipeline, and whether data have come from one state to another.

``calls/<number>-<name>.json`` says which call it was and in which state it found and left the data; the file of that
name with the ending ``.value`` holds what it returned, pickled: so a folder is read only where nobody else can write.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..system.faults import fault
from ..system.files import listed, read_small, write_once
from ..system.json_text import parse_json

_TOGETHER = ".together"
"""Ending of a file with the records of several calls, until each has its own."""
LARGEST_VALUE = 2**28
"""Bytes of a returned value that is kept; a call that returns more is run again."""


@dataclass(frozen=True)
class Change:
    """What a call did to a unit of storage.

    Parameters
    ----------
    before : str, optional
        Its state when the call began; None where that cannot be told.
    after : tuple of str
        Its states when the call was done, each time that it was run: all have the same content, the last is there.
    scratch : bool
        It belongs to the pipeline.
    removed : bool
        The pipeline has removed it, or is about to.
    """

    before: str | None
    after: tuple[str | None, ...] = ()
    scratch: bool = False
    removed: bool = False


@dataclass(frozen=True)
class CallRecord:
    """One call of a pipeline.

    Parameters
    ----------
    number : int
        Unique in the pipeline, in the order in which calls were first made.
    name : str
        Of the operation.
    definition : mapping
        What it computes (`runner.identity.definition`), and the version of the package.
    reads : mapping
        States of the units that it only reads.
    wrote : mapping
        What it did to those that it writes.
    in_place : bool
        It changes data that it reads.
    done : bool
        It has come to its end.
    seconds : float
    blocks : int
    finished : float
        Seconds since the epoch.
    run : mapping
        Definition of the run that it was part of, where that was one of several calls.
    """

    number: int
    name: str
    definition: Mapping[str, str]
    reads: Mapping[str, str | None] = field(default_factory=dict)
    wrote: Mapping[str, Change] = field(default_factory=dict)
    in_place: bool = False
    done: bool = False
    seconds: float = 0.0
    blocks: int = 0
    finished: float = 0.0
    run: Mapping[str, str] = field(default_factory=dict)

    @property
    def of_run(self) -> Mapping[str, str]:
        """Definition of the run that it was, or was part of."""
        return self.run or self.definition

    @property
    def file(self) -> str:
        """Name of its file, without the ending."""
        return f"{self.number:05d}-{re.sub(r'[^A-Za-z0-9_]+', '-', self.name)[:60] or 'call'}"

    def now(self, unit: str) -> str | None:
        """The state in which it has left a unit."""
        after = self.wrote[unit].after
        return after[-1] if after else None

    def again(self, states: Mapping[str, str | None]) -> CallRecord:
        """The record after the call was run again, with the same result."""
        wrote = {
            unit: replace(change, after=(*change.after, states[unit]), removed=False)
            if states.get(unit) != (change.after[-1] if change.after else None)
            else replace(change, removed=False)
            for unit, change in self.wrote.items()
        }
        return replace(self, wrote=wrote, done=True)

    def to_json(self) -> bytes:
        """Its text."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> CallRecord:
        """The record of a text; ValueError where it is none."""
        told = parse_json(text)
        kinds = {"number": int, "name": str, "definition": dict, "reads": dict, "wrote": dict, "in_place": bool}
        kinds |= {"done": bool, "seconds": (int, float), "blocks": int, "finished": (int, float)}  # type: ignore[dict-item]
        kinds |= {"run": dict}
        if not isinstance(told, dict) or set(told) != set(kinds):
            raise ValueError(f"a record has {sorted(kinds)}")
        for name, kind in kinds.items():
            if not isinstance(told[name], kind):
                raise ValueError(f"{name} is {told[name]!r}")
        wrote = {unit: Change(**{**change, "after": tuple(change["after"])}) for unit, change in told["wrote"].items()}
        states = [state for change in wrote.values() for state in (change.before, *change.after)]
        if not all(state is None or isinstance(state, str) for state in (*states, *told["reads"].values())):
            raise ValueError("a state is no text")
        return cls(**{**told, "wrote": wrote})


class Records:
    """The calls that a folder knows; what is changed is written at once.

    Parameters
    ----------
    folder : Path
        ``calls`` in the folder of a pipeline.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        self._records: dict[int, CallRecord] = {}
        for path in listed(folder):
            if path.suffix != ".json" or path.name.startswith("."):
                continue
            try:
                record = CallRecord.from_json(read_small(path))
                if path.stem != record.file:
                    raise ValueError(f"its name is that of {record.file}")
            except (ValueError, TypeError, KeyError, AttributeError, StorageError):
                self.damaged.append(str(path))
                continue
            self._records[record.number] = record
        for path in listed(folder):
            if path.suffix == _TOGETHER and not path.name.startswith("."):
                try:
                    told = [CallRecord.from_json(json.dumps(one).encode()) for one in parse_json(read_small(path))]
                except (ValueError, TypeError, KeyError, AttributeError, StorageError):
                    self.damaged.append(str(path))
                    continue
                self._records.update({record.number: record for record in told})

    def settle(self) -> None:
        """Write what a kill has kept from being written; only for who has the lock of the folder."""
        for path in [path for path in listed(self.folder) if path.suffix == _TOGETHER and path.name[0] != "."]:
            if str(path) not in self.damaged:
                for one in parse_json(read_small(path)):
                    self.put(self._records[one["number"]])
            path.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[CallRecord]:
        return iter([self._records[number] for number in sorted(self._records)])

    def __getitem__(self, number: int) -> CallRecord:
        return self._records[number]

    def next_number(self) -> int:
        """A number that no call has had."""
        return max(self._records, default=0) + 1

    def put(self, record: CallRecord) -> None:
        """Write a record."""
        write_once(self.folder / f"{record.file}.json", record.to_json())
        self._records[record.number] = record

    def put_all(self, records: Sequence[CallRecord]) -> None:
        """Write several records, of which a kill leaves all or none."""
        if len(records) == 1:
            self.put(records[0])
            return
        told = json.dumps([asdict(record) for record in records]).encode()
        path = self.folder / f"{records[0].number:05d}{_TOGETHER}"
        write_once(path, told)
        for record in records:
            fault("pipeline-between-records")
            self.put(record)
        path.unlink()

    def put_value(self, record: CallRecord, value: Any) -> bool:
        """Keep what a call returned; False where it is too large, or cannot be kept."""
        try:
            payload = pickle.dumps(value, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError):
            return False
        if len(payload) > LARGEST_VALUE:
            return False
        write_once(self.folder / f"{record.file}.value", payload)
        return True

    def value(self, record: CallRecord) -> Any:
        """What a call returned; StorageError where that was lost."""
        path = self.folder / f"{record.file}.value"
        try:
            return pickle.loads(path.read_bytes())
        except (
            OSError,
            pickle.UnpicklingError,
            EOFError,
            AttributeError,
            ImportError,
            IndexError,
            ValueError,
        ) as error:
            raise StorageError(f"{path} cannot be read: {error}") from error

    def forget(self, records: Iterable[CallRecord]) -> None:
        """Remove records."""
        for record in list(records):
            # the record goes first: a value without one is nobody's
            for ending in (".json", ".value"):
                (self.folder / f"{record.file}{ending}").unlink(missing_ok=True)
            self._records.pop(record.number, None)


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
