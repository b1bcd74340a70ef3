"""Works of this package, by calls that the peer package of the same name has too; which it is, the environment decides.

Run by path (see `protocol`), also where this package is not installed: nothing of it is imported here.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

if TYPE_CHECKING:
    from bioimage_py.bench.protocol import Case


def _run(case: Case) -> dict[str, Any]:
    return {"block_shape": (case.block,) * 3, "num_workers": case.workers, "job_type": case.backend}


def _open(case: Case, name: str) -> Any:
    return zarr.open_array(case.input(name), mode="r")


def _create(path: str, shape: tuple[int, ...], dtype: Any, chunk: int, shard: int | None = None) -> Any:
    chunks = (min(chunk, min(shape)),) * len(shape)
    shards = None if shard is None else (min(shard, min(shape)),) * len(shape)
    return zarr.create_array(path, shape=shape, chunks=chunks, shards=shards, dtype=dtype)


def copy(case: Case) -> None:
    import bioimage_py as bp

    source = _open(case, "raw")
    bp.copy(source, _create(case.output, source.shape, source.dtype, case.chunk), **_run(case))


def copy_to_shards(case: Case) -> None:
    import bioimage_py as bp

    source = _open(case, "raw")
    output = _create(case.output, source.shape, source.dtype, case.chunk, shard=case.block)
    bp.copy(source, output, **_run(case))


def _gaussian(case: Case, sigma: float) -> None:
    from bioimage_py import filters

    source = _open(case, "raw")
    filters.gaussian_smoothing(source, sigma, _create(case.output, source.shape, "float32", case.chunk), **_run(case))


def hessian(case: Case) -> None:
    from bioimage_py import filters

    source, chunk = _open(case, "raw"), min(case.chunk, *_open(case, "raw").shape)
    output = zarr.create_array(case.output, shape=(3, *source.shape), chunks=(1, chunk, chunk, chunk), dtype="float32")
    filters.apply_filter(source, "hessian_of_gaussian_eigenvalues", 1.5, output, **_run(case))


def median(case: Case) -> None:
    import bioimage_py as bp

    source = _open(case, "raw")
    output = _create(case.output, source.shape, source.dtype, case.chunk)
    if hasattr(bp.filters, "median"):
        bp.filters.median(source, 3, output, **_run(case))
        return
    from scipy import ndimage

    from bioimage_py.wrapper import SimpleTransformationWithHaloSource

    # as a user of the peer does it
    smooth: Any = partial(ndimage.median_filter, size=3)
    bp.copy(SimpleTransformationWithHaloSource(source, smooth, (1, 1, 1)), output, **_run(case))


def _label(case: Case, name: str, **kind: Any) -> None:
    from bioimage_py import segmentation

    source = _open(case, name)
    segmentation.label(source, _create(case.output, source.shape, "uint64", case.chunk), **kind, **_run(case))


def _halved(source: Any, output: str, case: Case) -> Any:
    return _create(output, tuple(-(-size // 2) for size in source.shape), source.dtype, case.chunk)


def _half(source: Any, output: str, case: Case, method: str) -> Any:
    import bioimage_py as bp

    made, run = _halved(source, output, case), _run(case)
    shape = made.shape
    run["block_shape"] = tuple(min(block, size) for block, size in zip(run["block_shape"], shape, strict=True))
    # the peer has neither means nor modes of blocks: it samples
    if "method" in inspect.signature(bp.downsample).parameters:
        run["method"] = method
    bp.downsample(source, 2, made, **run)
    return made


def _downsample(case: Case, method: str) -> None:
    _half(_open(case, "raw"), case.output, case, method)


def _pyramid(case: Case, name: str, method: str) -> None:
    import bioimage_py as bp

    levels = [_open(case, name)]
    if not hasattr(bp, "pyramid"):  # the peer makes one level a call
        for n in range(1, 5):
            levels.append(_half(levels[-1], f"{case.output}/{n}", case, method))
        return
    for n in range(1, 5):
        levels.append(_halved(levels[-1], f"{case.output}/{n}", case))
    how: Any = {"method": method, **_run(case)}
    bp.pyramid(levels[0], [2] * 4, levels[1:], **how)


def statistics(case: Case) -> list[float]:
    from bioimage_py import stats

    source = _open(case, "raw")
    if hasattr(stats, "summary"):  # the peer reads the data once for each
        found = stats.summary(source, **_run(case))
        return [float(found.mean), float(found.maximum)]
    return [float(stats.mean(source, **_run(case))), float(stats.max(source, **_run(case)))]


def unique_counts(case: Case) -> list[int]:
    from bioimage_py import stats

    values, counts = stats.unique(_open(case, "labels"), return_counts=True, **_run(case))
    return [len(values), int((np.asarray(values, dtype=object) * np.asarray(counts, dtype=object)).sum())]


def watershed(case: Case, mask: str | None = None) -> None:
    from bioimage_py import segmentation

    height, seeds = _open(case, "height"), _open(case, "seeds")
    output = _create(case.output, height.shape, "uint64", case.chunk)
    where = {} if mask is None else {"mask": _open(case, mask)}
    segmentation.watershed(height, seeds, output, halo=(case.block // 8,) * 3, **where, **_run(case))


def relabel(case: Case) -> None:
    from bioimage_py import segmentation

    source, table = _open(case, "labels"), np.load(f"{case.data}/table.npy")
    segmentation.relabel(source, table, _create(case.output, source.shape, "uint64", case.chunk), **_run(case))


def _nothing(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    pass


def _empty(case: Case, blocks: int) -> None:
    from bioimage_py.runner import get_runner

    path, blocks = f"{case.output}-input", blocks if case.block > 32 else 20
    _create(path, (blocks,), "uint8", blocks)  # a shape to cut into blocks; nothing is read
    runner: Any = get_runner(case.backend)
    runner.run(_nothing, [zarr.open_array(path, mode="r")], block_shape=(1,), num_workers=case.workers, name="")


WORKS = {
    "copy": copy,
    "copy to shards": copy_to_shards,
    "gaussian 2": partial(_gaussian, sigma=2.0),
    "gaussian 8": partial(_gaussian, sigma=8.0),
    "hessian 1.5": hessian,
    "median 3": median,
    "label 6": partial(_label, name="binary", connectivity=1),
    "label 26": partial(_label, name="binary", connectivity=3),
    "label multi": partial(_label, name="objects", connectivity=1, multi_label=True),
    "downsample mean": partial(_downsample, method="mean"),
    "downsample stride": partial(_downsample, method="stride"),
    "pyramid image": partial(_pyramid, name="raw", method="mean"),
    "pyramid image stride": partial(_pyramid, name="raw", method="stride"),
    "pyramid labels": partial(_pyramid, name="labels", method="mode"),
    "pyramid labels stride": partial(_pyramid, name="labels", method="stride"),
    "statistics": statistics,
    "unique counts": unique_counts,
    "watershed": watershed,
    "watershed sparse": partial(watershed, mask="tissue"),
    "relabel": relabel,
    "empty 20k": partial(_empty, blocks=20_000),
    "empty 1m": partial(_empty, blocks=1_000_000),
}
