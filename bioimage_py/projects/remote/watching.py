"""Being told what others save on a server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ...errors import FormatError, StorageError
from ...system.json_text import parse_json
from .problems import GoneError

if TYPE_CHECKING:
    from .store import Store

_AWAY = (0.2, 5.0)
"""Seconds between two attempts to reach a server that is away, at first and at last."""


@dataclass(frozen=True)
class Event:
    """What somebody changed: one commit.

    Parameters
    ----------
    seq : int
        Number, without gaps, in the order of the commits.
    user, client, time : str
        Who, with which program, when (ISO 8601, UTC).
    changes : list of dict
        Of each document its ``name`` ("project", or the identifier of a data set), ``kind`` ("added", "changed" or
        "removed") and ``fields``: the paths of what changed, each a list.

    Examples
    --------
    >>> name = "20260101-120000-000000-abcdef"
    >>> changes = [{"name": name, "kind": "changed", "fields": [["layers", "layer-1", "version"]]}]
    >>> event = Event(7, "alice", "napari", "2026-01-01T12:00:00Z", changes)
    >>> event.kind, event.layer, event.fields
    ('changed', 'layer-1', ['layers.layer-1.version'])
    """

    seq: int
    user: str
    client: str
    time: str
    changes: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> Self:
        """Return an event as a server sends it; FormatError where it is none. What else it tells is left out."""
        try:
            user, client, time = (str(sent[name]) for name in ("user", "client", "time"))
            found = cls(int(sent["seq"]), user, client, time, list(sent["changes"]))
            found.kind, found.descriptor, found.layer, found.fields  # noqa: B018 - whether they can be told
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(
                f"What the server sent is no event of a project: {str(sent)[:200]}",
                remedy="ask its administrator which version it has, and install that of this package",
            ) from error
        return found

    @property
    def kind(self) -> str:
        """Return "added", "changed" or "removed"; "changed" too where a commit did several of these."""
        kinds = {change["kind"] for change in self.changes}
        return str(kinds.pop()) if len(kinds) == 1 else "changed"

    @property
    def descriptor(self) -> str | None:
        """Identifier of the data set; None where it was none, or several."""
        names = {change["name"] for change in self.changes} - {"project"}
        return str(names.pop()) if len(names) == 1 else None

    @property
    def layer(self) -> str | None:
        """Id of the layer whose annotations changed; None where it was none, or several."""
        paths = (path for change in self.changes if change["name"] != "project" for path in change["fields"])
        layers = {path[1] for path in paths if path[0] == "layers" and len(path) > 1}
        return str(layers.pop()) if len(layers) == 1 else None

    @property
    def fields(self) -> list[str]:
        """What changed, such as "comments" and "tags.tag-1", each once."""
        return list(dict.fromkeys(".".join(map(str, path)) for change in self.changes for path in change["fields"]))


class EventStream:
    """Events as a server sends them."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[Event]:
        for line in self._answer.iter_lines():
            if line.startswith("data:"):  # others are comments, and numbers that the data has too
                yield Event.of(parse_json(line[5:]))

    def stop(self) -> None:
        """End it from another thread, which would wait for the next comment."""
        with suppress(OSError, AttributeError):
            self._answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)


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
