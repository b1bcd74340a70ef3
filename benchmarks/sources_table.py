"""Which kinds of source pass which checks of the conformance suite: runs its tests, prints the table.

Fails if a test fails, and if a check was skipped that the kind does not declare impossible. Arguments are test files or
other arguments of pytest; by default all tests are searched.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

import pytest

from bioimage_py.testing import SourceConformance

TITLES = {
    "read": "read",
    "write": "write",
    "reopen": "reopen in a process",
    "threads": "threads",
    "axes": "axes",
    "foreign": "foreign writer",
}
DECLARED = "declared impossible"


class Table:
    """A plugin of pytest that keeps the outcome of every check of every kind."""

    suite: ClassVar[type] = SourceConformance
    titles: ClassVar[dict[str, str]] = TITLES
    """Of the columns, by the names of the checks."""

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[str, str]] = {}
        self.passed: dict[tuple[str, str], int] = defaultdict(int)
        self.failed: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.skipped: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.impossible: dict[str, dict[str, str]] = defaultdict(dict)
        self.broken: list[str] = []

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests of the conformance suite."""
        chosen, others = [], []
        for item in items:
            cls, test = getattr(item, "cls", None), getattr(item, "function", None)
            checks = getattr(test, "checks", ())
            if cls is None or not issubclass(cls, self.suite) or not checks:
                others.append(item)
                continue
            chosen.append(item)
            kind = cls.kind or cls.__name__.removeprefix("Test")
            self.kinds[item.nodeid] = (kind, checks[0])
            self.impossible[kind].update(cls.impossible)
        config.hook.pytest_deselected(items=others)
        items[:] = chosen

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note files that cannot be collected: their kinds would be missing from the table."""
        if report.failed or (report.skipped and report.nodeid.endswith(".py")):
            self.broken.append(f"{report.nodeid}: {_reason(report)}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count an outcome."""
        cell = self.kinds[report.nodeid]
        if report.failed:
            self.failed[cell].append(f"{report.nodeid} ({report.when})")
        elif report.skipped:
            if DECLARED not in _reason(report):
                self.skipped[cell].append(f"{report.nodeid}: {_reason(report)}")
        elif report.when == "call":
            self.passed[cell] += 1

    def cell(self, kind: str, check: str) -> str:
        """What the table says of a check of a kind."""
        key = (kind, check)
        if self.failed[key]:
            return "FAILED"
        if check in self.impossible[kind]:
            return "impossible"
        if self.skipped[key] or not self.passed[key]:
            return "SKIPPED"
        return "yes"

    def text(self) -> str:
        """The table, and below it what is impossible and why, what failed, and what was skipped."""
        kinds = sorted({kind for kind, _ in self.kinds.values()}, key=str.lower)
        rows = [["kind", *self.titles.values()]]
        rows += [[kind, *(self.cell(kind, check) for check in self.titles)] for kind in kinds]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        reasons = sorted({(reason, check, kind) for kind in kinds for check, reason in self.impossible[kind].items()})
        grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
        for reason, check, kind in reasons:
            grouped[self.titles[check], reason].append(kind)
        lines += ["", "impossible:", *(f"  {check}: {why} ({', '.join(who)})" for (check, why), who in grouped.items())]
        for title, found in (("failed:", self.failed), ("skipped, not declared impossible:", self.skipped)):
            wrong = [line for cell in sorted(found) for line in found[cell]]
            lines += ["", title, *(f"  {line}" for line in wrong)] if wrong else []
        lines += ["", "not collected:", *(f"  {line}" for line in self.broken)] if self.broken else []
        return "\n".join(lines)

    def complete(self) -> bool:
        """Whether every check of every kind passed or is declared impossible."""
        cells = [self.cell(kind, check) for kind, _ in set(self.kinds.values()) for check in self.titles]
        skipped = any(self.skipped[cell] for cell in self.kinds.values())
        return bool(cells) and not self.broken and not skipped and all(cell in ("yes", "impossible") for cell in cells)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longrepr).strip().rpartition("\n")[2]


def suites(folder: Path, name: str = "SourceConformance") -> list[str]:
    """The test files that derive from the suite, so that the others need not be imported."""
    return sorted(str(path) for path in folder.glob("**/test_*.py") if name in path.read_text())


def main(table: Table, arguments: list[str]) -> int:
    """Run the tests and print the table; 0 if it is complete."""
    # the suite was imported above, by which pytest finds hypothesis imported already
    quiet = [
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--tb=short",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    code = pytest.main([*quiet, *arguments], plugins=[table])
    print("\n" + table.text())
    return 0 if code == pytest.ExitCode.OK and table.complete() else 1


if __name__ == "__main__":
    sys.exit(main(Table(), sys.argv[1:] or suites(Path(__file__).resolve().parents[1] / "tests")))
