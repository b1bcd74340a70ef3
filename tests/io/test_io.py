"""Formats, open_source, create_array, tif stacks and OME-Zarr metadata."""

from __future__ import annotations

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py import io
from bioimage_py.errors import (
    DtypeError,
    FormatError,
    KeyNotFoundError,
    MissingDependencyError,
    ParameterError,
    ReadOnlyError,
    ShapeError,
    SourceNotFoundError,
    StorageError,
)
from bioimage_py.io import create_array, open_file, read_multiscales, register_format, write_multiscales
from bioimage_py.io import formats as formats_module
from bioimage_py.io.ome import read_label_names
from bioimage_py.io.tif.stacks import Pages, natural_key
from bioimage_py.sources import Axis, FileSource, SourceSpec, from_spec, open_source

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")
z5py = pytest.importorskip("z5py")
zarr = pytest.importorskip("zarr")

CONTAINERS = {"zarr": "c.zarr", "n5": "c.n5", "hdf5": "c.h5"}


@pytest.fixture(params=list(CONTAINERS))
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / CONTAINERS[request.param]
    for key in ("raw/s1", "raw/s2", "labels"):
        with create_array(path, key, shape=(6, 9), dtype="u2", chunks=(3, 4)) as source:
            source[...] = np.arange(54).reshape(6, 9)
    return path


def reopened(spec: SourceSpec) -> np.ndarray:
    with from_spec(spec) as source:
        return source.read()


# Formats


def test_formats_and_extensions() -> None:
    assert {"zarr", "n5", "hdf5", "tif", "folder"} <= set(io.supported_formats())
    assert {".zarr", ".zr", ".n5", ".h5", ".hdf", ".hdf5", ".tif", ".tiff"} <= set(io.supported_extensions())
    assert io.format_for_extension(".H5") == io.format_for_extension("h5") == "hdf5"
    assert io.format_for_extension(".foo") is None
    assert [io.is_writable_format(name) for name in ("zarr", "n5", "hdf5", "tif", "folder")] == [True] * 3 + [False] * 2
    assert callable(io.constructor_for_format("zarr"))


def test_infer_format(tmp_path: Path) -> None:
    assert io.infer_format("a/b.ZARR") == "zarr"
    assert io.infer_format("a/b.ome.zarr/") == "zarr"
    assert io.infer_format("x.ome.tif") == "tif"
    assert io.infer_format("anything", ext=".h5") == "hdf5"
    assert io.infer_format(tmp_path) == "folder"
    zarr.open_group(tmp_path / "plain", mode="w")
    assert io.infer_format(tmp_path / "plain") == "zarr"
    z5py.File(tmp_path / "p.n5", "a")
    (tmp_path / "p.n5").rename(tmp_path / "noext")
    assert io.infer_format(tmp_path / "noext") == "n5"
    for call in (lambda: io.infer_format("x.foo"), lambda: io.infer_format("x", ".foo")):
        with pytest.raises(FormatError, match=r"Unknown file name ending '.foo'; known are .*\.zarr"):
            call()
    with pytest.raises(FormatError, match="Unknown format 'foo'; known are"):
        io.constructor_for_format("foo")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.zarr/raw/s0", ("a.zarr", "raw/s0")),
        ("/x/a.n5/raw", ("/x/a.n5", "raw")),
        ("a.h5/", ("a.h5", None)),
        ("a/b.tif", ("a/b.tif", None)),
        ("a.zarr/b.tif", ("a.zarr/b.tif", None)),
        ("dir/file", ("dir/file", None)),
        ("s3://b/a.zarr/k", ("s3://b/a.zarr", "k")),
        ("", ("", None)),
        ("/", ("/", None)),
    ],
)
def test_split_path(path: str, expected: tuple[str, str | None]) -> None:
    assert io.split_path(path) == expected


def test_open_file_gives_the_library_objects(tmp_path: Path, container: Path) -> None:
    file = open_file(container)
    assert type(file).__module__.split(".")[0] in ("zarr", "z5py", "h5py")
    assert file["raw/s1"].shape == (6, 9)
    with pytest.raises(SourceNotFoundError, match=f"nope.zarr does not exist.\n.*{tmp_path} exists"):
        open_file(tmp_path / "nope.zarr")


