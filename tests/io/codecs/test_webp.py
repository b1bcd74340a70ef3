"""Grey WebP files: the format knows colours only, so the file says that it is grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bioimage_py as bp

GREY = np.random.default_rng(0).integers(0, 255, (3, 20, 31), dtype="u1")


@pytest.mark.parametrize("image", [GREY[0], GREY], ids=["picture", "animation"])
def test_grey_comes_back_as_grey(image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    assert bp.imwrite(path, image, axes="tyx"[-image.ndim :], report=True).lost == ()
    told, read = bp.improps(path), bp.imread(path)
    assert (told.shape, told.dtype, told.axes, told.is_rgb) == (image.shape, "u1", tuple("tyx"[-image.ndim :]), False)
    np.testing.assert_array_equal(read, image)
    with Image.open(path) as file:  # for others it is a picture of equal colours
        np.testing.assert_array_equal(np.array(file.convert("RGB")), np.dstack([image.reshape(-1, 20, 31)[0]] * 3))


@pytest.mark.parametrize("ending", [".webp", ".gif", ".png"])
def test_frames_that_are_equal(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    frames = np.repeat(GREY, 2, 0)
    if ending == ".png":
        assert bp.imwrite(path, frames, axes="tyx", report=True).lost == ()
        np.testing.assert_array_equal(bp.imread(path), frames)
        return
    with pytest.warns(UserWarning, match=r"joins frames.*6 are read as 3"):
        report = bp.imwrite(path, frames, axes="tyx", report=True)
    assert "frames: 6 are read as 3, for equal ones are joined" in report.lost
    assert bp.improps(path).shape[:3] == GREY.shape


@pytest.mark.parametrize(("scale", "unit"), [(500, "ms"), (0.5, "second"), (1 / 120, "min")])
def test_the_time_of_a_frame(scale: float, unit: str, tmp_path: Path) -> None:
    bp.imwrite(tmp_path / "a.gif", GREY, axes="tyx", scale={"t": scale}, unit={"t": unit})
    assert bp.improps(tmp_path / "a.gif").time_step == 0.5


def test_with_loss_and_in_colour(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :32]
    smooth = (x * 4 + y * 3).astype("u1")
    bp.imwrite(tmp_path / "a.webp", smooth, quality=90)
    read = bp.imread(tmp_path / "a.webp")
    assert read.shape == smooth.shape
    assert np.abs(read.astype(int) - smooth).max() < 20
    colour = np.dstack([smooth, smooth, smooth])
    bp.imwrite(tmp_path / "b.webp", colour)
    np.testing.assert_array_equal(bp.imread(tmp_path / "b.webp"), colour)
    Image.fromarray(smooth).save(tmp_path / "c.webp", lossless=True)
    assert bp.imread(tmp_path / "c.webp").shape == (32, 32, 3)
