"""MetaImage files (.mha, .mhd) of ITK: mapped where raw, decoded by plane where compressed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FormatError
from ...sources.axes import Axis, unit_name
from ...sources.chunked.conventions import OWN_ATTRIBUTE
from ...sources.file import Opened
from ..details import Details, Image
from ..written.said import kept_metadata, lost_metadata, name_of, name_text, text_of, value_of, with_own
from .deflated import deflated
from .detached import beside, numbered, stacked
from .opening import checked_shape, head_of, known, no_such, note, only_image, pixel_sizes, reading, size_in_bytes
from .voxels import TurnedArray, mapped
from .world import TURNED, affine, directions_of, placed
from .writing import OrderedImage, chosen, factor, lost_of, single, stored

_NAME = "MetaImage"
_MOST_HEADER = 1 << 20
_TYPES = {
    "MET_CHAR": "int8",
    "MET_UCHAR": "uint8",
    "MET_SHORT": "int16",
    "MET_USHORT": "uint16",
    "MET_INT": "int32",
    "MET_UINT": "uint32",
    "MET_LONG": "int32",
    "MET_ULONG": "uint32",
    "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64",
    "MET_FLOAT": "float32",
    "MET_DOUBLE": "float64",
}
_WRITTEN = {dtype: name for name, dtype in reversed(_TYPES.items())} | {"int32": "MET_INT", "uint32": "MET_UINT"}
_ALIASES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_FIELDS = (
    *("ObjectType", "ObjectSubType", "TransformType", "NDims", "Name", "ID", "ParentID", "Color", "Comment"),
    *("BinaryData", "CompressedData", "CompressedDataSize", "CompressionLevel", "BinaryDataByteOrderMSB"),
    *("TransformMatrix", "Offset", "CenterOfRotation", "AnatomicalOrientation", "DistanceUnits", "AcquisitionDate"),
    *("DimSize", "HeaderSize", "HeaderSizePerSlice", "Modality", "SequenceID", "ElementMin", "ElementMax"),
    *("ElementNumberOfChannels", "ElementSize", "ElementSpacing", "ElementType", "ElementDataFile"),
    *("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset", "EndGroup", *_ALIASES),
)
_OF_ITK = "ITK_"
_NO_FIELD, _MARK = f"[=:]|[^ -~]|^{_OF_ITK}", "metadata"
_MOST_FIELD, _MOST_SAID = 16_000, 500_000
"""Letters of a field, and of all metadata, that readers take: ITK gives up beyond 32,000 of a field."""
_UNIT = "millimeter"
_ORDER = "axes: "
"""What the comment begins with that tells the order of the axes of an image, whose voxels lie in that of ITK."""


@dataclass(frozen=True)
class Header:
    """What a header says.

    Parameters
    ----------
    fields : mapping
        Values by names, as they are written.
    end : int
        Where the voxels begin, if they are in the same file.
    files : list of str
        Names below ``ElementDataFile = LIST``.
    """

    fields: dict[str, str]
    end: int
    files: list[str] = field(default_factory=list)

    def numbers(self, name: str) -> list[float]:
        """Return the numbers of a field, none where it is not there."""
        found = [float(word) for word in self.fields.get(name, "").split()]
        if not np.isfinite(found).all():
            raise ValueError(f"{name} is {self.fields[name]}")
        return found

    def is_set(self, name: str) -> bool:
        """Whether a field says True."""
        return self.fields.get(name, "").lower() in ("true", "1")


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the image under the key ""."""
    return {"": open_dataset(path, None, mode, {}).array}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the image, its slowest axis first; several values a voxel are channels, on the last axis."""
    only_image(path, key, mode, _NAME, kwargs)
    with reading(path, _NAME):
        header = _header(path)
        shape, dtype = _layout(path, header)
        axes, voxels = _placed(path, header, shape)[0], _voxels(path, header, shape, dtype)
        order = _order(header, axes)
        if order != sorted(order):
            axes, voxels = tuple(axes[n] for n in order), TurnedArray(path, voxels, order)
        return Opened(voxels, "", axes)


def details(path: str, key: str | None) -> Details:
    """Return all fields of the header, and where the voxels lie in the world."""
    only_image(path, key, "r", _NAME)
    with reading(path, _NAME):
        header = _header(path)
        axes, directions, origin = _placed(path, header, _layout(path, header)[0])
        order = _order(header, axes)
        axes, directions = tuple(axes[n] for n in order), [directions[n] for n in order]
        said, own = _told(header.fields)
        return Details(
            raw=with_own({name: value for name, value in header.fields.items() if name not in own}, said),
            standard={"pixel_sizes": pixel_sizes(axes)},
            affine=affine(directions, origin, TURNED),
            compression="zlib" if header.is_set("CompressedData") else None,
        )


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write an image with header and voxels in one file; `compression` is "zlib" or "raw".

    Voxels lie in the order t, z, y, x, c, as ITK takes them; a comment tells that of the image if it is another one.
    Lengths are millimetres, as ITK takes them, whatever the unit of the axes.
    """
    image = single(images, _NAME)
    ordered = OrderedImage(image, ("t", "z", "y", "x", "c"), _NAME, tuple(_WRITTEN))
    compressed = chosen(options, "compression", ("zlib", "raw")) == "zlib"
    same = [axis.name for axis in ordered.axes] == [axis.name for axis in image.axes]
    factors = [factor(axis.unit, _UNIT) for axis in ordered.axes]
    directions, origin = directions_of(ordered.axes, image.details if same else Details(), TURNED)
    matrix = image.details.affine is not None and same
    grid = [n for n, axis in enumerate(ordered.axes) if axis.name != "c"]
    vectors, spacing, offset = _lattice(ordered.axes, grid, directions, origin, factors, matrix)
    channels = ordered.shape[-1] if len(grid) < len(ordered.axes) else 1
    lines = ["ObjectType = Image", f"NDims = {len(grid)}", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += [f"CompressedData = {compressed}"]
    lines += [f"TransformMatrix = {_row(vectors)}", f"Offset = {_row(offset)}"]
    lines += [f"ElementSpacing = {_row(spacing)}", f"DimSize = {_row(ordered.shape[n] for n in reversed(grid))}"]
    if channels > 1 or len(grid) < len(ordered.axes):
        lines.append(f"ElementNumberOfChannels = {channels}")
    if [axis.name for axis in ordered.axes] != [axis.name for axis in image.axes]:
        lines.insert(1, f"Comment = {_ORDER}{' '.join(axis.name for axis in image.axes)}")
    lines.append(f"ElementType = {_WRITTEN[ordered.dtype.name]}")
    said = _kept(image)
    if said:
        lines += [f"{name} = {value}" for name, value in {OWN_ATTRIBUTE: _MARK, **said}.items()]
    with open(path, "wb") as file:
        file.write("\n".join(lines).encode())
        sized = file.tell()
        if compressed:
            file.write(b"\nCompressedDataSize = " + b" " * 20)
        file.write(b"\nElementDataFile = LOCAL\n")
        begin = file.tell()
        packer = zlib.compressobj(6) if compressed else None
        for _, piece in ordered.pieces():
            voxels = stored(piece)
            file.write(packer.compress(voxels) if packer else voxels)
        if packer:
            file.write(packer.flush())
            size = file.tell() - begin
            file.seek(sized)
            file.write(f"\nCompressedDataSize = {size}".ljust(42).encode())
    spatial = [(axis, by) for axis, by in zip(ordered.axes, factors, strict=True) if axis.name in "xyz"]
    lost = [f"unit of {axis.name}" for axis, by in spatial if by is None and axis.unit]
    lost += [f"unit of {axis.name}" for axis in ordered.axes if axis.kind == "time" and axis.unit]
    return (*lost, *lost_of(image, "affine", "metadata"), *lost_metadata(image, map(name_of, said)))


def _kept(image: Image) -> dict[str, str]:
    """Return the metadata as fields, as many as readers take; ITK gives them as its dictionary does."""
    kept = kept_metadata(image, _MOST_SAID, taken=_FIELDS)
    pairs = {name_text(name, _NO_FIELD): text_of(value, ascii=True) for name, value in kept.items()}
    return {name: value for name, value in pairs.items() if len(name) + len(value) <= _MOST_FIELD}


def _told(fields: Mapping[str, str]) -> tuple[dict[str, Any], set[str]]:
    """Return what was said of an image when it was written, and the fields that say it: those that are none of ITK."""
    if fields.get(OWN_ATTRIBUTE) != _MARK:
        return {}, set()
    own = [name for name in fields if name not in (OWN_ATTRIBUTE, *_FIELDS) and not name.startswith(_OF_ITK)]
    return {name_of(name): value_of(fields[name]) for name in own}, {OWN_ATTRIBUTE, *own}


def _order(header: Header, axes: Sequence[Axis]) -> list[int]:
    """Where each axis of the image is among those of the file."""
    names = [axis.name for axis in axes]
    said = header.fields.get("Comment", "")
    told = said.removeprefix(_ORDER).split() if said.startswith(_ORDER) else names
    return [names.index(name) for name in (told if sorted(told) == sorted(names) else names)]


def _lattice(
    axes: Sequence[Axis],
    grid: Sequence[int],
    directions: Sequence[list[float] | None],
    origin: Sequence[float],
    factors: Sequence[float | None],
    matrix: bool,
) -> tuple[list[float], list[float], list[float]]:
    """Return unit vectors, spacing and offset of the axes from the fastest on, in millimetres."""
    count, fastest = len(grid), list(reversed(grid))
    vectors, spacing, offset = np.eye(count), np.ones(count), np.zeros(count)
    for position, n in enumerate(fastest):
        direction, by = directions[n], factors[n] or 1.0
        if direction is None:
            spacing[position], offset[position] = axes[n].scale or 1.0, axes[n].offset
            continue
        length = float(np.linalg.norm(direction)) or 1.0
        spacing[position] = length * by
        if matrix:
            vectors[position] = 0.0
            vectors[position, : len(direction)] = np.asarray(direction) / length
        offset[position] = origin[position] * by
    return vectors.reshape(-1).tolist(), spacing.tolist(), offset.tolist()


def _row(values: Any) -> str:
    return " ".join(f"{value:.17g}" if isinstance(value, float) else str(value) for value in values)


def _header(path: str) -> Header:
    said: dict[str, str] = {}
    fields: dict[str, str] = {}
    head = head_of(path, _MOST_HEADER)
    at = 0
    while "ElementDataFile" not in fields:
        end = head.find(b"\n", at)
        line = head[at : end if end >= 0 else len(head)]
        name, mark, value = line[:65536].decode("latin-1").partition("=")
        if not mark and line.strip():
            raise no_such(path, _NAME, head)
        if mark:
            note(path, said, name.strip(), value.strip())
            fields[_ALIASES.get(name.strip(), name.strip())] = value.strip()
        if end < 0 and "ElementDataFile" not in fields:
            raise no_such(path, f"{_NAME} (it has no ElementDataFile)", head)
        at = end + 1 if end >= 0 else len(head)
    files = head[at:].decode("latin-1").split("\n") if fields["ElementDataFile"].startswith("LIST") else []
    return Header(fields, at, [name.strip() for name in files if name.strip()])


def _layout(path: str, header: Header) -> tuple[tuple[int, ...], np.dtype]:
    for name in ("NDims", "DimSize", "ElementType"):
        if name not in header.fields:
            raise FormatError(f"{path} has no field {name}.", remedy="repair the header")
    sizes = header.fields["DimSize"].split()
    shape = checked_shape(path, sizes[::-1])
    if len(shape) != int(header.fields["NDims"]):
        raise FormatError(
            f"{path} has NDims = {header.fields['NDims']} but {len(shape)} sizes.", remedy="repair the header"
        )
    channels = int(header.fields.get("ElementNumberOfChannels", 1))
    if "ElementNumberOfChannels" in header.fields and channels != 1:
        shape = checked_shape(path, (*shape, channels))
    kind = header.fields["ElementType"].removesuffix("_ARRAY")
    dtype = np.dtype(known(path, "ElementType", kind, _TYPES))
    return shape, dtype.newbyteorder(">" if header.is_set("BinaryDataByteOrderMSB") else "<")


def _voxels(path: str, header: Header, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    if header.fields.get("BinaryData", "True").lower() in ("false", "0"):
        raise FormatError(f"{path} holds its voxels as text, which is not read.", remedy="write them as binary data")
    words = header.fields["ElementDataFile"].split()
    if words[:1] in (["LOCAL"], ["Local"], ["local"]):
        return _part(path, header, header.end, shape, dtype)
    if not words:
        raise FormatError(f"{path} names no file of voxels.", remedy="repair the header")
    if words[0] != "LIST" and (len(words) == 1 or "%" not in words[0]):
        return _part(beside(path, header.fields["ElementDataFile"]), header, 0, shape, dtype)
    names = header.files if words[0] == "LIST" else numbered(path, words[0], words[1:4], shape[0])
    native = dtype.newbyteorder("=")

    def load(name: str, part: tuple[int, ...]) -> np.ndarray:
        return np.array(_part(name, header, 0, part, dtype)[...], native)

    return stacked(path, names, shape, native, load)


def _part(path: str, header: Header, start: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    skip = int(header.fields.get("HeaderSize", 0))
    if header.is_set("CompressedData"):
        return deflated(path, start, shape, dtype)
    if skip < 0:  # the voxels are the end of the file
        start = os.path.getsize(path) - size_in_bytes(shape, dtype)
    return mapped(path, dtype, max(start, skip), shape)


def _placed(path: str, header: Header, shape: tuple[int, ...]) -> tuple[tuple[Axis, ...], list[Any], list[float]]:
    """Return the axes, the direction of each and the origin, slowest axis first."""
    count = int(header.fields["NDims"])
    spacing = header.numbers("ElementSpacing") or header.numbers("ElementSize")
    matrix, offset = header.numbers("TransformMatrix"), header.numbers("Offset")
    if len(spacing) not in (0, count) or len(matrix) not in (0, count**2) or len(offset) not in (0, count):
        raise FormatError(
            f"{path}: its spacing, matrix and offset are not of {count} axes.", remedy="repair the header"
        )
    said = unit_name(header.fields.get("DistanceUnits", "").replace("?", "") or None)
    unit = said or (_UNIT if spacing else None)
    vectors = np.asarray(matrix or np.eye(count).reshape(-1), float).reshape(count, count)
    origin = offset or [0.0] * count
    names = [*"xyzt", *(f"d{n}" for n in range(4, count))][:count]
    space = min(count, 3)
    directions: list[Any] = [
        (vectors[n, :space] * (spacing[n] if spacing else 1.0)).tolist() if n < space else None for n in range(count)
    ]
    axes = placed(names[::-1], directions[::-1], origin[:space], unit)
    for n in range(space, count):
        at = count - 1 - n
        axes[at] = Axis(names[n], axes[at].kind, None, spacing[n] if spacing else 1.0, origin[n])
    if len(shape) > count:
        axes.append(Axis("c", "channel"))
    full = [*directions[::-1], *([None] if len(shape) > count else [])]
    return tuple(axes), full, origin[:space]
