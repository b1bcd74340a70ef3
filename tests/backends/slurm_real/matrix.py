"""The lines that make test-slurm prints: one for each thing that must be shown, whether it ran or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

FAULTS = (
    "none",
    "node killed",
    "slurmd killed",
    "job cancelled",
    "preempted",
    "memory, more allowed",
    "memory beyond max_mem",
    "wall time",
)
OPERATIONS = ("label", "relabel")
OTHERS = (
    ("wall time near", "blocks", True),
    ("wall time near", "blocks", False),
    ("driver killed, attached", "blocks", True),
    ("driver killed, same call", "blocks", True),
    ("driver killed, jobs gone", "label", True),
    ("Ctrl-C, attached", "blocks", True),
    ("Ctrl-C twice", "blocks", True),
    ("detached", "blocks", True),
    ("25 workers, arrays of 10", "blocks", False),
)
Key = tuple[str, str, bool]
REQUIRED: tuple[Key, ...] = (*product(FAULTS, OPERATIONS, (True, False)), *OTHERS)
"""Fault, operation, and whether accounting is on."""
HEADER = ("fault", "operation", "sacct", "worker ends", "restarts", "checksum", "undisturbed", "seconds", "verdict")


@dataclass
class Line:
    """What came of one fault.

    Parameters
    ----------
    ends : str
        Kinds of the ends of workers.
    restarts : int
        Workers that were started for others.
    checksum, expected : str
        Of the output, and of that of a run without a fault.
    verdict : str
        "ok: ..." or what was wrong.
    """

    ends: str = "-"
    restarts: int = 0
    checksum: str = "-"
    expected: str = "-"
    seconds: float = 0.0
    verdict: str = ""

    @property
    def good(self) -> bool:
        """Whether it is as it must be."""
        return self.verdict.startswith("ok") and self.checksum == self.expected != "-"


class Matrix:
    """The lines of a session, and what else is printed with them."""

    def __init__(self) -> None:
        self.lines: dict[Key, Line] = {}
        self.notes: list[str] = []

    @contextmanager
    def line(self, fault: str, operation: str, accounting: bool) -> Iterator[Line]:
        """The line of a fault, to be filled in; an exception becomes its verdict."""
        key = (fault, operation, accounting)
        assert key in REQUIRED, key
        line = self.lines[key] = Line()
        begin = time.monotonic()
        try:
            yield line
            assert line.good, line
        except BaseException as error:
            line.verdict = f"FAILED: {type(error).__name__}: {error}".splitlines()[0][:120]
            raise
        finally:
            line.seconds = time.monotonic() - begin

    @property
    def complete(self) -> bool:
        """Whether every line is there and good."""
        return all(key in self.lines and self.lines[key].good for key in REQUIRED)

    def table(self) -> list[str]:
        """The lines as text."""
        rows = [HEADER]
        for key in REQUIRED:
            line = self.lines.get(key, Line(verdict="MISSING"))
            fault, operation, accounting = key
            rows.append(
                (
                    fault,
                    operation,
                    "on" if accounting else "off",
                    line.ends or "-",
                    str(line.restarts),
                    line.checksum,
                    line.expected,
                    f"{line.seconds:.0f}",
                    line.verdict,
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return [*map(str.rstrip, lines), *self.notes]
