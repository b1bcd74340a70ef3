"""What other programs mean: data types, axes, sizes and units as their files say them."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import DtypeError, FormatError
from bioimage_py.io import create_array
from bioimage_py.sources import Axis, open_source
from bioimage_py.sources.chunked.attributes import unit_name

h5py = pytest.importorskip("h5py")
z5py = pytest.importorskip("z5py")
zarr = pytest.importorskip("zarr")

SHAPE = (4, 6, 8)


def data(dtype: str = "u2") -> np.ndarray:
    return np.arange(1, np.prod(SHAPE) + 1).reshape(SHAPE).astype(dtype)


def attributed(path: Path, attributes: dict[str, Any], shape: tuple[int, ...] = SHAPE) -> str:
    """Write an array with attributes by the library of its format."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", shape=shape, dtype="u1").attrs.update(attributes)
    elif path.suffix == ".n5":
        with z5py.File(path, "w") as file:
            made = file.create_dataset("raw", shape=shape, dtype="uint8", chunks=shape)
            for key, value in attributes.items():
                made.attrs[key] = value
    else:
        zarr.open_group(path, mode="w").create_array("raw", shape=shape, dtype="u1").attrs.update(attributes)
    return str(path)


def told(axes: tuple[Axis, ...]) -> list[tuple[str, str, str | None, float, float]]:
    return [(axis.name, axis.kind, axis.unit, axis.scale, axis.offset) for axis in axes]


def vigra(keys: str, **sizes: float) -> str:
    flags = {"c": 1, "t": 8}
    return json.dumps(
        {
            "axes": [
                {"key": k, "typeFlags": flags.get(k, 2), "resolution": sizes.get(k, 0), "description": ""} for k in keys
            ]
        }
    )


def space(name: str, unit: str | None = None, scale: float = 1.0, offset: float = 0.0) -> tuple[Any, ...]:
    return name, "space", unit, scale, offset


CONVENTIONS: dict[str, tuple[dict[str, Any], tuple[int, ...], list[tuple[Any, ...]]]] = {
    "vigra axistags": (
        {"axistags": vigra("tzyxc", z=2.5)},
        (2, *SHAPE, 3),
        [("t", "time", None, 1, 0), space("z", None, 2.5), space("y"), space("x"), ("c", "channel", None, 1, 0)],
    ),
    "xarray": (
        {"_ARRAY_DIMENSIONS": ["time", "y", "x"]},
        SHAPE,
        [("time", "time", None, 1, 0), space("y"), space("x")],
    ),
    "PlantSeg": (
        {"element_size_um": [0.25, 0.1, 0.1], "axistags": vigra("czyx")},
        (2, *SHAPE),
        [
            ("c", "channel", None, 1, 0),
            *(space(n, "micrometer", s) for n, s in zip("zyx", (0.25, 0.1, 0.1), strict=True)),
        ],
    ),
    "sizes without names": (
        {"resolution": [40, 4, 4], "offset": [400, 0, 8], "units": "nm"},
        SHAPE,
        [space("z", "nanometer", 40, 400), space("y", "nanometer", 4), space("x", "nanometer", 4, 8)],
    ),
    "daisy": (
        {"voxel_size": [40, 8, 4], "axis_names": ["z", "y", "x"], "units": ["nm", "nm", "nm"]},
        SHAPE,
        [space("z", "nanometer", 40), space("y", "nanometer", 8), space("x", "nanometer", 4)],
    ),
}


