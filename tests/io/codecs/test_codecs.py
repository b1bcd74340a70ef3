"""JPEG 2000, JPEG XL and AVIF: equal to what the codecs give, told before it is decoded, damaged in many ways."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import DtypeError, ParameterError, ShapeError
from bioimage_py.io.details import Details, Image
from bioimage_py.io.formats import format_named
from bioimage_py.sources import Axis
from bioimage_py.sources.spec import load_qualified

from ..image_files.common import FileConformance, survives

imagecodecs = pytest.importorskip("imagecodecs")

LOSSLESS = {"jpeg2000": (".jp2", ".j2k"), "jpegxl": (".jxl",), "avif": (".avif",)}
RANDOM = np.random.default_rng(2)


def agrees(path: Path, index: Any = None) -> np.ndarray:
    told, read = bp.improps(path, index=index), bp.imread(path, index=index)
    assert (told.shape, told.dtype) == (read.shape, read.dtype)
    assert told.axes is not None
    assert len(told.axes) == read.ndim
    return read


@pytest.mark.parametrize("samples", [0, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("ending", [".jp2", ".j2k", ".jxl", ".avif"])
def test_what_was_written_comes_back(ending: str, dtype: str, samples: int, tmp_path: Path) -> None:
    image = RANDOM.integers(0, np.iinfo(dtype).max, (20, 31, *((samples,) if samples else ())), dtype=dtype)
    path = tmp_path / f"a{ending}"
    if ending == ".avif" and dtype == "u2":
        with pytest.raises(DtypeError):
            bp.imwrite(path, image)
        return
    bp.imwrite(path, image)
    np.testing.assert_array_equal(agrees(path), image)
    assert bp.improps(path).is_rgb is bool(samples)
    np.testing.assert_array_equal(bp.open_source(path)[...], image)
    unnamed = path.rename(tmp_path / "unnamed")
    np.testing.assert_array_equal(bp.imread(unnamed), image)
    assert bp.improps(unnamed).format == bp.improps(unnamed.read_bytes(), extension=ending).format


def test_a_lower_quality_is_smaller(tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :64]
    image = (x * 2 + y + RANDOM.integers(0, 20, (64, 64))).astype("u1")
    for ending in (".jp2", ".jxl", ".avif"):
        bp.imwrite(tmp_path / f"a{ending}", image)
        bp.imwrite(tmp_path / f"b{ending}", image, quality=40)
        assert (tmp_path / f"b{ending}").stat().st_size < (tmp_path / f"a{ending}").stat().st_size
        assert np.abs(agrees(tmp_path / f"b{ending}").astype(int) - image).mean() < 12
        with pytest.raises(ParameterError):
            bp.imwrite(tmp_path / f"c{ending}", image, quality=101)


def tiled(image: np.ndarray) -> bytes:
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "JPEG2000", tile_size=(16, 16), irreversible=False)
    return stream.getvalue()


HEADS: dict[str, tuple[str, Any]] = {
    "signed": (".jp2", lambda a: imagecodecs.jpeg2k_encode(a.astype("i2") * 100 - 9000, reversible=True, level=0)),
    "12 bits": (
        ".j2k",
        lambda a: imagecodecs.jpeg2k_encode(a.astype("u2"), reversible=True, level=0, bitspersample=12),
    ),
    "tiles": (".jp2", tiled),
    "grey and alpha of JPEG 2000": (".jp2", lambda a: imagecodecs.jpeg2k_encode(np.dstack([a, a]), level=0)),
    "float": (".jxl", lambda a: imagecodecs.jpegxl_encode((a / 255).astype("f4"), lossless=True)),
    "half": (".jxl", lambda a: imagecodecs.jpegxl_encode((a / 255).astype("f2"), lossless=True)),
    "lossy": (".jxl", lambda a: imagecodecs.jpegxl_encode(np.dstack([a, a, a]), distance=1)),
    "grey and alpha": (".jxl", lambda a: imagecodecs.jpegxl_encode(np.dstack([a, a]), lossless=True)),
    "container": (".jxl", lambda a: imagecodecs.jpegxl_encode(a, lossless=True, usecontainer=True)),
    "12 bits of JPEG XL": (
        ".jxl",
        lambda a: imagecodecs.jpegxl_encode(a.astype("u2"), lossless=True, bitspersample=12),
    ),
    "square": (".jxl", lambda a: imagecodecs.jpegxl_encode(a[:16, :16].copy(), lossless=True)),
    "ratio": (".jxl", lambda a: imagecodecs.jpegxl_encode(np.tile(a, (8, 9))[:120, :160].copy(), lossless=True)),
    "large": (".jxl", lambda a: imagecodecs.jpegxl_encode(np.tile(a, (1, 100)), lossless=True)),
}
DECODE = {".jp2": imagecodecs.jpeg2k_decode, ".j2k": imagecodecs.jpeg2k_decode, ".jxl": imagecodecs.jpegxl_decode}


@pytest.mark.parametrize("name", HEADS)
def test_heads_tell_what_the_codec_gives(name: str, tmp_path: Path) -> None:
    ending, encode = HEADS[name]
    content = bytes(encode(RANDOM.integers(0, 255, (20, 31), dtype="u1")))
    (tmp_path / f"a{ending}").write_bytes(content)
    np.testing.assert_array_equal(agrees(tmp_path / f"a{ending}"), DECODE[ending](content))


def test_bits_and_orientation(tmp_path: Path) -> None:
    image = RANDOM.integers(0, 255, (20, 31), dtype="u1")
    (tmp_path / "a.j2k").write_bytes(imagecodecs.jpeg2k_encode(image.astype("u2"), level=0, bitspersample=12))
    assert bp.improps(tmp_path / "a.j2k").bits == 12
    from PIL import Image as Pillow

    exif, stream = Pillow.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Pillow.fromarray(image).save(stream, "AVIF", exif=exif, quality=100)
    (tmp_path / "turned.avif").write_bytes(stream.getvalue())
    read = agrees(tmp_path / "turned.avif")
    assert read.shape[:2] == (31, 20)
    with bp.imopen(tmp_path / "turned.avif", "r") as file:
        assert file.applied() == {"Orientation": 6}
    deep = imagecodecs.avif_encode(image.astype("u2") * 4, level=100, bitspersample=10)
    (tmp_path / "deep.avif").write_bytes(deep)
    with pytest.warns(UserWarning, match="10 bits"):
        assert agrees(tmp_path / "deep.avif").dtype == np.uint8


def test_animations(tmp_path: Path) -> None:
    frames = RANDOM.integers(0, 255, (3, 16, 24, 3), dtype="u1")
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(frames, lossless=True))
    with pytest.warns(UserWarning, match="first"):
        np.testing.assert_array_equal(agrees(tmp_path / "a.jxl"), frames[0])
    bp.imwrite(tmp_path / "a.avif", frames, axes="tyxc")
    assert agrees(tmp_path / "a.avif").shape == frames.shape


@pytest.mark.parametrize("ending", [".jp2", ".jxl", ".avif"])
def test_what_cannot_be_held(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    with pytest.raises(DtypeError, match="tif"):
        bp.imwrite(path, np.zeros((8, 8), "f4"))
    with pytest.raises(ShapeError):
        bp.imwrite(path, np.zeros((2, 3, 8, 8), "u1"))
    with pytest.raises(ShapeError):
        bp.imwrite(path, np.zeros((8, 8, 5), "u1"), axes="yxc")
    assert not path.exists()
    report = bp.imwrite(path, np.zeros((8, 8), "u1"), scale=0.5, unit="um", report=True)
    assert any("scale" in one for one in report.lost)


@pytest.mark.parametrize("ending", [".jp2", ".j2k", ".jxl"])
def test_damaged_files(ending: str, tmp_path: Path) -> None:
    bp.imwrite(tmp_path / f"a{ending}", RANDOM.integers(0, 255, (20, 31, 3), dtype="u1"))
    survives(tmp_path / f"a{ending}", 200, 40)


class Picture(FileConformance):
    kind = "file"
    shape: ClassVar[tuple[int, ...]] = (12, 9)
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16")
    examples = 5
    impossible: ClassVar[dict[str, str]] = {"write": "written as a whole", "foreign": "see above", "axes": "no scale"}

    def store(self, path: Path, content: np.ndarray, axes: tuple[Axis, ...] | None) -> None:
        image = Image(content, tuple(Axis(name, "space") for name in "yx"), "", Details())
        load_qualified(format_named(self.format).write)(str(path), [image], {})

    format: ClassVar[str]


class TestJpeg2000(Picture):
    extension = ".jp2"
    format = "jpeg2000"
