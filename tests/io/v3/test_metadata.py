"""The same scale from whoever says it, and what else files say of their images."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py.io.v3 as iio

tifffile = pytest.importorskip("tifffile")

DATA = np.arange(4 * 20 * 24, dtype="u2").reshape(4, 20, 24)
OME = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
HALF_A_MICROMETER: dict[str, tuple[dict[str, Any], tuple[Any, ...], str | None]] = {
    "centimetres": ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, (None, 0.5, 0.5), "micrometer"),
    "inches": ({"resolution": (50800, 50800), "resolutionunit": "INCH"}, (None, 0.5, 0.5), "micrometer"),
    "no unit": ({"resolution": (2, 2), "resolutionunit": "NONE"}, (None, 0.5, 0.5), None),
    "a printer's": ({"resolution": (300, 300), "resolutionunit": "INCH"}, None, None),
    "a printer's in centimetres": ({"resolution": (28.346, 28.346), "resolutionunit": "CENTIMETER"}, None, None),
    "nothing": ({}, None, None),
    "ImageJ": (
        {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "um", "spacing": 2}},
        (2, 0.5, 0.5),
        "micrometer",
    ),
    "ImageJ escaped": (
        {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "\\u00B5m", "spacing": 2}},
        (2, 0.5, 0.5),
        "micrometer",
    ),
    "ImageJ nm": (
        {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "nm", "spacing": 2}},
        (2, 0.5, 0.5),
        "nanometer",
    ),
    "ImageJ inch": (
        {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "inch", "spacing": 2}},
        (2, 0.5, 0.5),
        "inch",
    ),
    "OME": ({"ome": True, "metadata": OME}, (2, 0.5, 0.5), "micrometer"),
    "OME nm": (
        {"ome": True, "metadata": OME | {f"PhysicalSize{name}Unit": "nm" for name in "XYZ"}},
        (2, 0.5, 0.5),
        "nanometer",
    ),
}


@pytest.mark.parametrize("said", HALF_A_MICROMETER)
def test_spacing(said: str, tmp_path: Path) -> None:
    options, spacing, unit = HALF_A_MICROMETER[said]
    tifffile.imwrite(tmp_path / "a.tif", DATA, photometric="minisblack", **options)
    told = iio.improps(tmp_path / "a.tif")
    assert (told.spacing is None) == (spacing is None)
    for found, expected in zip(told.spacing or (), spacing or (), strict=True):
        assert found == (None if expected is None else pytest.approx(expected, rel=1e-6))
    assert told.unit[-2:] == (unit, unit)
    with iio.imopen(tmp_path / "a.tif", "r") as file:
        assert tuple(axis.unit for axis in file.source().axes) == told.unit


def test_one_model_for_all(tmp_path: Path) -> None:
    data = np.zeros((2, 20, 24), "u1")
    options: dict[str, Any] = {"axes": "cyx", "scale": 0.5, "unit": "um", "channel_names": ["DAPI", "GFP"]}
    models = []
    for name, more in (("a.ome.tif", {}), ("b.tif", {"flavor": "imagej"}), ("c.ome.zarr", {})):
        iio.imwrite(tmp_path / name, data, **options, **more)
        model = iio.immeta(tmp_path / name, standard=True, json=True)
        json.dumps(model)
        keys = {"image", "acquired", "instrument", "objective", "channels", "pixel_sizes", "stage", "raw"}
        assert set(model) == keys
        names = [channel["name"] for channel in model["channels"]]
        sizes = {axis: size for axis, (size, _) in model["pixel_sizes"].items()}
        models.append((names, sizes))
    assert models == [(["DAPI", "GFP"], {"y": 0.5, "x": 0.5})] * 3


def test_ome_of_another_writer(tmp_path: Path) -> None:
    metadata = {
        "axes": "TCYX",
        "Name": "scan",
        "Description": "of cells",
        "TimeIncrement": 250,
        "TimeIncrementUnit": "ms",
        "Channel": {"Name": ["a", "b"], "Color": [-16776961, 65535]},
        "Plane": {"PositionX": [1.5] * 4, "PositionY": [2.5] * 4},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", DATA.reshape(2, 2, 20, 24), metadata=metadata)
    told = iio.improps(tmp_path / "a.ome.tif")
    assert (told.channel_names, told.channel_colors) == (("a", "b"), ("#ff0000", "#0000ff"))
    assert (told.time_step, told.positions) == (0.25, ((2.5, 1.5),))
    assert (told.spacing or ())[0] == 250
    model = iio.immeta(tmp_path / "a.ome.tif", standard=True)
    assert model["image"] == {"name": "scan", "id": "Image:0", "description": "of cells"}
    assert model["stage"] == (2.5, 1.5)
    with iio.imopen(tmp_path / "a.ome.tif", "r") as file:
        assert (file[0].name, file[0].channels) == ("scan", ("a", "b"))


def test_file_and_image_are_apart(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DATA, imagej=True, metadata={"axes": "ZYX", "Info": "mine"})
    file = iio.immeta(tmp_path / "a.tif", index=...)
    assert file == {"byteorder": "<", "is_imagej": True, "is_ome": False, "is_shaped": False, "is_lsm": False}
    image = iio.immeta(tmp_path / "a.tif", index=0)
    assert (image["slices"], "byteorder" in image) == (4, False)
    assert iio.immeta(tmp_path / "a.tif") == file | image


def test_damaged_metadata_cost_no_voxels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    iio.imwrite(path, DATA, scale=0.5, unit="um")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"</Pixels>", b"</Pyxels>"))
    np.testing.assert_array_equal(iio.imread(path), DATA)
    with pytest.warns(UserWarning, match="metadata are damaged"):
        assert iio.immeta(path) == {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert iio.improps(path).shape == DATA.shape


def test_levels_and_channels_of_ome_zarr(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.ome.zarr", [DATA, DATA[:2]], unit="um", scale=2)
    with iio.imopen(tmp_path / "a.ome.zarr", "r") as file:
        assert [image.shape for image in file.images] == [DATA.shape, DATA[:2].shape]
        np.testing.assert_array_equal(file.read(1), DATA[:2])
        np.testing.assert_array_equal(file.read(), DATA)
    iio.imwrite(tmp_path / "two.zarr", [DATA, DATA[:2]])
    with pytest.raises(ValueError, match=r"no key is given\. It has: 0, 1"):
        iio.imread(tmp_path / "two.zarr")
    np.testing.assert_array_equal(iio.imread(tmp_path / "two.zarr", key="1"), DATA[:2])
    np.testing.assert_array_equal(iio.imread(tmp_path / "two.zarr" / "1"), DATA[:2])


def test_properties_decode_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iio.imwrite(tmp_path / "a.tif", DATA, compression="zlib", tiles=(16, 16), pyramid=1)
    read: list[int] = []
    whole = tifffile.FileHandle.read

    def counted(self: Any, size: int = -1) -> bytes:
        found: bytes = whole(self, size)
        read.append(len(found))
        return found

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a page was decoded")

    monkeypatch.setattr(tifffile.FileHandle, "read", counted)
    monkeypatch.setattr(tifffile.TiffPage, "decode", refused)
    assert iio.improps(tmp_path / "a.tif").levels == ((4, 20, 24), (4, 10, 12))
    iio.immeta(tmp_path / "a.tif")
    assert 0 < sum(read) < 2**20


def test_claims_beyond_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), "u1"), compression="zlib", metadata=None)
    content = bytearray(path.read_bytes())
    at = struct.unpack_from("<I", content, 4)[0]
    for number in range(struct.unpack_from("<H", content, at)[0]):
        tag = at + 2 + 12 * number
        if struct.unpack_from("<H", content, tag)[0] in (256, 257, 278):
            struct.pack_into("<HII", content, tag + 2, 4, 1, 2**31 - 16)
    path.write_bytes(content)
    with pytest.raises(MemoryError, match="claims an image of") as caught:
        iio.imread(path)
    assert "roi" in str(caught.value)


@pytest.mark.parametrize("ending", [".zarr", ".ome.zarr", ".n5", ".h5", ".tif", ".nrrd"])
def test_seconds_between_time_points(ending: str, tmp_path: Path) -> None:
    image = np.zeros((3, 20, 30), "u1")
    iio.imwrite(tmp_path / f"a{ending}", image, axes="tyx", scale={"t": 1500}, unit={"t": "ms"})
    assert iio.improps(tmp_path / f"a{ending}").time_step == 1.5
    iio.imwrite(tmp_path / f"b{ending}", image, axes="tyx", scale={"y": 0.5})
    assert iio.improps(tmp_path / f"b{ending}").time_step is None


SAID = {"id": 2**64 + 1, "ß": "文", "steps": [1, {"a": None, "b": 0.1}], "on": True}


@pytest.mark.parametrize("ending", [".zarr", ".ome.zarr", ".n5", ".h5"])
def test_metadata_of_arrays_come_back(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    image = np.arange(2 * 20 * 30, dtype="u1").reshape(2, 20, 30)
    more = {**SAID, "of no JSON": object(), "no number": float("nan")}
    report = iio.imwrite(path, image, axes="cyx", channel_names=["a", "b"], scale=0.5, metadata=more, report=True)
    assert report.lost == ("metadata 'of no JSON'", "metadata 'no number'")
    found = iio.immeta(path)
    assert {name: found.get(name) for name in SAID} == SAID
    told = iio.improps(path)
    assert (told.channel_names, told.spacing) == (("a", "b"), (None, 0.5, 0.5))
    iio.imwrite(tmp_path / "b.zarr", image, axes="cyx", metadata=found)  # as scripts copy them from file to file
    assert iio.improps(tmp_path / "b.zarr").spacing is None
    copied = iio.immeta(tmp_path / "b.zarr")
    assert (copied["id"], "bioimage_py" in copied["bioimage_py"]["metadata"]) == (2**64 + 1, False)


@pytest.mark.parametrize("ending", [".zarr", ".ome.zarr", ".n5", ".h5"])
def test_metadata_of_arrays_may_be_long(ending: str, tmp_path: Path) -> None:
    more = {"text": "a" * 5_000_000}
    report = iio.imwrite(tmp_path / f"a{ending}", np.zeros((4, 4), "u1"), metadata=more, report=True)
    assert report.lost == ()
    assert iio.immeta(tmp_path / f"a{ending}")["text"] == more["text"]
    assert iio.imread(tmp_path / f"a{ending}").shape == (4, 4)


@pytest.mark.parametrize("ending", [".zarr", ".ome.zarr", ".n5", ".h5", ".ome.tif"])
def test_metadata_stay_where_an_image_is_added(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    iio.imwrite(path, np.zeros((4, 4), "u1"), metadata={"id": 1})
    with iio.imopen(path, "a") as file:
        file.write(np.ones((4, 4), "u1"), metadata={"id": 2})
    assert [iio.immeta(path, index=number)["id"] for number in range(2)] == [1, 2]
