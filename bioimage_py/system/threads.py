"""Thread pools of numerical libraries while several workers run: one thread each, and put back afterwards."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_depth = 0
_restore: dict[str, Callable[[], None]] = {}
_own = threading.local()
_found: tuple[int, list[Any]] = (0, [])


@contextmanager
def limited_threads(num_workers: int) -> Iterator[None]:
    """Limit BLAS and opencv to one thread a worker; the last of several runs at once restores them."""
    global _depth
    if num_workers < 2:
        yield
        return
    with _lock:
        _limit(worker=False)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                while _restore:
                    _restore.popitem()[1]()


def limit_loaded() -> None:
    """Limit, in a worker's thread, what has been loaded since, and OpenMP, whose limits are a thread's own."""
    loaded = len(sys.modules)
    if _depth and getattr(_own, "loaded", 0) != loaded:
        _own.loaded = loaded
        with _lock:
            if _depth:
                _limit(worker=True)


def _libraries() -> list[Any]:
    """Those of this process; looked for again where modules were loaded since, for it takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    global _found
    loaded = len(sys.modules)
    if _found[0] != loaded:
        _found = loaded, ThreadpoolController().lib_controllers
    return _found[1]


def _limit(*, worker: bool) -> None:
    for library in _libraries():
        if "openmp" in (library.user_api, getattr(library, "threading_layer", "")):
            if worker:
                library.set_num_threads(1)
        elif library.filepath not in _restore:
            _restore[library.filepath] = _setter(library, library.num_threads)
            _setter(library, 1)()
    if (cv2 := sys.modules.get("cv2")) is not None and "cv2" not in _restore:
        before = cv2.getNumThreads()
        _restore["cv2"] = lambda: cv2.setNumThreads(before)
        cv2.setNumThreads(1)


def _setter(library: Any, number: int) -> Callable[[], None]:
    # OpenBLAS would ignore a thread that is not the one that has set a limit before
    release = getattr(library, "clear_controlling_thread", lambda *, force: None)

    def apply() -> None:
        release(force=True)
        library.set_num_threads(number)
        release(force=True)

    return apply


def usable_cores() -> int:
    """Processor cores that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
