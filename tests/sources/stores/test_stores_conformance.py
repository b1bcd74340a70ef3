"""Arrays in stores other than a local folder, and OME-Zarr images, pass the conformance suite."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.io import create_array
from bioimage_py.io.ome import write_multiscales
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.sources.axes import default_axes
from bioimage_py.testing import MakeSource, SourceConformance

from ...conftest import WebServer

zarr = pytest.importorskip("zarr")
CHUNKS = (4, 5, 8)
WEB = {"write": "web servers are read only"}
ARCHIVE = {"write": "archives are read only"}


def put(path: Path | str, content: np.ndarray, axes: tuple[Axis, ...] | None = None, key: str = "a") -> None:
    """Write an array by this package."""
    with create_array(path, key, shape=content.shape, dtype=content.dtype, chunks=CHUNKS, axes=axes or ()) as made:
        made[...] = content


def put_by_zarr(path: Path, content: np.ndarray) -> None:
    """Write an array by zarr-python."""
    made = zarr.create_array(path, name="a", shape=content.shape, chunks=CHUNKS, dtype=content.dtype)
    made[...] = content


def pack(folder: Path) -> Path:
    """A zip archive of a folder, beside it."""
    archive = folder.with_suffix(".zarr.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


class TestS3(SourceConformance):
    kind = "zarr v3 (s3)"
    shape: ClassVar[tuple[int, ...]] = (7, 9, 10)
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint64", "float32")
    examples = 5

    @pytest.fixture
    def make_source(self, s3: str) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            url = f"{s3}/{next(counter)}.zarr"
            put(url, content, axes)
            return open_source(url, "a", mode="r+" if writable else "r")

        return make

    @pytest.fixture
    def make_foreign(self, s3: str, s3_endpoint: str, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        import boto3

        def write(content: np.ndarray) -> Source:
            put_by_zarr(tmp_path / "foreign.zarr", content)
            client, prefix = (
                boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1"),
                s3.rpartition("/")[2],
            )
            for path in (tmp_path / "foreign.zarr").rglob("*"):
                if path.is_file():
                    client.upload_file(str(path), "volumes", f"{prefix}/{path.relative_to(tmp_path)}")
            return open_source(f"{s3}/foreign.zarr", "a")

        return write


class TestWeb(SourceConformance):
    kind = "zarr v3 (http)"
    impossible: ClassVar[dict[str, str]] = WEB
    shape: ClassVar[tuple[int, ...]] = (7, 9, 10)
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint64", "float32")
    examples = 5

    @pytest.fixture
    def make_source(self, web_server: WebServer) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            name = f"{next(counter)}.zarr"
            put(web_server.folder / name, content, axes)
            return open_source(f"{web_server.url}/{name}", "a")

        return make

    @pytest.fixture
    def make_foreign(self, web_server: WebServer) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            put_by_zarr(web_server.folder / "foreign.zarr", content)
            return open_source(f"{web_server.url}/foreign.zarr", "a")

        return write


class TestZip(SourceConformance):
    kind = "zarr v3 (zip)"
    impossible: ClassVar[dict[str, str]] = ARCHIVE
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint64", "float32")

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            folder = tmp_path / f"{next(counter)}.zarr"
            put(folder, content, axes)
            return open_source(pack(folder), "a")

        return make

    @pytest.fixture
    def make_foreign(self, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            put_by_zarr(tmp_path / "foreign.zarr", content)
            return open_source(pack(tmp_path / "foreign.zarr"), "a")

        return write


class TestMemory(SourceConformance):
    kind = "zarr v3 (memory)"
    impossible: ClassVar[dict[str, str]] = {
        "reopen": "the memory of a process is its own",
        "foreign": "no other program reaches it",
    }
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint64", "float32")

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            url = f"memory://{tmp_path.name}-{id(tmp_path)}-{next(counter)}.zarr"
            put(url, content, axes)
            return open_source(url, "a", mode="r+" if writable else "r")

        return make


class TestOmeZarr(SourceConformance):
    kind = "ome-zarr"
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16", "float32")

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / f"{next(counter)}.ome.zarr"
            put(path, content, axes, key="0")
            write_multiscales(path, levels=[("0", axes or default_axes(content.ndim))])
            return open_source(path, level=0, mode="r+" if writable else "r")

        return make

    @pytest.fixture(params=["0.4", "0.5"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        ngff_zarr = pytest.importorskip("ngff_zarr")

        def write(content: np.ndarray) -> Source:
            image = ngff_zarr.to_ngff_image(content, dims=("z", "y", "x"), scale={"z": 2.0, "y": 0.5, "x": 0.5})
            scales: Any = ngff_zarr.to_multiscales(image, scale_factors=[2])
            ngff_zarr.to_ngff_zarr(str(tmp_path / "foreign.ome.zarr"), scales, version=request.param)
            return open_source(tmp_path / "foreign.ome.zarr")

        return write
