"""DICOM files and folders as formats: an image for each series, in real values."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import FormatError, ParameterError
from ....sources.axes import Axis
from ....sources.chunked.conventions import OWN_ATTRIBUTE
from ....sources.file import Opened
from ...details import Details
from ...formats import keep_local
from ...written.said import told_in, with_own
from ..opening import head_of, no_such, one_of_several, only_image, pixel_sizes, reading
from ..world import TURNED, affine
from .capture import SAID, SAID_GROUP
from .series import Series, read_header, read_series, series_of
from .source import DicomSource

_NAME = "DICOM"
_TABLES = ("OB", "OD", "OF", "OW", "SQ", "UN")
_LONGEST = 1024
"""Of what a header holds, values with more characters are left out: tables and overlays."""


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the images under their keys; that of a file under ""."""
    return {key: _rescaled(series)[0] for key, series in _found(path).items()}


def keys(path: str) -> list[str]:
    """Return "0", "1", ... for the series of a folder; "" for a file, and for the only series."""
    return list(_found(path))


def is_series(folder: str) -> bool:
    """Tell whether a folder holds DICOM files, by the first one in it."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_file():
            return entry.name.lower().endswith(".dcm") or head_of(entry.path, 132)[128:] == b"DICM"
    return False


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the image of a file, or of a series in a folder and below it, in real values: slope and intercept applied.

    Slices are sorted by their positions; see `bioimage_py.io.image_files.dicom.series.read_series`.
    """
    series, name = _chosen(path, key, mode, kwargs)
    source, _ = _rescaled(series)
    return Opened(source, name, _axes(series))


def details(path: str, key: str | None) -> Details:
    """Return the header of the first file, without its tables, and where the planes lie in the world."""
    series, _ = _chosen(path, key, "r", {})
    with reading(path, _NAME):
        return _details(series)


def _details(series: Series) -> Details:
    header, axes = series.header, _axes(series)
    raw = {}
    for tag in list(header.keys()):
        with suppress(Exception):  # of a damaged one; the others are told
            element = header[tag]
            said = str(element.value)
            if element.keyword and element.VR not in _TABLES and len(said) <= _LONGEST:
                raw[element.keyword] = said
    own: dict[str, Any] = {}
    with suppress(Exception):
        own = told_in(str(header.private_block(SAID_GROUP, OWN_ATTRIBUTE)[SAID].value))
    moment = raw.get("AcquisitionDateTime") or raw.get("AcquisitionDate", "") + raw.get("AcquisitionTime", "")
    scaled = (series.scale, series.shift) != (1.0, 0.0)
    matrix = None
    if series.corner is not None and series.directions is not None:
        by_name = dict(zip("xyz", series.directions, strict=True))
        matrix = affine([by_name.get(axis.name) for axis in axes], series.corner, TURNED)
    bits, allocated = header.get("BitsStored"), header.get("BitsAllocated")
    step = next((axis.scale / 1000 for axis in axes if axis.kind == "time" and axis.unit == "millisecond"), None)
    return Details(
        raw=with_own(raw, own),
        applied={"RescaleSlope": series.scale, "RescaleIntercept": series.shift} if scaled else {},
        standard={
            "image": {"name": series.name},
            "acquired": _moment(moment),
            "instrument": {"manufacturer": raw.get("Manufacturer"), "model": raw.get("ManufacturerModelName")},
            "pixel_sizes": pixel_sizes(axes),
        },
        time_step=step,
        affine=matrix,
        compression=_compression(header),
        bits=int(bits) if bits and bits != allocated else None,
        is_rgb=int(header.get("SamplesPerPixel", 1)) == 3,
    )


def _chosen(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> tuple[Series, str]:
    only_image(path, None, mode, _NAME, kwargs)
    found = _found(path)
    if not os.path.isdir(path) and key:
        only_image(path, key, mode, _NAME)
    name = one_of_several(path, key, list(found), "series")
    return found[name], name


def _found(path: str) -> dict[str, Series]:
    keep_local(path, _NAME)
    if not os.path.isdir(path):
        with reading(path, _NAME):
            file = read_header(Path(os.path.abspath(path)))
            if file is None:
                raise no_such(path, _NAME, head_of(path, 8))
            return {"": series_of([file])}
    refused: list[FormatError] = []
    found = list(read_series(path, refused))
    if not found:
        raise (
            refused[0]
            if refused
            else ParameterError(f"{path} has no DICOM images.", remedy="give the folder of a series")
        )
    for error in refused:
        warnings.warn(f"left out: {error.message}; {error.remedy}", stacklevel=2)
    return {"": found[0]} if len(found) == 1 else {str(number): series for number, series in enumerate(found)}


def _rescaled(series: Series) -> tuple[DicomSource, bool]:
    """Return the image in real values: integers where slope and intercept are, else floats."""
    source, slope, shift = series.source, series.scale, series.shift
    if (slope, shift) == (1.0, 0.0):
        return source, False
    dtype = np.dtype(np.float32 if source.dtype.itemsize <= 2 else np.float64)
    if source.dtype.kind in "iu" and slope.is_integer() and shift.is_integer():
        info = np.iinfo(source.dtype)
        ends = sorted((int(info.min) * int(slope) + int(shift), int(info.max) * int(slope) + int(shift)))
        for kind in (np.int16, np.uint16, np.int32, np.int64):
            if np.iinfo(kind).min <= ends[0] and ends[1] <= np.iinfo(kind).max:
                dtype = np.dtype(kind)
                break
    return source.rescaled(dtype, slope, shift), True


def _axes(series: Series) -> tuple[Axis, ...]:
    """Return the axes, with the position of the first plane where they go straight along those of the patient."""
    axes = list(series.source.axes)
    if series.corner is None or series.directions is None:
        return tuple(axes)
    for number, (name, step) in enumerate(zip("xyz", series.directions, strict=True)):
        for n, axis in enumerate(axes):
            if axis.name == name and axis.unit and step[number] > 0 and not any(np.delete(step, number)):
                axes[n] = Axis(name, axis.kind, axis.unit, axis.scale, series.corner[number])
    return tuple(axes)


def _moment(text: str) -> str | None:
    """Return a date and time as ISO 8601."""
    digits = text.partition(".")[0].partition("+")[0]
    if len(digits) < 8 or not digits.isdecimal():
        return None
    day, clock = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}", digits[8:14]
    return f"{day}T{clock[:2]}:{clock[2:4]}:{clock[4:6]}" if len(clock) == 6 else day


def _compression(header: Any) -> str | None:
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    return str(syntax.name) if syntax is not None and syntax.is_compressed else None