def test_third_party_format(tmp_path: Path) -> None:
    closed = []

    class Container(dict):  # type: ignore[type-arg]
        default_key = "data"

        def close(self) -> None:
            closed.append(True)

    def construct(path: str, mode: str = "r", scale: int = 1) -> Container:
        return Container(data=scale * np.load(path), other=np.zeros(2))

    with open(tmp_path / "a.lab", "wb") as file:
        np.save(file, np.arange(4))
    register_format("lab", [".lab"], construct)
    try:
        with open_source(tmp_path / "a.lab", scale=3) as source:
            assert source[...].tolist() == [0, 3, 6, 9]
            assert not source.writable
            spec = source.to_spec()
            assert spec == SourceSpec(
                "file", str(tmp_path / "a.lab"), "data", {"scale": 3, "format": "lab", "mode": "r"}
            )
        assert closed
        assert reopened(spec).tolist() == [0, 3, 6, 9]
        assert open_source(tmp_path / "a.lab", "other").shape == (2,)
        with pytest.raises(KeyNotFoundError, match=r"no array 'x'. It has: data, other"):
            open_source(tmp_path / "a.lab", "x")
        register_format("lab", ["lab"], lambda path, mode: np.load(path))
        assert open_source(tmp_path / "a.lab").internal_path == ""
    finally:
        formats_module._formats.pop("lab")
        formats_module._by_extension.pop(".lab")
    with pytest.raises(ParameterError, match=r"pass a list: \['.lab'\]"):
        register_format("lab", ".lab", construct)


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: Path) -> None:
    for library in ("h5py", "tifffile"):
        monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "x.h5").touch()
    (tmp_path / "x.tif").touch()
    for name, library in (("x.h5", "h5py"), ("x.tif", "tifffile")):
        with pytest.raises(
            MissingDependencyError,
            match=rf"needs {library}, which is not installed.\n.*pip install 'bioimage-blocks\[io\]'",
        ):
            open_source(tmp_path / name)
    monkeypatch.setitem(sys.modules, "z5py", None)
    with pytest.raises(MissingDependencyError, match="z5py"):
        open_file(tmp_path, format="n5")
    if container.suffix == ".n5":
        assert open_source(container, "labels").shape == (6, 9)  # arrays need no z5py


# open_source


def test_modes(container: Path) -> None:
    for mode, writable in (("r", False), ("r+", True), ("a", True)):
        with open_source(container, "raw/s1", mode=mode) as source:
            assert isinstance(source, FileSource)
            assert source.writable is writable
            assert source.mode == mode
            assert source.to_spec().params["mode"] == ("r+" if writable else "r")
            assert source.dtype == np.uint16
            assert source.chunks == (3, 4)
            np.testing.assert_array_equal(source[1:, ::2], np.arange(54).reshape(6, 9)[1:, ::2])
            if writable:
                source[0] = 5
            else:
                with pytest.raises(ReadOnlyError, match=r"opened with mode 'r' and is read-only.\n.*mode='r\+'"):
                    source[0] = 5
    assert (open_source(container, "raw/s1")[0] == 5).all()
    with pytest.raises(ParameterError, match="mode is 'rw'"):
        open_source(container, "raw/s1", mode="rw")


def test_w_empties_one_array_once(container: Path) -> None:
    with open_source(container, "raw/s1", mode="w") as source:
        assert not source[...].any()
        assert (source.shape, source.chunks, source.dtype) == ((6, 9), (3, 4), np.uint16)
        source[...] = 3
        spec = source.to_spec()
    assert (reopened(spec) == 3).all()
    assert (reopened(SourceSpec("file", spec.path, spec.internal_path, {**spec.params, "mode": "w"})) == 3).all()
    assert open_source(container, "raw/s2")[...].any()
    with open_source(container, "new", mode="w", shape=(4, 4), dtype="u1", chunks=(2, 2)) as source:
        source[...] = 1
        assert "shape" not in source.to_spec().params
        assert (source.shape, source.chunks) == ((4, 4), (2, 2))
        spec = source.to_spec()
    assert reopened(spec).all()
    with open_source(container, "new", mode="w", shape=(5,), dtype="u1", chunks=(2,)) as source:
        assert source.shape == (5,)
    with open_source(container, "labels", mode="a", shape=(6, 9), dtype="u2") as source:
        assert source[...].any()
    with pytest.raises(ShapeError, match=r"of shape \(6, 9\), but \(7, 9\) is asked for"):
        open_source(container, "labels", mode="a", shape=(7, 9), dtype="u2")
    for mode in ("w-", "x"):
        with pytest.raises(ParameterError, match="has an array 'labels' already"):
            open_source(container, "labels", mode=mode, shape=(7, 9), dtype="u2")
        with open_source(container, f"made/{mode}", mode=mode, shape=(3,), dtype="u1") as source:
            assert source.writable


