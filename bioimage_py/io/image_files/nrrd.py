"""NRRD files (.nrrd, .nhdr): mapped where raw, decoded as a whole where compressed."""

from __future__ import annotations

import bz2
import io
import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FormatError
from ...sources.axes import Axis, kind_of, unit_name
from ...sources.chunked.conventions import OWN_ATTRIBUTE
from ...sources.file import Opened
from ..details import Details, Image
from ..written.said import kept_metadata, lost_metadata, name_of, name_text, text_of, value_of, with_own
from .deflated import deflated
from .detached import beside, numbered, stacked
from .opening import (
    AGAIN,
    checked_shape,
    head_of,
    known,
    no_such,
    note,
    only_image,
    pixel_sizes,
    reading,
    require_memory,
    size_in_bytes,
)
from .voxels import WholeArray, mapped
from .world import SAME, affine, directions_of, placed
from .writing import OrderedImage, chosen, lost_of, single, stored

_NAME = "NRRD"
_MOST_HEADER = 16 * 2**20
_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_DTYPES = {name: np.dtype(dtype) for dtype, names in _TYPES.items() for name in names}
_ENCODINGS = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "text": "text",
    "txt": "text",
    "ascii": "text",
}
_ANATOMIC = re.compile(r"^(left|right)-(anterior|posterior)-superior(-time)?$|^([lr])([ap])st?$")
_CHANNELS = re.compile(r"color|colour|vector|matrix|list|tensor|complex|quaternion|point|normal|gradient|stub|channel")
_NO_KEY = r"[:=]|[^ -~]|^#|^axis "
"""What a key of metadata does not hold, or begin with: `_written_header` has keys of its own."""
_FIELDS = ["content", "type", "dimension", "space", "sizes", "kinds", "labels", "endian", "encoding"]
_FIELDS += ["space dimension", "space directions", "space origin", "space units"]
"""What is written of a header."""
_ESCAPE = "\\"
_ALIASES = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip", "spacing": "spacings"}


@dataclass(frozen=True)
class Header:
    """What a header says.

    Parameters
    ----------
    fields : mapping
        Values by names in lower case, as they are written.
    end : int
        Where the voxels begin, if they are in the same file.
    files : list of str
        Names below ``data file: LIST``.
    keys : mapping
        What users have put in.
    """

    fields: dict[str, str]
    end: int
    files: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the image under the key ""."""
    return {"": open_dataset(path, None, mode, {}).array}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the image, its slowest axis first."""
    only_image(path, key, mode, _NAME, kwargs)
    with reading(path, _NAME):
        header = _header(path)
        shape, dtype = _layout(path, header)
        return Opened(_voxels(path, header, shape, dtype), "", _axes(header, len(shape)))


