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


if __name__ == "__main__":
    found = suites(Path(__file__).resolve().parents[1] / "tests", "BackendConformance")
    if not os.environ.get("BIOIMAGE_PY_TEST_SLURM"):
        found = [path for path in found if "slurm_real" not in path]
    arguments = sys.argv[1:] or [path for path in found if "test_mutants" not in path]
    sys.exit(main(BackendTable(), ["-m", "long or not long", *arguments]))
