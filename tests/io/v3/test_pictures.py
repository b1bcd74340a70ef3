"""Pictures, beside what imageio reads of the same files."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bioimage_py.io.v3 as iio
from bioimage_py.errors import DtypeError, ShapeError

real = pytest.importorskip("imageio.v3")

GREY = np.random.default_rng(1).integers(0, 255, (20, 24), dtype="u1")
COLOUR = np.random.default_rng(2).integers(0, 255, (20, 24, 3), dtype="u1")
ALPHA = np.random.default_rng(3).integers(0, 255, (20, 24, 4), dtype="u1")
KEPT = [
    (".png", GREY),
    (".png", COLOUR),
    (".png", ALPHA),
    (".png", GREY > 99),
    (".png", GREY.astype("u2") * 200),
    (".bmp", GREY),
    (".bmp", COLOUR),
    (".webp", COLOUR),
    (".webp", ALPHA),
]


@pytest.mark.parametrize(("ending", "picture"), KEPT)
def test_pictures_are_kept(ending: str, picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"p{ending}"
    iio.imwrite(path, picture)
    told, read = iio.improps(path), iio.imread(path)
    assert (told.shape, told.dtype, told.is_rgb) == (read.shape, read.dtype, picture.ndim == 3)
    np.testing.assert_array_equal(read, picture)
    np.testing.assert_array_equal(real.imread(path), picture)
    np.testing.assert_array_equal(iio.imread(path, index=...), picture[None])
    assert iio.improps(path, index=...).shape == real.improps(path, index=...).shape


def test_colours_of_16_bits_stay_16_bits(tmp_path: Path) -> None:
    picture = COLOUR.astype("u2") * 250
    iio.imwrite(tmp_path / "p.png", picture)
    np.testing.assert_array_equal(iio.imread(tmp_path / "p.png"), picture)
    assert iio.improps(tmp_path / "p.png").dtype == "u2"
    assert real.imread(tmp_path / "p.png").dtype == "u1"  # half of the bits are gone there


@pytest.mark.parametrize("picture", [GREY, COLOUR])
def test_jpeg(picture: np.ndarray, tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "p.jpg", picture)
    np.testing.assert_array_equal(iio.imread(tmp_path / "p.jpg"), real.imread(tmp_path / "p.jpg"))
    assert iio.improps(tmp_path / "p.jpg").compression == "jpeg"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_modes_of_other_writers(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(GREY.astype("u2") * 9) if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
    picture.save(tmp_path / "p.png")
    told, read = iio.improps(tmp_path / "p.png"), iio.imread(tmp_path / "p.png")
    assert (told.shape, told.dtype) == (read.shape, read.dtype)
    expected = picture.convert({"P": "RGB", "LA": "RGBA"}.get(mode, mode))
    np.testing.assert_array_equal(read, np.asarray(expected))
    assert ("palette" in iio.imopen(tmp_path / "p.png", "r").applied()) == (mode == "P")


def test_an_animation_is_one_image_with_time(tmp_path: Path) -> None:
    frames = (np.arange(6)[:, None, None, None] * 40 + np.zeros((6, 20, 24, 3))).astype("u1")
    iio.imwrite(tmp_path / "a.gif", frames, duration=50)
    told, read = iio.improps(tmp_path / "a.gif"), iio.imread(tmp_path / "a.gif")
    assert (told.shape, told.n_images, told.is_batch, told.axes) == (read.shape, 6, True, ("t", "y", "x", "c"))
    assert (told.spacing, told.time_step) == ((0.05, None, None, None), 0.05)
    np.testing.assert_array_equal(read, frames)
    np.testing.assert_array_equal(read, real.imread(tmp_path / "a.gif"))
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.gif", index=...), frames)
    for index in (0, 4, -1):
        np.testing.assert_array_equal(iio.imread(tmp_path / "a.gif", index=index), frames[index])
        assert iio.improps(tmp_path / "a.gif", index=index).shape == frames[index].shape
        with iio.imopen(tmp_path / "a.gif", "r") as file:
            np.testing.assert_array_equal(file.source(index)[2:5], frames[index, 2:5])
    np.testing.assert_array_equal(list(iio.imiter(tmp_path / "a.gif")), frames)
    with pytest.raises(IndexError, match="6 images"):
        iio.imread(tmp_path / "a.gif", index=6)
    iio.imwrite(tmp_path / "a.png", list(frames))
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), frames)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = np.zeros((16, 32, 3), "u1")
    picture[:8, :8] = 255
    Image.fromarray(picture).save(tmp_path / "o.jpg", exif=exif, quality=100)
    told, read = iio.improps(tmp_path / "o.jpg"), iio.imread(tmp_path / "o.jpg")
    assert told.shape == read.shape == ((32, 16, 3) if orientation > 4 else (16, 32, 3))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    bright = [at for at in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if read[at].min() > 200]
    assert bright == [corner[orientation]]
    applied = {} if orientation == 1 else {"Orientation": orientation}
    with iio.imopen(tmp_path / "o.jpg", "r") as file:
        assert file.applied() == applied
    all_ = iio.immeta(tmp_path / "o.jpg", exclude_applied=False)
    assert all_["Orientation"] == orientation
    assert ("Orientation" in iio.immeta(tmp_path / "o.jpg")) == (orientation == 1)
    report = iio.imwrite(tmp_path / "again.jpg", read, metadata=all_, report=True, quality=100)
    assert "metadata 'Orientation'" in report.lost
    assert iio.imread(tmp_path / "again.jpg").shape == read.shape


@pytest.mark.parametrize(
    ("ending", "picture", "error"),
    [
        (".png", np.zeros((4, 5)), DtypeError),
        (".jpg", np.zeros((4, 5), "u2"), DtypeError),
        (".png", np.zeros((4, 5), "i8"), DtypeError),
        (".jpg", np.zeros((4, 5, 4), "u1"), ShapeError),
        (".bmp", np.zeros((2, 4, 5), "u1"), ShapeError),
        (".png", np.zeros((2, 3, 4, 5), "u1"), ShapeError),
        (".png", np.zeros(4, "u1"), ShapeError),
    ],
)
def test_what_a_picture_cannot_hold(ending: str, picture: np.ndarray, error: type, tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        iio.imwrite(tmp_path / f"p{ending}", picture)
    assert ".tif" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_decoded_when_its_voxels_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "PNG")
    calls: list[str] = []
    whole = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda self: calls.append("load") or whole(self))
    assert iio.improps(buffer.getvalue()).shape == COLOUR.shape
    iio.immeta(buffer.getvalue())
    assert calls == []
    with iio.imopen(buffer.getvalue(), "r") as file:
        source = file.source()
    np.testing.assert_array_equal(source[3:5], COLOUR[3:5])
    assert calls


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


BIG = zlib.compress(bytes(3_000_000))
MANY = b"".join(_png_chunk(b"zTXt", b"%d\0\0" % i + zlib.compress(b"a" * 900_000)) for i in range(80))


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after them"])
@pytest.mark.parametrize(
    "texts",
    [_png_chunk(b"zTXt", b"big\0\0" + BIG), _png_chunk(b"iCCP", b"big\0\0" + BIG), MANY],
    ids=["a text", "a profile", "many texts"],
)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_texts_that_are_too_large_cost_no_pixels(tmp_path: Path, texts: bytes, after: bool, dtype: str) -> None:
    image = np.arange(3 * 40 * 50, dtype=dtype).reshape(40, 50, 3)
    whole = bytes(iio.imwrite("<bytes>", image, extension=".png") or b"")
    at = len(whole) - 12 if after else 33
    path = tmp_path / "a.png"
    path.write_bytes(whole[:at] + texts + whole[at:])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(iio.imread(path), image)
        assert iio.improps(path).shape == image.shape
        assert iio.immeta(path)["mode"] == "RGB"
    left_out = any("texts that are too large" in str(one.message) for one in told)
    assert left_out == (not after or dtype == "u1"), "of 16 bits the texts behind the pixels are not looked at"
