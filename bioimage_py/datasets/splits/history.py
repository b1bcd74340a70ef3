"""Splits that a project keeps: numbered files that never change, the last one counts. Any past one can be replayed."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from ...errors import DatasetError, FormatError, ParameterError
from ...system.files import own_folder, read_small
from ...system.json_text import parse_json

FOLDER = "splits"
SCHEMA = 1


@dataclass(frozen=True)
class StoredSplit:
    """What is stored of a split.

    Parameters
    ----------
    parts : mapping
        Ids of the resources of each part.
    ratios : mapping
    seed : int, optional
    method, source : str
    created : str
        RFC 3339, UTC; "" before it is saved.
    version : int
        Number in the history, from 1; 0 before it is saved.
    """

    parts: Mapping[str, Sequence[str]]
    ratios: Mapping[str, float]
    seed: int | None
    method: str
    source: str
    created: str = ""
    version: int = 0

    def to_json(self) -> str:
        """Return the JSON form."""
        document = {"schema": SCHEMA, **vars(self), "parts": {name: list(ids) for name, ids in self.parts.items()}}
        return json.dumps({**document, "ratios": dict(self.ratios)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "the split") -> Self:
        """Return the split of a JSON text.

        Raises
        ------
        FormatError
            It is none, or of a newer version.
        """
        try:
            document = parse_json(text, unique=True)
            if document.pop("schema") != SCHEMA:
                raise ValueError(f"only the schema {SCHEMA} is known")
            found = cls(**document)
            _check(found)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise FormatError(f"{where} is no split: {error}", remedy="restore it from a backup") from error
        return found


def _check(split: StoredSplit) -> None:
    """Raise ValueError or TypeError where something is of another type, or an id is in several parts."""
    of: dict[str, str] = {}
    for name, ids in split.parts.items():
        if not name or not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            raise ValueError(f"the part {name!r:.80} is no list of ids")
        for id in ids:
            if of.setdefault(id, name) != name:
                raise ValueError(f"{id!r:.80} is in {of[id]!r:.80} and in {name!r:.80}")
    for name, ratio in split.ratios.items():
        number = isinstance(ratio, int | float) and not isinstance(ratio, bool)
        if not number or not 0 < ratio < math.inf:
            raise ValueError(f"the ratio of {name!r:.80} is {ratio!r:.80}")
    for name, value, kinds in (
        ("seed", split.seed, int | None),
        ("version", split.version, int),
        ("method", split.method, str),
        ("source", split.source, str),
        ("created", split.created, str),
    ):
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r:.80}")
    instant(split.created or "1970-01-01T00:00:00Z")


def instant(text: str | datetime) -> datetime:
    """Return the moment of an RFC 3339 text.

    Raises
    ------
    ParameterError
        It is none, or has no time zone.
    """
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except (ValueError, TypeError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ParameterError(f"{text!r} is no time.", remedy='use RFC 3339, such as "2026-03-01T12:00:00Z"')
    return moment.astimezone(UTC)


def told(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _folder(project: str) -> Path:
    if "://" in project:
        raise DatasetError(
            f"{project} is on a server, which keeps no splits.",
            remedy="split(train=0.8, test=0.2, seed=1), and parts.to_json() to keep it",
        )
    folder = Path(project) / FOLDER
    real = os.path.realpath(folder)
    if not real.startswith(os.path.realpath(project) + os.sep):
        raise FormatError(f"{folder} leads to {real}, out of the project.", remedy="remove the link")
    return folder


def _numbers(folder: Path) -> list[int]:
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"(\d{6})\.json", name)))


def _read(folder: Path, number: int) -> StoredSplit:
    path = folder / f"{number:06}.json"
    return StoredSplit.from_json(read_small(path), str(path))


def store(project: str, split: StoredSplit, force: bool) -> StoredSplit:
    """Store a split as the next one of a project.

    Raises
    ------
    DatasetError
        There is one already, and not `force`.
    """
    folder = _folder(project)
    own_folder(folder)
    while True:
        numbers = _numbers(folder)
        if numbers and not force:
            raise DatasetError(
                f"{project} has a split already, the {len(numbers)}. of {_read(folder, numbers[-1]).created}.",
                remedy="save(force=True), which keeps the old one in the history",
            )
        moment = datetime.now(UTC)
        if numbers:  # clocks of two machines differ; the history has one order
            moment = max(moment, instant(_read(folder, numbers[-1]).created) + timedelta(microseconds=1))
        number = (numbers[-1] if numbers else 0) + 1
        made = StoredSplit(**{**vars(split), "created": told(moment), "version": number})
        private = folder / f".new-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(made.to_json())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # somebody else was first with this number
                os.link(private, folder / f"{number:06}.json")
                return made
        finally:
            private.unlink(missing_ok=True)


def stored(project: str, moment: datetime | None) -> StoredSplit:
    """Return the split that counted at a moment; None: the last one.

    Raises
    ------
    DatasetError
        None was stored by then; names the time of the first one.
    """
    folder = _folder(project)
    numbers = _numbers(folder)
    if not numbers:
        raise DatasetError(
            f"{project} has no stored split.", remedy="dataset.split(train=0.8, test=0.2, seed=0).save()"
        )
    if moment is None:
        return _read(folder, numbers[-1])
    low, high = 0, len(numbers)  # times rise with the numbers
    while low < high:
        middle = (low + high) // 2
        if instant(_read(folder, numbers[middle]).created) <= moment:
            low = middle + 1
        else:
            high = middle
    if not low:
        first = _read(folder, numbers[0]).created
        raise DatasetError(
            f"At {told(moment)} {project} had no split; the first one is of {first}.",
            remedy=f"as_of_timestamp={first!r}",
        )
    return _read(folder, numbers[low - 1])
