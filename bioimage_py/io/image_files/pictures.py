"""Pictures: PNG (also animated), JPEG, BMP, WebP, GIF and AVIF through Pillow; PNG of 16 bits through imagecodecs."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import (
    DtypeError,
    FormatError,
    KeyNotFoundError,
    MemoryBudgetError,
    ParameterError,
    ReadOnlyError,
    ShapeError,
    StorageError,
)
from ...extras import need
from ...sources.axes import Axis, kind_of
from ...sources.file import Opened
from ...sources.indexing import normalize_index
from ..details import Details, Image
from ..formats import infer_format, keep_local

_ORIENTATION = 0x0112
_TURNS = {1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,))}
_TURNS |= {5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,))}
"""By EXIF orientation: whether y and x change places, and which of them are then reversed."""
_FORMATS = {"png": "PNG", "jpeg": "JPEG", "bmp": "BMP", "webp": "WEBP", "gif": "GIF", "avif": "AVIF"}
_COLOURS = {"L": 0, "1": 0, "I": 0, "I;16": 0, "I;16B": 0, "F": 0, "RGB": 3, "RGBA": 4}
"""Modes of Pillow that are kept as they are, and the length of their axis of colour."""
_TYPES = {"1": "?", "I": "<i4", "I;16": "<u2", "I;16B": "<u2", "F": "<f4"}
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
        return Pillow.open(path, formats=tuple(_FORMATS.values()))
    except Pillow.DecompressionBombError as error:
        raise MemoryBudgetError(f"{path} claims a picture too large: {error}", remedy="convert it to tif") from error
    except UnidentifiedImageError as error:
        raise FormatError(f"{path} is no picture, or a damaged one.", remedy="copy the file again") from error
    except FileNotFoundError:
        raise
    except Exception as error:  # the library raises whatever it runs into
        raise FormatError(f"{path} is a damaged picture: {error}", remedy="copy the file again") from error


def header_of(path: str) -> Header:
    """Return what the head of a picture says; FormatError where that is damaged."""
    with _open(path) as picture:
        try:
            return _header(path, picture)
        except FormatError:
            raise
        except Exception as error:  # the library parses the rest of the head only now, and raises what it runs into
            raise FormatError(f"{path} is a damaged picture: {error}", remedy="copy the file again") from error


def _header(path: str, picture: Any) -> Header:
    frames = int(getattr(picture, "n_frames", 1))
    animated = picture.format == "GIF" or frames > 1
    depth = _png_depth(path) if picture.format == "PNG" else None
    deep = depth is not None and depth[0] == 16 and depth[1] in _SPANNED
    mode = _mode(picture)
    size = (picture.height, picture.width)
    tags = _tags(picture)
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
        raw={**info, **exif, "mode": picture.mode},
        file={"format": picture.format},
        applied=applied,
        time_step=step,
        compression={"JPEG": "jpeg", "PNG": "deflate", "GIF": "lzw", "WEBP": "webp", "AVIF": "av1"}.get(picture.format),
        bits=depth[0] if depth is not None and depth[0] < 8 else None,
        is_rgb=bool(samples),
    )
    return Header(shape, dtype, axes, mode, deep, found)


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
    header = header or header_of(path)
    from PIL import ImageSequence

    if header.deep:
        return _deep(path, header)
    try:
        with _open(path) as picture:
            if header.axes[0].name == "t":
                frames = [np.array(frame.convert(header.mode)) for frame in ImageSequence.Iterator(picture)]
                array = np.stack(frames)
            else:
                array = np.array(picture if picture.mode == header.mode else picture.convert(header.mode))
                array = _turned(array, header.details.applied.get("Orientation", 1))
    except (FormatError, MemoryBudgetError):
        raise
    except Exception as error:  # codecs raise types of their own for damaged data
        raise StorageError(
            f"{path} is cut off or damaged: {type(error).__name__}: {error}", remedy="copy the file again"
        ) from error
    return _as_told(path, array, header)


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    transposed, flipped = _TURNS[orientation]
    return np.ascontiguousarray(np.flip(array.swapaxes(0, 1) if transposed else array, flipped))


def _deep(path: str, header: Header) -> np.ndarray:
    need("imagecodecs", "A PNG file of 16 bits in colour")
    import imagecodecs

    try:
        with open(path, "rb") as file:
            array = np.asarray(imagecodecs.png_decode(file.read()))
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


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write a new file: a picture, or an animation of several pictures of one size (GIF, PNG, WebP).

    Parameters
    ----------
    path : str
    images : sequence of Image
        Of the axes y, x, with t in front of an animation, and c behind for colour.
    options : mapping
        ``compression`` (0 to 9, PNG), ``quality`` (1 to 100, JPEG, WebP and AVIF; without it one AVIF picture loses
        nothing), ``lossless`` (WebP, default True), ``duration`` (ms, or one for each frame) and ``loop`` (GIF).
    """
    name = infer_format(path)
    lost: list[str] = []
    frames = [frame for image in images for frame in _frames(image, name)]
    given = dict(options)
    if len(frames) > 1 and name in ("jpeg", "bmp"):
        raise ShapeError(f"A {name} file holds one picture, not {len(frames)}.", remedy='".tif" or ".gif"')
    if any(frame.shape != frames[0].shape or frame.dtype != frames[0].dtype for frame in frames):
        raise ShapeError(f"The frames of a {name} file have one shape and data type.", remedy='".tif" takes others')
    for image in images:
        _note_lost(image, name, lost)
    if frames[0].dtype == np.uint16 and frames[0].ndim == 3:
        _write_deep(path, frames, given)
        return tuple(dict.fromkeys(lost))
    if name == "avif" and len(frames) == 1 and given.get("quality") is None:
        _write_lossless_avif(path, frames[0])
        return tuple(dict.fromkeys(lost))
    pictures = [_pillow(frame) for frame in frames]
    settings = _settings(name, given, images)
    if name == "gif" and any(len(np.unique(f.reshape(-1, f.shape[-1]), axis=0)) > 256 for f in frames if f.ndim == 3):
        lost.append("colours beyond 256")
    if len(pictures) > 1:
        settings |= {"save_all": True, "append_images": pictures[1:]}
    try:
        pictures[0].save(path, format=_FORMATS[name], **settings)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{name} cannot hold this picture: {error}", remedy='".tif"') from error
    return tuple(dict.fromkeys(lost))


