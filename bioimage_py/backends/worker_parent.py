"""The small parent of a worker process: it starts the worker, ends it with the driver, and says how it ended.

Run as a script, without the package, so that it starts at once, with any Python. Its standard input comes from the
driver: lines go on to the worker; its end means that the driver is gone. Its standard output carries the worker's
answers and, at the end, one line with the exit code, the peak memory and the number of memory kills.

It leads a session, and whatever blocks have started in it ends with the worker, however that ends: what is left would
write on while the block is run again. Only who has begun a session of his own (``setsid``, a daemon) goes on.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

HEARTBEAT_SECONDS = 1.0
WATCH_SECONDS = 0.2
END_SECONDS = 5.0
"""How long processes that are killed may take to go: one that waits for a file server cannot."""
DIE_WITH_PARENT = 1
LISTED = os.path.exists("/proc/self/stat")
"""Whether the system shows its processes as files; macOS does not."""
OWNER = "owner.json"
"""Beside the files of the workers: which driver has made the folder."""
_beating = threading.Lock()
_over = threading.Event()
END = b"end\n"
"""What a driver says that lives on."""


def main() -> None:
    """Start the worker ``argv[3:]``; ``argv[1]`` is its heartbeat file, ``argv[2]`` the driver's version of Python."""
    heartbeat, version, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    mine = "{}.{}".format(*sys.version_info)
    if mine != version:
        tell({"kind": "cannot start", "detail": f"{sys.executable} is Python {mine}, the driver has {version}"})
        return
    if not LISTED:
        signal.signal(signal.SIGTERM, lambda *_: None)  # it is for the rest of the group
    me, driver, before = os.getpid(), os.getppid(), memory_kills()
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=lambda: die_with(me))
    for target, arguments in (
        (carry, (worker, heartbeat)),
        (watch, (worker, heartbeat, driver)),
        (beat, (heartbeat,)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    code = worker.wait()
    end_session(me)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    tell({"end": code, "peak_bytes": peak, "memory_kills": memory_kills() - before})
    os._exit(0)  # the threads that wait for the driver need not be waited for


def tell(what: "dict[str, object]") -> None:
    """Write a line to the driver, if it is there."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(what).encode() + b"\n")


def die_with(parent: int) -> None:
    """Ask the kernel to kill the calling process when its parent dies (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has died before it was asked
        os._exit(1)


def memory_kills() -> int:
    """Memory kills of this control group so far."""
    for path in control_files():
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            return int(dict(line.split() for line in file).get("oom_kill", 0))
    return 0


def control_files() -> "list[str]":
    """Files that count the memory kills of this control group, of version 2 and of version 1."""
    groups: dict[str, str] = {}
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            groups.update(dict.fromkeys(controllers.split(","), path))
    return [
        "/sys/fs/cgroup" + groups.get("", "/") + "/memory.events",
        "/sys/fs/cgroup/memory" + groups.get("memory", "/") + "/memory.oom_control",
    ]


def carry(worker: "subprocess.Popen[bytes]", heartbeat: str) -> None:
    """Pass the driver's lines on; at their end, kill the worker."""
    assert worker.stdin is not None
    while data := os.read(0, 65536):
        if data.endswith(END):
            leave(worker)
        with contextlib.suppress(OSError):
            worker.stdin.write(data)
            worker.stdin.flush()
    leave(worker, lambda: tidy(heartbeat))


def watch(worker: "subprocess.Popen[bytes]", heartbeat: str, driver: int) -> None:
    """Kill the worker when the driver has died; its pipe may be held open by a process that it forked."""
    while os.getppid() == driver:
        time.sleep(WATCH_SECONDS)
    leave(worker, lambda: tidy(heartbeat))


def leave(worker: "subprocess.Popen[bytes]", before: "Callable[[], None]" = lambda: None) -> None:
    """Kill the worker and what it has started, do what is to be done before, and end."""
    worker.kill()
    worker.wait()
    end_session(os.getpid())
    before()
    os._exit(0)


def end_session(leader: int) -> None:
    """Kill the processes of a session, but not its leader, and wait until they are gone.

    Where the process that asks is in a session that another one leads, nothing happens: that one's may be anything.
    """
    if os.getpid() == leader != os.getsid(0):
        return
    if not LISTED:  # who has left the group is not found
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGTERM)
        return
    deadline = time.monotonic() + END_SECONDS
    while (left := members(leader)) and time.monotonic() < deadline:  # again, for what was started meanwhile
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def members(session: int) -> "list[int]":
    """Processes of a session that run, without its leader."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            # state, parent, group, session: after the name, which may hold anything
            fields = file.read().rpartition(b")")[2].split()
            if int(fields[3]) == session != int(name) and fields[0] not in (b"Z", b"X"):
                found.append(int(name))
    return found


def tidy(heartbeat: str) -> None:
    """Remove the files of this worker that a dead driver has left, and the last one their folder."""
    folder, name = os.path.split(heartbeat)
    with _beating:
        _over.set()
    for path in (os.path.join(folder, name.partition(".")[0] + ".log"), heartbeat):
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [OWNER]:
            os.unlink(os.path.join(folder, OWNER))
        os.rmdir(folder)


def beat(path: str) -> None:
    """Touch the heartbeat file as long as this process lives."""
    while True:
        with _beating, contextlib.suppress(OSError):
            if _over.is_set():
                return
            with open(path, "w") as file:
                file.write(str(time.time()))
        time.sleep(HEARTBEAT_SECONDS)


if __name__ == "__main__":
    main()
