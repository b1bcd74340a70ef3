"""WebKnossos layers pass the conformance suite: local ones in every format, and those of a server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.sources import Axis, Source, open_webknossos
from bioimage_py.testing import SourceConformance
from bioimage_py.testing.conformance import MakeSource

from .webknossos_data import VOXEL, add_layer, add_mag, wk
from .webknossos_server import TOKEN, serving

pytestmark = pytest.mark.filterwarnings("ignore:.*(INFO|WARNING)|.*listed in the dataset:UserWarning")


class Layers(SourceConformance):
    """A layer of a local dataset with the box and the voxel size that the axes ask for."""

    data_format: ClassVar[str]
    compress: ClassVar[bool] = True
    examples = 20
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16", "uint32", "uint64", "int8", "int32", "int64", "float32")

    def view(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...] | None = None) -> Any:
        """A layer that the library has made."""
        scale = [axis.scale for axis in axes[::-1]] if axes else VOXEL
        start = [round(axis.offset / axis.scale) for axis in axes[::-1]] if axes else (3, 2, 5)
        made = wk.Dataset(path, voxel_size=tuple(scale))
        box = {"topleft": tuple(start), "size": content.shape[::-1]}
        category = "segmentation" if content.dtype.kind in "iu" else "color"
        layer = add_layer(made, "layer", self.data_format, category=category, dtype=content.dtype, **box)
        return add_mag(layer, 1, chunk=4, shard=8, compress=self.compress)

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / f"dataset{next(counter)}"
            self.view(path, content, axes)
            source = open_webknossos(path, mode="r+")
            source[...] = content
            return source if writable else open_webknossos(path)

        return make

    @pytest.fixture
    def make_foreign(self, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            view = self.view(tmp_path / "foreign", content)
            view.write(content.transpose(2, 1, 0)[None], absolute_bounding_box=view.bounding_box, allow_unaligned=True)
            return open_webknossos(tmp_path / "foreign")

        return write


class TestWKW(Layers):
    kind = "webknossos (wkw)"
    data_format = "wkw"


class TestRawWKW(Layers):
    kind = "webknossos (wkw)"
    data_format = "wkw"
    compress = False


class TestWebKnossosZarr(Layers):
    kind = "webknossos (zarr)"
    data_format = "zarr"


class TestWebKnossosZarr3(Layers):
    kind = "webknossos (zarr3)"
    data_format = "zarr3"


class TestWebKnossosServer(Layers):
    kind = "webknossos (server)"
    data_format = "zarr"
    impossible: ClassVar[dict[str, str]] = {"write": "layers of a server are written by uploads only"}

    @pytest.fixture
    def make_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSource]:
        counter = itertools.count()
        with serving(tmp_path / "server") as server:
            monkeypatch.setenv("WK_URL", server.url)  # for other processes; this one has read them already
            monkeypatch.setenv("WK_TOKEN", TOKEN)
            with wk.webknossos_context(url=server.url, token=TOKEN):

                def make(content: np.ndarray, *, writable: bool = True, axes: Any = None) -> Source:
                    path = tmp_path / f"dataset{next(counter)}"
                    self.view(path, content, axes)
                    open_webknossos(path, mode="r+")[...] = content
                    return open_webknossos(f"{server.url}/datasets/{server.add(path)}")

                yield make

    @pytest.fixture
    def make_foreign(self, tmp_path: Path) -> Iterator[Callable[[np.ndarray], Source]]:
        with serving(tmp_path / "server") as server, wk.webknossos_context(url=server.url, token=TOKEN):

            def write(content: np.ndarray) -> Source:
                view = self.view(tmp_path / "foreign", content)
                voxels = content.transpose(2, 1, 0)[None]
                view.write(voxels, absolute_bounding_box=view.bounding_box, allow_unaligned=True)
                return open_webknossos(f"{server.url}/datasets/{server.add(tmp_path / 'foreign')}")

            yield write
