"""Programs that tests need, of Debian's packages: root installs them where they are missing.

Also by hand, with the standard library alone: ``python tests/debian.py PROGRAM[,PROGRAM] PACKAGE [PACKAGE ...]``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path

LOCK = Path("/run/lock/bioimage_py-tests-install.lock")  # two checkouts may be tested at once
POLICY = Path("/usr/sbin/policy-rc.d")  # packages start their daemons unless this file says no
SECONDS = {"update": 90, "install": 280}


def missing(programs: Sequence[str], packages: Sequence[str]) -> str:
    """Why a program is not there; "" where all are, which may take minutes the first time."""
    if not absent_of(programs):
        return ""
    typed = f"apt-get install {' '.join(packages)}"
    if os.geteuid() or shutil.which("apt-get") is None:
        return f"{', '.join(absent_of(programs))}: not installed; as root on Debian: {typed}"
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = _install(packages) if absent_of(programs) else ""
    return f"{', '.join(absent)}: {typed} failed: {told[-500:]}" if (absent := absent_of(programs)) else ""


def absent_of(programs: Sequence[str]) -> list[str]:
    """Those that the search path does not have; the system's own folders are looked through as well."""
    return [name for name in programs if program(name) is None]


def program(name: str) -> str | None:
    """Where a program is; Debian keeps those of servers out of the search path."""
    folders = (os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *sorted(glob("/usr/lib/postgresql/*/bin")))
    return shutil.which(name, path=os.pathsep.join(folders))


def _install(packages: Sequence[str]) -> str:
    """What went wrong, in the words of the installer."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ["-o", "DPkg::Lock::Timeout=120"]  # somebody else may install something
    told = ""
    with _no_daemons():
        # an installation that was killed before would refuse every later one
        subprocess.run(["dpkg", "--force-confold", "--configure", "-a"], env=quiet, capture_output=True)
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            command = ["timeout", str(SECONDS[words[0]]), "apt-get", "-qq", *wait, *words]
            done = subprocess.run(command, env=quiet, capture_output=True, text=True, errors="replace")
            told += done.stderr if done.returncode else ""
    return told


@contextmanager
def _no_daemons() -> Iterator[None]:
    if POLICY.exists():  # containers often have it
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    sys.exit(missing(sys.argv[1].split(","), sys.argv[2:]) or 0)
