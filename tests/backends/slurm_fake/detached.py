"""The run of test_slurm_detach.py: all that its drivers and workers import of the tests."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import bioimage_py as bp
from bioimage_py.runner import SlurmConfig


def slow(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    time.sleep(float(os.environ.get("SECONDS_A_BLOCK", "0.3")))
    roi = tuple(slice(b, e) for b, e in zip(block.begin, block.end, strict=True))
    outputs[0][roi] = inputs[0][roi] + 1


def config(**settings: Any) -> SlurmConfig:
    return SlurmConfig(**{"mem": "1G", "latency_wait": 5.0, "poll_interval": 1.0, "idle_timeout": 60.0, **settings})


def run(folder: Path, **settings: Any) -> Any:
    arrays = [bp.open_source(folder / name, mode="r+") for name in ("in.zarr", "out.zarr")]
    how = {"num_workers": 2, "job_type": "slurm", "job_config": config(), "progress": False, **settings}
    return bp.map_blocks(slow, [arrays[0]], [arrays[1]], block_shape=(1, 8, 8), **how)
