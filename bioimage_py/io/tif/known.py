"""What tif files were found to hold: a second look at one that has not changed costs no more than its `stat`."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...sources.axes import Axis
from ..details import Details

KEPT = 32
"""Files that are remembered."""
MOST_PAGES = 4096
"""Of a file that is remembered before it has been described: the library keeps a list of them."""
_SETTLED_SECONDS = 2.0
"""A file that changed later than this before the look may change once more without another time."""

State = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Layout:
    """An image that lies in one piece.

    Parameters
    ----------
    offset : int
        Byte at which its voxels begin.
    shape : tuple of int
    dtype : numpy.dtype
    axes : tuple of Axis
    key : str
        Of the image in its file.
    count : int
        Images of the file.
    level_shapes : tuple of tuple of int
    describe : callable
        Gives what the file says of it.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[Axis, ...]
    key: str
    count: int
    level_shapes: tuple[tuple[int, ...], ...]
    describe: Callable[[], Details]


class Once:
    """What is worked out when it is first asked for, and then without what it is made of: a file with all its pages.

    Parameters
    ----------
    make : callable
        Works it out.
    """

    def __init__(self, make: Callable[[], Details]) -> None:
        self._make: Callable[[], Details] | None = make
        self._found = Details()

    def __call__(self) -> Details:
        """Return it."""
        make = self._make
        if make is not None:
            self._found = make()
            self._make = None
        return self._found


_known: OrderedDict[tuple[str, int | None], tuple[State, Layout]] = OrderedDict()
_lock = threading.Lock()


def state_of(path: str) -> State | None:
    """Return what changes with the content of a file; None where it may change and look the same."""
    try:
        found = os.stat(path)
    except OSError:  # who opens the file says so
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < _SETTLED_SECONDS:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def recall(path: str, series: int | None, state: State | None) -> Layout | None:
    """Return what a series was found to be, if its file is in the same state as then."""
    with _lock:
        found = _known.get((path, series))
        if found is None or found[0] != state:
            return None
        _known.move_to_end((path, series))
        return found[1]


def remember(path: str, series: int | None, state: State | None, layout: Layout) -> None:
    """Keep what a series was found to be; `state` is that from before the look."""
    if state is None:
        return
    with _lock:
        _known[path, series] = (state, layout)
        _known.move_to_end((path, series))
        while len(_known) > KEPT:
            _known.popitem(last=False)


def forget() -> None:
    """Know nothing."""
    with _lock:
        _known.clear()
