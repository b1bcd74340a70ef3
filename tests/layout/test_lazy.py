"""Public names that are imported when they are asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys

import cloudpickle
import pytest

import bioimage_py as bp


@pytest.mark.parametrize("name", ["sample.neurites", "datasets.collate", "viz.overview"])
def test_a_name_is_not_the_module_that_is_called_so(name: str) -> None:
    code = f"import bioimage_py as bp, bioimage_py.{name}; assert callable(bp.{name}), bp.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_packages_are_sent_by_name() -> None:
    for package in (bp, bp.mesh, bp.viz):
        assert pickle.loads(cloudpickle.dumps(package)) is package
