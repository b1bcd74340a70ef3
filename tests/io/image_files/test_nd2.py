"""ND2 files, put together chunk by chunk as Nikon lays them out, and read as the library nd2 reads them."""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError, StorageError
from bioimage_py.io.formats import array_keys_of
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.testing import MakeSource, SourceConformance

from .common import READ_ONLY, details, survives

nd2 = pytest.importorskip("nd2", reason="ND2 needs nd2: pip install 'bioimage-blocks[microscopy]'")

DATA = np.random.default_rng(7).integers(0, 2**12, (2, 3, 2, 4, 5)).astype("u2")
"""t, z, c, y, x."""


def xml(name: str, value: Any) -> str:
    """An element of Nikon's XML."""
    if isinstance(value, dict):
        return f'<{name} runtype="CLxListVariant">{"".join(map(xml, value, value.values()))}</{name}>'
    kind = {bool: "bool", int: "lx_uint32", float: "double", str: "CLxStringW"}[type(value)]
    return f'<{name} runtype="{kind}" value="{str(value).lower() if value in (True, False) else value}"/>'


def chunk(name: bytes, data: bytes, header: int = 32) -> bytes:
    return struct.pack("<IIQ", 0x0ABECEDA, header, len(data)) + name.ljust(header, b"\0") + data


def loop(kind: int, values: dict[str, Any], inner: dict[str, Any] | None) -> dict[str, Any]:
    return {"eType": kind, "uLoopPars": values} | ({"ppNextLevelEx": {"i0000000000": inner}} if inner else {})


