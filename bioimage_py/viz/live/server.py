"""Runs below a folder as a page that refreshes itself, for this machine only."""

from __future__ import annotations

import hmac
import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ...errors import BioimageError, ConfigError
from ...run_folder import RunFolder
from ...runner.control.inspect import errors_of, find_folders, report_of
from ...runner.control.watching import Look, Watching
from ...system.files import read_small
from ..run_report import report_page

PAGE = Path(__file__).with_name("page.html")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SEARCH_SECONDS = 5.0
"""How often the folders are looked through for new runs."""
MOST = 50
"""Runs that are looked at and shown, those that gave a sign last; others are counted."""


class Runs:
    """The runs of some places, looked at when somebody asks.

    Parameters
    ----------
    places : sequence of path
        As `find_runs` takes them.

    Attributes
    ----------
    more : int
        Runs that are there and not shown.
    """

    def __init__(self, places: Sequence[str] = ()) -> None:
        self.more = 0
        self._places = tuple(places)
        self._watched: dict[str, Watching] = {}
        self._over: dict[str, dict[str, Any]] = {}
        self._searched = 0.0
        self._lock = threading.Lock()

    def look(self) -> list[dict[str, Any]]:
        """All runs, the youngest first; one that has come to its end stays with its last state, as "over"."""
        with self._lock:
            self._search()
            found = [self._look(name, watched) for name, watched in list(self._watched.items())]
        return sorted((run for run in found if run is not None), key=lambda run: -float(run["created"]))

    def folder(self, run: str) -> Path | None:
        """The folder of a run that has been found; nothing else can be asked for."""
        watched = self._watched.get(run)
        return None if watched is None else watched.folder

    def _search(self) -> None:
        now = time.monotonic()
        if self._searched and now - self._searched < _SEARCH_SECONDS:
            return
        self._searched = now
        found = [folder for folder in find_folders(self._places) if RunFolder(folder).state.exists()]
        there = sorted(found, key=_last_sign, reverse=True)
        self.more = len(there[MOST:])
        all_of_them = set(there)
        gone = [name for name, watched in self._watched.items() if watched.folder not in all_of_them]
        later = {*there[MOST:], *(self._watched[name].folder for name in gone[:-MOST])}
        for name in [name for name, watched in self._watched.items() if watched.folder in later]:
            del self._watched[name]
            self._over.pop(name, None)
        known = {watched.folder for watched in self._watched.values()}
        for folder in there[:MOST]:
            if folder not in known:
                numbered = (f"{folder.name}-{number}" for number in itertools.count(2))
                name = next(name for name in itertools.chain([folder.name], numbered) if name not in self._watched)
                self._watched[name] = Watching(folder)

    def _look(self, name: str, watched: Watching) -> dict[str, Any] | None:
        try:
            look: Look = watched.look()
        except ConfigError:  # the folder has gone, as it does when the call returns
            gone = self._over.get(name)
            return None if gone is None else {**gone, "state": "over", "workers": [], "rate": 0.0, "left": None}
        except (BioimageError, OSError) as error:
            before = self._over.get(name)
            return None if before is None else {**before, "trouble": str(error)}
        self._over[name] = {"id": name, **look.to_dict()}
        return self._over[name]


def _last_sign(folder: Path) -> float:
    """When a run was changed last, or its driver was seen; no more than a guess, of which runs are of interest."""
    seen = 0.0
    for path in (folder, RunFolder(folder).state, RunFolder(folder).heartbeat):
        with suppress(OSError):
            seen = max(seen, path.stat().st_mtime)
    return seen


class RunServer:
    """A server of one page; used as a context, or until `close`.

    Parameters
    ----------
    places : sequence of path
    port : int, default 0
        0 takes any that is free.

    Attributes
    ----------
    url : str
        With a secret in it, which every request has to know.
    """

    def __init__(self, places: Sequence[str] = (), port: int = 0) -> None:
        self.runs = Runs(places)
        self._token = secrets.token_urlsafe(24)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self.runs, self._token))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{self._token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _handler(runs: Runs, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "bioimage-py", ""

        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            _, given, *rest = (*self.path.partition("?")[0].split("/"), "")
            # another name for this machine is a page of somebody else that wants to read here
            if host not in ("127.0.0.1", "localhost") or not hmac.compare_digest(given.encode(), token.encode()):
                self._send(404, "text/plain", b"not found")
                return
            try:
                kind, content = _answer(runs, [part for part in rest if part])
            except (BioimageError, OSError, KeyError) as error:
                self._send(404, "text/plain", str(error).encode())
                return
            self._send(200, kind, content)

        def _send(self, code: int, kind: str, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    return Handler


def _answer(runs: Runs, parts: list[str]) -> tuple[str, bytes]:
    """Type and content of what is asked for; KeyError where there is no such thing."""
    if not parts:
        return "text/html", PAGE.read_bytes()
    if parts == ["runs.json"]:
        return "application/json", json.dumps({"runs": runs.look(), "more": runs.more}).encode()
    answers: dict[str, Callable[[Path], tuple[str, bytes]]] = {"report": _report, "error": _first_error}
    folder = runs.folder(parts[-1]) if len(parts) == 2 else None
    if folder is None:
        raise KeyError("/".join(parts))
    return answers[parts[0]](folder)


def _report(folder: Path) -> tuple[str, bytes]:
    return "text/html", report_page(report_of(folder)).encode()


def _first_error(folder: Path) -> tuple[str, bytes]:
    files = errors_of(folder)
    return "text/plain", read_small(files[0]) if files else b"no block has failed"
