"""The small parent of a worker process: it starts the worker, ends it with the driver, and says how it ended.

Run as a script, without the package, so that it starts at once. Its standard input is a pipe from the driver: lines
go on to the worker; its end means that the driver is gone. Its standard output carries the worker's answers and, at
the end, one line with the exit code, the peak memory and the number of memory kills.
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

HEARTBEAT_SECONDS = 1.0


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def memory_kills() -> int:
    """Memory kills of this control group so far."""
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.events") as file:
        return int(dict(line.split() for line in file).get("oom_kill", 0))
    return 0


def main() -> None:
    """Start the worker ``argv[2:]``; ``argv[1]`` is its heartbeat file."""
    heartbeat, command = sys.argv[1], sys.argv[2:]
    die_with_parent()
    before = memory_kills()
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=die_with_parent)
    assert worker.stdin is not None
    threading.Thread(target=carry, args=(worker,), daemon=True).start()
    threading.Thread(target=beat, args=(heartbeat,), daemon=True).start()
    code = worker.wait()
    end = {
        "end": code,
        "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "memory_kills": memory_kills() - before,
    }
    os.write(1, json.dumps(end).encode() + b"\n")
    os._exit(0)  # the threads that wait for the driver need not be waited for


def carry(worker: "subprocess.Popen[bytes]") -> None:
    """Pass the driver's lines on; at their end, kill the worker."""
    assert worker.stdin is not None
    while data := os.read(0, 65536):
        with contextlib.suppress(OSError):
            worker.stdin.write(data)
            worker.stdin.flush()
    worker.kill()
    worker.wait()
    os._exit(0)


def beat(path: str) -> None:
    """Touch the heartbeat file as long as this process lives."""
    while True:
        with contextlib.suppress(OSError), open(path, "w") as file:
            file.write(str(time.time()))
        time.sleep(HEARTBEAT_SECONDS)


if __name__ == "__main__":
    main()
