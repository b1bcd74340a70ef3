"""Leica projects: descriptions that refer to tif and LOF files, read as liffile reads them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import BioimageError, FormatError, SourceNotFoundError
from bioimage_py.sources import from_spec

from ..image_files.test_lif import DATA, element

liffile = pytest.importorskip("liffile", reason="LIF needs liffile: pip install 'bioimage-blocks[microscopy]'")
tifffile = pytest.importorskip("tifffile")

XML = '<?xml version="1.0" encoding="utf-8"?>'
LENGTHS = {"x": 2e-6, "y": 3e-6, "z": 4e-6, "t": 2.5}


def described(inner: str) -> str:
    return f'<LMSDataContainerHeader Version="2">{inner}</LMSDataContainerHeader>'


def collection(path: Path, kind: str, files: list[str]) -> Path:
    references = "".join(f'<Reference File="{name}" UUID="u"/>' for name in files)
    element_text = (
        f'<Element Name="{path.stem}" UniqueID="p"><Data><{kind}/></Data><Memory Size="0" MemoryBlockID=""/>'
        f"<Children>{references}</Children></Element>"
    )
    path.write_text(XML + described(element_text))
    return path


def image(folder: Path, name: str, data: np.ndarray, lof: bool = False) -> str:
    """An image whose voxels are tif files, one a plane, or a LOF file; returns the name of its description."""
    text = element(name, 0, data, LENGTHS)
    (folder / "Metadata").mkdir(exist_ok=True)
    frames = []
    if lof:
        blob = struct.pack("<IIBI", 0x70, 35, 0x2A, 15) + "LMS_Object_File".encode("utf-16-le")
        blob += struct.pack("<BIBI", 0x2A, 2, 0x2A, 0) + struct.pack("<BQ", 0x2A, data.nbytes) + data.tobytes()
        xml = described(text).encode("utf-16-le")
        (folder / f"{name}.lof").write_bytes(blob + struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2) + xml)
        frames = [f'<Block File="../{name}.lof" Offset="0" Size="{data.nbytes}" UUID="u"/>']
    else:
        for n, plane in enumerate(data.reshape(-1, *data.shape[-2:])):
            tifffile.imwrite(folder / f"{name}_{n}.tif", plane)
            frames.append(
                f'<Frame File="..%5C{name}_{n}.tif" Offset="{n * plane.nbytes}" Size="{plane.nbytes}" UUID="u"/>'
            )
    memory = f'<Memory Size="{data.nbytes}" MemoryBlockID="MemBlock_0">{"".join(frames)}</Memory>'
    head, _, tail = text.partition("<Memory")
    whole = head + memory + tail.partition("/>")[2]
    (folder / "Metadata" / f"{name}.xlif").write_text(XML + described(whole))
    return f"Metadata/{name}.xlif"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    names = [image(tmp_path, "cells", DATA), image(tmp_path, "more", DATA[:1, :, :1].copy(), lof=True)]
    return collection(tmp_path / "a.xlef", "Experiment", names)


def test_images_of_a_project(project: Path) -> None:
    with bp.imopen(project, "r") as file:
        assert [one.name for one in file.images] == ["cells", "more"]
        for index, expected in ((0, DATA), (1, DATA[0, :, 0])):
            told, read = file.properties(index), file.read(index)
            np.testing.assert_array_equal(read, expected)
            assert (told.shape, told.dtype) == (read.shape, read.dtype)
            source = file.source(index)
            with from_spec(source.to_spec()) as again:
                np.testing.assert_array_equal(again[0], expected[0])
    with liffile.LifFile(project) as library:
        np.testing.assert_array_equal(library.images[0].asarray(), DATA)
    told = bp.improps(project, index=0)
    assert (told.axes, told.unit) == (tuple("tzcyx"), ("second", "micrometer", None, "micrometer", "micrometer"))
    np.testing.assert_array_equal(bp.imread(project, index=0, roi={"t": slice(1, 2), "z": slice(2, 3)}), DATA[1:, 2:])


def test_files_of_a_region(project: Path) -> None:
    with bp.open_source(project, "0") as source:
        files = source.stored_in((slice(0, 1), slice(0, 1), slice(0, 2), slice(0, 4), slice(0, 5)))
        assert files is not None
        assert sorted(Path(name).name for name in files.names) == ["cells_0.tif", "cells_1.tif"]


@pytest.mark.parametrize("name", ["../other.xlif", "/etc/passwd", "link.xlif", "a.xlef"])
def test_files_elsewhere_and_circles(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "other.xlif").write_text("<a/>")
    (folder / "link.xlif").symlink_to(tmp_path / "other.xlif")
    with pytest.raises(FormatError, match=r"outside|twice"):
        bp.imread(collection(folder / "a.xlef", "Experiment", [name]))


def test_voxels_elsewhere(project: Path, tmp_path: Path) -> None:
    description = tmp_path / "Metadata" / "cells.xlif"
    description.write_text(description.read_text().replace("..%5Ccells_0.tif", "..%5C..%5Ccells_0.tif"))
    with pytest.raises(FormatError, match="outside"):
        bp.imread(project, index=0)


def test_damaged_projects(project: Path, tmp_path: Path) -> None:
    (tmp_path / "cells_3.tif").unlink()
    with pytest.raises(SourceNotFoundError, match="cells_3"):
        bp.imread(project, index=0)
    for content in (b"", b"<a", b"This is text", project.read_bytes()[:-30], b"<a/>"):
        project.write_bytes(content)
        with pytest.raises(BioimageError) as caught:
            bp.imread(project)
        assert caught.value.remedy


def test_a_description_alone(tmp_path: Path) -> None:
    image(tmp_path, "cells", DATA)
    with pytest.raises(FormatError, match="outside"):
        bp.imread(tmp_path / "Metadata" / "cells.xlif")
    text = (tmp_path / "Metadata" / "cells.xlif").read_text()
    (tmp_path / "cells.xlif").write_text(text.replace("..%5C", ""))
    np.testing.assert_array_equal(bp.imread(tmp_path / "cells.xlif"), DATA)
