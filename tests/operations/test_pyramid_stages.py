"""Levels that share a stage: the same bits, and which they are."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import AliasError, BlockShapeError, MemoryBudgetError
from bioimage_py.io import create_array
from bioimage_py.sources import as_source
from bioimage_py.wrapper import CastSource, RoiSource, WrapperSource

from ..sources.precomputed.precomputed_layers import new_layer
from .pyramid_levels import QUIET, levels_of, same_bits, shapes_of, stages_of, units_written_once, voxels, zarrs

# --- the same bits -------------------------------------------------------------------------------------------------

SIZES = st.integers(1, 37)
POWERS = st.sampled_from([1, 2, 4, 4, 8, 8, 3])
FACTORS = st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * 3), st.just((1, 2, 2)))
TYPES = st.sampled_from(
    ["mean b1", "mean u1", "mean i2", "mean f4", "mean u8", "mode u8", "mode b1", "stride f8", "stride u8"]
)


@st.composite
def kinds(draw: Any) -> tuple[str, tuple[int, ...], tuple[int, ...] | None]:
    """Format, chunks and shards of a level."""
    kind = draw(st.sampled_from(["zarr", "zarr", "zarr", "n5", "numpy"]))
    chunks = draw(st.tuples(POWERS, POWERS, POWERS))
    turns = draw(st.one_of(st.none(), st.tuples(*[st.integers(1, 3)] * 3))) if kind == "zarr" else None
    return kind, chunks, turns and tuple(c * t for c, t in zip(chunks, turns, strict=True))


@pytest.mark.slow
@settings(max_examples=70, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.tuples(SIZES, SIZES, SIZES),
    factors=st.lists(FACTORS, min_size=1, max_size=4),
    types=TYPES,
    kind=st.lists(kinds(), min_size=4, max_size=4),
    block=st.one_of(st.none(), st.just(8), st.just(16), st.tuples(POWERS, POWERS, POWERS)),
    workers=st.integers(1, 3),
)
def test_any_pyramid_is_a_downsample_per_level(
    tmp_path_factory: Any, shape: Any, factors: Any, types: str, kind: Any, block: Any, workers: int
) -> None:
    folder, method, dtype = tmp_path_factory.mktemp("pyramid"), *types.split()
    array = voxels(shape, dtype)
    outputs: list[Any] = []
    for number, level in enumerate(shapes_of(shape, factors)):
        name, chunks, shards = kind[number]
        if name == "numpy":
            outputs.append(np.zeros(level, dtype))
        elif name == "n5" and dtype == "b1":
            outputs.append(create_array(folder / "z.zarr", str(number), shape=level, dtype=dtype, chunks=chunks))
        else:
            path = folder / ("z.zarr" if name == "zarr" else "z.n5")
            outputs.append(create_array(path, str(number), shape=level, dtype=dtype, chunks=chunks, shards=shards))
    source = create_array(folder / "in.zarr", "a", shape=shape, dtype=dtype, chunks=(8, 8, 8))
    source[...] = array
    with units_written_once(outputs):
        try:
            bp.pyramid(source, factors, outputs, method=method, block_shape=block, num_workers=workers, **QUIET)
        except BlockShapeError:
            assume(False)
    same_bits(outputs, levels_of(array, factors, method))


@pytest.mark.parametrize("method", ["mean", "mode", "stride"])
def test_worker_processes(method: Any, tmp_path: Path) -> None:
    array = voxels((61, 50, 70), "u8")
    source = create_array(tmp_path / "in.zarr", "a", shape=array.shape, dtype="u8", chunks=(16,) * 3)
    source[...] = array
    factors = [2, (1, 2, 2), 3]
    outputs = zarrs(tmp_path, array.shape, factors, "u8", (8, 8, 8))
    how: dict[str, Any] = {"method": method, "block_shape": (16, 16, 16), "job_type": "subprocess", "num_workers": 2}
    assert stages_of(source, factors, outputs, **how) == ["levels 1-2", "level 3"]
    bp.pyramid(source, factors, outputs, **how, **QUIET)
    same_bits(outputs, levels_of(array, factors, method))


# --- which levels share a stage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "factors", "chunks", "how", "expected"),
    [
        ((128, 128, 128), [2] * 4, 16, {"block_shape": 32}, ["levels 1-2", "levels 3-4"]),
        ((128, 128, 128), [2] * 4, 16, {"block_shape": 16}, ["level 1", "level 2", "levels 3-4"]),
        ((128, 128, 128), [2] * 4, 8, {"block_shape": 32}, ["levels 1-3", "level 4"]),
        ((125, 127, 121), [2] * 4, 16, {"block_shape": 32}, ["levels 1-2", "levels 3-4"]),
        ((128, 128, 128), [2] * 4, 16, {"block_shape": 24}, ["level 1", "level 2", "levels 3-4"]),
        ((128, 128, 128), [(1, 2, 2)] * 3, 16, {"block_shape": (16, 32, 32)}, ["levels 1-2", "level 3"]),
        ((128, 128, 128), [2, 3], 16, {"block_shape": 48}, ["levels 1-2"]),
        ((128, 128, 128), [2, 1, 2], 16, {"block_shape": 32}, ["levels 1-3"]),
        ((32, 32, 32), [2] * 4, 16, {}, ["levels 1-4"]),
        ((128, 128, 128), [2, 2], 16, {"block_shape": 32, "num_workers": 64}, ["levels 1-2"]),
    ],
)
def test_levels_that_a_block_completes_share_a_stage(
    shape: Any, factors: Any, chunks: int, how: Any, expected: list[str], tmp_path: Path
) -> None:
    source = create_array(tmp_path / "in.zarr", "a", shape=shape, dtype="u1", chunks=(16,) * 3)
    outputs = zarrs(tmp_path, shape, factors, "u1", (chunks,) * 3)
    assert stages_of(source, factors, outputs, **how) == expected


def test_large_shards_and_other_types_have_a_stage_of_their_own(tmp_path: Path) -> None:
    source = create_array(tmp_path / "in.zarr", "a", shape=(128,) * 3, dtype="u1", chunks=(16,) * 3)

    def stages(*more: dict[str, Any]) -> list[str]:
        outputs = [
            create_array(tmp_path / f"{next(counter)}.zarr", "a", shape=(128 >> n,) * 3, **{**plain, **one})
            for n, one in enumerate(more, 1)
        ]
        return stages_of(source, [2] * len(more), outputs, block_shape=32)

    counter, plain = itertools.count(), {"dtype": "u1", "chunks": (8, 8, 8)}
    assert stages(plain, plain, plain) == ["levels 1-3"]
    assert stages(plain, {"shards": (16,) * 3}, plain) == ["levels 1-3"]
    assert stages(plain, {"shards": (32,) * 3}, plain) == ["level 1", "levels 2-3"]
    assert stages({"shards": (32,) * 3}, plain, plain) == ["levels 1-3"]
    assert stages({"dtype": "f4"}, {"dtype": "f4"}, plain) == ["level 1", "level 2", "level 3"]
    assert stages(plain, {"dtype": "u2"}, {"dtype": "u2"}) == ["level 1", "level 2", "level 3"]


def test_a_plan_tells_what_the_levels_take(tmp_path: Path) -> None:
    source = create_array(tmp_path / "in.zarr", "a", shape=(128,) * 3, dtype="u2", chunks=(16,) * 3)
    outputs: list[Any] = zarrs(tmp_path, (128,) * 3, [2, 2], "u2", (16,) * 3)
    (stage,) = bp.pyramid(source, [2, 2], outputs, block_shape=32, plan=True).stages
    assert stage.bytes_written == (64**3 + 32**3) * 2
    assert stage.files_written == 4**3 + 2**3
    (alone,) = bp.downsample(source, 2, outputs[0], method="mean", block_shape=32, plan=True).stages
    assert stage.block_bytes > alone.block_bytes, "the second level is held as well"
    (stage,) = bp.pyramid(source, [2, 2], [np.zeros(o.shape, "u2") for o in outputs], num_workers=2, plan=True).stages
    assert (stage.bytes_written, stage.files_written) == ((64**3 + 32**3) * 2, 0)


def test_a_pyramid_beyond_the_budget_is_refused_with_a_call_that_fits(tmp_path: Path) -> None:
    array = voxels((128,) * 3, "u1")
    source = create_array(tmp_path / "in.zarr", "a", shape=array.shape, dtype="u1", chunks=(16,) * 3)
    source[...] = array
    outputs = zarrs(tmp_path, array.shape, [2, 2], "u1", (16,) * 3)
    budget = bp.pyramid(source, [2, 2], outputs, block_shape=16, plan=True).promised_bytes
    with pytest.raises(MemoryBudgetError, match="stage 'levels 1-2'") as error:
        bp.pyramid(source, [2, 2], outputs, block_shape=32, memory=4 * budget, **QUIET)
    name, _, value = error.value.remedy.partition("=")
    assert name == "block_shape"
    bp.pyramid(source, [2, 2], outputs, memory=4 * budget, block_shape=ast.literal_eval(value), **QUIET)
    same_bits(outputs, levels_of(array, [2, 2], "mean"))


# --- values that a level stores, and where ---------------------------------------------------------------------------


class Halved(WrapperSource):
    """A storage that loses the lowest bit."""

    @property
    def writable(self) -> bool:
        return True

    def _getitem(self, roi: Any) -> np.ndarray:
        return self._source._getitem(roi)

    def _setitem(self, roi: Any, value: np.ndarray) -> None:
        self._source._setitem(roi, value // 2 * 2)


@pytest.mark.parametrize("kind", ["halved", "cast", "float", "jpeg"])
def test_a_level_is_made_of_what_the_level_above_stores(kind: str, tmp_path: Path) -> None:
    array = np.random.default_rng(3).integers(0, 250, (64, 60, 62)).astype("u1")
    source = create_array(tmp_path / "in.zarr", "a", shape=array.shape, dtype="u1", chunks=(16,) * 3)
    source[...] = array
    both = []
    for name in ("one", "other"):
        types = ["f4", "f4"] if kind == "float" else ["u1", "u1"]
        outputs: list[Any] = [
            create_array(tmp_path / name, str(n), shape=level, dtype=dtype, chunks=(8,) * 3)
            for n, level, dtype in zip(range(2), shapes_of(array.shape, [2, 2]), types, strict=True)
        ]
        if kind == "halved":
            outputs[0] = Halved(outputs[0])
        elif kind == "cast":
            outputs[0] = CastSource(outputs[0], "u1")
        elif kind == "jpeg":
            size = shapes_of(array.shape, [2])[0][::-1]
            layer = new_layer(tmp_path / f"{name} layer", size=size, dtype="uint8", encoding="jpeg", chunk=(8, 8, 8))
            outputs[0] = bp.open_cloudvolume(layer)
        both.append(outputs)
    assert stages_of(source, [2, 2], both[0], block_shape=16) == ["level 1", "level 2"]
    bp.pyramid(source, [2, 2], both[0], block_shape=16, **QUIET)
    same_bits(both[0], levels_of(source, [2, 2], "mean", both[1]))


def test_a_level_that_can_only_be_the_last_of_its_stage(tmp_path: Path) -> None:
    array = voxels((64,) * 3, "u1")
    outputs: list[Any] = zarrs(tmp_path, array.shape, [2, 2, 2], "u1", (8,) * 3)
    outputs[1] = Halved(outputs[1])
    assert stages_of(as_source(array), [2, 2, 2], outputs, block_shape=16) == ["levels 1-2", "level 3"]
    bp.pyramid(array, [2, 2, 2], outputs, block_shape=16, **QUIET)
    again: list[Any] = zarrs(tmp_path / "again", array.shape, [2, 2, 2], "u1", (8,) * 3)
    again[1] = Halved(again[1])
    same_bits(outputs, levels_of(array, [2, 2, 2], "mean", again))


@pytest.mark.slow
def test_levels_in_other_formats_and_places(tmp_path: Path) -> None:
    array = voxels((64, 60, 52), "u2")
    shapes = shapes_of(array.shape, [2, 2, 2])
    size = shapes[1][::-1]
    layer = new_layer(tmp_path / "layer", size=size, dtype="uint16", offset=(3, 5, 7), chunk=(8, 8, 8))
    whole = create_array(tmp_path / "n5.n5", "a", shape=(20, 30, 40), dtype="u2", chunks=(4, 4, 4))
    outputs = [
        create_array(tmp_path / "z.zarr", "a", shape=shapes[0], dtype="u2", chunks=(8,) * 3),
        bp.open_cloudvolume(layer),
        RoiSource(whole, tuple(slice(4 * n, 4 * n + size) for n, size in enumerate(shapes[2], 1))),
    ]
    assert stages_of(as_source(array), [2, 2, 2], outputs, block_shape=16, num_workers=2) == ["levels 1-3"]
    bp.pyramid(array, [2, 2, 2], outputs, block_shape=16, num_workers=2, **QUIET)
    expected = levels_of(array, [2, 2, 2], "mean")
    same_bits(outputs, expected)
    outside = np.asarray(whole[...])
    outside[tuple(slice(4 * n, 4 * n + size) for n, size in enumerate(shapes[2], 1))] = 0
    assert not outside.any()


def test_levels_in_one_array_are_refused_or_apart_as_they_were(tmp_path: Path) -> None:
    """Only a stage that reads what it writes elsewhere is refused; the first and the third level may share an array."""
    array = voxels((64,) * 3, "u1")
    big = create_array(tmp_path / "big.zarr", "a", shape=(32, 32, 64), dtype="u1", chunks=(8,) * 3)
    first, third = RoiSource(big, (slice(0, 32),) * 3), RoiSource(big, (slice(0, 8), slice(0, 8), slice(32, 40)))
    second = create_array(tmp_path / "second.zarr", "a", shape=(16,) * 3, dtype="u1", chunks=(8,) * 3)
    assert stages_of(as_source(array), [2, 2, 2], [first, second, third], block_shape=32) == ["levels 1-2", "level 3"]
    bp.pyramid(array, [2, 2, 2], [first, second, third], block_shape=32, **QUIET)
    same_bits([first, second, third], levels_of(array, [2, 2, 2], "mean"))
    with pytest.raises(AliasError):
        bp.pyramid(array, [2, 2], [first, RoiSource(big, (slice(0, 16), slice(0, 16), slice(32, 48)))], block_shape=16)


def test_hdf5_levels(tmp_path: Path) -> None:
    h5py, array = pytest.importorskip("h5py"), voxels((40, 41, 42), "u2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        outputs = [
            file.create_dataset(str(n), shape=level, dtype="u2", chunks=(4, 4, 4))
            for n, level in enumerate(shapes_of(array.shape, [2, 2]))
        ]
        bp.pyramid(array, [2, 2], outputs, block_shape=16, num_workers=2, **QUIET)
        same_bits(outputs, levels_of(array, [2, 2], "mean"))
