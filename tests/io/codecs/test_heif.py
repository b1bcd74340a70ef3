"""HEIF pictures: files that pillow-heif wrote (libheif, x265), told before they are decoded, damaged in many ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import FormatError

from ..image_files.common import survives

pi_heif = pytest.importorskip("pi_heif")

FILES = Path(__file__).parents[2] / "data" / "heif"
Y, X = np.mgrid[:48, :64]
COLOUR = np.stack([X * 3, Y * 4, (X + Y) * 2], -1).astype("u1")
DEEP = np.stack([X * 1000, Y * 1300, (X + Y) * 500], -1).astype("u2")


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("colour", COLOUR, 0),
        ("grey", COLOUR[..., 0], 1),
        ("alpha", np.dstack([COLOUR, 255 - COLOUR[..., :1]]), 2),
        ("turned", np.rot90(COLOUR, -1), 2),
        ("deep", DEEP >> 6, 4),
    ],
)
def test_pictures(name: str, expected: np.ndarray, tolerance: int, tmp_path: Path) -> None:
    path = FILES / f"{name}.heic"
    told, read = bp.improps(path), bp.imread(path)
    assert (told.shape, told.dtype) == (read.shape, read.dtype) == (expected.shape, expected.dtype)
    assert told.axes == ("y", "x", "c")[: read.ndim]
    assert told.bits == (10 if name == "deep" else None)
    assert np.abs(read.astype(int) - expected).mean() <= tolerance
    np.testing.assert_array_equal(bp.open_source(path)[3:9, 5:6], read[3:9, 5:6])
    unnamed = tmp_path / "unnamed"
    unnamed.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(bp.imread(unnamed), read)
    np.testing.assert_array_equal(bp.imread(path.read_bytes()), read)


def test_voxels_outlive_the_picture_that_they_were_decoded_by() -> None:
    for name in ("grey", "alpha", "turned", "colour", "deep"):
        reads = [bp.imread(FILES / f"{name}.heic") for _ in range(5)]
        assert all(np.array_equal(read, reads[0]) for read in reads)


def test_what_is_told_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(pi_heif.HeifImage, "__array_interface__", property(lambda _: calls.append(1)))
    bp.improps(FILES / "colour.heic")
    bp.immeta(FILES / "colour.heic")
    assert not calls


def test_it_is_only_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be written"):
        bp.imwrite(tmp_path / "a.heic", COLOUR)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes((FILES / "colour.heic").read_bytes())
    survives(path, 600, 40)
