"""DICOM folders as they come: mixed types, several times, gaps, damaged headers, files of many frames."""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.errors import FormatError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.importing import import_dicom

from ..helpers import Later

pydicom = Later("pydicom", "DICOM needs pydicom: pip install 'bioimage-blocks[medical]'")
SHIPPED = Path(str(importlib.util.find_spec("pydicom").origin)).parent / "data" / "test_files"


def write(path, pixels, number, z, *, series="9.1", spacing=(1.0, 1.0), **more):
    """One file: a plane at z millimetres, or with three axes one of many frames."""
    uid, dataset = pydicom.uid, pydicom.dataset
    meta = dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = uid.MRImageStorage, uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    data = dataset.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID, data.InstanceNumber = "p", "9", series, number
    data.Rows, data.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelSpacing = list(spacing)
    if z is not None:
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    for name, value in more.items():
        setattr(data, name, value)
    data.PixelData = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    path.parent.mkdir(exist_ok=True, parents=True)
    data.save_as(path, enforce_file_format=True)


def plane(value, dtype="u2"):
    return np.full((3, 4), value, dtype)


@pytest.fixture
def scans(tmp_path):
    return tmp_path / "scans"


def imported(scans, name="p"):
    path = scans.parent / name
    project = Project.load(path) if path.exists() else Project.create(ProjectSettings("scans"), path)
    return import_dicom(project, scans)


def stacks(descriptors):
    return [np.asarray(one.load_image().read()) for one in descriptors]


@pytest.mark.parametrize(
    ("values", "dtypes", "expected"),
    [
        ((100, 300), ("u1", "u2"), "u2"),
        ((200, -100), ("u2", "i2"), "i4"),
        ((250, -7), ("u1", "i1"), "i2"),
        ((2**32 - 1, -1), ("u4", "i2"), "i8"),
    ],
)
def test_slices_of_other_types_keep_their_values(scans, values, dtypes, expected):
    for index, (value, dtype) in enumerate(zip(values, dtypes, strict=True)):
        write(scans / f"{index}.dcm", plane(value, dtype), index, 2.0 * index)
    (stack,) = stacks(imported(scans))
    assert stack.dtype == np.dtype(expected)
    assert stack[:, 0, 0].tolist() == list(values)


def test_several_times_are_an_axis(scans):
    number = 0
    for z in (3, 0, 2, 1):
        for time in (2, 1, 3):
            number += 1
            write(scans / f"{number}.dcm", plane(10 * time + z), number, float(z), TemporalPositionIdentifier=time)
    (found,) = imported(scans)
    assert [axis.name for axis in found.axes] == ["t", "z", "y", "x"]
    image = found.load_image()
    np.testing.assert_array_equal(image[:, :, 0, 0], [[10 * t + z for z in range(4)] for t in (1, 2, 3)])
    np.testing.assert_array_equal(image[1:, 2, 1:, 0], np.array([[22, 22], [32, 32]]))
    assert found.spacing == (1.0, 1.0, 1.0)


def test_echoes_are_channels(scans):
    for number, (z, echo) in enumerate([(0, 30), (0, 5), (1, 5), (1, 30)]):
        write(scans / f"{number}.dcm", plane(echo + z), number, 1.5 * z, EchoTime=echo)
    (found,) = imported(scans)
    assert [(axis.name, axis.kind) for axis in found.axes][:2] == [("c", "channel"), ("z", "space")]
    assert found.load_image()[:, :, 0, 0].tolist() == [[30, 31], [5, 6]] or found.load_image()[:, :, 0, 0].tolist() == [
        [5, 6],
        [30, 31],
    ]


@pytest.mark.parametrize("places", [(0, 1, 2, 5, 6), (0, 2), (0, 1, 2.5, 3.5), (0, 1, 2, 3.2)])
def test_gaps_are_named(scans, places):
    places = (*places, places[-1] + 1, places[-1] + 2)
    for index, z in enumerate(places):
        write(scans / f"slice{index}.dcm", plane(index), index + 1, float(z))
    with pytest.raises(FormatError, match=r"the series 9\.1 in .*slice\d\.dcm.*slices are missing"):
        imported(scans)


def test_slices_that_are_there_twice_are_named(scans):
    for index, z in enumerate((0, 1, 1, 2)):
        write(scans / f"slice{index}.dcm", plane(index), index + 1, float(z))
    with pytest.raises(FormatError, match=r"slice1\.dcm, slice2\.dcm"):
        imported(scans)


