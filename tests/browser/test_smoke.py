"""One volume with labels, as a browser draws it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bioimage_py as bp

pytest.importorskip("neuroglancer")
SHAPE = (24, 48, 56)


def test_a_volume_and_its_labels_are_drawn(browser: str, tmp_path: Path) -> None:
    """The image is grey, and labels colour it."""
    volume = bp.sample.neurites(SHAPE, seed=3)
    pictures = []
    for shown in ((volume.raw,), (volume.raw, volume.labels)):
        with bp.viz.view(*shown, layout="xy", position=(12, 24, 28)) as page:
            path = page.screenshot(tmp_path / f"{len(shown)}.png", (480, 360))
        pictures.append(np.asarray(Image.open(path).convert("RGB"), "i2"))
    grey, coloured = (picture[60:300, 100:380] for picture in pictures)
    assert grey.shape == coloured.shape
    assert grey.std() > 10  # not blank
    assert np.mean(np.ptp(grey, axis=-1) > 24) < 0.1
    assert np.mean(np.ptp(coloured, axis=-1) > 24) > 0.5
