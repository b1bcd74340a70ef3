"""MRC and CCP4 files (.mrc, .map, .rec, .st) of electron microscopy: mapped, written through mrcfile."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...sources.axes import Axis
from ...sources.chunked.conventions import OWN_ATTRIBUTE
from ...sources.file import Opened
from ..details import Details, Image
from ..written.said import kept_metadata, lost_metadata, name_of, name_text, text_of, value_of, with_own
from .opening import checked_shape, head_of, known, no_such, only_image, pixel_sizes, reading
from .voxels import mapped
from .writing import OrderedImage, factor, lost_of, single

_NAME = "MRC"
_HEADER = 1024
_IMOD = 1146047817
_MODES = {
    0: np.dtype(np.int8),
    1: np.dtype(np.int16),
    2: np.dtype(np.float32),
    4: np.dtype(np.complex64),
    6: np.dtype(np.uint16),
    12: np.dtype(np.float16),
}
_KINDS = ("int8", "int16", "uint16", "float16", "float32", "complex64")
_LABEL, _LABELS = 80, 8
"""Letters of a label, and how many labels are free: the library writes one, and one tells of the others."""
_MARK, _IS, _NO_NAME = f"{OWN_ATTRIBUTE} metadata: ", " = ", "=|[^ -~]"
_TAKEN: tuple[str, ...] = (
    "nx",
    "ny",
    "nz",
    "mode",
    "nxstart",
    "nystart",
    "nzstart",
    "mx",
    "my",
    "mz",
    "cella",
    "cellb",
    "mapc",
    "mapr",
)
_TAKEN += ("maps", "dmin", "dmax", "dmean", "ispg", "nsymbt", "exttyp", "nversion", "origin", "map", "machst", "rms")
_TAKEN += ("nlabl", "labels")
_LEADING = ("t", "c", "n", "d0")


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the image under the key ""."""
    return {"": open_dataset(path, None, mode, {}).array}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the image as it lies in the file: ``(z, y, x)``, ``(y, x)``, or ``(n, z, y, x)`` of a stack of volumes."""
    only_image(path, key, mode, _NAME, kwargs)
    header = _header(path)
    shape, dtype = _layout(path, header)
    return Opened(mapped(path, dtype, _HEADER + int(header["nsymbt"]), shape), "", _axes(path, header, len(shape)))


def details(path: str, key: str | None) -> Details:
    """Return the fields of the header, its labels, and of an FEI extended header the first record."""
    only_image(path, key, "r", _NAME)
    header = _header(path)
    shape, dtype = _layout(path, header)
    raw = {name: _plain(header[name]) for name in header.dtype.names if name not in ("extra1", "extra2", "label")}
    raw["labels"] = [_plain(label) for label in header["label"][: max(0, int(header["nlabl"]))]]
    said = _told(raw["labels"])
    raw |= {f"{kind} {name}": value for kind, name, value in _extended(path, header)}
    axes = _axes(path, header, len(shape))
    applied = {"mode 0": "unsigned"} if dtype == np.uint8 else {}
    return Details(raw=with_own(raw, said), applied=applied, standard={"pixel_sizes": pixel_sizes(axes)})


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write an image, voxels of any length unit in angstrom; a fourth axis makes a stack of volumes.

    Metadata are labels, of which a file has ten of 80 letters: what does not fit is not kept.
    """
    import mrcfile

    image = single(images, _NAME)
    ordered = OrderedImage(image, (*_LEADING, "z", "y", "x"), _NAME, _KINDS)
    names = [axis.name for axis in ordered.axes]
    leading = [name for name in names if name in _LEADING]
    if names[-2:] != ["y", "x"] or len(leading) > 1 or (leading and "z" not in names):
        raise ShapeError(
            f"MRC files have the axes y x, z y x or n z y x, not {' '.join(names)}.",
            remedy='pass axes="zyx" if these are meant, write a file for each, or write to .ome.zarr',
        )
    mode = next(number for number, dtype in _MODES.items() if dtype == ordered.dtype)
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    with mrcfile.new_mmap(path, ordered.shape, mode, overwrite=True) as file:
        for roi, piece in ordered.pieces():
            file.data[roi] = piece
            if piece.dtype.kind != "c":
                low, high = min(low, float(piece.min())), max(high, float(piece.max()))
                total += float(piece.sum(dtype=np.float64))
                squares += float(np.square(piece, dtype=np.float64).sum())
        if "z" in names and not leading:  # of four axes the library makes a stack of volumes by itself
            file.set_volume()
        sizes = {axis.name: factor(axis.unit, "angstrom") for axis in ordered.axes}
        spatial = {axis.name: axis for axis in ordered.axes if axis.name in "xyz"}
        file.voxel_size = tuple(spatial[n].scale * (sizes[n] or 0) if n in spatial else 0.0 for n in "xyz")
        for name, axis in spatial.items():
            file.header.origin[name] = axis.offset * (sizes[name] or 0)
        if np.isfinite([low, high]).all() and high >= low:
            mean = total / np.prod(ordered.shape, dtype=float)
            file.header.dmin, file.header.dmax, file.header.dmean = low, high, mean
            file.header.rms = max(0.0, squares / np.prod(ordered.shape, dtype=float) - mean**2) ** 0.5
        else:
            file.header.dmin, file.header.dmax, file.header.dmean, file.header.rms = 0, -1, -2, -1  # not known
        said = _labels(image)
        for label in said.values():
            file.add_label(label)
    lost = [f"scale of {n}" for n, axis in spatial.items() if sizes[n] is None and (axis.scale, axis.unit) != (1, None)]
    lost += [f"offset of {n}" for n, axis in spatial.items() if sizes[n] is None and axis.offset]
    if leading and leading != ["n"]:
        lost.append(f"axis {leading[0]}")
    return (*lost, *lost_of(image, "metadata"), *lost_metadata(image, said))


