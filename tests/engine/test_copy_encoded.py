"""Copies of encoded chunks: the same voxels as by decoding them, and never a voxel more than was asked for."""

from __future__ import annotations

import itertools
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.blocks import Block
from bioimage_py.errors import BlockShapeError, ReadOnlyError, RegionError, RunnerError, StorageError
from bioimage_py.io import create_array
from bioimage_py.runner.worker.outputs import GuardedOutput
from bioimage_py.sources import open_source
from bioimage_py.sources.array import ArraySource
from bioimage_py.sources.chunked.encoded import ChunkFiles, EncodedChunks
from bioimage_py.wrapper import CastSource, RoiSource

SHAPE, CHUNKS, SHARDS = (19, 20, 33), (4, 5, 8), (8, 10, 16)
N_CHUNKS, N_SHARDS = 5 * 4 * 5, 3 * 2 * 3
QUIET: dict[str, Any] = {"progress": False, "retries": 0}
ABSENT = (slice(8, 16), slice(0, 10), slice(16, 32))
"""A whole shard, which the source never stores."""


def voxels(shape: tuple[int, ...] = SHAPE, dtype: Any = "u2", *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)


def filled(array: Any, *, seed: int = 0) -> np.ndarray:
    """Fill an array but for one shard; what it holds then."""
    data = voxels(array.shape, np.dtype(array.dtype).newbyteorder("="), seed=seed)
    data[ABSENT] = array.fill_value if hasattr(array, "fill_value") else 0
    array[...] = data
    return data


def stored(folder: Path) -> dict[str, bytes]:
    """Every chunk or shard of an array by its position."""
    names = {"zarr.json", ".zarray", ".zattrs", "attributes.json"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in names]
    return {str(path.relative_to(folder)).removeprefix("c/").replace(".", "/"): path.read_bytes() for path in files}


def zarr_array(path: Path, **how: Any) -> Any:
    options = {"shape": SHAPE, "chunks": CHUNKS, "dtype": "u2", **how}
    return zarr.create_array(path, **options)


def n5_array(path: Path, dtype: str = "u2", compressor: str = "gzip") -> Any:
    return create_array(path, shape=SHAPE, chunks=CHUNKS, dtype=dtype, format="n5", compressor=compressor)


def opened(path: Path | str, mode: str = "r+") -> Any:
    return open_source(path, mode=mode)


DOTS, SLASHES = {"name": "v2", "separator": "."}, {"name": "v2", "separator": "/"}
ALIKE: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], int]] = {
    "v3": (lambda p: zarr_array(p), lambda p: zarr_array(p), N_CHUNKS),
    "v3-float-fill": (
        lambda p: zarr_array(p, dtype="f4", fill_value=np.nan),
        lambda p: zarr_array(p, dtype="f4", fill_value=np.nan),
        N_CHUNKS,
    ),
    "v3-names": (
        lambda p: zarr_array(p, dtype="u8"),
        lambda p: zarr_array(p, dtype="u8", chunk_key_encoding=DOTS, attributes={"a": 1}, dimension_names="zyx"),
        N_CHUNKS,
    ),
    "v2-big-endian": (
        lambda p: zarr_array(p, dtype=">u2", zarr_format=2),
        lambda p: zarr_array(p, dtype=">u2", zarr_format=2, chunk_key_encoding=SLASHES),
        N_CHUNKS,
    ),
    "v2-fortran-fill": (
        lambda p: zarr_array(p, dtype="i8", zarr_format=2, order="F", fill_value=7, compressors=None),
        lambda p: zarr_array(p, dtype="i8", zarr_format=2, order="F", fill_value=7, compressors=None),
        N_CHUNKS,
    ),
    "sharded": (lambda p: zarr_array(p, shards=SHARDS), lambda p: zarr_array(p, shards=SHARDS), N_SHARDS),
    "n5": (lambda p: n5_array(p, "u1"), lambda p: n5_array(p, "u1"), N_CHUNKS),
    "n5-raw": (lambda p: n5_array(p, "f4", "raw"), lambda p: n5_array(p, "f4", "raw"), N_CHUNKS),
}


