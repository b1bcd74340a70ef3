"""LIF files, put together as Leica describes them, and read as liffile reads them."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError
from bioimage_py.io.formats import array_keys_of
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.testing import MakeSource, SourceConformance

from .common import READ_ONLY, details, survives

liffile = pytest.importorskip("liffile", reason="LIF needs liffile: pip install 'bioimage-blocks[microscopy]'")

DATA = np.random.default_rng(9).integers(0, 2**12, (2, 3, 2, 4, 5)).astype("u2")
"""t, z, c, y, x."""
_DIMENSIONS = {"x": (1, "m"), "y": (2, "m"), "z": (3, "m"), "t": (4, "s")}


def element(name: str, number: int, data: np.ndarray, lengths: dict[str, float]) -> str:
    """An image of ``(t, z, c, y, x)`` as XML; channels are planes between z and y."""
    size = data.itemsize
    sizes = dict(zip("tzcyx", data.shape, strict=True))
    strides = dict(zip("tzcyx", np.ascontiguousarray(data).strides, strict=True))
    channels = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{12 if size == 2 else 8 * size}" Min="0" Max="1"'
        ' NameOfMeasuredQuantity=""'
        f' Unit="" LUTName="{color}" IsLUTInverted="0" BytesInc="{n * strides["c"]}" BitInc="0"/>'
        for n, color in enumerate(("Green", "Red")[: sizes["c"]])
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{_DIMENSIONS[axis][0]}" NumberOfElements="{sizes[axis]}" Origin="0"'
        f' Length="{lengths.get(axis, 0)}" Unit="{_DIMENSIONS[axis][1]}" BitInc="0" BytesInc="{strides[axis]}"/>'
        for axis in "xyzt"
        if sizes[axis] > 1
    )
    return (
        f'<Element Name="{name}" Visibility="1" CopyOption="1" UniqueID="u{number}"><Data><Image TextDescription="">'
        f"<ImageDescription><Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription>"
        f'</Image></Data><Memory Size="{data.nbytes}" MemoryBlockID="MemBlock_{number}"/><Children/></Element>'
    )


def leica(path: Path, images: dict[str, np.ndarray], lengths: dict[str, float] | None = None) -> Path:
    inner = "".join(element(name, n, data, lengths or {}) for n, (name, data) in enumerate(images.items()))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="p" UniqueID="p"><Data><Experiment/></Data><Memory Size="0"'
        f' MemoryBlockID="MemBlock_9"/><Children>{inner}</Children></Element></LMSDataContainerHeader>'
    )
    text = xml.encode("utf-16-le")
    content = struct.pack("<IIBI", 0x70, len(text) + 5, 0x2A, len(text) // 2) + text
    for n, data in enumerate(images.values()):
        name = f"MemBlock_{n}".encode("utf-16-le")
        content += struct.pack("<IIBQBI", 0x70, len(name) + 14, 0x2A, data.nbytes, 0x2A, len(name) // 2) + name
        content += data.tobytes()
    path.write_bytes(content)
    return path


class TestLIF(SourceConformance):
    kind = "LIF"
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
            path = leica(tmp_path / f"{next(counter)}.lif", {"a": content[None, :, None]})
            np.testing.assert_array_equal(liffile.imread(path), content)
            return open_source(path)

        return make


def test_axes_and_details(tmp_path: Path) -> None:
    path = leica(tmp_path / "a.lif", {"cells": DATA}, {"x": 2e-6, "y": 3e-6, "z": 4e-6, "t": 2.5})
    with open_source(path) as source:
        np.testing.assert_array_equal(source[...], liffile.imread(path))
        np.testing.assert_array_equal(source[...], DATA)
        np.testing.assert_array_equal(source[1, ::-1, 1, 1:3], DATA[1, ::-1, 1, 1:3])
        assert [(axis.name, axis.kind, axis.unit) for axis in source.axes] == [
            ("t", "time", "second"),
            ("z", "space", "micrometer"),
            ("c", "channel", None),
            ("y", "space", "micrometer"),
            ("x", "space", "micrometer"),
        ]
        assert [axis.scale for axis in source.axes] == pytest.approx([2.5, 2.0, 1.0, 1.0, 0.5])
    told = details(path)
    assert told.channel_names == ("Green", "Red")
    assert told.channel_colors == ("#00ff00", "#ff0000")
    assert (told.time_step, told.bits, told.standard["image"]) == (2.5, 12, {"name": "cells"})


def test_several_images(tmp_path: Path) -> None:
    path = leica(tmp_path / "a.lif", {"a": DATA, "b": DATA[:1, :, :1].copy()})
    assert array_keys_of(str(path)) == ["0", "1"]
    with open_source(path, "1") as source:
        np.testing.assert_array_equal(source[...], DATA[0, :, 0])
    with pytest.warns(UserWarning, match="2 images"):
        open_source(path).close()
    with pytest.raises(KeyNotFoundError):
        open_source(path, "b")


def test_other_files_and_cut_ones(tmp_path: Path) -> None:
    content = leica(tmp_path / "a.lif", {"a": DATA}).read_bytes()
    for damaged in (b"", b"no such file", content[:-10], content[:200]):
        (tmp_path / "b.lif").write_bytes(damaged)
        with pytest.raises(FormatError):
            open_source(tmp_path / "b.lif")
    old, new = ('NumberOfElements="4"'.encode("utf-16-le"), 'NumberOfElements="9"'.encode("utf-16-le"))
    (tmp_path / "b.lif").write_bytes(content.replace(old, new))
    with pytest.raises(FormatError, match="stride"):
        open_source(tmp_path / "b.lif")


def test_damaged_headers(tmp_path: Path) -> None:
    survives(leica(tmp_path / "a.lif", {"a": DATA}), 4000, 80)
