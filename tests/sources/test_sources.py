"""ArraySource over every kind of array: what it says, reading, writing, reopening, threads, damage."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import (
    KeyNotFoundError,
    NotReopenableError,
    ReadOnlyError,
    SourceNotFoundError,
    SourceTypeError,
    StorageError,
)
from bioimage_py.sources import ArraySource, Axis, Source, SourceSpec, as_source, from_spec
from bioimage_py.sources.arrays import tensor_handle
from bioimage_py.sources.arrays.tensor_handle import TensorHandle
from bioimage_py.sources.arrays.tensorstore import ChunkedBacking
from bioimage_py.sources.stores.location import Location

h5py = pytest.importorskip("h5py")
z5py = pytest.importorskip("z5py")
zarr = pytest.importorskip("zarr")

SHAPE, CHUNKS = (20, 30, 40), (8, 10, 16)
Maker = Callable[[Path, np.ndarray, str], Any]


def data() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60000, SHAPE).astype(np.uint16)


def make_zarr(path: Path, array: np.ndarray, mode: str, **kwargs: Any) -> Any:
    options = {"chunks": CHUNKS, "zarr_format": 3, **kwargs}
    made = zarr.create_array(path / "c.zarr", name="a/b", shape=array.shape, dtype=array.dtype, **options)
    made[...] = array
    return zarr.open_group(path / "c.zarr", mode=mode)["a/b"]


def make_zarr2(path: Path, array: np.ndarray, mode: str) -> Any:
    return make_zarr(path, array, mode, zarr_format=2, order="F")


def make_sharded(path: Path, array: np.ndarray, mode: str) -> Any:
    return make_zarr(path, array, mode, chunks=(4, 5, 8), shards=(8, 10, 16))


def make_n5(path: Path, array: np.ndarray, mode: str, name: str = "c.n5") -> Any:
    with z5py.File(path / name, "a") as file:
        file.create_dataset("a/b", data=array, chunks=CHUNKS, compression="gzip")
    return z5py.File(path / name, mode)["a/b"]


def make_z5py_zarr(path: Path, array: np.ndarray, mode: str) -> Any:
    return make_n5(path, array, mode, "z5.zarr")


def make_hdf5(path: Path, array: np.ndarray, mode: str) -> Any:
    with h5py.File(path / "c.h5", "w") as file:
        file.create_dataset("a/b", data=array, chunks=CHUNKS)
    return h5py.File(path / "c.h5", mode)["a/b"]


ON_DISK: dict[str, Maker] = {
    "zarr3": make_zarr,
    "zarr2": make_zarr2,
    "sharded": make_sharded,
    "n5": make_n5,
    "z5py-zarr": make_z5py_zarr,
    "hdf5": make_hdf5,
}
CHUNKED = [name for name in ON_DISK if name != "hdf5"]


@pytest.fixture(params=list(ON_DISK))
def maker(request: pytest.FixtureRequest) -> Maker:
    return ON_DISK[request.param]


def read_in_worker(spec: SourceSpec) -> tuple[np.ndarray, bool, tuple[int, ...] | None]:
    source = from_spec(spec)
    found = source.read(), source.writable, source.write_chunks
    source.close()
    return found


def write_in_worker(spec: SourceSpec) -> None:
    with from_spec(spec) as source:
        source[3:9, ::2, -1] = 7


@pytest.fixture(scope="module")
def spawned() -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_reading_and_what_it_says(tmp_path: Path, maker: Maker, mode: str) -> None:
    array = data()
    handle = maker(tmp_path, array, mode)
    source = as_source(handle)
    assert isinstance(source, ArraySource)
    assert source.array is handle
    assert source.shape == SHAPE
    assert source.dtype == np.uint16
    assert source.ndim == 3
    assert source.size == array.size
    assert source.chunks == tuple(handle.chunks)
    assert source.write_chunks == CHUNKS
    assert source.writable is (mode == "r+")
    assert source.grid_origin == (0, 0, 0)
    assert source.concurrency == ("single-writer" if maker is make_hdf5 else "aligned")
    np.testing.assert_array_equal(source[...], array)
    for index in [(3,), (slice(2, 19), slice(7, 8), slice(None, None, -3)), (..., 5), (slice(5, 5),), (-1, None, 2)]:
        np.testing.assert_array_equal(source[index], array[index])


def test_writing(tmp_path: Path, maker: Maker) -> None:
    array = data()
    handle = maker(tmp_path, array, "r+")
    source = as_source(handle)
    rng = np.random.default_rng(1)
    for index in [
        (slice(3, 17), slice(11, 12)),
        (0,),
        (..., -1),
        (slice(None, None, 3), 4, slice(30, 2, -2)),
        (None, 2),
    ]:
        value = rng.integers(0, 1000, array[index].shape[-1:])
        source[index] = value
        array[index] = value
    np.testing.assert_array_equal(source[...], array)
    np.testing.assert_array_equal(from_spec(source.to_spec())[...], array)
    np.testing.assert_array_equal(np.asarray(handle[...]), array)


def test_read_only_handles_refuse_writes(tmp_path: Path, maker: Maker) -> None:
    source = as_source(maker(tmp_path, data(), "r"))
    with pytest.raises(ReadOnlyError, match="read-only"):
        source[0] = 1
    again = from_spec(source.to_spec())
    assert not again.writable
    with pytest.raises(TypeError):
        again[0] = 1
    assert source.to_spec().params["mode"] == "r"
    np.testing.assert_array_equal(again[...], data())


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_reopening_in_a_spawned_process(tmp_path: Path, maker: Maker, mode: str, spawned: Any) -> None:
    handle = maker(tmp_path, data(), mode)
    source = as_source(handle)
    spec = SourceSpec.from_json(source.to_spec().to_json())
    assert os.path.isabs(spec.path or "")
    if maker is make_hdf5:
        handle.file.close()  # HDF5 lets nobody else in while one writes
    found, writable, write_chunks = spawned.submit(read_in_worker, spec).result(60)
    np.testing.assert_array_equal(found, data())
    assert writable is (mode == "r+")
    assert write_chunks == CHUNKS
    if mode == "r+":
        spawned.submit(write_in_worker, spec).result(60)
        expected = data()
        expected[3:9, ::2, -1] = 7
        np.testing.assert_array_equal(from_spec(spec)[...], expected)


@pytest.mark.parametrize("name", CHUNKED)
def test_pickled_by_description(tmp_path: Path, name: str) -> None:
    source = as_source(ON_DISK[name](tmp_path, data(), "r+"))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[1, 2], data()[1, 2])
    with pytest.raises(NotReopenableError):
        pickle.dumps(as_source(data()))


@pytest.mark.parametrize("mode", ["w", "w-", "a"])
def test_specs_never_hold_a_mode_that_creates(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "c.zarr"
    group = zarr.open_group(path, mode=mode)
    array = group.create_array("x", shape=(4,), chunks=(2,), dtype="u1")
    array[...] = 5
    spec = as_source(array).to_spec()
    assert spec == SourceSpec("zarr", str(path), "x", {"mode": "r+"})
    assert from_spec(spec)[...].tolist() == [5, 5, 5, 5]
    with z5py.File(tmp_path / "c.n5", {"w-": "x"}.get(mode, mode)) as file:
        dataset = file.create_dataset("x", data=np.full(4, 5, np.uint8), chunks=(2,))
        spec = as_source(dataset).to_spec()
    assert spec == SourceSpec("z5py", str(tmp_path / "c.n5"), "x", {"mode": "r+"})
    assert from_spec(spec)[...].tolist() == [5, 5, 5, 5]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = zarr.create_array("rel.zarr", shape=(4,), chunks=(2,), dtype="u1")
    source = as_source(array)
    spec = source.to_spec()
    monkeypatch.chdir("/")
    assert spec.path == str(tmp_path / "rel.zarr")
    source[1] = 3
    assert from_spec(spec)[...].tolist() == [0, 3, 0, 0]


def test_identity(tmp_path: Path, maker: Maker) -> None:
    handle = maker(tmp_path, data(), "r+")
    source = as_source(handle)
    other = maker(tmp_path / "other", data(), "r") if (tmp_path / "other").mkdir() is None else None
    assert source.identity == as_source(handle).identity
    assert source.identity == from_spec(source.to_spec()).identity
    assert source.identity == source.fresh().identity
    assert source.identity != as_source(other).identity
    hash(source.identity)


def test_identity_through_links_and_groups(tmp_path: Path) -> None:
    make_zarr(tmp_path, data(), "r")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "c.zarr")
    direct = as_source(zarr.open_array(tmp_path / "c.zarr" / "a" / "b"))
    linked = as_source(zarr.open_group(tmp_path / "link.zarr")["a"]["b"])
    assert direct.identity == linked.identity
    by_z5py = as_source(zarr.open_array(tmp_path / "c.zarr", path="a/b", mode="r"))
    assert by_z5py.identity == direct.identity


def test_identity_of_memory(tmp_path: Path) -> None:
    base = np.zeros((6, 8), np.uint8)
    assert as_source(base).identity == as_source(base[2:, ::-1].T).identity
    assert as_source(base).identity == as_source(base.view(np.int8)[1:].reshape(-1)).identity
    assert as_source(base).identity != as_source(base.copy()).identity
    buffer = bytearray(100)
    assert as_source(np.frombuffer(buffer, "u1")).identity == as_source(np.frombuffer(buffer, "u1", offset=20)).identity
    path = tmp_path / "map"
    first = np.memmap(path, "u1", "w+", shape=(10,))
    second = np.memmap(path, "u1", "r", shape=(10,))
    assert as_source(first).identity == as_source(second[3:]).identity


def test_numpy(tmp_path: Path) -> None:
    array = data()
    source = as_source(array)
    assert source.chunks is None
    assert source.write_chunks is None
    assert source.concurrency == "any"
    assert source.writable
    source[0] = 9
    assert (array[0] == 9).all()
    array.flags.writeable = False
    assert not source.writable
    with pytest.raises(ReadOnlyError):
        source[0] = 1
    with pytest.raises(NotReopenableError, match=r"numpy array in memory .*\n.*open_source"):
        source.to_spec()
    assert not as_source(np.memmap(tmp_path / "x", "u1", "w+", shape=3)[:].view(np.ndarray)[:0]).size
    assert [axis.name for axis in source.axes] == ["z", "y", "x"]
    assert [axis.name for axis in as_source(np.zeros((1, 1, 1, 1))).axes] == ["d0", "z", "y", "x"]


@pytest.mark.parametrize("kind", ["memory", "zip"])
def test_zarr_in_other_stores(tmp_path: Path, kind: str) -> None:
    store = zarr.storage.MemoryStore() if kind == "memory" else zarr.storage.ZipStore(tmp_path / "c.zip", mode="w")
    array = zarr.create_array(
        store, shape=SHAPE, chunks=(4, 5, 8), shards=(8, 10, 16), dtype="u2", dimension_names=["t", "y", "x"]
    )
    source = as_source(array)
    source[...] = data()
    assert source.array is array
    assert (source.chunks, source.shards, source.concurrency) == ((4, 5, 8), (8, 10, 16), "aligned")
    assert source.axes == (Axis("t", "time"), Axis("y"), Axis("x"))
    np.testing.assert_array_equal(source[2:9, ::-2], data()[2:9, ::-2])
    assert source.identity == as_source(array).identity
    with pytest.raises(NotReopenableError, match=r"zarr array in a (Memory|Zip)Store .*\n.*local folder"):
        source.to_spec()
    store.close()


def test_memory_store_opened_read_only() -> None:
    store = zarr.storage.MemoryStore()
    zarr.create_array(store, shape=(3,), dtype="u1")[...] = 1
    source = as_source(zarr.open_array(store, mode="r"))
    assert not source.writable
    with pytest.raises(ReadOnlyError):
        source[0] = 1
    assert source.identity == as_source(zarr.open_array(store, mode="r+")).identity


def test_arrays_that_tensorstore_cannot_open(tmp_path: Path) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    array = make_zarr(tmp_path, data(), "r+", zarr_format=2, filters=[numcodecs.Delta("u2")])
    source = as_source(array)
    np.testing.assert_array_equal(source[3:7, 2], data()[3:7, 2])
    source[3] = 1
    again = from_spec(source.to_spec())
    assert (again[3] == 1).all()
    np.testing.assert_array_equal(again[4:], data()[4:])
    structured = zarr.create_array(tmp_path / "s.zarr", shape=(3,), dtype=[("a", "u1"), ("b", "f4")], zarr_format=2)
    structured[0] = (1, 2.0)
    assert as_source(structured)[0].tolist() == (1, 2.0)


def test_n5_codec_that_tensorstore_lacks(tmp_path: Path) -> None:
    with z5py.File(tmp_path / "l.n5", "a") as file:
        file.create_dataset("x", data=data(), chunks=CHUNKS, compression="lz4")
    source = from_spec(SourceSpec("z5py", str(tmp_path / "l.n5"), "x", {"mode": "r+"}))
    source[:, 1] = 3
    expected = data()
    expected[:, 1] = 3
    np.testing.assert_array_equal(source[...], expected)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u8", "f2", "f4", "c8", ">u2", "i8"])
@pytest.mark.parametrize("version", [2, 3])
def test_data_types(tmp_path: Path, dtype: str, version: int) -> None:
    array = zarr.create_array(tmp_path / "d.zarr", shape=(5, 5), chunks=(2, 2), dtype=dtype, zarr_format=version)
    expected = (np.arange(25).reshape(5, 5) % 2).astype(dtype)
    source = as_source(array)
    source[...] = expected
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    found = from_spec(source.to_spec())
    assert found.dtype == source.dtype
    assert found[...].dtype == source.dtype
    np.testing.assert_array_equal(found[...], expected)
    np.testing.assert_array_equal(array[...], expected)


def test_large_ids_survive(tmp_path: Path) -> None:
    ids = np.array([720575940612345601, 720575940612345602, 2**64 - 1], np.uint64)
    source = as_source(zarr.create_array(tmp_path / "i.zarr", shape=(3,), chunks=(2,), dtype="u8"))
    source[...] = ids
    assert from_spec(source.to_spec())[...].tolist() == ids.tolist()


def test_arrays_without_axes_and_empty_ones(tmp_path: Path) -> None:
    scalar = as_source(zarr.create_array(tmp_path / "0.zarr", shape=(), dtype="f4"))
    scalar[()] = 2.5
    assert scalar[...].shape == ()
    assert from_spec(scalar.to_spec())[()] == 2.5
    empty = as_source(zarr.create_array(tmp_path / "e.zarr", shape=(0, 4), chunks=(1, 2), dtype="f4"))
    assert empty[...].shape == (0, 4)
    empty[...] = 1


@pytest.mark.parametrize("name", CHUNKED)
def test_unwritten_chunks_read_as_fill_value(tmp_path: Path, name: str) -> None:
    array = data()
    array[:8] = 0
    source = as_source(ON_DISK[name](tmp_path, array, "r+"))
    np.testing.assert_array_equal(source[...], array)


@pytest.mark.parametrize("name", ["zarr3", "zarr2", "sharded", "n5"])
def test_damaged_chunk_names_path_and_region(tmp_path: Path, name: str) -> None:
    source = as_source(ON_DISK[name](tmp_path, data(), "r+"))
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".json")
    chunk = next(path for path in files if not path.name.startswith("."))
    chunk.write_bytes(b"\0\1garbage" * 20)
    with pytest.raises(StorageError) as caught:
        source[...]
    assert str(chunk.parent if name == "sharded" else chunk) in str(caught.value)
    assert "[0:20, 0:30, 0:40]" in str(caught.value)
    assert isinstance(caught.value, OSError)


def test_missing_storage(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"nope.zarr does not exist"):
        from_spec(SourceSpec("zarr", str(tmp_path / "nope.zarr"), "a"))
    make_zarr(tmp_path, data(), "r")
    with pytest.raises(KeyNotFoundError, match="has no array 'a/c'"):
        from_spec(SourceSpec("zarr", str(tmp_path / "c.zarr"), "a/c"))
    with pytest.raises(SourceNotFoundError):
        from_spec(SourceSpec("h5py", str(tmp_path / "nope.h5"), "a"))


@pytest.mark.parametrize("name", CHUNKED)
def test_eight_threads_share_a_source(tmp_path: Path, name: str) -> None:
    array = data()
    source = as_source(ON_DISK[name](tmp_path, np.zeros_like(array), "r+"))
    blocks = [
        tuple(slice(b * c, min((b + 1) * c, s)) for b, c, s in zip(position, CHUNKS, SHAPE, strict=True))
        for position in np.ndindex(3, 3, 3)
    ]

    def work(roi: tuple[slice, ...]) -> bool:
        source[roi] = array[roi]
        return bool((source[roi] == array[roi]).all())

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert all(pool.map(work, blocks))
    np.testing.assert_array_equal(from_spec(source.to_spec())[...], array)


def test_decoding_threads_grow_with_the_calls_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_handle, "usable_cores", lambda: 6)
    source, other = (as_source(make_zarr(tmp_path / name, data(), "r")) for name in "ab")
    handle = source._backing._handle  # type: ignore[attr-defined]
    for count, threads in [(1, 1), (2, 2), (3, 4), (1, 4), (100, 6)]:
        with contextlib.ExitStack() as under_way:
            for _ in range(count - 1):
                under_way.enter_context(tensor_handle.calls)
            np.testing.assert_array_equal(source[3], data()[3])
        assert handle._threads == threads
    with tensor_handle.calls.expected(2), tensor_handle.calls.expected(1):
        np.testing.assert_array_equal(other[3], data()[3])
    assert other._backing._handle._threads == 4  # type: ignore[attr-defined]
    np.testing.assert_array_equal(other.fresh()[3], data()[3])
    source.close()
    with pytest.raises(StorageError):
        source[0]
    assert (tensor_handle.calls._count, tensor_handle.calls._expected) == (0, 0)


def test_fresh_handles_have_their_own_empty_cache(tmp_path: Path) -> None:
    array = make_zarr(tmp_path, data(), "r+")
    source = as_source(array)
    cached = source.fresh(cache_bytes=10**7)
    assert cached is not source
    assert cached.array is array
    assert cached.writable
    before = cached[0, 0, 0]
    as_source(zarr.open_array(tmp_path / "c.zarr", path="a/b", mode="r+"))[0, 0, 0] = before + 1
    assert cached[0, 0, 0] == before  # from its cache
    assert source[0, 0, 0] == before + 1  # has none
    assert cached.fresh(cache_bytes=10**7)[0, 0, 0] == before + 1
    memory = as_source(data())
    assert memory.fresh(cache_bytes=5) is memory


def test_cached_reads_do_not_decode_twice(tmp_path: Path) -> None:
    source = as_source(make_zarr(tmp_path, data(), "r")).fresh(cache_bytes=10**7)
    np.testing.assert_array_equal(source[...], data())
    for path in (tmp_path / "c.zarr" / "a" / "b").glob("c/**/*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    np.testing.assert_array_equal(source[...], data())


@pytest.mark.parametrize("name", ["zarr3", "zarr2", "sharded", "n5"])
def test_steps_copy_only_what_they_meet(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = as_source(ON_DISK[name](tmp_path, data(), "r+"))
    sizes, read = [], TensorHandle.read

    def noted(*args: Any) -> np.ndarray:
        found = read(*args)
        sizes.append(found.size)
        return found

    monkeypatch.setattr(TensorHandle, "read", noted)
    for index in [np.s_[::2, 1::3, -2:0:-5], np.s_[3, ::-7], np.s_[..., None, ::4]]:
        sizes.clear()
        found = source[index], source.view(index)
        np.testing.assert_array_equal(found, [data()[index]] * 2)
        assert sizes == [found[0].size] * 2


@pytest.mark.parametrize("name", ["zarr3", "zarr2", "sharded", "n5"])
def test_large_regions_are_read_into_large_pages(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_handle, "LARGE", 1)
    source = as_source(ON_DISK[name](tmp_path, data(), "r+"))
    for index in [np.s_[...], np.s_[1:-1, 2:7, 3:4], np.s_[::2, 1::3, -2:0:-5], np.s_[2:2]]:
        np.testing.assert_array_equal(source[index], data()[index])
    backing = source._backing  # type: ignore[attr-defined]
    region = backing.read_fortran((slice(1, 5), slice(0, 6), slice(2, 4)))
    assert region.flags.f_contiguous
    np.testing.assert_array_equal(region, data()[1:5, :6, 2:4])
    files = source.unit_files(tuple(slice(0, n) for n in source.shape))
    assert files is not None
    for file in files.names:
        Path(files.folder or "", file).write_bytes(b"damaged")
    with pytest.raises(StorageError, match=r"read \[0:.*\] of .*c\."):
        source.read()


@pytest.mark.parametrize("name", ["zarr3", "zarr2", "n5"])
def test_steps_beyond_a_chunk_decode_only_what_they_meet(tmp_path: Path, name: str) -> None:
    source = as_source(ON_DISK[name](tmp_path, data(), "r+"))
    size = (source.chunks or ())[0]
    files = source.unit_files((slice(size, 2 * size), *(slice(0, n) for n in source.shape[1:])))
    assert files is not None
    for file in files.names:
        Path(files.folder or "", file).write_bytes(b"damaged")
    np.testing.assert_array_equal(source[:: 2 * size], data()[:: 2 * size])
    with pytest.raises(StorageError):
        source[::size]


def test_close(tmp_path: Path) -> None:
    with as_source(make_zarr(tmp_path, data(), "r")) as source:
        source[0]
    with pytest.raises(StorageError, match="is closed"):
        source[0]
    handle = make_hdf5(tmp_path, data(), "r")
    as_source(handle).close()
    assert handle.file.id.valid  # what the caller opened, the caller closes
    reopened = from_spec(as_source(handle).to_spec())
    reopened.close()
    with pytest.raises(StorageError, match=r"c.h5 is closed"):
        reopened[0]


def test_hdf5_locked_by_a_writer(tmp_path: Path, spawned: Any) -> None:
    handle = make_hdf5(tmp_path, data(), "r+")
    spec = as_source(handle).to_spec()
    with pytest.raises(StorageError, match=r"Cannot open .*c\.h5"):
        spawned.submit(read_in_worker, spec).result(60)
    handle.file.close()


def test_hdf5_in_memory_cannot_be_reopened() -> None:
    with h5py.File("never-on-disk.h5", "w", driver="core", backing_store=False) as file:
        source = as_source(file.create_dataset("x", data=data()))
        assert source.chunks is None
        with pytest.raises(NotReopenableError, match="in memory only"):
            source.to_spec()


# Foreign arrays


class Foreign:
    """An array-like that counts the calls inside it."""

    def __init__(self, array: np.ndarray, chunks: Any = None) -> None:
        self.data = array
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, chunks
        self.inside = self.most = 0

    def __getitem__(self, index: Any) -> np.ndarray:
        self.inside += 1
        self.most = max(self.most, self.inside)
        found = self.data[index]
        self.inside -= 1
        return found

    def __setitem__(self, index: Any, value: Any) -> None:
        self.data[index] = value


class Lazy(Foreign):
    def compute(self) -> np.ndarray:
        return self.data


def test_foreign_arrays() -> None:
    foreign = Foreign(data(), chunks=CHUNKS)
    source = as_source(foreign)
    assert source.array is foreign
    assert (source.chunks, source.concurrency, source.writable) == (CHUNKS, "single-writer", True)
    source[1, ::2] = 4
    assert (foreign.data[1, ::2] == 4).all()
    source[0][...] = 1  # a copy
    assert (foreign.data[0] != 1).any()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: source[i % 20], range(200)))
    assert foreign.most == 1
    with pytest.raises(NotReopenableError, match="Foreign cannot be opened by another process"):
        source.to_spec()
    foreign.read_only = True  # type: ignore[attr-defined]
    assert not as_source(foreign).writable


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (((8, 8, 4), (10, 10, 10), (16, 16, 8)), CHUNKS),
        (((20,), (30,), (40,)), SHAPE),
        (((8, 4, 8), (30,), (40,)), None),
        (((4, 8, 8), (30,), (40,)), None),
        (None, None),
        (CHUNKS, CHUNKS),
        ((8, 8), None),
        (True, None),
    ],
)
def test_chunks_of_dask_like_arrays(chunks: Any, expected: Any) -> None:
    source = as_source(Lazy(data(), chunks))
    assert source.chunks == expected
    assert not source.writable
    np.testing.assert_array_equal(source[3:5], data()[3:5])


def test_data_type_that_numpy_does_not_know() -> None:
    foreign = Foreign(data())
    foreign.dtype = "bfloat17"  # type: ignore[assignment]
    with pytest.raises(SourceTypeError, match="data type 'bfloat17', which numpy does not know"):
        as_source(foreign)


@pytest.mark.parametrize("path", ["data/x.zarr", b"data/x.zarr"])
def test_strings_are_refused_with_the_call_to_type(path: Any) -> None:
    with pytest.raises(SourceTypeError) as caught:
        as_source(path)
    assert "open_source('data/x.zarr'" in caught.value.remedy
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("thing", [[1, 2], (1, 2), None, 5, 2.5, np.float32(1), {"a": 1}, object, np.ndarray])
def test_other_things_are_refused(thing: Any) -> None:
    with pytest.raises(SourceTypeError, match=f"A {type(thing).__name__} cannot be used as a source"):
        as_source(thing)


def test_masked_arrays_are_refused() -> None:
    with pytest.raises(SourceTypeError, match="would lose its mask"):
        as_source(np.ma.masked_less(np.arange(4), 2))


def test_sources_pass_unchanged() -> None:
    source = as_source(data())
    assert as_source(source) is source


def test_paths_open_read_only(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "p.zarr", shape=(3,), chunks=(2,), dtype="u1")[...] = 4
    source = as_source(tmp_path / "p.zarr")
    assert source[...].tolist() == [4, 4, 4]
    assert not source.writable

    from urllib.parse import urlparse

    assert as_source(urlparse(f"file://{tmp_path}/p.zarr"))[...].tolist() == [4, 4, 4]
    with pytest.raises(SourceNotFoundError):
        as_source(tmp_path / "q.zarr")


def test_repr_says_what_it_is() -> None:
    assert (
        repr(as_source(Foreign(data(), CHUNKS))) == "ArraySource(shape=(20, 30, 40), dtype=uint16, chunks=(8, 10, 16))"
    )


def test_a_minimal_source_is_read_only() -> None:
    class Minimal(Source):
        shape = (2,)
        dtype = np.dtype("u1")

        def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
            return np.zeros(2, "u1")[roi]

    source = Minimal()
    assert not source.writable
    with pytest.raises(ReadOnlyError):
        source[0] = 1
    with pytest.raises(NotReopenableError):
        source.to_spec()
    assert source.identity == source.identity != Minimal().identity
    assert source.axes == (Axis("x"),)


def test_importing_sources_is_light() -> None:
    code = (
        "import sys, bioimage_py.sources, bioimage_py.wrapper, bioimage_py.io\n"
        "names = {'zarr', 'tensorstore', 'h5py', 'z5py', 'tifffile', 'scipy', 'asyncio', 'cloudpickle'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_reopening_zarr_needs_no_zarr_python(tmp_path: Path) -> None:
    spec = as_source(make_zarr(tmp_path, data(), "r")).to_spec()
    code = (
        "import sys\nfrom bioimage_py.sources import SourceSpec, from_spec\n"
        f"source = from_spec(SourceSpec.from_json({spec.to_json()!r}))\n"
        "assert source[...].sum() > 0\nassert 'zarr' not in sys.modules\nassert source.array.shape == source.shape"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_user_arrays_are_not_read_through_zarr_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = make_zarr(tmp_path, data(), "r+")
    source = as_source(array)
    assert isinstance(source._backing, ChunkedBacking)  # type: ignore[attr-defined]
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda *a: pytest.fail("read by zarr-python"))
    monkeypatch.setattr(zarr.Array, "__setitem__", lambda *a: pytest.fail("written by zarr-python"))
    source[0] = source[1]


def test_handle_without_an_array(tmp_path: Path) -> None:
    handle = TensorHandle(Location(str(tmp_path)), "zarr3", writable=False)
    with pytest.raises(StorageError, match="There is no array at"):
        handle.layout()
