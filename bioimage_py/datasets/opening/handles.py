"""Open arrays of this process, each with a small cache of decoded chunks; never those of a parent."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

from ...errors import StorageError
from ...sources import Source
from ...wrapper.cached import CachedSource, with_cache
from .cache import drop_if_damaged

T = TypeVar("T")

MOST = 256
"""Arrays that are kept open."""
CACHE_BYTES = 32 * 2**20
"""Decoded chunks that are kept of each."""
ALL_BYTES = 16 * CACHE_BYTES
"""Of all: 16 volumes, or as many small images as `MOST` says, which take longer to open than to read."""

_open: OrderedDict[Hashable, Source] = OrderedDict()
_lock = threading.Lock()


def opened(key: Hashable, open_it: Callable[[], Source]) -> Source:
    """Return an open source, by what never stands for another content; opened if this process has not.

    Sources are not closed when they make room, as a thread may read them; they go with their last user.
    """
    with _lock:
        if key in _open:
            _open.move_to_end(key)
            return _open[key]
    source = with_cache(open_it(), CACHE_BYTES)
    with _lock:
        source = _open.setdefault(key, source)
        total = sum(min(one.nbytes, CACHE_BYTES) for one in _open.values())
        while len(_open) > MOST or (total > ALL_BYTES and len(_open) > 1):
            total -= min(_open.popitem(last=False)[1].nbytes, CACHE_BYTES)
    return source


def read_from(key: Hashable, open_it: Callable[[], Source], read: Callable[[Source], T]) -> T:
    """Read from an open source; from one that is opened anew where its storage has gone, or is a damaged copy.

    Chunks that are gone look like zeros, so it is asked after reading whether they are all still there.
    """
    source = opened(key, open_it)
    try:
        found = read(source)
        source.check_there()
    except StorageError:
        forget(key)
        drop_if_damaged(source.source if isinstance(source, CachedSource) else source)
        source = opened(key, open_it)
        found = read(source)
        source.check_there()
    return found


def forget(key: Hashable) -> None:
    """Drop an open source, which is opened anew then."""
    with _lock:
        _open.pop(key, None)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