@pytest.mark.parametrize("name", CONTAINERS.values())
def test_w_makes_the_container(tmp_path: Path, name: str) -> None:
    with open_source(tmp_path / "deep" / name, "a/b", mode="w", shape=(3,), dtype="f4") as source:
        source[...] = 0.5
        spec = source.to_spec()
    assert reopened(spec).tolist() == [0.5] * 3
    with pytest.raises(ParameterError, match="needs to know what to create"):
        open_source(tmp_path / name, "a/b", mode="w")
    with pytest.raises(ParameterError, match="dtype is missing"):
        open_source(tmp_path / name, "a/b", mode="w", shape=(3,))
    with pytest.raises(ParameterError, match=r"shape, dtype create an array, but mode is 'r\+'"):
        open_source(tmp_path / "deep" / name, "a/b", mode="r+", shape=(3,), dtype="u1")


def test_missing_file_and_wrong_keys(tmp_path: Path, container: Path) -> None:
    missing = tmp_path / "sub" / container.name
    with pytest.raises(SourceNotFoundError, match=f"{missing} does not exist.\n.*{tmp_path} exists"):
        open_source(missing, "raw")
    with pytest.raises(KeyNotFoundError) as caught:
        open_source(container, "s2")
    assert "has no array 's2'. It has: labels, raw/s1, raw/s2." in str(caught.value)
    assert f"open_source({str(container)!r}, 'raw/s2')" in caught.value.remedy
    with pytest.raises(KeyNotFoundError, match="has no array 'raw'"):
        open_source(container, "raw")
    with pytest.raises(ParameterError, match=r"is a container, and no key is given. It has: labels, raw/s1"):
        open_source(container)
    (tmp_path / "a.xyz").touch()
    with pytest.raises(FormatError, match=r"Unknown file name ending '.xyz'"):
        open_source(tmp_path / "a.xyz")


