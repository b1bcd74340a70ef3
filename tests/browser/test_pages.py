"""What the page of a view shows is what is in the file: voxel by voxel, level by level, and from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bioimage_py as bp
from bioimage_py.sources import Axis
from bioimage_py.wrapper import AxesSource

pytest.importorskip("neuroglancer")


def drawn(path: Any) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), "i2")


def test_up_is_up_and_left_is_left(browser: str, tmp_path: Path) -> None:
    """A bright corner: the first voxels of y and x are drawn above and left."""
    array = np.zeros((4, 64, 64), "u1")
    array[:, :16, :32] = 255
    with bp.viz.view(array, layout="xy", percentiles=(0, 100)) as page:
        picture = drawn(page.screenshot(tmp_path / "a.png", (600, 600)))
    bright = np.argwhere(picture.min(axis=-1) > 200)
    assert len(bright) > 5000
    middle = bright.mean(axis=0)
    assert middle[0] < 230
    assert middle[1] < 290


def test_zoomed_out_a_pyramid_is_drawn(browser: str, tmp_path: Path) -> None:
    """Each level has a grey value of its own, so that the picture tells which one was read."""
    levels = [np.full((size, size, size), value, "u1") for size, value in ((256, 40), (128, 120), (64, 200))]
    with bp.viz.view(levels, layout="xy", labels=[]) as page:
        with page._viewer.txn() as state:
            state.cross_section_scale = 4.0
            state.layers[0].shader_controls = {"normalized": {"range": [0, 255]}}
        picture = drawn(page.screenshot(tmp_path / "a.png", (400, 400)))
    middle = picture[190:198, 190:198].mean()
    assert abs(middle - 200) < 12


def test_layers_lie_as_their_axes_say(browser: str, tmp_path: Path) -> None:
    """A coarse label image over a fine one, by units: both cover the same square."""
    fine = [Axis(name, "space", "nanometer", 4.0) for name in "zyx"]
    coarse = [Axis(name, "space", "nanometer", 16.0, 6.0) for name in "zyx"]
    raw = AxesSource(np.full((8, 64, 64), 128, "u1"), fine)
    labels = AxesSource(np.ones((2, 16, 16), "u4"), coarse)
    with bp.viz.view(raw, labels, layout="xy", percentiles=(0, 100)) as page:
        picture = drawn(page.screenshot(tmp_path / "a.png", (600, 600)))
    rows, columns = np.nonzero(np.ptp(picture, axis=-1) > 30)
    assert np.ptp(rows) > 400
    assert abs(np.ptp(rows) - np.ptp(columns)) < 30


def test_the_command(browser: str, tmp_path: Path) -> None:
    volume = bp.sample.neurites((16, 32, 40), seed=3)
    bp.copy(volume.raw, str(tmp_path / "v.zarr/raw"), progress=False)
    bp.copy(volume.labels, str(tmp_path / "v.zarr/labels"), progress=False)
    picture = tmp_path / "pictures/a.png"
    command = [sys.executable, "-m", "bioimage_py", "view", str(tmp_path / "v.zarr"), "--screenshot", str(picture)]
    done = subprocess.run([*command, "--size", "500,400"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(picture)
    assert drawn(picture).shape == (400, 500, 3)
    assert drawn(picture).std() > 10