@pytest.mark.parametrize("name", ALIKE)
def test_the_stored_bytes_are_the_same(tmp_path: Path, moved: list[tuple[int, ...]], name: str) -> None:
    make, make_other, units = ALIKE[name]
    data, old = filled(make(tmp_path / "in")), make_other(tmp_path / "out")
    old[...] = voxels(dtype=data.dtype, seed=1)
    assert len(stored(tmp_path / "out")) == units
    bp.copy(opened(tmp_path / "in", "r"), opened(tmp_path / "out"), block_shape=SHARDS, num_workers=2, **QUIET)
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], data)
    np.testing.assert_array_equal(opened(tmp_path / "in")[...], data)
    assert len(moved) == len(set(moved)) == units
    assert stored(tmp_path / "out") == stored(tmp_path / "in")
    assert len(stored(tmp_path / "out")) < units, "what the source never stored is gone from the output"


ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
OTHERS: dict[str, dict[str, Any]] = {
    "level": {"compressors": {"name": "zstd", "configuration": {"level": 3, "checksum": False}}},
    "checksum": {"compressors": {"name": "zstd", "configuration": {"level": 0, "checksum": True}}},
    "codec": {"compressors": {"name": "gzip", "configuration": {"level": 1}}},
    "fill": {"fill_value": 3},
    "chunks": {"chunks": (4, 5, 16)},
    "dtype": {"dtype": "u4"},
    "byte order": {"serializer": {"name": "bytes", "configuration": {"endian": "big"}}},
    "axis order": {"filters": {"name": "transpose", "configuration": {"order": [2, 1, 0]}}},
    "format": {"zarr_format": 2},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_encoded_otherwise_is_decoded(tmp_path: Path, moved: list[tuple[int, ...]], what: str) -> None:
    data = filled(zarr_array(tmp_path / "in", compressors=ZSTD))
    target = zarr_array(tmp_path / "out", **{"compressors": None if what == "format" else ZSTD, **OTHERS[what]})
    target[...] = 9
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=SHARDS, num_workers=2, **QUIET)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out")[...], data)
    assert not moved


def test_shards_that_differ_inside_are_decoded(tmp_path: Path, moved: list[tuple[int, ...]]) -> None:
    data = filled(zarr_array(tmp_path / "in", shards=SHARDS))
    zarr_array(tmp_path / "out", shards=SHARDS, chunks=(8, 5, 8))
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=SHARDS, **QUIET)
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], data)
    assert not moved


def test_masks_views_and_caches_are_decoded(tmp_path: Path, moved: list[tuple[int, ...]]) -> None:
    data = filled(zarr_array(tmp_path / "in"))
    zarr_array(tmp_path / "wide", shape=(38, 20, 33))[:19] = data
    source, view = opened(tmp_path / "in"), RoiSource(opened(tmp_path / "wide"), slice(0, 19))
    half = np.zeros(SHAPE, "u1")
    half[:, 10:] = 1
    runs: list[tuple[Any, dict[str, Any]]] = [
        (source, {"mask": half}),
        (view, {}),
        (CastSource(source, "u4"), {}),
        (source, {"cache": 2**20}),
    ]
    for number, (one, how) in enumerate(runs):
        out = tmp_path / f"out{number}"
        zarr_array(out)[...] = 9
        bp.copy(one, opened(out), block_shape=SHARDS, **how, **QUIET)
        np.testing.assert_array_equal(opened(out)[...], np.where(half, data, 9) if "mask" in how else data)
    assert not moved


class Negative(ArraySource):
    """A stored array of which something else is read."""

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return 200 - super()._getitem(roi)

    _viewitem = _getitem


def test_a_source_that_reads_something_else_than_is_stored(tmp_path: Path, moved: list[tuple[int, ...]]) -> None:
    zarr_array(tmp_path / "in", dtype="i2")[...] = voxels(dtype="i2")
    zarr_array(tmp_path / "out", dtype="i2")
    source = Negative(zarr.open_array(tmp_path / "in", mode="r"))
    bp.copy(source, opened(tmp_path / "out"), block_shape=SHARDS, **QUIET)
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], 200 - voxels(dtype="i2"))
    assert not moved


def test_blocks_that_cut_or_share_units_are_decoded(tmp_path: Path, moved: list[tuple[int, ...]]) -> None:
    data = filled(zarr_array(tmp_path / "in", shards=SHARDS))
    zarr_array(tmp_path / "out", shards=SHARDS)
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=CHUNKS, **QUIET)
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], data)
    assert not moved


