"""What is remembered of a tif file holds for as long as the file stays as it is, and no longer."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

import bioimage_py.io.v3 as iio
from bioimage_py.io.tif import known


@pytest.fixture(autouse=True)
def _forgotten():
    known.forget()
    yield
    known.forget()


def look(path: Path) -> tuple[object, ...]:
    told = iio.improps(path)
    assert told.shape == iio.imread(path).shape
    return told.shape, told.dtype, told.axes, told.spacing, told.unit


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember files that were written a moment ago."""
    monkeypatch.setattr(known, "_SETTLED_SECONDS", -1e9)


def write(path: Path, value: int, shape: tuple[int, ...] = (3, 20, 24), **more: object) -> None:
    iio.imwrite(path, np.full(shape, value, "u2"), **more)


def test_a_second_look_does_not_open_the_library(tmp_path: Path, at_once: None, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.tif"
    write(path, 7, scale=0.5, unit="um")
    first, meta = look(path), iio.immeta(path, standard=True)
    monkeypatch.setattr(tifffile, "TiffFile", None)
    assert look(path) == first
    assert iio.immeta(path, standard=True) == meta
    assert (iio.imread(path, page=2) == 7).all()


@pytest.mark.parametrize("kind", ["replaced", "in place", "same size"])
def test_a_file_that_changed_is_looked_at_again(tmp_path: Path, at_once: None, kind: str):
    path = tmp_path / "a.tif"
    write(path, 7)
    look(path)
    if kind == "replaced":
        write(path, 9, (5, 30, 32))
        assert look(path)[0] == (5, 30, 32)
    elif kind == "in place":
        other = tmp_path / "b.tif"
        write(other, 9, (2, 10, 12), scale=2, unit="nm")
        path.write_bytes(other.read_bytes())
        assert look(path)[0] == (2, 10, 12)
        assert iio.improps(path).unit[-1] == "nanometer"
    else:
        write(path, 9, (3, 24, 20))
        assert look(path)[0] == (3, 24, 20)
    assert (iio.imread(path) == 9).all()


def test_a_file_that_is_being_written_is_not_remembered(tmp_path: Path):
    path = tmp_path / "a.tif"
    write(path, 7)
    assert known.state_of(str(path)) is None
    look(path)
    assert not known._known


def test_a_file_that_was_cut_off_after_a_look_is_an_error(tmp_path: Path, at_once: None):
    path = tmp_path / "a.tif"
    write(path, 7)
    look(path)
    os.truncate(path, 300)
    with pytest.raises(OSError, match=r"cut off|damaged|Cannot"):
        iio.imread(path)


def test_only_so_many_are_remembered(tmp_path: Path, at_once: None):
    for number in range(known.KEPT + 3):
        path = tmp_path / f"{number}.tif"
        write(path, 1, (8, 8))
        iio.improps(path)
    assert len(known._known) == known.KEPT
