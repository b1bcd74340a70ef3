"""What a forked child must not use: its parent's storage engine, whose threads it lacks, and files that both hold open.

tensorstore aborts such a child, and a pool that starts another one for it never ends; so the child is told before.
A zarr array in a local folder that it opens itself, to read it, is read by zarr-python, which has no such threads.
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import ForkError

_SPAWN = 'multiprocessing.get_context("spawn"); of a DataLoader: multiprocessing_context="spawn"'
_used = _orphaned = False
_forks = 0


def engine() -> Any:
    """Return the module ``tensorstore``.

    Raises
    ------
    ForkError
        If this process was forked from one that has used it.
    """
    global _used
    check()
    _used = True
    import tensorstore

    return tensorstore


def lost() -> bool:
    """Whether this process was forked from one that has used tensorstore, so that it must not."""
    return _orphaned


def check() -> None:
    """ForkError where this process was forked from one that has used tensorstore."""
    if _orphaned:
        raise ForkError(
            f"Process {os.getpid()} was forked from one that had opened arrays, and lacks the threads that read them.",
            remedy=f"{_SPAWN}; or open the array in the child: zarr in a local folder, to be read",
        )


def count() -> int:
    """How many forks lie between this process and the one that began."""
    return _forks


def check_opened(forks: int, path: str) -> None:
    """ForkError for a file that was opened when `count` was another."""
    if forks != _forks:
        raise ForkError(
            f"{path} was opened before this process {os.getpid()} was forked: both would move in one open file.",
            remedy=f"open it in the child; or {_SPAWN}",
        )


def _after() -> None:
    global _forks, _orphaned
    _forks += 1
    _orphaned = _orphaned or _used


os.register_at_fork(after_in_child=_after)
