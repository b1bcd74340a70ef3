"""How to run: one frozen value, whose fields are also the flat keywords of every operation."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from .errors import ConfigError
from .sources.values import Casting


@dataclass(frozen=True)
class Execution:
    """How a run is executed.

    Parameters
    ----------
    job_type : str
        Name of the backend, in any case; ``"local"`` runs threads in this process.
    num_workers : int
        Number of workers at once.
    job_config : object, optional
        Settings of the backend.
    retries : int
        How often the blocks of a failed write group are run again before they are set aside.
    max_failures : int, optional
        Blocks that may fail before the run stops; by default 1 % of the blocks, at least 10.
    memory : int, optional
        Memory budget in bytes for all workers on this machine; by default what is available.
    casting : {"checked", "unsafe"}
        What happens to values that an output's data type can't hold: an error, or numpy's ``astype``.
    progress : bool
        Show a progress bar (on a terminal).
    durability : {"process", "node"}
        What finished blocks survive: the death of any process, or of the machine too (slower: waits for the disk).

    Raises
    ------
    ConfigError
        A field with a value that makes no sense.
    """

    job_type: str = "local"
    num_workers: int = 1
    job_config: Any = None
    retries: int = 1
    max_failures: int | None = None
    memory: int | None = None
    casting: Casting = "checked"
    progress: bool = True
    durability: Literal["process", "node"] = "process"

    def __post_init__(self) -> None:
        if not isinstance(self.job_type, str):
            raise ConfigError(f"job_type {self.job_type!r} is not a name", remedy='job_type="local"')
        object.__setattr__(self, "job_type", self.job_type.lower())
        for name, least in (("num_workers", 1), ("retries", 0), ("max_failures", 0), ("memory", 1)):
            value = getattr(self, name)
            if value is None and name in ("max_failures", "memory"):
                continue
            try:
                number = operator.index(repr(value) if isinstance(value, bool) else value)
            except TypeError:
                raise ConfigError(f"{name}={value!r} is not a whole number", remedy=f"{name}={least}") from None
            if number < least:
                raise ConfigError(f"{name}={value!r} is below {least}", remedy=f"{name}={least}")
            object.__setattr__(self, name, number)
        if self.casting not in ("checked", "unsafe"):
            raise ConfigError(f'casting={self.casting!r} is neither "checked" nor "unsafe"', remedy='casting="checked"')

    def updated(self, changes: Mapping[str, Any]) -> Execution:
        """A copy with other values for some fields; unknown names are a ConfigError that lists the known ones."""
        known = {field.name for field in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ConfigError(f"unknown execution setting(s) {unknown}; known are {sorted(known)}")
        return replace(self, **changes)


_current: ContextVar[Execution | None] = ContextVar("bioimage_py_execution", default=None)


def current_execution() -> Execution:
    """The execution that holds here: the innermost `execution` block's, else the defaults."""
    return _current.get() or Execution()


@contextmanager
def execution(
    job_type: str | Execution | None = None, num_workers: int | None = None, **settings: Any
) -> Iterator[Execution]:
    """Set the defaults of every operation inside a ``with`` block.

    Parameters
    ----------
    job_type : str or Execution, optional
        Name of the backend, or a whole `Execution`.
    num_workers : int, optional
    **settings
        Other fields of `Execution`.

    Yields
    ------
    Execution
    """
    changes = dict(settings)
    if num_workers is not None:
        changes["num_workers"] = num_workers
    base = current_execution()
    if isinstance(job_type, Execution):
        base = job_type
    elif job_type is not None:
        changes["job_type"] = job_type
    token = _current.set(base.updated(changes))
    try:
        yield current_execution()
    finally:
        _current.reset(token)
