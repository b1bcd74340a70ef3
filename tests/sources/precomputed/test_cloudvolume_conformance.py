"""CloudVolume layers on disk, on the web and in S3 pass the conformance suite."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.sources import Axis, Source, open_cloudvolume
from bioimage_py.sources.precomputed.cloudvolume_library import LibraryLayer
from bioimage_py.testing import SourceConformance
from bioimage_py.testing.conformance import MakeSource

from .precomputed_layers import SIZE, by_tensorstore, new_layer, serving, upload


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over ``tmp_path / "web"``."""
    with serving(tmp_path / "web") as url:
        yield url


class Precomputed(SourceConformance):
    shape: ClassVar[tuple[int, ...]] = SIZE[::-1]
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
    examples: ClassVar[int] = 25
    encoding: ClassVar[str] = "raw"

    def about(self, content: np.ndarray, axes: tuple[Axis, ...] | None) -> dict[str, Any]:
        about: dict[str, Any] = {"encoding": self.encoding}
        if axes:
            spatial = [axis for axis in axes if axis.kind == "space"][::-1]
            about["resolution"] = tuple(axis.scale for axis in spatial)
            about["offset"] = tuple(round(axis.offset / axis.scale) for axis in spatial)
        return about

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            url = new_layer(tmp_path / "layers" / str(next(counter)), content, **self.about(content, axes))
            return open_cloudvolume(url, mode="r+" if writable else "r")

        return make

    @pytest.fixture(params=["cloud-volume", "tensorstore"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            if request.param == "cloud-volume":
                return open_cloudvolume(new_layer(tmp_path / "foreign", content, **self.about(content, None)))
            return open_cloudvolume(by_tensorstore(tmp_path / "foreign", content, encoding=self.encoding))

        return write


class TestCloudVolume(Precomputed):
    kind = "cloudvolume (file)"


class TestSegmentation(Precomputed):
    kind = "cloudvolume (file)"
    dtype = "uint64"
    dtypes: ClassVar[tuple[str, ...]] = ("uint32", "uint64")
    encoding = "compressed_segmentation"

    @pytest.fixture(params=["cloud-volume"])
    def make_foreign(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        return lambda content: open_cloudvolume(new_layer(tmp_path / "foreign", content, encoding=self.encoding))


class TestChannels(Precomputed):
    kind = "cloudvolume (file)"
    shape: ClassVar[tuple[int, ...]] = (8, 9, 7, 11)  # channels first

    def given_axes(self) -> tuple[Axis, ...]:
        return (Axis("c", "channel"), *super().given_axes()[1:])


class TestTensorStorePrecomputed(Precomputed):
    kind = "tensorstore precomputed"

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / "layers" / str(next(counter))
            new_layer(path, content, **self.about(content, axes))
            return bp.open_tensorstore_precomputed(path, "r+" if writable else "r")

        return make


class TestLibrary(Precomputed):
    """The library's own way, taken here because of its cache."""

    kind = "cloudvolume (library)"
    examples = 5

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            number = next(counter)
            url = new_layer(tmp_path / "layers" / str(number), content, **self.about(content, axes))
            found = open_cloudvolume(url, mode="r+" if writable else "r", autocrop=False)
            assert isinstance(found._layer, LibraryLayer)
            return found

        return make


class TestWeb(Precomputed):
    kind = "cloudvolume (http)"
    impossible: ClassVar[dict[str, str]] = {"write": "web servers are read only"}
    shape: ClassVar[tuple[int, ...]] = (7, 9, 10)
    examples = 5

    @pytest.fixture
    def make_source(self, web: str, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            number = next(counter)
            new_layer(tmp_path / "web" / str(number), content, **self.about(content, axes))
            return open_cloudvolume(f"precomputed://{web}/{number}")

        return make

    @pytest.fixture(params=["cloud-volume, gzip", "cloud-volume", "tensorstore"])
    def make_foreign(self, request: pytest.FixtureRequest, web: str, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            if request.param == "tensorstore":
                by_tensorstore(tmp_path / "web" / "a", content)
            else:
                new_layer(tmp_path / "web" / "a", content, compress="gzip" in request.param)
            return open_cloudvolume(f"{web}/a")

        return write


class TestS3(Precomputed):
    kind = "cloudvolume (s3)"
    shape: ClassVar[tuple[int, ...]] = (7, 9, 10)
    examples = 5
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint64", "float32")

    @pytest.fixture
    def make_source(self, s3: str, s3_endpoint: str, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            number = next(counter)
            new_layer(tmp_path / str(number), content, **self.about(content, axes))
            upload(tmp_path / str(number), f"{s3}/{number}", s3_endpoint)
            return open_cloudvolume(f"{s3}/{number}", mode="r+" if writable else "r")

        return make

    @pytest.fixture(params=["cloud-volume", "tensorstore"])
    def make_foreign(
        self, request: pytest.FixtureRequest, s3: str, s3_endpoint: str, tmp_path: Path
    ) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            (new_layer if request.param == "cloud-volume" else by_tensorstore)(tmp_path / "a", content)
            upload(tmp_path / "a", f"{s3}/a", s3_endpoint)
            return open_cloudvolume(f"{s3}/a")

        return write
