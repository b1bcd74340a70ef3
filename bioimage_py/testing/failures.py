"""Failures as data, and the block function that has them: what the workers of a conformance test run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..blocks import to_roi
from ..errors import ParameterError
from ..system.worker import worker_name, worker_number

HANG_SECONDS = 600.0
_WAIT = 0.02
_BLOCK = re.compile(r"block (\d+): (.+)")
_WORKER = re.compile(r"worker (\d+): (killed) after (\d+) blocks?")
_NODE = re.compile(r"node (\d+): (gone) after (\d+(?:\.\d+)?) s")
_ACT = re.compile(r"ok|raise|killed|hang|wait|exit \d+|slow \d+(\.\d+)? s")


@dataclass(frozen=True)
class Failure:
    """One thing that goes wrong.

    Parameters
    ----------
    what : {"block", "worker", "node"}
    number : int
        Id of the block; number of the worker in the order in which the run has started them; number of the node.
    acts : tuple of str
        What the first, second, ... call of the block does, ``"ok"`` afterwards: ``"raise"``, ``"exit 137"`` (of the
        process), ``"killed"`` (by a signal that cannot be caught), ``"hang"``, ``"slow 0.5 s"``, ``"wait"`` (until
        `Failing.go_on` is called). Of workers and nodes, what happens to them.
    after : float
        Blocks that the worker has done, or seconds that the node has had work.
    always : bool
        The last act holds for all later calls.

    Examples
    --------
    >>> Failure.parse("block 7: raise, raise, ok; worker 2: killed after 3 blocks; block 9: exit 137")[1]
    Failure(what='worker', number=2, acts=('killed',), after=3.0, always=False)
    """

    what: Literal["block", "worker", "node"]
    number: int
    acts: tuple[str, ...]
    after: float = 0.0
    always: bool = False

    @classmethod
    def parse(cls, text: str) -> tuple[Failure, ...]:
        """Failures of a text, separated by semicolons; ParameterError for what none of them can be."""
        return tuple(cls._one(part.strip()) for part in text.split(";") if part.strip())

    @classmethod
    def _one(cls, text: str) -> Failure:
        if match := _BLOCK.fullmatch(text):
            always = match[2].startswith("always ")
            acts = tuple(act.strip() for act in match[2].removeprefix("always ").split(","))
            if all(_ACT.fullmatch(act) for act in acts):
                return cls("block", int(match[1]), acts, always=always)
        if match := _WORKER.fullmatch(text):
            return cls("worker", int(match[1]), (match[2],), float(match[3]))
        if match := _NODE.fullmatch(text):
            return cls("node", int(match[1]), (match[2],), float(match[3]))
        raise ParameterError(f"{text!r} is no failure", remedy='"block 7: raise, raise, ok; block 9: exit 137"')


@dataclass(frozen=True)
class Call:
    """One call of the block function.

    Attributes
    ----------
    block, number : int
        The block, and which of its calls this is, from 0.
    worker : str
    host : str
    pid, thread : int
    begin, end : float
        Seconds since the epoch; ``end`` is 0 where it has not come to its end, by an exception too.
    """

    block: int
    number: int
    worker: str
    host: str
    pid: int
    thread: int
    begin: float
    end: float = 0.0


@dataclass(frozen=True)
class Failing:
    """Adds one to each block (in place, where the input is the output), notes each call in a folder, and fails.

    Parameters
    ----------
    folder : str
        Where calls are noted; every worker sees it.
    failures : tuple of Failure
    """

    folder: str
    failures: tuple[Failure, ...] = ()

    def __call__(self, block: Any, inputs: Sequence[Any], outputs: Sequence[Any], mask: Any) -> int:
        """The id of the block."""
        told, path = self._begin(int(block.id))
        try:
            roi = to_roi(block)
            value = inputs[0][roi] + 1
            for failure in self.failures:
                act = self._act(failure, told)
                if act:
                    self._do(act)
            if outputs:
                outputs[0][roi] = value
            return int(block.id)
        finally:
            told["end"] = time.time()
            path.with_suffix(".end").write_text(json.dumps(told))

    def _begin(self, block: int) -> tuple[dict[str, Any], Path]:
        calls = Path(self.folder, "calls")
        calls.mkdir(parents=True, exist_ok=True)
        me = {
            "worker": worker_name(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "thread": threading.get_ident(),
        }
        for number in range(10**6):
            path, told = (
                calls / f"{block}.{number}.begin",
                {"block": block, "number": number, **me, "begin": time.time()},
            )
            private = calls / f".{block}.{number}.{os.getpid()}.{threading.get_ident()}"
            private.write_text(json.dumps(told))
            try:
                os.link(private, path)
            except FileExistsError:
                continue
            finally:
                private.unlink()
            return told, path
        raise AssertionError("a million calls of one block")

    def _act(self, failure: Failure, told: dict[str, Any]) -> str:
        if failure.what == "block" and failure.number == told["block"]:
            last = len(failure.acts) - 1
            number = min(told["number"], last) if failure.always else told["number"]
            return failure.acts[number] if number <= last else ""
        if failure.what == "worker" and failure.number == worker_number():
            done = sum(call.worker == told["worker"] and call.end > 0 for call in calls_of(self.folder))
            return failure.acts[0] if done >= failure.after else ""
        return ""

    def _do(self, act: str) -> None:
        word, _, rest = act.partition(" ")
        if word == "raise":
            raise ValueError("the block was told to raise")
        if word == "exit":
            os._exit(int(rest))
        if word == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "hang":
            time.sleep(HANG_SECONDS)
        if word == "slow":
            time.sleep(float(rest.split()[0]))
        deadline = time.monotonic() + HANG_SECONDS
        while word == "wait" and not Path(self.folder, "go").exists() and time.monotonic() < deadline:
            time.sleep(_WAIT)

    def go_on(self) -> None:
        """Let the blocks go on that wait."""
        Path(self.folder, "go").touch()


def calls_of(folder: str) -> list[Call]:
    """All calls that were noted in a folder, in the order in which they began."""
    found = []
    for path in Path(folder, "calls").glob("[0-9]*.begin"):
        end = path.with_suffix(".end")
        text = ""
        if end.exists():
            text = end.read_text()
        found.append(Call(**json.loads(text or path.read_text())))
    return sorted(found, key=lambda call: call.begin)
