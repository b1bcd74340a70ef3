"""Who made a record and when, how sure they were, and whether by hand."""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from ...errors import ParameterError
from .ids import is_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 254
YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""Microseconds of what a datetime can be: the years 1 to 9999."""
Naive = Literal["error", "utc"]


def microseconds(time: datetime) -> int:
    """Return a time as whole microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def time_of(stamp: int) -> datetime:
    """Return the time of `microseconds`."""
    return _EPOCH + timedelta(microseconds=int(stamp))


def now() -> int:
    """Return the present."""
    return microseconds(datetime.now(UTC))


def this_user() -> str:
    """Return user@host."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:_LONGEST]
    except (OSError, KeyError):  # a container may know of no user
        return "unknown"


@dataclass(frozen=True)
class Given:
    """Audit fields of a call, checked; None is what was not given."""

    created_at: int | None = None
    created_by: str | None = None
    last_edited_at: int | None = None
    last_edited_by: str | None = None
    confidence: float | None = None
    manual_annotation: bool | None = None


def checked_audit(
    created_at: Any = None,
    created_by: Any = None,
    last_edited_at: Any = None,
    last_edited_by: Any = None,
    confidence: Any = None,
    manual_annotation: Any = None,
    naive: Naive = "error",
) -> Given:
    """Return audit fields.

    Raises
    ------
    ParameterError
        A time without zone, a confidence not from 0 to 1, a name of 0 or more than 254 characters, another type.
    """
    times = [checked_time(created_at, "created_at", naive), checked_time(last_edited_at, "last_edited_at", naive)]
    check_order(*times)
    if manual_annotation is not None and not isinstance(manual_annotation, bool | np.bool_):
        raise ParameterError(f"manual_annotation={manual_annotation!r} is neither True nor False.", remedy="use True")
    return Given(
        times[0],
        checked_author(created_by, "created_by"),
        times[1],
        checked_author(last_edited_by, "last_edited_by"),
        None if confidence is None else checked_confidence(confidence),
        None if manual_annotation is None else bool(manual_annotation),
    )


def check_order(created: int | None, edited: int | None) -> None:
    """Raise ParameterError for an edit before the creation."""
    if created is not None and edited is not None and edited < created:
        raise ParameterError(
            f"last_edited_at {time_of(edited).isoformat()} is before created_at {time_of(created).isoformat()}.",
            remedy="give last_edited_at not before created_at",
        )


def checked_time(value: Any, name: str, naive: Naive = "error") -> int | None:
    """Return a time as microseconds; None stays None."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ParameterError(f"{name}={value!r} is no datetime.", remedy=f"{name}=datetime.now(UTC)")
    if value.tzinfo is None:
        if naive != "utc":
            raise ParameterError(
                f"{name}={value.isoformat()} has no time zone; in UTC that would be {value.isoformat()}+00:00.",
                remedy=f"{name}={name}.replace(tzinfo=UTC), or naive='utc'",
            )
        value = value.replace(tzinfo=UTC)
    found = microseconds(value)
    if not YEARS[0] <= found <= YEARS[1]:
        raise ParameterError(f"{name}={value.isoformat()} is not of the years 1 to 9999 in UTC.", remedy="another time")
    return found


def checked_author(value: Any, name: str) -> str | None:
    """Return a name of 1 to 254 characters; None stays None."""
    if value is None:
        return None
    if is_text(value) and 0 < len(value) <= _LONGEST:
        return str(value)
    raise ParameterError(f"{name}={value!r} is no text of 1 to {_LONGEST} characters.", remedy=f"{name}='me'")


def checked_confidence(value: Any) -> float:
    """Return a number from 0 to 1."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if number and 0 <= value <= 1:
        return float(value)
    raise ParameterError(f"confidence={value!r:.80} is not a number from 0 to 1.", remedy="use 0 to 1")


def audited(
    created_at: Any, created_by: Any, edited_at: Any, edited_by: Any, confidence: Any, manual: Any, naive: Any
) -> dict[str, Any]:
    """Return audit fields by name, as `checked_audit` takes them."""
    return {
        "created_at": created_at,
        "created_by": created_by,
        "last_edited_at": edited_at,
        "last_edited_by": edited_by,
        "confidence": confidence,
        "manual_annotation": manual,
        "naive": naive,
    }
