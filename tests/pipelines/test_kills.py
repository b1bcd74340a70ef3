"""A script that is killed anywhere and started again ends with the same bits, and does no finished call twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.pipelines.folder import known_calls

from . import script

POINTS = [
    (name, number)
    for name, last in (
        ("pipeline-begun", 6),
        ("pipeline-before-record", 5),
        ("pipeline-after-record", 5),
        ("before-complete", 5),
        ("after-complete", 5),
        ("before-finish", 5),
        ("after-stamps", 5),
        ("before-journal", 9),
        ("after-journal", 9),
    )
    for number in range(1, last + 1)
]


def start(folder: Path, job_type: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if fault:
        environment["BIOIMAGE_PY_FAULT"] = fault
    command = [sys.executable, "-m", "tests.pipelines.script", str(folder), job_type]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=240)


def finished(folder: Path) -> dict[tuple[int, str], float]:
    return {(one.number, one.name): one.finished for one in known_calls(folder / "script.run") if one.done}


@pytest.mark.processes
@pytest.mark.some(12)
@pytest.mark.parametrize(("point", "number"), POINTS)
def test_a_kill_at_any_point_loses_nothing(tmp_path: Path, point: str, number: int) -> None:
    script.begin(tmp_path)
    token = tmp_path / "token"
    token.touch()
    first = start(tmp_path, "local", f"{point}:{number}:{token}")
    assert not token.exists()
    assert first.returncode == -9, first.stderr
    before = finished(tmp_path)
    second = start(tmp_path, "local")
    assert second.returncode == 0, second.stderr
    result, most = script.expected()
    np.testing.assert_array_equal(bp.open_source(tmp_path / "plus.zarr")[...], result)
    told = json.loads(second.stdout.rpartition("]")[0] + "]")
    assert int(second.stdout.split()[-1]) == most
    after = finished(tmp_path)
    assert all(after.get(call) == when for call, when in before.items()), "a finished call was done again"
    assert [action for _, action, _ in told].count("skipped") == len(before)
    assert not (tmp_path / "script.run" / "scratch").exists()
    assert not list((tmp_path / ".bioimage_py").glob("[!.]*")), "no run folder is left"


STAMPS = "after-stamps"
IN_A_FILE = """
import os, sys
import bioimage_py as bp

os.chdir(sys.argv[1])
with bp.pipeline("script.run", progress=False) as p:
    raw = bp.open_source("raw.zarr", "x")
    out = bp.operations.add(raw, 1, "o.h5/a", block_shape=8)
    bp.operations.add(out, 5, out, block_shape=8)
    bp.operations.multiply(out, 2, "o.h5/b", casting="unsafe", block_shape=8)
print([call.action for call in p.explain()])
"""


@pytest.mark.processes
@pytest.mark.some(4)
@pytest.mark.parametrize(
    ("point", "number"),
    [
        (point, number)
        for point in (
            "pipeline-before-record",
            "pipeline-after-record",
            "after-complete",
            "before-finish",
            "after-stamps",
        )
        for number in (1, 2, 3)
    ],
)
def test_a_call_in_place_in_a_file_is_made_once(tmp_path: Path, point: str, number: int) -> None:
    script.begin(tmp_path)
    token = tmp_path / "token"
    token.touch()
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", IN_A_FILE, str(tmp_path)]
    armed = {**environment, "BIOIMAGE_PY_FAULT": f"{point}:{number}:{token}"}
    first = subprocess.run(command, env=armed, capture_output=True, text=True, timeout=240)
    assert first.returncode == -9, first.stderr
    assert not token.exists()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    third = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert third.stdout == "['skipped', 'skipped', 'skipped']\n", third.stderr
    with bp.open_source(tmp_path / "o.h5", "a") as found:
        np.testing.assert_array_equal(found[...], script.data() + 6)
    with bp.open_source(tmp_path / "o.h5", "b") as found:
        np.testing.assert_array_equal(found[...], ((script.data() + 6) * 2).astype("u1"))