@pytest.mark.parametrize("suffix", ["h5", "zarr"])
@pytest.mark.parametrize("case", CONVENTIONS)
def test_axes_in_the_order_of_the_array(tmp_path: Path, suffix: str, case: str) -> None:
    attributes, shape, expected = CONVENTIONS[case]
    path = attributed(tmp_path / f"a.{suffix}", attributes, shape)
    assert told(open_source(path, "raw").axes) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"axistags": vigra("zyx", z=3)}, [space("z", None, 3), space("y"), space("x")]),
        ({"axes": ["x", "y", "t"]}, [("t", "time", None, 1, 0), space("y"), space("x")]),
        (
            {"resolution": [4, 5, 40], "offset": [8, 0, 400], "units": ["nm", "nm", "nm"]},
            [space("z", "nanometer", 40, 400), space("y", "nanometer", 5), space("x", "nanometer", 4, 8)],
        ),
        (
            {"pixelResolution": {"unit": "um", "dimensions": [0.1, 0.2, 0.5]}, "downsamplingFactors": [2, 2, 1]},
            [space("z", "micrometer", 0.5), space("y", "micrometer", 0.4, 0.1), space("x", "micrometer", 0.2, 0.05)],
        ),
    ],
)
def test_n5_says_x_first(tmp_path: Path, attributes: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    assert told(open_source(attributed(tmp_path / "a.n5", attributes), "raw").axes) == expected


def test_sizes_of_a_pyramid_stand_in_its_groups(tmp_path: Path) -> None:
    """As Paintera, BigDataViewer and n5-viewer write them: once for all levels, in x, y, z order."""
    with z5py.File(tmp_path / "a.n5", "w") as file:
        group = file.create_group("setup0/timepoint0")
        group.attrs["resolution"] = [4.0, 4.0, 40.0]
        for level, factors in enumerate(([1, 1, 1], [2, 2, 1])):
            made = group.create_dataset(f"s{level}", shape=SHAPE, dtype="uint8", chunks=SHAPE)
            made.attrs["downsamplingFactors"] = factors
        group.create_dataset("other", shape=SHAPE, dtype="uint8", chunks=SHAPE)
    key = "setup0/timepoint0"
    assert [axis.scale for axis in open_source(tmp_path / "a.n5", key).axes] == [40, 4, 4]
    coarse = open_source(tmp_path / "a.n5", key, level=1).axes
    assert [(axis.scale, axis.offset) for axis in coarse] == [(40, 0), (8, 2), (8, 2)]
    assert [axis.scale for axis in open_source(tmp_path / "a.n5", f"{key}/other").axes] == [1, 1, 1]


UNITS = {"um": "micrometer", "\u00b5m": "micrometer", "Microns": "micrometer", "Mm": "Mm", "nm": "nanometer"}
UNITS |= {"\u00c5": "angstrom", "SEC": "second", "parsec": "parsec"}


@pytest.mark.parametrize(("unit", "name"), [*UNITS.items(), ("pixel", None), ("", None)])
def test_units_are_given_their_full_name(unit: str, name: str | None) -> None:
    assert unit_name(unit) == name


# data types


@pytest.mark.parametrize(
    ("said", "stored", "meant"),
    [(None, "i2", "u2"), ("uint16", "i2", "u2"), ("int16", "i2", "i2"), (None, "u2", "u2"), ("uint8", "i1", "u1")],
)
def test_unsigned_voxels_of_bigdataviewer(tmp_path: Path, said: str | None, stored: str, meant: str) -> None:
    values = np.random.default_rng(3).integers(0, 2 ** (8 * int(stored[1])), SHAPE).astype(f"u{stored[1]}")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("t00000/s03/0/cells", data=values.view(stored), chunks=(2, 4, 4))
        file.create_dataset("other/cells", data=values.view(stored))
        if said:
            file.create_group("s03").attrs["dataType"] = said
    with open_source(tmp_path / "a.h5", "t00000/s03/0/cells", mode="r+") as source:
        assert source.dtype == meant
        np.testing.assert_array_equal(source[...], values.view(meant))
        source[0] = top = np.iinfo(meant).max
        assert (source[0] == top).all()
        assert bp.stats.max(source) == max(top, values.view(meant)[1:].max())
    assert open_source(tmp_path / "a.h5", "other/cells").dtype == stored


def test_unsigned_and_packed_values_of_netcdf(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("raw", data=np.array([-1, 1], "i1"))
        made.attrs["_Unsigned"] = "true"
        packed = file.create_dataset("packed", data=np.array([1, 2], "i2"))
        packed.attrs.update({"scale_factor": np.array([0.5]), "add_offset": 3.0})
        file["nothing"] = h5py.Empty("f4")
        file["lat"] = [0.0, 1.0]
        file["lat"].make_scale("lat")
        made.dims[0].attach_scale(file["lat"])
    source = open_source(tmp_path / "a.h5", "raw")
    assert source[...].tolist() == [255, 1]
    assert source.axes[0].name == "lat"
    with pytest.warns(UserWarning, match=r"packed .*0\.5 \* stored \+ 3\.0 is meant"):
        assert open_source(tmp_path / "a.h5", "packed")[...].tolist() == [1, 2]
    with pytest.raises(FormatError, match="null dataspace"):
        open_source(tmp_path / "a.h5", "nothing")
    for name in ("a.zarr", "a.n5"):
        path = attributed(tmp_path / name, {"scale_factor": 2})
        with pytest.warns(UserWarning, match="packed"):
            open_source(path, "raw")
    path = attributed(tmp_path / "b.zarr", {"scale_factor": 1.0, "add_offset": 0.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_source(path, "raw")


@pytest.mark.parametrize("kind", [">u2", ">i4", ">f4", ">u8"])
def test_big_endian_voxels(tmp_path: Path, kind: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = data(kind)
    values[0, 0, 0] = 2**15 - 2
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = values
    zarr.create_array(tmp_path / "a2.zarr", data=values, zarr_format=2, chunks=(2, 4, 4))
    zarr.create_array(
        tmp_path / "a3.zarr", shape=SHAPE, dtype=kind[1:], chunks=SHAPE, serializer=zarr.codecs.BytesCodec(endian="big")
    )[...] = values
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=">", photometric="minisblack")
    tifffile.imwrite(tmp_path / "z.tif", values, byteorder=">", photometric="minisblack", compression="zlib")
    names = ("a2.zarr", "a3.zarr", "a.tif", "z.tif")
    for source in (open_source(tmp_path / "a.h5", "raw"), *(open_source(tmp_path / name) for name in names)):
        assert source.dtype == kind[1:], source
        assert source.dtype.isnative
        np.testing.assert_array_equal(source[1:, ::2], values[1:, ::2])
        assert bp.stats.max(source) == values.max()


def test_structured_voxels_are_named(tmp_path: Path) -> None:
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1")])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = colours
    for source in (open_source(tmp_path / "a.h5", "raw"), colours):
        for name in ("o.zarr", "o.n5", "o.h5"):
            with pytest.raises(DtypeError, match=rf"(?s){name}/raw.*\('R', 'u1'\).*field"):
                bp.copy(source, f"{tmp_path}/{name}/raw")
            assert not (tmp_path / name).exists()
    with pytest.raises(DtypeError, match=r"object"):
        create_array(tmp_path / "p.zarr", "raw", shape=(3,), dtype=object)


def test_label_multisets_are_called_what_they_are(tmp_path: Path) -> None:
    level = tmp_path / "a.n5" / "labels" / "s0"
    (level / "0").mkdir(parents=True)
    attributes: dict[str, Any] = {"dimensions": [2, 2], "blockSize": [2, 2], "dataType": "uint8"}
    attributes["compression"] = {"type": "raw"}
    (level / "0" / "0").write_bytes(struct.pack(">HHIII", 1, 2, 2, 2, 3) + b"abc")
    (level / "attributes.json").write_text(json.dumps({**attributes, "isLabelMultiset": True}))
    with pytest.raises(FormatError, match="label multiset") as caught:
        open_source(tmp_path / "a.n5", "labels")
    assert "delete" not in str(caught.value)
    (level / "attributes.json").write_text(json.dumps(attributes))
    with pytest.raises(bp.errors.StorageError, match="varlength") as unknown:
        open_source(tmp_path / "a.n5", "labels")[...]
    assert "delete" not in str(unknown.value)
