"""NIfTI and Analyze images (.nii, .nii.gz, .hdr with .img), in the order of numpy: z, y, x, with t and c in front."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ...errors import DtypeError, FormatError
from ...sources.axes import Axis
from ...sources.file import Opened
from ..details import Details, Image
from ..written.said import LARGEST, document_of, kept_metadata, lost_metadata, told_in, with_own
from .deflated import deflated
from .detached import beside
from .opening import checked_shape, head_of, no_such, only_image, pixel_sizes, reading
from .voxels import ConvertedArray, mapped
from .world import SAME, affine, directions_of
from .writing import OrderedImage, factor, lost_of, single, stored

_NAME = "NIfTI"
_UNITS = {
    "mm": "millimeter",
    "meter": "meter",
    "micron": "micrometer",
    "sec": "second",
    "msec": "millisecond",
    "usec": "microsecond",
}
_WRITTEN = {name: short for short, name in _UNITS.items()}
_KINDS = (
    *("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float32", "float64", "complex64", "complex128"),
)
_LONGEST = 32767
_LABELS = 1002
_COMMENT = 6
"""Code of an extension of the header that is text."""
_MOST_BYTES, _MOST_EXTENSIONS = 4 * LARGEST, 1000
"""Of extensions, that are looked at."""
_NAMES = (("x", "space"), ("y", "space"), ("z", "space"), ("t", "time"), ("c", "channel"))


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Any]:
    """Return the image under the key ""."""
    return {"": open_dataset(path, None, mode, kwargs).array}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the image; what is compressed is decoded by plane, or at once where it is small, the rest is mapped."""
    only_image(path, key, mode, _NAME, kwargs)
    with reading(path, _NAME):
        header = _header(path)
        shape, dtype, colours = _layout(path, header)
        place = _voxel_file(path, header)
        start = int(header.get_data_offset())
        packed = _is_packed(place)  # bytes that are read have no name
        array = deflated(place, 0, shape, dtype, start) if packed else mapped(place, dtype, start, shape)
        slope, inter = _scaling(header)
        if (slope, inter) != (1.0, 0.0) and not colours:
            from nibabel.volumeutils import apply_read_scaling

            scaled = apply_read_scaling(np.zeros(1, dtype.newbyteorder("=")), slope, inter)
            array = ConvertedArray(
                place,
                array,
                scaled.dtype,
                lambda part: np.asarray(apply_read_scaling(part, slope, inter), scaled.dtype),
            )
        return Opened(array, "", _axes(header, len(shape), colours))