def nikon(path: Path, data: np.ndarray, positions: int = 0, packed: bool = False, drop: int = 0) -> Path:
    """A file of ``(t, [p,] z, c, y, x)``, or of ``(t, z, c, y, x)``."""
    times, depth, channels, height, width = (*data.shape[:1], *data.shape[-4:])
    frames = np.ascontiguousarray(np.moveaxis(data, -3, -1)).reshape(-1, height, width, channels)
    bits, row = 8 * data.dtype.itemsize, width * channels * data.dtype.itemsize
    attributes: dict[str, Any] = {"uiWidth": width, "uiHeight": height, "uiComp": channels, "uiBpcInMemory": bits}
    attributes |= {"uiBpcSignificant": 12 if bits == 16 else bits, "uiSequenceCount": len(frames)}
    attributes |= {"uiWidthBytes": row, "eCompression": 0 if packed else 2, "dCompressionParam": 1.0}
    planes = {
        f"a{n}": {"uiCompCount": 1, "uiColor": color, "sDescription": name, "pFluorescentProbe": {"sName": name}}
        for n, (name, color) in enumerate((("DAPI", 0xFF0000), ("GFP", 0x00FF00))[:channels])
    }
    meta: dict[str, Any] = {"bCalibrated": True, "dCalibration": 0.25, "wsObjectiveName": "Plan Apo 20x"}
    meta |= {"dObjectiveMag": 20.0, "dObjectiveNA": 0.75, "dAspect": 1.0, "dTimeMSec": 0.0, "dXPos": 1.0}
    meta["sPicturePlanes"] = {"uiCount": channels, "uiCompCount": channels, "sPlane": planes}
    inner = loop(4, {"uiCount": depth, "dZLow": 0.0, "dZHigh": 2.0, "dZStep": 1.0, "dZHome": 1.0, "iType": 0}, None)
    if positions:
        points = {f"a{n}": {"dPosX": 10.0 * n, "dPosY": 5.0, "dPosZ": 0.0} for n in range(positions)}
        inner = loop(2, {"uiCount": positions, "Points": points}, inner)
    experiment = loop(1, {"uiCount": times, "dStart": 0.0, "dPeriod": 2500.0, "dDuration": 1.0}, inner)
    content = chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver2.1".ljust(64, b"\0"))
    places: dict[bytes, tuple[int, int]] = {}

    def add(name: bytes, stored: bytes, header: int = 32) -> None:
        nonlocal content
        places[name] = (len(content), len(stored))
        content += chunk(name, stored, header)

    for name, value in (("ImageAttributes", attributes), ("ImageMetadataSeq|0", meta), ("ImageMetadata", experiment)):
        add(f"{name}!".encode(), f'<variant version="1.0">{xml("no_name", value)}</variant>'.encode())
    for n, frame in enumerate(frames[: len(frames) - drop]):
        voxels = frame.tobytes()
        # a time stamp of 8 bytes stands in front of the voxels
        add(f"ImageDataSeq|{n}!".encode(), bytes(8) + (zlib.compress(voxels) if packed else voxels), 4096 - 24)
    index = b"".join(name + struct.pack("<QQ", *place) for name, place in places.items())
    start = len(content)
    last = struct.pack("<32sQ", b"ND2 CHUNK MAP SIGNATURE 0000001!", start)
    path.write_bytes(content + chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", index + last))
    return path


class TestND2(SourceConformance):
    kind = "ND2"
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16")
    examples: ClassVar[int] = 15
    impossible: ClassVar[dict[str, str]] = {
        "write": READ_ONLY,
        "axes": "the microscope states them: test_axes_and_details",
        "foreign": "no other program on pip writes it",
    }

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            path = nikon(tmp_path / f"{next(counter)}.nd2", content[None, :, None])
            np.testing.assert_array_equal(nd2.imread(path), content)
            return open_source(path)

        return make


@pytest.mark.parametrize("packed", [False, True])
def test_voxels_are_those_of_the_library(tmp_path: Path, packed: bool) -> None:
    path = nikon(tmp_path / "a.nd2", DATA, packed=packed)
    with open_source(path) as source:
        np.testing.assert_array_equal(source[...], nd2.imread(path))
        np.testing.assert_array_equal(source[...], DATA)
        np.testing.assert_array_equal(source[1, ::-1, 1, 1:3], DATA[1, ::-1, 1, 1:3])
    assert details(path).compression == ("lossless" if packed else None)


def test_axes_and_details(tmp_path: Path) -> None:
    path = nikon(tmp_path / "a.nd2", DATA)
    with open_source(path) as source:
        assert source.axes == (
            Axis("t", "time", "second", 2.5),
            Axis("z", "space", "micrometer", 1.0),
            Axis("c", "channel"),
            Axis("y", "space", "micrometer", 0.25),
            Axis("x", "space", "micrometer", 0.25),
        )
    told = details(path)
    assert told.channel_names == ("DAPI", "GFP")
    assert told.channel_colors == ("#0000ff", "#00ff00")
    assert (told.time_step, told.bits) == (2.5, 12)
    assert told.standard["objective"]["magnification"] == 20.0


def test_positions_are_images(tmp_path: Path) -> None:
    data = np.random.default_rng(8).integers(0, 99, (2, 2, 3, 2, 4, 5)).astype("u2")
    path = nikon(tmp_path / "a.nd2", data, positions=2)
    assert array_keys_of(str(path)) == ["0", "1"]
    for n in range(2):
        with open_source(path, str(n)) as source:
            np.testing.assert_array_equal(source[...], data[:, n])
    with pytest.warns(UserWarning, match="2 positions"):
        open_source(path).close()
    with pytest.raises(KeyNotFoundError):
        open_source(path, "2")
    assert details(path, "0").positions == ((0.0, 5.0, 0.0), (10.0, 5.0, 0.0))


def test_planes_that_were_never_written_are_errors(tmp_path: Path) -> None:
    path = nikon(tmp_path / "a.nd2", DATA, drop=1)
    assert not nd2.imread(path)[-1, -1].any()  # the library makes up zeros
    with open_source(path) as source:
        np.testing.assert_array_equal(source[0], DATA[0])
        with pytest.raises(StorageError, match="Plane 5"):
            source[-1]


def test_other_files_and_cut_ones(tmp_path: Path) -> None:
    content = nikon(tmp_path / "a.nd2", DATA).read_bytes()
    for damaged in (b"", b"no such file", content[:-100], content[: len(content) // 2]):
        (tmp_path / "b.nd2").write_bytes(damaged)
        with pytest.raises(FormatError):
            open_source(tmp_path / "b.nd2")
    wide = np.zeros((1, 1, 1, 10, 10_000), "u2")
    content = nikon(tmp_path / "a.nd2", wide).read_bytes()
    many = [f'<uiHeight runtype="lx_uint32" value="{n}"'.encode() for n in (10, 99)]
    (tmp_path / "b.nd2").write_bytes(content.replace(*many))
    with pytest.raises(FormatError, match="cut off"):
        open_source(tmp_path / "b.nd2")
    content = nikon(tmp_path / "a.nd2", DATA).read_bytes()
    (tmp_path / "b.nd2").write_bytes(content.replace(b"dCalibration", b"eCalibration"))
    with pytest.warns(UserWarning, match="damaged"), open_source(tmp_path / "b.nd2") as source:
        np.testing.assert_array_equal(source[...], DATA)


def test_damaged_headers(tmp_path: Path) -> None:
    survives(nikon(tmp_path / "a.nd2", DATA), 5000, 60)
