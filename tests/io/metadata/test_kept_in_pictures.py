"""Metadata in formats that have little room for them: a text, a comment, labels, fields of a header.

What ITK makes of such a MetaImage is as SimpleITK 2.5 has written it.
"""

from __future__ import annotations

import json
import string
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_py.io.v3 as iio

from .test_said import AWKWARD, IMAGE, SAID, TEXTS, VALUES

LONG = {"short": 1, "long": "x" * 2_000_000}
WAYS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "png": (".png", "tyx", {}, ""),
    "deep png": (".png", "yxc", {}, "imagecodecs"),
    "jpeg": (".jpg", "yxc", {}, ""),
    "gif": (".gif", "tyx", {}, ""),
    "metaimage": (".mha", "zyx", {}, ""),
    "raw metaimage": (".mha", "czyx", {"compression": "raw"}, ""),
    "npz": (".npz", "zyx", {}, ""),
    "packed npz": (".npz", "zyx", {"compression": "deflate"}, ""),
    "mrc": (".mrc", "zyx", {}, "mrcfile"),
    "dicom": (".dcm", "zyx", {}, "pydicom"),
    **{ending: (ending, "tyx", {"compression": "h264-lossless"}, "av") for ending in (".mp4", ".mov", ".mkv", ".avi")},
}
SIZES = {"t": 2, "c": 3, "z": 2, "y": 16, "x": 20}


def image_of(way: str) -> np.ndarray:
    kind = {"deep png": "u2", "mrc": "i1"}.get(way, "u1")
    shape = [SIZES[name] for name in WAYS[way][1]]
    return np.random.default_rng(0).integers(0, 100, shape).astype(kind)


def written(path: Path, way: str, said: Any) -> tuple[str, ...]:
    """Write an image with metadata; returns those that are lost."""
    _, axes, options, needs = WAYS[way]
    if needs:
        pytest.importorskip(needs)
    report = iio.imwrite(path, image_of(way), axes=axes, metadata=said, report=True, **options)
    return tuple(what for what in report.lost if what.startswith("metadata "))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", [SAID, AWKWARD, LONG], ids=["usual", "awkward", "long"])
