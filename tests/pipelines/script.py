"""The script of the tests: six calls, of which one returns a value, one is in place, and two go through scratch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py as bp

SHAPE, CHUNKS = (24, 24), (8, 8)
RESULT = "plus.zarr"
HELD = {"block_shape": 8, "progress": False}


def helper(values: Any) -> Any:
    return values + int(os.environ.get("HELPER", "1")) * 0


def ADDED(values: Any) -> Any:
    return values + 3


def plus(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = bp.to_roi(block)
    outputs[0][roi] = ADDED(inputs[0][roi])


def data() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 200, SHAPE).astype("u1")


def begin(folder: Path) -> None:
    """Make the input."""
    raw = bp.io.create_array(folder / "raw.zarr", "x", shape=SHAPE, dtype="u1", chunks=CHUNKS)
    raw[...] = data()


def run(folder: Path, *, sigma: float = 1.0, threshold: float = 90.0, out: str = "counts.zarr", **how: Any) -> Any:
    """Go through the script; the pipeline, and what it returns."""
    how = {"num_workers": 2, "progress": False, **how}
    with bp.pipeline(folder / "script.run", **how) as p:
        raw = bp.open_source(folder / "raw.zarr", "x")
        smooth = bp.filters.gaussian_smoothing(raw, sigma, p.scratch("smooth"), block_shape=8)
        labels = bp.segmentation.label(smooth, folder / "labels.zarr", threshold=threshold, block_shape=8)
        doubled = bp.operations.multiply(labels, 2, folder / out, block_shape=8)
        target = bp.io.create_array(folder / "plus.zarr", "", shape=SHAPE, dtype="u8", chunks=CHUNKS)
        bp.map_blocks(plus, [doubled], [target], block_shape=8, name="plus")
        bp.operations.add(target, 1, target, block_shape=8)
        most = int(bp.stats.max(target, block_shape=8))
    return p, most


def expected(sigma: float = 1.0, threshold: float = 90.0) -> tuple[np.ndarray, int]:
    """What is in plus.zarr in the end."""
    smooth = bp.filters.gaussian_smoothing(data(), sigma)
    labels = bp.segmentation.label(smooth, threshold=threshold).astype("u8")
    result = labels * 2 + 4
    return result, int(result.max())


def ended() -> tuple[np.ndarray, int]:
    """What is in the last array, and what the script prints last."""
    return expected()


if __name__ == "__main__":
    pipeline, found = run(Path(sys.argv[1]), job_type=sys.argv[2])
    print(json.dumps([[call.name, call.action, call.reason] for call in pipeline.explain()]), found)
