"""The script of the tests of overlap: four calls with a halo that run as one, with stragglers; then one that merges."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py as bp

SHAPE, CHUNKS = (40, 40), (8, 8)
STAGES = 4
RESULT = f"t{STAGES - 1}.zarr"


class Shift:
    """Adds the voxels in reach of a block, and takes longer for some blocks than for others."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        seconds = float(os.environ.get("SECONDS_A_BLOCK", "0"))
        time.sleep(seconds * (10 if (block.inner_block.id * 7 + self.number) % 5 == 0 else 1))
        data = inputs[0][bp.to_roi(block.outer_block)]
        outputs[0][bp.to_roi(block.inner_block)] = added(data)[bp.to_roi(block.inner_block_local)] + self.number


def added(data: Any) -> Any:
    padded = np.pad(data, 1)
    return data + padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]


def data() -> np.ndarray:
    # beyond what a float holds
    return np.random.default_rng(5).integers(2**53, 2**60, SHAPE).astype("u8")


def begin(folder: Path) -> None:
    """Make the input."""
    raw = bp.io.create_array(folder / "raw.zarr", "x", shape=SHAPE, dtype="u8", chunks=CHUNKS)
    raw[...] = data()


def run(folder: Path, *, more: int = 0, lap: bool = True, **how: Any) -> Any:
    """Go through the script; the pipeline, and what it returns."""
    how = {"num_workers": 3, "progress": False, **how}
    with bp.pipeline(folder / "script.run", **how) as p:
        last = bp.open_source(folder / "raw.zarr", "x")
        if lap:
            with p.overlap():
                last = calls(folder, p, last, more)
        else:
            last = calls(folder, p, last, more)
        most = int(bp.stats.max(last, block_shape=8))
    return p, most


def calls(folder: Path, p: Any, last: Any, more: int) -> Any:
    last = bp.operations.add(last, 1, p.scratch("more"), block_shape=8)
    for number in range(STAGES):
        target = bp.io.create_array(folder / f"t{number}.zarr", "", shape=SHAPE, dtype="u8", chunks=CHUNKS)
        function = Shift(number + (more if number == 2 else 0))
        bp.map_blocks(function, [last], [target], block_shape=(8, 8 + 8 * (number % 2)), halo=1, name=f"shift{number}")
        last = target
    return last


def expected(more: int = 0) -> np.ndarray:
    """What is in the last array in the end."""
    result = data() + np.uint64(1)
    for number in range(STAGES):
        result = added(result) + np.uint64(number + (more if number == 2 else 0))
    return result


def ended() -> tuple[np.ndarray, int]:
    """What is in the last array, and what the script prints last."""
    return expected(), int(expected().max())


if __name__ == "__main__":
    how = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    pipeline, found = run(Path(sys.argv[1]), job_type=sys.argv[2], **how)
    print(json.dumps([[call.name, call.action, call.reason] for call in pipeline.explain()]), found)
