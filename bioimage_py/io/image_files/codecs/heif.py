"""HEIF pictures (.heic) of telephones and cameras, read through pi-heif; what encodes them is under the GPL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ....sources.file import Opened
from ...details import Details
from ..opening import checked_shape, one_of_several, only_image, reading
from .coded import Codec, Head

_NAME = "HEIF"
_SAMPLES = {"L": 1, "I;16": 1, "LA": 2, "LA;16": 2, "RGB": 3, "RGB;16": 3, "RGBA": 4, "RGBA;16": 4}
_SAMPLES |= {"RGBa": 4, "RGBa;16": 4}


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Any]:
    """Return the pictures under their keys."""
    return {key: open_dataset(path, key, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return "0", "1", ... for the pictures; "" where there is one."""
    only_image(path, None, "r", _NAME)
    with reading(path, _NAME):
        count = len(_file(path))
    return [str(number) for number in range(count)] if count > 1 else [""]


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a picture, upright; more than 8 bits are in the upper bits of 16, as the library gives them."""
    name = one_of_several(path, key, keys(path), "pictures")
    opened = _codec(name).open_dataset(path, None, mode, kwargs)
    return Opened(opened.array, name, opened.axes)


def details(path: str, key: str | None) -> Details:
    """Return what the head of a picture says."""
    return _codec(key or "").details(path, None)


def _codec(key: str) -> Codec:
    number = int(key or 0)
    return Codec(_NAME, "hevc", lambda path: _head(path, number), lambda path: np.array(_file(path)[number]))


def _head(path: str, number: int) -> Head:
    found = _file(path)[number]
    info = {name: value for name, value in found.info.items() if isinstance(value, int | str | float | bool)}
    width, height = found.size
    shape = checked_shape(path, (height, width))
    samples = _SAMPLES[found.mode]
    bits = int(info.get("bit_depth", 8))
    dtype = np.dtype("u2" if found.mode.endswith("16") else "u1")
    applied = {"Orientation": found.info["original_orientation"]} if found.info.get("original_orientation") else {}
    return Head(
        shape if samples == 1 else (*shape, samples), dtype, 8 * dtype.itemsize, {**info, "bits": bits}, applied
    )


def _file(path: str) -> Any:
    import pi_heif

    return pi_heif.open_heif(path, convert_hdr_to_8bit=False)
