"""Folders as other programs lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bioimage_py import open_source
from bioimage_py.datasets import ImageDataset, Resource, VolumeDataset
from bioimage_py.datasets.folders import bids_resources, coco_resources, nnunet_resources
from bioimage_py.errors import FormatError, ShapeError, SourceNotFoundError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.exporting import export_nnunet
from bioimage_py.spaces import Box, ObjectClass, ObjectInstance, Ontology, Space

from ..helpers import Later
from .conftest import image, make_project

nibabel = Later("nibabel", "NIfTI needs nibabel: pip install 'bioimage-blocks[medical]'")

VOXELS = np.random.default_rng(0).integers(0, 999, (4, 5, 6)).astype("i2")
LABELS = (VOXELS > 500).astype("u1") + (VOXELS > 900)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOIMAGE_PY_CACHE", str(tmp_path / "cache"))


def save(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-0.5, -0.5, 2.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    nibabel.save(nibabel.Nifti1Image(voxels.T, affine), path)


def nnunet(folder: Path, channels: int = 2) -> Path:
    for channel in range(channels):
        save(folder / f"imagesTr/case_1_{channel:04}.nii.gz", VOXELS + channel)
    save(folder / "labelsTr/case_1.nii.gz", LABELS)
    about = {
        "channel_names": {str(i): "CT" for i in range(channels)},
        "labels": {"background": 0, "organ": 1, "tumour": 2},
    }
    (folder / "dataset.json").write_text(json.dumps({**about, "file_ending": ".nii.gz"}))
    return folder


def test_nnunet(tmp_path: Path) -> None:
    data = VolumeDataset(resources=nnunet_resources(nnunet(tmp_path / "d")))
    item = data[0]
    assert np.array_equal(item["image"], np.stack([VOXELS, VOXELS + 1]))
    assert data.segmentation_labels_set == ["organ", "tumour"]
    assert np.array_equal(item["segmentations"]["unknown"], [LABELS == 1, LABELS == 2])
    about = item["metainfo"]
    assert about["spacing"] == (2.0, 0.5, 0.5)
    assert (about["affine"] @ [1, 0, 2, 1]).tolist() == [9, 20, 32, 1]  # plane 1, row 0, column 2
    assert len(data.slice("axial")) == 4
    flipped = data.slice("sagittal", orientation="RAS")[0]
    assert np.array_equal(flipped["image"][0], VOXELS[:, ::-1, -1])


def test_nnunet_of_a_project(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 2)
    export_nnunet(project, tmp_path / "out", layer="by ann")
    data = ImageDataset(resources=nnunet_resources(tmp_path / "out"))
    assert len(data) == 2
    assert np.array_equal(data[1]["image"], image(1))
    assert data[0]["segmentations"]["unknown"].sum(axis=(1, 2)).tolist() == [100, 200]


def test_nnunet_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"dataset\.json"):
        nnunet_resources(tmp_path)
    folder = nnunet(tmp_path / "d")
    (folder / "imagesTr/case_1_0001.nii.gz").unlink()
    with pytest.raises(FormatError, match="'case_1' has 1 channels"):
        nnunet_resources(folder)
    (folder / "dataset.json").write_text('{"file_ending": "/../x", "channel_names": {}}')
    with pytest.raises(FormatError, match="file_ending"):
        nnunet_resources(folder)
    folder = nnunet(tmp_path / "e", 1)
    save(folder / "labelsTr/case_1.nii.gz", LABELS[:, :3])
    with pytest.raises(ShapeError, match="'case_1'"):
        VolumeDataset(resources=nnunet_resources(folder))


def coco(folder: Path, **changes: object) -> Path:
    tifffile.imwrite(folder / "a.tif", np.zeros((6, 8), "u1"))
    document = {
        "images": [{"id": 1, "file_name": "a.tif", "height": 6, "width": 8}],
        "categories": [{"id": 4, "name": "cell"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 4, "bbox": [1, 2, 3, 2],
             "segmentation": [[1, 2, 4, 2, 4, 4, 1, 4]]},
            {"id": 2, "image_id": 1, "category_id": 4, "bbox": [0, 0, 1, 6],
             "segmentation": {"size": [6, 8], "counts": [0, 6, 42]}},
        ],
    } | changes  # fmt: skip
    (folder / "coco.json").write_text(json.dumps(document))
    return folder / "coco.json"


def test_coco(tmp_path: Path) -> None:
    item = ImageDataset(resources=coco_resources(coco(tmp_path)), return_boxes=True)[0]
    assert item["boxes"].tolist() == [[1, 2, 4, 4], [0, 0, 1, 6]]
    masks = item["segmentations"]["unknown"]
    assert masks[1].sum() == masks[1][:, 0].sum() == 6  # the first column
    assert masks[0].sum() == masks[0][2:4, 1:4].sum() == 6  # and no pixel around
    more = {"id": 3, "image_id": 1, "category_id": 4}
    two = [[0, 0, 3, 0, 3, 3, 0, 3], [2, 0, 5, 0, 5, 3, 2, 3]]  # parts that overlap are one area
    packed = {"size": [6, 8], "counts": "06Z1"}  # as the COCO API packs 0, 6, 42
    shapes = [more | {"id": i, "segmentation": shape} for i, shape in enumerate((two, packed), 3)]
    masks = ImageDataset(resources=coco_resources(coco(tmp_path, annotations=shapes)))[0]["segmentations"]["unknown"]
    assert masks[0].sum() == masks[0][:3, :5].sum() == 15
    assert masks[1].sum() == masks[1][:, 0].sum() == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": [{"id": 1, "file_name": "../../etc/passwd", "height": 6, "width": 8}]}, "leads out"),
        ({"categories": []}, "no COCO"),
        (
            {"annotations": [{"id": 1, "image_id": 1, "category_id": 4, "segmentation": {"counts": "abc"}}]},
            r"annotations\[0\]: KeyError\('size'",
        ),
        *(
            (
                {"annotations": [{"id": 1, "image_id": 1, "category_id": 4} | fields]},
                rf"annotations\[0\].*{said}",
            )
            for fields, said in (
                ({"segmentation": {"size": [6, 8], "counts": [9**12]}}, "Run lengths"),
                ({"segmentation": {"size": [6, 8], "counts": "abc"}}, ""),
                ({"segmentation": {"size": [2**40, 8], "counts": [0, 48]}}, "image of"),
                ({"segmentation": [[1, 2, 4]]}, ""),
                ({"segmentation": [[1, 2, 4, 2]]}, "ring"),
                ({"segmentation": [[1, 2, 4, 2, 10**400, 4]]}, ""),
                ({"bbox": [float("nan"), 0, 1, 1]}, "nan"),
                ({"bbox": [0, 0, 10**400, 1]}, "Overflow"),
            )
        ),
        ({"annotations": None}, "no COCO"),
    ],
)
def test_coco_that_is_none(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        coco_resources(coco(tmp_path, **changes))


def test_bids(tmp_path: Path) -> None:
    for subject in ("01", "02"):
        for session in ("a", "b"):
            save(tmp_path / f"d/sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_T1w.nii.gz", VOXELS)
    labels = tmp_path / "d/derivatives/rater/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz"
    save(labels, LABELS)
    (tmp_path / "d/dseg.tsv").write_text("index\tname\n1\torgan\n2\ttumour\n")
    data = VolumeDataset(resources=bids_resources(tmp_path / "d"))
    assert len(data) == 4
    assert list(data.group_by()) == ["01", "02"]
    assert data.segmentation_labels_set == ["organ", "tumour"]
    assert np.array_equal(data[0]["segmentations"]["rater"], [LABELS == 1, LABELS == 2])
    assert data[1]["segmentations"] == {}
    assert data.split(a=0.5, b=0.5, by_patient=True).check()["shared_groups"] == {}
    with pytest.raises(SourceNotFoundError, match="T2w"):
        bids_resources(tmp_path / "d", "T2w")


def test_an_image_lies_in_a_project_as_in_a_list(tmp_path: Path) -> None:
    """Turned and mirrored: referred to, copied, and of a project that was made before affines were kept."""
    turn = np.array([[0.8, -0.6, 0, 10], [0.6, 0.8, 0, -20], [0, 0, 1, 30], [0, 0, 0, 1]])
    path = tmp_path / "turned.nii"
    nibabel.save(nibabel.Nifti1Image(VOXELS.T, turn @ np.diag([-0.5, 1.5, 2, 1])), path)
    ontology = Ontology([ObjectClass("cell", "bounding_box", id="cell")])
    project = Project.create(ProjectSettings("p", ontology=ontology), tmp_path / "p")
    for name in ("there", "copied", "older"):
        project.add_descriptor(path, name, own_copy=name == "copied")
    project.save()
    older = tmp_path / "p" / "descriptors" / f"{project.descriptors['older'].identifier}.json"
    document = json.loads(older.read_text())
    assert len(document["image"].pop("affine")) == 4
    older.write_text(json.dumps(document))
    alone = Space.for_image(open_source(path), ontology=ontology, kind="volume", user="ann")
    project = Project.load(tmp_path / "p")
    for number, space in enumerate((alone, *(one.space() for one in project.descriptors))):
        cell = ObjectInstance(ontology.object_class("cell"), f"cell {number}")
        space.put_object_instance(cell, Box((1, 1, 1), (3, 4, 2)), units="pixel", created_by="ann")
    project.save()
    assert {(*one.space().get(f"cell {i + 1}").geometry.top_left,) for i, one in enumerate(project.descriptors)} == {
        (*alone.get("cell 0").geometry.top_left,)
    }
    listed = VolumeDataset(resources=[Resource(path, space=alone)], return_boxes=True)
    kept = VolumeDataset(tmp_path / "p", return_boxes=True)
    for cut in (lambda data: data, lambda data: data.slice("coronal", orientation="RAS")):
        want = [*cut(listed)]
        found = [*cut(kept)]
        assert len(found) == 3 * len(want)
        for number, item in enumerate(found):
            same = want[number % len(want)]
            assert np.array_equal(item["image"], same["image"])
            assert np.array_equal(item["metainfo"]["affine"], same["metainfo"]["affine"])
            assert item["metainfo"]["spacing"] == same["metainfo"]["spacing"]
            assert np.array_equal(item["boxes"], same["boxes"])
    descriptor = project.descriptors["there"]
    descriptor.spacing = (1.0, 3.0, 4.0)
    project.save()
    moved = VolumeDataset(tmp_path / "p")[0]["metainfo"]["affine"]
    assert np.allclose(moved[:3, :3], 2 * listed[0]["metainfo"]["affine"][:3, :3])
