"""Pictures: PNG (also animated), JPEG, BMP, WebP, GIF and AVIF through Pillow; PNG of 16 bits through imagecodecs."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ...errors import (
    FormatError,
    KeyNotFoundError,
    MemoryBudgetError,
    ParameterError,
    ReadOnlyError,
    StorageError,
)
from ...extras import need
from ...sources.axes import Axis, kind_of
from ...sources.chunked.conventions import OWN_ATTRIBUTE
from ...sources.file import Opened
from ...sources.indexing import normalize_index
from ..details import Details
from ..formats import keep_local
from ..written.said import told_in, with_own
from .checked import png

T = TypeVar("T")
_ORIENTATION = 0x0112
SAMPLES_TAG = 0x0115
"""EXIF tag that tells a grey picture of a format which has colours only (WebP)."""
_TURNS = {1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,))}
_TURNS |= {5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,))}
"""By EXIF orientation: whether y and x change places, and which of them are then reversed."""
FORMATS = {"png": "PNG", "jpeg": "JPEG", "bmp": "BMP", "webp": "WEBP", "gif": "GIF", "avif": "AVIF"}
_COLOURS = {"L": 0, "1": 0, "I": 0, "I;16": 0, "I;16B": 0, "F": 0, "RGB": 3, "RGBA": 4}
"""Modes of Pillow that are kept as they are, and the length of their axis of colour."""
_TYPES = {"1": "?", "I": "<i4", "I;16": "<u2", "I;16B": "<u2", "F": "<f4"}
_TOO_LARGE = "MAX_TEXT_"
"""What the library says of texts of a PNG that are larger than it takes."""
_BINARY = ("exif", "icc_profile", "photoshop")
_SPANNED = {2: 3, 4: 3, 6: 4}
"""Samples of a PNG by its colour type, of those that 16 bits can have."""


@dataclass(frozen=True)
class Header:
    """What the head of a picture says of the array that reading gives.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    axes : tuple of Axis
    mode : str
        Of Pillow, that the picture is converted to.
    deep : bool
        Whether it is a PNG of 16 bits in colour, which Pillow would reduce to 8.
    details : Details
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[Axis, ...]
    mode: str
    deep: bool
    details: Details


