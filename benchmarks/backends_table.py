"""Which backends pass which checks of the conformance suite: runs its tests, prints the table.

Fails if a test fails, and if a check was skipped that the backend does not declare impossible. Arguments are test files
or other arguments of pytest; by default all tests are searched. The real cluster of SLURM takes part where
BIOIMAGE_PY_TEST_SLURM is set (make test-backends does so).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import ClassVar

from sources_table import Table, main, suites

from bioimage_py.testing import BACKEND_CHECKS, BackendConformance


class BackendTable(Table):
    """The table of backends."""

    suite = BackendConformance
    titles: ClassVar[dict[str, str]] = {name: name for name in BACKEND_CHECKS}

    def markdown(self) -> str:
        """The table for docs/backends.md, with backends as columns, and why cells are empty."""
        kinds = sorted({kind for kind, _ in self.kinds.values()}, key=str.lower)
        words = {"yes": "yes", "impossible": "–"}
        rows = [["", *kinds], ["---"] * (len(kinds) + 1)]
        rows += [
            [name, *(words.get(cell, cell) for cell in (self.cell(kind, name) for kind in kinds))]
            for name in self.titles
        ]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        why: dict[str, list[str]] = {}
        for kind in kinds:
            for name, reason in self.impossible[kind].items():
                why.setdefault(reason, []).append(f"{kind}: {name}")
        return "\n".join([*lines, "", *(f"– {reason} ({'; '.join(cells)})  " for reason, cells in why.items())])


def write(text: str) -> None:
    """Put the table into its page."""
    page = Path(__file__).resolve().parents[1] / "docs" / "backends.md"
    before, begin, rest = page.read_text().partition("<!-- table: make test-backends -->\n")
    _, end, after = rest.partition("<!-- end of the table -->")
    page.write_text(f"{before}{begin}{text}\n{end}{after}")


if __name__ == "__main__":
    found = suites(Path(__file__).resolve().parents[1] / "tests", "BackendConformance")
    if not os.environ.get("BIOIMAGE_PY_TEST_SLURM"):
        found = [path for path in found if "slurm_real" not in path]
    given = [one for one in sys.argv[1:] if one != "--write"]
    paths = [path for path in found if "test_mutants" not in path]
    table = BackendTable()
    failed = main(table, ["-m", "long or not long", *(given or paths)])
    if "--write" in sys.argv[1:]:
        write(table.markdown())
    sys.exit(failed)
