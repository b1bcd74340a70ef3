"""What is written is read back: voxels, axes, spacing and names, in every format and by its own library."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.errors import ShapeError, StorageError
from bioimage_py.io.v3.writing import WriteHandle
from bioimage_py.io.written import halves
from bioimage_py.sources import as_source, open_source

tifffile = pytest.importorskip("tifffile")
h5py = pytest.importorskip("h5py")

SHAPES = {"yx": (20, 24), "zyx": (3, 20, 24), "czyx": (4, 3, 20, 24), "tczyx": (2, 4, 3, 20, 24)}
TYPES = {
    ".ome.tif": ("u1", "i2", "u4", "f4", "f8", "c8"),
    ".tif": ("?", "i1", "u2", "i4", "i8", "u8", "f2"),
    ".zarr": ("?", "u1", "i8", "f4", "c8"),
    ".ome.zarr": ("?", "u1", "u8", "f8"),
    ".n5": ("u1", "i8", "f4"),
    ".h5": ("?", "u1", "i8", "f2", "c8"),
}


def voxels(shape: tuple[int, ...], dtype: str = "u2") -> np.ndarray:
    return (np.random.default_rng(3).random(shape) * 200).astype(dtype)


@pytest.mark.parametrize(("ending", "dtype"), [(ending, dtype) for ending, all_ in TYPES.items() for dtype in all_])
@pytest.mark.parametrize("axes", SHAPES)
def test_round_trip(axes: str, ending: str, dtype: str, tmp_path: Path) -> None:
    data, path = voxels(SHAPES[axes], dtype), tmp_path / f"a{ending}"
    iio.imwrite(path, data)
    told, read = iio.improps(path), iio.imread(path)
    assert (told.shape, told.dtype) == (read.shape, read.dtype) == (data.shape, data.dtype)
    np.testing.assert_array_equal(read, data)
    assert "".join(told.axes) == axes
    assert told.n_total == 1
    assert told.spacing is None
    with iio.imopen(path, "r") as file:
        np.testing.assert_array_equal(file.source().read(), open_source(path).read())
        assert file.source().axes == open_source(path).axes
    assert os.listdir(tmp_path) == [f"a{ending}"]


SCALED = {
    "a.ome.tif": {},
    "a.tif": {"flavor": "imagej"},
    "a.ome.zarr": {},
    "a.zarr": {},
    "a.n5": {},
    "a.h5": {},
}


@pytest.mark.parametrize("name", SCALED)
def test_scale_and_unit_come_back(name: str, tmp_path: Path) -> None:
    data = voxels((5, 2, 20, 24))
    report = (
        iio.imwrite(
            tmp_path / name, data, axes="zcyx", scale=(2, 0.5, 0.25), unit="um", report=True, channel_names=["a", "b"]
        )
        if name != "a.ome.zarr"
        else iio.imwrite(
            tmp_path / name, data.swapaxes(0, 1), scale=(2, 0.5, 0.25), unit="um", report=True, channel_names=["a", "b"]
        )
    )
    told = iio.improps(tmp_path / name)
    sizes = dict(zip(told.axes, told.spacing or (), strict=True))
    assert {axis: sizes[axis] for axis in "zyx"} == pytest.approx({"z": 2, "y": 0.5, "x": 0.25})
    assert set(told.unit) == {None, "micrometer"}
    assert (report.lost, told.channel_names) == ((), ("a", "b"))
    models = [channel["name"] for channel in iio.immeta(tmp_path / name, standard=True)["channels"]]
    assert models == ["a", "b"]


def test_spacing_of_a_plain_tif_is_kept_in_its_tags(tmp_path: Path) -> None:
    data = voxels((3, 20, 24))
    report = iio.imwrite(tmp_path / "a.tif", data, scale=(2, 500, 250), unit="nm", flavor="plain", report=True)
    assert report.lost == ("scale of the axis z",)
    told = iio.improps(tmp_path / "a.tif")
    assert told.spacing == pytest.approx((None, 0.5, 0.25))
    assert told.unit == (None, "micrometer", "micrometer")


# Hyperstacks, slices, several images


def test_a_hyperstack_is_one_image(tmp_path: Path) -> None:
    path, data = tmp_path / "h.tif", voxels((15, 2, 18, 19))
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "ZCYX"})
    told = iio.improps(path)
    assert told.shape == iio.imread(path).shape == data.shape
    assert (told.axes, told.n_images, told.is_batch) == (("z", "c", "y", "x"), None, False)
    stacked = iio.improps(path, index=...)
    assert stacked.shape == iio.imread(path, index=...).shape == (1, *data.shape)
    assert (stacked.n_images, stacked.is_batch) == (1, True)
    with iio.imopen(path, "r") as file:
        pages = list(file.iter_pages())
        assert (len(pages), file[0].n_planes) == (30, 30)
    np.testing.assert_array_equal(pages[3], data[1, 1])
    np.testing.assert_array_equal(iio.imread(path, page=3), data[1, 1])
    np.testing.assert_array_equal(iio.imread(path, page=-1, index=...), data[-1, -1])


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("slices", [3, 4])
def test_few_slices_are_no_colours(slices: int, dtype: str, tmp_path: Path) -> None:
    path, data = tmp_path / "s.tif", voxels((slices, 20, 24), dtype)
    iio.imwrite(path, data)
    told = iio.improps(path)
    assert (told.shape, told.axes, told.is_rgb) == ((slices, 20, 24), ("z", "y", "x"), False)
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "ZYX"
        assert (len(file.pages), file.pages[0].photometric.name) == (slices, "MINISBLACK")
    iio.imwrite(path, np.moveaxis(data[:3], 0, -1), axes="yxc")
    told = iio.improps(path)
    assert (told.shape, told.axes, told.is_rgb) == ((20, 24, 3), ("y", "x", "c"), True)
    for more in ({}, {"photometric": "rgb"}, {"photometric": "rgb", "flavor": "plain"}):
        for image in (data[:3], as_source(data[:3])):
            iio.imwrite(path, image, axes="cyx", **more)
            told = iio.improps(path)
            assert (told.shape, told.axes, told.is_rgb) == ((3, 20, 24), ("c", "y", "x"), False)
            np.testing.assert_array_equal(iio.imread(path), data[:3])
            with tifffile.TiffFile(path) as file:
                assert file.pages[0].photometric.name == ("RGB" if more else "MINISBLACK")
    with pytest.raises(ShapeError, match="last axis"):
        iio.imwrite(path, data[:3], axes="cyx", photometric="rgb", flavor="imagej")


def test_images_of_different_shapes(tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    iio.imwrite(path, [voxels((8, 8)), voxels((9, 9))])
    assert [image.shape for image in iio.imiter(path)] == [(8, 8), (9, 9)]
    with pytest.raises(ShapeError, match=r"\(8, 8\).*\(9, 9\)") as caught:
        iio.imread(path, index=...)
    assert "imiter" in caught.value.remedy
    assert iio.imread(path, index=1).shape == iio.imread(path, series=1).shape == (9, 9)
    with iio.imopen(path, "r") as file:
        assert (len(file), [image.shape for image in file.images]) == (2, [(8, 8), (9, 9)])
        assert file.properties(1).n_total == 2


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5", "a.ome.zarr"])
def test_equal_images_are_stacked(name: str, tmp_path: Path) -> None:
    data = voxels((4, 20, 24))
    iio.imwrite(tmp_path / name, data, is_batch=True)
    told, read = iio.improps(tmp_path / name, index=...), iio.imread(tmp_path / name, index=...)
    assert (told.shape, told.n_images, told.is_batch) == (read.shape, 4, True)
    np.testing.assert_array_equal(read, data)
    np.testing.assert_array_equal(iio.imread(tmp_path / name, index=-2), data[-2])
    np.testing.assert_array_equal(list(iio.imiter(tmp_path / name)), data)


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5"])
def test_an_image_is_added(name: str, tmp_path: Path) -> None:
    with iio.imopen(tmp_path / name, "x") as file:
        file.write(voxels((8, 9)))
    with iio.imopen(tmp_path / name, "a") as file:
        reused = voxels((5, 6))
        file.write(reused)
        reused[:] = 0
    assert [image.shape for image in iio.imiter(tmp_path / name)] == [(8, 9), (5, 6)]
    np.testing.assert_array_equal(iio.imread(tmp_path / name, index=1), voxels((5, 6)))


@pytest.mark.parametrize("name", ["a.zarr", "a.ome.zarr", "a.n5", "a.h5"])
def test_what_is_there_is_not_written_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [voxels((8, 9)), voxels((5, 6)), voxels((7, 4)), voxels((3, 3))]
    iio.imwrite(tmp_path / name, images[:2])
    before = {path: path.stat().st_ino for path in (tmp_path / name).glob("[01]/**/*")}
    monkeypatch.setattr(WriteHandle, "_there", None)
    with iio.imopen(tmp_path / name, "a") as file:
        file.write(images[2])
        file.write(images[3])
    assert {path: path.stat().st_ino for path in before} == before
    with iio.imopen(tmp_path / name, "r") as file:
        assert len(file) == 4
        for number, image in enumerate(images):
            np.testing.assert_array_equal(file.read(number), image)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.zarr", "a.ome.zarr", "a.h5"])
def test_an_image_that_cannot_be_added_changes_nothing(name: str, tmp_path: Path) -> None:
    class Breaking:
        shape, dtype = (4, 5), np.dtype("u1")

        def __getitem__(self, index: object) -> np.ndarray:
            raise OSError("gone")

    iio.imwrite(tmp_path / name, [voxels((8, 9)), voxels((5, 6))])
    with pytest.raises(StorageError, match="gone"), iio.imopen(tmp_path / name, "a") as file:
        file.write(Breaking())
    assert [image.shape for image in iio.imiter(tmp_path / name)] == [(8, 9), (5, 6)]
    assert os.listdir(tmp_path) == [name]


# Parts


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5"])
def test_parts(name: str, tmp_path: Path) -> None:
    path, data = tmp_path / name, voxels((2, 6, 20, 24))
    iio.imwrite(path, data)
    np.testing.assert_array_equal(iio.imread(path, roi={"z": slice(2, 4), "x": slice(-3, None)}), data[:, 2:4, :, -3:])
    np.testing.assert_array_equal(iio.imread(path, roi=(slice(1, 2),)), data[1:])
    turned = iio.imread(path, axes="tzyxc")
    np.testing.assert_array_equal(turned, np.moveaxis(data, 0, -1)[None])
    assert iio.improps(path, axes="tzyxc").shape == turned.shape
    np.testing.assert_array_equal(iio.imread(path, axes="yxz", roi={"c": slice(0, 1)}), np.moveaxis(data[0], 0, -1))
    out = np.empty(data.shape, data.dtype)
    assert iio.imread(path, out=out) is out
    np.testing.assert_array_equal(out, data)
    np.testing.assert_array_equal(iio.imread(path, dtype="f4"), data.astype("f4"))
    np.testing.assert_array_equal(list(iio.imiter(path, axis="z")), np.moveaxis(data, 1, 0))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("axes", ["zyx", "yxc"])
def test_regions_of_tiles(axes: str, compression: str | None, tmp_path: Path) -> None:
    data = voxels((3, 1500, 1600)) if axes == "zyx" else voxels((1500, 1600, 3))
    iio.imwrite(tmp_path / "t.tif", data, axes=axes, tiles=(256, 128), compression=compression)
    source = open_source(tmp_path / "t.tif")
    assert source.chunks == ((1, 256, 128) if axes == "zyx" else (256, 128, 3))
    np.testing.assert_array_equal(iio.imread(tmp_path / "t.tif"), data)
    generator = np.random.default_rng(5)
    for _ in range(5):
        starts = [int(generator.integers(0, size)) for size in data.shape]
        box = tuple(
            slice(low, int(generator.integers(low + 1, size + 1))) for low, size in zip(starts, data.shape, strict=True)
        )
        np.testing.assert_array_equal(source[box], data[box])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "t.tif"), data)


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_regions_of_jpeg_tiles(photometric: str, tmp_path: Path) -> None:
    data = voxels((1300, 1500, 3), "u1")
    options = {"subsampling": (2, 2)} if photometric == "ycbcr" else {}
    tifffile.imwrite(tmp_path / "j.tif", data, photometric=photometric, compression="jpeg", tile=(256, 256), **options)
    source, expected = open_source(tmp_path / "j.tif"), tifffile.imread(tmp_path / "j.tif")
    assert source.chunks == (256, 256, 3)
    np.testing.assert_array_equal(source[200:600, 1000:, 1:], expected[200:600, 1000:, 1:])
    np.testing.assert_array_equal(iio.imread(tmp_path / "j.tif"), expected)
    with iio.imopen(tmp_path / "j.tif", "r") as file:
        assert file.applied() == {"PhotometricInterpretation": "YCBCR"}  # the library stores RGB so, too


# Streams and pyramids


def test_a_source_becomes_a_pyramid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = voxels((5, 700, 530))
    iio.imwrite(tmp_path / "a.zarr", data, scale=0.5, unit="um", chunks=(2, 128, 128))
    source = open_source(tmp_path / "a.zarr")
    monkeypatch.setattr("bioimage_py.io.tif.writing.BUFFER_BYTES", 300_000)
    iio.imwrite(tmp_path / "p.ome.tif", source, pyramid=True, compression="zlib")
    told = iio.improps(tmp_path / "p.ome.tif")
    assert told.levels == ((5, 700, 530), (5, 350, 265), (5, 175, 133))
    assert told.spacing == (0.5, 0.5, 0.5)
    np.testing.assert_array_equal(iio.imread(tmp_path / "p.ome.tif"), data)
    expected = data
    with tifffile.TiffFile(tmp_path / "p.ome.tif") as file:
        for level in (1, 2):
            expected = bp.downsample(expected, (1, 2, 2), method="mean")
            np.testing.assert_array_equal(iio.imread(tmp_path / "p.ome.tif", level=level), expected)
            np.testing.assert_array_equal(file.series[0].levels[level].asarray(), expected)
    coarse = open_source(tmp_path / "p.ome.tif", level=-1)
    assert [axis.scale for axis in coarse.axes] == pytest.approx([0.5, 2, 2], rel=0.02)
    np.testing.assert_array_equal(bp.from_spec(coarse.to_spec()).read(), expected)


def test_an_ome_zarr_pyramid_equals_downsample(tmp_path: Path) -> None:
    data = voxels((40, 300, 520))
    iio.imwrite(tmp_path / "p.ome.zarr", data, pyramid=2, unit="um", scale=1)
    expected = data
    for level in (1, 2):
        expected = bp.downsample(expected, 2, method="mean")
        np.testing.assert_array_equal(iio.imread(tmp_path / "p.ome.zarr", level=level), expected)
    assert [axis.scale for axis in open_source(tmp_path / "p.ome.zarr", level=2).axes] == [4, 4, 4]


def test_levels_by_themselves() -> None:
    axes = open_axes("zyx")
    assert [halves.number_of_levels(True, (9, size, 9), axes) for size in (256, 257, 512, 513, 1025)] == [0, 1, 1, 2, 3]


def open_axes(names: str) -> list[bp.sources.Axis]:
    return [bp.sources.Axis(name) for name in names]


def test_a_file_above_4_gib_has_large_offsets_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bioimage_py.io.tif.writing.CLASSIC_BYTES", 1000)
    iio.imwrite(tmp_path / "big.tif", voxels((20, 40)))
    iio.imwrite(tmp_path / "small.tif", voxels((10, 20)))
    with tifffile.TiffFile(tmp_path / "big.tif") as big, tifffile.TiffFile(tmp_path / "small.tif") as small:
        assert (big.is_bigtiff, small.is_bigtiff) == (True, False)
    np.testing.assert_array_equal(iio.imread(tmp_path / "big.tif"), voxels((20, 40)))


class Breaking:
    """An array that can be read to its middle."""

    shape, dtype = (40, 300, 300), np.dtype("u1")

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        if index[0].stop > 20:
            raise OSError("the disk is gone")
        return np.zeros(tuple(part.stop - part.start for part in index), "u1")


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5", "a.ome.zarr"])
def test_what_fails_leaves_the_old_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioimage_py.io.tif.writing.BUFFER_BYTES", 300_000)
    iio.imwrite(tmp_path / name, voxels((4, 5)))
    with pytest.raises(OSError, match="the disk is gone"):
        iio.imwrite(tmp_path / name, Breaking())
    np.testing.assert_array_equal(iio.imread(tmp_path / name), voxels((4, 5)))
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match="the disk is gone"):
        iio.imwrite(tmp_path / f"new-{name}", Breaking())
    assert os.listdir(tmp_path) == [name]


def test_nothing_is_changed_without_a_word(tmp_path: Path) -> None:
    report = iio.imwrite(tmp_path / "a.tif", voxels((1, 4, 5)), metadata={"what": object()}, report=True)
    assert set(report.lost) == {"axis z of length 1", "metadata 'what'"}
    report = iio.imwrite(tmp_path / "a.png", voxels((4, 5), "u1"), scale=2, unit="um", report=True)
    assert set(report.lost) == {"scale of the axis y", "scale of the axis x"}
    scaled = np.array([[0.0, 0.5], [1.0, 2.0]])
    iio.imwrite(tmp_path / "a.png", scaled, rescale=(0, 1))
    with pytest.raises(ValueError, match="1 voxels are no numbers"):
        iio.imwrite(tmp_path / "a.png", np.where(scaled == 2, np.nan, scaled), rescale=(0, 1))
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), [[0, 128], [255, 255]])
    with pytest.raises(ValueError, match="300"):
        iio.imwrite(tmp_path / "a.png", np.array([[300, 1]]), dtype="u1")
    iio.imwrite(tmp_path / "a.png", np.array([[300, 1]]), dtype="u1", casting="unsafe")
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), [[44, 1]])


@pytest.mark.parametrize("flavor", ["plain", "imagej"])
def test_boxes_of_files_in_one_piece(flavor: str, tmp_path: Path) -> None:
    """Native and other byte order, whole and in parts, against the same slices in memory."""
    data = voxels((3, 4, 5, 6))
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=flavor == "imagej", metadata={"axes": "TZYX"})
    generator = np.random.default_rng(8)
    for _ in range(60):
        box = []
        for size in data.shape:
            low = int(generator.integers(0, size))
            box.append(
                slice(None) if generator.random() < 0.5 else slice(low, int(generator.integers(low + 1, size + 1)))
            )
        np.testing.assert_array_equal(iio.imread(tmp_path / "a.tif", roi=tuple(box)), data[tuple(box)])


def test_what_is_read_is_the_callers_own(tmp_path: Path) -> None:
    for name, more in (("a.tif", {}), ("b.tif", {"compression": "zlib"}), ("c.zarr", {}), ("d.h5", {}), ("e.png", {})):
        data = voxels((20, 24), "u1") if name == "e.png" else voxels((3, 20, 24))
        iio.imwrite(tmp_path / name, data, **more)
        with iio.imopen(tmp_path / name, "r") as file:
            first = file.read()
            first[...] = 0
            np.testing.assert_array_equal(file.read(), data)
