"""The small parent of a worker in a job of a scheduler: ``job.py FOLDER TOKEN``.

Run as a script, without the package. It gives the worker its order, keeps its heartbeat, and writes how it ended to
``ends/<worker>.json`` of the run folder. There is no pipe to a driver here: the worker is ended when the run folder has
gone, when another driver has taken the run over that does not know it, or when it was given up (``gone/<worker>``);
a worker without a driver leaves by itself. When the wall time is near (SIGUSR2), the worker is asked to leave after the
block it is in. What its blocks have started ends with it: from here where the job leads a session, else by the
scheduler, at the end of the job. A job with a pool waits there for the order of another run; it ends when none came for
a while, or when the pool has gone. The file of an order is linked into place by whoever comes first: the driver, or the
job that leaves.
"""

import contextlib
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

ORDER_SECONDS = 60.0
TASK_VARIABLE, JOB_VARIABLE, NAME_VARIABLE = "BIOIMAGE_PY_TASK", "BIOIMAGE_PY_JOB", "BIOIMAGE_PY_JOB_NAME"
"""What the script of a job says of it, where its scheduler is not SLURM: index in its array, id, and name."""

_spec = importlib.util.spec_from_file_location(
    "parent", os.path.join(os.path.dirname(__file__), os.pardir, "worker_parent.py")
)
assert _spec is not None
assert _spec.loader is not None
parent = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parent)


