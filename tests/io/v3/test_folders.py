"""Folders of slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.errors import DtypeError, FormatError, ReadOnlyError, ShapeError
from bioimage_py.sources import open_source

DATA = np.random.default_rng(4).integers(0, 255, (12, 20, 24), dtype="u1")


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_slices_are_stacked_by_their_numbers(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("tifffile")
    for number, picture in enumerate(DATA):
        iio.imwrite(tmp_path / f"s{number}{ending}", picture)
    told = iio.improps(tmp_path)
    assert (told.shape, told.dtype, told.axes, told.format) == (DATA.shape, DATA.dtype, ("z", "y", "x"), "folder")
    np.testing.assert_array_equal(iio.imread(tmp_path), DATA)
    np.testing.assert_array_equal(iio.imread(tmp_path, roi={"z": slice(3, 5)}), DATA[3:5])
    np.testing.assert_array_equal(iio.imread(tmp_path, pattern=f"s1?{ending}"), DATA[10:])
    source = open_source(tmp_path)
    np.testing.assert_array_equal(bp.from_spec(source.to_spec())[2:11], DATA[2:11])
    assert bp.stats.max(source) == DATA.max()


def test_colours_stay(tmp_path: Path) -> None:
    data = np.stack([DATA[:3]] * 3, -1)
    for number, picture in enumerate(data):
        iio.imwrite(tmp_path / f"s{number}.png", picture)
    assert iio.improps(tmp_path).axes == ("z", "y", "x", "c")
    np.testing.assert_array_equal(iio.imread(tmp_path), data)


def test_slices_that_do_not_fit(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.png", DATA[0])
    iio.imwrite(tmp_path / "b.png", DATA[0, :9])
    with pytest.raises(ShapeError, match=r"b\.png.*\(9, 24\).*a\.png"):
        iio.imread(tmp_path)
    iio.imwrite(tmp_path / "b.png", DATA[0] > 9)
    with pytest.raises(DtypeError, match=r"b\.png has dtype bool"):
        iio.imread(tmp_path)
    iio.imwrite(tmp_path / "b.jpg", DATA[0])
    with pytest.raises(FormatError, match="jpeg, png"):
        iio.imread(tmp_path)
    np.testing.assert_array_equal(iio.imread(tmp_path, pattern="a.*"), DATA[:1])
    with pytest.raises(ReadOnlyError):
        bp.io.open_file(tmp_path, mode="r+", format="folder", pattern="a.*")


def test_a_gap_is_told(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        iio.imwrite(tmp_path / f"s{number}.png", DATA[number])
    with pytest.warns(UserWarning, match="from 2 to 4"):
        assert iio.imread(tmp_path).shape == (3, 20, 24)
