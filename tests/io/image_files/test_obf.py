"""OBF files, put together as Imspector's documentation says, and read as msr-reader reads them."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError
from bioimage_py.io.formats import array_keys_of
from bioimage_py.sources import Axis, Source, open_source
from bioimage_py.testing import MakeSource, SourceConformance

from .common import READ_ONLY, details, survives

msr = pytest.importorskip("msr_reader", reason="the foreign reader is msr-reader")

KINDS = {"u1": 1, "i1": 2, "u2": 4, "i2": 8, "u4": 16, "i4": 32, "f4": 64, "f8": 128, "u8": 0x1000, "i8": 0x2000}
DATA = np.random.default_rng(12).integers(0, 2**16, (3, 5, 6)).astype("u2")


def unit(meters: int, seconds: int, factor: float) -> bytes:
    powers = [meters, 0, seconds, 0, 0, 0, 0, 0, 0]
    return struct.pack("<18ld", *itertools.chain.from_iterable((power, 1) for power in powers), factor)


def obf(
    path: Path, stacks: Sequence[np.ndarray], axes: Sequence[Axis] = (), version: int = 6, packed: bool = False
) -> Path:
    """A file of stacks, whose axes are x, y, z, t from the last on."""
    content = struct.pack("<10sLQL", b"OMAS_BF\n\xff\xff", 1, 10 + 16, 0)
    for number, data in enumerate(stacks):
        sizes, given = data.shape[::-1], list(axes)[::-1]
        scales = [(axis.scale, axis.offset, axis.kind) for axis in given] or [(0.5, 0.25, "space")] * data.ndim
        pad = [0] * (15 - data.ndim)
        factor = {"space": 1e-6, "time": 1.0}
        lengths = [scale * factor[kind] * size for (scale, _, kind), size in zip(scales, sizes, strict=True)]
        offsets = [(start - scale / 2) * factor[kind] for scale, start, kind in scales]
        voxels = zlib.compress(data.tobytes()) if packed else data.tobytes()
        name = f"stack {number}".encode()
        head = struct.pack("<16sLL", b"OMAS_BF_STACK\n\xff\xff", version, data.ndim)
        head += struct.pack("<15L", *sizes, *pad) + struct.pack("<30d", *lengths, *pad, *offsets, *pad)
        footer = struct.pack("<15L15LL", *[0] * 31)
        if version >= 2:
            kinds = [kind for *_, kind in scales] + ["space"] * (15 - data.ndim)
            footer += unit(0, 0, 1.0) + b"".join(unit(kind == "space", kind == "time", 1.0) for kind in kinds)
        footer += struct.pack("<QQ", 0, 0) if version >= 3 else b""
        footer += struct.pack("<Q", 4) if version >= 4 else b""
        footer += struct.pack("<QLQ", 0, 0, 0) if version >= 5 else b""
        footer += struct.pack("<QQ", data.size, 0) if version >= 6 else b""
        footer = struct.pack("<L", len(footer) + 4) + footer
        for label in ("ExpControl X", "ExpControl Y", "ExpControl Z", "Time T")[: data.ndim]:
            footer += struct.pack("<L", len(label)) + label.encode()
        footer += struct.pack("<L", 0) if version >= 4 else b""
        end = len(content) + len(head) + 44 + len(name) + len(voxels) + len(footer)
        following = end if number + 1 < len(stacks) else 0
        kind = KINDS[data.dtype.str[1:]]
        head += struct.pack("<LLLLLQQQ", kind, int(packed), 0, len(name), 0, 0, len(voxels), following)
        content += head + name + voxels + footer
    path.write_bytes(content)
    return path


class TestOBF(SourceConformance):
    kind = "OBF"
    examples: ClassVar[int] = 15
    impossible: ClassVar[dict[str, str]] = {"write": READ_ONLY, "foreign": "no other program on pip writes it"}

    def given_axes(self) -> tuple[Axis, ...]:
        return tuple(Axis(name, "space", "micrometer", 0.5 * (n + 1), 2.0 * n) for n, name in enumerate("zyx"))

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            return open_source(obf(tmp_path / f"{next(counter)}.obf", [content], axes or ()))

        return make


@pytest.mark.parametrize("version", [1, 2, 6])
@pytest.mark.parametrize("packed", [False, True])
def test_stacks_are_those_of_the_library(tmp_path: Path, version: int, packed: bool) -> None:
    films = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("f4")
    path = obf(tmp_path / "a.msr", [DATA, films, DATA[:1]], version=version, packed=packed)
    assert array_keys_of(str(path)) == ["0", "1", "2"]
    with msr.OBFFile(path) as file:
        for n in range(3):
            with open_source(path, str(n)) as source:
                expected = file.read_stack(n)
                np.testing.assert_array_equal(source[...], expected)
                assert source.dtype == expected.dtype
                if version > 1:
                    assert [axis.scale for axis in source.axes] == pytest.approx([1e6 * s for s in file.pixel_size(n)])
    with open_source(path, "1") as source:
        assert [axis.name for axis in source.axes] == list("tzyx")
    assert details(path, "2").raw["name"] == "stack 2"
    assert details(path, "2").compression == ("zlib" if packed else None)
    with pytest.warns(UserWarning, match="3 stacks"):
        open_source(path).close()
    with pytest.raises(KeyNotFoundError):
        open_source(path, "3")


def test_times_have_their_unit(tmp_path: Path) -> None:
    axes = (Axis("t", "time", "second", 2.0), Axis("z"), Axis("y"), Axis("x"))
    path = obf(tmp_path / "a.obf", [np.zeros((2, 3, 4, 5), "u1")], axes)
    with open_source(path) as source:
        assert (source.axes[0].unit, source.axes[0].scale) == ("second", 2.0)
    assert details(path).time_step == 2.0


def test_lies_and_cut_files(tmp_path: Path) -> None:
    content = obf(tmp_path / "a.obf", [DATA, DATA]).read_bytes()
    at = content.index(b"OMAS_BF_STACK")
    huge = content[: at + 24] + struct.pack("<3L", *[100_000] * 3) + content[at + 36 :]
    for damaged in (b"", b"no such file", content[:20], content[: len(content) // 2], huge, content[:at] + b"x" * 400):
        (tmp_path / "b.obf").write_bytes(damaged)
        with pytest.raises(FormatError):
            open_source(tmp_path / "b.obf", "0")


def test_a_circle_of_stacks(tmp_path: Path) -> None:
    content = bytearray(obf(tmp_path / "a.obf", [DATA, DATA]).read_bytes())
    at = content.index(b"OMAS_BF_STACK")
    place = content.index(struct.pack("<QQ", 0, DATA.nbytes), at) + 16
    content[place : place + 8] = struct.pack("<Q", at)
    (tmp_path / "b.obf").write_bytes(content)
    with pytest.raises(FormatError, match="circle"):
        open_source(tmp_path / "b.obf", "0")


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_headers(tmp_path: Path, packed: bool) -> None:
    path = obf(tmp_path / "a.obf", [DATA], packed=packed)
    survives(path, path.stat().st_size, 60)
