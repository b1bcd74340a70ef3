"""OBF and MSR files of Imspector: a stack after the other, mapped where raw, decoded as a whole where deflated."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ....errors import FormatError
from ....sources.axes import Axis, kind_of
from ....sources.file import Opened
from ...details import Details
from ..opening import AGAIN, checked_shape, head_of, known, no_such, one_of_several, only_image, pixel_sizes, reading
from ..voxels import inflated, mapped

_NAME = "OBF"
_MAGIC = b"OMAS_BF\n\xff\xff"
_STACK_MAGIC = b"OMAS_BF_STACK\n\xff\xff"
_DIMENSIONS = 15
_FILE = struct.Struct("<10sLQL")
_STACK = struct.Struct(f"<16sLL{_DIMENSIONS}L{_DIMENSIONS}d{_DIMENSIONS}dLLLLLQQQ")
_FOOTER = struct.Struct(f"<L{_DIMENSIONS}L{_DIMENSIONS}LL")
_UNIT = struct.Struct("<18ld")
_CHUNKS = struct.Struct("<QQQQLQQQ")
_MOST_STACKS = 10_000
_MOST_TEXT = 1 << 20
_COMPLEX = 0x40000000
_TYPES: dict[int, tuple[str, int]] = {
    0x1: ("<u1", 1),
    0x2: ("<i1", 1),
    0x4: ("<u2", 1),
    0x8: ("<i2", 1),
    0x10: ("<u4", 1),
    0x20: ("<i4", 1),
    0x40: ("<f4", 1),
    0x80: ("<f8", 1),
    0x400: ("<u1", 3),
    0x800: ("<u1", 4),
    0x1000: ("<u8", 1),
    0x2000: ("<i8", 1),
    0x10000: ("?", 1),
    0x40 | _COMPLEX: ("<c8", 1),
    0x80 | _COMPLEX: ("<c16", 1),
}


@dataclass(frozen=True)
class Stack:
    """One stack, as its header and footer describe it; all sequences slowest axis first.

    Parameters
    ----------
    name, description : str
        Of the stack.
    shape : tuple of int
        Sizes, those of 1 left out; samples of a voxel last.
    dtype : numpy.dtype
        Stored data type.
    packed : bool
        Whether the voxels are deflated.
    start, length : int
        Where they lie in the file.
    axes : tuple of Axis
        What is said of the axes.
    """

    name: str
    description: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    packed: bool
    start: int
    length: int
    axes: tuple[Axis, ...]


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the images under their keys."""
    return {key: open_dataset(path, key, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return "0", "1", ... for the stacks; "" where there is one."""
    return list(_stacks(path))


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a stack; axes of length 1 are left out."""
    only_image(path, None, mode, _NAME, kwargs)
    found = _stacks(path)
    name = one_of_several(path, key, list(found), "stacks")
    stack = found[name]
    if stack.packed:
        return Opened(inflated(path, stack.start, stack.shape, stack.dtype), name, stack.axes)
    if int(np.prod(stack.shape, dtype=object)) * stack.dtype.itemsize > stack.length:
        raise FormatError(
            f"{path}: the stack {stack.name!r} {stack.shape} {stack.dtype} was not written to its end: it has"
            f" {stack.length} bytes.",
            remedy="look at it with another program",
        )
    return Opened(mapped(path, stack.dtype, stack.start, stack.shape), name, stack.axes)


def details(path: str, key: str | None) -> Details:
    """Return name and description of a stack."""
    only_image(path, None, "r", _NAME)
    found = _stacks(path)
    stack = found[one_of_several(path, key or next(iter(found)), list(found), "stacks")]
    step = next((axis.scale for axis in stack.axes if axis.kind == "time" and axis.unit), None)
    return Details(
        raw={"name": stack.name, "description": stack.description},
        standard={"image": {"name": stack.name}, "pixel_sizes": pixel_sizes(stack.axes)},
        time_step=step,
        compression="zlib" if stack.packed else None,
        is_rgb=len(stack.shape) > len([axis for axis in stack.axes if axis.name != "s"]) and stack.shape[-1] == 3,
    )


def _stacks(path: str) -> dict[str, Stack]:
    found = head_of(path, _FILE.size)
    if len(found) < _FILE.size or not found.startswith(_MAGIC):
        raise no_such(path, _NAME, found)
    *_, place, _ = _FILE.unpack(found)
    stacks: list[Stack] = []
    seen: set[int] = set()
    with reading(path, _NAME), open(path, "rb") as file:
        while place:
            if place in seen or len(seen) >= _MOST_STACKS:
                raise FormatError(f"{path} lists its stacks in a circle, or more than {_MOST_STACKS}.", remedy=AGAIN)
            seen.add(place)
            stack, place = _stack(path, file, place)
            stacks.append(stack)
    if not stacks:
        raise FormatError(f"{path} holds no stacks.", remedy="look at it with another program")
    return {"": stacks[0]} if len(stacks) == 1 else {str(number): stack for number, stack in enumerate(stacks)}


def _stack(path: str, file: BinaryIO, place: int) -> tuple[Stack, int]:
    size = os.path.getsize(path)
    if place >= size:
        raise FormatError(f"{path} is cut off: a stack begins at byte {place} of {size}.", remedy=AGAIN)
    file.seek(place)
    magic, version, rank, *values = _STACK.unpack(file.read(_STACK.size))
    if magic != _STACK_MAGIC or not 0 < rank <= _DIMENSIONS:
        raise FormatError(f"{path} has no stack at byte {place}.", remedy=AGAIN)
    sizes, lengths, offsets = (values[n * _DIMENSIONS : n * _DIMENSIONS + rank] for n in range(3))
    kind, codec, _, name_size, text_size, _, length, following = values[3 * _DIMENSIONS :]
    letters, samples = known(path, "data type", kind, _TYPES)
    known(path, "compression", codec, {0: None, 1: "zlib"})
    if name_size + text_size > size:
        raise FormatError(f"{path} has a name of {name_size} bytes.", remedy=AGAIN)
    name, description = (file.read(count).decode("utf-8", "replace") for count in (name_size, text_size))
    start = file.tell()
    if start + length > size:
        raise FormatError(
            f"{path} is cut off: the voxels of {name!r} lie from byte {start} to {start + length} of {size}.",
            remedy=AGAIN,
        )
    full = checked_shape(path, sizes)
    labels, units = _footer(path, file, start + length, version, rank)
    kept = [n for n in reversed(range(rank)) if full[n] > 1] or [0]
    names = _names([labels[n] for n in range(rank)])
    axes = [_axis(names[n], lengths[n] / full[n], offsets[n], units[n]) for n in kept]
    shape = [full[n] for n in kept]
    if samples > 1:
        shape.append(samples)
        axes.append(Axis("s", "channel"))
    shown = description[:_MOST_TEXT]
    return Stack(name, shown, tuple(shape), np.dtype(letters), codec == 1, start, length, tuple(axes)), following


_Unit = tuple[str, float] | None


def _footer(path: str, file: BinaryIO, place: int, version: int, rank: int) -> tuple[list[str], list[_Unit]]:
    """Return labels and units of the axes, fastest first; nothing of those that are not said."""
    labels, units = [""] * rank, list[_Unit]([None] * rank)
    if version < 1:
        return labels, units
    try:
        file.seek(place)
        count, *_ = _FOOTER.unpack(file.read(_FOOTER.size))
        if version >= 2:
            file.seek(_UNIT.size, os.SEEK_CUR)  # of the values
            units = [_unit(_UNIT.unpack(file.read(_UNIT.size))) for _ in range(rank)]
            file.seek((_DIMENSIONS - rank) * _UNIT.size, os.SEEK_CUR)
        chunks = _CHUNKS.unpack(file.read(_CHUNKS.size))[-1] if version >= 6 else 0
        file.seek(place + count)
        for n in range(rank):
            (length,) = struct.unpack("<L", file.read(4))
            labels[n] = file.read(min(length, _MOST_TEXT)).decode("utf-8", "replace")
    except struct.error:
        warnings.warn(f"{path} has a stack with a damaged footer: it is read without units.", stacklevel=2)
        return labels, units
    if chunks:
        raise FormatError(f"{path} has a stack in {chunks} chunks, which is not read.", remedy="export it as OME-TIFF")
    return labels, units


def _unit(values: tuple[Any, ...]) -> _Unit:
    """Return metres or seconds and their factor, of exponents of the SI units as fractions."""
    powers = [top / bottom if bottom else 0.0 for top, bottom in zip(values[:18:2], values[1:18:2], strict=True)]
    scale = float(values[18])
    if not np.isfinite(scale) or scale <= 0:
        return None
    meters, _, seconds, *_ = powers
    if meters == 1 and sum(map(abs, powers)) == 1:
        return "micrometer", scale * 1e6
    return ("second", scale) if seconds == 1 and sum(map(abs, powers)) == 1 else None


def _names(labels: list[str]) -> list[str]:
    """Names by the last letter of labels such as "ExpControl X"; else x, y, z, t from the fastest on."""
    found = []
    for label in labels:
        match = re.search(r"(?:^|[^A-Za-z])([XYZTxyzt])$", label.strip())
        found.append(match[1].lower() if match else "")
    if len(set(filter(None, found))) < len([name for name in found if name]):
        found = [""] * len(labels)
    free = (name for name in "xyzt" if name not in found)
    return [name or next(free, f"d{n}") for n, name in enumerate(found)]


def _axis(name: str, step: float, offset: float, unit: _Unit) -> Axis:
    if unit is None or not np.isfinite([step, offset]).all() or step <= 0:
        return Axis(name, kind_of(name))
    kind = "space" if unit[0] == "micrometer" else "time"
    # the offset is that of the edge of the first voxel
    return Axis(name, kind, unit[0], step * unit[1], (offset + step / 2) * unit[1])
