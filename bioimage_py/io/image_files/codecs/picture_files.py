"""Writing pictures: PNG (also animated), JPEG, BMP, WebP, GIF and AVIF."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import DtypeError, FormatError, ParameterError, ShapeError
from ....extras import need
from ....sources.chunked.conventions import OWN_ATTRIBUTE
from ...details import Image
from ...formats import infer_format
from ...written.said import LARGEST, document_of, kept_metadata
from ..pictures import FORMATS, SAMPLES_TAG
from ..writing import factor

_MOST_SAID: Mapping[str, int] = {"png": LARGEST, "jpeg": 60_000, "gif": 60_000}
"""Characters of metadata that a text or a comment of a file takes."""
_TAKEN: tuple[str, ...] = (
    "mode",
    "dpi",
    "gamma",
    "transparency",
    "interlace",
    "srgb",
    "chromaticity",
    "aspect",
    "duration",
    "loop",
)
_TAKEN += ("comment", "version", "background", "extension", "jfif", "jfif_version", "jfif_unit", "jfif_density")
_TAKEN += ("default_image", "disposal", "blend", "timestamp", "bbox", "progressive", "progression", "Orientation")
"""Names by which the library tells what a file says."""
_PNG_HEAD = 33
"""Bytes of a PNG up to the end of what tells its size."""


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
    count = sum(_counted(image, name) for image in images)
    given = dict(options)
    if count > 1 and name in ("jpeg", "bmp"):
        raise ShapeError(f"A {name} file holds one picture, not {count}.", remedy='".tif" or ".gif"')
    frames = [frame for image in images for frame in _frames(image)]
    if any(frame.shape != frames[0].shape or frame.dtype != frames[0].dtype for frame in frames):
        raise ShapeError(f"The frames of a {name} file have one shape and data type.", remedy='".tif" takes others')
    if len(frames) > 1 and frames[0].dtype == np.uint16:
        raise DtypeError("An animation holds 8 bits.", remedy='dtype="uint8", rescale=(0, 65535), or ".tif"')
    said = _kept(images, name)
    for image in images:
        _note_lost(image, name, lost, said)
    if frames[0].dtype == np.uint16 and frames[0].ndim == 3:
        _write_deep(path, frames, given, said)
        return tuple(dict.fromkeys(lost))
    if name == "avif" and len(frames) == 1 and given.get("quality") is None:
        _write_lossless_avif(path, frames[0])
        return tuple(dict.fromkeys(lost))
    pictures = [_pillow(frame) for frame in frames]
    settings = {**_settings(name, given, images), **_saying(name, said)}
    if name == "gif" and any(len(np.unique(f.reshape(-1, f.shape[-1]), axis=0)) > 256 for f in frames if f.ndim == 3):
        lost.append("colours beyond 256")
    if len(pictures) > 1:
        settings |= {"save_all": True, "append_images": pictures[1:]}
    content = io.BytesIO()  # on a full disk the library writes a part of it into a file, and says nothing
    try:
        pictures[0].save(content, format=FORMATS[name], **settings)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{name} cannot hold this picture: {error}", remedy='".tif"') from error
    with open(path, "wb") as file:
        file.write(content.getbuffer())
    _note_joined(path, name, len(frames), lost)
    return tuple(dict.fromkeys(lost))


def _note_joined(path: str, name: str, frames: int, lost: list[str]) -> None:
    """Warn where the library has shown a frame for longer instead of writing the next one, which is equal to it."""
    from PIL import Image as Pillow

    if frames == 1:
        return
    with Pillow.open(path) as file:
        there = int(getattr(file, "n_frames", 1))
    if there != frames:
        lost.append(f"frames: {frames} are read as {there}, for equal ones are joined")
        warnings.warn(
            f"A {name} file joins frames that are equal to the one before: {frames} are read as {there}; .png and .tif"
            " keep them.",
            stacklevel=2,
        )


def _kept(images: Sequence[Image], name: str) -> dict[str, Any]:
    """What is said of the first image, as far as the file has a place for it."""
    most = _MOST_SAID.get(name)
    return {} if most is None else kept_metadata(images[0], most, taken=_TAKEN)


def _saying(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """How the library is told a text about a picture."""
    if not said:
        return {}
    if name != "png":
        return {"comment": document_of(said).encode()}
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_itxt(OWN_ATTRIBUTE, document_of(said))
    return {"pnginfo": texts}


def _settings(name: str, given: dict[str, Any], images: Sequence[Image]) -> dict[str, Any]:
    from PIL import Image as Pillow

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
        if images[0].axes[-1].name != "c":
            exif = Pillow.Exif()
            exif[SAMPLES_TAG] = 1
            found["exif"] = exif.tobytes()
    if name == "gif":
        said = next((axis for axis in images[0].axes if axis.name == "t"), None)
        by = None if said is None else factor(said.unit, "millisecond")
        step = 100 if said is None or by is None else said.scale * by
        found |= {"duration": given.get("duration", step), "loop": given.get("loop", 0)}
    return found


def _counted(image: Image, name: str) -> int:
    """How many pictures an image has; what the format cannot hold is an error."""
    letters = [axis.name for axis in image.axes]
    shape, dtype = tuple(image.array.shape), np.dtype(image.array.dtype)
    allowed = {"bmp": ("uint8", "bool")} | dict.fromkeys(("jpeg", "webp", "gif", "avif"), ("uint8",))
    types = allowed.get(name, ("uint8", "uint16", "bool"))
    if dtype.name not in types:
        raise DtypeError(
            f"A {name} file holds {', '.join(types)}, not {dtype}; .tif holds it as it is.",
            remedy='dtype="uint8", rescale=(lowest, highest), or another ending: ".tif"',
        )
    colour = letters[-1] == "c"
    if colour and (shape[-1] not in (3, 4) or (shape[-1] == 4 and name in ("jpeg", "bmp", "gif"))):
        raise ShapeError(f"A {name} file does not hold {shape[-1]} colours.", remedy='".tif"')
    plane = letters[:-1] if colour else letters
    if plane not in (["y", "x"], ["t", "y", "x"]):
        raise ShapeError(
            f"A {name} file holds the axes y and x (with t, an animation), not {letters} of the shape {shape}.",
            remedy='axes="tyx" for an animation, or ".tif"',
        )
    if dtype == np.bool_ and colour:
        raise DtypeError(f"A {name} file holds no colours of one bit.", remedy='dtype="uint8"')
    return int(shape[0]) if plane[0] == "t" else 1


def _frames(image: Image) -> list[np.ndarray]:
    """The pictures of an image: one, or those along t."""
    array = np.asarray(image.array[...])
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # codecs look at the bytes only
    return list(array) if image.axes[0].name == "t" else [array]


def _pillow(frame: np.ndarray) -> Any:
    from PIL import Image as Pillow

    return Pillow.fromarray(np.ascontiguousarray(frame))


def _write_deep(path: str, frames: list[np.ndarray], given: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    need("imagecodecs", "A PNG file of 16 bits in colour")
    import imagecodecs
    from PIL.PngImagePlugin import putchunk

    content = bytes(imagecodecs.png_encode(np.ascontiguousarray(frames[0]), level=given.get("compression")))
    with open(path, "wb") as file:
        file.write(content[:_PNG_HEAD])
        for kind, text, *_ in _saying("png", said)["pnginfo"].chunks if said else ():
            putchunk(file, kind, text)
        file.write(content[_PNG_HEAD:])


def _is_said(entry: Any, value: Any, said: Mapping[str, Any]) -> bool:
    return entry == OWN_ATTRIBUTE or (entry in said and bool(said[entry] == value))


def _write_lossless_avif(path: str, frame: np.ndarray) -> None:
    need("imagecodecs", "An AVIF file without loss")
    import imagecodecs

    with open(path, "wb") as file:
        file.write(imagecodecs.avif_encode(np.ascontiguousarray(frame), level=100))


def _note_lost(image: Image, name: str, lost: list[str], said: Mapping[str, Any]) -> None:
    for axis in image.axes:
        if axis.kind == "space" and (axis.unit or axis.scale != 1 or axis.offset):
            lost.append(f"scale of the axis {axis.name}")
        if axis.name == "t" and name != "gif" and axis.unit:
            lost.append("scale of the axis t")
    lost += [f"metadata {entry!r}" for entry, value in image.details.raw.items() if not _is_said(entry, value, said)]
    lost += ["labels"] if image.details.is_label else []
    if name == "jpeg" or (name == "avif" and any(axis.name == "t" for axis in image.axes)):
        lost.append("exact values")
    if name == "gif" and image.axes[-1].name != "c":
        lost.append("grey: it is read as colour")
    if image.details.channel_names:
        lost.append("channel names")
