"""A real browser: installed by root on Debian, as it is for the tests of SLURM; one smoke test is in make test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bioimage_py.errors import MissingDependencyError
from bioimage_py.viz.viewing.browser import find_browser

ALL = bool(os.environ.get("BIOIMAGE_PY_TEST_BROWSER"))
"""Asked for by make test-browser: whatever is missing is a failure."""
CI = os.environ.get("CI", "").lower() not in ("", "0", "false") and sys.platform.startswith("linux")
HERE = Path(__file__).parent
SMOKE = "test_smoke.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.processes)
            item.add_marker(pytest.mark.timeout(420))
            if item.path.name != SMOKE and not ALL:
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def browser() -> str:
    """The program; a skip where there is none and nobody asked for it."""
    try:
        return find_browser()
    except MissingDependencyError as error:
        reason = error.message
    if shutil.which("apt-get") is not None and os.geteuid() == 0:
        done = subprocess.run(["bash", str(HERE / "install.sh")], capture_output=True, text=True, timeout=400)
        if done.returncode == 0:
            return find_browser()
        reason = f"install.sh: {done.stderr[-800:]}"
    if ALL or CI:
        pytest.fail(f"no browser, which {'make test-browser' if ALL else 'a test with CI set'} needs: {reason}")
    pytest.skip(f"no browser: {reason}")
