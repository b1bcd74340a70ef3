"""Attributes over which HDF5 itself would loop or end the process are found before it reads them."""

from __future__ import annotations

from pathlib import Path
from struct import pack, unpack_from
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import FormatError

h5py = pytest.importorskip("h5py")
from bioimage_py.sources.arrays.hdf5_attributes import check_attributes  # noqa: E402


def made(path: Path, **how: Any) -> Path:
    """A file with attributes of all kinds, of which HDF5's latest layout has too many for a header."""
    with h5py.File(path, "w", **how) as file:
        data = file.create_dataset("data", data=np.arange(24, dtype="u1").reshape(4, 6))
        data.dims[0].label, data.dims[1].label = "y", "x"
        for number in range(12):
            data.attrs[f"text{number}"] = "t" * number
        rows = np.empty(2, object)
        rows[:] = [np.arange(3, dtype="i4"), np.zeros(0, "i4")]
        data.attrs.create("rows", rows, dtype=h5py.vlen_dtype("i4"))
        data.attrs["none"] = h5py.Empty("f4")
        scale = file.create_dataset("scale", data=[1, 2])
        scale.make_scale("s")
        data.dims[0].attach_scale(scale)
        file.create_group("group").attrs["a"] = "b"
    return path


@pytest.mark.parametrize("how", [{}, {"libver": "latest"}, {"userblock_size": 1024}, {"track_order": True}])
def test_whole_files_are_whole(how: dict[str, Any], tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5", **how)
    with h5py.File(path) as file:
        for name in ("data", "scale", "group", "/"):
            check_attributes(file[name], str(path))
    assert [axis.name for axis in bp.open_source(path, "data").axes] == ["y", "x"]


def test_what_is_not_yet_in_the_file(tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["data"].attrs["new"] = "text" * 1000
        check_attributes(file["data"], str(path))


def first(content: bytes) -> tuple[int, int, int]:
    """Where the type and the first element of DIMENSION_LABELS lie, and the heap that it points to."""
    at = content.index(b"DIMENSION_LABELS") + 24
    kind, space = (unpack_from("<H", content, content.index(b"DIMENSION_LABELS") - n)[0] for n in (4, 2))
    element = at + -(-kind // 8) * 8 + -(-space // 8) * 8
    return at, element, unpack_from("<Q", content, element + 4)[0]


def free(content: bytes, heap: int) -> int:
    """Where the free space of a heap begins."""
    at = heap + 16
    while unpack_from("<H", content, at)[0]:
        at += 16 + -(-unpack_from("<Q", content, at + 8)[0] // 8) * 8
    return at


def change(content: bytearray, what: str) -> None:
    kind, element, heap = first(bytes(content))
    assert content[heap : heap + 4] == b"GCOL"
    at, value = {
        "beyond the file": (element + 4, pack("<Q", 2**47 + heap)),
        "its name twice": (content.index(b"text2"), b"text3"),
        "no heap": (element + 4, pack("<Q", heap + 8)),
        "no such object": (element + 12, pack("<I", 60_000)),
        "longer than its object": (element, pack("<I", 2**31 - 1)),
        "neither text nor sequence": (kind + 1, b"\x03"),
        "a heap without end": (heap + 8, pack("<Q", 2**63)),
        "an object beyond the heap": (heap + 24, pack("<Q", 2**64 - 16)),
        "free space without length": (free(content, heap) + 8, pack("<Q", 0)),
        "free space beyond the heap": (free(content, heap) + 8, pack("<Q", 2**40)),
    }[what]
    content[at : at + len(value)] = value


@pytest.mark.parametrize(
    "what",
    [
        "beyond the file", "its name twice", "no heap", "no such object", "longer than its object",
        "neither text nor sequence", "a heap without end", "an object beyond the heap",
        "free space without length", "free space beyond the heap",
    ],
)  # fmt: skip
def test_damage_is_named(what: str, tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    change(content, what)
    path.write_bytes(content)
    with h5py.File(path) as file, pytest.raises(FormatError, match="damaged: an attribute of '/data'"):
        check_attributes(file["data"], str(path))
    for mode in ("r", "r+"):
        with pytest.raises(FormatError, match="damaged"):
            bp.open_source(path, "data", mode=mode)


def test_a_file_in_memory_is_not_that_of_its_name(tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    change(content, "beyond the file")
    path.write_bytes(content)
    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        file.create_dataset("data", data=np.arange(4)).attrs["text"] = "whole"
        assert bp.sources.as_source(file["data"]).shape == (4,)


def test_a_file_whose_name_another_has_taken(tmp_path: Path) -> None:
    path = made(tmp_path / "a.h5")
    with h5py.File(path) as file:
        (tmp_path / "b").write_bytes(bytes(10))
        (tmp_path / "b").replace(path)
        check_attributes(file["data"], str(path))


def test_many_attributes_in_a_damaged_heap(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("data", data=np.arange(24, dtype="u1").reshape(4, 6))
        for number in range(400):
            data.attrs[f"text{number}"] = "t" * (number % 50)
        data.attrs["axes"] = "yx"
    content = bytearray(path.read_bytes())
    assert [axis.name for axis in bp.open_source(path, "data").axes] == ["y", "x"]
    heap = content.rindex(b"GCOL")
    content[heap + 24 : heap + 32] = pack("<Q", 2**64 - 16)
    (tmp_path / "b.h5").write_bytes(content)
    with pytest.raises(FormatError, match="an object is longer than the heap"):
        bp.open_source(tmp_path / "b.h5", "data")


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["same"], file["some"] = np.zeros(3), np.ones(3)
    content = (tmp_path / "b.h5").read_bytes().replace(b"some\0", b"same\0")
    (tmp_path / "b.h5").write_bytes(content)
    for call in (bp.imread, bp.improps, bp.open_source):
        with pytest.raises(FormatError, match="two arrays of the name 'same'"):
            call(tmp_path / "b.h5")