def _labels(image: Image) -> dict[str, str]:
    """Return the labels that hold metadata, by their names; the first one tells how many follow it."""
    found: dict[str, str] = {}
    for name, value in kept_metadata(image, taken=_TAKEN).items():
        label = f"{name_text(name, _NO_NAME)}{_IS}{text_of(value, ascii=True)}"
        if len(label) <= _LABEL and len(found) < _LABELS:
            found[name] = label
    return {OWN_ATTRIBUTE: f"{_MARK}{len(found)}", **found} if found else {}


def _told(labels: list[str]) -> dict[str, Any]:
    """Return the metadata among labels, which are taken out."""
    at = next((n for n, label in enumerate(labels) if re.fullmatch(_MARK + "[1-8]", label)), None)
    if at is None:
        return {}
    own = labels[at + 1 : at + 1 + int(labels[at][-1])]
    del labels[at : at + 1 + len(own)]
    pairs = [label.partition(_IS) for label in own]
    return {name_of(name): value_of(value) for name, mark, value in pairs if mark}


def _header(path: str) -> Any:
    """Return the header as a record, in the byte order of the file."""
    with reading(path, _NAME):
        found = head_of(path, _HEADER)
        from mrcfile.dtypes import HEADER_DTYPE
        from mrcfile.utils import byte_order_from_machine_stamp
    if len(found) < _HEADER or found[208:211] != b"MAP":
        raise no_such(path, _NAME, found)
    stamp = bytearray(found[212:216])
    try:
        order = byte_order_from_machine_stamp(stamp)
    except ValueError:
        # programs that never learned to stamp: a mode is a small number in one order only
        order = "<" if int.from_bytes(found[12:16], "little") < 1 << 16 else ">"
    header = np.frombuffer(found, HEADER_DTYPE.newbyteorder(order))[0]
    end = os.path.getsize(path)
    if not 0 <= int(header["nsymbt"]) <= end - _HEADER:
        raise no_such(path, f"{_NAME} (extended header of {header['nsymbt']} bytes in a file of {end})", found)
    return header


def _layout(path: str, header: Any) -> tuple[tuple[int, ...], np.dtype]:
    dtype: np.dtype = known(path, "mode", int(header["mode"]), _MODES)
    extra = bytes(header["extra2"])
    order = header.dtype["mode"].byteorder
    stamp, flags = np.frombuffer(extra[40:48], np.dtype("i4").newbyteorder(order))
    if dtype == np.int8 and stamp == _IMOD and not flags & 1:
        dtype = np.dtype(np.uint8)  # IMOD's bytes are unsigned unless it says otherwise
    nx, ny, nz, mz, group = (int(header[name]) for name in ("nx", "ny", "nz", "mz", "ispg"))
    sizes = [nz, ny, nx]
    if 401 <= group <= 630:
        if mz < 1 or nz % mz:
            raise no_such(path, f"{_NAME} (volumes of {mz} planes, {nz} in all)", b"MAP")
        sizes = [nz // mz, mz, ny, nx]
    elif group == 0 and nz == 1:
        sizes = [ny, nx]
    return checked_shape(path, sizes), dtype.newbyteorder(order)


def _axes(path: str, header: Any, ndim: int) -> tuple[Axis, ...]:
    stored = [int(header[name]) for name in ("mapc", "mapr", "maps")]
    if sorted(stored) != [1, 2, 3]:
        if stored != [0, 0, 0]:
            warnings.warn(f"{path} says that its axes are {stored}, which cannot be; taken as x, y, z.", stacklevel=2)
        stored = [1, 2, 3]
    found = []
    for number in stored:
        name = "xyz"[number - 1]
        length, steps = float(header["cella"][name]), int(header[f"m{name}"])
        scale = length / steps if steps > 0 and np.isfinite(length) and length > 0 else 0.0
        start = float(header["origin"][name]) or int(header[f"n{name}start"]) * scale
        start = start if np.isfinite(start) else 0.0
        found.append(Axis(name, "space", "angstrom", scale, start) if scale else Axis(name))
    lead = (Axis("n", "other"),) if ndim == 4 else ()
    return (*lead, *reversed(found[: min(ndim, 3)]))


def _extended(path: str, header: Any) -> list[tuple[str, str, Any]]:
    """Return the fields of the first record of an extended header that the library knows."""
    from mrcfile.dtypes import get_ext_header_dtype

    kind = bytes(header["exttyp"])
    order = "<" if header.dtype["mode"].byteorder == "<" else ">" if header.dtype["mode"].byteorder == ">" else "="
    dtype = get_ext_header_dtype(kind, order)
    if dtype is None or int(header["nsymbt"]) < dtype.itemsize:
        return []
    record = np.frombuffer(head_of(path, _HEADER + dtype.itemsize)[_HEADER:], dtype)[0]
    return [(kind.decode("ascii", "replace"), name, _plain(record[name])) for name in dtype.names]


def _plain(value: Any) -> Any:
    """Return a value of a record as one of JSON."""
    if isinstance(value, np.void) and value.dtype.names:
        return {name: _plain(value[name]) for name in value.dtype.names}
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ").decode("latin-1")
    return value.tolist() if hasattr(value, "tolist") else value
