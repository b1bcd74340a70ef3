"""KNOSSOS cubes, laid out as the program and its library write them."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError, SourceNotFoundError, StorageError
from bioimage_py.io.formats import array_keys_of
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.testing import MakeSource, SourceConformance

from .common import READ_ONLY, details, opens_again, survives

CUBE = (4, 5, 8)
DATA = np.random.default_rng(11).integers(0, 256, (9, 18, 23)).astype("u1")


def cubes(
    folder: Path, name: str, number: int, data: np.ndarray, ending: str = ".raw", cube: tuple[int, ...] = CUBE
) -> None:
    full = np.zeros([-(-size // edge) * edge for size, edge in zip(data.shape, cube, strict=True)], data.dtype)
    full[tuple(slice(0, size) for size in data.shape)] = data
    for place in np.ndindex(*(size // edge for size, edge in zip(full.shape, cube, strict=True))):
        part = full[tuple(slice(at * edge, (at + 1) * edge) for at, edge in zip(place, cube, strict=True))]
        z, y, x = place
        inner = folder / f"x{x:04}" / f"y{y:04}" / f"z{z:04}"
        inner.mkdir(parents=True, exist_ok=True)
        path = inner / f"{name}_mag{number}_x{x:04}_y{y:04}_z{z:04}{ending}"
        if ending == ".seg.sz.zip":
            imagecodecs = pytest.importorskip("imagecodecs")
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.seg.sz", imagecodecs.snappy_encode(np.ascontiguousarray(part).tobytes()))
        else:
            path.write_bytes(np.ascontiguousarray(part).tobytes())


def layer(name: str, shape: tuple[int, ...], ending: str = ".raw") -> str:
    return (
        f'[[Layer]]\nName = "{name}"\nFileExtension = ["{ending}"]\nExtent_px = {list(shape[::-1])}\n'
        f"VoxelSize_nm = [[8, 8, 30.0], [16, 16, 30.0]]\nCubeShape_px = {list(CUBE[::-1])}\n"
    )


class TestKNOSSOS(SourceConformance):
    kind = "KNOSSOS"
    dtype: ClassVar[str] = "uint8"
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16", "uint64")
    examples: ClassVar[int] = 15
    impossible: ClassVar[dict[str, str]] = {
        "write": READ_ONLY,
        "axes": "lengths are nanometres from 0: test_layers_and_magnifications",
        "foreign": "the library of the field is under the GPL",
    }

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            folder = tmp_path / str(next(counter))
            ending = ".seg" if content.dtype == np.uint64 else ".raw"
            cubes(folder / "mag1", "a", 1, content, ending)
            (folder / "a.k.toml").write_text(layer("a", content.shape, ending))
            return open_source(folder / "a.k.toml")

        return make


def test_layers_and_magnifications(tmp_path: Path) -> None:
    ids = DATA.astype("u8") * 2**40
    cubes(tmp_path / "mag1", "raw", 1, DATA)
    cubes(tmp_path / "mag2", "raw", 2, DATA[:, ::2, ::2])
    cubes(tmp_path / "mag1", "seg", 1, ids, ".seg.sz.zip")
    (tmp_path / "a.k.toml").write_text(layer("raw", DATA.shape) + layer("seg", DATA.shape, ".seg.sz.zip"))
    assert array_keys_of(str(tmp_path / "a.k.toml")) == ["raw", "seg"]
    with open_source(tmp_path / "a.k.toml", "raw") as source:
        np.testing.assert_array_equal(source[...], DATA)
        assert source.axes == (
            Axis("z", "space", "nanometer", 30.0),
            Axis("y", "space", "nanometer", 8.0),
            Axis("x", "space", "nanometer", 8.0),
        )
        (name,) = source.stored_in((slice(4, 5), slice(5, 9), slice(0, 3))).names
        assert name.endswith("raw_mag1_x0000_y0001_z0001.raw")
    with open_source(tmp_path / "a.k.toml", "raw", level=1) as source:
        np.testing.assert_array_equal(source[...], DATA[:, ::2, ::2])
        assert source.axes[-1] == Axis("x", "space", "nanometer", 16.0, 4.0)
        opens_again(source)
    with open_source(tmp_path / "a.k.toml", "seg") as source:
        np.testing.assert_array_equal(source[...], ids)
    assert details(tmp_path / "a.k.toml", "seg").is_label
    with pytest.raises(KeyNotFoundError, match="no level 2"):
        open_source(tmp_path / "a.k.toml", "raw", level=2)


@pytest.mark.parametrize("inside", [False, True])
def test_old_configurations(tmp_path: Path, inside: bool) -> None:
    data = np.random.default_rng(0).integers(0, 256, (3, 130, 5)).astype("u1")
    text = 'experiment name "e{}";\nboundary x 5;\nboundary y 130;\nboundary z 3;\n'
    text += "scale x 22.0;\nscale y 22.0;\nscale z 30.5;\n"
    cubes(tmp_path if inside else tmp_path / "mag1", "e", 1, data, cube=(128,) * 3)
    (tmp_path / "knossos.conf").write_text(text.format("_mag1" if inside else ""))
    with open_source(tmp_path / "knossos.conf") as source:
        np.testing.assert_array_equal(source[...], data)
        assert [axis.scale for axis in source.axes] == [30.5, 22.0, 22.0]


def test_cubes_that_are_missing_or_damaged(tmp_path: Path) -> None:
    cubes(tmp_path / "mag1", "a", 1, DATA)
    (tmp_path / "a.k.toml").write_text(layer("a", DATA.shape))
    cube = tmp_path / "mag1/x0000/y0000/z0000/a_mag1_x0000_y0000_z0000.raw"
    content = cube.read_bytes()
    cube.unlink()
    with open_source(tmp_path / "a.k.toml") as source:
        assert not source[:4, :5, :8].any()
        np.testing.assert_array_equal(source[4:], DATA[4:])
        cube.write_bytes(content[:-1])
        with pytest.raises(StorageError, match="159 bytes"):
            source[0]
        (tmp_path / "secret").write_bytes(content)
        cube.unlink()
        cube.symlink_to(tmp_path / "secret")
        with pytest.raises(StorageError, match="link out of"):
            source[0]


def test_other_files_and_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.k.toml"
    for text in ("", "this is = no [toml", "[[Layer]]\n", layer("../a", DATA.shape), layer("a", (-1, 2, 3)), "\0"):
        path.write_text(text)
        with pytest.raises(FormatError):
            open_source(path)
    path.write_text(layer("a", DATA.shape, ".jpg"))
    with pytest.raises(FormatError, match=r"\.jpg"):
        open_source(path)
    path.write_text(layer("a", DATA.shape))
    with pytest.raises(FormatError, match="no layer"):
        open_source(path)
    (tmp_path / "other.conf").write_text("[section]\na = 1\n")
    with pytest.raises(FormatError, match="no KNOSSOS file"):
        open_source(tmp_path / "other.conf")
    with pytest.raises(SourceNotFoundError):
        open_source(tmp_path / "none.conf")


def test_damaged_configurations(tmp_path: Path) -> None:
    cubes(tmp_path / "mag1", "a", 1, DATA)
    (tmp_path / "a.k.toml").write_text(layer("a", DATA.shape))
    survives(tmp_path / "a.k.toml", 200, 80)
