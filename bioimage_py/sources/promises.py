"""Content that somebody has promised: whoever reads or writes such an array first has it made."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Source

_promised: dict[Hashable, Callable[[], None]] = {}
_needed: dict[Hashable, Callable[[], None]] = {}


def promise(source: Source, keep: Callable[[], None]) -> None:
    """Have ``keep`` called before the storage of a source is next read or written in this process."""
    for part in source.parts:
        _promised[part.identity] = keep


def needed(source: Source, keep: Callable[[], None]) -> None:
    """Have ``keep`` called before the storage of a source is next written in this process."""
    for part in source.parts:
        _needed[part.identity] = keep


def forget(keep: Callable[[], None]) -> None:
    """Take back what was promised so."""
    for known in (_promised, _needed):
        for identity in [identity for identity, kept in known.items() if kept == keep]:
            known.pop(identity, None)


def lift(source: Source) -> None:
    """Take back all that was promised of the storage of a source: it has been written."""
    for part in source.parts if _promised else ():
        _promised.pop(part.identity, None)


def settle(source: Source, *, writing: bool = False) -> None:
    """Keep what was promised of the storage of a source."""
    for known in (_promised, _needed) if writing else (_promised,):
        for part in source.parts if known else ():
            if (keep := known.get(part.identity)) is not None:
                keep()
