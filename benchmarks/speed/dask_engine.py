"""dask.array and dask-image, as their documentation uses them: threads, or a local distributed cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


@contextlib.contextmanager
def _scheduler(case: Case) -> Iterator[None]:
    import dask

    if case.backend == "distributed":
        from distributed import Client, LocalCluster

        settings = {"n_workers": case.workers, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
        with LocalCluster(**settings) as cluster, Client(cluster):
            yield
    else:
        with dask.config.set(scheduler="threads", num_workers=case.workers):
            yield


def _open(case: Case, name: str) -> Any:
    import dask.array as da
    import zarr

    return da.from_array(zarr.open_array(case.input(name), mode="r"), chunks=case.block)


def _store(array: Any, path: str, case: Case, shard: int | None = None) -> None:
    import dask.array as da
    import zarr

    chunks = tuple(min(case.chunk, size) for size in array.shape)
    shards = None if shard is None else tuple(min(shard, size) for size in array.shape)
    output = zarr.create_array(path, shape=array.shape, chunks=chunks, shards=shards, dtype=array.dtype)
    with _scheduler(case):
        da.store(array, output, lock=False)


def copy(case: Case) -> None:
    _store(_open(case, "raw"), case.output, case)


def copy_shards(case: Case) -> None:
    _store(_open(case, "raw"), case.output, case, shard=case.block)


def _gaussian(case: Case, sigma: float) -> None:
    from dask_image import ndfilters

    _store(ndfilters.gaussian_filter(_open(case, "raw").astype(np.float32), sigma, truncate=3), case.output, case)


def median(case: Case) -> None:
    from dask_image import ndfilters

    _store(ndfilters.median_filter(_open(case, "raw"), size=3), case.output, case)


def erosion(case: Case) -> None:
    from dask_image import ndmorph

    at = np.arange(-2, 3) ** 2
    ball = at[:, None, None] + at[:, None] + at <= 4
    _store(ndmorph.binary_erosion(_open(case, "binary"), ball), case.output, case)


def _label(case: Case, structure: np.ndarray | None) -> None:
    from dask_image import ndmeasure

    labels, _ = ndmeasure.label(_open(case, "binary"), structure)
    _store(labels.astype(np.uint64), case.output, case)


def _mean(array: Any) -> Any:
    import dask.array as da

    def mean(block: np.ndarray, axis: Any = None) -> np.ndarray:
        return np.round(block.mean(axis=axis, dtype=np.float32)).astype(block.dtype)

    return da.coarsen(mean, array, dict.fromkeys(range(array.ndim), 2))


def _downsample(case: Case, halves: Any) -> None:
    _store(halves(_open(case, "raw")), case.output, case)


def _pyramid(case: Case, name: str, halves: Any) -> None:
    import dask.array as da
    import zarr

    level = _open(case, name)
    for n in range(1, 5):
        _store(halves(level), f"{case.output}/{n}", case)
        level = da.from_array(zarr.open_array(f"{case.output}/{n}", mode="r"), chunks=case.block)


def _stride(array: Any) -> Any:
    return array[::2, ::2, ::2]


def statistics(case: Case) -> list[float]:
    import dask

    source = _open(case, "raw")
    with _scheduler(case):
        return [float(value) for value in dask.compute(source.mean(), source.max())]


def unique_counts(case: Case) -> list[int]:
    import dask
    import dask.array as da

    values, counts = da.unique(_open(case, "labels").ravel(), return_counts=True)
    with _scheduler(case):
        values, counts = dask.compute(values, counts)
    return [len(values), int((values * counts.astype(np.uint64)).sum())]


def _flood(height: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    from skimage.segmentation import watershed

    return np.asarray(watershed(height, seeds.astype(np.int64)), dtype=np.uint64)


def watershed(case: Case) -> None:
    import dask.array as da

    arrays = _open(case, "height"), _open(case, "seeds")
    halo = case.block // 8
    _store(da.map_overlap(_flood, *arrays, depth=halo, boundary="none", dtype=np.uint64), case.output, case)


def relabel(case: Case) -> None:
    table = np.load(f"{case.data}/table.npy")
    _store(_open(case, "labels").map_blocks(table.take, dtype=np.uint64), case.output, case)


def _nothing(block: np.ndarray) -> np.ndarray:
    return block


def empty_20k(case: Case) -> None:
    import dask.array as da

    with _scheduler(case):
        da.zeros(20_000 if case.block > 32 else 20, chunks=1, dtype=np.uint8).map_blocks(_nothing).sum().compute()


WORKS = {
    "copy": copy,
    "copy to shards": copy_shards,
    "gaussian 2": partial(_gaussian, sigma=2.0),
    "median 3": median,
    "gaussian 8": partial(_gaussian, sigma=8.0),
    "label 6": partial(_label, structure=None),
    "label 26": partial(_label, structure=np.ones((3, 3, 3))),
    "downsample mean": partial(_downsample, halves=_mean),
    "downsample stride": partial(_downsample, halves=_stride),
    "pyramid image": partial(_pyramid, name="raw", halves=_mean),
    "pyramid image stride": partial(_pyramid, name="raw", halves=_stride),
    "pyramid labels": partial(_pyramid, name="labels", halves=_stride),
    "pyramid labels stride": partial(_pyramid, name="labels", halves=_stride),
    "statistics": statistics,
    "unique counts": unique_counts,
    "watershed": watershed,
    "relabel": relabel,
    "erosion": erosion,
    "empty 20k": empty_20k,
}
