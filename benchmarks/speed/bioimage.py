"""The two packages named bioimage_py, by calls that both have; which one it is, the environment decides."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import protocol
import zarr
from protocol import Case


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


def copy_shards(case: Case) -> None:
    import bioimage_py as bp

    source = _open(case, "raw")
    output = _create(case.output, source.shape, source.dtype, case.chunk, shard=case.block)
    bp.copy(source, output, **_run(case))


def _gaussian(case: Case, sigma: float) -> None:
    from bioimage_py import filters

    source = _open(case, "raw")
    filters.gaussian_smoothing(source, sigma, _create(case.output, source.shape, "float32", case.chunk), **_run(case))


def gaussian_2(case: Case) -> None:
    _gaussian(case, 2.0)


def gaussian_8(case: Case) -> None:
    _gaussian(case, 8.0)


def _label(case: Case, name: str, **kind: Any) -> None:
    from bioimage_py import segmentation

    source = _open(case, name)
    segmentation.label(source, _create(case.output, source.shape, "uint64", case.chunk), **kind, **_run(case))


def label_6(case: Case) -> None:
    _label(case, "binary", connectivity=1)


def label_26(case: Case) -> None:
    _label(case, "binary", connectivity=3)


def label_multi(case: Case) -> None:
    _label(case, "objects", connectivity=1, multi_label=True)


def _half(source: Any, output: str, case: Case, **kind: Any) -> Any:
    import bioimage_py as bp

    shape = tuple(-(-size // 2) for size in source.shape)
    made = _create(output, shape, source.dtype, case.chunk)
    run = _run(case)
    run["block_shape"] = tuple(min(block, size) for block, size in zip(run["block_shape"], shape, strict=True))
    bp.downsample(source, 2, made, **kind, **run)
    return made


def _method(name: str) -> dict[str, str]:
    import bioimage_py as bp

    # the peer has neither means nor modes of blocks: its fastest sampling stands against ours
    return {"method": name} if "method" in inspect.signature(bp.downsample).parameters else {}


def downsample_mean(case: Case) -> None:
    _half(_open(case, "raw"), case.output, case, **_method("mean"))


def _pyramid(case: Case, name: str, method: str) -> None:
    level = _open(case, name)
    for n in range(1, 5):
        level = _half(level, f"{case.output}/{n}", case, **_method(method))


def pyramid_image(case: Case) -> None:
    _pyramid(case, "raw", "mean")


def pyramid_labels(case: Case) -> None:
    _pyramid(case, "labels", "mode")


def statistics(case: Case) -> list[float]:
    from bioimage_py import stats

    source = _open(case, "raw")
    return [float(stats.mean(source, **_run(case))), float(stats.max(source, **_run(case)))]


def unique_counts(case: Case) -> list[int]:
    from bioimage_py import stats

    values, counts = stats.unique(_open(case, "labels"), return_counts=True, **_run(case))
    return [len(values), int((np.asarray(values, dtype=object) * np.asarray(counts, dtype=object)).sum())]


def watershed(case: Case) -> None:
    from bioimage_py import segmentation

    height, seeds = _open(case, "height"), _open(case, "seeds")
    output = _create(case.output, height.shape, "uint64", case.chunk)
    segmentation.watershed(height, seeds, output, halo=(case.block // 8,) * 3, **_run(case))


def relabel(case: Case) -> None:
    from bioimage_py import segmentation

    source, table = _open(case, "labels"), np.load(f"{case.data}/table.npy")
    labeling = dict(enumerate(table.tolist()))
    segmentation.relabel(source, labeling, _create(case.output, source.shape, "uint64", case.chunk), **_run(case))


def _nothing(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    pass


def _empty(case: Case, blocks: int) -> None:
    from bioimage_py.runner import get_runner

    # shapes and blocks alone; nothing is read
    path = f"{case.output}-input"
    source = _create(path, (blocks,), "uint8", blocks)
    source = zarr.open_array(path, mode="r")
    runner = get_runner(case.backend)
    runner.run(_nothing, [source], block_shape=(1,), num_workers=case.workers, name="")


def empty_20k(case: Case) -> None:
    _empty(case, 20_000 if case.block > 32 else 20)


def empty_1m(case: Case) -> None:
    _empty(case, 1_000_000 if case.block > 32 else 20)


WORKS = {
    "copy": copy,
    "copy to shards": copy_shards,
    "gaussian 2": gaussian_2,
    "gaussian 8": gaussian_8,
    "label 6": label_6,
    "label 26": label_26,
    "label multi": label_multi,
    "downsample mean": downsample_mean,
    "pyramid image": pyramid_image,
    "pyramid labels": pyramid_labels,
    "statistics": statistics,
    "unique counts": unique_counts,
    "watershed": watershed,
    "relabel": relabel,
    "empty 20k": empty_20k,
    "empty 1m": empty_1m,
}

if __name__ == "__main__":
    protocol.main(WORKS)
