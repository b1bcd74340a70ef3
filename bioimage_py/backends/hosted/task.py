"""What runs in a process that belongs to somebody else: one long task, which is a worker of a run.

It leaves the process as it was: what is printed goes where it went, limits of threads and signals are put back. Its
sign of life in the run folder (``alive/<worker>``) says which process it is, and ``ends/<worker>.json`` how it ended:
nobody else may be there to tell.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from ...run_folder import RunFolder
from ...system.files import write_once
from ...system.memory import peak_bytes
from ...system.processes import HEARTBEAT_SECONDS, STALE_SECONDS, identify, lives, visible
from ...system.threads import limited_threads
from ...system.worker import enter_worker

LATENCY_SECONDS = 10.0
"""How long a shared file system may take to show a folder."""
BEGUN_AGAIN = "begun again"
_WATCH_SECONDS = 0.2
_IMPORTED_IN = os.getpid()
_BEGAN = time.time()


def probe() -> dict[str, Any]:
    """What a process of an executor is: which one, and whether it is a copy of another that had threads."""
    forked = type(multiprocessing.current_process()).__name__ == "ForkProcess"
    return {**identify(), "forked": forked or os.getpid() != _IMPORTED_IN}


def work(order: dict[str, Any], about: dict[str, Any] | None = None) -> dict[str, Any]:
    """Be one worker of a run until there is nothing left to do; how it ended.

    Parameters
    ----------
    order : dict
        ``run`` (its folder), ``worker``, ``session`` and ``driver`` (which process that is) of who gives it.
    about : dict, optional
        What its host knows it by.
    """
    inside, worker, me = RunFolder(Path(order["run"])), order["worker"], {**identify(), **(about or {})}
    told: dict[str, Any]
    if probe()["forked"]:
        return {"kind": "cannot start", "detail": "its process is a fork of one that has threads: spawn workers", **me}
    try:
        _wait_for(inside.beats)
        link_new(inside.beats / worker, json.dumps(me))
    except FileExistsError:  # somebody has repeated the task: what it was is held dead, and has been replaced
        return {"kind": BEGUN_AGAIN, "detail": "its process was lost"}
    except OSError as error:
        why = f"its run folder is not to be used on {me['host']}: {error}; tmp_root= names one that every worker sees"
        return {"kind": "cannot start", "detail": why, **me}
    end = inside.ends / f"{worker}.json"
    with _watched(Watcher(order), end), limited_threads(2):
        told = _serve(order)
    told.update(peak_bytes=peak_bytes(), **me)
    with suppress(OSError):  # the run is over, and its folder may be gone
        write_once(end, json.dumps(told).encode())
    return told


def work_asking(order: dict[str, Any], about: dict[str, Any], ask: Callable[..., Any]) -> dict[str, Any]:
    """Be one worker of a run whose folder is not seen from here, by asking its driver; how it ended."""
    me = {**identify(), **about}
    try:
        wanted = ask("begin", me)
    except FileExistsError:
        return {"kind": BEGUN_AGAIN, "detail": "its process was lost"}
    told: dict[str, Any] = {"kind": "finished", "detail": "nobody wanted it any more"}
    with limited_threads(2):
        if wanted:
            remote = import_module("bioimage_py.runner.worker.remote")
            told = remote.serve(order["worker"], order["mem"], ask, _BEGAN)
            enter_worker("")
    told.update(peak_bytes=peak_bytes(), **me)
    with suppress(Exception):  # the driver has gone; who comes next finds it silent
        ask("end", told)
    return told


def _wait_for(folder: Path) -> None:
    """Wait a while for what another machine has made to be seen here; a listing refreshes what is known of it."""
    deadline = time.monotonic() + LATENCY_SECONDS
    while not folder.is_dir() and time.monotonic() < deadline:
        with suppress(OSError):
            os.listdir(folder.parent.parent)
        time.sleep(_WATCH_SECONDS)


def _serve(order: dict[str, Any]) -> dict[str, Any]:
    if Watcher(order).unwanted():
        return {"kind": "finished", "detail": "nobody wanted it any more"}
    worker = import_module("bioimage_py.runner.worker.process")
    ledger = worker.open_work(
        Path(order["run"]), fresh=False, began=_BEGAN, idle_timeout=order["idle_timeout"], mem=order["mem"]
    )
    if isinstance(ledger, dict):
        again = ledger["kind"] == worker.STALE
        more = " (this process cannot begin anew: make a new executor, or restart its workers)" if again else ""
        return {"kind": worker.CANNOT_START, "detail": ledger["detail"] + more}
    watcher = Watcher(order, ledger)
    thread = threading.Thread(target=watcher.watch, daemon=True, name=f"bioimage_py-watch-{order['worker']}")
    thread.start()
    try:
        answer: dict[str, Any] = worker.do_work(ledger, order["worker"])
        return answer
    finally:
        watcher.over.set()
        thread.join()
        enter_worker("")


def link_new(path: Path, text: str) -> None:
    """Make a file that is there whole; FileExistsError where there is one."""
    private = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}")
    private.write_text(text)
    try:
        os.link(private, path)
    finally:
        private.unlink()


def told_alive(path: Path) -> dict[str, Any] | None:
    """Which process a worker says that it is."""
    with suppress(OSError, ValueError):
        told: dict[str, Any] = json.loads(path.read_text())
        return told
    return None


class Watcher:
    """Gives signs of life, and has a worker leave that nobody wants any more."""

    def __init__(self, order: dict[str, Any], ledger: Any = None) -> None:
        self.over = threading.Event()
        self._worker, self._session, self._driver = order["worker"], order["session"], order["driver"]
        self._inside = RunFolder(Path(order["run"]))
        self._ledger = ledger
        self._beat, self._seen = 0, time.monotonic()
        self._parent = os.getppid()
        self.own_child = visible(self._driver) and self._parent == self._driver["pid"]

    def watch(self) -> None:
        """Look until it is over."""
        while not self.over.wait(_WATCH_SECONDS if self.own_child else HEARTBEAT_SECONDS):
            if self.own_child and os.getppid() != self._parent:
                os._exit(1)  # its pool has died with its owner, and nobody would end it
            with suppress(OSError):
                os.utime(self._inside.beats / self._worker)
            if self.unwanted():
                self._ledger.leave()

    def unwanted(self) -> bool:
        """Whether nobody wants what the worker does any more."""
        if (self._inside.gone / self._worker).exists():
            return True
        try:
            session, adopted = self._inside.adopted()
        except FileNotFoundError:
            return True
        except (OSError, ValueError):  # not to be read just now
            return False
        if session != self._session and self._worker not in adopted:
            return True
        return not self._driver_lives()

    def _driver_lives(self) -> bool:
        """Whether the driver can be alive: where it is seen the system knows, else its heartbeat goes on."""
        if visible(self._driver):
            return lives(self._driver, self._inside.heartbeat)
        with suppress(OSError):
            beat = self._inside.heartbeat.stat().st_mtime_ns
            if beat != self._beat:
                self._beat, self._seen = beat, time.monotonic()
        return time.monotonic() - self._seen < STALE_SECONDS


@contextmanager
def _watched(watcher: Watcher, end: Path) -> Iterator[None]:
    """In the main thread of a pool's process: Ctrl-C is the driver's alone, and who is ended by the pool says so."""
    if threading.current_thread() is not threading.main_thread() or not watcher.own_child:
        yield
        return

    def ended(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            write_once(end, json.dumps({"kind": "ended", "detail": "its pool has ended it", **identify()}).encode())
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
