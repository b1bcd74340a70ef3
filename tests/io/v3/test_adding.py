"""Images added to tif files and archives of numpy: what is there stays as it is stored, with what describes it."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py.io.v3 as iio
from bioimage_py.errors import ShapeError
from bioimage_py.io.v3.writing import WriteHandle
from bioimage_py.system import files

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

DATA = np.random.default_rng(0).integers(0, 4000, (3, 40, 48)).astype("u2")


def add(path: Path, *images: Any, **how: Any) -> None:
    with iio.imopen(path, "a") as file:
        for image in images:
            file.write(image, **how)


def read_all(path: Path) -> list[np.ndarray]:
    with iio.imopen(path, "r") as file:
        return [file.read(number) for number in range(len(file))]


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [one.dtype for one in found] == [one.dtype for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    flavor=st.sampled_from(["ome", "plain"]),
    shapes=st.lists(st.lists(st.integers(2, 20), min_size=2, max_size=4), min_size=2, max_size=5),
    first=st.integers(1, 4),
    options=st.sampled_from([{}, {"compression": "zstd"}, {"tiles": (16, 16), "pyramid": 1}, {"bigtiff": True}]),
    dtype=st.sampled_from(["u1", "i2", "f4", "?"]),
)
@settings(max_examples=25)
def test_any_images(flavor: str, shapes: Any, first: int, options: Any, dtype: str) -> None:
    images = [
        (np.random.default_rng(n).integers(0, 200, shape) % 2**n).astype(dtype) for n, shape in enumerate(shapes, 1)
    ]
    if flavor == "plain" and "pyramid" in options:
        images = [image.reshape(image.shape[0], -1) for image in images]
    first = min(first, len(images) - 1)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, "a.tif")
        iio.imwrite(path, images[:first], flavor=flavor, **options)
        patch.setattr(WriteHandle, "_there", None)  # which would be asked for to write all anew
        more = {name: value for name, value in options.items() if name != "bigtiff"}
        for image in images[first:]:
            add(path, image, **more)
        same(read_all(path), images)
        with tifffile.TiffFile(path) as file:
            same([one.asarray().reshape(image.shape) for one, image in zip(file.series, images, strict=True)], images)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_what_other_programs_wrote_keeps_its_pages_and_metadata(order: Any, big: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    told = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "µ"]}, "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True, byteorder=order, bigtiff=big) as writer:
        writer.write(
            DATA, photometric="minisblack", metadata=told, compression="lzw", extratags=[(65000, 3, 1, 7, True)]
        )
    old = path.read_bytes()
    add(path, DATA[0], scale=2.0, unit="nm", name="second")
    same(read_all(path), [DATA, DATA[0]])
    assert iio.improps(path).channel_names == ("DAPI", "GFP", "µ")
    assert iio.improps(path).spacing[2] == 0.25
    assert iio.improps(path, index=1).spacing == (2.0, 2.0)
    with tifffile.TiffFile(path) as file:
        assert (file.byteorder, file.is_bigtiff) == (order, big)
        assert file.pages[0].tags[65000].value == 7
        assert [file.series[n].name for n in range(2)][1] == "second"
        for page in list(file.pages)[:3]:
            begin, size = page.dataoffsets[0], page.databytecounts[0]
            assert path.read_bytes()[begin : begin + size] == old[begin : begin + size]


@pytest.mark.parametrize("kind", ["imagej", "pages", "other type", "parts", "schema"])
def test_what_cannot_be_added_to_is_written_anew(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    more = DATA[0]
    if kind == "imagej":
        tifffile.imwrite(path, DATA, imagej=True)
    elif kind == "pages":  # of no program that says where an image ends
        with tifffile.TiffWriter(path, shaped=False) as writer:
            for page in DATA:
                writer.write(page, photometric="minisblack", metadata=None)
    else:
        iio.imwrite(path, DATA, flavor="ome")
        if kind == "other type":
            more = DATA[0].astype("u8")
        else:
            told = tifffile.TiffFile(path).ome_metadata
            change = ("2016-06", "2015-01") if kind == "schema" else ('IFD="0"', 'IFD="0" ')
            tifffile.tiffcomment(path, told.replace(*change).encode())
    add(path, more)
    same(read_all(path), [DATA, more])


def test_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, arr_1=DATA, b=DATA[0])
    with zipfile.ZipFile(path) as archive:
        before = [(one.filename, one.header_offset, one.CRC) for one in archive.infolist()]
    monkeypatch.setattr(WriteHandle, "_there", None)
    add(path, DATA[1], DATA[2], compression="deflate")
    same(read_all(path), [DATA, DATA[0], DATA[1], DATA[2]])
    with zipfile.ZipFile(path) as archive:
        assert [(one.filename, one.header_offset, one.CRC) for one in archive.infolist()][:2] == before
    same(list(np.load(path).values()), [DATA, DATA[0], DATA[1], DATA[2]])


def test_a_damaged_file_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    iio.imwrite(path, DATA)
    path.write_bytes(path.read_bytes()[:3000])
    before = path.read_bytes()
    with pytest.raises((OSError, ValueError)):
        add(path, DATA[0])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("shares", [False, True])
def test_a_copy_shares_its_bytes_where_the_file_system_can(
    shares: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    (tmp_path / "a").write_bytes(b"voxels")
    os.utime(tmp_path / "a", (1, 1))

    def share(new: int, request: int, old: int) -> int:
        if not shares:
            raise OSError("not supported")
        return os.write(new, b"shared")

    monkeypatch.setattr(fcntl, "ioctl", share)
    files.clone(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == (b"shared" if shares else b"voxels")
    assert (tmp_path / "b").stat().st_mtime == 1


@pytest.mark.parametrize("shape", [(64, 96), (64, 96, 3)])
def test_images_with_levels_that_no_ome_file_holds(shape: Any, tmp_path: Path) -> None:
    images = [np.random.default_rng(n).integers(0, 200, shape).astype("u1") for n in range(3)]
    axes = "yxc" if len(shape) == 3 else "yx"
    iio.imwrite(tmp_path / "a.tif", images, flavor="plain", tiles=(16, 16), pyramid=2, axes=axes)
    same(read_all(tmp_path / "a.tif"), images)
    assert [len(iio.improps(tmp_path / "a.tif", index=n).levels) for n in range(3)] == [3, 3, 3]
    with pytest.raises(ShapeError, match="further images"):
        iio.imwrite(tmp_path / "b.tif", DATA, flavor="plain", pyramid=1)
