"""Volumes and block functions for the tests on the cluster; imported by workers too."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from bioimage_py.runner import SlurmConfig

CHUNK = 16


def volume(size: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((size,) * 3) > 0.7).astype(np.uint8)


def stored(path: Path, data: np.ndarray, chunk: int = CHUNK) -> Any:
    array = zarr.create_array(path, shape=data.shape, chunks=(chunk,) * data.ndim, dtype=data.dtype)
    array[...] = data
    return array


def empty(path: Path, shape: tuple[int, ...], dtype: str, chunk: int = CHUNK) -> Any:
    return zarr.create_array(path, shape=shape, chunks=(chunk,) * len(shape), dtype=dtype)


def config(**settings: Any) -> SlurmConfig:
    return SlurmConfig(**{"partition": "main", "mem": "400M", "time": 5, "latency_wait": 10.0, **settings})


def slow_plus_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    roi = tuple(slice(b, e) for b, e in zip(block.begin, block.end, strict=True))
    time.sleep(float(os.environ.get("SECONDS_A_BLOCK", "0.3")))
    outputs[0][roi] = inputs[0][roi] + 1
