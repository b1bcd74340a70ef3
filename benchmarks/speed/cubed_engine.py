"""cubed with its default executor on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import protocol
from protocol import Case


def _open(case: Case, name: str) -> Any:
    import cubed

    spec = cubed.Spec(work_dir=f"{case.output}-work", allowed_mem="2GB")
    return cubed.from_zarr(case.input(name), spec=spec).rechunk((case.block,) * 3)


def copy(case: Case) -> None:
    import cubed

    cubed.to_zarr(_open(case, "raw"), case.output)


def _mean(block: np.ndarray) -> np.ndarray:
    z, y, x = (size // 2 for size in block.shape)
    mean = block.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return np.round(mean).astype(block.dtype)


def downsample_mean(case: Case) -> None:
    import cubed

    source = _open(case, "raw")
    chunks = tuple(tuple(size // 2 for size in axis) for axis in source.chunks)
    cubed.to_zarr(cubed.map_blocks(_mean, source, dtype=source.dtype, chunks=chunks), case.output)


def statistics(case: Case) -> list[float]:
    import cubed
    import cubed.array_api as xp

    source = _open(case, "raw")
    mean, highest = cubed.compute(xp.mean(xp.astype(source, xp.float64)), xp.max(source))
    return [float(mean), float(highest)]


def relabel(case: Case) -> None:
    import cubed

    table = np.load(f"{case.data}/table.npy")
    cubed.to_zarr(cubed.map_blocks(table.take, _open(case, "labels"), dtype=np.uint64), case.output)


WORKS = {"copy": copy, "downsample mean": downsample_mean, "statistics": statistics, "relabel": relabel}

if __name__ == "__main__":
    protocol.main(WORKS)
