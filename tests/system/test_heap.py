"""Freed memory stays with the process during a run, and is handed back after it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import re, numpy as np
from bioimage_py.system.memory import KEPT_BYTES, freed_kept, keep_freed

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

def after_freeing():
    arrays = [np.ones(16 * 2**20, np.uint8) for _ in range(16)]
    full = resident()
    del arrays
    return full - resident()

with freed_kept():
    with freed_kept():
        pass
    held = after_freeing()
print(held, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such limits")
def test_freed_memory_stays_during_a_run_only() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    given_back, resident = map(int, done.stdout.split())
    assert given_back < 64 * 2**20  # of 256 MiB that were freed
    assert resident < 128 * 2**20
