"""The four workflows, as docs/projects.md shows them: its code is run here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bioimage_py.io.image_files.dicom.source import DicomSource
from bioimage_py.projects import Descriptor, ImageInfo, LayerKind, Project, TagKind
from bioimage_py.sources import Source

PAGE = Path(__file__).parents[2] / "docs" / "projects.md"


def workflow(number):
    """Run the code of a workflow of the page; return its names."""
    section = PAGE.read_text().split(f"### {number}. ")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section.split("### ")[0], re.DOTALL)
    names: dict = {}
    exec(compile(code, f"{PAGE} {number}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def volume(seed):
    return np.random.default_rng(seed).integers(0, 200, (4, 10, 12), dtype=np.uint8)


def test_create_and_edit(here, capsys):
    workflow(1)
    project = Project.load("thorax.project")
    assert {tag.name: tag.kind for tag in project.tags} == {
        "Reviewed": TagKind.Bool,
        "Quality": TagKind.Float,
        "Usable": TagKind.Bool,
    }
    assert [layer.kind for layer in project.settings().layers] == [
        LayerKind.PIXELWISE,
        LayerKind.LANDMARK,
        LayerKind.BOUNDINGBOX,
    ]
    assert project.labelmap_layers["organs"].values == {0, 1, 2}
    assert project.boundingbox_layers["findings"].boundingboxes.names == ["nodule"]
    assert "Stage" in capsys.readouterr().out


def test_process_all_label_maps():
    workflow(1)
    project = Project.load("thorax.project")
    images = [volume(1), volume(2), np.zeros((4, 10, 12), np.uint8)]
    for image in images:
        project.add_descriptor(image)
    project.save()
    project.descriptors[1].labelmap_layers["organs"].save_new_data(np.full((4, 10, 12), 2, np.uint8))
    workflow(2)
    project = Project.load("thorax.project")
    found = [descriptor.labelmap_layers["organs"].load() for descriptor in project.descriptors]
    assert np.array_equal(found[0], images[0] > 100)
    assert np.array_equal(found[1], np.where(images[1] > 100, 1, 2))
    assert found[2] is None  # the algorithm returned None
    times = [descriptor.latest_edit_time for descriptor in project.descriptors]
    names = workflow(2)
    project = Project.load("thorax.project")
    assert [descriptor.latest_edit_time for descriptor in project.descriptors] == times
    assert not any(descriptor.is_locked for descriptor in project.descriptors)
    report = project.apply(names["algorithm"], layer="organs", progress=False)
    assert not report.changed


def test_import_with_grouping(here, capsys):
    workflow(1)
    for place in ("A/1/x", "A/1/y", "B/2/x", "B/2"):
        folder = here / "scans" / place
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / "scan.tif", volume(3), photometric="minisblack")
    workflow(3)
    assert capsys.readouterr().out.splitlines()[-1] == "scan.tif ['B', '2', 'x']"
    project = Project.load("thorax.project")
    assert project.grouping_hierarchy == ["Patient", "Study", "Series"]
    keys = [tuple(group.key for group in descriptor.grouping) for descriptor in project.descriptors]
    assert keys == [("A", "1", "x"), ("A", "1", "y"), ("B", "2", "x")]


def test_reset_grouping_reads_no_pixels(monkeypatch, capsys, here):
    workflow(1)
    project = Project.load("thorax.project")
    tifffile.imwrite(here / "gone.tif", volume(1), photometric="minisblack")
    infos = [
        ImageInfo(patient_id="7", patient_name="Ada", study_instance_uid="1.2", study_description="Thorax",
                  study_date="20240229", series_instance_uid="1.2.3", series_date="20240301"),
        ImageInfo(patient_id="7", patient_name="Ada", study_instance_uid="1.2", study_date="2024",
                  study_description="Thorax", series_instance_uid="1.2.4"),
        ImageInfo(),
        ImageInfo(patient_id="8", patient_name="Bob", study_instance_uid="1.5", series_instance_uid="1.5.1"),
    ]  # fmt: skip
    for index, info in enumerate(infos):
        image = here / "gone.tif" if index == 3 else volume(index)
        project.add_descriptor(image, f"image {index}", image_info=info)
    project.save()
    (here / "gone.tif").unlink()

    def refuse(*_, **__):
        raise AssertionError("pixels were read")

    for owner, name in ((Source, "read"), (Source, "view"), (DicomSource, "_getitem"), (Descriptor, "load_image")):
        monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(AssertionError, match="pixels were read"):
        project.descriptors[0].load_image()
    workflow(4)
    shown = [[(group.key, group.display) for group in d.grouping] for d in Project.load("thorax.project").descriptors]
    assert shown == [
        [("7", "Ada"), ("1.2", "Thorax - 2024-02-29"), ("1.2.3", "2024-03-01")],
        [("7", "Ada"), ("1.2", "Thorax"), ("1.2.4", "<Unnamed>")],
        [],
        [],
    ]
    assert "image 3: its image is not at" in capsys.readouterr().out
