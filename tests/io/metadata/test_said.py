"""Metadata that are said of an image when it is written: read back from every format that keeps them."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bioimage_py.io.v3 as iio
from bioimage_py.io.image_files import nifti
from bioimage_py.io.written.said import name_of, name_text, text_of, value_of

tifffile = pytest.importorskip("tifffile")
nibabel = pytest.importorskip("nibabel")

IMAGE = np.arange(2 * 16 * 20, dtype="u1").reshape(2, 16, 20)
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "ome": (".ome.tif", {}),
    "imagej": (".tif", {"flavor": "imagej"}),
    "plain": (".tif", {"flavor": "plain"}),
    "nrrd": (".nrrd", {}),
    "nifti": (".nii", {}),
    "packed nifti": (".nii.gz", {}),
}
SAID = {"id": 2**64 + 1, "ß": "文", "steps": [1, {"a": None, "b": 0.1}], "on": True, "text": "50 nm", "number": "50"}
AWKWARD = {
    **{
        text: text for text in ("a:=b", "]]>", "&amp;", '<M K="a">', "# no comment", "axis t", "Info", "a = b", "", " ")
    },
    **{
        text: text
        for text in ("\\", "\\n", "\n", "\r\n", "\0", "\ud800", "\ufffe", "NaN", '"', "null", "{0}", "%s", "'")
    },
    "deep": json.loads("[" * 40 + "]" * 40),
    "very long": "x<" * 100_000,
}
TEXTS = st.text(st.characters(), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def library(path: Path) -> np.ndarray:
    """The voxels, as the library of the format reads them."""
    if path.name.endswith(".tif"):
        return np.asarray(tifffile.imread(path))
    if path.name.endswith(".nrrd"):
        return np.asarray(pytest.importorskip("nrrd").read(str(path), index_order="C")[0])
    return np.asarray(nibabel.load(path).dataobj).T


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", [SAID, AWKWARD], ids=["usual", "awkward"])
def test_metadata_come_back(way: str, said: dict[str, Any], tmp_path: Path) -> None:
    ending, options = WAYS[way]
    path = tmp_path / f"a{ending}"
    report = iio.imwrite(path, IMAGE, metadata=said, axes="zyx", scale=0.5, unit="mm", report=True, **options)
    assert not [what for what in report.lost if "metadata" in what]
    found = iio.immeta(path)
    assert {name: found.get(name) for name in said} == said
    assert found["bioimage_py"] == {"metadata": said}
    np.testing.assert_array_equal(iio.imread(path), IMAGE)
    np.testing.assert_array_equal(library(path), IMAGE)
    assert way == "plain" or iio.improps(path).spacing == (0.5, 0.5, 0.5)


numbers = itertools.count()


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=12, deadline=None)
@given(said=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_metadata_come_back(way: str, said: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    ending, options = WAYS[way]
    path = tmp_path_factory.getbasetemp() / f"said{next(numbers)}{ending}"
    report = iio.imwrite(path, IMAGE, metadata=said, axes="zyx", report=True, **options)
    found = iio.immeta(path)
    kept = {name: value for name, value in said.items() if f"metadata {name!r}" not in report.lost}
    assert {name: found.get(name) for name in kept} == kept
    np.testing.assert_array_equal(iio.imread(path), IMAGE)
    path.unlink()


@pytest.mark.parametrize("ending", [".ome.tif", ".nrrd", ".zarr"])
def test_what_is_told_may_be_changed(ending: str, tmp_path: Path) -> None:
    iio.imwrite(tmp_path / f"a{ending}", IMAGE, metadata=SAID)
    with iio.imopen(tmp_path / f"a{ending}", "r") as file:
        for more in ({}, {"standard": True}):
            told = file.metadata(**more)
            (told["raw"] if more else told)["steps"][1]["a"] = "mine"
            assert file.metadata()["steps"] == SAID["steps"]


@pytest.mark.parametrize("depth", [10, 300, 700])
def test_what_is_nested_deep_is_told_all_the_same(depth: int, tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.zarr", IMAGE, metadata={"deep": "here", "id": 1})
    text = (tmp_path / "a.zarr/zarr.json").read_text()
    (tmp_path / "a.zarr/zarr.json").write_text(text.replace('"here"', "[" * depth + "]" * depth))
    for told in (iio.immeta(tmp_path / "a.zarr"), iio.immeta(tmp_path / "a.zarr", json=True)):
        assert (told["id"], type(told["deep"])) in ((1, list), (1, str))


def test_other_programs_carry_them_along(tmp_path: Path) -> None:
    nrrd = pytest.importorskip("nrrd")
    for name in ("a.nrrd", "a.nii.gz", "a.tif"):
        options: dict[str, Any] = {"flavor": "imagej"} if name == "a.tif" else {}
        iio.imwrite(tmp_path / name, IMAGE, axes="zyx", metadata=SAID | AWKWARD, **options)
    nrrd.write(str(tmp_path / "b.nrrd"), *nrrd.read(str(tmp_path / "a.nrrd")))
    nibabel.save(nibabel.load(tmp_path / "a.nii.gz"), tmp_path / "b.nii.gz")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        info = file.imagej_metadata["Info"]
    tifffile.imwrite(tmp_path / "b.tif", IMAGE, imagej=True, metadata={"axes": "ZYX", "Info": info})
    for name in ("b.nrrd", "b.nii.gz", "b.tif"):
        assert iio.immeta(tmp_path / name)["bioimage_py"] == {"metadata": SAID | AWKWARD}
        np.testing.assert_array_equal(iio.imread(tmp_path / name), IMAGE)


@given(TEXTS | VALUES)
@example("1" * 5000)
@example('"')
def test_a_value_is_one_line(value: Any) -> None:
    assert value_of(text_of(value)) == value
    assert type(value_of(text_of(value))) is type(value)
    assert text_of(value).isprintable()
    assert value_of(text_of(value, ascii=True)) == value
    assert text_of(value, ascii=True).isascii()


@given(TEXTS, st.sampled_from(["[:=]|^#|^axis ", "=", "$^"]))
@example("axis t", "^axis ")
@example('a:="b\\', "[:=]")
def test_a_name_is_one_line_without_what_is_reserved(name: str, reserved: str) -> None:
    text = name_text(name, reserved)
    assert name_of(text) == name
    assert text.isprintable()
    assert not re.search(reserved, text)


@pytest.mark.parametrize("way", WAYS)
def test_what_the_format_says_itself_is_not_said_otherwise(way: str, tmp_path: Path) -> None:
    ending, options = WAYS[way]
    iio.imwrite(tmp_path / f"a{ending}", IMAGE, axes="zyx", metadata={"id": 1}, **options)
    copied = iio.immeta(tmp_path / f"a{ending}", index=0)
    iio.imwrite(tmp_path / f"b{ending}", IMAGE[:1, :8], axes="zyx", metadata=copied, **options)
    found = iio.immeta(tmp_path / f"b{ending}", index=0)
    assert found["id"] == 1
    iio.imwrite(tmp_path / f"c{ending}", IMAGE[:1, :8], axes="zyx", metadata={"id": 1}, **options)
    expected = iio.immeta(tmp_path / f"c{ending}", index=0)
    differing = {name for name in expected if found.get(name) != expected[name]} - {"bioimage_py", "ome_xml"}
    assert not differing - {"ImageDescription", "vox_offset"}
    iio.imwrite(tmp_path / f"d{ending}", IMAGE[:1, :8], axes="zyx", metadata=found, **options)
    sizes = [(tmp_path / f"{name}{ending}").stat().st_size for name in "bd"]
    assert abs(sizes[1] - sizes[0]) < 200  # a copy of a copy does not grow


@pytest.mark.parametrize("way", WAYS)
def test_too_long_or_no_json_is_told(way: str, tmp_path: Path) -> None:
    ending, options = WAYS[way]
    path = tmp_path / f"a{ending}"
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    said = {"no JSON": object(), "no number": float("nan"), "deep": deep, "id": 1}
    lost = iio.imwrite(path, IMAGE, metadata=said, axes="zyx", report=True, **options).lost
    assert {"metadata 'no JSON'", "metadata 'no number'", "metadata 'deep'"} <= set(lost)
    assert iio.immeta(path)["id"] == 1
    lost = iio.imwrite(path, IMAGE, metadata={"long": "x" * 2**23}, axes="zyx", report=True, **options).lost
    assert "metadata 'long'" in lost
    np.testing.assert_array_equal(iio.imread(path), IMAGE)


@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_each_image_has_its_own(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    options: dict[str, Any] = {} if ending == ".ome.tif" else {"flavor": "plain"}
    for number in range(3):
        with iio.imopen(path, "a", **options) as file:
            file.write(IMAGE[:, : 10 + number], axes="zyx", metadata={"id": number, f"only {number}": {}})
    for number in range(3):
        found = iio.immeta(path, index=number)
        assert found["bioimage_py"] == {"metadata": {"id": number, f"only {number}": {}}}
    with tifffile.TiffFile(path) as file:
        assert len(file.series) == 3


@pytest.mark.parametrize("way", WAYS)
def test_adding_keeps_them_where_the_file_is_written_anew(way: str, tmp_path: Path) -> None:
    ending, options = WAYS[way]
    iio.imwrite(tmp_path / f"a{ending}", IMAGE, axes="zyx", metadata=SAID, **options)
    with iio.imopen(tmp_path / "b.ome.tif", "w") as file:
        source = iio.imopen(tmp_path / f"a{ending}", "r").source()
        file.write(source, metadata=iio.immeta(tmp_path / f"a{ending}", index=0)["bioimage_py"]["metadata"])
    assert iio.immeta(tmp_path / "b.ome.tif")["bioimage_py"] == {"metadata": SAID}


def extended(path: Path, content: bytes, claim: int, offset: int) -> None:
    """A NIfTI file with an extension that claims another size, and voxels that claim to lie elsewhere."""
    iio.imwrite(path, IMAGE, axes="zyx")
    found = bytearray(path.read_bytes())
    struct.pack_into("<f", found, 108, offset)
    found[348:352] = b"\1\0\0\0" + struct.pack("<ii", claim, 6) + content
    path.write_bytes(found)


@pytest.mark.parametrize(
    ("content", "claim", "offset"),
    [
        (b'{"bioimage_py": {"metadata": {"id": 1}}}', 48, 400),
        (b'{"bioimage_py": {"metadata": {"id": 1}}}', 2**31 - 16, 400),
        (b'{"bioimage_py": {"metadata": {"id": 1}}}', -48, 400),
        (b'{"bioimage_py": {"metadata": {"id": 1}}}', 0, 400),
        (b'{"bioimage_py": {"metadata": [1]}}' + bytes(6), 48, 400),
        (b'{"bioimage_py": {"metadata": {"id": 1}', 48, 400),
        (b"\xff" * 40, 48, 400),
        (b"[" * 100_008, 100_016, 100_368),
        (bytes(40), 48, 352),
    ],
)
def test_extensions_of_nifti_that_make_no_sense(content: bytes, claim: int, offset: int, tmp_path: Path) -> None:
    extended(tmp_path / "a.nii", content, claim, offset)
    found = iio.immeta(tmp_path / "a.nii")
    assert found.get("id") == (1 if (claim, content[-1:]) == (48, b"}") and content.count(b"}") == 3 else None)
    assert found["sizeof_hdr"] == 348
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    assert iio.immeta(tmp_path / "b.nii.gz").get("id") == found.get("id")


def test_long_extensions_of_others_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = nibabel.Nifti1Image(IMAGE.T, np.eye(4))
    for code, content in ((4, b"x" * 10_000_000), (6, b"a comment"), (6, b'{"bioimage_py": {"metadata": {"id": 1}}}')):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, content))
    nibabel.save(image, tmp_path / "a.nii")
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            read.append(size)
            return super().read(size)

    monkeypatch.setattr(nifti, "open", lambda path, _: Counted(path), raising=False)
    assert iio.immeta(tmp_path / "a.nii")["id"] == 1
    assert 0 < sum(read) < 1000


@pytest.mark.parametrize(
    "lines",
    [
        'bioimage_py:=["a", "a", "gone", 1, null]\na:=1',
        "bioimage_py:=" + "[" * 100_000 + "\na:=1",
        "bioimage_py:=null\na:=1",
        'bioimage_py:=["a"]\na:=' + "[" * 100_000,
        'bioimage_py:=["a", "bioimage_py"]\na:=1\na:=2\nbioimage_py:=["a"]',
        'bioimage_py:=["\\\\u0000"]\n"\\u0000":=\\q\\',
    ],
)
def test_keys_of_nrrd_that_make_no_sense(lines: str, tmp_path: Path) -> None:
    head = f"NRRD0005\ntype: uint8\ndimension: 1\nsizes: 3\nencoding: raw\n{lines}\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + b"abc")
    assert iio.immeta(tmp_path / "a.nrrd")["type"] == "uint8"
    assert iio.imread(tmp_path / "a.nrrd").tolist() == list(b"abc")


@pytest.mark.parametrize(
    "pairs",
    [
        '<M K="id">1</M><M K="id">2</M>',
        "<M>1</M><M K=''/>",
        '<M K="id">' + "[" * 100_000 + "</M>",
        '<M K="id"><M K="id">1</M></M>',
        '<M K="&quot;id">1</M>',
    ],
)
def test_annotations_that_make_no_sense(pairs: str, tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.ome.tif", IMAGE, axes="zyx", metadata={"id": 7}, scale=2)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        text = file.ome_metadata
    assert '<M K="id">7</M>' in text
    tifffile.tiffcomment(tmp_path / "a.ome.tif", text.replace('<M K="id">7</M>', pairs).encode())
    found = iio.immeta(tmp_path / "a.ome.tif")
    assert found["is_ome"]
    assert iio.improps(tmp_path / "a.ome.tif").spacing == (2, 2, 2)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.ome.tif"), IMAGE)


@pytest.mark.parametrize("info", ["[bioimage_py/metadata]\n" + "[" * 10**5 + " = 1\n=\n = \na = [[", "mine", ""])
def test_text_of_imagej_that_is_no_metadata(info: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, metadata={"axes": "ZYX", "Info": info})
    found = iio.immeta(tmp_path / "a.tif")
    assert found["slices"] == 2
    assert found.get("Info", "") == ("" if "\n" in info else info)
