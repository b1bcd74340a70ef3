"""Every operation gives the same bits on every backend, and what it promises against the whole array."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import PipelineError
from bioimage_py.io.create import create_array

SHAPE = (40, 44, 52)
CHUNKS = (16, 16, 16)
BLOCKS = (16, 32, 16)


CROSS = np.zeros((3, 3, 3), bool)
CROSS[1, 1, :] = CROSS[1, :, 1] = CROSS[:, 1, 1] = True


def _spread(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Looks two voxels far; at the border of the volume only at what is there."""
    sums = one.astype(np.float32) + other
    for axis in range(sums.ndim):
        padded = np.pad(sums, [(2, 2) if axis == along else (0, 0) for along in range(sums.ndim)], mode="edge")
        sums = np.lib.stride_tricks.sliding_window_view(padded, 5, axis).max(-1)
    return sums


@dataclass(frozen=True)
class Case:
    """An operation: ``call(inputs, output, keywords)``; the output's data type, None where it writes nothing."""

    name: str
    call: Callable[..., Any]
    dtype: str | None = None
    tolerance: float | None = 0.0
    shape: tuple[int, ...] = SHAPE


def tilted(batch: np.ndarray) -> np.ndarray:
    """A model whose values depend on where a voxel lies in its tile."""
    return np.asarray(batch + np.arange(batch.shape[-1], dtype=np.float32))


def predict(v: dict[str, Any], out: Any, k: dict[str, Any]) -> Any:
    tiles: dict[str, Any] = {"tile": 20, "overlap": 8, "margin": 2, "batch": 2, "normalize": "standard"}
    return bp.inference.predict(v["raw"], tilted, out, **tiles, **k)


def _channels(v: dict[str, Any]) -> Any:
    """Affinities of four offsets."""
    return bp.wrapper.StackSource(v["raw"], v["raw"], v["raw"], v["few"], axis=0)


OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, -3)]


def _partition(v: dict[str, Any], k: dict[str, Any]) -> Any:
    """Parts of a graph in cells of 16 voxels, with constraints."""
    how = {name: value for name, value in k.items() if name not in ("block_shape", "mask", "roi")}
    graph = bp.graph.region_graph(v["few"], v["raw"], **k)
    constraints = bp.graph.Constraints(cut=[(1, 2)], join=[(3, 9)])
    found = bp.graph.multicut(graph, bp.graph.costs(graph), cell_shape=16, constraints=constraints, **how)
    return (found.parts, *found.energies)


