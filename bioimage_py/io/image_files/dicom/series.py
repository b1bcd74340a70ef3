"""Which DICOM files make an image: series are sorted by position, and what does not fit together is told by name."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import FormatError
from ....sources.axes import Axis
from ..opening import require_memory
from .pixels import DEFLATED, DENSEST, require_pixels
from .source import DicomSource, reader

UNIT = "millimeter"

_UNEVEN = 0.05
"""Slices may be further apart, or nearer, than their median distance by this part of it: positions are rounded."""
_TIMES = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionTime", "ContentTime", "AcquisitionNumber")
_CHANNELS = ("EchoTime", "DiffusionBValue")


@dataclass(frozen=True)
class Plane:
    """One plane of a file: where it lies along the normal, and what tells it from others at the same place."""

    path: Path
    frame: int
    position: float | None
    moment: tuple[Any, ...]
    channel: tuple[Any, ...]
    rescale: tuple[float, float]
    corner: Any = None
    turned: Any = None


@dataclass(frozen=True)
class File:
    """What the header of a file says, of every plane of it."""

    path: Path
    header: Any
    key: tuple[Any, ...]
    dtype: np.dtype[Any]
    planes: list[Plane]


@dataclass(frozen=True)
class Series:
    """One series: its image, the header of its first file, and how stored values become real ones.

    The corner is the position of the first voxel, the directions are steps along x, y and z; None where it is not said.
    """

    source: DicomSource
    header: Any
    name: str
    scale: float
    shift: float
    corner: tuple[float, ...] | None
    directions: tuple[tuple[float, ...], ...] | None


def read_series(folder: str | os.PathLike[str], refused: list[FormatError]) -> Iterator[Series]:
    """Find the images in a folder and below it, by headers alone.

    Slices of a series are ordered by their position along the normal of the image plane, else by their instance
    number; several at each position are times, or channels where echo time or b-value differ. Planes of other sizes or
    directions are images of their own, and so is every file of several frames. Files that are no DICOM images are left
    out.

    Parameters
    ----------
    folder : path
    refused : list of FormatError
        Gets an error for each file that cannot be read and each series with gaps, uneven distances, or planes that are
        there twice; they name it. Such a series is not yielded.
    """
    reader()
    root = Path(folder).resolve()
    found: dict[Any, list[File]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        try:
            file = read_header(path)
        except FormatError as error:
            refused.append(error)
            continue
        except Exception as error:  # noqa: BLE001 - whatever a broken header makes of the library
            refused.append(FormatError(f"{path} has a damaged header: {error}", remedy="remove or repair this file"))
            continue
        if file is not None:
            # a file of several frames is a volume, or a film, of its own
            found[file.key, path if len(file.planes) > 1 else None].append(file)
    for files in found.values():
        try:
            yield series_of(files)
        except FormatError as error:
            refused.append(error)


def read_header(path: Path) -> File | None:
    """What a header says; None where the file is no DICOM image.

    Raises
    ------
    FormatError
        If it announces more pixels than the file has.
    """
    pydicom = reader()
    try:
        with open(path, "rb") as file:
            if file.read(132)[128:] == b"DICM":
                meta = pydicom.filereader.read_file_meta_info(path)
                if meta.get("TransferSyntaxUID") == DEFLATED:  # all of it is inflated to read the header
                    require_memory(str(path), DENSEST * path.stat().st_size)
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True)
            if "Rows" not in header or "Columns" not in header:
                return None
            require_pixels(str(path), header, file)
    except pydicom.errors.InvalidDicomError:
        return None
    bits, signed = int(header.BitsAllocated), bool(header.get("PixelRepresentation", 0))
    key = (
        str(header.get("SeriesInstanceUID", path.parent)),
        int(header.Rows),
        int(header.Columns),
        int(header.get("SamplesPerPixel", 1)),
        tuple(round(float(value), 3) for value in header.get("ImageOrientationPatient") or ()),
    )
    return File(path, header, key, np.dtype(f"{'i' if signed else 'u'}{max(1, bits // 8)}"), _planes(path, header))


def _planes(path: Path, header: Any) -> list[Plane]:
    count = int(header.get("NumberOfFrames") or 1)
    rescale = (float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0))
    if count == 1:
        moment = tuple(str(header.get(name, "")) for name in _TIMES)
        channel = tuple(str(header.get(name, "")) for name in _CHANNELS)
        place, turned = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
        return [Plane(path, 0, _along(place, turned), moment, channel, rescale, place, turned)]
    offsets = header.get("GridFrameOffsetVector")
    positions: list[float | None] = [None] * count if offsets is None else [float(offset) for offset in offsets]
    moments: list[tuple[Any, ...]] = [()] * count
    rescales = [rescale] * count
    corners: list[Any] = [header.get("ImagePositionPatient")] * count
    directions: list[Any] = [header.get("ImageOrientationPatient")] * count
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for index, own in enumerate(header.get("PerFrameFunctionalGroupsSequence") or ()):
        groups = [group for group in (own, shared) if group is not None]
        place, turned = (
            _of_frame(groups, "PlanePosition", "ImagePositionPatient"),
            _of_frame(groups, "PlaneOrientation", "ImageOrientationPatient"),
        )
        if index >= count:
            raise FormatError(f"{count} frames but more are described", remedy="repair the file")
        positions[index] = _along(place, turned)
        corners[index], directions[index] = place, turned
        content = _of_frame(groups, "FrameContent", "TemporalPositionIndex")
        moments[index] = () if content is None else (int(content),)
        slope = _of_frame(groups, "PixelValueTransformation", "RescaleSlope")
        if slope is not None:
            rescales[index] = (
                float(slope),
                float(_of_frame(groups, "PixelValueTransformation", "RescaleIntercept") or 0),
            )
    if len(positions) != count:
        raise FormatError(f"{count} frames but {len(positions)} positions", remedy="repair the file")
    return [Plane(path, n, positions[n], moments[n], (), rescales[n], corners[n], directions[n]) for n in range(count)]


def _of_frame(groups: Sequence[Any], group: str, name: str) -> Any:
    """A value of a frame's functional groups; its own before those that all frames share."""
    for each in groups:
        for item in each.get(f"{group}Sequence") or ():
            if name in item:
                return item[name].value
    return None