@pytest.mark.parametrize("name", CONTAINERS.values())
def test_files_that_are_not_what_they_seem(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of that kind")
    with pytest.raises((FormatError, StorageError), match=r"is (no HDF5 file|a file, not a (zarr|n5) folder)"):
        open_source(tmp_path / name, "a")


def test_empty_folder_is_no_container(tmp_path: Path) -> None:
    (tmp_path / "e.zarr").mkdir()
    with pytest.raises(FormatError, match=r"e.zarr is no zarr container"):
        open_source(tmp_path / "e.zarr")
    zarr.open_group(tmp_path / "g.zarr", mode="w")
    with pytest.raises(ParameterError, match="It has no arrays"):
        open_source(tmp_path / "g.zarr")


def test_paths_of_all_forms(tmp_path: Path, container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = [
        open_source(container.name, "labels"),
        open_source(container, "/labels/"),
        open_source(f"{container}/labels"),
        open_source(f"file://{container}", "labels"),
        open_source(container, "labels", format=None),
    ]
    for source in sources:
        assert (source.path, source.internal_path) == (str(container), "labels")
        assert source.identity == sources[0].identity
        assert source.to_spec() == sources[0].to_spec()
        source.close()


@pytest.mark.parametrize("name", ["h5", "tif"])
def test_formats_of_the_file_system_refuse_urls(name: str) -> None:
    with pytest.raises(FormatError, match="read from the file system only"):
        open_source(f"https://example.org/a.{name}", "raw")


def test_format_is_forced(tmp_path: Path, container: Path) -> None:
    other = container.rename(tmp_path / "c.foo")
    name = {".zarr": "zarr", ".n5": "n5", ".h5": "hdf5"}[container.suffix]
    with open_source(other, "labels", format=name) as source:
        assert source.format == name
        assert reopened(source.to_spec()).shape == (6, 9)


def test_closing(container: Path) -> None:
    source = open_source(container, "labels")
    source.fresh(cache_bytes=1000)
    source[0]
    source.close()
    with pytest.raises(StorageError, match="is closed"):
        source[0]


def test_fresh_file_sources_stay_file_sources(tmp_path: Path) -> None:
    source = create_array(tmp_path / "c.zarr", "a", shape=(4,), dtype="u1", chunks=(2,))
    fresh = source.fresh(cache_bytes=1000)
    assert isinstance(fresh, FileSource)
    assert fresh.to_spec() == source.to_spec()
    assert fresh.writable
    fresh.close()
    source[0] = 1


def test_file_source_as_the_peer_makes_it(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "c.zarr", shape=(3,), dtype="u1")
    source = FileSource(array, path=tmp_path / "c.zarr", internal_path="", format="zarr", mode="w", writable=True)
    assert source.array is array
    assert source.to_spec().params == {"format": "zarr", "mode": "r+"}
    assert not FileSource(array, path="c.zarr", internal_path="", format="zarr").writable
    assert FileSource.reopen(source.to_spec()).shape == (3,)


def test_spawned_process_reopens(container: Path) -> None:
    spec = open_source(container, "raw/s2").to_spec()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(reopened, SourceSpec.from_json(spec.to_json())).result(60)
    np.testing.assert_array_equal(found, np.arange(54).reshape(6, 9))


# create_array


@pytest.mark.parametrize("compressor", [None, "zstd", "gzip", "blosc", "lz4", "raw"])
def test_create_zarr(tmp_path: Path, compressor: str | None) -> None:
    axes = (Axis("z", unit="nanometer", scale=30), Axis("y"), Axis("x"))
    source = create_array(
        tmp_path / "a.zarr",
        "g/x",
        shape=(8, 9, 10),
        dtype="u8",
        chunks=(2, 2, 2),
        shards=(4, 4, 4),
        axes=axes,
        compressor=compressor,
        fill_value=7,
    )
    assert (source[...] == 7).all()
    source[0] = 2**64 - 1
    array = zarr.open_group(tmp_path / "a.zarr", mode="r")["g/x"]
    assert array.metadata.zarr_format == 3
    assert array.metadata.dimension_names == ("z", "y", "x")
    assert (array.chunks, array.shards) == ((2, 2, 2), (4, 4, 4))
    assert (array[0] == 2**64 - 1).all()
    assert source.axes == axes
    assert from_spec(source.to_spec()).axes == axes


def test_create_in_a_version_2_container(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    for compressor in (None, "zstd", "gzip", "raw"):
        source = create_array(tmp_path / "a.zarr", f"x{compressor}", shape=(5,), dtype="u2", compressor=compressor)
        source[...] = 3
        assert source.array.metadata.zarr_format == 2
        assert (source.array[...] == 3).all()
    with pytest.raises(ParameterError, match="zarr version 2, which has no shards"):
        create_array(tmp_path / "a.zarr", "s", shape=(4,), dtype="u2", chunks=(2,), shards=(4,))


def test_create_root_array_and_path_with_key(tmp_path: Path) -> None:
    for name in ("a.zarr", "a.n5"):
        root = create_array(tmp_path / name, shape=(5,), dtype="u2")
        root[...] = 3
        assert (open_source(tmp_path / name)[...] == 3).all()
    assert create_array(f"{tmp_path}/b.zarr/x/y", shape=(5,), dtype="u2").internal_path == "x/y"


def test_default_chunks() -> None:
    from bioimage_py.io.chunks import default_chunks

    assert default_chunks((3, 2, 100, 100, 10)) == (1, 1, 64, 64, 10)
    assert default_chunks((1000, 20)) == (512, 20)
    assert default_chunks((0,)) == (1,)


def test_n5_is_what_z5py_reads(tmp_path: Path) -> None:
    axes = (Axis("z", unit="nanometer", scale=30, offset=5), Axis("y", unit="nanometer"), Axis("x", unit="nanometer"))
    for compressor in (None, "gzip", "zstd", "raw"):
        key = f"g/{compressor}"
        source = create_array(
            tmp_path / "a.n5", key, shape=(4, 5, 6), dtype="i4", chunks=(2, 3, 4), axes=axes, compressor=compressor
        )
        source[1:] = np.arange(3 * 30).reshape(3, 5, 6) - 7
        dataset = z5py.File(tmp_path / "a.n5", "r")[key]
        assert (dataset.shape, dataset.chunks) == ((4, 5, 6), (2, 3, 4))
        np.testing.assert_array_equal(dataset[...], source[...])
        assert source.axes == axes
    with pytest.raises(DtypeError, match="n5 cannot store bool"):
        create_array(tmp_path / "a.n5", "b", shape=(4,), dtype=bool)
    with pytest.raises(ParameterError, match="fill value 1"):
        create_array(tmp_path / "a.n5", "b", shape=(4,), dtype="u1", fill_value=1)


def test_existing_arrays(container: Path) -> None:
    same = create_array(container, "labels", shape=(6, 9), dtype="u2", chunks=(2, 2))
    assert same[...].any()
    assert same.chunks == (3, 4)
    same.close()
    with pytest.raises(
        ShapeError, match=r"an array 'labels' of shape \(6, 9\), but \(6, 8\) is asked for.\n.*overwrite=True"
    ):
        create_array(container, "labels", shape=(6, 8), dtype="u2")
    with pytest.raises(DtypeError, match="of data type uint16, but uint32 is asked for"):
        create_array(container, "labels", shape=(6, 9), dtype="u4")
    with create_array(container, "labels", shape=(2, 2), dtype="u4", overwrite=True) as source:
        assert (source.shape, source.dtype) == ((2, 2), np.uint32)
        assert not source[...].any()
    with open_source(container, "raw/s1") as source:
        assert source[...].any()


@pytest.mark.parametrize("name", ["c.zarr", "c.n5"])
def test_groups_are_not_replaced_by_arrays(tmp_path: Path, name: str) -> None:
    create_array(tmp_path / name, "raw/s1", shape=(3,), dtype="u1")
    for key in (None, "raw"):
        with pytest.raises(ParameterError, match="cannot become an array: it holds the arrays"):
            create_array(tmp_path / name, key, shape=(3,), dtype="u1", overwrite=True)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "thesis.txt").touch()
    with pytest.raises(ParameterError, match="it holds other files"):
        create_array(tmp_path / "plain", format="zarr", shape=(3,), dtype="u1", overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunks": (2,)}, r"chunks is \(2,\), the array has 2 axes"),
        ({"chunks": (2, 0)}, r"chunks is \(2, 0\)"),
        ({"chunks": 2.0}, "chunks is 2.0"),
        ({"chunks": 0}, r"chunks is \(0, 0\)"),
        ({"shape": (-1, 2)}, r"shape is \(-1, 2\)"),
        (
            {"chunks": (2, 3), "shards": (4, 4)},
            r"shards \(4, 4\) are no multiples of chunks \(2, 3\).\n.*shards=\(4, 6\)",
        ),
        ({"axes": [Axis("x")]}, "1 axes for the shape"),
        ({"compressor": "zip"}, "Unknown compressor 'zip'"),
        ({"format": "n5", "shards": (4, 4)}, "'n5' has no shards"),
        ({"format": "n5", "compressor": "zip"}, "Unknown compressor 'zip'"),
        ({"format": "hdf5", "compressor": "zip", "key": "a"}, "Unknown compressor 'zip'"),
        ({"format": "hdf5"}, "HDF5 file needs a key"),
        ({"format": "tif"}, "cannot be created in the format 'tif'"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ParameterError, FormatError), match=message):
        create_array(tmp_path / "a", **{"shape": (4, 4), "dtype": "u1", **arguments})
    assert not list(tmp_path.rglob("*.h5"))


# tif


def volume(shape: tuple[int, ...] = (5, 20, 30), dtype: str = "u2") -> np.ndarray:
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "tile": (16, 16)},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "zlib", "tile": (16, 16, 16), "volumetric": True},
        {"byteorder": ">", "compression": "lzw"},
    ],
    ids=str,
)
def test_tif_stack(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, volume(), **options)
    with open_source(path) as source:
        assert (source.shape, source.dtype, source.writable) == ((5, 20, 30), np.uint16, False)
        assert [axis.name for axis in source.axes] == ["z", "y", "x"]
        np.testing.assert_array_equal(source[...], volume())
        np.testing.assert_array_equal(source[1:4, 3, ::-2], volume()[1:4, 3, ::-2])
        assert isinstance(source.array, np.memmap) is (options in ({}, {"bigtiff": True}))
        with pytest.raises(ReadOnlyError, match="format tif"):
            source[0] = 1
        spec = source.to_spec()
        assert spec == SourceSpec("file", str(path), "", {"format": "tif", "mode": "r"})
        assert source.identity == ("file", str(path), "")
    np.testing.assert_array_equal(reopened(spec), volume())
    assert not open_source(path, mode="r+").writable
    with pytest.raises(KeyNotFoundError, match=r"has series 0, 1, \.\.\. as keys, not 'data'"):
        open_source(path, "data")