def test_only_whole_units_of_a_region_are_moved(tmp_path: Path, moved: list[tuple[int, ...]]) -> None:
    data = filled(zarr_array(tmp_path / "in"))
    zarr_array(tmp_path / "out")[...] = 9
    roi = (slice(2, 19), slice(0, 20), slice(16, 33))
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=SHARDS, roi=roi, **QUIET)
    expected = np.full(SHAPE, 9, "u2")
    expected[roi] = data[roi]
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], expected)
    assert {position[0] for position in moved} == {2, 3, 4}, "the blocks above 8 are whole, up to the end"


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    ndim = draw(st.integers(1, 3))
    sizes = [draw(st.integers(1, 14)) for _ in range(ndim)]
    chunks = [draw(st.integers(1, 5)) for _ in range(ndim)]
    times = [draw(st.integers(1, 2)) for _ in range(ndim)]
    blocks = [
        draw(st.sampled_from([draw(st.integers(1, 9)), c * t, 2 * c * t])) for c, t in zip(chunks, times, strict=True)
    ]
    ends = [sorted((draw(st.integers(0, n)), draw(st.integers(0, n)))) for n in sizes]
    roi = tuple(slice(b, e) if b < e else slice(0, n) for (b, e), n in zip(ends, sizes, strict=True))
    return tuple(sizes), chunks, times, blocks, draw(st.sampled_from([None, roi])), draw(st.integers(1, 3))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), kind=st.sampled_from(["zarr", "sharded", "n5"]), workers=st.integers(1, 2))
def test_voxels_outside_the_region_stay(tmp_path: Path, case: tuple[Any, ...], kind: str, workers: int) -> None:
    shape, chunks, times, blocks, roi, every = case
    shards = [c * t for c, t in zip(chunks, times, strict=True)] if kind == "sharded" else None
    data, old = voxels(shape, "u1"), voxels(shape, "u1", seed=1)
    data[tuple(slice(0, c) for c in chunks)] = 0
    arrays = []
    for name, content in (("in", data), ("out", old)):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        how = {"format": "n5"} if kind == "n5" else {"shards": shards}
        arrays.append(create_array(tmp_path / name, shape=shape, chunks=chunks, dtype="u1", **how))
        arrays[-1][...] = content
    how = {"block_shape": blocks, "roi": roi, "num_workers": workers, "resume": "never", **QUIET}
    try:
        plan = bp.copy(*arrays, plan=True, **how)
        bp.copy(*arrays, block_ids=range(0, plan.stages[0].n_blocks, every), **how)
    except BlockShapeError:  # too many blocks share a unit
        return
    now, inside = arrays[1][...], np.zeros(shape, bool)
    inside[roi or ...] = True
    np.testing.assert_array_equal(now[~inside], old[~inside])
    assert ((now == old) | (now == data)).all()
    if every == 1:
        np.testing.assert_array_equal(now[inside], data[inside])


def recompressed(folder: Path) -> dict[str, bytes]:
    """Store the chunks of an array with zstd at another level, which no encoder would do; what is stored then."""
    from numcodecs import Zstd

    for path in (folder / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(Zstd(level=19).encode(Zstd().decode(path.read_bytes())))
    return stored(folder)


def stored_as_given(tmp_path: Path, **how: Any) -> None:
    """Copy from one folder to another; the voxels and the stored bytes are the same."""
    data = filled(zarr_array(tmp_path / "in"))
    given = recompressed(tmp_path / "in")
    zarr_array(tmp_path / "out")[...] = 9
    assert not set(stored(tmp_path / "out").values()) & set(given.values())
    bp.copy(opened(tmp_path / "in", "r"), opened(tmp_path / "out"), block_shape=SHARDS, **{**QUIET, **how})
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], data)
    assert stored(tmp_path / "out") == given


@pytest.mark.parametrize("read_ahead", [False, True])
def test_worker_processes(tmp_path: Path, read_ahead: bool) -> None:
    stored_as_given(tmp_path, job_type="subprocess", num_workers=2, read_ahead=read_ahead)


