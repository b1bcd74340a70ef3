"""Series of DICOM files as sources, and what they say of patient, study and series."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, MissingDependencyError
from ..sources import Axis, Source, SourceSpec
from ..sources.index import Roi
from ..sources.stores import Location
from ..sources.units import UnitFiles
from .models import ImageInfo

UNIT = "millimeter"

_INFO = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "study_instance_uid": "StudyInstanceUID",
    "study_description": "StudyDescription",
    "study_date": "StudyDate",
    "series_instance_uid": "SeriesInstanceUID",
    "series_description": "SeriesDescription",
    "series_date": "SeriesDate",
    "modality": "Modality",
}


class DicomSource(Source):
    """A series of DICOM files: one slice (or one volume of frames) a file, decoded when it is read.

    Values are as stored: rescale slope and intercept are not applied.

    Parameters
    ----------
    folder : str
        Folder of the files.
    files : sequence of str
        Paths relative to it, in the order of the slices.
    shape : sequence of int
        ``([z,] y, x[, c])``.
    dtype : dtype_like
    axes : sequence of Axis
    """

    def __init__(
        self, folder: str, files: Sequence[str], shape: Sequence[int], dtype: Any, axes: Sequence[Axis]
    ) -> None:
        self._folder, self._files = folder, tuple(files)
        self._shape, self._axes = tuple(shape), tuple(axes)
        self._dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """``([z,] y, x[, c])``."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type."""
        return self._dtype

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes, in millimetres where the files say so."""
        return self._axes

    @property
    def chunks(self) -> tuple[int, ...]:
        """A file."""
        return (1, *self._shape[1:]) if len(self._files) > 1 else self._shape

    @property
    def identity(self) -> Any:
        """Folder and files."""
        return ("dicom", self._folder, self._files)

    def stored_in(self, roi: Roi) -> UnitFiles:
        """Return the files of the slices."""
        wanted = self._files[roi[0]] if len(self._files) > 1 else self._files
        return UnitFiles(Location(self._folder), wanted)

    def _getitem(self, roi: Roi) -> np.ndarray:
        if len(self._files) == 1:
            return np.array(self._pixels(0)[roi])
        found = np.empty(tuple(part.stop - part.start for part in roi), self._dtype)
        for index in range(roi[0].start, roi[0].stop):
            found[index - roi[0].start] = self._pixels(index)[roi[1:]]
        return found

    def _pixels(self, index: int) -> np.ndarray:
        path = os.path.join(self._folder, self._files[index])
        pixels: np.ndarray = _reader().dcmread(path).pixel_array
        wanted = self._shape[1:] if len(self._files) > 1 else self._shape
        if pixels.shape != wanted:
            raise FormatError(f"{path} has the shape {pixels.shape}, not {wanted}.", remedy="import the series again")
        return pixels

    def to_spec(self) -> SourceSpec:
        """Return the folder, and the files in their order."""
        axes = [
            {"name": a.name, "kind": a.kind, "unit": a.unit, "scale": a.scale, "offset": a.offset} for a in self.axes
        ]
        params = {"files": self._files, "shape": self._shape, "dtype": self._dtype, "axes": axes}
        return SourceSpec("dicom", self._folder, params=params)


def reopen(spec: SourceSpec) -> DicomSource:
    """Open a series again."""
    arguments = spec.arguments()
    axes = [Axis(**axis) for axis in arguments.pop("axes")]
    return DicomSource(str(spec.path), axes=axes, **arguments)


@dataclass(frozen=True)
class Series:
    """One series: its image, what it says of itself, and how stored values become real ones."""

    source: DicomSource
    info: ImageInfo
    name: str
    scale: float
    shift: float


def read_series(folder: str | os.PathLike[str]) -> Iterator[Series]:
    """Find the series in a folder and below it, by headers alone.

    Slices are ordered by their position along the normal of the image plane, else by their instance number. Files that
    are no DICOM images are left out.
    """
    root = Path(folder).resolve()
    found: dict[Any, list[tuple[Path, Any]]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if path.is_file() and (header := _header(path)) is not None:
            key = (str(header.get("SeriesInstanceUID", path.parent)), header.Rows, header.Columns)
            found[key].append((path, header))
    for files in found.values():
        yield _series(files)


def _reader() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError(
            "DICOM files need pydicom.", remedy="pip install 'bioimage_py[projects]'"
        ) from error
    return pydicom


def _header(path: Path) -> Any | None:
    pydicom = _reader()
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except pydicom.errors.InvalidDicomError:
        return None
    return header if "Rows" in header and "Columns" in header else None


def _series(files: list[tuple[Path, Any]]) -> Series:
    headers = [header for _, header in files]
    positions = _positions(headers)
    order = sorted(range(len(files)), key=lambda index: positions[index])
    first = headers[order[0]]
    folder = Path(os.path.commonpath([path.parent for path, _ in files]))
    names = [files[index][0].relative_to(folder).as_posix() for index in order]
    frames, samples = int(first.get("NumberOfFrames", 1)), int(first.get("SamplesPerPixel", 1))
    depth = [len(files)] if len(files) > 1 else [frames] if frames > 1 else []
    shape = [*depth, int(first.Rows), int(first.Columns), *([samples] if samples > 1 else [])]
    axes = _axes(first, sorted(positions), bool(depth), samples > 1)
    source = DicomSource(str(folder), names, shape, _dtype(first), axes)
    info = ImageInfo(**{field: str(first[name].value) for field, name in _INFO.items() if first.get(name)})
    title = info.series_description or info.series_instance_uid or folder.name
    return Series(
        source, info, title, float(first.get("RescaleSlope", 1) or 1), float(first.get("RescaleIntercept", 0) or 0)
    )


def _positions(headers: Sequence[Any]) -> list[float]:
    """Where each slice lies along the normal, in millimetres."""
    if all("ImagePositionPatient" in header and "ImageOrientationPatient" in header for header in headers):
        direction = np.array(headers[0].ImageOrientationPatient, float)
        normal = np.cross(direction[:3], direction[3:])
        return [float(np.dot(normal, np.array(header.ImagePositionPatient, float))) for header in headers]
    thick = float(headers[0].get("SliceThickness") or 1)
    return [float(header.get("InstanceNumber") or 0) * thick for header in headers]


def _axes(header: Any, positions: Sequence[float], deep: bool, colour: bool) -> tuple[Axis, ...]:
    rows, columns = (float(value) for value in header.get("PixelSpacing") or (1, 1))
    between = [step for step in np.diff(positions) if step > 0]
    thick = float(np.median(between)) if between else float(header.get("SliceThickness") or 1)
    unit = UNIT if "PixelSpacing" in header else None
    axes = [Axis("z", "space", unit, thick)] if deep else []
    axes += [Axis("y", "space", unit, rows), Axis("x", "space", unit, columns)]
    return (*axes, *([Axis("c", "channel")] if colour else []))


def _dtype(header: Any) -> np.dtype[Any]:
    bits, signed = int(header.BitsAllocated), bool(header.get("PixelRepresentation", 0))
    return np.dtype(f"{'i' if signed else 'u'}{max(1, bits // 8)}")
