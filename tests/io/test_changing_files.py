"""Files that change while they are read: an error, or what was there, and never the end of the process."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.errors import BioimageError, SourceNotFoundError, StorageError

DATA = np.arange(50 * 80 * 100, dtype="i2").reshape(50, 80, 100)
MAPPED: dict[str, tuple[str, dict[str, Any]]] = {
    "a.tif": ("tifffile", {}),
    "a.npy": ("numpy", {}),
    "a.npz": ("numpy", {}),
    "a.nii": ("nibabel", {}),
    "a.mrc": ("mrcfile", {}),
    "a.nhdr": ("numpy", {"compression": "raw"}),
}


@pytest.mark.parametrize("name", MAPPED)
def test_a_file_that_becomes_shorter(name: str, tmp_path: Path) -> None:
    library, options = MAPPED[name]
    pytest.importorskip(library)
    path = tmp_path / name
    iio.imwrite(path, DATA, **options)
    for one in tmp_path.iterdir():  # the voxels of some lie in a file beside
        os.utime(one, (1, 1))
    with iio.imopen(path, "r") as file:
        source = file.source()
        np.testing.assert_array_equal(source[3], DATA[3])
        for one in tmp_path.iterdir():
            os.truncate(one, min(2000, one.stat().st_size))
        for read in (lambda: source[40], lambda: source[::7], file.read, lambda: file.read(roi=(slice(30, 40),))):
            with pytest.raises(BioimageError):
                read()


@pytest.mark.parametrize("how", [{}, {"chunks": (1, 80, 100)}, {"chunks": (1, 80, 100), "compression": "gzip"}])
def test_an_hdf5_file_that_becomes_shorter(how: dict[str, Any], tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=DATA, **how)
    with bp.open_source(path, "data") as source:
        np.testing.assert_array_equal(source[3], DATA[3])
        os.truncate(path, 6000)
        with pytest.raises(StorageError, match="shorter than it was"):
            _ = source[40]


def test_what_numpy_maps(tmp_path: Path) -> None:
    array = np.memmap(tmp_path / "a.raw", "u1", "w+", offset=5000, shape=(100, 100))
    source = bp.sources.as_source(array)
    source[3] = 7
    os.truncate(tmp_path / "a.raw", 8000)
    with pytest.raises(StorageError, match="shorter than it was"):
        _ = source[0]
    with pytest.raises(StorageError, match="shorter than it was"):
        source[99] = 1


def test_a_file_whose_name_another_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, DATA)
    with iio.imopen(path, "r") as file:
        source = file.source()
        np.save(tmp_path / "b.npy", np.zeros((60, 90, 100), "i2"))
        os.replace(tmp_path / "b.npy", path)
        np.testing.assert_array_equal(source[...], DATA)
        np.testing.assert_array_equal(iio.imopen(path, "r").read()[:50, :80], 0)
        np.testing.assert_array_equal(file.source().read()[:50, :80], 0)


def test_a_handle_goes_on_reading_what_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, DATA)
    with iio.imopen(path, "r") as file:
        file.properties()
        np.save(tmp_path / "b.npy", np.zeros((60, 90, 100), "i2"))
        os.replace(tmp_path / "b.npy", path)
        np.testing.assert_array_equal(file.read(), DATA)


def test_a_link_to_nothing(tmp_path: Path) -> None:
    os.symlink("nothing.tif", tmp_path / "a.tif")
    with pytest.raises(SourceNotFoundError, match=r"a\.tif"):
        iio.imread(tmp_path / "a.tif")


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    content = iio.imwrite("<bytes>", DATA, extension=".tif")
    os.mkfifo(tmp_path / "a.tif")
    writer = threading.Thread(target=(tmp_path / "a.tif").write_bytes, args=(content,), daemon=True)
    writer.start()
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.tif"), DATA)
    writer.join()