def _along(position: Any, orientation: Any) -> float | None:
    """Where a plane lies along its normal, in millimetres."""
    if position is None or orientation is None:
        return None
    direction = np.array(orientation, float)
    return float(np.dot(np.cross(direction[:3], direction[3:]), np.array(position, float)))


def series_of(files: list[File]) -> Series:
    """Put the planes of files in order.

    Raises
    ------
    FormatError
        If slices are missing, there twice, or not evenly spaced.
    """
    header = files[0].header
    planes, leading, axes = _arranged(files)
    folder = Path(os.path.commonpath([file.path.parent for file in files]))
    names = [plane.path.relative_to(folder).as_posix() for plane in planes]
    samples = files[0].key[3]
    colour = [Axis("c", "channel")] if samples > 1 else []
    shape = [*leading, *files[0].key[1:3], *([samples] if samples > 1 else [])]
    rows, columns = _spacing(header)
    unit = UNIT if rows is not None else None
    axes = (*axes, Axis("y", "space", unit, rows or 1.0), Axis("x", "space", unit, columns or 1.0), *colour)
    # 8 and 16 bits, signed and unsigned in one series: the type that holds all
    dtype = np.result_type(*(file.dtype for file in files))
    rescales = [plane.rescale for plane in planes]
    (scale, shift), differ = rescales[0], len(set(rescales)) > 1
    if differ:
        (scale, shift), dtype = (1.0, 0.0), np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    single = len(files) == 1
    source = DicomSource(
        str(folder),
        names[:1] if single else names,
        shape,
        dtype,
        axes,
        [plane.frame for plane in planes] if single and len(planes) > 1 else None,
        rescales if differ else None,
    )
    title = str(header.get("SeriesDescription") or header.get("SeriesInstanceUID") or folder.name)
    corner, directions = _world(planes[0], axes)
    return Series(source, header, title, scale, shift, corner, directions)


