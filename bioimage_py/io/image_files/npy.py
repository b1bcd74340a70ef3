"""Arrays of numpy (.npy, .npz): mapped where numpy stored them as they are; nothing is ever unpickled."""

from __future__ import annotations

import itertools
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from ...errors import DtypeError, FormatError, ShapeError
from ...sources.file import Opened
from ..details import Details, Image
from ..written.said import document_of, kept_metadata, lost_metadata, told_in, with_own
from .opening import (
    AGAIN,
    BY_REGION,
    checked_shape,
    head_of,
    no_such,
    one_of_several,
    only_image,
    reading,
    require_bytes,
    size_in_bytes,
)
from .voxels import ConvertedArray, WholeArray
from .writing import OrderedImage, chosen, lost_of, stored

_NAME = "numpy"
_KINDS = "biufc"
_SAID = ".json"
_MOST_READ = 1 << 24
_MOST_PACKED = 1040
_LOCAL = struct.Struct("<4s22xHH")
"""Head of a member of an archive: its signature, and how long its name and further fields are."""


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the arrays under their names; that of a .npy file under ""."""
    return {name: open_dataset(path, name or None, mode, {}).array for name in keys(path)}


def keys(path: str) -> list[str]:
    """Return the names of the arrays; one "" of a .npy file."""
    if not zipfile.is_zipfile(path):
        return [""]
    with reading(path, _NAME), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if not names:
        raise FormatError(f"{path} is an archive without arrays of numpy.", remedy="np.savez(path, name=array)")
    return names


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open an array; numpy says nothing of its axes."""
    archived = zipfile.is_zipfile(path)
    only_image(path, None if archived else key, mode, _NAME, kwargs)
    if archived:
        name = one_of_several(path, key, keys(path), "arrays")
        with reading(path, _NAME):
            return Opened(_member(path, name), name)
    with reading(path, _NAME):
        found = head_of(path, len(npy.MAGIC_PREFIX))
        if found != npy.MAGIC_PREFIX:
            raise no_such(path, _NAME, found)
        with open(path, "rb") as file:
            shape, fortran, dtype = _layout(path, file)
            start = file.tell()
        return Opened(_mapped(path, start, shape, fortran, dtype))


def details(path: str, key: str | None) -> Details:
    """Return nothing but how the array is stored."""
    if not zipfile.is_zipfile(path):
        only_image(path, key, "r", _NAME)
        return Details()
    name = one_of_several(path, key or keys(path)[0], keys(path), "arrays")
    with reading(path, _NAME), zipfile.ZipFile(path) as archive:
        packed = archive.getinfo(f"{name}.npy").compress_type != zipfile.ZIP_STORED
        said = _told(archive, name)
    return Details(raw=with_own({"name": name}, said), compression="deflate" if packed else None)


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write an array as .npy, or several by their names as .npz (`compression`: "deflate" or "raw")."""
    packed = chosen(options, "compression", ("raw", "deflate")) == "deflate"
    if not path.lower().endswith(".npz"):
        if len(images) != 1:
            raise ShapeError(f"A .npy file holds one array, not {len(images)}.", remedy="write them to a .npz file")
        with open(path, "wb") as file:
            _write(file, _ordered(images[0]))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
            for number, image in enumerate(images):
                _write_member(archive, image.name or f"arr_{number}", image)
    return _lost(images, path.endswith(".npz"))


def _lost(images: Sequence[Image], named: bool) -> tuple[str, ...]:
    kept = ("name", "metadata") if named else ()
    lost = [what for image in images for what in lost_of(image, *kept)]
    lost += [what for image in images if named for what in lost_metadata(image, _kept(image))]
    if any((axis.unit, axis.scale, axis.offset) != (None, 1, 0) for image in images for axis in image.axes):
        lost.insert(0, "scale")
    return tuple(dict.fromkeys(lost))


def add(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Add arrays to an archive, which is changed; None for a file that holds one array only."""
    if not path.lower().endswith(".npz") or not zipfile.is_zipfile(path):
        return None
    packed = chosen(options, "compression", ("raw", "deflate")) == "deflate"
    names = set(keys(path))
    free = (name for number in itertools.count(len(names)) if (name := f"arr_{number}") not in names)
    if any(image.name in names for image in images):
        return None
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for image in images:
            _write_member(archive, image.name or next(free), image)
    return _lost(images, True)


