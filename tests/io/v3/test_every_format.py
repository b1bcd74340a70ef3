"""What holds for every format: properties are those of what is read, and what was written comes back."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import FormatError
from bioimage_py.io.formats import format_named, supported_formats

from ..image_files.test_lif import leica
from ..image_files.test_nd2 import nikon

WRITTEN = [name for name in supported_formats() if format_named(name).write]
ENDINGS = [
    (name, ending)
    for name in WRITTEN
    for ending in format_named(name).extensions
    if ending not in (".zip", ".ozx", ".lsm", ".stk", ".svs", ".ndpi", ".scn", ".bif")  # these are only read
]
FLAT = {"png", "jpeg", "bmp", "webp", "avif", "jpeg2000", "jpegxl"}
LOSSY = {"jpeg", "webp", "gif", "video"}


def image_for(name: str) -> tuple[np.ndarray, str]:
    """A small image that a format can hold, and its axes."""
    random = np.random.default_rng(3)
    if name in FLAT:
        return random.integers(0, 255, (8, 6), dtype="u1"), "yx"
    if name in ("gif", "video"):
        return random.integers(0, 255, (5, 16, 16), dtype="u1"), "tyx"
    low = 0 if name == "dicom" else -500
    return random.integers(low, 500, (3, 8, 6), dtype="u2" if name == "dicom" else "i2"), "zyx"


def agrees(path: Path, index: object = None) -> np.ndarray:
    """What is read, once its properties were seen to be its own."""
    told, read = bp.improps(path, index=index), bp.imread(path, index=index)
    assert (told.shape, told.dtype) == (read.shape, read.dtype)
    assert told.axes is None or len(told.axes) == read.ndim
    return read


@pytest.mark.parametrize(("name", "ending"), ENDINGS)
def test_what_was_written_comes_back(name: str, ending: str, tmp_path: Path) -> None:
    image, axes = image_for(name)
    path = tmp_path / f"image{ending}"
    bp.imwrite(path, image, axes=axes)
    read = agrees(path)
    everything = agrees(path, ...)
    frames = everything if format_named(name).frames else everything[0]
    np.testing.assert_array_equal(frames, read)
    if name not in LOSSY:
        np.testing.assert_array_equal(read, image)
    with bp.imopen(path, "r") as file:
        source = file.source()
    np.testing.assert_array_equal(source[...], bp.open_source(path)[...])
    np.testing.assert_array_equal(source[...], read)


@pytest.mark.parametrize("ending", [".lsm", ".stk", ".svs", ".ndpi", ".scn", ".bif"])
def test_what_only_instruments_write_is_not_written(ending: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="layout of their own"):
        bp.imwrite(tmp_path / f"a{ending}", np.zeros((8, 6), "u1"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gif", "video"])
def test_an_index_counts_frames(name: str, tmp_path: Path) -> None:
    image, axes = image_for(name)
    path = tmp_path / f"image{format_named(name).extensions[0]}"
    bp.imwrite(path, image, axes=axes)
    frames = list(bp.imiter(path))
    assert len(frames) == len(image)
    for index in (0, 4, -1, 2):
        np.testing.assert_array_equal(agrees(path, index), frames[index])
    with pytest.raises(IndexError):
        bp.imread(path, index=5)


def test_files_of_microscopes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = {name: random.integers(0, 200, (2, 3, 2, 4, 6), dtype="u1") for name in "ab"}
    stack = np.arange(2 * 3 * 2 * 4 * 6, dtype="u2").reshape(2, 3, 2, 4, 6)
    first = agrees(leica(tmp_path / "a.lif", images))
    np.testing.assert_array_equal(first, images["a"])
    np.testing.assert_array_equal(agrees(tmp_path / "a.lif", 1), images["b"])
    np.testing.assert_array_equal(agrees(tmp_path / "a.lif", ...), np.stack(list(images.values())))
    np.testing.assert_array_equal(agrees(nikon(tmp_path / "a.nd2", stack)), stack)


def test_voxels_beside_their_header_are_no_other_format(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image, _ = image_for("nifti")
    nibabel.save(nibabel.Nifti1Pair(image.T, np.eye(4)), tmp_path / "a.img")
    nibabel.save(nibabel.AnalyzeImage(image.T, np.eye(4)), tmp_path / "b.img.gz")
    for name in ("a.img", "a.hdr", "b.img.gz", "b.hdr.gz"):
        np.testing.assert_array_equal(agrees(tmp_path / name), image)


def test_a_gzipped_file_is_known_by_what_is_packed(tmp_path: Path) -> None:
    image, axes = image_for("nifti")
    bp.imwrite(tmp_path / "a.nii.gz", image, axes=axes)
    (tmp_path / "a.nii.gz").rename(tmp_path / "unnamed")
    np.testing.assert_array_equal(agrees(tmp_path / "unnamed"), image)
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"This is text" * 100))
    with pytest.raises(bp.errors.FormatError, match="not an image"):
        bp.imread(tmp_path / "text.nii.gz")
