"""Surfaces and lines of objects are drawn where their voxels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bioimage_py as bp
from bioimage_py.sources import Axis
from bioimage_py.wrapper import AxesSource

pytest.importorskip("neuroglancer")
pytest.importorskip("DracoPy")

ID = 2**32 - 1
SIZE = (500, 400)


def labels_of(array: np.ndarray) -> Any:
    places = {"z": (40.0, 80.0), "y": (20.0, 1000.0), "x": (20.0, 30.0)}
    return AxesSource(array, [Axis(name, "space", "nanometer", *place) for name, place in places.items()])


def drawn(page: Any, path: Path) -> np.ndarray:
    """Where something coloured is that no line of the frame is."""
    with page._viewer.txn() as state:
        state.show_default_annotations = state.show_axis_lines = False
    picture = np.asarray(Image.open(page.screenshot(path, SIZE)).convert("RGB"), "i2")
    return np.ptp(picture, axis=-1) > 60


@pytest.mark.parametrize("how", [{}, {"sharded": True}, {"format": "legacy"}])
def test_surfaces_cover_what_neuroglancer_makes_of_the_voxels(browser: str, tmp_path: Path, how: Any) -> None:
    z, y, x = np.ogrid[:40, :64, :64]
    array = np.zeros((40, 64, 64), "u4")
    array[((z - 20) / 14) ** 2 + ((y - 20) / 10) ** 2 + ((x - 42) / 18) ** 2 < 1] = ID
    labels = labels_of(array)
    bp.mesh.surfaces(labels, tmp_path / "meshes", block_shape=(32, 32, 32), progress=False, **how)
    with bp.viz.view(labels, layout="3d", segments=[ID]) as page:
        wanted = drawn(page, tmp_path / "a.png")
    with bp.viz.view(labels, layout="3d", meshes=tmp_path / "meshes") as page:
        found = drawn(page, tmp_path / "b.png")
    assert wanted.sum() > 5000
    # theirs is of whole voxels, of which one is three pixels here
    assert (wanted & found).sum() > 0.93 * (wanted | found).sum()


def test_lines_are_in_the_middle_of_their_voxels(browser: str, tmp_path: Path) -> None:
    array = np.zeros((9, 41, 41), "u4")
    array[3:6, 18:23, 2:39] = ID
    labels = labels_of(array)
    bp.skeleton.trace(labels, tmp_path / "lines", progress=False)
    pictures = []
    for number, lines in enumerate((None, tmp_path / "lines")):
        with bp.viz.view(labels, layout="xy", skeletons=lines, segments=[ID]) as page:
            with page._viewer.txn() as state:
                state.layers[0].layer.selected_alpha = 0.0 if lines else 1.0
            pictures.append(drawn(page, tmp_path / f"{number}.png"))
    voxels, line = pictures
    assert 0 < line.sum() < 0.2 * voxels.sum()
    rows, columns = (np.argwhere(picture) for picture in (voxels, line))
    np.testing.assert_allclose(rows.mean(0), columns.mean(0), atol=0.15 * np.ptp(rows[:, 0]))
    assert abs(rows[:, 0].mean() - columns[:, 0].mean()) < 0.06 * np.ptp(rows[:, 0])
