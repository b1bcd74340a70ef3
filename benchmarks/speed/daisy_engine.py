"""daisy 2: its scheduler and workers, with block functions written by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


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


def label_6(case: Case) -> None:
    """Label blocks with ids that no other block has, join those that touch, and write every block once more."""
    from scipy import ndimage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    source = _open(case, "binary")
    output = _create(case.output, source.shape, np.uint64, case)
    grid = [-(-size // case.block) for size in source.shape]
    folder = Path(f"{case.output}-pairs")
    folder.mkdir()

    def first(region: Any, outer: Any) -> None:
        labels = ndimage.label(source[region])[0].astype(np.uint64)
        number = np.ravel_multi_index([part.start // case.block for part in region], grid)
        labels[labels > 0] += np.uint64(number * case.block**3)
        output[region] = labels

    def join(region: Any, outer: Any) -> None:
        found = [np.unique(output[region])]
        pairs = [np.stack([found[0], found[0]])]
        for axis in range(3):
            if region[axis].start:
                plane = slice(region[axis].start - 1, region[axis].start + 1)
                two = output[(*region[:axis], plane, *region[axis + 1 :])]
                one, other = np.take(two, 0, axis), np.take(two, 1, axis)
                pairs.append(np.unique(np.stack([one, other])[:, (one > 0) & (other > 0)], axis=1))
        np.save(folder / "-".join(str(part.start) for part in region), np.concatenate(pairs, axis=1))

    _run(case, source.shape, first)
    _run(case, source.shape, join)
    pairs = np.concatenate([np.load(path) for path in folder.glob("*.npy")], axis=1)
    ids, places = np.unique(pairs, return_inverse=True)
    one, other = places.reshape(pairs.shape)
    graph = coo_array((np.ones(len(one), np.uint8), (one, other)), shape=(len(ids), len(ids)))
    table = connected_components(graph, directed=False)[1].astype(np.uint64) + np.uint64(ids[0] > 0)

    def last(region: Any, outer: Any) -> None:
        output[region] = table[np.searchsorted(ids, output[region])]

    _run(case, source.shape, last)


def _mean(block: np.ndarray) -> np.ndarray:
    z, y, x = (size // 2 for size in block.shape)
    mean = block.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return np.round(mean).astype(block.dtype)


def _stride(block: np.ndarray) -> np.ndarray:
    return block[::2, ::2, ::2]


def _half(case: Case, source: Any, path: str, kernel: Callable[[np.ndarray], np.ndarray]) -> Any:
    output = _create(path, tuple(size // 2 for size in source.shape), source.dtype, case)

    def function(region: Any, outer: Any) -> None:
        output[region] = kernel(source[tuple(slice(2 * r.start, 2 * r.stop) for r in region)])

    _run(case, output.shape, function)
    return output


def _downsample(case: Case, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    _half(case, _open(case, "raw"), case.output, kernel)


def _pyramid(case: Case, name: str, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    level = _open(case, name)
    for n in range(1, 5):
        level = _half(case, level, f"{case.output}/{n}", kernel)


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


def unique_counts(case: Case) -> list[int]:
    source, folder = _open(case, "labels"), Path(case.output)
    folder.mkdir(parents=True)

    def function(region: Any, outer: Any) -> None:
        np.save(folder / "-".join(str(part.start) for part in region), np.unique(source[region], return_counts=True))

    _run(case, source.shape, function)
    values, counts = np.concatenate([np.load(path) for path in folder.glob("*.npy")], axis=1).astype(np.uint64)
    return [len(np.unique(values)), int((values * counts).sum())]


def watershed(case: Case) -> None:
    import bioimage_cpp

    height, seeds = _open(case, "height"), _open(case, "seeds")
    output = _create(case.output, height.shape, np.uint64, case)

    def function(region: Any, outer: Any) -> None:
        inner = tuple(slice(r.start - o.start, r.stop - o.start) for r, o in zip(region, outer, strict=True))
        output[region] = bioimage_cpp.segmentation.watershed(height[outer], seeds[outer])[inner]

    _run(case, height.shape, function, halo=case.block // 8)


def relabel(case: Case) -> None:
    table, source = np.load(f"{case.data}/table.npy"), _open(case, "labels")
    _map(case, source, _create(case.output, source.shape, np.uint64, case), table.take)


def empty_20k(case: Case) -> None:
    _run(case, (20_000 if case.block > 32 else 20,), lambda region, outer: None, block=1)


WORKS = {
    "copy": copy,
    "copy to shards": copy_shards,
    "gaussian 2": partial(_gaussian, sigma=2.0),
    "gaussian 8": partial(_gaussian, sigma=8.0),
    "label 6": label_6,
    "downsample mean": partial(_downsample, kernel=_mean),
    "downsample stride": partial(_downsample, kernel=_stride),
    "pyramid image": partial(_pyramid, name="raw", kernel=_mean),
    "pyramid image stride": partial(_pyramid, name="raw", kernel=_stride),
    "pyramid labels": partial(_pyramid, name="labels", kernel=_stride),
    "pyramid labels stride": partial(_pyramid, name="labels", kernel=_stride),
    "statistics": statistics,
    "unique counts": unique_counts,
    "watershed": watershed,
    "relabel": relabel,
    "empty 20k": empty_20k,
}
