"""Metadata that make no sense cost a warning, and never the voxels, time or memory."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest

import bioimage_py.io.v3 as iio
from bioimage_py.errors import ArgumentError, FormatError, ParameterError
from bioimage_py.io import create_array
from bioimage_py.sources import Axis, open_source

tifffile = pytest.importorskip("tifffile")

PLANE = np.arange(20 * 30, dtype="u1").reshape(20, 30)
SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome(path: Path, more: str = "", **sizes: object) -> Path:
    """A file of one page whose OME-XML says what it likes."""
    said = {"X": 30, "Y": 20, "Z": 1, "C": 1, "T": 1, **sizes}
    text = " ".join(f'Size{name}="{size}"' for name, size in said.items())
    pixels = f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" {text} {more}>'
    channel = '<Channel ID="Channel:0:0" Name="DAPI" SamplesPerPixel="1"/><TiffData/>'
    xml = f'<?xml version="1.0"?><OME xmlns="{SCHEMA}"><Image ID="Image:0">{pixels}{channel}</Pixels></Image></OME>'
    tifffile.imwrite(path, PLANE, description=xml, metadata=None)
    return path


@pytest.mark.parametrize(
    "said",
    ['PhysicalSizeX="a" TimeIncrement="b"', 'PhysicalSizeX="nan"', 'PhysicalSizeX="-1"', 'PhysicalSizeX="1e999"'],
)
def test_a_distance_that_is_none(said: str, tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", said + ' PhysicalSizeY="500" PhysicalSizeYUnit="nm"')
    assert np.array_equal(iio.imread(path), PLANE)
    told = iio.improps(path)
    assert (told.spacing, told.unit, told.channel_names) == ((500.0, None), ("nanometer", None), ("DAPI",))
    assert iio.immeta(path, standard=True)["pixel_sizes"] == {"y": (500.0, "nm")}


@pytest.mark.parametrize("sizes", [{"Z": 20000, "C": 10000}, {"X": 2**53 + 1}, {"Z": "many"}])
def test_more_planes_than_any_file_has(sizes: dict[str, object], tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", **sizes)
    begun = process_time()
    tracemalloc.start()
    with pytest.warns(UserWarning, match="its OME-XML"):
        told = iio.improps(path)
    with pytest.warns(UserWarning, match="its OME-XML"):
        assert np.array_equal(iio.imread(path), PLANE)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert process_time() - begun < 10
    assert told.shape == PLANE.shape


@pytest.mark.parametrize(("name", "value"), [("finterval", "x"), ("spacing", "nan"), ("finterval", "inf")])
def test_distances_of_imagej(name: str, value: str, tmp_path: Path) -> None:
    text = f"ImageJ=1.53t\nimages=3\nslices=3\n{name}={value}\nunit=um\n"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([PLANE] * 3), description=text, metadata=None, resolution=(2, 2))
    assert iio.imread(path).shape == (3, 20, 30)
    told = iio.improps(path)
    assert told.time_step is None
    assert told.spacing is not None
    assert told.spacing[-2:] == (0.5, 0.5)


@pytest.mark.parametrize("said", [{"shape": [10**9, 20, 30]}, {"shape": "x"}, {"shape": [1] * 100 + [20, 30]}])
def test_shapes_of_tifffile(said: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANE, description=json.dumps(said), metadata=None)
    with pytest.raises(OSError, match=r"a\.tif"):
        iio.imread(path)


HUGE = 10**400
SAID = [
    {"attributes": {"bioimage_py": {"axes": [{"name": name, "scale": HUGE} for name in "yx"]}}},
    {"attributes": {"bioimage_py": {"axes": [{"name": name, "scale": 0} for name in "yx"]}}},
    {"attributes": {"resolution": [HUGE, 1]}},
]


@pytest.mark.parametrize("said", SAID)
def test_axes_of_an_array(said: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    iio.imwrite(path, PLANE)
    document = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps({**document, **said}))
    with pytest.warns(UserWarning, match="its axes makes no sense"):
        told = iio.improps(path)
    assert (told.shape, told.spacing) == (PLANE.shape, None)
    with pytest.warns(UserWarning, match="its axes makes no sense"):
        assert np.array_equal(iio.imread(path), PLANE)


@pytest.mark.parametrize(
    "wrong", [{"axes": 3}, {"axes": [{"name": "y", "unit": 3}] * 2}, {"coordinateTransformations": 3}]
)
def test_axes_of_an_image(wrong: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    iio.imwrite(path, PLANE, scale=0.5)
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["multiscales"][0].update(wrong)
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.warns(UserWarning, match="its axes makes no sense"):
        assert np.array_equal(iio.imread(path), PLANE)


def test_chunks_of_no_voxels(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    iio.imwrite(path, PLANE)
    document = json.loads((path / "zarr.json").read_text())
    document["chunk_grid"]["configuration"]["chunk_shape"] = [0, 30]
    (path / "zarr.json").write_text(json.dumps(document))
    for call in (iio.imread, iio.improps):
        with pytest.raises(FormatError, match="chunks of no voxels"):
            call(path)


FIELDS = {
    "a.nrrd": (b"(0.5,0.0)", b"(nan,0.0)"),
    "b.nrrd": (b"(0.5,0.0)", b"(0.0,0.0)"),
    "a.mha": (b"ElementSpacing = 0.0005", b"ElementSpacing = 1e999 "),
}


@pytest.mark.parametrize("name", FIELDS)
def test_distances_of_text_headers(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    iio.imwrite(path, PLANE, scale=0.5, unit="um")
    content = path.read_bytes()
    assert FIELDS[name][0] in content
    path.write_bytes(content.replace(*FIELDS[name]))
    try:
        told = iio.improps(path)
    except FormatError:
        return
    assert all(size is None or 0 < size < float("inf") for size in told.spacing or ())
    assert np.array_equal(iio.imread(path), PLANE)


def test_distances_of_nifti(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    path = tmp_path / "a.nii"
    iio.imwrite(path, PLANE, scale=0.5, unit="um")
    content = bytearray(path.read_bytes())
    content[80:84] = np.float32("nan").tobytes()
    content[252:256] = bytes(4)  # neither of its matrices
    path.write_bytes(content)
    told = iio.improps(path)
    assert (told.shape, told.spacing) == (PLANE.shape, (0.5, None))


@pytest.mark.parametrize("ending", [".n5", ".zarr", ".h5"])
@pytest.mark.parametrize(
    "said",
    [
        {"metadata": {"a": math.nan}},
        {"metadata": {"a": [{"b": -math.inf}]}},
        {"metadata": {"a": object()}},
        {"axes": [Axis("y", scale=math.nan), Axis("x")]},
        {"axes": [Axis("y", offset=math.inf), Axis("x")]},
        {"axes": [Axis("y", scale=0.0), Axis("x")]},
    ],
    ids=["nan", "infinity", "object", "scale", "offset", "no scale"],
)
def test_what_could_not_be_read_again_is_refused_before_anything_goes(
    tmp_path: Path, ending: str, said: dict[str, Any]
) -> None:
    path = tmp_path / f"a{ending}"
    create_array(path, "x", shape=(4, 4), dtype="u1")[...] = 5
    with pytest.raises((ParameterError, ArgumentError)):
        create_array(path, "x", shape=(4, 4), dtype="u1", overwrite=True, **said)
    np.testing.assert_array_equal(open_source(path, "x")[...], 5)


def test_images_leave_out_metadata_that_json_has_not(tmp_path: Path) -> None:
    for ending in (".n5", ".zarr", ".ome.zarr", ".h5"):
        path = tmp_path / f"a{ending}"
        report = iio.imwrite(path, np.ones((4, 4), "u1"), metadata={"a": math.inf, "b": 1}, report=True)
        assert report.lost == ("metadata 'a'",)
        assert iio.immeta(path)["b"] == 1
        np.testing.assert_array_equal(iio.imread(path), 1)
