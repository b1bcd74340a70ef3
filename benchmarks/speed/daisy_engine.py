"""daisy 2: its scheduler and workers, with block functions written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import protocol
from protocol import Case


def _open(case: Case, name: str) -> Any:
    import zarr

    return zarr.open_array(case.input(name), mode="r")


def _create(path: str, shape: tuple[int, ...], dtype: Any, case: Case, shard: int | None = None) -> Any:
    import zarr

    chunks = tuple(min(case.chunk, size) for size in shape)
    shards = None if shard is None else (shard,) * len(shape)
    return zarr.create_array(path, shape=shape, chunks=chunks, shards=shards, dtype=dtype)


def _run(
    case: Case, shape: tuple[int, ...], function: Callable[[Any, Any], None], halo: int = 0, block: int = 0
) -> None:
    """Call ``function(region, outer)`` with slices for every block."""
    import daisy

    edge = (block or case.block,) * len(shape)
    inner = daisy.Roi((0,) * len(shape), edge)
    outer = inner.grow((halo,) * len(shape), (halo,) * len(shape))
    total = daisy.Roi((0,) * len(shape), shape)

    def process(part: Any) -> None:
        region = part.write_roi.intersect(total).to_slices()
        function(region, part.read_roi.intersect(total).to_slices())

    task = daisy.Task(
        "work",
        total_roi=total.grow((halo,) * len(shape), (halo,) * len(shape)),
        read_roi=outer,
        write_roi=inner,
        process_function=process,
        num_workers=case.workers,
        read_write_conflict=False,
        fit="shrink",
    )
    if not daisy.run_blockwise([task]):
        raise RuntimeError("daisy reports failed blocks")


def _map(case: Case, source: Any, output: Any, kernel: Callable[[np.ndarray], np.ndarray], halo: int = 0) -> None:
    def function(region: Any, outer: Any) -> None:
        inner = tuple(slice(r.start - o.start, r.stop - o.start) for r, o in zip(region, outer, strict=True))
        output[region] = kernel(source[outer])[inner]

    _run(case, source.shape, function, halo)


def copy(case: Case) -> None:
    source = _open(case, "raw")
    _map(case, source, _create(case.output, source.shape, source.dtype, case), lambda block: block)


def copy_shards(case: Case) -> None:
    source = _open(case, "raw")
    _map(case, source, _create(case.output, source.shape, source.dtype, case, case.block), lambda block: block)


def _gaussian(case: Case, sigma: float) -> None:
    from scipy import ndimage

    def kernel(block: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.gaussian_filter(block.astype(np.float32), sigma, truncate=3, mode="mirror"))

    source = _open(case, "raw")
    _map(case, source, _create(case.output, source.shape, np.float32, case), kernel, halo=round(3 * sigma))


def gaussian_2(case: Case) -> None:
    _gaussian(case, 2.0)


def gaussian_8(case: Case) -> None:
    _gaussian(case, 8.0)


def downsample_mean(case: Case) -> None:
    source = _open(case, "raw")
    output = _create(case.output, tuple(size // 2 for size in source.shape), source.dtype, case)

    def function(region: Any, outer: Any) -> None:
        block = source[tuple(slice(2 * r.start, 2 * r.stop) for r in region)]
        z, y, x = (size // 2 for size in block.shape)
        mean = block.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32)
        output[region] = np.round(mean).astype(block.dtype)

    _run(case, output.shape, function)


def statistics(case: Case) -> list[float]:
    source, folder = _open(case, "raw"), Path(case.output)
    folder.mkdir(parents=True)

    def function(region: Any, outer: Any) -> None:
        block = source[region]
        name = "-".join(str(part.start) for part in region)
        np.save(folder / name, np.array([block.sum(dtype=np.uint64), block.max()], dtype=np.uint64))

    _run(case, source.shape, function)
    found = np.stack([np.load(path) for path in folder.glob("*.npy")])
    return [float(found[:, 0].sum() / source.size), float(found[:, 1].max())]


def watershed(case: Case) -> None:
    from skimage import segmentation

    height, seeds = _open(case, "height"), _open(case, "seeds")
    output = _create(case.output, height.shape, np.uint64, case)

    def function(region: Any, outer: Any) -> None:
        inner = tuple(slice(r.start - o.start, r.stop - o.start) for r, o in zip(region, outer, strict=True))
        output[region] = segmentation.watershed(height[outer], seeds[outer].astype(np.int64))[inner]

    _run(case, height.shape, function, halo=case.block // 8)


def relabel(case: Case) -> None:
    table, source = np.load(f"{case.data}/table.npy"), _open(case, "labels")
    _map(case, source, _create(case.output, source.shape, np.uint64, case), table.take)


def empty_20k(case: Case) -> None:
    _run(case, (20_000 if case.block > 32 else 20,), lambda region, outer: None, block=1)


WORKS = {
    "copy": copy,
    "copy to shards": copy_shards,
    "gaussian 2": gaussian_2,
    "gaussian 8": gaussian_8,
    "downsample mean": downsample_mean,
    "statistics": statistics,
    "watershed": watershed,
    "relabel": relabel,
    "empty 20k": empty_20k,
}

if __name__ == "__main__":
    protocol.main(WORKS)
