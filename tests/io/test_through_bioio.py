"""Files that bioio reads: through the library where it is installed, and through one that answers as it does."""

from __future__ import annotations

import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py import extras
from bioimage_py.errors import FormatError, KeyNotFoundError, MissingDependencyError, StorageError

SCENES = [np.arange(2 * 3 * 4 * 5 * 6, dtype="u2").reshape(2, 3, 4, 5, 6), np.ones((1, 1, 1, 7, 8, 3), "u1")]
Sizes = namedtuple("Sizes", "Z Y X")


class Plane:
    def __init__(self, image: Any, order: str, where: dict[str, int]) -> None:
        self.image, self.order, self.where = image, order, where

    def compute(self, scheduler: str) -> np.ndarray:
        if self.where.get("T") == 1 and "broken" in self.image.path:
            raise RuntimeError("of the reader")
        self.image.read.append(self.where)
        return self.image.data[tuple(self.where[letter] for letter in "TCZ")]


class BioImage:
    """What is used of the class of bioio."""

    read: list[dict[str, int]] = []

    def __init__(self, path: str) -> None:
        if Path(path).read_text() == "no image":
            raise ValueError("install a reader")
        self.path, self.scenes, self.scene = path, ("a", "b"), 0
        self.reader = SimpleNamespace()

    def set_scene(self, number: int) -> None:
        self.scene = number

    data = property(lambda self: SCENES[self.scene])
    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    dims = property(lambda self: SimpleNamespace(order="TCZYXS"[: self.data.ndim]))
    current_scene = property(lambda self: self.scenes[self.scene])
    channel_names = property(lambda self: ["DAPI", "GFP", "µ"][: self.shape[1]])
    physical_pixel_sizes = property(lambda self: Sizes(2.0, 0.5, None))

    def get_image_dask_data(self, order: str, **where: int) -> Plane:
        return Plane(self, order, where)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module: Any = ModuleType("bioio")
    module.BioImage = BioImage
    monkeypatch.setitem(sys.modules, "bioio", module)
    monkeypatch.setattr(extras, "need", lambda *_: None)
    monkeypatch.setattr("bioimage_py.io.formats.need", lambda *_: None)
    BioImage.read.clear()
    (tmp_path / "a.czi").write_text("scan")
    return tmp_path / "a.czi"


def test_scenes_are_images_and_planes_are_read_one_by_one(path: Path) -> None:
    told = iio.improps(path, plugin="bioio")
    assert (told.axes, told.shape, told.n_total) == (("t", "c", "z", "y", "x"), SCENES[0].shape, 2)
    assert told.spacing == (None, None, 2.0, 0.5, None)
    assert told.channel_names == ("DAPI", "GFP", "µ")
    assert BioImage.read == []
    np.testing.assert_array_equal(
        iio.imread(path, plugin="bioio", roi={"t": slice(1, 2), "c": slice(0, 1)}), SCENES[0][1:, :1]
    )
    assert {tuple(where.values()) for where in BioImage.read} == {(1, 0, z) for z in range(4)}
    np.testing.assert_array_equal(iio.imread(path, plugin="bioio", index=1), SCENES[1])
    assert iio.improps(path, plugin="bioio", index=1).is_rgb
    with bp.open_source(path, "0", format="bioio") as source:
        np.testing.assert_array_equal(bp.copy(source, num_workers=2), SCENES[0])
        again = bp.sources.from_spec(source.to_spec())
    np.testing.assert_array_equal(again[1, 2], SCENES[0][1, 2])


def test_what_goes_wrong(path: Path) -> None:
    with pytest.raises(KeyNotFoundError):
        bp.open_source(path, "7", format="bioio")
    path.write_text("no image")
    with pytest.raises(FormatError, match="No reader of bioio"):
        iio.imread(path, plugin="bioio")
    (path.parent / "broken.czi").write_text("scan")
    with pytest.raises(StorageError, match="of the reader"):
        iio.imread(path.parent / "broken.czi", plugin="bioio")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.czi").touch()
    monkeypatch.setitem(sys.modules, "bioio", None)
    with pytest.raises(MissingDependencyError) as error:
        iio.imread(tmp_path / "a.czi", plugin="bioio")
    assert error.value.remedy == "pip install bioio"


def test_the_library_itself(tmp_path: Path) -> None:
    pytest.importorskip("bioio_ome_tiff")
    data = np.random.default_rng(0).integers(0, 4000, (2, 3, 40, 48)).astype("u2")
    iio.imwrite(tmp_path / "a.ome.tif", data, axes="czyx", scale=0.5, unit="um")
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.ome.tif", plugin="bioio", axes="czyx"), data)
