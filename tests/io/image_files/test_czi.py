"""CZI files, put together segment by segment as Zeiss describes them, and read as czifile reads them."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError, MemoryBudgetError, StorageError
from bioimage_py.io.formats import array_keys_of
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.testing import MakeSource, SourceConformance

from .common import READ_ONLY, details, opens_again, survives

czifile = pytest.importorskip("czifile", reason="the foreign reader is czifile")
imagecodecs = pytest.importorskip("imagecodecs")

KINDS = {"uint8": 0, "uint16": 1, "float32": 2, "rgb": 3, "rgb16": 4, "int32": 12}
DATA = np.random.default_rng(10).integers(0, 2**12, (2, 3, 20, 30)).astype("u2")
"""t, c, y, x."""
XML = """<ImageDocument><Metadata><Information><Image><ComponentBitCount>12</ComponentBitCount>
<AcquisitionDateAndTime>2024-05-06T07:08:09</AcquisitionDateAndTime><Dimensions><Channels>
<Channel Id="Channel:0" Name="DAPI"/><Channel Id="Channel:1" Name="GFP"><Color>#FF00FF00</Color></Channel>
<Channel Id="Channel:2" Name="RFP"/></Channels><T><Positions><Interval><Increment>2.5</Increment></Interval></Positions>
</T></Dimensions></Image><Document><Name>cells</Name></Document><Instrument><Objectives><Objective Name="Plan">
<NominalMagnification>20</NominalMagnification><LensNA>0.8</LensNA></Objective></Objectives></Instrument></Information>
<DisplaySetting><Channels><Channel Id="Channel:0"><Color>#FF0000FF</Color></Channel><Channel Id="Channel:2">
<Color>#FFFF0000</Color></Channel></Channels></DisplaySetting><Scaling><Items><Distance Id="X"><Value>5e-07</Value>
</Distance><Distance Id="Y"><Value>2.5e-07</Value></Distance></Items></Scaling></Metadata></ImageDocument>"""

Part = tuple[dict[str, int], np.ndarray, int]
"""Where a tile begins, its pixels ``(y, x[, s])``, and how many pixels one of it covers."""


def packed(pixels: np.ndarray, compression: int) -> bytes:
    if pixels.ndim == 3:  # blue comes first
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    stored = pixels.tobytes()
    if compression == 5:
        return imagecodecs.zstd_encode(stored)
    if compression == 6:
        apart = np.ascontiguousarray(np.frombuffer(stored, "u1").reshape(-1, 2).T).tobytes()
        return b"\3\1\1" + imagecodecs.zstd_encode(apart)
    return stored


def zeiss(path: Path, parts: Sequence[Part], compression: int = 0, xml: str = XML) -> Path:
    """A file with a segment for each tile."""

    def segment(kind: bytes, data: bytes) -> bytes:
        data = data.ljust(-(-len(data) // 32) * 32, b"\0")
        return struct.pack("<16sqq", kind, len(data), len(data)) + data

    content, entries = bytes(32 + 512), []
    for start, pixels, factor in parts:
        kind = {("u1", 3): "rgb", ("u2", 3): "rgb16"}.get(
            (pixels.dtype.str[1:], pixels.shape[-1] if pixels.ndim == 3 else 1)
        )
        number = KINDS[kind or pixels.dtype.name]
        sizes = {"X": pixels.shape[1], "Y": pixels.shape[0]}
        dimensions = {**{name: start[name] for name in "XY"}, **{n: v for n, v in start.items() if n not in "XY"}}
        entry = struct.pack(
            "<2siqiiB5si", b"DV", number, len(content), 0, compression, 2 * (factor > 1), b"", len(dimensions)
        )
        for name, first in dimensions.items():
            stored = sizes.get(name, 1)
            size = stored * (factor if name in "XY" else 1)
            entry += struct.pack("<4siifi", name.encode(), first, size, 0.0, stored)
        data = packed(pixels, compression)
        content += segment(b"ZISRAWSUBBLOCK", struct.pack("<iiq", 0, 0, len(data)) + entry.ljust(240, b"\0") + data)
        entries.append(entry)
    directory = len(content)
    content += segment(b"ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries))
    metadata = len(content)
    content += segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(xml.encode()), 0) + xml.encode())
    head = struct.pack("<4i16s16siqqiq", 1, 0, 0, 0, b"g" * 16, b"g" * 16, 0, directory, metadata, 0, 0)
    path.write_bytes(segment(b"ZISRAWFILE", head.ljust(512, b"\0")) + content[32 + 512 :])
    return path


def planes(data: np.ndarray, names: str) -> list[Part]:
    """A tile for each plane of ``(..., y, x)``."""
    return [
        ({"X": 0, "Y": 0, **dict(zip(names, place, strict=True))}, np.ascontiguousarray(data[place]), 1)
        for place in np.ndindex(data.shape[: len(names)])
    ]


class TestCZI(SourceConformance):
    kind = "CZI"
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16", "int32", "float32")
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
            return open_source(zeiss(tmp_path / f"{next(counter)}.czi", planes(content, "Z")))

        return make


def test_axes_and_details(tmp_path: Path) -> None:
    path = zeiss(tmp_path / "a.czi", planes(DATA, "TC"))
    with open_source(path) as source:
        assert [axis.name for axis in source.axes] == list("ctyx")  # the fastest dimension of a tile is told first
        np.testing.assert_array_equal(source[...], DATA.swapaxes(0, 1))
        np.testing.assert_array_equal(source[...], np.squeeze(czifile.imread(path)))
        np.testing.assert_array_equal(source[2, 1, 3:9, ::-2], DATA[1, 2, 3:9, ::-2])
        by_name = {axis.name: axis for axis in source.axes}
        assert by_name["x"] == Axis("x", "space", "micrometer", 0.5)
        assert by_name["t"] == Axis("t", "time", "second", 2.5)
    told = details(path)
    assert told.channel_names == ("DAPI", "GFP", "RFP")
    assert told.channel_colors == ("#0000ff", "#00ff00", "#ff0000")
    assert (told.time_step, told.bits, told.standard["acquired"]) == (2.5, 12, "2024-05-06T07:08:09")
    assert told.standard["objective"] == {"name": "Plan", "magnification": 20.0, "numerical_aperture": 0.8}


@pytest.mark.parametrize("compression", [0, 5, 6])
def test_mosaics_and_levels(tmp_path: Path, compression: int) -> None:
    rng = np.random.default_rng(0)
    parts: list[Part] = []
    expected = np.zeros((23, 34), "u2")
    for m, (y, x) in enumerate(((0, 0), (0, 18), (11, 0), (11, 18))):
        pixels = rng.integers(0, 2**16, (12, 16)).astype("u2")
        parts.append(({"X": 100 + x, "Y": -7 + y, "M": m}, pixels, 1))
        expected[y : y + 12, x : x + 16] = pixels  # later tiles lie above, and a gap of two columns stays
    coarse = rng.integers(0, 2**16, (11, 17)).astype("u2")
    parts.append(({"X": 100, "Y": -7, "M": 4}, coarse, 2))
    path = zeiss(tmp_path / "a.czi", parts, compression)
    with open_source(path) as source:
        np.testing.assert_array_equal(source[...], expected)
        np.testing.assert_array_equal(source[10:14, 14:20], expected[10:14, 14:20])
    if not compression:  # the library of 2019 knows no zstd
        parts.pop()
        bare = zeiss(tmp_path / "b.czi", parts)
        with czifile.CziFile(bare) as file:
            whole = file.asarray(out=np.zeros(file.shape, file.dtype), max_workers=1)
            np.testing.assert_array_equal(np.squeeze(whole), expected)
    with open_source(path, level=1) as source:
        np.testing.assert_array_equal(source[...], coarse)
        assert source.axes[-1] == Axis("x", "space", "micrometer", 1.0, 0.25)
        opens_again(source)
    with pytest.raises(KeyNotFoundError):
        open_source(path, level=2)


def test_scenes_and_colours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 255, (size, 9, 3)).astype("u1") for size in (5, 7))
    path = zeiss(tmp_path / "a.czi", [({"X": 0, "Y": 0, "S": 0}, first, 1), ({"X": 50, "Y": 60, "S": 1}, second, 1)])
    assert array_keys_of(str(path)) == ["0", "1"]
    for key, pixels in (("0", first), ("1", second)):
        with open_source(path, key) as source:
            assert [axis.name for axis in source.axes] == ["y", "x", "s"]
            np.testing.assert_array_equal(source[...], pixels)
            np.testing.assert_array_equal(source[1:3, :, 1], pixels[1:3, :, 1])
    assert details(path, "1").is_rgb
    with pytest.warns(UserWarning, match="2 scenes"):
        open_source(path).close()


@pytest.mark.parametrize(("code", "encode"), [(1, "jpeg8_encode"), (4, "jpegxr_encode")])
def test_lossy_tiles(tmp_path: Path, monkeypatch: Any, code: int, encode: str) -> None:
    pixels = np.tile(np.arange(64, dtype="u1") * 3, (48, 1))
    stored = getattr(imagecodecs, encode)(pixels)
    monkeypatch.setitem(globals(), "packed", lambda *_: stored)
    with open_source(zeiss(tmp_path / "a.czi", [({"X": 0, "Y": 0}, pixels, 1)], code)) as source:
        np.testing.assert_allclose(source[...].astype(int), pixels, atol=6)


def test_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = zeiss(tmp_path / "a.czi", planes(DATA, "TC")).read_bytes()
    for damaged in (b"", b"no such file", content[:400], content[: len(content) // 2]):
        (tmp_path / "b.czi").write_bytes(damaged)
        with pytest.raises(FormatError):
            open_source(tmp_path / "b.czi")
    (tmp_path / "b.czi").write_bytes(content.replace(b"</ImageDocument>", b"</imageDocument>"))
    with pytest.warns(UserWarning, match="damaged"), open_source(tmp_path / "b.czi") as source:
        np.testing.assert_array_equal(source[...], DATA.swapaxes(0, 1))
    (tmp_path / "b.czi").write_bytes(content.replace(b"ZISRAWSUBBLOCK", b"ZISRAWDELETED\0"))
    with open_source(tmp_path / "b.czi") as source, pytest.raises(StorageError, match="no tile begins"):
        source[0]
    far = [({"X": 0, "Y": 0, "M": 0}, DATA[0, 0], 1), ({"X": 2**30, "Y": 2**30, "M": 1}, DATA[0, 0], 1)]
    with open_source(zeiss(tmp_path / "c.czi", far)) as source:
        with pytest.raises(MemoryBudgetError):
            source[...]
        np.testing.assert_array_equal(source[-20:, -30:], DATA[0, 0])


def test_damaged_headers(tmp_path: Path) -> None:
    path = zeiss(tmp_path / "a.czi", planes(DATA[:1, :2, :4, :5], "TC"), xml="<ImageDocument/>")
    survives(path, path.stat().st_size, 80)
