"""`bioimage-py pipeline` runs, plans, lists and forgets scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import bioimage_py as bp
from bioimage_py.cli import main

SCRIPT = """
import sys
import bioimage_py as bp
with bp.pipeline("cells.run", progress=False) as p:
    raw = bp.open_source("raw.zarr", "x")
    more = bp.operations.add(raw, int(sys.argv[1]), p.scratch("more"), block_shape=8)
    labels = bp.segmentation.label(more, "labels.zarr", threshold=p.parameters.get("threshold", 10), block_shape=8)
    most = bp.stats.max(labels, block_shape=8)
print("objects", most)
"""


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    raw = bp.io.create_array("raw.zarr", "x", shape=(16, 16), dtype="u1", chunks=(8, 8))
    values = np.zeros((16, 16), "u1")
    values[2:5, 2:5] = values[10:14, 9:12] = 20
    raw[...] = values
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["pipeline", *arguments], catch_exceptions=False)


def test_a_script_is_planned_run_listed_and_forgotten() -> None:
    plan = cli("plan", "script.py", "1")
    assert plan.exit_code == 0, plan.output
    assert "to run" in plan.output
    assert "The plan ends here: what follows needs what max returns." in plan.output
    assert not Path("labels.zarr").exists()
    run = cli("run", "script.py", "1")
    assert "objects 2" in run.output
    again = cli("plan", "script.py", "1")
    assert "to run" not in again.output.replace("sum of what is to run", "")
    assert "objects 2" in again.output, "what is known is at hand"
    status = cli("status", "script.py")
    assert "3 of 3 calls that were begun are done" in status.output
    assert "cells.run" in cli("status", "cells.run", "--json").output
    clean = cli("clean", "script.py", "--yes")
    assert "removed" in clean.output
    assert not Path("cells.run").exists()
    assert Path("labels.zarr").exists()
    assert cli("status", "script.py").exit_code == 1


def test_settings_beside_the_script_win() -> None:
    Path("script.toml").write_text(
        "[parameters]\nthreshold = 250\n[calls.add]\nnum_workers = 2\n[execution]\nretries = 0\n"
    )
    assert "objects 0" in cli("run", "script.py", "1").output
    Path("script.toml").write_text("[calls.add]\nthresh = 2\n")
    wrong = cli("run", "script.py", "1")
    assert wrong.exit_code == 1
    assert "add has no keyword 'thresh'" in wrong.output
    Path("script.toml").write_text("[call.add]\nvalue = 2\n")
    assert "has a table [call]" in cli("run", "script.py", "1").output


def test_a_script_without_a_pipeline_is_told(script: Path) -> None:
    script.write_text("print(1)")
    wrong = cli("plan", "script.py")
    assert wrong.exit_code == 1
    assert "no `with bioimage_py.pipeline(...)` block" in wrong.output


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cells.run").mkdir()
    (tmp_path / "cells.run" / "thesis.txt").write_text("mine")
    wrong = cli("run", "script.py", "1")
    assert "is no folder of a pipeline" in wrong.output
    assert cli("clean", "cells.run", "--yes").exit_code == 1
    assert (tmp_path / "cells.run" / "thesis.txt").exists()
