"""Being told what others save on a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ...errors import StorageError
from .problems import GoneError

if TYPE_CHECKING:
    from .store import Event, EventStream, Store

_AWAY = (0.2, 5.0)
"""Seconds between two attempts to reach a server that is away, at first and at last."""


class _FailedError(Exception):
    """What the function raised, so that a server which it cannot reach is not taken for the one that is watched."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Watch:
    """A thread that calls a function for each event of a project, in their order, each once; from `Project.watch`.

    It outlives a server that is away. As a context manager it stops at the end, and raises what the function raised.

    Parameters
    ----------
    store : Store
    since : int
        Number of the last event that is known.
    callback : callable
        ``callback(event)``.
    """

    def __init__(self, store: Store, since: int, callback: Callable[[Event], object]) -> None:
        self.seq = since
        """Number of the last event that the function was called for."""
        self.error: BaseException | None = None
        """Why it has ended by itself: the function failed, or the project can't be read any more."""
        self._store, self._callback = store, callback
        self._stream: EventStream | None = None
        self._over, self._calling = threading.Event(), threading.RLock()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="bioimage_py-watch")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still watches."""
        return self._thread.is_alive() and not self._over.is_set()

    def stop(self) -> None:
        """Call the function no more: when this returns, no call is under way, unless it is this one's."""
        self._over.set()
        stream = self._stream
        if stream is not None:
            stream.stop()
        with self._calling:
            pass

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, by `stop` or by itself, for so many seconds at most."""
        self._thread.join(timeout)

    def _watch(self) -> None:
        pause = _AWAY[0]
        try:
            while not self._over.is_set():
                before = self.seq
                try:
                    self._take()
                except GoneError:
                    self.seq = self._store.last()
                except _FailedError as failed:
                    raise failed.error from None
                except StorageError:
                    pass  # it is away, or ends its streams: they begin again where this one has stopped
                pause = _AWAY[0] if self.seq != before else min(2 * pause, _AWAY[1])
                self._over.wait(pause)
        except BaseException as error:  # noqa: BLE001 - whoever stops it is told
            self.error = error
        finally:
            self._over.set()

    def _take(self) -> None:
        with self._store.stream(self.seq) as stream:
            self._stream = stream
            for event in stream:
                with self._calling:
                    if self._over.is_set():
                        return
                    if event.seq > self.seq:
                        self._call(event)
                        self.seq = event.seq

    def _call(self, event: Event) -> None:
        try:
            self._callback(event)
        except BaseException as error:  # noqa: BLE001 - whoever stops it is told
            raise _FailedError(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if self.error is not None and error is None:
            raise self.error

    def __repr__(self) -> str:
        return f"Watch({self._store.id!r}, seq={self.seq})"