def test_a_worker_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").touch()
    monkeypatch.setenv("BIOIMAGE_PY_FAULT", f"after-write:3:{tmp_path / 'token'}")
    stored_as_given(tmp_path, job_type="subprocess", num_workers=2, retries=1)
    assert not (tmp_path / "token").exists(), "nobody was killed"


def waits(store: Any) -> bool:
    """Whether what is written to a key-value store waits for the disk."""
    return bool(store.spec(retain_context=True).to_json()["file_io_sync"])


@pytest.mark.slow
def test_the_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[bool, bool]] = set()
    take = EncodedChunks.take

    def noted(self: EncodedChunks, other: EncodedChunks) -> None:
        assert isinstance(self.holder, ChunkFiles)
        assert isinstance(other.holder, ChunkFiles)
        seen.add((waits(other.holder.store), waits(self.holder.store)))
        take(self, other)

    monkeypatch.setattr(EncodedChunks, "take", noted)
    stored_as_given(tmp_path, durability="node")
    assert seen == {(False, True)}, "what is written, not what is read"
    seen.clear()
    for name in ("in", "out"):
        shutil.rmtree(tmp_path / name)
    stored_as_given(tmp_path, durability="process")
    assert seen == {(False, False)}


def test_the_same_call_continues(tmp_path: Path) -> None:
    data = filled(zarr_array(tmp_path / "in"))
    zarr_array(tmp_path / "out")
    bad = tmp_path / "out" / "c" / "1" / "1" / "1"
    bad.mkdir(parents=True)  # a chunk cannot be put in the place of a folder
    call = {"block_shape": CHUNKS, "num_workers": 2, **QUIET}
    with pytest.raises(RunnerError, match="'c/1/1/1'") as error:
        bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), **call)
    assert error.value.failed_block_ids == [4 * 5 + 5 + 1]
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*") if path.is_file()}
    bad.rmdir()
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), **call)
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], data)
    assert {path for path in before if path.exists() and path.stat().st_ino != before[path]} == set()
    assert stored(tmp_path / "out") == stored(tmp_path / "in")


def test_in_place(tmp_path: Path) -> None:
    data = filled(zarr_array(tmp_path / "in"))
    before = stored(tmp_path / "in")
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "in"), block_shape=SHARDS, **QUIET)
    np.testing.assert_array_equal(opened(tmp_path / "in")[...], data)
    assert stored(tmp_path / "in") == before


def test_a_look_at_a_copy_writes_nothing(tmp_path: Path, moved: list[tuple[int, ...]]) -> None:
    filled(zarr_array(tmp_path / "in"))
    zarr_array(tmp_path / "out")
    bp.copy(opened(tmp_path / "in"), opened(tmp_path / "out"), block_shape=SHARDS, debug=True, **QUIET)
    assert not moved
    assert not stored(tmp_path / "out")


# --- what keeps neighbours safe ------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, Any]:
    filled(zarr_array(tmp_path / "in"))
    zarr_array(tmp_path / "out")[...] = 9
    return opened(tmp_path / "in"), opened(tmp_path / "out")


def test_a_block_replaces_its_own_units_only(pair: tuple[Any, Any], moved: list[tuple[int, ...]]) -> None:
    source, target = pair
    guarded = GuardedOutput(target, "checked")
    guarded.enter(Block([0, 0, 0], [8, 10, 16], 0))
    own = (slice(0, 8), slice(0, 10), slice(0, 16))
    for axis, size in itertools.product(range(3), (1, 8)):
        beyond = tuple(slice(p.start, p.stop + size) if axis == i else p for i, p in enumerate(own))
        with pytest.raises(RegionError, match="its own block"):
            guarded.copy_encoded(beyond, source)
    assert not moved
    assert guarded.copy_encoded(own, source)
    assert len(moved) == 8
    assert (target[8:] == 9).all()


def test_a_box_that_cuts_a_unit_is_not_replaced(pair: tuple[Any, Any], moved: list[tuple[int, ...]]) -> None:
    source, target = pair
    for cut in [(slice(1, 4), slice(0, 5), slice(0, 8)), (slice(0, 4), slice(0, 5), slice(0, 33 - 2))]:
        assert not target.encoded(cut)
        assert not target.copy_encoded(cut, source)
    assert not moved
    assert (target[...] == 9).all()
    edge = (slice(16, 19), slice(15, 20), slice(32, 33))
    assert target.copy_encoded(edge, source)
    assert len(moved) == 1


