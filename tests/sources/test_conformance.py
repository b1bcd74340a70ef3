"""Arrays in memory and in local containers pass the conformance suite."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.io import create_array
from bioimage_py.sources import Axis, Source, as_source, open_source
from bioimage_py.testing import MakeSource, SourceConformance

h5py = pytest.importorskip("h5py", reason="hdf5 needs h5py: pip install 'bioimage-blocks[io]'")
tifffile = pytest.importorskip("tifffile", reason="tif needs tifffile: pip install 'bioimage-blocks[io]'")
z5py = pytest.importorskip("z5py", reason="the foreign writer of n5 is z5py: pip install 'bioimage-blocks[io]'")
zarr = pytest.importorskip("zarr")

CHUNKS, SHARDS = (4, 5, 8), (8, 10, 16)


class Stored(SourceConformance):
    """An array in a container on disk."""

    extension: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {"chunks": CHUNKS}

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / f"{next(counter)}{self.extension}"
            with self.create(path, content, axes or ()) as made:
                made[...] = content
            return open_source(path, "a/b", mode="r+" if writable else "r")

        return make

    def create(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...]) -> Source:
        return create_array(path, "a/b", shape=content.shape, dtype=content.dtype, axes=axes, **self.options)


class TestZarr3(Stored):
    kind = "zarr v3"
    extension = ".zarr"

    @pytest.fixture(params=["zarr-python", "tensorstore"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            path = tmp_path / "foreign.zarr"
            if request.param == "zarr-python":
                made = zarr.create_array(path, name="a", shape=content.shape, chunks=CHUNKS, dtype=content.dtype)
                made[...] = content
            else:
                import tensorstore

                spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / "a")}}
                layout = tensorstore.ChunkLayout({"read_chunk": {"shape": CHUNKS}})
                kind = {"dtype": content.dtype, "shape": content.shape, "chunk_layout": layout}
                tensorstore.open(spec, create=True, **kind).result()[...] = content
            return open_source(path, "a")

        return write


class TestZarr2(Stored):
    kind = "zarr v2"
    extension = ".zarr"

    def create(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...]) -> Source:
        zarr.open_group(path, mode="w", zarr_format=2)
        return super().create(path, content, axes)

    @pytest.fixture(params=["zarr-python", "z5py"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            path = tmp_path / "foreign.zarr"
            if request.param == "zarr-python":
                made = zarr.create_array(
                    path, name="a", shape=content.shape, chunks=CHUNKS, dtype=content.dtype, zarr_format=2, order="F"
                )
                made[...] = content
            else:
                with z5py.File(path, "a", use_zarr_format=True) as file:
                    file.create_dataset("a", data=content, chunks=CHUNKS, compression="gzip")
            return open_source(path, "a")

        return write


class TestZarrSharded(Stored):
    kind = "zarr sharded"
    extension = ".zarr"
    options: ClassVar[dict[str, Any]] = {"chunks": CHUNKS, "shards": SHARDS}

    @pytest.fixture
    def make_foreign(self, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            path = tmp_path / "foreign.zarr"
            made = zarr.create_array(
                path, name="a", shape=content.shape, chunks=CHUNKS, shards=SHARDS, dtype=content.dtype
            )
            made[...] = content
            return open_source(path, "a")

        return write


class TestZarrArray(Stored):
    kind = "zarr-python array"
    extension = ".zarr"
    impossible: ClassVar[dict[str, str]] = {"foreign": "an array object of this process"}

    @pytest.fixture
    def make_source(self, make_stored: MakeSource) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            return as_source(make_stored(content, writable=writable, axes=axes).array)

        return make

    make_stored = Stored.make_source


class TestN5(Stored):
    kind = "n5"
    extension = ".n5"

    @pytest.fixture(params=["z5py", "tensorstore"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            path = tmp_path / "foreign.n5"
            if request.param == "z5py":
                with z5py.File(path, "a") as file:
                    file.create_dataset("a", data=content, chunks=CHUNKS, compression="gzip")
            else:
                import tensorstore

                spec = {
                    "driver": "n5",
                    "kvstore": {"driver": "file", "path": str(path / "a")},
                    "metadata": {
                        "dataType": content.dtype.name,
                        "dimensions": content.shape[::-1],
                        "blockSize": CHUNKS[::-1],
                        "compression": {"type": "raw"},
                    },
                }
                tensorstore.open(spec, create=True).result()[...] = content.T
            return open_source(path, "a")

        return write


class TestHDF5(Stored):
    kind = "hdf5"
    extension = ".h5"

    @pytest.fixture
    def make_foreign(self, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            with h5py.File(tmp_path / "foreign.h5", "w") as file:
                file.create_dataset("a", data=content, chunks=CHUNKS, compression="gzip", shuffle=True)
            return open_source(tmp_path / "foreign.h5", "a")

        return write


class TestNumpy(SourceConformance):
    kind = "numpy"
    impossible: ClassVar[dict[str, str]] = {
        "reopen": "memory of one process",
        "axes": "an array says nothing of its axes",
        "foreign": "memory of one process",
    }

    @pytest.fixture
    def make_source(self) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            array = content.copy()
            array.flags.writeable = writable
            return as_source(array)

        return make


class TestZarrInMemory(SourceConformance):
    kind = "zarr in memory"
    impossible: ClassVar[dict[str, str]] = {
        "reopen": "memory of one process",
        "axes": "dimension names only",
        "foreign": "memory of one process",
    }

    @pytest.fixture
    def make_source(self) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            store = zarr.storage.MemoryStore()
            made = zarr.create_array(store, shape=content.shape, chunks=CHUNKS, dtype=content.dtype)
            made[...] = content
            return as_source(made if writable else zarr.open_array(store, mode="r"))

        return make


class TestH5pyDataset(TestHDF5):
    kind = "h5py dataset"

    @pytest.fixture
    def make_source(self, make_stored: MakeSource) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            stored = make_stored(content, writable=writable, axes=axes)
            return as_source(stored.array)

        return make

    make_stored = Stored.make_source

    def release(self, source: Source) -> None:
        source.array.file.close()


class TestTif(SourceConformance):
    kind = "tif stack"
    impossible: ClassVar[dict[str, str]] = {"write": "tif files are read only", "axes": "a plain tif has no scale"}

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / f"{next(counter)}.tif"
            tifffile.imwrite(path, content, compression="zlib", photometric="minisblack")
            return open_source(path)

        return make

    @pytest.fixture(params=["uncompressed", "zlib", "tiled", "slices"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            options = {"zlib": {"compression": "zlib"}, "tiled": {"tile": (16, 16), "compression": "zlib"}}
            if request.param != "slices":
                path = tmp_path / "foreign.tif"
                tifffile.imwrite(path, content, photometric="minisblack", **options.get(request.param, {}))
                return open_source(path)
            for z, plane in enumerate(content):
                tifffile.imwrite(tmp_path / f"slice_{z}.tif", plane)
            return open_source(tmp_path)

        return write


class TestDask(SourceConformance):
    kind = "dask array"
    impossible: ClassVar[dict[str, str]] = {
        "write": "a lazy graph stores nothing",
        "reopen": "a lazy graph of one process",
        "axes": "an array says nothing of its axes",
        "foreign": "a lazy graph has no format",
    }

    @pytest.fixture
    def make_source(self) -> MakeSource:
        array = pytest.importorskip("dask.array", reason="pip install dask")

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            return as_source(array.from_array(content, chunks=CHUNKS))

        return make


def test_hdf5_says_what_other_programs_wrote_of_its_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        both = file.create_dataset("both", data=np.zeros((2, 3)))
        both.dims[0].label, both.dims[1].label = "t", "x"
        both.attrs["element_size_um"] = [1.0, 0.25]
        file.create_dataset("sizes", data=np.zeros((2, 3))).attrs["element_size_um"] = [2.0, 0.5]
        file.create_dataset("none", data=np.zeros((2, 3)))
        file.create_dataset("odd", data=np.zeros((2, 3))).attrs["bioimage_py"] = "{"
    axes = {key: open_source(tmp_path / "a.h5", key).axes for key in ("both", "sizes", "none", "odd")}
    assert [axis.name for axis in axes["both"]] == ["t", "x"]
    assert axes["both"] == (Axis("t", "time"), Axis("x", "space", "micrometer", 0.25))
    assert axes["sizes"] == (Axis("y", "space", "micrometer", 2.0), Axis("x", "space", "micrometer", 0.5))
    assert axes["none"] == axes["odd"] == (Axis("y"), Axis("x"))
