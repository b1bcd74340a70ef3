"""A PostgreSQL server for tests, of the Debian package, in a folder of its own; root installs it if need be."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import debian


def missing() -> str:
    """Why there is none; "" where there is."""
    return debian.missing(["initdb", "postgres"], ["postgresql"])


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """A server that ends with the block; its URL without the name of a database."""
    folder.mkdir()
    owner, options = pwd.getpwuid(os.getuid()), {}
    if owner.pw_uid == 0:  # which it refuses to run as
        owner = pwd.getpwnam("postgres" if _there("postgres") else "nobody")
        options = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        for path in folder.parents:  # pytest's folders are closed to others
            if path.stat().st_uid == 0 and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)
    data, (initdb, postgres) = folder / "data", (debian.program("initdb"), debian.program("postgres"))
    assert initdb
    assert postgres
    made = subprocess.run(
        [initdb, "-D", str(data), "-U", "tests", "-A", "trust", "--no-sync", "-E", "UTF8"],
        capture_output=True,
        text=True,
        cwd=folder,
        **options,
    )
    assert made.returncode == 0, made.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
    with open(folder.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **options)
    try:
        while not _is_ready(data):
            assert process.poll() is None, folder.with_suffix(".log").read_text()
            time.sleep(0.02)
        yield f"postgresql://tests@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)  # it waits for nobody who is still connected
        process.wait()


def _is_ready(data: Path) -> bool:
    """Whether a server says that it takes connections; its socket is there before."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    except (FileNotFoundError, IndexError):
        return False


def _there(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
