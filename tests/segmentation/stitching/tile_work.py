"""A segmentation by tiles whose process dies in the middle, once: run by tests, here and as a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py as bp

SHAPE, TILE = (24, 24), 4


class Segment:
    """Writes down which tiles are done; kills its process after so many, while a token is there."""

    def __init__(self, folder: str, deadly: int) -> None:
        self.folder, self.deadly = Path(folder), deadly

    def __call__(self, tile: np.ndarray, tile_id: int) -> np.ndarray:
        time.sleep(0.02)
        if sum(self.done().values()) >= self.deadly:
            try:
                (self.folder / "token").unlink()
            except FileNotFoundError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        with open(self.folder / "log", "a") as log:
            log.write(f"{tile_id}\n")
        return tile

    def done(self) -> Counter[int]:
        log = self.folder / "log"
        return Counter(map(int, log.read_text().split())) if log.exists() else Counter()


def stitch(folder: str, deadly: int, job_type: str) -> Segment:
    """Stitch what lies in a folder."""
    function = Segment(folder, deadly)
    source, output = (bp.open_source(f"{folder}/{name}.zarr", "x", mode="r+") for name in ("in", "out"))
    run: dict[str, Any] = {"job_type": job_type, "num_workers": 2, "progress": False, "block_shape": 8}
    bp.segmentation.stitch_segmentation(source, function, TILE, 1, output, **run)
    return function


def child() -> None:
    stitch(sys.argv[1], int(sys.argv[2]), sys.argv[3])