def test_what_is_not_lost_comes_back(way: str, said: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"a{WAYS[way][0]}"
    lost = written(path, way, said)
    kept = {name: value for name, value in said.items() if f"metadata {name!r}" not in lost}
    assert len(lost) == len(said) - len(kept)
    found = iio.immeta(path)
    assert {name: found.get(name) for name in kept} == kept
    assert found.get("bioimage_py", {"metadata": {}}) == {"metadata": kept}
    if said is SAID:
        assert not lost
    if way not in ("jpeg", "gif"):
        image = iio.imread(path)
        np.testing.assert_array_equal(image[..., 0] if way.startswith(".") else image, image_of(way))


@pytest.mark.parametrize("way", ["png", "metaimage", "npz", "mrc", "dicom", "gif"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.dictionaries(TEXTS, VALUES, max_size=5))
def test_any_metadata_come_back_or_are_lost(way: str, said: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"a{WAYS[way][0]}"
    lost = written(path, way, said)
    kept = {name: value for name, value in said.items() if f"metadata {name!r}" not in lost}
    found = iio.immeta(path).get("bioimage_py", {"metadata": {}})
    assert found == {"metadata": {name: value for name, value in kept.items() if name != "bioimage_py"}}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_copy_does_not_grow(way: str, tmp_path: Path) -> None:
    ending = WAYS[way][0]
    written(tmp_path / f"a{ending}", way, {"id": 1})
    plain = iio.immeta(tmp_path / f"a{ending}", index=0)
    for before, after in ("ab", "bc"):
        copied = iio.immeta(tmp_path / f"{before}{ending}", index=0)
        written(tmp_path / f"{after}{ending}", way, copied)
    assert iio.immeta(tmp_path / f"c{ending}", index=0).keys() == plain.keys()
    assert iio.immeta(tmp_path / f"c{ending}", index=0)["bioimage_py"] == {"metadata": {"id": 1}}


@pytest.mark.parametrize("way", WAYS)
def test_without_metadata_nothing_is_said(way: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{WAYS[way][0]}"
    assert written(path, way, None) == ()
    assert "bioimage_py" not in iio.immeta(path)


def test_each_array_of_an_archive_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for number in range(3):
        with iio.imopen(path, "a") as file:
            file.write(IMAGE, name=f"one{number}", metadata={"id": number})
    assert [iio.immeta(path, index=number)["id"] for number in range(3)] == [0, 1, 2]
    with np.load(path) as archive:
        assert [name for name in archive.files if not name.endswith(".json")] == ["one0", "one1", "one2"]
        assert json.loads(archive["one1.json"]) == {"bioimage_py": {"metadata": {"id": 1}}}


OWN = json.dumps({"bioimage_py": {"metadata": {"id": 1}}})
NONSENSE = [
    "[" * 100_000,
    '{"bioimage_py": {"metadata": [1]}}',
    '{"bioimage_py": {"metadata": {"id": 1}',
    '{"bioimage_py": 1, "bioimage_py": 2}',
    "{}",
    "null",
    "",
]


def text_chunk(text: str, kind: bytes = b"iTXt") -> bytes:
    body = b"bioimage_py\0" + (b"\0\0\0\0" if kind == b"iTXt" else b"") + text.encode()
    body = b"bioimage_py\0\0" + zlib.compress(text.encode()) if kind == b"zTXt" else body
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", [b"iTXt", b"tEXt", b"zTXt"])
@pytest.mark.parametrize("texts", [*([text] for text in NONSENSE), [OWN, "nonsense"], [OWN] * 3, [" " * 900_000]])
def test_texts_of_png_that_make_no_sense(texts: list[str], kind: bytes, tmp_path: Path) -> None:
    written(tmp_path / "a.png", "png", None)
    content = (tmp_path / "a.png").read_bytes()
    chunks = b"".join(text_chunk(text, kind) for text in texts)
    (tmp_path / "b.png").write_bytes(content[:33] + chunks + content[33:])
    found = iio.immeta(tmp_path / "b.png")
    assert found.get("id") == (1 if texts[-1] == OWN else None)
    np.testing.assert_array_equal(iio.imread(tmp_path / "b.png"), image_of("png"))


@pytest.mark.parametrize("text", [*NONSENSE, OWN])
def test_members_of_an_archive_that_make_no_sense(text: str, tmp_path: Path) -> None:
    written(tmp_path / "a.npz", "npz", None)
    with zipfile.ZipFile(tmp_path / "a.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.json", text)
        archive.writestr("other.json", " " * 10_000_000)
    assert iio.immeta(tmp_path / "a.npz").get("id") == (1 if text == OWN else None)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    at = content.find(b"PK\1\2", content.find(b"PK\1\2") + 1)
    content[at + 16 : at + 20] = b"\1\2\3\4"  # of another checksum
    (tmp_path / "b.npz").write_bytes(content)
    assert "id" not in iio.immeta(tmp_path / "b.npz")
    np.testing.assert_array_equal(iio.imread(tmp_path / "b.npz"), image_of("npz"))


def test_a_member_that_expands_to_very_much_is_no_metadata(tmp_path: Path) -> None:
    written(tmp_path / "a.npz", "npz", None)
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("arr_0.json", "w") as member,
    ):
        member.write(b" " * 2**24)
        member.write(OWN.encode())
    assert "id" not in iio.immeta(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "labels",
    [
        ["bioimage_py metadata: 8"],
        ["bioimage_py metadata: 2", "id = 1", "no name"],
        ["bioimage_py metadata: 2", "id = 1", "id = 1"],
        ["bioimage_py metadata: 0"],
        ["bioimage_py metadata: -1", "id = 1"],
        ["bioimage_py metadata: 1", " = "],
        ["bioimage_py metadata: 1", '"\\u00 = ['],
    ],
)
def test_labels_of_mrc_that_make_no_sense(labels: list[str], tmp_path: Path) -> None:
    mrcfile = pytest.importorskip("mrcfile")
    written(tmp_path / "a.mrc", "mrc", None)
    with mrcfile.open(tmp_path / "a.mrc", "r+") as file:
        for label in labels:
            file.add_label(label)
    found = iio.immeta(tmp_path / "a.mrc")
    assert found["nx"] == 20
    assert found.get("id") == (1 if ": 2" in labels[0] else None)


def test_labels_of_others_stay(tmp_path: Path) -> None:
    mrcfile = pytest.importorskip("mrcfile")
    lost = written(tmp_path / "a.mrc", "mrc", dict.fromkeys(string.ascii_letters[:12], 1))
    assert lost == tuple(f"metadata {letter!r}" for letter in "ijkl")
    with mrcfile.open(tmp_path / "a.mrc") as file:
        labels = file.get_labels()
    assert labels[1:4] == ["bioimage_py metadata: 8", "a = 1", "b = 1"]
    assert iio.immeta(tmp_path / "a.mrc")["labels"] == [labels[0].strip()]


HEAD = """ObjectType = Image
NDims = 1
BinaryData = True
{}
DimSize = 3
ElementType = MET_UCHAR
ElementDataFile = LOCAL
"""


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (
            "bioimage_py = metadata\nITK_original_spacing = 1 1 1\nid = 1\nModality = MET_MOD_OTHER\nß = [",
            {"id": 1, "Ã\x9f": "["},
        ),
        ("bioimage_py = metadata", None),
        ("bioimage_py = " + "[" * 100_000 + "\nid = 1", None),
        ('bioimage_py = metadata\n"\\u0000" = 1\n"id = 2', {"\0": 1, '"id': 2}),
        ("bioimage_py = metadata\nid = " + "[" * 60_000, {"id": "[" * 60_000}),
    ],
)
def test_fields_of_metaimage(lines: str, found: dict[str, Any] | None, tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(HEAD.format(lines).encode() + b"abc")
    told = iio.immeta(tmp_path / "a.mha")
    assert told["NDims"] == "1"
    assert told.get("bioimage_py") == (
        None if lines.endswith("id = 1") and found is None else found and {"metadata": found}
    ) or "[" in str(told["bioimage_py"])
    assert iio.imread(tmp_path / "a.mha").tolist() == list(b"abc")


@pytest.mark.parametrize("text", [*NONSENSE, OWN])
def test_private_elements_of_dicom_that_make_no_sense(text: str, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    written(tmp_path / "a.dcm", "dicom", None)
    with pydicom.dcmread(tmp_path / "a.dcm") as file:
        for name in ("others", "bioimage_py"):
            file.private_block(0x0071, name, create=True).add_new(1, "UT", text)
        file.save_as(tmp_path / "b.dcm")
    found = iio.immeta(tmp_path / "b.dcm")
    assert found["Modality"] == "OT"
    assert found.get("id") == (1 if text == OWN else None)


@pytest.mark.parametrize("text", [*NONSENSE, OWN, "a comment"])
def test_comments_of_films(text: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    written(tmp_path / "a.mp4", ".mp4", None)
    with av.open(tmp_path / "a.mp4") as old, av.open(tmp_path / "b.mp4", "w") as new:
        new.metadata["comment"] = text
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    found = iio.immeta(tmp_path / "b.mp4")
    assert found.get("id") == (1 if text == OWN else None)
    assert (found.get("comment") or "") == ("" if text == OWN else text)