def _settings(name: str, given: dict[str, Any], images: Sequence[Image]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name == "png" and given.get("compression") is not None:
        level = given["compression"]
        if isinstance(level, bool) or level not in range(10):
            raise ParameterError(f"compression={level!r} of a PNG file.", remedy="compression=6, from 0 to 9")
        found["compress_level"] = level
    if name in ("jpeg", "webp", "avif"):
        quality = given.get("quality", 90)
        if isinstance(quality, bool) or quality not in range(1, 101):
            raise ParameterError(f"quality={quality!r}.", remedy="quality=90, from 1 to 100")
        found["quality"] = quality
    if name == "webp":
        found |= {"lossless": bool(given.get("lossless", "quality" not in given)), "exact": True}
    if name == "gif":
        step = next((axis.scale * 1000 for axis in images[0].axes if axis.name == "t" and axis.unit == "second"), 100)
        found |= {"duration": given.get("duration", step), "loop": given.get("loop", 0)}
    return found


def _frames(image: Image, name: str) -> list[np.ndarray]:
    """The pictures of an image: one, or those along t."""
    letters = [axis.name for axis in image.axes]
    array = np.asarray(image.array[...])
    allowed = {"bmp": ("uint8", "bool")} | dict.fromkeys(("jpeg", "webp", "gif", "avif"), ("uint8",))
    types = allowed.get(name, ("uint8", "uint16", "bool"))
    if array.dtype.name not in types:
        raise DtypeError(
            f"A {name} file holds {', '.join(types)}, not {array.dtype}; .tif holds it as it is.",
            remedy='dtype="uint8", rescale=(lowest, highest), or another ending: ".tif"',
        )
    colour = letters[-1] == "c"
    if colour and (array.shape[-1] not in (3, 4) or (array.shape[-1] == 4 and name in ("jpeg", "bmp", "gif"))):
        raise ShapeError(f"A {name} file does not hold {array.shape[-1]} colours.", remedy='".tif"')
    plane = letters[:-1] if colour else letters
    if plane not in (["y", "x"], ["t", "y", "x"]):
        raise ShapeError(
            f"A {name} file holds the axes y and x (with t, an animation), not {letters} of the shape {array.shape}.",
            remedy='axes="tyx" for an animation, or ".tif"',
        )
    if array.dtype == bool and colour:
        raise DtypeError(f"A {name} file holds no colours of one bit.", remedy='dtype="uint8"')
    return list(array) if plane[0] == "t" else [array]


def _pillow(frame: np.ndarray) -> Any:
    from PIL import Image as Pillow

    return Pillow.fromarray(np.ascontiguousarray(frame))


def _write_deep(path: str, frames: list[np.ndarray], given: Mapping[str, Any]) -> None:
    if len(frames) > 1:
        raise DtypeError("An animation holds 8 bits.", remedy='dtype="uint8", rescale=(0, 65535)')
    need("imagecodecs", "A PNG file of 16 bits in colour")
    import imagecodecs

    with open(path, "wb") as file:
        file.write(imagecodecs.png_encode(np.ascontiguousarray(frames[0]), level=given.get("compression")))


def _write_lossless_avif(path: str, frame: np.ndarray) -> None:
    need("imagecodecs", "An AVIF file without loss")
    import imagecodecs

    with open(path, "wb") as file:
        file.write(imagecodecs.avif_encode(np.ascontiguousarray(frame), level=100))


def _note_lost(image: Image, name: str, lost: list[str]) -> None:
    for axis in image.axes:
        if axis.kind == "space" and (axis.unit or axis.scale != 1 or axis.offset):
            lost.append(f"scale of the axis {axis.name}")
        if axis.name == "t" and name != "gif" and axis.unit:
            lost.append("scale of the axis t")
    lost += [f"metadata {entry!r}" for entry in image.details.raw]
    if name in ("gif", "webp") and image.axes[-1].name != "c":
        lost.append("grey: it is read as colour")
    if image.details.channel_names:
        lost.append("channel names")
