"""What an image may take the place of, and what it may not: nothing else goes with it, also where writing fails."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import zarr

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.errors import AliasError, FormatError, ParameterError, ShapeError, StorageError
from bioimage_py.system import swap
from bioimage_py.workflows import convert

DATA = np.arange(4 * 6 * 8, dtype="u2").reshape(4, 6, 8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files() -> dict[str, bytes]:
    """All that lies in the folder."""
    return {str(path): path.read_bytes() for path in sorted(Path(".").rglob("*")) if path.is_file()}


def container(name: str, *keys: str) -> None:
    for key in keys:
        bp.io.create_array(name, key, shape=DATA.shape, dtype="u2")[...] = DATA


def folder_of_slices() -> None:
    os.mkdir("scan.tif")
    iio.imwrite("scan.tif/0.tif", DATA[0])


def folder_of_notes() -> None:
    os.mkdir("a.zarr")
    Path("a.zarr/notes.txt").write_text("x")


def image_with_labels() -> None:
    iio.imwrite("a.ome.zarr", DATA, pyramid=1)
    container("a.ome.zarr", "labels/cells")


def zipped() -> None:
    Path("a.zarr").write_bytes(b"PK")


WAYS: dict[str, Callable[[str], object]] = {
    "imwrite": lambda name: iio.imwrite(name, DATA),
    "opened to write": lambda name: iio.imopen(name, "w"),
    "opened to add": lambda name: iio.imopen(name, "a"),
    "convert": lambda name: convert(DATA, name, overwrite=True),
    "dry run": lambda name: convert(DATA, name, overwrite=True, dry_run=True),
}
KEPT = {
    "arrays of zarr": (lambda: container("a.zarr", "raw", "0"), "a.zarr", "raw"),
    "arrays of n5": (lambda: container("a.n5", "setup0/s0"), "a.n5", "setup0/s0"),
    "a group of zarr": (lambda: container("a.zarr", "volumes/raw", "0"), "a.zarr/volumes", "raw"),
    "data sets of HDF5": (lambda: container("a.h5", "data", "precious"), "a.h5", "precious"),
    "labels of an image": (image_with_labels, "a.ome.zarr", "labels/cells"),
    "a folder of slices": (folder_of_slices, "scan.tif", "a folder"),
    "a folder of other things": (folder_of_notes, "a.zarr", "notes.txt"),
    "a file": (zipped, "a.zarr", "a file"),
}


@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("mode", WAYS)
def test_what_is_no_image_is_kept(what: str, mode: str) -> None:
    make, name, told = KEPT[what]
    make()
    before = files()
    with pytest.raises(StorageError, match=told):
        WAYS[mode](name)
    assert files() == before


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.ome.zarr", "a.n5", "a.h5", "a.zarr/r", "a.n5/r", "a.h5/r"])
def test_images_are_replaced(name: str) -> None:
    iio.imwrite(name, DATA)
    iio.imwrite(name, DATA[:2] + 1)
    np.testing.assert_array_equal(iio.imread(name), DATA[:2] + 1)
    if "/" not in name:
        iio.imwrite(name, [DATA, DATA[:1]])
        iio.imwrite(name, DATA)
        np.testing.assert_array_equal(iio.imread(name), DATA)


class Breaking:
    """An array that can be read to its middle."""

    shape, dtype = (40, 300, 300), np.dtype("u1")

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        if index[0].stop > 20:
            raise OSError("the disk is gone")
        return np.zeros(tuple(part.stop - part.start for part in index), "u1")


@pytest.mark.parametrize("name", ["a.zarr", "a.n5", "a.h5"])
@pytest.mark.parametrize("key", ["raw", "new", "deep/raw"])
def test_an_array_of_a_container_is_there_until_the_new_one_is(name: str, key: str) -> None:
    container(name, "raw", "other")
    with pytest.raises(StorageError, match="the disk is gone"):
        iio.imwrite(f"{name}/{key}", Breaking())
    for there in ("raw", "other"):
        np.testing.assert_array_equal(iio.imread(f"{name}/{there}"), DATA)
    keys = bp.io.formats.array_keys_of(name) if name == "a.h5" else sorted(k for k in os.listdir(name) if k[0] in "ro.")
    assert sorted(keys) == ["other", "raw"]


@pytest.mark.parametrize("name", ["a.zarr", "a.n5"])
def test_an_array_may_be_made_of_itself(name: str) -> None:
    container(name, "raw")
    iio.imwrite(f"{name}/raw", bp.open_source(name, "raw"), dtype="u4")
    found = bp.open_source(name, "raw")
    assert found.dtype == "u4"
    np.testing.assert_array_equal(found[...], DATA)


@pytest.mark.parametrize("name", ["a.zarr", "a.n5", "a.h5"])
def test_a_conversion_empties_nothing_that_it_reads(name: str) -> None:
    container(name, "raw")
    key = f"{name}/raw"
    with pytest.raises(AliasError if name != "a.h5" else (AliasError, StorageError)):
        convert(bp.open_source(name, "raw"), key, dtype="u4", overwrite=True)
    os.symlink(name, f"link-{name}")
    with pytest.raises(AliasError if name != "a.h5" else (AliasError, StorageError)):
        convert(bp.open_source(f"link-{name}", "raw"), key, dtype="u4", overwrite=True)
    np.testing.assert_array_equal(iio.imread(key), DATA)


def test_a_bucket_empties_nothing_that_it_reads() -> None:
    container("memory://a.zarr", "raw")
    with pytest.raises(AliasError, match="emptied before it is read"):
        iio.imwrite("memory://a.zarr/raw", bp.open_source("memory://a.zarr", "raw"), dtype="u4")
    np.testing.assert_array_equal(bp.open_source("memory://a.zarr", "raw")[...], DATA)


def test_an_array_does_not_take_the_place_of_a_group() -> None:
    container("a.h5", "volumes/raw")
    for call in (
        lambda: bp.io.create_array("a.h5", "volumes", shape=(2,), dtype="u1"),
        lambda: bp.io.create_array("a.h5", "volumes", shape=(2,), dtype="u1", overwrite=True),
        lambda: bp.copy(DATA, "a.h5/volumes", progress=False),
        lambda: iio.imwrite("a.h5/volumes", DATA),
    ):
        with pytest.raises((ParameterError, StorageError), match="raw"):
            call()
    with h5py.File("a.h5") as file:
        np.testing.assert_array_equal(file["volumes/raw"], DATA)


def test_an_empty_group_may_be_replaced() -> None:
    with h5py.File("a.h5", "w") as file:
        file.create_group("free")
    zarr.open_group("a.zarr", mode="w").create_group("free")
    for name in ("a.h5/free", "a.zarr/free"):
        iio.imwrite(name, DATA)
        np.testing.assert_array_equal(iio.imread(name), DATA)


def test_an_archive_of_several_arrays_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, raw=np.zeros((4, 6)), labels=np.ones((4, 6)))
    with pytest.raises(StorageError, match=r"holds raw, labels, which would be lost") as told:
        iio.imwrite(path, np.zeros((4, 6)))
    assert "'a').write(image)" in told.value.remedy
    with iio.imopen(path, "a") as file:
        file.write(np.zeros((2, 3)))
    assert {"raw", "labels"} < set(np.load(path).files)
    numbered = tmp_path / "b.npz"
    for count in (3, 1):
        iio.imwrite(numbered, [np.zeros((4, 6))] * count)
        assert len(np.load(numbered).files) == count


@pytest.mark.parametrize("name", ["a.tif", "a.npz", "a.h5", "a.nii.gz"])
def test_who_may_read_a_file_stays(name: str, tmp_path: Path) -> None:
    for value in (0, 1):
        iio.imwrite(tmp_path / name, np.full((4, 6, 8), value, "u1"))
        if value == 0:
            (tmp_path / name).chmod(0o600)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert iio.imread(tmp_path / name).max() == 1


def ome_image(version: Literal[2, 3]) -> None:
    zarr.open_group("a.ome.zarr", mode="w", zarr_format=version)
    convert(DATA, "a.ome.zarr", overwrite=True)
    container("a.ome.zarr", "1")
    axes = bp.open_source("a.ome.zarr").axes
    bp.io.write_multiscales("a.ome.zarr", levels=[("0", axes), ("1", axes)])


def version_2() -> None:
    zarr.open_group("a.zarr", mode="w", zarr_format=2)
    container("a.zarr", "raw")


def linked_in_hdf5() -> None:
    container("a.h5", "other")
    container("b.h5", "raw")
    with h5py.File("a.h5", "r+") as file:
        file["raw"] = h5py.SoftLink("/other")
        file["out"] = h5py.ExternalLink("b.h5", "/raw")
        file["gone"] = h5py.SoftLink("/nowhere")


LINKED: dict[str, tuple[Callable[[], object], str, Sequence[str]]] = {
    "image": (lambda: ome_image(3), "a.ome.zarr", ["0", "1", "0/c", "0/c/0", "0/c/0/0/0", "zarr.json", "0/zarr.json"]),
    "image of version 2": (
        lambda: ome_image(2),
        "a.ome.zarr",
        ["0", "1", "0/0.0.0", ".zattrs", ".zgroup", "0/.zarray"],
    ),
    "zarr": (lambda: container("a.zarr", ""), "a.zarr", ["c", "c/0/0/0", "zarr.json"]),
    "zarr array": (lambda: container("a.zarr", "g/raw"), "a.zarr/g/raw", ["", "c", "c/0/0/0", "zarr.json"]),
    "zarr array of version 2": (version_2, "a.zarr/raw", ["", "0.0.0", ".zarray", ".zattrs"]),
    "n5 array": (lambda: container("a.n5", "raw"), "a.n5/raw", ["", "0", "0/0/0", "attributes.json"]),
}


def create(name: str) -> None:
    bp.io.create_array(name, shape=DATA.shape, dtype="u2", overwrite=True)[...] = DATA + 1


REPLACES: dict[str, Callable[[str], object]] = {
    "imwrite": lambda name: iio.imwrite(name, DATA + 1),
    "convert": lambda name: convert(DATA + 1, name, overwrite=True),
    "create_array": create,
}


@pytest.mark.parametrize("way", REPLACES)
@pytest.mark.parametrize("what", LINKED)
def test_what_links_lead_to_is_not_replaced(what: str, way: str) -> None:
    make, name, places = LINKED[what]
    for number, place in enumerate(places):
        make()
        kept = os.path.abspath(f"kept{number}")
        os.rename(f"{name}/{place}".rstrip("/"), kept)
        os.symlink(kept, f"{name}/{place}".rstrip("/"))
        before = {path: path.read_bytes() for path in [Path(kept), *Path(kept).rglob("*")] if path.is_file()}
        assert before
        REPLACES[way](name)
        assert {path: path.read_bytes() for path in [Path(kept), *Path(kept).rglob("*")] if path.is_file()} == before
        np.testing.assert_array_equal(iio.imread(name), DATA + 1)
        shutil.rmtree(name.partition("/")[0])


@pytest.mark.parametrize("way", REPLACES)
@pytest.mark.parametrize("key", ["raw", "out", "gone"])
def test_what_links_of_hdf5_lead_to_is_not_replaced(key: str, way: str) -> None:
    linked_in_hdf5()
    REPLACES[way](f"a.h5/{key}")
    np.testing.assert_array_equal(iio.imread(f"a.h5/{key}"), DATA + 1)
    np.testing.assert_array_equal(iio.imread("a.h5/other"), DATA)
    np.testing.assert_array_equal(iio.imread("b.h5/raw"), DATA)


@pytest.mark.parametrize("name", ["a.zarr", "a.ome.zarr", "a.n5", "a.h5", "a.tif", "a.nrrd"])
def test_an_image_that_is_a_link_is_written_where_it_leads(name: str) -> None:
    os.mkdir("disk")
    iio.imwrite(name, DATA)
    os.rename(name, "disk/0123")  # without its ending, as stores by content have it
    os.symlink(os.path.abspath("disk/0123"), name)
    iio.imwrite(name, DATA + 1)
    assert os.path.islink(name)
    assert os.listdir("disk") == ["0123"]
    np.testing.assert_array_equal(iio.imread(name), DATA + 1)


def test_an_array_behind_a_link_becomes_an_image() -> None:
    container("b.zarr", "")
    os.symlink("b.zarr", "a.ome.zarr")
    convert(DATA + 1, "a.ome.zarr", overwrite=True)
    assert os.path.islink("a.ome.zarr")
    np.testing.assert_array_equal(iio.imread("a.ome.zarr"), DATA + 1)


@pytest.mark.parametrize("name", ["a.tif", "a.h5", "a.zarr", "a.nrrd"])
def test_a_pipe_or_device_stays(name: str) -> None:
    os.mkfifo("pipe")
    os.symlink("pipe", name)
    for way in WAYS:
        with pytest.raises(StorageError, match="no file but a device"):
            WAYS[way](name)
    with pytest.raises(OSError, match="device"):
        swap.put("new", os.path.abspath(name))
    with pytest.raises(FormatError, match="no file or folder, but a device"):
        bp.open_source(name)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


@pytest.mark.parametrize("way", ["imwrite", "convert", "dry run"])
def test_axes_that_ome_zarr_has_not_are_refused_before_the_first_block(way: str) -> None:
    calls: dict[str, Callable[[str, Any], object]] = {
        "imwrite": lambda axes, image: iio.imwrite("a.ome.zarr", image, axes=axes),
        "convert": lambda axes, image: convert(image, "a.ome.zarr", axes=axes),
        "dry run": lambda axes, image: convert(image, "a.ome.zarr", axes=axes, dry_run=True),
    }
    for axes, error in (("x", ShapeError), ("abcdyx", ShapeError), ("xyc", ParameterError)):
        with pytest.raises(error, match="OME-Zarr"):
            calls[way](axes, np.zeros((2,) * len(axes), "u1"))
    assert not os.listdir()


def test_what_others_are_at_writing_is_removed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    left = ["late", "later"]

    def others(_: float) -> None:
        if left:
            os.makedirs(f"half/{left.pop()}")

    os.makedirs("half/c")
    monkeypatch.setattr(swap.time, "sleep", others)
    swap.remove_half("half")
    assert not left
    assert not os.listdir()


FULL = """
import os
import h5py
import bioimage_py as bp
from bioimage_py.errors import StorageError
memory = h5py.File("memory", "w", driver="core", backing_store=False)  # has no file
for name in "ab":
    bp.io.create_array("a.h5", name, shape=(9, 50, 50), dtype="u2", chunks=(9, 9, 9)).close()
array, other = (bp.open_source("a.h5", name, mode="r+") for name in "ab")
array[...] = 7
full = os.open("/dev/full", os.O_RDWR)
os.dup2(full, array.array.file.id.get_vfd_handle())  # from now on its disk is full
try:
    END
except StorageError as error:
    print("told:", error)
del array
try:
    other[...] = 8
    other.flush()
except StorageError as error:
    print("other:", error)
del other
assert memory
bp.io.create_array("b.h5", "data", shape=(9,), dtype="u2").close()
"""


@pytest.mark.processes
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("end", ["array.close()", "pass"])
def test_a_full_disk_does_not_end_the_process_of_an_hdf5_file(end: str) -> None:
    code = FULL.replace("END", end)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first = "other:" if end == "pass" else "told:"
    assert (ended.returncode, ended.stdout[: len(first)]) == (0, first), ended.stderr
    assert "make room" in (ended.stderr if end == "pass" else ended.stdout)
    assert "other:" in ended.stdout, "what another source writes into the same file is not lost unsaid"