def test_a_read_only_output_is_refused(pair: tuple[Any, Any], tmp_path: Path) -> None:
    whole = tuple(slice(0, n) for n in SHAPE)
    with pytest.raises(ReadOnlyError):
        opened(tmp_path / "out", "r").copy_encoded(whole, pair[0])


def test_a_handle_that_keeps_chunks_sees_the_new_ones(pair: tuple[Any, Any], moved: list[tuple[int, ...]]) -> None:
    source, target = pair
    keeping = target.fresh(cache_bytes=2**24)
    assert (keeping[...] == 9).all()
    bp.copy(source, keeping, block_shape=SHARDS, **QUIET)
    np.testing.assert_array_equal(keeping[...], source[...])
    assert not moved


def test_a_damaged_chunk_raises_where_the_copy_is_read(pair: tuple[Any, Any], tmp_path: Path) -> None:
    source, target = pair
    for name in ("c/0/0/0", "c/0/0/1"):
        content = (tmp_path / "in" / name).read_bytes()
        (tmp_path / "in" / name).write_bytes(content[:9] if name.endswith("0") else b"")
    bp.copy(source, target, block_shape=SHARDS, **QUIET)
    for array, begin in itertools.product((source, target), (0, 8)):
        with pytest.raises(StorageError, match="Cannot read"):
            array[0, 0, begin]
    np.testing.assert_array_equal(target[4:], source[4:])


# --- stores --------------------------------------------------------------------------------------------------------


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder))
    return target


@pytest.mark.parametrize("store", ["zip", "http", "memory"])
def test_from_one_store_to_another(tmp_path: Path, web_server: Any, moved: list[tuple[int, ...]], store: str) -> None:
    folder = web_server.folder / "in.zarr"
    data = filled(zarr_array(folder))
    recompressed(folder)
    out = zarr_array(tmp_path / "out")
    out[...] = 9
    urls: dict[str, str] = {"http": f"{web_server.url}/in.zarr", "memory": f"memory://{tmp_path.name}/in.zarr"}
    if store == "zip":
        urls["zip"] = str(zipped(folder, tmp_path / "in.zarr.zip"))
    if store == "memory":
        held = create_array(urls["memory"], shape=SHAPE, chunks=CHUNKS, dtype="u2")
        held[...] = 9
        bp.copy(opened(folder), held, block_shape=SHARDS, **QUIET)
        assert len(moved) == N_CHUNKS
        moved.clear()
    bp.copy(opened(urls[store], "r"), opened(tmp_path / "out"), block_shape=SHARDS, num_workers=2, **QUIET)
    assert len(moved) == N_CHUNKS
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], data)
    assert stored(tmp_path / "out") == stored(folder)


def test_a_server_that_fails_is_named(tmp_path: Path, web_server: Any) -> None:
    filled(zarr_array(web_server.folder / "in.zarr"))
    zarr_array(tmp_path / "out")
    web_server.faults["c/1/1/1"] = [403]
    source = opened(f"{web_server.url}/in.zarr", "r")
    with pytest.raises(RunnerError, match=r"(?s)Cannot read 'c/1/1/1' of http://.*403"):
        bp.copy(source, opened(tmp_path / "out"), block_shape=SHARDS, **QUIET)


def test_buckets(tmp_path: Path, s3: str, moved: list[tuple[int, ...]]) -> None:
    data = filled(zarr_array(tmp_path / "in"))
    given = recompressed(tmp_path / "in")
    bucket = create_array(f"{s3}/a.zarr", shape=SHAPE, chunks=CHUNKS, dtype="u2")
    bucket[...] = 9
    bp.copy(opened(tmp_path / "in"), bucket, block_shape=SHARDS, **QUIET)
    zarr_array(tmp_path / "out")[...] = 7
    bp.copy(opened(f"{s3}/a.zarr", "r"), opened(tmp_path / "out"), block_shape=SHARDS, **QUIET)
    assert len(moved) == 2 * N_CHUNKS
    np.testing.assert_array_equal(opened(tmp_path / "out")[...], data)
    assert stored(tmp_path / "out") == given
