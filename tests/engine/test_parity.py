"""Every operation gives the same bits on every backend, and what it promises against the whole array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.io.create import create_array

SHAPE = (40, 44, 52)
CHUNKS = (16, 16, 16)
BLOCKS = (16, 32, 16)


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


CASES = [
    Case("copy", lambda v, out, k: bp.copy(v["raw"], out, **k), "uint8"),
    Case("gaussian", lambda v, out, k: bp.filters.gaussian_smoothing(v["raw"], 1.5, out, **k), "float32", 1e-3),
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
    Case("predict", predict, "float32"),
    Case("relabel", lambda v, out, k: bp.segmentation.relabel(v["few"], np.arange(300) * 7, out, **k), "uint64"),
    Case(
        "relabel dict",
        lambda v, out, k: bp.segmentation.relabel(v["few"], {i: i * 2**50 for i in range(40)}, out, **k),
        "uint64",
    ),
    Case("consecutive", lambda v, out, k: bp.segmentation.relabel_consecutive(v["ids"], out, **k), "uint64"),
    Case("size filter", lambda v, out, k: bp.segmentation.size_filter(v["few"], out, min_size=30, **k), "uint64"),
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
    Case("rand", lambda v, out, k: bp.evaluation.rand_index(v["few"], v["ids"], **k)),
]


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
    return {"raw": raw, "smooth": smooth, "few": few, "ids": ids, "seeds": seeds}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inputs")
    arrays = {}
    for name, data in _volumes().items():
        arrays[name] = zarr.create_array(folder / "in.zarr" / name, shape=data.shape, chunks=CHUNKS, dtype=data.dtype)
        arrays[name][...] = data
    return arrays


@pytest.fixture(scope="module")
def pool() -> Iterator[None]:
    with bp.execution("subprocess", num_workers=2, progress=False):
        yield


def _output(case: Case, folder: Path) -> Any:
    if case.dtype is None:
        return None
    return create_array(folder / "out.zarr", "x", shape=case.shape, dtype=case.dtype, chunks=CHUNKS)


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


IN_PLACE = [
    ("add", lambda a, k: bp.operations.add(a, 1, a, **k)),
    ("relabel", lambda a, k: bp.segmentation.relabel(a, np.arange(200) + 1, **k)),
    ("consecutive", lambda a, k: bp.segmentation.relabel_consecutive(a, **k)),
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
