"""HEIF pictures of cameras (.heic, .heif), read through pi-heif, a build of libheif without encoders."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..opening import no_such
from .coded import Codec, Head

_NAME = "HEIF"
_SAMPLES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Any]:
    """Return the picture under the key ""."""
    return {"": open_dataset(path, None, mode, kwargs).array}


def _opened(path: str) -> Any:
    import pi_heif

    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp":
        raise no_such(path, _NAME, head)
    return pi_heif.open_heif(path, convert_hdr_to_8bit=False)


def _head(path: str) -> Head:
    picture = _opened(path)
    width, height = picture.size
    mode, _, deep = picture.mode.partition(";")
    samples = 1 if mode == "I" else _SAMPLES[mode.replace("a", "A")]
    bits = int(picture.info["bit_depth"])
    shape = (height, width) if samples == 1 else (height, width, samples)
    raw = {"mode": picture.mode, "chroma": picture.info.get("chroma"), "images": len(picture)}
    return Head(shape, np.dtype("u2" if deep else "u1"), bits, raw, {})


def _decode(path: str) -> np.ndarray:
    picture = _opened(path)
    found = np.array(picture)  # what the library gives is gone with the picture
    # the library moves the bits of a sample to the upper end of the 16
    return found >> (16 - int(picture.info["bit_depth"])) if found.dtype == np.uint16 else found


_CODEC = Codec(_NAME, "hevc", _head, _decode)
open_dataset, details = _CODEC.open_dataset, _CODEC.details
