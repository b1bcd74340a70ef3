"""A real browser: installed by root on Debian, as it is for the tests of SLURM; one smoke test is in make test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bioimage_py.errors import MissingDependencyError
from bioimage_py.viz.viewing.browser import find_browser
from tests.debian import missing

ALL = bool(os.environ.get("BIOIMAGE_PY_TEST_BROWSER"))
"""Asked for by make test-browser: whatever is missing is a failure."""
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
    if not (why := missing(["chromium"], ["chromium"])):
        return find_browser()
    reason = f"{reason}; {why}"
    if ALL:
        pytest.fail(f"no browser, which make test-browser needs: {reason}")
    pytest.skip(f"needs a browser: {reason}")
