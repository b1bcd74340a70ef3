"""The page of live runs in a browser: it fills itself, and shows what a run does next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bioimage_py.runner.control.watching import Watching
from bioimage_py.viz.live.server import RunServer
from bioimage_py.viz.viewing.browser import picture_of

from ..runner.control.gated import going, look_when

BLUE, ORANGE, RED = (0, 114, 178), (230, 159, 0), (210, 34, 45)


def near(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((np.abs(picture - np.array(color)).max(axis=-1) < 12).sum())


def test_done_running_and_failed_blocks_are_drawn(browser: str, tmp_path: Path) -> None:
    with going(tmp_path, last=20, bad=3) as (folder, _), RunServer([str(tmp_path)]) as server:
        look_when(Watching(folder), lambda one: any(worker.block >= 20 for worker in one.workers))
        picture_of(server.url, str(tmp_path / "live.png"), (1000, 800))
    picture = np.asarray(Image.open(tmp_path / "live.png").convert("RGB"), "i2")
    keys = 12 * 12  # the legend has a square of each
    assert near(picture, BLUE) > 2000
    assert near(picture, ORANGE) > 150 + keys
    assert near(picture, RED) > 150 + keys
