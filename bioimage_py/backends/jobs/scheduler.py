"""What a scheduler is asked for, and the words for its answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

TERMINAL = {
    "BOOT_FAIL": "node",
    "CANCELLED": "cancelled",
    "COMPLETED": "finished",
    "DEADLINE": "wall time",
    "FAILED": "killed",
    "NODE_FAIL": "node",
    "OUT_OF_MEMORY": "memory",
    "PREEMPTED": "preempted",
    "REVOKED": "cancelled",
    "TIMEOUT": "wall time",
}
"""States of the scheduler that are an end, and the kind of end."""
UNLISTED = "UNLISTED"
"""What a scheduler says of a job that it has listed and does not list any more: that alone is no end."""


class Query(Protocol):
    """One question for the states of all jobs, which does not wait for the answer."""

    @property
    def asked(self) -> bool:
        """Whether an answer is being waited for."""

    def ask(self, jobs: Sequence[str], names: Sequence[str]) -> None:
        """Put the question: arrays, and their names."""

    def answer(self) -> dict[str, tuple[str, str]] | None:
        """State and nodes of each job by ``<array>_<index>``; None while there is no answer, and where it failed."""


class Scheduler(Protocol):
    """The commands of a scheduler: a module of functions, or an object."""

    TRANSIENT: tuple[str, ...]
    """Words of errors that pass."""
    SEES_NODES: bool
    """Whether a job that is listed as running runs: its node was not lost meanwhile."""

    def array_limit(self, config: Any) -> int:
        """Jobs in one array at most."""

    def submit(
        self, folder: Path, name: str, n_jobs: int, command: str, config: Any, mem: str | None, avoid: str
    ) -> str:
        """Submit an array of jobs, or with 0 a single one; its id. RuntimeError where it is refused."""

    def find(self, name: str) -> str | None:
        """The array of a name; None where there is none. OSError where that could not be asked."""

    def cancel(self, *what: str) -> None:
        """Cancel a job ``<array>_<index>``."""

    def cancel_named(self, names: Iterable[str], *, pending: bool = False) -> None:
        """Cancel the jobs of these names, or those of them that wait."""

    def queued(self, names: Iterable[str]) -> set[str] | None:
        """Ids of the jobs of these names that wait or run; None where the scheduler cannot be asked."""

    def StateQuery(self) -> Query:  # noqa: N802 - a class, in a module of functions
        """Return a question for states."""
