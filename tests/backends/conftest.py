"""Which checks of the conformance suite make test runs: a backend that shares its code with another one takes a few."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        few = getattr(getattr(item, "cls", None), "few_checks", None)
        checks = getattr(getattr(item, "function", None), "checks", ())
        if few is not None and checks and not few.intersection(checks):
            item.add_marker(pytest.mark.long)
