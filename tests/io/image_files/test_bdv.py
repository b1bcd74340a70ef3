"""BigDataViewer's XML over HDF5 and n5, laid out as its Java library writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bioimage_py.errors import FormatError, KeyNotFoundError, SourceNotFoundError
from bioimage_py.io.formats import array_keys_of
from bioimage_py.sources import Axis, open_source

from .common import details, opens_again, survives

h5py = pytest.importorskip("h5py")
z5py = pytest.importorskip("z5py")

DATA = np.random.default_rng(6).integers(0, 2**16, (2, 2, 4, 6, 8)).astype("u2")
"""View setup, time, z, y, x."""
XML = """<?xml version="1.0" encoding="UTF-8"?>
<SpimData version="0.2"><BasePath type="relative">.</BasePath><SequenceDescription>
<ImageLoader format="bdv.{kind}"><{kind} type="relative">{place}</{kind}></ImageLoader>
<ViewSetups>{setups}</ViewSetups>
<Timepoints type="range"><first>0</first><last>1</last></Timepoints></SequenceDescription>
<ViewRegistrations><ViewRegistration timepoint="0" setup="1">
<ViewTransform type="affine"><affine>1 0 0 10 0 1 0 20 0 0 1 30</affine></ViewTransform>
<ViewTransform type="affine"><affine>0.5 0 0 0 0 0.5 0 0 0 0 2 0</affine></ViewTransform>
</ViewRegistration></ViewRegistrations></SpimData>"""
SETUP = """<ViewSetup><id>{id}</id><name>setup {id}</name><size>8 6 4</size>
<voxelSize><unit>um</unit><size>0.5 0.5 2.0</size></voxelSize>
<attributes><channel>{id}</channel></attributes></ViewSetup>"""


def xml(folder: Path, kind: str, place: str) -> Path:
    text = XML.format(kind=kind, place=place, setups="".join(SETUP.format(id=n) for n in range(2)))
    (folder / "a.xml").write_text(text)
    return folder / "a.xml"


def stored(folder: Path, kind: str) -> Path:
    if kind == "hdf5":
        with h5py.File(folder / "a.h5", "w") as file:
            for s in range(2):
                file[f"s{s:02}/resolutions"] = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 1.0]])
                for t in range(2):
                    file[f"t{t:05}/s{s:02}/0/cells"] = DATA[s, t].view("i2")  # unsigned voxels in signed datasets
                    file[f"t{t:05}/s{s:02}/1/cells"] = DATA[s, t, :, ::2, ::2].view("i2")
        return xml(folder, "hdf5", "a.h5")
    with z5py.File(str(folder / "a.n5"), "w") as file:
        for s in range(2):
            for t in range(2):
                for level, step in enumerate((1, 2)):
                    part = np.ascontiguousarray(DATA[s, t, :, ::step, ::step])
                    file.create_dataset(f"setup{s}/timepoint{t}/s{level}", data=part, chunks=(2, 3, 4))
            file[f"setup{s}"].attrs["downsamplingFactors"] = [[1, 1, 1], [2, 2, 1]]
    return xml(folder, "n5", "a.n5")


@pytest.mark.parametrize("kind", ["hdf5", "n5"])
def test_setups_times_and_levels(tmp_path: Path, kind: str) -> None:
    path = stored(tmp_path, kind)
    assert array_keys_of(str(path)) == ["0", "1"]
    for n in range(2):
        with open_source(path, str(n)) as source:
            assert source.dtype == np.uint16
            np.testing.assert_array_equal(source[...], DATA[n])
            np.testing.assert_array_equal(source[1, 1:3, ::-1, 2], DATA[n, 1, 1:3, ::-1, 2])
            assert source.axes == (
                Axis("t", "time"),
                Axis("z", "space", "micrometer", 2.0),
                Axis("y", "space", "micrometer", 0.5),
                Axis("x", "space", "micrometer", 0.5),
            )
    with open_source(path, "1", level=1) as source:
        np.testing.assert_array_equal(source[...], DATA[1, ..., ::2, ::2])
        assert source.axes[-1] == Axis("x", "space", "micrometer", 1.0, 0.25)
        opens_again(source)
    with pytest.raises(KeyNotFoundError):
        open_source(path, "2")
    with pytest.raises(KeyNotFoundError, match="no level 5"):
        open_source(path, "1", level=5)
    with pytest.warns(UserWarning, match="2 view setups"):
        open_source(path).close()
    told = details(path, "1")
    assert told.raw == {"name": "setup 1", "format": f"bdv.{kind}", "channel": "1"}
    np.testing.assert_allclose(np.asarray(told.affine) @ [0, 1, 1, 1, 1], [10.5, 20.5, 32.0, 1.0])


def test_files_elsewhere_and_other_loaders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    stored(tmp_path, "hdf5")
    for place in ("../a.h5", str(tmp_path / "a.h5"), ""):
        with pytest.raises(FormatError, match="not in its folder"):
            open_source(xml(tmp_path / "in", "hdf5", place), "0")
    with pytest.raises(SourceNotFoundError):
        open_source(xml(tmp_path / "in", "hdf5", "a.h5"), "0")
    with pytest.raises(FormatError, match=r"bdv\.other"):
        open_source(xml(tmp_path, "other", "a.h5"), "0")
    (tmp_path / "b.xml").write_text("<other/>")
    with pytest.raises(FormatError, match="no BigDataViewer file"):
        open_source(tmp_path / "b.xml")
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "' + "a" * 10000 + '">'
    bomb += "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 20}">' for n in range(8))
    (tmp_path / "b.xml").write_text(bomb + "]><SpimData><a>&i;</a></SpimData>")
    with pytest.raises(FormatError):
        open_source(tmp_path / "b.xml")


def test_lies(tmp_path: Path) -> None:
    path = stored(tmp_path, "hdf5")
    text = path.read_text()
    for old, new in (
        ("<last>1</last>", "<last>999999999999</last>"),
        ("<last>1</last>", "<last>-1</last>"),
        ("<size>8 6 4</size>", "<size>8 6 -4</size>"),
        ("<size>8 6 4</size>", "<size>8 6</size>"),
        ("0.5 0.5 2.0", "nan 1 1"),
        ("<ViewSetups>", "<Nothing>"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(FormatError):
            open_source(path, "0")


def test_damaged_xml(tmp_path: Path) -> None:
    survives(stored(tmp_path, "hdf5"), 1200, 60)
