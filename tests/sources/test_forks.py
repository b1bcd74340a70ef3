"""A forked child is told what it must not use, where it would be aborted, hang or read what another process reads."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

SCRIPT = """
import multiprocessing, sys
import numpy as np
import h5py, tensorstore, tifffile
import bioimage_py as bp
from bioimage_py.errors import ForkError
from bioimage_py.io import create_array

def tried(name):
    try:
        return name, TRIES[name]()
    except ForkError as error:
        return name, f"refused: {error}"

def direct():
    path = {"driver": "zarr3", "kvstore": {"driver": "file", "path": "a.zarr/"}}
    return tensorstore.open(path).result()

def main(used):
    global TRIES
    if not used:
        TRIES = {"first": lambda: int(bp.open_source("a.zarr")[0, 0])}
        return print(multiprocessing.get_context("fork").Pool(1).apply_async(tried, ["first"]).get(60))
    create_array("a.zarr", "", shape=(16, 16), dtype="u4", chunks=(8, 8))[:] = 7
    create_array("a.h5", "a", shape=(16, 16), dtype="u4", chunks=(8, 8))[:] = 7
    tifffile.imwrite("a.tif", np.full((5, 16, 16), 7, "u1"), compression="zlib")
    opened, live = bp.open_source("a.zarr", mode="r+"), bp.as_source(direct())
    memory, hdf5, pages = bp.as_source(np.full((4, 4), 7)), bp.open_source("a.h5", "a"), bp.open_source("a.tif")
    closed = bp.open_source("a.zarr")
    assert [int(one[0, 0]) for one in (opened, live, memory, hdf5)] == [7] * 4 and pages[0, 0, 0] == 7

    def add(array):
        bp.operations.add(array, 1, array, block_shape=(8, 8), progress=False, job_type="local")
        return int(array[0, 0])

    TRIES = {
        "open": lambda: int(bp.open_source("a.zarr")[0, 0]),
        "write what is opened anew": lambda: bp.open_source("a.zarr", mode="r+")[0, 0],
        "read": lambda: opened[0, 0],
        "never read": lambda: closed[0, 0],
        "write": lambda: opened.__setitem__((0, 0), 1),
        "live": lambda: live[0, 0],
        "live write": lambda: live.__setitem__((0, 0), 1),
        "create": lambda: create_array("b.zarr", "", shape=(4, 4), dtype="u1", chunks=(4, 4))[0, 0],
        "remote": lambda: bp.open_source("memory://a.zarr")[0, 0],
        "run": lambda: add(opened),
        "HDF5": lambda: hdf5[0, 0],
        "pages": lambda: pages[2, 0, 0],
        "HDF5 opened anew": lambda: int(bp.open_source("a.h5", "a")[0, 0]),
        "pages opened anew": lambda: int(bp.open_source("a.tif")[0, 0, 0]),
        "memory": lambda: int(memory[0, 0]),
        "run in memory": lambda: add(memory),
        "session": lambda: repr(bp.runner.execution.current_session()),
    }
    with bp.execution("subprocess"), multiprocessing.get_context("fork").Pool(1) as pool:
        for result in pool.map_async(tried, TRIES).get(100):
            print(*result)
    print("parent", int(opened[0, 0]), int(hdf5[0, 0]))

main(sys.argv[1] == "used")
"""
ALLOWED = {
    "open": "7",
    "HDF5 opened anew": "7",
    "pages opened anew": "7",
    "memory": "7",
    "run in memory": "8",
    "session": "None",
    "parent": "7 7",
}


def test_a_forked_child_is_told(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))

    def out(used: str) -> str:
        command = [sys.executable, "script.py", used]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert run.returncode == 0, run.stderr
        return run.stdout

    told = out("used")
    lines = [line for line in told.splitlines() if not line.startswith("  remedy")]
    for name, value in ALLOWED.items():
        assert f"{name} {value}" in lines
    rest = [line for line in lines if line not in {f"{name} {value}" for name, value in ALLOWED.items()}]
    assert len(rest) == 11
    assert all(" refused: " in line for line in rest), told
    assert told.count('remedy: multiprocessing.get_context("spawn")') == 9
    assert told.count('remedy: open it in the child; or multiprocessing.get_context("spawn")') == 2
    assert "('first', 7)" in out("unused"), "the first one that reads may be a child"
