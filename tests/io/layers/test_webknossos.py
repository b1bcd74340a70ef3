"""WebKnossos datasets through the six functions: layers as images, magnifications as levels, folders and servers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import BioimageError, FormatError, KeyNotFoundError, OptionError, ShapeError
from bioimage_py.sources import Axis, Source, from_spec, open_source, open_webknossos
from bioimage_py.testing.conformance import MakeSource

from ...sources.webknossos.test_webknossos_conformance import Layers
from ...sources.webknossos.webknossos_data import MAGS, add_layer, add_mag, fill, make_dataset, wk
from ...sources.webknossos.webknossos_server import TOKEN, serving

pytestmark = pytest.mark.filterwarnings("ignore:.*(INFO|WARNING)|.*listed in the dataset:UserWarning")
PROPERTIES = "datasource-properties.json"


class TestAsFiles(Layers):
    kind = "file"
    data_format = "wkw"
    examples = 3
    dtypes = ("uint8", "int32")

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = tmp_path / f"dataset{next(counter)}"
            self.view(path, content, axes)
            source = open_source(path, mode="r+")
            source[...] = content
            return source if writable else open_source(path)

        return make

    @pytest.fixture
    def make_foreign(self, tmp_path: Path) -> Callable[[np.ndarray], Source]:
        def write(content: np.ndarray) -> Source:
            view = self.view(tmp_path / "foreign", content)
            view.write(content.transpose(2, 1, 0)[None], absolute_bounding_box=view.bounding_box, allow_unaligned=True)
            return open_source(tmp_path / "foreign")

        return write


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("library") / "brain")


@pytest.mark.parametrize("layer", ["color_wkw", "ids_zarr3"])
def test_layers_are_images_and_magnifications_levels(dataset: Path, layer: str) -> None:
    for level, mag in enumerate(MAGS):
        wanted = open_webknossos(dataset, layer_name=layer, mag=mag)
        told, read = bp.improps(dataset, key=layer, level=level), bp.imread(dataset, key=layer, level=level)
        np.testing.assert_array_equal(read, wanted[...])
        assert (told.shape, told.dtype) == (read.shape, read.dtype)
        assert told.axes == tuple(axis.name for axis in wanted.axes)
        assert told.spacing is not None
        opened = bp.open_source(dataset, layer, level=level)
        assert (opened.axes, opened.identity) == (wanted.axes, wanted.identity)
        with from_spec(opened.to_spec()) as again:
            np.testing.assert_array_equal(again[...], read)
    told = bp.improps(dataset, key=layer)
    assert told.levels == tuple(open_webknossos(dataset, layer_name=layer, mag=mag).shape for mag in MAGS)
    assert told.is_label is layer.startswith("ids")


def test_images_of_a_dataset(dataset: Path) -> None:
    with bp.imopen(dataset, "r") as file:
        names = [image.name for image in file.images]
        assert names[:2] == ["color_wkw", "ids_wkw"]
        for index, image in enumerate(file.images):
            assert image.shape == file.properties(index).shape == file.read(index).shape
        assert [one.shape for one in file.iter()] == [image.shape for image in file.images]
    assert bp.immeta(dataset, index=1)["mags"] == ["1", "2-2-1", "4-4-2"]
    assert bp.immeta(dataset, index=1, standard=True)["pixel_sizes"]["z"] == [25.0, "nanometer"]
    with pytest.raises(ShapeError):
        bp.imread(dataset, index=...)
    with pytest.raises(IndexError):
        bp.imread(dataset, index=len(names))
    with pytest.raises(KeyNotFoundError, match="color_wkw"):
        bp.imread(dataset, key="nothing")
    with pytest.raises(KeyNotFoundError, match="4-4-2"):
        bp.imread(dataset, key="ids_wkw", level=3)
    with pytest.raises(OptionError):
        bp.imread(dataset, mag=2)
    with pytest.raises(FormatError, match="'w'"):
        bp.open_source(dataset, "ids_wkw", mode="w")
    np.testing.assert_array_equal(
        bp.imread(dataset, key="ids_wkw/2-2-1"), bp.imread(dataset, key="ids_wkw", level="2-2-1")
    )


def test_a_layer_of_a_server(dataset: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        url = f"{server.url}/datasets/{server.add(dataset)}"
        with wk.webknossos_context(url=server.url, token=TOKEN):
            told, read = bp.improps(url, key="streamed", level=1), bp.imread(url, key="streamed", level=1)
            np.testing.assert_array_equal(read, bp.imread(dataset, key="streamed", level=1))
            assert (told.shape, told.dtype, told.format) == (read.shape, read.dtype, "webknossos")
            assert TOKEN not in bp.open_source(url, "streamed").to_spec().to_json()


@pytest.mark.parametrize("where", ["../other/layer/1", "{other}/layer/1", "http://127.0.0.1:9/layer/1"])
def test_voxels_outside_of_the_dataset_are_not_read(tmp_path: Path, where: str) -> None:
    for name in ("a", "other"):
        layer = add_layer(wk.Dataset(tmp_path / name, voxel_size=(1, 1, 1)), "layer", "wkw", dtype="uint8")
        fill(add_mag(layer, 1))
    told = json.loads((tmp_path / "a" / PROPERTIES).read_text())
    told["dataLayers"][0]["mags"][0]["path"] = where.format(other=tmp_path / "other")
    (tmp_path / "a" / PROPERTIES).write_text(json.dumps(told))
    with pytest.raises(FormatError, match="outside"):
        bp.imread(tmp_path / "a")


@pytest.mark.parametrize("text", ["{", "[]", '{"dataLayers": 3}', '{"dataLayers": [{}]}', '{"dataLayers": []}'])
def test_a_damaged_description(tmp_path: Path, text: str) -> None:
    (tmp_path / PROPERTIES).write_text(text)
    calls: list[Callable[[], Any]] = [lambda: bp.imread(tmp_path), lambda: bp.improps(tmp_path)]
    for call in calls:
        with pytest.raises(BioimageError) as caught:
            call()
        assert caught.value.remedy