def test_tif_pages_are_read_by_need_and_by_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = volume((40, 64, 64))
    tifffile.imwrite(tmp_path / "s.tif", expected, compression="zlib")
    source = open_source(tmp_path / "s.tif")
    pages = source.array
    assert isinstance(pages, Pages)
    assert source.chunks == (1, 64, 64)
    pages._capacity = 6
    loaded: list[int] = []
    load = pages._load
    monkeypatch.setattr(pages, "_load", lambda i: (loaded.append(i), load(i))[1])
    source[7:9, :10]
    source[7:9, 10:]
    assert loaded == [7, 8]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: source[i % 40], range(200)))
    for i, page in enumerate(found):
        np.testing.assert_array_equal(page, expected[i % 40])
    assert len(pages._cache) <= 6


def test_tif_of_more_axes_and_its_scale(tmp_path: Path) -> None:
    data = volume((4, 2, 20, 30))
    tifffile.imwrite(
        tmp_path / "ij.tif",
        data,
        imagej=True,
        resolution=(2.0, 4.0),
        metadata={"axes": "ZCYX", "spacing": 3.0, "unit": "um"},
    )
    um = "micrometer"
    expected = (
        Axis("z", "space", um, 3.0),
        Axis("c", "channel"),
        Axis("y", "space", um, 0.25),
        Axis("x", "space", um, 0.5),
    )
    source = open_source(tmp_path / "ij.tif")
    assert source.axes == expected
    np.testing.assert_array_equal(source[2, 1], data[2, 1])
    metadata = {"axes": "ZCYX", "PhysicalSizeX": 0.5, "PhysicalSizeZ": 300, "PhysicalSizeZUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata=metadata, compression="zlib")
    source = open_source(tmp_path / "a.ome.tif")
    assert source.axes == (
        Axis("z", "space", "nanometer", 300.0),
        Axis("c", "channel"),
        Axis("y"),
        Axis("x", "space", um, 0.5),
    )
    np.testing.assert_array_equal(source[1:3, :, 4], data[1:3, :, 4])
    tifffile.imwrite(tmp_path / "rgb.tif", volume((20, 30, 3), "u1"), photometric="rgb", resolution=(72, 72))
    assert open_source(tmp_path / "rgb.tif").axes == (Axis("y"), Axis("x"), Axis("c", "channel"))


def test_bad_tifs(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"no tif")
    with pytest.raises(FormatError, match=r"x.tif is no tif file"):
        open_source(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "s.tif", volume(), compression="zlib")
    damaged = bytearray((tmp_path / "s.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "s.tif") as file:
        offset = file.pages[2].dataoffsets[0]
    damaged[offset : offset + 30] = b"\xff" * 30
    (tmp_path / "s.tif").write_bytes(damaged)
    source = open_source(tmp_path / "s.tif")
    np.testing.assert_array_equal(source[:2], volume()[:2])
    with pytest.raises(StorageError, match=r"Cannot read page 2 of .*s.tif"):
        source[...]


def test_folder_of_slices_sorts_naturally(tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    for i in range(1, 13):
        tifffile.imwrite(folder / f"slice_{i}.TIF" if i % 2 else folder / f"slice_{i}.tiff", np.full((4, 5), i, "u2"))
    (folder / "notes.txt").touch()
    source = open_source(folder)
    assert source.shape == (12, 4, 5)
    assert source[:, 0, 0].tolist() == list(range(1, 13))
    assert source.format == "folder"
    np.testing.assert_array_equal(reopened(source.to_spec()), source[...])
    some = open_source(folder, "slice_?.*")
    assert some.shape == (9, 4, 5)
    assert reopened(some.to_spec()).shape == (9, 4, 5)
    with pytest.raises(FormatError, match="has no tif files that match 'x"):
        open_source(folder, "x*")


def test_slices_that_differ(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_1.tif", np.zeros((4, 5), "u1"))
    tifffile.imwrite(tmp_path / "a_2.tif", np.zeros((4, 5), "u2"))
    with pytest.raises(DtypeError, match=r"a_2.tif has data type uint16, a_1.tif has uint8"):
        open_source(tmp_path)
    tifffile.imwrite(tmp_path / "a_2.tif", np.zeros((4, 6), "u1"))
    with pytest.raises(ShapeError, match=r"a_2.tif has shape \(4, 6\), a_1.tif has \(4, 5\)"):
        open_source(tmp_path)


def test_natural_order() -> None:
    names = ["s10", "s9", "S1", "s", "10", "2", "s1a2", "s1a10"]
    assert sorted(names, key=natural_key) == ["2", "10", "s", "S1", "s1a2", "s1a10", "s9", "s10"]


def test_real_stack(nuclei_raw: np.ndarray, shared_data: Any) -> None:
    source = open_source(shared_data("nuclei3d-raw.tif"))
    np.testing.assert_array_equal(source[...], nuclei_raw)
    np.testing.assert_array_equal(source[3:9, 10:20, ::3], nuclei_raw[3:9, 10:20, ::3])


# OME-Zarr


def pyramid(path: Path, version: int = 3) -> list[tuple[str, tuple[Axis, ...]]]:
    zarr.open_group(path, mode="w", zarr_format=version)
    levels = []
    for level in range(3):
        factor = 2**level
        axes = (
            Axis("z", unit="nanometer", scale=40.0),
            Axis("y", unit="nanometer", scale=4.0 * factor, offset=2.0 * (factor - 1)),
            Axis("x", unit="nanometer", scale=4.0 * factor, offset=2.0 * (factor - 1) + 100),
        )
        source = create_array(path, f"{level}", shape=(4, 16 // factor, 16 // factor), dtype="u1", axes=axes)
        source[...] = level + 1
        levels.append((f"{level}", axes))
    return levels


@pytest.mark.parametrize("version", [2, 3])
def test_multiscales_round_trip(tmp_path: Path, version: int) -> None:
    path = tmp_path / "x.ome.zarr"
    levels = pyramid(path, version)
    write_multiscales(path, levels=levels, name="em", method="mean")
    found = read_multiscales(path)
    assert [(image.name, image.method, image.levels) for image in found] == [("em", "mean", tuple(levels))]
    source = open_source(path)
    assert source.internal_path == "0"
    assert (source[...] == 1).all()
    assert source.axes == levels[0][1]
    for key, axes in levels:
        assert open_source(path, key).axes == axes
        assert from_spec(open_source(path, key).to_spec()).axes == axes
    array = zarr.open_group(path, mode="r")["1"]
    from bioimage_py.sources import as_source

    assert as_source(array).axes == levels[1][1]
    assert from_spec(as_source(array).to_spec()).axes == levels[1][1]


def test_version_05_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.ome.zarr"
    levels = pyramid(path)
    zarr.open_group(path, mode="a").attrs["ome"] = {"omero": {"channels": []}, "version": "0.5"}
    write_multiscales(path, levels=levels, name="em")
    write_multiscales(path, levels=levels[:2], name="em")
    attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    assert attributes == {
        "ome": {
            "omero": {"channels": []},
            "version": "0.5",
            "multiscales": [
                {
                    "name": "em",
                    "axes": [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"],
                    "datasets": [
                        {
                            "path": "0",
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [40.0, 4.0, 4.0]},
                                {"type": "translation", "translation": [0.0, 0.0, 100.0]},
                            ],
                        },
                        {
                            "path": "1",
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [40.0, 8.0, 8.0]},
                                {"type": "translation", "translation": [0.0, 2.0, 102.0]},
                            ],
                        },
                    ],
                }
            ],
        }
    }


def test_label_images(tmp_path: Path) -> None:
    path = tmp_path / "x.ome.zarr"
    write_multiscales(path, levels=pyramid(path))
    axes = (Axis("z"), Axis("y"), Axis("x"))
    for name in ("cells", "nuclei", "cells"):
        create_array(path, f"labels/{name}/0", shape=(4, 16, 16), dtype="u8", chunks=(4, 8, 8), axes=axes)[...] = 5
        write_multiscales(path, f"labels/{name}", levels=[("0", axes)], name=name, label=True, source="../../")
    assert read_label_names(path) == ["cells", "nuclei"]
    ome = json.loads((path / "labels" / "cells" / "zarr.json").read_text())["attributes"]["ome"]
    assert ome["image-label"] == {"source": {"image": "../../"}}
    assert ome["version"] == "0.5"
    assert (open_source(path, "labels/cells")[...] == 5).all()
    assert open_source(path).internal_path == "0"
    assert json.loads((path / "labels" / "zarr.json").read_text())["attributes"]["ome"]["labels"] == ["cells", "nuclei"]


def test_version_04_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for key in ("scale0", "scale1"):
        group.create_array(key, shape=(2, 3, 8, 8), chunks=(1, 1, 4, 4), dtype="u1")
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [
                {"name": "t", "type": "time", "unit": "second"},
                {"name": "c", "type": "channel"},
                {"name": "y", "type": "space", "unit": "micrometer"},
                {"name": "x", "type": "space", "unit": "micrometer"},
            ],
            "datasets": [
                {"path": "scale0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 0.5, 0.25]}]},
                {
                    "path": "scale1",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [1, 1, 1, 0.5]},
                        {"type": "translation", "translation": [0, 0, 2, 1]},
                    ],
                },
            ],
            "coordinateTransformations": [{"type": "scale", "scale": [0.1, 1, 10, 10]}],
        }
    ]
    um = "micrometer"
    first = (
        Axis("t", "time", "second", 0.1),
        Axis("c", "channel"),
        Axis("y", "space", um, 5.0),
        Axis("x", "space", um, 2.5),
    )
    assert open_source(path).axes == first
    assert open_source(path, "scale1").axes[2:] == (
        Axis("y", "space", um, 10.0, 20.0),
        Axis("x", "space", um, 5.0, 10.0),
    )
    assert read_multiscales(path)[0].levels[0] == ("scale0", first)


def test_older_and_broken_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("a", shape=(2, 3, 4), dtype="u1")
    for axes in (["z", "y", "x"], None, [{"type": "space"}], "zyx"):
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "a"}]}]
        assert [axis.name for axis in open_source(path).axes] == ["z", "y", "x"]
    for broken in ({}, [], [{}], [{"datasets": 5}], [{"datasets": []}]):
        group.attrs["multiscales"] = broken
        assert open_source(path).internal_path == "a"  # the only array
        assert [axis.name for axis in open_source(path, "a").axes] == ["z", "y", "x"]