def details(path: str, key: str | None) -> Details:
    """Return all fields of the header, and where the voxels lie in the world."""
    only_image(path, key, "r", _NAME)
    with reading(path, _NAME):
        header = _header(path)
        shape, _ = _layout(path, header)
        encoding = known(path, "encoding", header.fields.get("encoding", "").lower(), _ENCODINGS)
        directions, origin = _directions(header, len(shape))
        axes = _axes(header, len(shape))
        said, own = _said(header.keys)
        return Details(
            raw=with_own({**header.fields, **{k: v for k, v in header.keys.items() if k not in own}}, said),
            standard={"pixel_sizes": pixel_sizes(axes)},
            affine=affine(directions, origin, _signs(header)) if origin else None,
            compression=None if encoding in ("raw", "text") else encoding,
        )


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write an image with header and voxels in one file; `compression` is "gzip" or "raw"."""
    image = single(images, _NAME)
    said = kept_metadata(image, taken=_FIELDS)
    names = [axis.name for axis in image.axes]
    spatial = [name for name in "zyx" if name in names]
    colour = ["c"] if names[-1:] == ["c"] else []  # planes of channels stay planes
    order = [name for name in names[: len(names) - len(colour)] if name not in spatial] + spatial + colour
    ordered = OrderedImage(image, order, _NAME, tuple(_TYPES))
    encoding = chosen(options, "compression", ("gzip", "raw"))
    with open(path, "wb") as file:
        file.write(_written_header(image, ordered, encoding, said).encode())
        packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        for _, piece in ordered.pieces():
            voxels = stored(piece)
            file.write(packer.compress(voxels) if packer else voxels)
        if packer:
            file.write(packer.flush())
    units = {axis.unit for axis in ordered.axes if axis.kind == "space"}
    lost = (*(("unit",) if len(units) > 1 else ()), *lost_of(image, "name", "affine", "metadata"))
    return (*lost, *lost_metadata(image, said))


def _written_header(image: Image, ordered: OrderedImage, encoding: str, said: Mapping[str, Any]) -> str:
    axes = ordered.axes
    same = [axis.name for axis in axes] == [axis.name for axis in image.axes]
    directions, origin = directions_of(axes, image.details if same else Details(), SAME)
    with_matrix = same and image.details.affine is not None
    lines = ["NRRD0005", f"type: {_TYPES[ordered.dtype.name][-1]}", f"dimension: {len(axes)}"]
    if with_matrix and len(origin) == 3:
        lines.append("space: right-anterior-superior")
    elif origin:
        lines.append(f"space dimension: {len(origin)}")
    lines.append("sizes: " + " ".join(str(size) for size in reversed(ordered.shape)))
    if origin:
        lines.append("space directions: " + " ".join(_vector(one) for one in reversed(directions)))
        lines.append(f"space origin: {_vector(origin)}")
        units = [unit_name(axis.unit) or "" for axis in reversed(axes) if axis.kind == "space"]
        if any(units):
            lines.append("space units: " + " ".join(f'"{unit}"' for unit in units))
    kinds = {"space": "domain", "time": "time", "channel": "list"}
    lines.append("kinds: " + " ".join(kinds.get(axis.kind, "list") for axis in reversed(axes)))
    lines.append("labels: " + " ".join(f'"{axis.name}"' for axis in reversed(axes)))
    if image.name:
        lines.append("content: " + " ".join(image.name.split()))
    lines += ["endian: little", f"encoding: {encoding}"]
    for axis in axes:
        if axis.kind != "space" and (axis.scale, axis.unit, axis.offset) != (1, None, 0):
            lines.append(f"axis {axis.name}:={float(axis.scale)!r} {float(axis.offset)!r} {axis.unit or ''}".rstrip())
    if said:
        pairs = {name_text(name, _NO_KEY): text_of(value, ascii=True) for name, value in said.items()}
        pairs = {OWN_ATTRIBUTE: json.dumps(list(pairs)), **pairs}
        lines += [f"{name}:={value.replace(_ESCAPE, 2 * _ESCAPE)}" for name, value in pairs.items()]
    return "\n".join(lines) + "\n\n"


def _said(keys: Mapping[str, str]) -> tuple[dict[str, Any], set[str]]:
    """Return what was said of an image when it was written, the keys that are listed as such, and which these are."""
    listed = value_of(_unescaped(keys.get(OWN_ATTRIBUTE, "")))
    names = [name for name in listed if isinstance(name, str) and name in keys] if isinstance(listed, list) else []
    return {name_of(name): value_of(_unescaped(keys[name])) for name in names}, {OWN_ATTRIBUTE, *names}


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\n])", lambda found: "\n" if found[1] == "n" else "\\", text)


def _vector(values: Sequence[float] | None) -> str:
    return "none" if values is None else "(" + ",".join(repr(float(value)) for value in values) + ")"


def _header(path: str) -> Header:
    found = head_of(path, 8)
    if not re.match(rb"^NRRD000[1-9]", found):
        raise no_such(path, _NAME, found)
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    files: list[str] = []
    with open(path, "rb") as file:
        text = io.BytesIO(file.read(_MOST_HEADER))
    text.readline()
    while line := text.readline():
        said = line.decode("utf-8", "replace").strip("\r\n")
        if not said.strip():
            break
        if said.startswith("#"):
            continue
        if "LIST" in fields.get("data file", "").split()[:1]:
            files.append(said.strip())
            continue
        name, mark, value = said.partition(":=")
        if mark and ":" not in name:
            keys[name] = value
            continue
        name, mark, value = said.partition(":")
        if not mark:
            raise FormatError(f"{path} has a line that is no field: {said[:80]!r}.", remedy="repair the header")
        name = name.strip().lower()
        note(path, fields, _ALIASES.get(name, name), value.strip())
    return Header(fields, text.tell(), files, keys)


def _layout(path: str, header: Header) -> tuple[tuple[int, ...], np.dtype]:
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in header.fields:
            raise FormatError(f"{path} has no field {name!r}.", remedy="repair the header")
    shape = checked_shape(path, header.fields["sizes"].split()[::-1])
    if len(shape) != int(header.fields["dimension"]):
        raise FormatError(
            f"{path} has the dimension {header.fields['dimension']} but {len(shape)} sizes.", remedy="repair the header"
        )
    dtype: np.dtype = known(path, "type", header.fields["type"].lower(), _DTYPES)
    order = known(path, "endian", header.fields.get("endian", "little").lower(), {"little": "<", "big": ">"})
    return shape, dtype.newbyteorder(order)


def _voxels(path: str, header: Header, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    encoding = known(path, "encoding", header.fields["encoding"].lower(), _ENCODINGS)
    place = header.fields.get("data file")
    if place is None:
        return _part(path, header, header.end, shape, dtype, encoding)
    words = place.split()
    if not words:
        raise FormatError(f"{path} names no file of voxels.", remedy="repair the header")
    if words[0] != "LIST" and (len(words) == 1 or "%" not in words[0]):
        return _part(beside(path, place), header, 0, shape, dtype, encoding)
    names = header.files
    if words[0] != "LIST":
        # as many files as positions of the slowest axis, unless the last word says how many axes one of them has
        inner = int(words[4]) if len(words) > 4 else len(shape) - 1
        names = numbered(path, words[0], words[1:4], math.prod(shape[: len(shape) - inner]))
    native = dtype.newbyteorder("=")

    def load(name: str, part: tuple[int, ...]) -> np.ndarray:
        return np.array(_part(name, header, 0, part, dtype, encoding)[...], native)

    return stacked(path, names, shape, native, load)


def _part(path: str, header: Header, start: int, shape: tuple[int, ...], dtype: np.dtype, encoding: str) -> Any:
    """Return the voxels of one file, or of the part of the header's own behind it."""
    lines, skip = int(header.fields.get("line skip", 0)), int(header.fields.get("byte skip", 0))
    if lines < 0 or skip < -1 or (skip < 0 and encoding != "raw"):
        raise FormatError(f"{path}: line skip {lines} and byte skip {skip} make no sense.", remedy="repair the header")
    if lines:
        with open(path, "rb") as file:
            file.seek(start)
            for _ in range(min(lines, os.path.getsize(path))):
                file.readline()
            start = file.tell()
    if encoding == "raw":
        needed = size_in_bytes(shape, dtype)
        return mapped(path, dtype, os.path.getsize(path) - needed if skip < 0 else start + skip, shape)
    if encoding == "gzip":
        return deflated(path, start, shape, dtype, skip)
    native = dtype.newbyteorder("=")
    if encoding == "bzip2":
        return WholeArray(path, shape, native, lambda: _unpacked(path, start, skip, shape, dtype))
    if os.path.getsize(path) - start < 2 * math.prod(shape) - 1:
        raise FormatError(f"{path} is cut off: {math.prod(shape)} voxels as text take more bytes.", remedy=AGAIN)
    return WholeArray(path, shape, native, lambda: _as_text(path, start + skip, shape, native))


