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


def distance(case: Case) -> None:
    from bioimage_py import morphology

    source = _open(case, "binary")
    output = _create(case.output, source.shape, "float32", case.chunk)
    # the peer's are exact up to its halo, which is wide enough here
    halo = None if _is_ours() else (case.block // 8,) * 3
    morphology.distance_transform(source, halo, distances=output, **_run(case))


def _is_ours() -> bool:
    import bioimage_py as bp

    return hasattr(bp, "pyramid")


def fill_holes(case: Case) -> None:
    import bioimage_py as bp

    source = _open(case, "shells")
    output = _create(case.output, source.shape, source.dtype, case.chunk)
    if _is_ours():
        bp.morphology.fill_holes(source, output, **_run(case))
        return
    # as a user of the peer does it: background that reaches the border is outside
    labels = _create(f"{case.output}-labels", source.shape, "uint64", case.chunk)
    outside = bp.wrapper.ThresholdSource(source, 1, np.less)
    bp.segmentation.label(outside, labels, **_run(case))
    border = [labels[(slice(None),) * axis + (end,)] for axis in range(3) for end in (0, -1)]
    ids = np.unique(np.concatenate([side.ravel() for side in border]))
    holes = bp.wrapper.SimpleTransformationSource(labels, partial(_not_among, ids[ids > 0]), dtype="uint8")
    bp.copy(holes, output, **_run(case))


def _not_among(ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.isin(labels, ids, invert=True).astype(np.uint8)


def erosion(case: Case) -> None:
    import bioimage_py as bp

    source = _open(case, "binary")
    output = _create(case.output, source.shape, "bool", case.chunk)
    ball = _ball(2)
    if _is_ours():
        bp.morphology.binary_erosion(source, output, footprint=ball, **_run(case))
        return
    from scipy import ndimage

    shrink: Any = partial(ndimage.binary_erosion, structure=ball)
    bp.copy(bp.wrapper.SimpleTransformationWithHaloSource(source, shrink, (2,) * 3, dtype="bool"), output, **_run(case))


def _ball(radius: int) -> np.ndarray:
    at = np.arange(-radius, radius + 1) ** 2
    return np.asarray(at[:, None, None] + at[:, None] + at <= radius**2)


def local_maxima(case: Case) -> list[int]:
    from bioimage_py import morphology

    found = np.asarray(morphology.find_local_maxima(_open(case, "height"), min_distance=3, **_run(case)))
    return [len(found), *map(int, found.sum(axis=0))]


def regionprops(case: Case) -> list[int]:
    from bioimage_py import morphology

    source, run = _open(case, "cells"), _run(case)
    if _is_ours():
        found = morphology.regionprops(source, **run)
    else:
        table = morphology.morphology(source, **run)
        del run["block_shape"]
        found = morphology.regionprops(source, table, verbose=False, **run)
    return [len(found), round(float(found["axis_major_length"].sum()))]


def contacts(case: Case) -> list[int]:
    from bioimage_py import segmentation

    found = segmentation.contacts(_open(case, "cells"), **_run(case))
    return [len(found), int(found["faces"].sum())]


def stitch(case: Case) -> None:
    from bioimage_py import segmentation

    source, run = _open(case, "binary"), _run(case)
    output = _create(case.output, source.shape, "uint64", case.chunk)
    tile, overlap = run.pop("block_shape"), (case.block // 8,) * 3
    segmentation.stitch_segmentation(source, _components, tile, overlap, output, **run)


def _components(tile: np.ndarray, _: int) -> np.ndarray:
    from scipy import ndimage

    return np.asarray(ndimage.label(tile)[0], np.uint64)


def stitch_tiles(case: Case) -> None:
    from bioimage_py import segmentation

    source, run = _open(case, "tiles"), _run(case)
    output = _create(case.output, source.shape, "uint64", case.chunk)
    segmentation.stitch_tiled_segmentation(source, run.pop("block_shape"), output, **run)


def object_vi(case: Case) -> list[float]:
    from bioimage_py import evaluation

    found = evaluation.object_vi(_open(case, "tiles"), _open(case, "cells"), **_run(case))
    parts = sorted(float(found[name].sum()) for name in found.columns if name != "label" and "label" not in name)
    return [len(found), *(round(part, 3) for part in parts)]


def segment(case: Case) -> None:
    import bioimage_py as bp

    walls, run = _open(case, "walls"), _run(case)
    if _is_ours():
        bp.workflows.segment(walls, case.output, method="multicut", progress=False, **run)
        return
    # as a user of the peer does it, who has no graph: seeds deep inside, and a watershed
    smooth, inside, distance, deep, seeds, labels = (
        _create(f"{case.output}{name}", walls.shape, dtype, case.chunk)
        for name, dtype in (
            ("-smooth", "float32"),
            ("-inside", "uint8"),
            ("-distance", "float32"),
            ("-deep", "uint8"),
            ("-seeds", "uint64"),
            ("/0", "uint64"),
        )
    )
    bp.filters.gaussian_smoothing(walls, 1.5, smooth, **run)
    bp.operations.less(smooth, 40, inside, **run)
    bp.morphology.distance_transform(inside, distances=distance, halo=(case.block // 8,) * 3, **run)
    bp.operations.greater(distance, 3.0, deep, **run)
    bp.segmentation.label(deep, seeds, **run)
    bp.segmentation.watershed(smooth, seeds, labels, halo=(case.block // 4,) * 3, **run)


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
    "distance": distance,
    "fill holes": fill_holes,
    "erosion": erosion,
    "local maxima": local_maxima,
    "regionprops": regionprops,
    "contacts": contacts,
    "stitch": stitch,
    "stitch tiles": stitch_tiles,
    "object vi": object_vi,
    "segment": segment,
    "empty 20k": partial(_empty, blocks=20_000),
    "empty 1m": partial(_empty, blocks=1_000_000),
}