class Picture:
    """A picture as an array that is decoded when the first voxels are asked for.

    Parameters
    ----------
    header : Header
    decode : callable
        Returns all of it.
    """

    thread_safe = True

    def __init__(self, header: Header, decode: Callable[[], np.ndarray]) -> None:
        self.shape, self.dtype = header.shape, header.dtype
        self.chunks = header.shape
        self._decode = decode
        self._lock = threading.Lock()
        self._array: np.ndarray | None = None

    def __getitem__(self, index: Any) -> np.ndarray:
        selection = normalize_index(index, self.shape)
        with self._lock:
            if self._array is None:
                self._array = self._decode()
        return selection.pick(self._array[selection.roi].copy())


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Picture]:
    """Return the picture under the key ""."""
    return {"": _picture(path, mode)[0]}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the picture; frames of an animation are the axis t."""
    if key:
        raise KeyNotFoundError(f"{path} is one picture and has no key {key!r}.", remedy=f"open_source({path!r})")
    if kwargs:
        raise ParameterError(f"Pictures take no {', '.join(kwargs)}.", remedy="leave it out")
    picture, header = _picture(path, mode)
    return Opened(picture, "", header.axes)


def details(path: str, key: str | None) -> Details:
    """Return what a picture says of itself."""
    keep_local(path, "picture")
    return header_of(path).details


def _picture(path: str, mode: str) -> tuple[Picture, Header]:
    keep_local(path, "picture")
    if mode != "r":
        raise ReadOnlyError(f"{path}: pictures are read, or written as a whole.", remedy="imwrite(path, array)")
    header = header_of(path)
    return Picture(header, lambda: decoded(path, header)), header


def _open(path: str) -> Any:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        return Pillow.open(path, formats=tuple(FORMATS.values()))
    except Pillow.DecompressionBombError as error:
        raise MemoryBudgetError(f"{path} claims a picture too large: {error}", remedy="convert it to tif") from error
    except UnidentifiedImageError as error:
        raise FormatError(f"{path} is no picture, or a damaged one.", remedy="copy the file again") from error
    except FileNotFoundError:
        raise
    except Exception as error:  # the library raises whatever it runs into
        if _TOO_LARGE in str(error):
            return _without_texts(path)
        raise FormatError(f"{path} is a damaged picture: {error}", remedy="copy the file again") from error


def _without_texts(path: str) -> Any:
    """Open a PNG whose texts the library refuses for their size: the pixels are there all the same."""
    from PIL import Image as Pillow

    warnings.warn(f"{path} has texts that are too large; they are left out.", stacklevel=2)
    with open(path, "rb") as file:
        content = png.without_texts(file.read())
    return Pillow.open(io.BytesIO(content), formats=("PNG",))


def _asked(path: str, question: Callable[[Any], T]) -> T:
    """Ask a picture; once more without its texts where the library comes to those only then."""
    with _open(path) as picture:
        try:
            return question(picture)
        except ValueError as error:
            if _TOO_LARGE not in str(error):
                raise
    with _without_texts(path) as picture:
        return question(picture)


def header_of(path: str) -> Header:
    """Return what the head of a picture says; FormatError where that is damaged."""
    try:
        return _asked(path, lambda picture: _header(path, picture))
    except (FormatError, MemoryBudgetError, FileNotFoundError):
        raise
    except Exception as error:  # the library parses the rest of the head only now, and raises what it runs into
        raise FormatError(f"{path} is a damaged picture: {error}", remedy="copy the file again") from error


def _header(path: str, picture: Any) -> Header:
    frames = int(getattr(picture, "n_frames", 1))
    animated = picture.format == "GIF" or frames > 1
    depth = _png_depth(path) if picture.format == "PNG" else None
    deep = depth is not None and depth[0] == 16 and depth[1] in _SPANNED
    tags = _tags(picture)
    mode = "L" if picture.format == "WEBP" and tags.get(SAMPLES_TAG) == 1 else _mode(picture)
    size = (picture.height, picture.width)
    turn = tags.get(_ORIENTATION, 1)
    turn = turn if turn in _TURNS else 1
    if turn >= 5:
        size = size[::-1]
    samples = _SPANNED[depth[1]] if deep and depth else _COLOURS[mode]
    shape = (*((frames,) if animated else ()), *size, *((samples,) if samples else ()))
    dtype = np.dtype("<u2" if deep else _TYPES.get(mode, "u1"))
    names = [*(["t"] if animated else []), "y", "x", *(["c"] if samples else [])]
    info = {str(name): value for name, value in picture.info.items() if name not in _BINARY}
    exif = _named(tags)
    duration = info.get("duration")
    step = float(duration) / 1000 if animated and duration else None
    scales = {"t": ("second", step)} if step else {}
    axes = tuple(Axis(name, kind_of(name), *scales.get(name, (None, 1.0))) for name in names)
    applied: dict[str, Any] = {"Orientation": turn} if turn > 1 else {}
    if picture.mode == "P":
        applied["palette"] = True
    if picture.format == "AVIF" and (deeper := _avif_bits(path)) > 8:
        applied["bits"] = deeper
        warnings.warn(f"{path} has {deeper} bits a sample, of which the library gives the upper 8.", stacklevel=6)
    found = Details(
        raw=_with_said({**info, **exif, "mode": picture.mode}),
        file={"format": picture.format},
        applied=applied,
        time_step=step,
        compression={"JPEG": "jpeg", "PNG": "deflate", "GIF": "lzw", "WEBP": "webp", "AVIF": "av1"}.get(picture.format),
        bits=depth[0] if depth is not None and depth[0] < 8 else None,
        is_rgb=bool(samples),
    )
    return Header(shape, dtype, axes, mode, deep, found)


def _with_said(raw: dict[str, Any]) -> dict[str, Any]:
    """What a picture says, and what was said of it when it was written: in a text of a PNG, or in a comment."""
    for name in (OWN_ATTRIBUTE, "comment"):
        text = raw.get(name)
        if isinstance(text, str | bytes) and (said := told_in(text)):
            return with_own({other: value for other, value in raw.items() if other != name}, said)
    return raw


def _mode(picture: Any) -> str:
    """The mode that a picture is read in: its own, where numpy has it."""
    if picture.mode in _COLOURS and picture.format != "GIF":
        return str(picture.mode)
    if picture.format == "GIF":
        return "RGB"
    if picture.mode == "P":
        transparent = "transparency" in picture.info or picture.palette.mode == "RGBA"
        return "RGBA" if transparent else "RGB"
    return {"LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}.get(picture.mode, "RGB")


def _png_depth(path: str) -> tuple[int, int]:
    """Bits of a sample and colour type of a PNG file."""
    with open(path, "rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if len(head) == 26 else (8, 0)


def _avif_bits(path: str) -> int:
    """Bits of a sample of an AVIF file."""
    with open(path, "rb") as file:
        said = file.read(1 << 16).partition(b"av1C")[2]
    return 8 if len(said) < 3 or not said[2] & 0x40 else 12 if said[2] & 0x20 else 10


def _tags(picture: Any) -> dict[int, Any]:
    """The EXIF tags at the head of a picture: asked for those at the end of a PNG, the library would decode it."""
    return dict(picture.getexif()) if "exif" in picture.info or picture.format in ("JPEG", "WEBP", "AVIF") else {}


def _named(tags: Mapping[int, Any]) -> dict[str, Any]:
    from PIL.ExifTags import TAGS

    return {TAGS.get(tag, str(tag)): value for tag, value in tags.items() if not isinstance(value, dict)}


def decoded(path: str, header: Header | None = None) -> np.ndarray:
    """Return all of a picture; StorageError where it is damaged."""
    found = header or header_of(path)
    if found.deep:
        return _deep(path, found)
    try:
        array = _asked(path, lambda picture: _pixels(picture, found))
    except (FormatError, MemoryBudgetError):
        raise
    except Exception as error:  # codecs raise types of their own for damaged data
        raise StorageError(
            f"{path} is cut off or damaged: {type(error).__name__}: {error}", remedy="copy the file again"
        ) from error
    return _as_told(path, array, found)


def _pixels(picture: Any, header: Header) -> np.ndarray:
    from PIL import ImageSequence

    if header.axes[0].name == "t":
        return np.stack([np.array(frame.convert(header.mode)) for frame in ImageSequence.Iterator(picture)])
    array = np.array(picture if picture.mode == header.mode else picture.convert(header.mode))
    return _turned(array, header.details.applied.get("Orientation", 1))


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    transposed, flipped = _TURNS[orientation]
    return np.ascontiguousarray(np.flip(array.swapaxes(0, 1) if transposed else array, flipped))


def _deep(path: str, header: Header) -> np.ndarray:
    need("imagecodecs", "A PNG file of 16 bits in colour")
    import imagecodecs

    try:
        with open(path, "rb") as file:
            array = np.asarray(imagecodecs.png_decode(png.checked(file.read())))
    except Exception as error:  # codecs raise types of their own for damaged data
        raise StorageError(f"{path} is cut off or damaged: {error}", remedy="copy the file again") from error
    if array.ndim == 3 and array.shape[2] == 2:  # grey and transparency
        array = array[..., [0, 0, 0, 1]]
    return _as_told(path, array, header)


def _as_told(path: str, array: np.ndarray, header: Header) -> np.ndarray:
    array = array.astype(header.dtype, copy=False)
    if array.shape != header.shape:
        raise StorageError(
            f"{path} is cut off or damaged: it announces {header.shape}, and has {array.shape}.",
            remedy="copy the file again",
        )
    return array
