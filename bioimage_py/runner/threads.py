"""Thread pools of numerical libraries while several workers run: one thread each, and put back afterwards."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_depth = 0
_stack = ExitStack()


@contextmanager
def limited_threads(num_workers: int) -> Iterator[None]:
    """Limit BLAS, OpenMP and opencv to one thread a worker; the last of several runs at once restores them."""
    global _depth
    if num_workers < 2:
        yield
        return
    with _lock:
        if _depth == 0:
            _limit(_stack)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _stack.close()


def _limit(stack: ExitStack) -> None:
    # built at each run: libraries loaded since the last one must be seen
    from threadpoolctl import ThreadpoolController

    stack.enter_context(ThreadpoolController().limit(limits=1))
    if (cv2 := sys.modules.get("cv2")) is not None:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        stack.callback(cv2.setNumThreads, before)
