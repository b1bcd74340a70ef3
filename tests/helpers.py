"""What several test files do in the same way: block functions, waiting, and libraries that take long to import."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
from collections import Counter
from typing import Any

from bioimage_py.blocks import to_roi


def nothing(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    pass


def block_id(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    return int(block.id)


def plus_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = to_roi(getattr(block, "inner_block", block))
    outputs[0][roi] = inputs[0][roi] + 1


class Flaky:
    """A block function that fails on some blocks, the first time or always, and remembers what it did."""

    def __init__(self, bad: set[int], *, always: bool, error: type[BaseException] = ValueError) -> None:
        self.bad, self.always, self.error = bad, always, error
        self.calls: Counter[int] = Counter()
        self.workers: dict[int, list[str]] = {}

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
        self.calls[block.id] += 1
        self.workers.setdefault(block.id, []).append(threading.current_thread().name)
        time.sleep(0.001)
        if block.id in self.bad and (self.always or self.calls[block.id] == 1):
            raise self.error(f"block {block.id} is bad")
        return int(block.id)


def until(condition: Any, seconds: float = 30.0) -> Any:
    """Wait for a condition to hold; what it is then."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
    return found


class Later:
    """A library that is imported when it is first used; without it the tests of a file are skipped."""

    def __init__(self, name: str, reason: str) -> None:
        if importlib.util.find_spec(name) is None:
            import pytest  # workers import this file for its block functions

            pytest.skip(reason, allow_module_level=True)
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest asks all that it finds in a file whether it is a test
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
