"""Imaris files, laid out as its format says and as it writes them: padded chunks, attributes letter by letter."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError
from bioimage_py.io.image_files.microscopes.imaris import levels
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.testing import MakeSource, SourceConformance

from .common import READ_ONLY, details, opens_again, survives

h5py = pytest.importorskip("h5py")

CHUNK = 8
DATA = np.random.default_rng(5).integers(0, 2**16, (2, 3, 5, 20, 30)).astype("u2")


def letters(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), "S1")


def ims(path: Path, data: np.ndarray, axes: tuple[Axis, ...] | None = None, **image: str) -> Path:
    """A file with two levels of ``(t, c, z, y, x)``."""
    with h5py.File(path, "w") as file:
        file.attrs["ImarisDataSet"] = letters("ImarisDataSet")
        for level, step in enumerate((1, 2)):
            coarse = data[:, :, :, ::step, ::step]
            for t, c in itertools.product(range(data.shape[0]), range(data.shape[1])):
                group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}")
                full = [-(-size // CHUNK) * CHUNK for size in coarse.shape[2:]]
                padded = np.zeros(full, data.dtype)
                padded[tuple(slice(0, size) for size in coarse.shape[2:])] = coarse[t, c]
                group.create_dataset("Data", data=padded, chunks=(CHUNK,) * 3, compression="gzip")
                for name, size in zip("ZYX", coarse.shape[2:], strict=True):
                    group.attrs[f"ImageSize{name}"] = letters(str(size))
        said = {"Unit": "um", "Name": "nuclei", "RecordingDate": "2024-05-06 07:08:09.000"} | image
        for n, axis in enumerate(reversed(axes[-3:] if axes else ())):
            said[f"ExtMin{n}"] = repr(axis.offset - axis.scale / 2)
            said[f"ExtMax{n}"] = repr(axis.offset - axis.scale / 2 + axis.scale * data.shape[4 - n])
        about = file.create_group("DataSetInfo")
        for name, values in {
            "Image": said,
            "TimeInfo": {"TimePoint1": "2024-05-06 07:08:09", "TimePoint2": "2024-05-06 07:08:11.5"},
            "Channel 0": {"Name": "DAPI", "Color": "0.000 0.000 1.000"},
            "Channel 1": {"Name": "GFP", "Color": "0.000 1.000 0.000"},
            "Channel 2": {"Name": "RFP", "Color": "1.000 0.500 0.000"},
        }.items():
            group = about.create_group(name)
            for key, value in values.items():
                group.attrs[key] = letters(value)
    return path


class TestImaris(SourceConformance):
    kind = "Imaris"
    examples: ClassVar[int] = 15
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16", "uint32", "float32")
    impossible: ClassVar[dict[str, str]] = {"write": READ_ONLY, "foreign": "no other program on pip writes it"}

    def given_axes(self) -> tuple[Axis, ...]:
        return tuple(Axis(name, "space", "micrometer", 0.5 * (n + 1), 2.0 * n) for n, name in enumerate("zyx"))

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            return open_source(ims(tmp_path / f"{next(counter)}.ims", content[None, None], axes))

        return make


def test_times_channels_and_levels(tmp_path: Path) -> None:
    axes = TestImaris().given_axes()
    path = ims(tmp_path / "a.ims", DATA, axes)
    with open_source(path) as source:
        assert [axis.name for axis in source.axes] == list("tczyx")
        assert source.axes[0] == Axis("t", "time", "second", 2.5)
        np.testing.assert_array_equal(source[...], DATA)
        np.testing.assert_array_equal(source[1, 2, 1:3, 5, ::-2], DATA[1, 2, 1:3, 5, ::-2])
    for level in (1, -1):
        with open_source(path, level=level) as source:
            np.testing.assert_array_equal(source[...], DATA[..., ::2, ::2])
            assert source.axes[-1].scale == pytest.approx(2 * axes[-1].scale)
            opens_again(source)
    assert levels(str(path)) == [DATA.shape, (2, 3, 5, 10, 15)]
    with pytest.raises(KeyNotFoundError, match="no level 2"):
        open_source(path, level=2)
    told = details(path)
    assert told.channel_names == ("DAPI", "GFP", "RFP")
    assert told.channel_colors == ("#0000ff", "#00ff00", "#ff8000")
    assert (told.time_step, told.compression) == (2.5, "gzip")
    assert told.standard["acquired"] == "2024-05-06T07:08:09.000"


def test_files_that_lack_something(tmp_path: Path) -> None:
    ims(tmp_path / "a.ims", DATA)
    with h5py.File(tmp_path / "a.ims", "a") as file:
        del file["DataSetInfo"]
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 2/Data"]
    with open_source(tmp_path / "a.ims") as source:
        assert source.axes[-1] == Axis("x")
        np.testing.assert_array_equal(source[0], DATA[0])
        with pytest.raises(FormatError):
            source[1]
    assert details(tmp_path / "a.ims").channel_colors is None
    with h5py.File(tmp_path / "b.ims", "w") as file:
        file["raw"] = DATA
    with pytest.raises(FormatError, match="none of Imaris"):
        open_source(tmp_path / "b.ims")
    (tmp_path / "c.ims").write_bytes(b"no file")
    with pytest.raises(FormatError, match="no Imaris file"):
        open_source(tmp_path / "c.ims")


def test_damaged_headers(tmp_path: Path) -> None:
    survives(ims(tmp_path / "a.ims", DATA[:1, :1, :, :8, :8]), 4000, 50)


def test_text_of_a_group_in_a_damaged_heap(tmp_path: Path) -> None:
    path = ims(tmp_path / "a.ims", DATA[:1, :1, :, :8, :8])
    with h5py.File(path, "r+") as file:
        file["DataSetInfo/Image"].attrs["Name"] = "text of any length, over which HDF5 would go for ever"
    content = bytearray(path.read_bytes())
    at = content.rindex(b"GCOL") + 24
    content[at : at + 8] = struct.pack("<Q", 2**64 - 16)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"DataSetInfo/Image.*longer than the heap; left out"):
        told, source = details(path), open_source(path)
    assert (told.raw["Image"], source.axes[-1]) == ({}, Axis("x"))
    np.testing.assert_array_equal(source[...], DATA[0, 0, :, :8, :8])