CASES = [
    Case("copy", lambda v, out, k: bp.copy(v["raw"], out, **k), "uint8"),
    Case("gaussian", lambda v, out, k: bp.filters.gaussian_smoothing(v["raw"], 1.5, out, **k), "float32", 1e-3),
    *(
        Case(
            name,
            lambda v, out, k, name=name: bp.filters.apply_filter(v["raw"], name, 1.2, out, outer_scale=1.0, **k),
            "float32",
            2e-2 if name.startswith("structure") else 2e-3,
            shape=(3, *SHAPE) if name.endswith("eigenvalues") else SHAPE,
        )
        for name in (
            "gaussian_gradient_magnitude",
            "laplacian_of_gaussian",
            "hessian_of_gaussian_eigenvalues",
            "structure_tensor_eigenvalues",
        )
    ),
    Case("bands", lambda v, out, k: bp.filters.difference_of_gaussians(v["raw"], 0.8, None, out, **k), "float32", 1e-3),
    Case("contrast", lambda v, out, k: bp.filters.normalize_local_contrast(v["raw"], 1.5, out, **k), "float32", 1e-5),
    Case("median", lambda v, out, k: bp.filters.median(v["ids"], (3, 2, 5), out, **k), "uint64"),
    Case("percentile", lambda v, out, k: bp.filters.percentile(v["smooth"], 20, 3, out, **k), "float32"),
    Case("rank", lambda v, out, k: bp.filters.rank(v["raw"], -2, None, out, footprint=CROSS, **k), "uint8"),
    Case("white tophat", lambda v, out, k: bp.filters.white_tophat(v["raw"], 5, out, **k), "uint8"),
    Case("black tophat", lambda v, out, k: bp.filters.black_tophat(v["smooth"], 4, out, **k), "float32"),
    Case("own kernel", lambda v, out, k: bp.map(_spread, [v["raw"], v["few"]], out, halo=2, **k), "float32", 1e-6),
    Case(
        "downsample", lambda v, out, k: bp.downsample(v["raw"], 2, out, method="mean", **k), "uint8", shape=(20, 22, 26)
    ),
    Case("mode", lambda v, out, k: bp.downsample(v["ids"], 2, out, method="mode", **k), "uint64", shape=(20, 22, 26)),
    Case("label", lambda v, out, k: bp.segmentation.label(v["raw"], out, threshold=140, connectivity=3, **k), "uint64"),
    Case("multi", lambda v, out, k: bp.segmentation.label(v["ids"], out, multi_label=True, **k), "uint64"),
    Case(
        "watershed",
        lambda v, out, k: bp.segmentation.watershed(v["smooth"], v["seeds"], out, halo=4, **k),
        "uint64",
        None,
    ),
    Case(
        "watershed once", lambda v, out, k: bp.segmentation.watershed(v["smooth"], v["seeds"], out, **k), "uint64", None
    ),
    Case(
        "distance watershed",
        lambda v, out, k: bp.segmentation.distance_watershed(v["raw"], out, min_size=9, **k),
        "uint64",
        None,
    ),
    Case("region graph", lambda v, out, k: _tables(bp.graph.region_graph(v["few"], v["raw"], **k))),
    Case(
        "mutex watershed",
        lambda v, out, k: bp.segmentation.mutex_watershed(_channels(v), OFFSETS, out, **k),
        "uint64",
        None,
    ),
    Case("multicut", lambda v, out, k: _partition(v, k)),
    Case("predict", predict, "float32"),
    Case("relabel", lambda v, out, k: bp.segmentation.relabel(v["few"], np.arange(300) * 7, out, **k), "uint64"),
    Case(
        "relabel dict",
        lambda v, out, k: bp.segmentation.relabel(v["few"], {i: i * 2**50 for i in range(40)}, out, **k),
        "uint64",
    ),
    Case("consecutive", lambda v, out, k: bp.segmentation.relabel_consecutive(v["ids"], out, **k), "uint64"),
    Case("size filter", lambda v, out, k: bp.segmentation.size_filter(v["few"], out, min_size=30, **k), "uint64"),
    Case("largest", lambda v, out, k: bp.segmentation.keep_largest(v["ids"], out, n=3, **k), "uint64"),
    Case(
        "border", lambda v, out, k: bp.segmentation.remove_border_objects(v["seeds"], out, buffer_size=5, **k), "uint64"
    ),
    Case("split", lambda v, out, k: bp.segmentation.split_disconnected(v["ids"], out, **k), "uint64"),
    Case("majority", lambda v, out, k: bp.segmentation.majority(v["ids"], out, size=(3, 1, 5), **k), "uint64"),
    Case(
        "merge labels", lambda v, out, k: bp.segmentation.merge_labels(v["few"], [(3, 5), (5, 9)], out, **k), "uint64"
    ),
    Case("intersect", lambda v, out, k: bp.segmentation.intersect(v["few"], v["ids"], **k)),
    Case("contacts", lambda v, out, k: bp.segmentation.contacts(v["ids"], sampling=(2.0, 1.0, 0.5), **k)),
    Case(
        "stitch",
        lambda v, out, k: bp.segmentation.stitch_segmentation(
            v["smooth"], lambda tile, _: bp.segmentation.label(tile > 127, progress=False), (20, 24, 30), 4, out, **k
        ),
        "uint64",
    ),
    Case(
        "stitch tiled",
        lambda v, out, k: bp.segmentation.stitch_tiled_segmentation(v["few"], (20, 22, 26), out, unique=False, **k),
        "uint64",
    ),
    Case("add", lambda v, out, k: bp.operations.add(v["raw"], v["few"], out, **k), "uint16"),
    Case("multiply", lambda v, out, k: bp.operations.multiply(v["raw"], 3, out, **k), "uint16"),
    Case("greater", lambda v, out, k: bp.operations.greater(v["raw"], 120, out, **k), "bool"),
    Case("isin", lambda v, out, k: bp.operations.isin(v["few"], [3, 5, 7], out, **k), "bool"),
    Case("min", lambda v, out, k: bp.stats.min(v["raw"], **k)),
    Case("max", lambda v, out, k: bp.stats.max(v["ids"], **k)),
    Case("mean", lambda v, out, k: bp.stats.mean(v["raw"], **k)),
    Case("std", lambda v, out, k: bp.stats.std(v["smooth"], **k), None, 1e-9),
    Case("summary", lambda v, out, k: bp.stats.summary(v["smooth"], **k), None, 1e-9),
    Case("unique", lambda v, out, k: bp.stats.unique(v["ids"], return_counts=True, **k)),
    Case("contingency", lambda v, out, k: bp.evaluation.contingency_table(v["few"], v["ids"], **k)),
    Case("vi", lambda v, out, k: bp.evaluation.variation_of_information(v["few"], v["ids"], **k)),
    Case("morphology", lambda v, out, k: _columns(bp.morphology.morphology(v["ids"], **k))),
    Case(
        "regionprops",
        lambda v, out, k: bp.morphology.regionprops(
            v["few"], compute_surface=True, intensity_image=v["smooth"], percentiles=(50,), **k
        ).to_numpy(float),
        None,
        1e-6,
    ),
    Case("distances", lambda v, out, k: bp.morphology.distance_transform(_rare(v), distances=out, **k), "float32"),
    Case("maxima", lambda v, out, k: bp.morphology.find_local_maxima(v["smooth"], min_distance=2, **k)),
    Case("points", lambda v, out, k: bp.morphology.map_points_to_objects(v["seeds"], POINTS, **_unmasked(k))),
    Case("erosion", lambda v, out, k: bp.morphology.binary_erosion(_rare(v), out, iterations=2, **k), "bool"),
    Case("dilation", lambda v, out, k: bp.morphology.binary_dilation(v["seeds"], out, iterations=2, **k), "bool"),
    Case("opening", lambda v, out, k: bp.morphology.binary_opening(_rare(v), out, **k), "bool"),
    Case("closing", lambda v, out, k: bp.morphology.binary_closing(v["seeds"], out, iterations=2, **k), "bool"),
    Case("fill holes", lambda v, out, k: bp.morphology.fill_holes(v["few"], out, **k), "uint8"),
    Case("small holes", lambda v, out, k: bp.morphology.remove_small_holes(v["few"], out, max_size=99, **k), "uint8"),
    Case(
        "small objects",
        lambda v, out, k: bp.morphology.remove_small_objects(v["few"], out, max_size=2256, **k),
        "uint8",
    ),
    Case("expand", lambda v, out, k: bp.morphology.expand_labels(v["seeds"], 3, out, **k), "uint64"),
    Case("object vi", lambda v, out, k: bp.evaluation.object_vi(v["few"], v["ids"], **k)),
    Case("cremi", lambda v, out, k: bp.evaluation.cremi_score(v["few"], v["ids"], **k)),
    Case("dice", lambda v, out, k: bp.evaluation.dice_score(v["few"], v["ids"], **k)),
    Case("best dice", lambda v, out, k: bp.evaluation.symmetric_best_dice_score(v["few"], v["ids"], **k)),
    Case("matching", lambda v, out, k: bp.evaluation.matching(v["few"], v["ids"], **k)),
    Case("accuracy", lambda v, out, k: bp.evaluation.mean_segmentation_accuracy(v["few"], v["ids"], **k)),
    Case("precision", lambda v, out, k: bp.evaluation.average_precision(v["few"], v["ids"], **k)),
    Case("pairs", lambda v, out, k: bp.evaluation.matched_pairs(v["few"], v["ids"], **k)),
    Case("centroids", lambda v, out, k: bp.evaluation.centroid_matching(v["few"], v["ids"], distance_threshold=1, **k)),
    Case("hausdorff", lambda v, out, k: bp.evaluation.hausdorff_distance(v["seeds"], v["seeds"], **k)),
    Case("rand", lambda v, out, k: bp.evaluation.rand_index(v["few"], v["ids"], **k)),
    *(
        Case(
            f"affine {order}",
            lambda v, out, k, n=order: bp.transformation.affine(
                v["smooth"], None, out, rotation=(4, 9, 20), translation=(2.5, 8, -6), order=n, **k
            ),
            "float32",
        )
        for order in (1, 2, 3)
    ),
    Case(
        "affine ids",
        lambda v, out, k: bp.transformation.affine(v["ids"], None, out, rotation=(9, 5, 30), **k),
        "uint64",
    ),
    Case(
        "resample",
        lambda v, out, k: bp.transformation.resample(v["raw"], out, scale=(0.5, 1.5, 0.75), order=1, **k),
        "uint8",
        shape=(20, 66, 39),
    ),
    Case(
        "resample ids",
        lambda v, out, k: bp.transformation.resample(v["ids"], out, shape=(33, 50, 61), **k),
        "uint64",
        shape=(33, 50, 61),
    ),
    Case(
        "warp",
        lambda v, out, k: bp.transformation.warp(v["raw"], v["field"], out, displacement=True, order=1, **k),
        "uint8",
    ),
    Case(
        "rotate90",
        lambda v, out, k: bp.transformation.rotate90(v["ids"], 1, out, plane="zx", **k),
        "uint64",
        shape=(52, 44, 40),
    ),
    Case("flip", lambda v, out, k: bp.transformation.flip(v["raw"], "y", out, **k), "uint8"),
    Case(
        "transpose",
        lambda v, out, k: bp.transformation.transpose(v["raw"], "xzy", out, **k),
        "uint8",
        shape=(52, 40, 44),
    ),
    Case(
        "crop",
        lambda v, out, k: bp.transformation.crop(v["raw"], (slice(3, 36), slice(5, 40)), out, **k),
        "uint8",
        shape=(33, 35, 52),
    ),
    Case(
        "pad",
        lambda v, out, k: bp.transformation.pad(v["raw"], [(3, 4), 5, 0], out, mode="reflect", **k),
        "uint8",
        shape=(47, 49, 52),
    ),
]


