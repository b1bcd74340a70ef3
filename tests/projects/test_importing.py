"""Bringing images and labels into projects, and out again."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
import tifffile

from bioimage_py.errors import FormatError, MissingDependencyError, ParameterError, SourceNotFoundError
from bioimage_py.io.create import create_array
from bioimage_py.io.image_files.dicom.source import DicomSource
from bioimage_py.projects import BoxSet, Project, ProjectSettings
from bioimage_py.projects.exporting import export_coco, export_nnunet, export_ome_labels
from bioimage_py.projects.importing import import_coco, import_dicom, import_folder, import_nnunet, import_ome_labels
from bioimage_py.projects.jobs.validate import validate
from bioimage_py.projects.values.grouping import info_groups, label
from bioimage_py.sources import from_spec
from bioimage_py.sources.axes import Axis


def volume(seed, shape=(6, 20, 30), dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def empty(path, hierarchy=()):
    return Project.create(ProjectSettings("imported", grouping_hierarchy=hierarchy), path)


# folders


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for patient in "AB":
        for study in "12":
            folder = root / patient / study
            folder.mkdir(parents=True)
            tifffile.imwrite(folder / "scan.tif", volume(ord(patient)))
    tifffile.imwrite(root / "A" / "too high.tif", volume(1))
    (root / "A" / "1" / "notes.txt").write_text("no image")
    with create_array(root / "B" / "2" / "many.zarr", "raw", shape=(4, 5, 6), dtype="u1") as array:
        array[...] = 3
    create_array(root / "B" / "2" / "many.zarr", "more", shape=(4, 5), dtype="u2").close()
    return root


def test_folders_become_groups(tree, tmp_path):
    project = empty(tmp_path / "p", ("Patient", "Study"))
    added = import_folder(project, tree)
    again = Project.load(project.path)
    found = [(d.name, *(group.key for group in d.grouping)) for d in again.descriptors]
    assert found == [
        ("scan.tif", "A", "1"),
        ("scan.tif", "A", "2"),
        ("scan.tif", "B", "1"),
        ("many.zarr:more", "B", "2"),
        ("many.zarr:raw", "B", "2"),
        ("scan.tif", "B", "2"),
    ]
    assert len(added) == 6
    assert np.array_equal(again.descriptors[0].load_image(), volume(ord("A")))
    assert again.descriptors[0].load_path == str(tree / "A" / "1" / "scan.tif")
    assert not again.descriptors[0].own_copy
    assert len(again.descriptors.filter(group=("B",))) == 4


def test_a_folder_without_images_at_that_depth_changes_nothing(tree, tmp_path):
    project = empty(tmp_path / "p", ("Patient",) * 5)
    with pytest.raises(ParameterError, match="no images 5 folders deep"):
        import_folder(project, tree)
    with pytest.raises(SourceNotFoundError, match="is no folder"):
        import_folder(project, tree / "missing")
    assert len(Project.load(project.path).descriptors) == 0


# DICOM


def write_slice(path, pixels, number, series="1.2.3.1", patient="p1", **more):
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.PatientID, found.PatientName, found.Modality = patient, f"Name of {patient}", "CT"
    found.StudyInstanceUID, found.SeriesInstanceUID = f"1.2.3.{patient[1:]}", series
    found.StudyDescription, found.StudyDate = "Thorax", "20240229"
    found.SeriesDate = "20240230"
    found.Rows, found.Columns, found.InstanceNumber = *pixels.shape, number
    found.BitsAllocated = found.BitsStored = 16
    found.HighBit, found.PixelRepresentation, found.SamplesPerPixel = 15, 1, 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.PixelSpacing, found.SliceThickness = [0.5, 0.25], 2
    found.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    found.ImagePositionPatient = [0, 0, 3.0 * number]
    found.RescaleSlope, found.RescaleIntercept = 1, -1024
    for name, value in more.items():
        setattr(found, name, value)
    found.PixelData = pixels.astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, found, enforce_file_format=True)


@pytest.fixture
def study(tmp_path):
    root = tmp_path / "study"
    first, second = volume(1, (5, 7, 9), np.int16), volume(2, (3, 7, 9), np.int16) - 100
    for index in range(5):  # names in the wrong order
        write_slice(root / "a" / f"{9 - index}.dcm", first[index], index)
    for index in range(3):
        write_slice(root / "a" / f"second{index}", second[index], index, "1.2.3.2", "p2", SeriesDescription="fine")
    write_slice(root / "single.dcm", first[0], 1, "1.2.3.3", "p1")
    (root / "README").write_text("no DICOM")
    return root, first, second


def test_dicom_series_become_volumes_in_groups(study, tmp_path, monkeypatch):
    root, first, second = study
    project = empty(tmp_path / "p")
    with monkeypatch.context() as patched:  # headers are enough
        patched.setattr(DicomSource, "_plane", None)
        import_dicom(project, root)
    project = Project.load(project.path)
    assert project.grouping_hierarchy == ["Patient", "Study", "Series"]
    by_series = {descriptor.series_instance_uid: descriptor for descriptor in project.descriptors}
    one, two, three = (by_series[f"1.2.3.{number}"] for number in (1, 2, 3))
    assert np.array_equal(one.load_image(), first)
    assert np.array_equal(two.load_image()[1:, 2:4], second[1:, 2:4])
    assert np.array_equal(three.load_image(), first[0])
    assert one.spacing == (0.25, 0.5, 3.0)
    assert (one.unit, one.modality, one.patient_name, one.shift) == ("millimeter", "CT", "Name of p1", -1024)
    assert two.name == "fine"
    assert [group.display for group in two.grouping] == ["Name of p2", "Thorax - 2024-02-29", "fine"]
    assert [group.key for group in one.grouping] == ["p1", "1.2.3.1", "1.2.3.1"]
    assert one.grouping[2].display == "<Unnamed>"
    # other processes open it
    assert np.array_equal(from_spec(one.load_image().to_spec()), first)


def test_a_file_of_several_frames_is_a_volume(tmp_path):
    frames = volume(5, (3, 7, 9), np.int16)
    write_slice(tmp_path / "d" / "frames.dcm", frames.reshape(21, 9), 1, Rows=7, NumberOfFrames=3)
    (found,) = import_dicom(empty(tmp_path / "p"), tmp_path / "d")
    assert found.shape == (3, 7, 9)
    assert np.array_equal(found.load_image()[1:, :4], frames[1:, :4])


def test_dicom_errors(study, tmp_path):
    root, first, _ = study
    project = empty(tmp_path / "p")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParameterError, match="no DICOM images"):
        import_dicom(project, tmp_path / "empty")
    found = import_dicom(project, root)
    write_slice(root / "a" / "9.dcm", first[0][:3], 0)
    with pytest.raises(FormatError, match=r"9\.dcm has the shape"):
        found[0].load_image().read()


def test_groups_of_what_is_known():
    from bioimage_py.projects import ImageInfo

    assert info_groups(ImageInfo(modality="CT")) is None
    assert label("text", "20240102") == "text - 2024-01-02"
    assert label(None, "20240102") == "2024-01-02"
    assert label("text", "2024") == "text"
    assert label(None, "20241399") == "<Unnamed>"


# COCO


def test_boxes_come_back_from_coco(project, tmp_path):
    project.add_descriptor(
        volume(3, (20, 30)),
        "flat",
        axes=(Axis("y", "space", "micrometer", 0.5, 4), Axis("x", "space", "micrometer", 2)),
    )
    project.save()
    expected = {}
    for descriptor in project.descriptors:
        boxes = BoxSet.from_descriptor(descriptor, "boxes")
        boxes.add("cell", 0, (2, 5, -0.5), (6, 7, 0.5))
        if descriptor.n_slices > 1:
            boxes.add("debris", 3, (2, 5, 2.5), (6.5, 7, 3.5))
        descriptor.boundingbox_layers["boxes"].save_new_data(boxes)
        expected[descriptor.name] = boxes
    assert export_coco(project, tmp_path / "boxes.json") == 3
    document = json.loads((tmp_path / "boxes.json").read_text())
    flat = next(item for item in document["images"] if item["file_name"] == "flat")
    box = next(item for item in document["annotations"] if item["image_id"] == flat["id"])
    assert box["bbox"] == [1.5, 2.5, 2, 4]  # pixels: x / 2 + 0.5, (y - 4) / 0.5 + 0.5
    changed = import_coco(project, tmp_path / "boxes.json", layer="again")
    assert len(changed) == 2
    for descriptor in Project.load(project.path).descriptors:
        assert descriptor.boundingbox_layers["again"].load() == expected[descriptor.name]


def test_coco_brings_its_images(tmp_path):
    tifffile.imwrite(tmp_path / "one.tif", volume(1, (20, 30)))
    tifffile.imwrite(tmp_path / "rgb.tif", volume(1, (20, 30, 3)), photometric="rgb")
    document = {
        "images": [{"id": 7, "file_name": "one.tif"}, {"id": 8, "file_name": "rgb.tif"}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 8, "category_id": 3, "bbox": [0, 0, 30, 20]},
        ],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    project = empty(tmp_path / "p")
    one, rgb = import_coco(project, path)
    assert (one.shape, rgb.n_channels, rgb.width) == ((20, 30), 3, 30)
    (box,) = one.boundingbox_layers["boxes"].load()
    assert box.type == "cat"
    assert (box.top_left.tolist(), box.lower_right.tolist()) == ([0.5, 1.5, -0.5], [3.5, 5.5, 0.5])
    document["annotations"][0]["category_id"] = 4
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError, match="annotation 1 has the category 4"):
        import_coco(project, path)
    path.write_text("[]")
    with pytest.raises(FormatError, match="no list 'images'"):
        import_coco(project, path)
    document["annotations"][0]["category_id"] = 3
    document["images"][0]["file_name"] = "gone.tif"
    path.write_text(json.dumps(document))
    with pytest.raises(SourceNotFoundError, match=r"gone\.tif"):
        import_coco(project, path)
    assert len(Project.load(project.path).descriptors) == 2


# label maps


def test_label_maps_come_back_from_ome_zarr(project, tmp_path):
    from bioimage_py.io.ome import read_multiscales

    labels = volume(4, (40, 40, 40)) % 3
    project.descriptors[0].labelmap_layers["cells"].save_new_data(labels)
    (path,) = export_ome_labels(project, tmp_path / "out", layer="cells")
    assert path == str(tmp_path / "out" / "raw.zarr")
    assert read_multiscales(path)
    described = json.loads((tmp_path / "out" / "raw.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    assert {"label-value": 1, "rgba": [255, 0, 0, 255]} in described["image-label"]["colors"]
    (found,) = import_ome_labels(project, tmp_path / "out", layer="again")
    assert np.array_equal(found.labelmap_layers["again"].load(), labels)
    with pytest.raises(ParameterError, match="No label images"):
        import_ome_labels(project, tmp_path, layer="again")


def test_label_images_beside_the_images(tmp_path):
    from bioimage_py.io.ome import write_multiscales
    from bioimage_py.projects.storage.packs import ARRAY

    path, labels = tmp_path / "image.zarr", volume(2, (6, 8, 10)) % 4
    axes = [Axis(name, "space", "micrometer", 2.0) for name in "zyx"]
    for key, data, is_label in (("", volume(1, (6, 8, 10)), False), ("labels/cells", labels, True)):
        inner = f"{key}/{ARRAY}".lstrip("/")
        with create_array(path, inner, shape=data.shape, dtype=data.dtype, axes=axes) as array:
            array[...] = data
        write_multiscales(
            path, key, levels=[(ARRAY, axes)], label=is_label, **({"source": "../../"} if is_label else {})
        )
    project = empty(tmp_path / "p")
    folder = tmp_path / "images"
    folder.mkdir()
    path.rename(folder / "image.zarr")
    (descriptor,) = import_folder(project, folder)
    assert descriptor.shape == (6, 8, 10)
    import_ome_labels(project, layer="cells")
    assert np.array_equal(Project.load(project.path).descriptors[0].labelmap_layers["cells"].load(), labels)


def test_data_sets_go_to_nnunet_and_come_back(project, tmp_path):
    axes = [
        Axis("z", "space", "millimeter", 3),
        Axis("y", "space", "millimeter", 1),
        Axis("x", "space", "millimeter", 2),
    ]
    first = empty(tmp_path / "p")
    first.add_labelmap_layer("labels").add_annotation("liver", 1)
    first.labelmap_layers["labels"].add_annotation("vein", 2)
    images, labels = [volume(seed, (4, 10, 12)) for seed in (1, 2)], volume(3, (4, 10, 12)) % 3
    for index, image in enumerate(images):
        first.add_descriptor(image, f"case {index}", axes=axes)
    first.save()
    first.descriptors[0].labelmap_layers["labels"].save_new_data(labels)
    assert export_nnunet(first, tmp_path / "Dataset001") == ["case_0", "case_1"]
    about = json.loads((tmp_path / "Dataset001" / "dataset.json").read_text())
    assert (about["numTraining"], about["labels"]) == (1, {"background": 0, "liver": 1, "vein": 2})
    assert (tmp_path / "Dataset001" / "imagesTr" / "case_0_0000.tif").exists()
    assert (tmp_path / "Dataset001" / "imagesTs" / "case_1_0000.tif").exists()
    assert json.loads((tmp_path / "Dataset001" / "imagesTr" / "case_0.json").read_text()) == {"spacing": [3, 1, 2]}
    second = empty(tmp_path / "q")
    import_nnunet(second, tmp_path / "Dataset001")
    second = Project.load(second.path)
    assert second.labelmap_layers["labels"].labels.names == ["background", "liver", "vein"]
    for descriptor, image in zip(second.descriptors, images, strict=True):
        assert np.array_equal(descriptor.load_image(), image)
        assert descriptor.spacing == (2, 1, 3)
        assert not descriptor.own_copy
    assert np.array_equal(second.descriptors[0].labelmap_layers["labels"].load(), labels)
    assert second.descriptors[1].labelmap_layers["labels"].load() is None


def test_channels_are_files_of_nnunet(tmp_path):
    first = empty(tmp_path / "p")
    first.add_labelmap_layer("labels")
    image = volume(1, (4, 10, 12, 2))
    first.add_descriptor(image, "two", axes=("z", "y", "x", "c"))
    first.save()
    export_nnunet(first, tmp_path / "d")
    assert sorted(path.name for path in (tmp_path / "d" / "imagesTs").glob("*.tif")) == ["two_0000.tif", "two_0001.tif"]
    (found,) = import_nnunet(empty(tmp_path / "q"), tmp_path / "d")
    assert found.n_channels == 2
    assert np.array_equal(found.load_image(), np.moveaxis(image, -1, 0))
    (tmp_path / "d" / "imagesTs" / "two_0001.tif").unlink()
    with pytest.raises(FormatError, match=r"'two' in .* has 1 channels"):
        import_nnunet(empty(tmp_path / "r"), tmp_path / "d")


def test_nnunet_wants_consecutive_values(project, tmp_path):
    project.labelmap_layers["cells"].add_annotation("far", 9)
    with pytest.raises(ParameterError, match=r"\[0, 1, 2, 9\]"):
        export_nnunet(project, tmp_path / "d", layer="cells")
    with pytest.raises(SourceNotFoundError, match=r"no dataset\.json"):
        import_nnunet(project, tmp_path)


def test_nifti_comes_back(tmp_path):
    pytest.importorskip("nibabel")
    axes = [Axis(name, "space", "millimeter", size) for name, size in zip("zyx", (3, 2, 1), strict=True)]
    first = empty(tmp_path / "p")
    first.add_labelmap_layer("labels").add_annotation("liver", 1)
    image = volume(1, (4, 10, 12))
    first.add_descriptor(image, "case", axes=axes)
    first.save()
    first.descriptors[0].labelmap_layers["labels"].save_new_data(image > 100)
    export_nnunet(first, tmp_path / "d", file_ending=".nii.gz")
    (found,) = import_nnunet(empty(tmp_path / "q"), tmp_path / "d")
    assert np.array_equal(found.load_image(), image)
    assert np.array_equal(found.labelmap_layers["labels"].load(), image > 100)
    assert found.spacing == (1, 2, 3)


def test_without_nibabel_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    project = empty(tmp_path / "p")
    project.add_labelmap_layer("labels")
    project.add_descriptor(volume(1), "case")
    with pytest.raises(MissingDependencyError, match="A NIfTI file needs nibabel"):
        export_nnunet(project, tmp_path / "d", file_ending=".nii.gz")


# again, and in part


def test_a_folder_that_grows_is_imported_again(tree, tmp_path):
    project = empty(tmp_path / "p", ("Patient", "Study"))
    assert len(import_folder(project, tree)) == 6
    assert import_folder(project, tree) == []
    project.descriptors[0].name = "renamed"
    project.save()
    tifffile.imwrite(tree / "B" / "1" / "new.tif", volume(9))
    assert [found.name for found in import_folder(Project.load(project.path), tree)] == ["new.tif"]
    copies = empty(tmp_path / "copies", ("Patient", "Study"))
    assert len(import_folder(copies, tree, own_copy=True)) == 7
    assert import_folder(copies, tree, own_copy=True) == []


def test_a_study_that_is_imported_again_is_there_once(study, tmp_path):
    project = empty(tmp_path / "p")
    first = import_dicom(project, study[0])
    assert first
    assert import_dicom(project, study[0]) == []
    assert len(project.descriptors) == len(first)


def test_lower_levels_of_pyramids_are_no_images(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    for level in ("s0", "s1", "s2"):
        create_array(root / "a.n5", level, shape=(8, 8), dtype="u1").close()
    for key in ("full", "half", "cells/0"):
        create_array(root / "b.zarr", key, shape=(8, 8), dtype="u1").close()
    about = json.loads((root / "b.zarr" / "zarr.json").read_text())
    scales = [{"axes": [], "datasets": [{"path": "full"}, {"path": "half"}]}]
    about.setdefault("attributes", {})["ome"] = {"version": "0.5", "multiscales": scales}
    (root / "b.zarr" / "zarr.json").write_text(json.dumps(about))
    with h5py.File(root / "c.h5", "w") as file:
        for level in range(3):
            file.create_dataset(f"t00000/s00/{level}/cells", data=np.zeros((4, 4, 4), "i2"))
        file.create_dataset("s00/resolutions", data=np.ones((3, 3)))
    found = [descriptor.name for descriptor in import_folder(empty(tmp_path / "p"), root)]
    assert found == ["a.n5:s0", "b.zarr:cells/0", "b.zarr:full", "c.h5:t00000/s00/0/cells"]


def test_all_arrays_of_a_large_container_come_in(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    for number in range(60):
        create_array(root / "many.zarr", f"image{number}", shape=(2, 2), dtype="u1").close()
    assert len(import_folder(empty(tmp_path / "p"), root)) == 60


def test_what_lies_beside_images_is_no_image(tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/a.tif", volume(1))
    for name in ("settings.xml", "a.conf", "slice1.dcm", "a.hdr"):
        (tmp_path / "in" / name).write_text("settings of the microscope")
    assert len(import_folder(empty(tmp_path / "p"), tmp_path / "in")) == 1


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_is_an_image_like_others(tmp_path, ending):
    nibabel = pytest.importorskip("nibabel")
    root = tmp_path / "in"
    root.mkdir()
    array = volume(3).astype(np.int16)
    image = nibabel.Nifti1Image(array.T, np.diag([0.5, 0.75, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, root / f"a{ending}")
    (found,) = import_folder(empty(tmp_path / "p"), root)
    np.testing.assert_array_equal(found.load_image().read(), array)
    assert (found.spacing, found.unit, found.dtype) == ((0.5, 0.75, 2.0), "millimeter", np.int16)
    (root / f"b{ending}").write_bytes(b"no image")
    with pytest.raises(FormatError, match=f"b{ending}"):
        import_folder(empty(tmp_path / "q"), root)


def test_an_image_whose_voxels_cannot_be_read_is_told_by_validation(tmp_path):
    project = empty(tmp_path / "p")
    with create_array(tmp_path / "a.zarr", "raw", shape=(64, 64), dtype="u1", chunks=(32, 32)) as array:
        array[...] = 7
    project.add_descriptor(tmp_path / "a.zarr" / "raw", "a")
    project.save()
    assert list(validate(project)) == []
    chunk = tmp_path / "a.zarr" / "raw" / "c" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:5])
    (problem,) = validate(project)
    assert "does not open" in problem.what
