"""What a node finds in a folder that it should share with the host that submitted it: ``probe.py FOLDER COMMAND...``.

Run as a script, without the package. The other host has put ``here`` (some text), ``taken`` and ``locked`` (which it
holds locked) there, waits for ``hello.json``, answers with ``ping``, and waits for ``result.json``. COMMAND prints the
versions of a worker.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time

PATIENCE = 60.0


def main() -> None:
    """Look, and write what was found."""
    folder, command = sys.argv[1], sys.argv[2:]
    begin = time.time()
    seen = wait_for(folder, "here")
    write(folder, "hello.json", {"host": socket.gethostname(), "begin": begin, "seen": seen})
    result: dict[str, object] = {"python": "{}.{}.{}".format(*sys.version_info), "executable": sys.executable}
    for check in (exclusive, link, rename, lock, clock, sync):
        try:
            result[check.__name__] = check(folder)
        except OSError as error:
            result[check.__name__] = f"{type(error).__name__}: {error}"
    result["sbatch"] = shutil.which("sbatch") is not None
    told = subprocess.run(command, capture_output=True, text=True)
    result["versions"] = told.stdout.strip() if told.returncode == 0 else None
    result["error"] = told.stderr[-2000:]
    result["ping"] = wait_for(folder, "ping")
    write(folder, "result.json", result)


def wait_for(folder: str, name: str) -> "float | None":
    """Seconds until a name is in a folder's listing; None where it does not come."""
    begin = time.monotonic()
    while time.monotonic() - begin < PATIENCE:
        if name in os.listdir(folder):
            return time.monotonic() - begin
        time.sleep(0.05)
    return None


def write(folder: str, name: str, what: "dict[str, object]") -> None:
    """Write a file that is there whole."""
    private = os.path.join(folder, f".{name}")
    with open(private, "w") as file:
        json.dump(what, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(private, os.path.join(folder, name))


def exclusive(folder: str) -> bool:
    """Whether a file that another host has made is not made again."""
    os.close(os.open(os.path.join(folder, "mine"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        os.close(os.open(os.path.join(folder, "taken"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return True
    return False


def link(folder: str) -> bool:
    """Whether a hard link is made, and not over a name that another host has made."""
    os.link(os.path.join(folder, "mine"), os.path.join(folder, "linked"))
    try:
        os.link(os.path.join(folder, "mine"), os.path.join(folder, "taken"))
    except FileExistsError:
        return True
    return False


def rename(folder: str) -> bool:
    """Whether a file takes the place of another one."""
    for name in ("old", "new"):
        with open(os.path.join(folder, name), "w") as file:
            file.write(name)
    os.replace(os.path.join(folder, "new"), os.path.join(folder, "old"))
    with open(os.path.join(folder, "old")) as file:
        return file.read() == "new" and not os.path.exists(os.path.join(folder, "new"))


def lock(folder: str) -> bool:
    """Whether a lock that another host holds is seen."""
    with open(os.path.join(folder, "locked"), "r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
    return False


def clock(folder: str) -> float:
    """Seconds by which this host's clock is ahead of the file server's."""
    path = os.path.join(folder, f"clock-{socket.gethostname()}-{os.getpid()}")
    before = time.time()
    with open(path, "w") as file:
        file.write("x")
    offset = (before + time.time()) / 2 - os.stat(path).st_mtime
    with contextlib.suppress(OSError):
        os.unlink(path)
    return offset


def sync(folder: str) -> float:
    """Seconds until a small file is on the disk."""
    begin = time.monotonic()
    with open(os.path.join(folder, "synced"), "w") as file:
        file.write("x" * 4096)
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - begin


if __name__ == "__main__":
    main()
