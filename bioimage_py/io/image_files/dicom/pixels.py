"""Whether a DICOM file has the pixels that its header announces, looked at before any is decoded."""

from __future__ import annotations

import math
import os
import warnings
from struct import unpack
from typing import Any, BinaryIO

from ....errors import FormatError
from ..opening import AGAIN, checked_shape

DEFLATED = "1.2.840.10008.1.2.1.99"
DENSEST = 1040
"""Bytes that a deflated one becomes at most."""
_RLE = "1.2.840.10008.1.2.5"
_MOST_RATIO = {DEFLATED: DENSEST, _RLE: 64}
_OTHER_RATIO = 20000
"""Bytes of pixels for each of a file: what the best codecs make of nothing but zeros."""
_FILM = "1.2.840.10008.1.2.4.10"
"""Begins the names of codecs for film, of which a piece holds many frames."""
_MOST_FRAMES = 10**6
_PIXELS = (0x0008, 0x0009, 0x0010)
"""Elements of the group 7FE0 that hold pixels: float, double, and whole numbers."""
_ITEM = b"\xfe\xff\x00\xe0"


def require_pixels(path: str, header: Any, file: BinaryIO) -> None:
    """Raise where rows, columns and frames promise more than a file holds; warn where they promise less.

    Parameters
    ----------
    path : str
        For messages.
    header : pydicom.Dataset
        All that comes before the pixels.
    file : binary file
        Stands where they begin.

    Raises
    ------
    FormatError
        Names what is announced, and what there is.
    """
    frames = int(header.get("NumberOfFrames") or 1)
    samples, bits = int(header.get("SamplesPerPixel", 1)), int(header.BitsAllocated)
    shape = checked_shape(path, (frames, header.Rows, header.Columns, samples))
    if frames > _MOST_FRAMES or bits < 1:
        raise FormatError(f"{path} announces {frames} frames of {bits} bits a value.", remedy=AGAIN)
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        return
    needed = math.ceil(math.prod(shape) * bits / 8)
    size = os.path.getsize(path)
    packed = syntax in _MOST_RATIO or syntax.is_compressed
    if packed:
        there = _MOST_RATIO.get(syntax, _OTHER_RATIO) * size
    else:
        if str(header.get("PhotometricInterpretation", "")).endswith("_422"):  # two values a pixel, for three
            needed = needed * 2 // 3
        there = _length(path, syntax, file, size)
    if needed > there:
        raise FormatError(
            f"{path} is cut off, or its header is damaged: its pixels {shape} of {bits} bits take {needed} bytes, and a"
            f" file of {size} bytes has at most {there} of them.",
            remedy=AGAIN,
        )
    if not packed and there - needed > needed // (frames * shape[1]):  # of more than a row: some pad them
        warnings.warn(
            f"{path} has {there - needed} bytes of pixels more than its header announces, {shape}.", stacklevel=2
        )
    if syntax.is_encapsulated and not syntax.startswith(_FILM) and (found := _pieces(file, frames)) < frames:
        raise FormatError(f"{path} announces {frames} frames, and has {found}.", remedy=AGAIN)


def _length(path: str, syntax: Any, file: BinaryIO, size: int) -> int:
    """How many bytes of pixels there are, of those that are not packed."""
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(12)
    if len(head) < 8 or unpack(f"{order}HH", head[:4]) not in {(0x7FE0, element) for element in _PIXELS}:
        raise FormatError(f"{path} has the header of an image, and no pixels.", remedy=AGAIN)
    implicit = syntax.is_implicit_VR
    said: int = unpack(f"{order}I", head[4:8] if implicit else head[8:].ljust(4, b"\0"))[0]
    return min(said, size - file.tell() + (4 if implicit else 0))


def _pieces(file: BinaryIO, wanted: int) -> int:
    """How many pieces of packed pixels there are, up to as many as wanted: a frame has one or more."""
    head = file.read(12)
    if head[4:6] != b"OB" and head[4:6] != b"OW":  # without the name of its type it is shorter
        file.seek(-4, os.SEEK_CUR)
    found = -1  # the first piece says where the others are
    while found < wanted and (item := file.read(8))[:4] == _ITEM and len(item) == 8:
        found += 1
        file.seek(unpack("<I", item[4:])[0], os.SEEK_CUR)
    return found