def _unpacked(path: str, start: int, skip: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    needed = skip + size_in_bytes(shape, dtype)
    require_memory(path, needed)
    with reading(path, _NAME), open(path, "rb") as file:
        file.seek(start)
        with bz2.open(file) as stream:
            found = stream.read(needed)
    if len(found) < needed:
        raise FormatError(f"{path} holds {len(found)} bytes of voxels, not {needed}.", remedy=AGAIN)
    return np.frombuffer(found, dtype, offset=skip).reshape(shape)


def _as_text(path: str, start: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    with reading(path, _NAME), open(path, "rb") as file:
        file.seek(start)
        words = file.read().replace(b",", b" ").split()
        if len(words) < math.prod(shape):
            raise FormatError(f"{path} holds {len(words)} voxels, not {math.prod(shape)}.", remedy=AGAIN)
        kind = float if dtype.kind == "f" else int
        return np.array([kind(word) for word in words[: math.prod(shape)]], dtype).reshape(shape)


def _directions(header: Header, ndim: int) -> tuple[list[Any], list[float]]:
    """Return the direction of each axis, slowest first, and the origin; nothing where the header has no space."""
    said = header.fields.get("space directions")
    if said is None:
        return [None] * ndim, []
    parts = re.findall(r"\(([^)]*)\)|(none)", said)
    vectors = [None if none else [float(value) for value in inner.split(",")] for inner, none in parts]
    sizes = {len(vector) for vector in vectors if vector is not None}
    origin = [float(value) for value in header.fields.get("space origin", "").strip("() ").split(",") if value.strip()]
    if len(vectors) != ndim or len(sizes) != 1 or (origin and {len(origin)} != sizes):
        raise FormatError(
            f"The space directions {said[:80]!r} do not fit an image of {ndim} axes.", remedy="repair the header"
        )
    vectors = [None if vector is None or np.isnan(vector).any() else vector for vector in vectors]
    return vectors[::-1], origin or [0.0] * sizes.pop()


def _signs(header: Header) -> tuple[float, ...]:
    """Return what turns its world into right, anterior, superior; one without a name is left as it is."""
    found = _ANATOMIC.match(header.fields.get("space", "").lower())
    if found is None:
        return SAME
    side, front = found[1] or found[4], found[2] or found[5]
    return (-1.0 if side[0] == "l" else 1.0, -1.0 if front[0] == "p" else 1.0, 1.0)


def _axes(header: Header, ndim: int) -> tuple[Axis, ...]:
    fields = header.fields
    directions, origin = _directions(header, ndim)
    kinds = (fields.get("kinds", "").lower().split() + [""] * ndim)[:ndim][::-1]
    labels = (_quoted(fields.get("labels", "")) + [""] * ndim)[:ndim][::-1]
    names = _names(kinds, labels, [direction is not None for direction in directions] if origin else None)
    units = [unit_name(unit) for unit in _quoted(fields.get("space units", ""))]
    unit = units[0] if units and len(set(units)) == 1 else None
    if not units and _ANATOMIC.match(fields.get("space", "").lower()):
        unit = "millimeter"
    if origin:
        axes = placed(names, directions, origin, unit)
    else:
        spacings = [_number(value) for value in fields.get("spacings", "").split()]
        spacings = (spacings + [0.0] * ndim)[:ndim][::-1]
        own = (_quoted(fields.get("units", "")) + [""] * ndim)[:ndim][::-1]
        starts = ([_number(value) for value in fields.get("axis mins", "").split()] + [0.0] * ndim)[:ndim][::-1]
        axes = [
            Axis(name, kind_of(name), unit_name(what) if what else None, spacing or 1.0, start)
            for name, spacing, what, start in zip(names, spacings, own, starts, strict=True)
        ]
    for n, axis in enumerate(axes):
        words = header.keys.get(f"axis {axis.name}", "").split()
        if axis.kind != "space" and len(words) >= 2:
            what = words[2] if len(words) > 2 else None
            axes[n] = Axis(axis.name, axis.kind, what, _number(words[0]) or 1.0, _number(words[1]))
    return tuple(axes)


def _names(kinds: Sequence[str], labels: Sequence[str], spatial: Sequence[bool] | None) -> list[str]:
    """Names by the labels where these are short and differ, else by the kinds, else x, y, z from the fastest on."""
    if all(re.fullmatch(r"[A-Za-z]\w{0,15}", label) for label in labels) and len(set(labels)) == len(labels):
        return list(labels)
    found: list[str] = [""] * len(kinds)
    for n, kind in enumerate(kinds):
        if kind == "time" and "t" not in found:
            found[n] = "t"
        elif (spatial is not None and not spatial[n]) or _CHANNELS.search(kind):
            found[n] = "c" if "c" not in found else f"d{n}"
    free = iter("xyz")
    for n in reversed(range(len(found))):
        found[n] = found[n] or next(free, "") or ("t" if "t" not in found else f"d{n}")
    return found


def _quoted(text: str) -> list[str]:
    return [one or two for one, two in re.findall(r'"([^"]*)"|(\S+)', text)]


def _number(text: str) -> float:
    """Return a number, 0 for what is none or not finite."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0