def details(path: str, key: str | None) -> Details:
    """Return the fields of the header, the matrix into the world, and the scaling that reading applies."""
    only_image(path, key, "r", _NAME)
    with reading(path, _NAME):
        header = _header(path)
        shape, _, colours = _layout(path, header)
        axes = _axes(header, len(shape), colours)
        slope, inter = _scaling(header)
        scaled = (slope, inter) != (1.0, 0.0) and not colours
        raw = {name: _plain(header[name]) for name in header}
        step = next((axis for axis in axes if axis.name == "t"), None)
        by = factor(step.unit, "second") if step is not None else None
        matrix = None
        if (placed := _matrix(header)) is not None:
            columns = [placed[:3, n].tolist() for n in range(min(3, len(shape) - colours))]
            order = [None] * (len(shape) - colours - len(columns)) + columns[::-1] + [None] * colours
            matrix = affine(order, placed[:3, 3].tolist(), SAME)
        return Details(
            raw=with_own(raw, _said(path, header)),
            applied={"scl_slope": slope, "scl_inter": inter} if scaled else {},
            standard={"pixel_sizes": pixel_sizes(axes)},
            time_step=None if step is None or by is None else step.scale * by,
            affine=matrix,
            compression="gzip" if _is_packed(path) else None,
            is_label=True if raw.get("intent_code") == _LABELS else None,
            is_rgb=bool(colours),
        )


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write an image as NIfTI-1, or NIfTI-2 where an axis is longer than 32767; gzipped if the path ends so."""
    import nibabel

    image = single(images, _NAME)
    ordered = OrderedImage(image, ("c", "t", "z", "y", "x"), _NAME, _KINDS)
    by_name = {axis.name: axis for axis in ordered.axes}
    sizes = dict(zip(by_name, ordered.shape, strict=True))
    last = max("xyztc".index(name) for name in by_name)
    names = "xyztc"[: last + 1]
    kind: Any = nibabel.Nifti2Header if max(ordered.shape) > _LONGEST else nibabel.Nifti1Header
    header: Any = kind(endianness="<")
    header.set_data_dtype(ordered.dtype.newbyteorder("<"))
    header.set_data_shape([sizes.get(name, 1) for name in names])
    lost = _place(header, ordered, image, names, by_name)
    header.set_data_offset(352 if kind is nibabel.Nifti1Header else 544)
    header.set_slope_inter(1, 0)
    if image.name:
        header["descrip"] = image.name.encode()[:79]
    if image.details.is_label:
        header["intent_code"] = _LABELS
    said = kept_metadata(image, taken=list(header))
    if said:
        extension = nibabel.nifti1.Nifti1Extension("comment", document_of(said).encode())
        header.extensions.append(extension)
        header.set_data_offset(int(header.get_data_offset()) + extension.get_sizeondisk())
    with gzip.open(path, "wb", 6) if path.lower().endswith(".gz") else open(path, "wb") as file:
        header.write_to(file)
        file.write(bytes(int(header.get_data_offset()) - file.tell()))
        for _, piece in ordered.pieces():
            file.write(stored(piece))
    return (*lost, *lost_of(image, "name", "affine", "labels", "metadata"), *lost_metadata(image, said))


def _place(header: Any, ordered: OrderedImage, image: Image, names: str, axes: Mapping[str, Axis]) -> list[str]:
    """Set units, voxel sizes and the matrix; returns which units have no place."""
    spatial = [axes[name] for name in "xyz" if name in axes]
    own = spatial[0].unit if spatial else None
    unit = own if own in _WRITTEN or own is None else "micrometer"
    factors = {axis.name: factor(axis.unit, unit) if unit else None for axis in spatial}
    if any(by is None for by in factors.values()):
        unit, factors = None, {}
    zooms = [abs(axes[name].scale * (factors.get(name) or 1.0)) if name in axes else 1.0 for name in names]
    time = axes.get("t")
    clock = None if time is None or time.unit is None else time.unit if time.unit in _WRITTEN else "second"
    if time is not None and clock is not None and (by := factor(time.unit, clock)) is not None:
        zooms[3] = abs(time.scale * by)
        header["toffset"] = time.offset * by
    same = [axis.name for axis in ordered.axes] == [axis.name for axis in image.axes]
    directions, origin = directions_of(ordered.axes, image.details if same else Details(), SAME)
    matrix = np.eye(4)
    for n, axis in enumerate(ordered.axes):
        step = directions[n]
        if step is not None:
            matrix[: len(step), "xyz".index(axis.name)] = np.asarray(step) * (factors.get(axis.name) or 1.0)
    matrix[: len(origin), 3] = [value * (factors.get(name) or 1.0) for value, name in zip(origin, "xyz", strict=False)]
    header.set_zooms(zooms)
    header.set_qform(matrix, 1)
    header.set_sform(matrix, 1)
    header.set_zooms(zooms)
    header.set_xyzt_units(_WRITTEN[unit] if unit else None, _WRITTEN[clock] if clock else None)
    return [f"unit of {axis.name}" for axis in spatial if axis.unit and not unit]


def _header(path: str) -> Any:
    """Return the header of nibabel, of the first bytes alone."""
    import nibabel

    place = path
    if re.search(r"\.img(\.gz)?$", path, re.IGNORECASE):
        place = re.sub(r"\.img(?=(\.gz)?$)", ".hdr", path, flags=re.IGNORECASE)
        place = beside(path, os.path.basename(place))
    found = head_of(place, 4096)
    if found[:2] == b"\x1f\x8b":
        found = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(found, 540)
    kinds: tuple[Any, ...] = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    if not place.lower().endswith((".nii", ".nii.gz")):
        kinds = (nibabel.nifti1.Nifti1PairHeader, nibabel.nifti2.Nifti2PairHeader)
        kinds += (nibabel.spm2analyze.Spm2AnalyzeHeader, nibabel.spm99analyze.Spm99AnalyzeHeader, nibabel.AnalyzeHeader)
    for kind in kinds:
        if len(found) >= kind.template_dtype.itemsize and kind.may_contain_header(found):
            # without what follows: extensions may say that they are of any size
            return kind.from_fileobj(io.BytesIO(found[: kind.template_dtype.itemsize]))
    raise no_such(path, _NAME, found)


def _said(path: str, header: Any) -> dict[str, Any]:
    """Return what was said of an image when it was written, in a comment between the header and the voxels."""
    start = header.template_dtype.itemsize
    size = min(int(header.get_data_offset()) - start, _MOST_BYTES) if getattr(header, "is_single", False) else 0
    if size < 12:
        return {}
    with suppress(OSError, EOFError, zlib.error), gzip.open(path) if _is_packed(path) else open(path, "rb") as file:
        file.seek(start)
        left = size - 4 if file.read(4)[:1] not in (b"", b"\0") else 0
        for _ in range(_MOST_EXTENSIONS):
            found = file.read(8) if left >= 16 else b""
            length, code = struct.unpack(f"{header.endianness}ii", found) if len(found) == 8 else (0, 0)
            if not 16 <= length <= left:
                break
            left -= length
            if code != _COMMENT:
                file.seek(length - 8, os.SEEK_CUR)
            elif said := told_in(file.read(length - 8).rstrip(b"\0")):
                return said
    return {}


def _voxel_file(path: str, header: Any) -> str:
    if getattr(header, "is_single", False):
        return path
    name = re.sub(r"\.hdr(?=(\.gz)?$)", ".img", os.path.basename(path), flags=re.IGNORECASE)
    return beside(path, name)


def _is_packed(path: str) -> bool:
    return head_of(path, 2) == b"\x1f\x8b"


def _layout(path: str, header: Any) -> tuple[tuple[int, ...], np.dtype, int]:
    """Return shape, stored data type, and 1 where colours are on a last axis of their own."""
    dtype: np.dtype = header.get_data_dtype()
    shape = checked_shape(path, header.get_data_shape()[::-1])
    if dtype.names is not None and {dtype[name] for name in dtype.names} == {np.dtype(np.uint8)}:
        return (*shape, len(dtype.names)), np.dtype(np.uint8), 1
    if dtype.kind not in "buifc":
        raise DtypeError(f"{path} holds {dtype}, which is no number.", remedy="convert it with another program")
    return shape, dtype, 0


def _scaling(header: Any) -> tuple[float, float]:
    slope, inter = header.get_slope_inter()
    found = (1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter))
    if not np.isfinite(found).all():
        raise FormatError(f"The scaling {found} makes no sense.", remedy="repair the header")
    return found


def _matrix(header: Any) -> np.ndarray | None:
    """Return the matrix from x, y, z indices that a header states, None where it states none."""
    for name in ("sform", "qform"):
        if hasattr(header, f"get_{name}"):
            matrix, code = getattr(header, f"get_{name}")(coded=True)
            if code and matrix is not None and np.isfinite(matrix).all():
                return np.asarray(matrix, float)
    return None


def _axes(header: Any, ndim: int, colours: int) -> tuple[Axis, ...]:
    units = header.get_xyzt_units() if hasattr(header, "get_xyzt_units") else ("mm", "unknown")
    space, time = (_UNITS.get(unit) for unit in units)
    matrix = _matrix(header)
    axes = []
    for n, said in enumerate(header.get_zooms()):
        size = abs(float(said)) if np.isfinite(said) and said else None
        name, kind = _NAMES[n] if n < len(_NAMES) else (f"d{n}", "other")
        start = 0.0
        if kind == "space" and matrix is not None:
            step = matrix[:3, n]
            if step[n] > 0 and not np.delete(step, n).any():  # straight, and forwards
                start = float(matrix[n, 3])
        elif kind == "time" and "toffset" in list(header) and np.isfinite(header["toffset"]):
            start = float(header["toffset"])
        unit = {"space": space, "time": time}.get(kind) if size is not None else None
        axes.append(Axis(name, kind, unit, size or 1.0, start))
    found = tuple(reversed(axes[: ndim - colours]))
    return (*found, Axis("c" if len(found) < 5 else "rgb", "channel")) if colours else found


def _plain(value: Any) -> Any:
    found = value.tolist() if hasattr(value, "tolist") else value
    return found.rstrip(b"\0 ").decode("latin-1") if isinstance(found, bytes) else found