@pytest.mark.parametrize(
    "axes",
    [
        (Axis("x"),),
        (Axis("x"), Axis("x")),
        (Axis("y"), Axis("x"), Axis("c", "channel")),
        (Axis("c", "channel"), Axis("x")),
        tuple(Axis(name) for name in "zyxw"),
        (Axis("c", "channel"), Axis("t", "time"), Axis("y"), Axis("x")),
    ],
)
def test_axes_that_the_format_cannot_describe(tmp_path: Path, axes: tuple[Axis, ...]) -> None:
    with pytest.raises(ParameterError, match="OME-Zarr cannot describe the axes"):
        write_multiscales(tmp_path / "x.zarr", levels=[("0", axes)])
    assert not (tmp_path / "x.zarr").exists()


def test_n5_axes_of_others(tmp_path: Path) -> None:
    with z5py.File(tmp_path / "a.n5", "a") as file:
        dataset = file.create_dataset("raw/s0", data=np.zeros((4, 5, 6), "u1"), chunks=(2, 2, 2))
        dataset.attrs["pixelResolution"] = {"unit": "um", "dimensions": [0.1, 0.2, 0.5]}
    source = open_source(tmp_path / "a.n5", "raw")
    assert source.internal_path == "raw/s0"
    assert [(axis.name, axis.scale) for axis in source.axes] == [("z", 0.5), ("y", 0.2), ("x", 0.1)]


@pytest.mark.parametrize("code", ["Q", "q", "L", "l"])
def test_all_of_c_s_integer_types_can_be_stored(code: str, tmp_path: Path) -> None:
    array = create_array(tmp_path / "a.zarr", "a", shape=(3,), dtype=code)
    array[1] = 7
    assert array.dtype == np.dtype(code)
    assert array[...].tolist() == [0, 7, 0]