def _tables(graph: bp.graph.RegionGraph) -> tuple[np.ndarray, ...]:
    tables = (graph.nodes, graph.edges)
    return tuple(getattr(table, column.name) for table in tables for column in fields(table))


POINTS = np.random.default_rng(0).integers(0, 40, (50, 3))


def _columns(frame: Any) -> dict[str, Any]:
    return {name: frame[name].tolist() for name in frame}


def _rare(volumes: dict[str, Any]) -> Any:
    """Little background: distances are larger than blocks."""
    from bioimage_py.wrapper import ThresholdSource

    return ThresholdSource(volumes["smooth"], 119.0)


def _unmasked(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if name != "mask"}


def _volumes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 256, SHAPE).astype(np.uint8)
    with bp.execution("local"):
        smooth = np.asarray(bp.filters.gaussian_smoothing(raw.astype(np.float32), 2.0))
    few = (np.arange(np.prod(SHAPE)).reshape(SHAPE) // 97 % 40).astype(np.uint8)
    ids = few.astype(np.uint64) + np.uint64(2**60)
    ids[few == 0] = 0
    seeds = np.zeros(SHAPE, np.uint64)
    seeds[4::8, 4::8, 4::8] = np.arange(1, seeds[4::8, 4::8, 4::8].size + 1).reshape(seeds[4::8, 4::8, 4::8].shape)
    field = (rng.random((3, *SHAPE)) * 9 - 4).astype(np.float32)
    return {"raw": raw, "smooth": smooth, "few": few, "ids": ids, "seeds": seeds, "field": field}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inputs")
    arrays = {}
    for name, data in _volumes().items():
        chunks = (3,) * (data.ndim - 3) + CHUNKS
        arrays[name] = zarr.create_array(folder / "in.zarr" / name, shape=data.shape, chunks=chunks, dtype=data.dtype)
        arrays[name][...] = data
    return arrays


@pytest.fixture(scope="module")
def pool() -> Iterator[None]:
    with bp.execution("subprocess", num_workers=2, progress=False):
        yield


def _output(case: Case, folder: Path) -> Any:
    if case.dtype is None:
        return None
    return create_array(
        folder / "out.zarr", "x", shape=case.shape, dtype=case.dtype, chunks=(1, *CHUNKS)[-len(case.shape) :]
    )


def _value(result: Any, output: Any) -> list[Any]:
    if output is not None:
        rest = list(result[1:]) if isinstance(result, tuple) else []
        return [np.asarray(output), *rest]
    if is_dataclass(result):
        return [getattr(result, field.name) for field in fields(result)]
    return list(result) if isinstance(result, tuple) else [result]


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_bits_on_every_backend(case: Case, stored: dict[str, Any], pool: None, tmp_path: Path) -> None:
    results = []
    for backend, workers in (("local", 1), ("local", 3), ("subprocess", 2)):
        output = _output(case, tmp_path / f"{backend}{workers}")
        with_blocks = {"block_shape": BLOCKS, "job_type": backend, "num_workers": workers}
        results.append(_value(case.call(stored, output, with_blocks), output))
    assert _same(results[0], results[1]), "local with one and with three workers"
    assert _same(results[0], results[2]), "local and subprocess"
    if case.tolerance is not None:
        volumes = {name: np.asarray(array[...]) for name, array in stored.items()}
        output = None if case.dtype is None else np.zeros(case.shape, case.dtype)
        with bp.execution("local"):
            whole = _value(case.call(volumes, output, {"job_type": "local", "num_workers": 1}), output)
        for ours, exact in zip(results[0], whole, strict=True):
            if isinstance(exact, dict):
                assert ours == exact
            else:
                np.testing.assert_allclose(
                    np.asarray(ours), np.asarray(exact), rtol=case.tolerance, atol=case.tolerance
                )


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, dict[str, Any]]]:
    """Processes of others: a cluster of Dask, and a pool."""
    distributed = pytest.importorskip("distributed")
    spawn = multiprocessing.get_context("spawn")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        ProcessPoolExecutor(2, mp_context=spawn) as pool,
    ):
        yield {
            "dask": {"job_type": "dask", "job_config": bp.runner.DaskConfig(cluster=cluster.scheduler_address)},
            "executor": {"job_type": "executor", "job_config": bp.runner.ExecutorConfig(executor=pool)},
        }


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_bits_in_processes_of_others(
    case: Case, stored: dict[str, Any], hosts: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    results = []
    for name, how in {"local": {"job_type": "local"}, **hosts}.items():
        output = _output(case, tmp_path / name)
        with_blocks = {"block_shape": BLOCKS, "num_workers": 2, "progress": False, **how}
        results.append(_value(case.call(stored, output, with_blocks), output))
    assert _same(results[0], results[1]), "local and dask"
    assert _same(results[0], results[2]), "local and executor"


IN_PLACE = [
    ("add", lambda a, k: bp.operations.add(a, 1, a, **k)),
    ("relabel", lambda a, k: bp.segmentation.relabel(a, np.arange(200) + 1, **k)),
    ("consecutive", lambda a, k: bp.segmentation.relabel_consecutive(a, **k)),
    ("largest", lambda a, k: bp.segmentation.keep_largest(a, a, n=4, **k)),
    ("border", lambda a, k: bp.segmentation.remove_border_objects(a, a, axes=[0], **k)),
    ("merge labels", lambda a, k: bp.segmentation.merge_labels(a, [(3, 6), (9, 6)], a, **k)),
    ("stitch tiled", lambda a, k: bp.segmentation.stitch_tiled_segmentation(a, (20, 22, 26), a, **k)),
]


@pytest.mark.parametrize(("name", "call"), IN_PLACE, ids=[name for name, _ in IN_PLACE])
def test_same_bits_in_place(name: str, call: Callable[..., Any], pool: None, tmp_path: Path) -> None:
    few = _volumes()["few"] * np.uint8(3)
    results = []
    for backend, workers in (("local", 1), ("local", 3), ("subprocess", 2)):
        array = create_array(tmp_path / f"{backend}{workers}.zarr", "x", shape=SHAPE, dtype=np.uint8, chunks=CHUNKS)
        array[...] = few
        call(array, {"block_shape": BLOCKS, "job_type": backend, "num_workers": workers})
        results.append(np.asarray(array))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    assert not np.array_equal(results[0], few)


OVERLAPPING = {
    *("copy", "gaussian", "watershed", "add", "multiply", "greater", "isin", "relabel", "relabel dict", "rank"),
    *("median", "percentile", "white tophat", "black tophat", "gaussian_gradient_magnitude", "laplacian_of_gaussian"),
    *("hessian_of_gaussian_eigenvalues", "structure_tensor_eigenvalues", "bands", "contrast", "own kernel"),
    *("majority", "merge labels", "dilation", "closing", "expand", "crop"),
}
"""Operations of one stage, of which every block reads a box of the input."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_bits_in_an_overlap_or_it_is_refused(case: Case, stored: dict[str, Any], tmp_path: Path) -> None:
    """Each operation behind calls that write its inputs, of other block shapes."""
    how = {"block_shape": BLOCKS, "job_type": "local", "num_workers": 3}
    refused = None
    with bp.pipeline(tmp_path / "p", job_type="local", progress=False, num_workers=3) as p:
        try:
            with p.overlap():
                inputs = {
                    name: bp.copy(array, p.scratch(name), block_shape=(*array.shape[:-3], 32, 16, 16))
                    for name, array in stored.items()
                }
                lapped = _output(case, tmp_path / "lapped")
                case.call(inputs, lapped, how)
        except PipelineError as error:
            refused = error
    assert (refused is None) == (case.name in OVERLAPPING), refused
    if refused is None:
        plain = _output(case, tmp_path / "plain")
        case.call(stored, plain, how)
        assert _same([np.asarray(lapped)], [np.asarray(plain)])