def test_without_positions_instance_numbers_count(scans):
    for number in (3, 1, 2):
        write(scans / f"{number}.dcm", plane(number), number, None, SliceThickness=2.5)
    (found,) = imported(scans)
    assert found.load_image()[:, 0, 0].tolist() == [1, 2, 3]
    assert found.spacing[2] == 2.5


def test_what_is_good_comes_in_beside_what_is_not(scans):
    for index in range(3):
        write(scans / "good" / f"{index}.dcm", plane(index), index + 1, float(index), series="9.2")
    for index, z in enumerate((0, 1, 4, 5)):
        write(scans / "gap" / f"{index}.dcm", plane(index), index + 1, float(z), series="9.3")
    shutil.copy(SHIPPED / "badVR.dcm", scans / "badVR.dcm")
    (scans / "cut.dcm").write_bytes((scans / "good" / "0.dcm").read_bytes()[:300])
    with pytest.warns(UserWarning, match="left out") as told:
        (found,) = imported(scans)
    assert found.load_image()[:, 0, 0].tolist() == [0, 1, 2]
    text = " ".join(str(one.message) for one in told)
    assert "badVR.dcm" in text
    assert "9.3" in text
    with warnings.catch_warnings(record=True):
        assert imported(scans) == []


def test_rescaling_that_differs_is_applied_slice_by_slice(scans):
    for index in range(3):
        write(
            scans / f"{index}.dcm",
            plane(10),
            1 + index,
            float(index),
            RescaleSlope=index + 0.5,
            RescaleIntercept=-index,
        )
    (found,) = imported(scans)
    assert (found.scale, found.shift, found.dtype) == (1.0, 0.0, np.float32)
    assert found.load_image()[:, 0, 0].tolist() == [5.0, 14.0, 23.0]


def test_rescaling_that_all_share_stays_beside_the_stored_values(scans):
    for index in range(3):
        write(scans / f"{index}.dcm", plane(10), 1 + index, float(index), RescaleSlope=2, RescaleIntercept=-1000)
    (found,) = imported(scans)
    assert (found.scale, found.shift, found.dtype) == (2.0, -1000.0, np.uint16)
    assert found.load_image()[0, 0, 0] == 10


def test_each_file_of_many_frames_is_an_image(scans):
    scans.mkdir()
    for name in ("rtdose.dcm", "rtdose_expb.dcm"):
        shutil.copy(SHIPPED / name, scans)
    found = stacks(imported(scans))
    assert [stack.shape for stack in found] == [(15, 10, 10)] * 2
    expected = pydicom.dcmread(SHIPPED / "rtdose.dcm").pixel_array
    for stack in found:
        np.testing.assert_array_equal(stack, expected)


def test_frames_are_ordered_by_their_positions(scans):
    frames = np.stack([plane(value) for value in (0, 10, 20, 30)])
    write(scans / "a.dcm", frames, 1, None, GridFrameOffsetVector=[6.0, 0.0, 4.0, 2.0])
    (found,) = imported(scans)
    assert found.load_image()[:, 0, 0].tolist() == [10, 30, 20, 0]
    assert found.spacing[2] == 2.0
    assert found.load_image()[1:3, 1, 2].tolist() == [30, 20]


def test_an_enhanced_file_tells_each_frame_where_it_is(scans):
    groups, values = [], []
    for number, (time, z) in enumerate([(2, 1), (1, 0), (2, 0), (1, 1)]):
        place, turned, content = pydicom.dataset.Dataset(), pydicom.dataset.Dataset(), pydicom.dataset.Dataset()
        place.ImagePositionPatient, turned.ImageOrientationPatient = [0, 0, 3.0 * z], [1, 0, 0, 0, 1, 0]
        content.TemporalPositionIndex = time
        own = pydicom.dataset.Dataset()
        own.PlanePositionSequence, own.PlaneOrientationSequence, own.FrameContentSequence = [place], [turned], [content]
        groups.append(own)
        values.append(100 * time + z + 0 * number)
    frames = np.stack([plane(value) for value in values])
    write(scans / "e.dcm", frames, 1, None, PerFrameFunctionalGroupsSequence=groups)
    (found,) = imported(scans)
    assert found.load_image()[:, :, 0, 0].tolist() == [[100, 101], [200, 201]]
    assert found.spacing[2] == 3.0


def test_planes_of_other_directions_are_images_of_their_own(scans):
    for index, turned in enumerate(([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])):
        write(scans / f"{index}.dcm", plane(index), index + 1, 0.0, ImageOrientationPatient=turned)
    assert sorted(int(stack.flat[0]) for stack in stacks(imported(scans))) == [0, 1, 2]