def _kept(image: Image) -> dict[str, Any]:
    return kept_metadata(image, taken=("name",))


def _write_member(archive: zipfile.ZipFile, name: str, image: Image) -> None:
    """Write an array, and what is said of it beside it: numpy gives it as the bytes of another member."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        _write(member, _ordered(image))
    if said := _kept(image):
        archive.writestr(f"{name}{_SAID}", document_of(said))


def _told(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    if f"{name}{_SAID}" not in archive.namelist():
        return {}
    damaged = suppress(zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError)
    with damaged, archive.open(f"{name}{_SAID}") as file:
        return told_in(file.read(_MOST_READ))
    return {}


def _ordered(image: Image) -> OrderedImage:
    dtype = np.dtype(image.array.dtype)
    if dtype.kind not in _KINDS:
        raise DtypeError(f"{dtype} would have to be pickled.", remedy="convert it to numbers")
    return OrderedImage(image, [axis.name for axis in image.axes], _NAME, (dtype.newbyteorder("=").name,))


def _write(file: Any, ordered: OrderedImage) -> None:
    said = {
        "descr": npy.dtype_to_descr(ordered.dtype.newbyteorder("<")),
        "fortran_order": False,
        "shape": ordered.shape,
    }
    npy.write_array_header_1_0(file, said)
    for _, piece in ordered.pieces():
        file.write(stored(piece))


def _layout(path: str, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the head of an array; numpy's own limit keeps it short."""
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise FormatError(f"{path} is of version {version} of the format.", remedy="np.save(path, array) it again")
    shape, fortran, dtype = read(file)
    if dtype.kind not in _KINDS:
        raise DtypeError(
            f"{path} holds {dtype}, no numbers; what is pickled is never read.",
            remedy="open it where it comes from, and np.save(path, array) an array of numbers",
        )
    return checked_shape(path, shape), bool(fortran), dtype


def _mapped(path: str, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype) -> Any:
    require_bytes(path, start, shape, dtype)
    array: np.ndarray = np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    native = dtype.newbyteorder("=")
    return array if dtype.isnative else ConvertedArray(path, array, native, lambda region: region.astype(native))


def _member(path: str, name: str) -> Any:
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as file:
            shape, fortran, dtype = _layout(path, file)  # type: ignore[arg-type]
            head = file.tell()
        needed = size_in_bytes(shape, dtype)
        if head + needed > info.file_size:
            raise FormatError(
                f"{path}: the array {name!r} {shape} {dtype} has {needed} bytes, its file {info.file_size}.",
                remedy=AGAIN,
            )
        if info.compress_type == zipfile.ZIP_STORED:
            with open(path, "rb") as whole:
                whole.seek(info.header_offset)
                signature, name_size, extra = _LOCAL.unpack(whole.read(_LOCAL.size))
            if signature != b"PK\3\4":
                raise FormatError(f"{path} is damaged: {name!r} does not begin where it should.", remedy=AGAIN)
            start = info.header_offset + _LOCAL.size + name_size + extra + head
            return _mapped(path, start, shape, fortran, dtype)
    if info.compress_type == zipfile.ZIP_DEFLATED and needed > info.compress_size * _MOST_PACKED:
        raise FormatError(
            f"{path}: {info.compress_size} compressed bytes cannot hold the array {name!r} {shape} {dtype}.",
            remedy=BY_REGION,
        )
    native = dtype.newbyteorder("=")

    def load() -> np.ndarray:
        with reading(path, _NAME), zipfile.ZipFile(path) as archive, archive.open(info) as file:
            file.read(head)
            whole = np.empty(needed, np.uint8)
            done = 0
            while done < needed:
                found = file.read(min(1 << 24, needed - done))
                if not found:
                    raise FormatError(f"{path} is cut off within the array {name!r}.", remedy=AGAIN)
                whole[done : done + len(found)] = np.frombuffer(found, np.uint8)
                done += len(found)
            file.read(1)  # at the end the checksum is compared
        return whole.view(dtype).reshape(shape, order="F" if fortran else "C").astype(native, copy=False)

    return WholeArray(path, shape, native, load)
