"""Writing DICOM files: secondary captures, which say what is seen and nothing of a patient or a scanner."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import ShapeError
from ....sources.axes import Axis
from ....sources.chunked.conventions import OWN_ATTRIBUTE
from ...details import Image
from ...written.said import document_of, kept_metadata, lost_metadata
from ..writing import OrderedImage, factor, lost_of, single, stored

_NAME = "DICOM"
_KINDS = ("uint8", "uint16")
_MOST_BYTES = 2**32 - 2
_MOST_FRAMES = 9000
"""Whose numbers a vector holds."""
SAID_GROUP, SAID = 0x0071, 0x01
"""Private group, and element of our block in it, of what was said of an image."""


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write pictures or stacks (z or t) of grey values of 8 or 16 bits, or of colours of 8, as one file.

    It is a Secondary Capture Image, or one of the Multi-frame ones for stacks (DICOM PS3.3, A.8). Lengths are
    millimetres. Names, dates of birth and the like are empty; identifiers are new.
    """
    from pydicom.datadict import keyword_dict
    from pydicom.uid import ExplicitVRLittleEndian

    image = single(images, _NAME)
    letters = {axis.name for axis in image.axes}
    lead = "t" if "t" in letters else "z"
    ordered = OrderedImage(image, (lead, "y", "x", "c"), _NAME, _KINDS)
    colour = ordered.axes[-1].name == "c"
    if not {"y", "x"} <= letters or (colour and (ordered.shape[-1] != 3 or ordered.dtype != np.uint8)):
        raise ShapeError(
            f"A DICOM file holds the axes y and x, with z or t in front, and 3 colours of 8 bits, not"
            f" {[axis.name for axis in image.axes]} of the shape {image.array.shape}.",
            remedy='a file for each channel, or ".nii", ".ome.tif"',
        )
    if (nbytes := int(np.prod(ordered.shape, dtype=object)) * ordered.dtype.itemsize) > _MOST_BYTES:
        raise ShapeError(f"A DICOM file holds less than 4 GiB, not {nbytes} bytes.", remedy='".nii", or ".ome.tif"')
    frames = ordered.shape[0] if ordered.axes[0].name in "zt" else None
    found = _described(ordered, frames, colour)
    said = kept_metadata(image, taken=keyword_dict)
    if said:
        block = found.private_block(SAID_GROUP, OWN_ATTRIBUTE, create=True)
        block.add_new(SAID, "UT", document_of(said))
    found.PixelData = b"".join(bytes(stored(piece)) for _, piece in ordered.pieces())
    if len(found.PixelData) % 2:
        found.PixelData += b"\0"
    found["PixelData"].VR = "OB" if ordered.dtype.itemsize == 1 else "OW"
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.save_as(path, enforce_file_format=True)
    lost = [f"unit of {axis.name}" for axis in ordered.axes if axis.unit and _millimetres(axis) is None]
    lost += [f"scale of the axis {axis.name}" for axis in ordered.axes if axis.scale != 1 and not axis.unit]
    lost += [f"offset of the axis {axis.name}" for axis in ordered.axes if axis.offset]
    return (*lost, *lost_of(image, "metadata"), *lost_metadata(image, said))


def _described(ordered: OrderedImage, frames: int | None, colour: bool) -> Any:
    """The data set, without its pixels."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    found = Dataset()
    found.file_meta = FileMetaDataset()
    kinds = (
        (uid.MultiFrameTrueColorSecondaryCaptureImageStorage if colour else None)
        or (uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage if ordered.dtype == np.uint8 else None)
        or uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    )
    now = datetime.datetime.now()
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = (
        uid.SecondaryCaptureImageStorage if frames is None else kinds
    )
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    found.StudyInstanceUID, found.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    found.ContentDate, found.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    for empty in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        setattr(found, empty, "")
    for empty in ("AccessionNumber", "ReferringPhysicianName", "StudyID", "SeriesNumber", "PatientOrientation"):
        setattr(found, empty, None)
    found.Modality, found.ConversionType, found.InstanceNumber = "OT", "WSD", 1
    rows, columns = (n for n, axis in zip(ordered.shape, ordered.axes, strict=True) if axis.name in "yx")
    found.Rows, found.Columns = rows, columns
    found.SamplesPerPixel = 3 if colour else 1
    found.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        found.PlanarConfiguration = 0
    bits = 8 * ordered.dtype.itemsize
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits, bits - 1, 0
    if frames is not None:
        _number(found, ordered.axes[0], frames)
    _measure(found, {axis.name: axis for axis in ordered.axes})
    return found


def _number(found: Any, axis: Axis, frames: int) -> None:
    """Say how many frames there are, and what tells them apart."""
    found.NumberOfFrames = frames
    found.BurnedInAnnotation = "NO"
    found.RescaleSlope, found.RescaleIntercept, found.RescaleType = 1, 0, "US"
    found.PresentationLUTShape = "IDENTITY"
    by = factor(axis.unit, "second") if axis.unit else None
    if axis.name == "t" or frames > _MOST_FRAMES:
        found.FrameTime = axis.scale * by * 1000 if axis.name == "t" and by else 1.0
        found.FrameIncrementPointer = 0x00181063
    else:
        found.PageNumberVector = list(range(1, frames + 1))
        found.FrameIncrementPointer = 0x00182001


def _millimetres(axis: Axis) -> float | None:
    if axis.kind == "time":
        return factor(axis.unit, "second")
    return factor(axis.unit, "millimeter")


def _measure(found: Any, axes: Mapping[str, Axis]) -> None:
    """Say how far apart pixels and slices are, where that is known."""
    sizes = {name: by * axes[name].scale for name in "zyx" if name in axes and (by := _millimetres(axes[name]))}
    if {"y", "x"} <= set(sizes):
        found.PixelSpacing = [_decimal(sizes["y"]), _decimal(sizes["x"])]
        if "z" in sizes:
            found.SliceThickness = found.SpacingBetweenSlices = _decimal(sizes["z"])


def _decimal(value: float) -> str:
    """A number in the 16 characters that DICOM gives it."""
    return next(text for digits in range(16, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)
