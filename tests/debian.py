"""Programs that a test needs, of Debian's packages: root installs them where they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence


def missing(programs: Sequence[str], packages: Sequence[str]) -> str:
    """Why a program is not there; "" where all are, which may take a minute the first time."""
    if not (absent := absent_of(programs)):
        return ""
    typed = f"apt-get install {' '.join(packages)}"
    if os.geteuid() or shutil.which("apt-get") is None:
        return f"{', '.join(absent)}: not installed; as root on Debian: {typed}"
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    lock = ["-o", "DPkg::Lock::Timeout=120"]  # another test may install something
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *lock, *words], env=quiet, capture_output=True, text=True)
    return f"{', '.join(absent)}: {typed} failed: {done.stderr[-300:]}" if absent_of(programs) else ""


def absent_of(programs: Sequence[str]) -> list[str]:
    """Those that the search path does not have; the system's own folders are looked through as well."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return [name for name in programs if shutil.which(name, path=path) is None]