def _world(first: Plane, axes: Sequence[Axis]) -> tuple[tuple[float, ...] | None, tuple[tuple[float, ...], ...] | None]:
    """Return where the first voxel lies, and the steps along x, y and z; the slices go along the normal."""
    if first.corner is None or first.turned is None:
        return None, None
    by_name = {axis.name: axis.scale for axis in axes}
    turned = np.array(first.turned, float)
    across, down = turned[:3], turned[3:]
    steps = (across * by_name["x"], down * by_name["y"], np.cross(across, down) * by_name.get("z", 1.0))
    return tuple(map(float, first.corner)), tuple(tuple(step.tolist()) for step in steps)


def _arranged(files: list[File]) -> tuple[list[Plane], list[int], tuple[Axis, ...]]:
    """Planes in the order of the image, its leading sizes, and the axes of these."""
    header, planes = files[0].header, [plane for file in files for plane in file.planes]
    unit = UNIT if _spacing(header)[0] is not None else None
    if len(planes) == 1:
        return planes, [], ()
    if any(plane.position is None for plane in planes):
        if len(files) == 1:  # a film: frames in the order of the file
            film = float(header.get("FrameTime") or 0)
            axis = Axis("t", "time", "millisecond", film) if film else Axis("z", "space", unit, _thickness(header))
            return planes, [len(planes)], (axis,)
        thick = _thickness(header)
        numbers = {file.path: float(file.header.get("InstanceNumber") or 0) * thick for file in files}
        return _stacked(files, planes, [numbers[plane.path] for plane in planes], unit)
    return _stacked(files, planes, [float(plane.position or 0) for plane in planes], unit)


def _stacked(
    files: list[File], planes: list[Plane], positions: Sequence[float], unit: str | None
) -> tuple[list[Plane], list[int], tuple[Axis, ...]]:
    name = f"the series {files[0].key[0]} in {files[0].path.parent}"
    places = sorted(set(np.round(positions, 3).tolist()))
    at: dict[float, list[Plane]] = defaultdict(list)
    for plane, position in zip(planes, np.round(positions, 3).tolist(), strict=True):
        at[position].append(plane)
    times = {len(here) for here in at.values()}
    if len(times) > 1:
        short, long = (next(place for place in places if len(at[place]) == n) for n in (min(times), max(times)))
        raise FormatError(
            f"{name} has {len(at[short])} slices at {short:g} mm and {len(at[long])} at {long:g} mm"
            f" ({at[long][0].path.name}, {at[long][1].path.name}): slices are missing, or there twice",
            remedy="complete the series, or put the parts into folders of their own with other series ids",
        )
    n_times = times.pop()
    steps = np.diff(places)
    between = float(np.median(steps)) if len(steps) else _thickness(files[0].header)
    for index in np.flatnonzero(np.abs(steps - between) > _UNEVEN * between)[:1]:
        raise FormatError(
            f"{name} has slices every {between:g} mm, but none between {places[index]:g} mm"
            f" ({at[places[index]][0].path.name}) and {places[index + 1]:g} mm ({at[places[index + 1]][0].path.name}):"
            " slices are missing, or not evenly spaced",
            remedy="complete the series",
        )
    z = Axis("z", "space", unit, between)
    if n_times == 1:
        return [at[place][0] for place in places], [len(places)], (z,)
    orders = {place: sorted(at[place], key=lambda plane: (plane.channel, plane.moment)) for place in places}
    for place, here in orders.items():
        for a, b in itertools.pairwise(here):
            if (a.channel, a.moment) == (b.channel, b.moment):
                raise FormatError(
                    f"{name} has two slices at {place:g} mm that nothing tells apart: {a.path.name} and {b.path.name}",
                    remedy="remove one of them",
                )
    channels = len({plane.channel for plane in planes}) == n_times
    other = Axis("c", "channel") if channels else Axis("t", "time")
    ordered = [orders[place][time] for time in range(n_times) for place in places]
    return ordered, [n_times, len(places)], (other, z)


def _thickness(header: Any) -> float:
    return float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1)


def _spacing(header: Any) -> tuple[float | None, float | None]:
    """Distance of rows and of columns in millimetres, where the file says so."""
    value = header.get("PixelSpacing")
    if value is None and (groups := header.get("SharedFunctionalGroupsSequence")):
        value = _of_frame(groups, "PixelMeasures", "PixelSpacing")
    return (None, None) if not value else (float(value[0]), float(value[1]))
