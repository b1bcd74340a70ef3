"""The small parent of a worker in a job of a scheduler: ``job.py RUN TOKEN``.

Run as a script, without the package. It gives the worker its one order, keeps its heartbeat, and writes how it ended
to ``ends/<worker>.json`` of the run folder. There is no pipe to a driver here: the worker is ended when the run folder
has gone, when another driver has taken the run over, when it was given up (``gone/<worker>``), or when the driver has
given no sign of life for ``patience`` seconds by the clock of the file server. When the wall time is near (SIGUSR2),
the worker is asked to leave after the block it is in.
"""

import contextlib
import importlib.util
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

ORDER_SECONDS = 60.0

_spec = importlib.util.spec_from_file_location("parent", os.path.join(os.path.dirname(__file__), "parent.py"))
assert _spec is not None
assert _spec.loader is not None
parent = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parent)


class Job:
    """A worker and what its run folder says about it."""

    def __init__(self, run: str, token: str) -> None:
        self.order = read_order(os.path.join(run, "slurm"), token + ".json")
        self.run = run
        self.worker = self.order["workers"][int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))]
        self.heartbeat = self.path("alive", self.worker)
        self.leaving = False

    def path(self, *parts: str) -> str:
        """A path in the run folder."""
        return os.path.join(self.run, *parts)

    def serve(self) -> None:
        """Run the worker to its end and write how it was."""
        version = "{}.{}".format(*sys.version_info)
        if version != self.order["python"]:
            why = f"{sys.executable} is Python {version}, the driver has {self.order['python']}"
            self.tell({"kind": "cannot start", "detail": why})
            return
        if why := self.unwanted():
            self.tell({"kind": "finished", "detail": why})
            return
        me, before = os.getpid(), parent.memory_kills()
        self.process = subprocess.Popen(
            self.order["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self.order["environment"]},
            preexec_fn=lambda: parent.die_with(me),
        )
        signal.signal(signal.SIGUSR2, self.leave)
        for target in (self.beat, self.watch):
            threading.Thread(target=target, daemon=True).start()
        answer = self.answer()
        code = self.process.wait()
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        kills = parent.memory_kills() - before
        self.tell({"end": code, "peak_bytes": peak, "memory_kills": kills, **answer})

    def answer(self) -> "dict[str, object]":
        """Give the order and wait for the answer; empty where the process ends without one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        answer: dict[str, object] = {}
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps({"run": self.run, "worker": self.worker}).encode() + b"\n")
            self.process.stdin.close()
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict):
                    answer.update(told)
        return answer

    def leave(self, *_: object) -> None:
        """Ask the worker to leave after its block: the wall time is near."""
        self.leaving = True
        self.process.send_signal(signal.SIGUSR2)

    def beat(self) -> None:
        """Touch the heartbeat file as long as this process lives."""
        while True:
            with contextlib.suppress(OSError), open(self.heartbeat, "w") as file:
                file.write(socket.gethostname())
            time.sleep(parent.HEARTBEAT_SECONDS)

    def watch(self) -> None:
        """End the worker when nobody wants it any more."""
        while not (why := self.unwanted()):
            time.sleep(parent.HEARTBEAT_SECONDS)
        print(f"ended: {why}", file=sys.stderr, flush=True)  # noqa: T201 - the job's log
        parent.leave(self.process)

    def unwanted(self) -> str:
        """Why nobody wants this worker any more; empty where somebody does."""
        try:
            with open(self.path("run.json")) as file:
                run = json.load(file)
        except FileNotFoundError:
            return "the run folder has gone"
        except (OSError, ValueError):  # not to be read just now
            return ""
        if run["sessions"] != self.order["session"]:
            return "another driver has taken the run over"
        if os.path.exists(self.path("gone", self.worker)):
            return "it was given up"
        with contextlib.suppress(OSError):
            age = os.stat(self.heartbeat).st_mtime - os.stat(self.path("driver.alive")).st_mtime
            if age > self.order["patience"]:
                return f"the driver has given no sign of life for {age:.0f} s"
        return ""

    def tell(self, what: "dict[str, object]") -> None:
        """Write how it ended, whole or not at all."""
        end = self.path("ends", self.worker + ".json")
        about = {"host": socket.gethostname(), "job": os.environ.get("SLURM_JOB_ID"), "leaving": self.leaving}
        with contextlib.suppress(FileNotFoundError):
            with open(f"{end}.new", "w") as file:
                json.dump({**what, **about}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{end}.new", end)


def read_order(folder: str, name: str) -> "dict[str, Any]":
    """The order of an array; a shared file system may take a while to show it."""
    deadline = time.monotonic() + ORDER_SECONDS
    while name not in os.listdir(folder) and time.monotonic() < deadline:
        time.sleep(parent.WATCH_SECONDS)
    with open(os.path.join(folder, name)) as file:
        order: dict[str, Any] = json.load(file)
    return order


if __name__ == "__main__":
    Job(sys.argv[1], sys.argv[2]).serve()