class Job:
    """A job, its worker process, and the order that it has now."""

    def __init__(self, folder: str, token: str) -> None:
        self.token = token
        self.index = os.environ.get(TASK_VARIABLE) or os.environ.get("SLURM_ARRAY_TASK_ID", "0")
        self.orders = 1
        self.leaving = self.serving = self.told_to_end = False
        self.process: subprocess.Popen[bytes] | None = None
        self.kills = parent.memory_kills()
        self.read(wait_for(folder, token + ".json"))

    def read(self, order: "dict[str, Any]") -> None:
        """Take an order."""
        self.order = order
        self.run, self.worker = order["run"], order["workers"][self.index]
        self.heartbeat = self.path("alive", self.worker)

    def path(self, *parts: str) -> str:
        """A path in the run folder."""
        return os.path.join(self.run, *parts)

    def work(self) -> None:
        """Serve one run after the other."""
        version = "{}.{}".format(*sys.version_info)
        if version != self.order["python"]:
            why = f"{sys.executable} is Python {version}, the driver has {self.order['python']}"
            self.tell({"kind": "cannot start", "detail": why})
            return
        signal.signal(signal.SIGUSR2, self.leave)
        signal.signal(signal.SIGTERM, self.end)
        for target in (self.beat, self.watch):
            threading.Thread(target=target, daemon=True).start()
        while self.serve() and (order := self.next_order()) is not None:
            self.read(order)
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()
            parent.end_session(os.getpid())

    def serve(self) -> bool:
        """Have the worker do its order and write how it ended; whether it can take another one."""
        why = self.unseen()
        if not why:
            self.touch()  # before it looks whether it was given up: who gives it up looks for this afterwards
            why = self.unwanted()
        if why:
            self.tell({"kind": "finished", "detail": why, "stays": self.stays()})
            return True
        if self.process is None:
            self.start()
        self.serving = True
        answer = self.answer()
        self.serving = False
        if "kind" in answer:
            self.tell({"memory_kills": 0, **answer, "stays": self.stays()})
            return True
        assert self.process is not None
        code = self.process.wait()
        code = -signal.SIGTERM if self.told_to_end else code
        parent.end_session(os.getpid())
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        self.tell({"end": code, "peak_bytes": peak, "memory_kills": parent.memory_kills() - self.kills, **answer})
        return False

    def start(self) -> None:
        """Start the worker process."""
        me = os.getpid()

        def prepare() -> None:
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until it can say what leaving means
            parent.die_with(me)

        self.process = subprocess.Popen(
            self.order["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a line that waits in a buffer is not seen by select
            env={**os.environ, **self.order["environment"]},
            preexec_fn=prepare,
        )

    def stays(self) -> bool:
        """Whether the job waits for another order."""
        return self.order["pool"] is not None and not self.leaving

    def answer(self) -> "dict[str, object]":
        """Give the order and wait for the answer; one without a kind where the process ends."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        answer: dict[str, object] = {}
        told = {key: self.order[key] for key in ("run", "idle_timeout", "mem")}
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps({**told, "worker": self.worker}).encode() + b"\n")
            self.process.stdin.flush()
        while "kind" not in answer and (line := self.line()):
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    answer.update(said)
        return answer

    def line(self) -> bytes:
        """The next line of the worker; none where it has ended, even if a child of it holds its end of the pipe."""
        assert self.process is not None
        assert self.process.stdout is not None
        over = False
        while not select.select([self.process.stdout], [], [], 0 if over else parent.WATCH_SECONDS)[0]:
            if over:
                return b""
            over = self.process.poll() is not None
        return self.process.stdout.readline()

    def next_order(self) -> "dict[str, Any] | None":
        """Wait for the order of another run; None where the job is to end."""
        pool, name = self.order["pool"], self.next_name()
        if pool is None:
            return None
        deadline = time.monotonic() + self.order["idle_timeout"]
        while os.path.isdir(pool):
            if name in os.listdir(pool):
                break
            if self.leaving or time.monotonic() > deadline:
                with contextlib.suppress(OSError):  # the driver was faster, or the pool has gone
                    link(pool, name, "")
                    return None
            time.sleep(parent.WATCH_SECONDS)
        self.orders += 1
        try:
            with open(os.path.join(pool, name)) as file:
                order: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return None
        return order

    def leave(self, *_: object) -> None:
        """Ask the worker to leave after its block: the wall time is near."""
        self.leaving = True
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR2)

    def end(self, *_: object) -> None:
        """End the worker at once, and say so: the scheduler ends the job, and its blocks wait for that."""
        self.told_to_end = True
        if not self.serving or self.process is None:
            os._exit(128 + signal.SIGTERM)
        self.process.kill()

    def beat(self) -> None:
        """Touch the heartbeat file while the worker works."""
        while True:
            time.sleep(parent.HEARTBEAT_SECONDS)
            if self.serving:
                self.touch()

    def touch(self) -> None:
        """Give a sign of life."""
        with contextlib.suppress(OSError), open(self.heartbeat, "w") as file:
            file.write(socket.gethostname())

    def watch(self) -> None:
        """End the job when nobody wants what its worker does any more."""
        while not (self.serving and (why := self.unwanted()) and self.serving):
            time.sleep(parent.HEARTBEAT_SECONDS)
            if self.leaving:  # again, for a worker that was only starting
                self.leave()
        print(f"ended: {why}", file=sys.stderr, flush=True)  # noqa: T201 - the job's log
        parent.leave(self.process, lambda: self.tell({"kind": "node", "detail": why}))

    def unseen(self) -> str:
        """Why the run cannot be begun; waits for what another host has written to be seen here."""
        deadline = time.monotonic() + self.order["latency_wait"]
        while True:
            names = listing(self.run)
            if "run.json" in names and not names.isdisjoint({"plan.pkl", "part.pkl"}):
                return ""
            if time.monotonic() > deadline or self.leaving or self.next_name() in listing(self.order["pool"]):
                return "the run folder has gone"
            time.sleep(parent.WATCH_SECONDS)

    def next_name(self) -> str:
        """Name of the next order in the pool."""
        return f"{self.token}.{self.index}.{self.orders}"

    def unwanted(self) -> str:
        """Why nobody wants this worker any more; empty where somebody does."""
        try:
            with open(self.path("run.json")) as file:
                run = json.load(file)
        except FileNotFoundError:
            return "the run folder has gone"
        except (OSError, ValueError):  # not to be read just now
            return ""
        if run["sessions"] != self.order["session"] and self.worker not in run["adopted"]:
            return "another driver has taken the run over"
        return "it was given up" if os.path.exists(self.path("gone", self.worker)) else ""

    def tell(self, what: "dict[str, object]") -> None:
        """Write how it ended, whole or not at all."""
        end = self.path("ends", self.worker + ".json")
        about = {
            "host": socket.gethostname(),
            "job": os.environ.get("SLURM_JOB_ID") or os.environ.get(JOB_VARIABLE),
            "leaving": self.leaving,
        }
        private = private_name(end)  # the worker may end while it is ended: two threads tell at once
        with contextlib.suppress(FileNotFoundError):
            with open(private, "w") as file:
                json.dump({**what, **about}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(private, end)


def listing(folder: "str | None") -> "set[str]":
    """Names in a folder, of which a listing refreshes what this host knows; none where there is no folder."""
    if folder is not None:
        with contextlib.suppress(OSError):
            return set(os.listdir(folder))
    return set()


def private_name(path: str) -> str:
    """Where a thread writes what comes to a path when it is whole; no other thread of any host writes there."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}")


def link(folder: str, name: str, text: str) -> None:
    """Make a file in one step, unless there is one of that name."""
    private = private_name(os.path.join(folder, name))
    with open(private, "w") as file:
        file.write(text)
    try:
        os.link(private, os.path.join(folder, name))
    finally:
        os.unlink(private)


def wait_for(folder: str, name: str) -> "dict[str, Any]":
    """The order of an array; a shared file system may take a while to show it."""
    deadline = time.monotonic() + ORDER_SECONDS
    while os.path.isdir(folder) and name not in os.listdir(folder) and time.monotonic() < deadline:
        time.sleep(parent.WATCH_SECONDS)
    try:
        with open(os.path.join(folder, name)) as file:
            order: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        sys.exit(f"ended: there is no order {name} in {folder}; its run has gone")
    return order


if __name__ == "__main__":
    Job(sys.argv[1], sys.argv[2]).work()
