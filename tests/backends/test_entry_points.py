"""A backend of a package that is installed separately is found, listed and used; a broken one says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = '''
"""A backend of somebody else."""
from bioimage_py.backends.local import LocalBackend

class Foreign(LocalBackend):
    """Threads by another name."""

    @classmethod
    def missing(cls):
        return "" if cls.found else "pip install quantum"

    found = False
'''


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """A package on the path, as pip leaves it."""
    (tmp_path / "foreign_backend.py").write_text(MODULE)
    about = tmp_path / "foreign_backend-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-backend\nVersion: 1.0\n")
    points = ("foreign = foreign_backend:Foreign", "broken = foreign_backend:NotThere", "wrong = json:dumps", "")
    (about / "entry_points.txt").write_text("[bioimage_py.backends]\n" + "\n".join(points))
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def listed(environment: dict[str, str], *options: str) -> Any:
    command = [sys.executable, "-m", "bioimage_py", "info", "--backends", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_it_is_listed_with_what_is_missing(installed: dict[str, str]) -> None:
    found = {one["name"]: one for one in json.loads(listed(installed, "--json"))["backends"]}
    assert set(found) >= {"local", "subprocess", "slurm", "dask", "executor", "foreign", "broken"}
    assert found["foreign"]["about"] == "Threads by another name."
    assert found["foreign"]["missing"] == "pip install quantum"
    assert found["foreign"]["limits"]["shares_memory"]
    assert "NotThere" in found["broken"]["missing"]
    assert found["subprocess"]["limits"]["kills_blocks"]
    assert found["executor"]["limits"] is None
    text = listed(installed)
    assert "foreign: Threads by another name.\n    missing: pip install quantum\n" in text


def test_it_runs_blocks(installed: dict[str, str]) -> None:
    call = "import numpy as np, bioimage_py as bp; print(bp.stats.max(np.arange(9), job_type='foreign'))"
    done = subprocess.run([sys.executable, "-c", call], env=installed, capture_output=True, text=True, check=True)
    assert done.stdout == "8\n"


@pytest.mark.parametrize(("name", "told"), [("broken", "NotThere"), ("wrong", "no class that derives from Backend")])
def test_one_that_cannot_be_loaded_says_whose_it_is(installed: dict[str, str], name: str, told: str) -> None:
    call = f"import numpy as np, bioimage_py as bp; bp.stats.max(np.arange(9), job_type={name!r})"
    done = subprocess.run([sys.executable, "-c", call], env=installed, capture_output=True, text=True, check=False)
    last = done.stderr.split("ConfigError: ")[-1]
    assert done.returncode == 1
    assert told in last
    assert "of the package foreign-backend" in last
    assert "pip install --upgrade foreign-backend" in last
