"""LIF, LOF and XLEF files of Leica, through liffile: an image for each series, decoded plane by plane."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....errors import FormatError
from ....sources.axes import Axis, kind_of
from ....sources.file import Opened
from ....sources.forks import check_opened, count
from ...details import Details
from ...tif.pages import Pages
from ..opening import (
    AGAIN,
    checked_shape,
    head_of,
    no_such,
    one_of_several,
    only_image,
    pixel_sizes,
    reading,
    require_memory,
    size_in_bytes,
)
from .leica_project import files_of, is_project

_NAME = "LIF"
_MAGIC = b"\x70\0\0\0"
_COLORS = {
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "cyan": "#00ffff",
    "magenta": "#ff00ff",
    "yellow": "#ffff00",
    "gray": "#ffffff",
    "grey": "#ffffff",
}


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the images under their keys."""
    return {key: open_dataset(path, key, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return "0", "1", ... for the images; "" where there is one."""
    with _file(path) as file, reading(path, _NAME):
        return _keys(path, file)


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open an image, its axes as they lie in the file; times and positions are in seconds and micrometres."""
    only_image(path, None, mode, _NAME, kwargs)
    file = _file(path)
    try:
        with reading(path, _NAME):
            name = one_of_several(path, key, _keys(path, file), "images")
            image = file.images[int(name or 0)]
            pages = _pages(path, file, image)
            return Opened(pages, name, _axes(image), pages)
    except BaseException:
        file.close()
        raise


def details(path: str, key: str | None) -> Details:
    """Return the attributes of an image, and its channels."""
    only_image(path, None, "r", _NAME)
    with _file(path) as file, reading(path, _NAME):
        known = _keys(path, file)
        image = file.images[int(one_of_several(path, key or known[0], known, "images") or 0)]
        axes = _axes(image)
        element = getattr(image, "xml_element", None)
        described = (
            [] if element is None else element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
        )
        colors = tuple(_COLORS.get(one.get("LUTName", "").lower()) for one in described)
        names = tuple(one.get("LUTName") or f"Channel {n}" for n, one in enumerate(described))
        stamps = image.timestamps
        bits = {int(one.get("Resolution", "0")) for one in described}
        step = next((axis.scale for axis in axes if axis.name == "t" and axis.unit), None)
        return Details(
            raw=_plain(image.attrs),
            file={"name": file.name, "version": file.version},
            standard={
                "image": {"name": image.name},
                "acquired": str(stamps[0]) if stamps is not None and len(stamps) else None,
                "channels": [{"name": n, "color": c} for n, c in zip(names, colors, strict=True)],
                "pixel_sizes": pixel_sizes(axes),
            },
            channel_names=names if len(names) == dict(image.sizes).get("C", 1) else None,
            channel_colors=tuple(str(color) for color in colors) if colors and all(colors) else None,
            time_step=step,
            bits=next(iter(bits)) if len(bits) == 1 and 0 < max(bits) < 8 * np.dtype(image.dtype).itemsize else None,
            is_rgb="S" in image.sizes,
        )


def _file(path: str) -> Any:
    import liffile

    if is_project(path):
        files_of(path)
        with reading(path, _NAME):
            return liffile.LifFile(path)
    found = head_of(path, 13)
    if not found.startswith(_MAGIC) or found[8:9] != b"\x2a":
        raise no_such(path, _NAME, found)
    if 2 * int.from_bytes(found[9:13], "little") > os.path.getsize(path):
        raise FormatError(f"{path} is cut off within its description.", remedy=AGAIN)
    with reading(path, _NAME):
        return liffile.LifFile(path)


def _keys(path: str, file: Any) -> list[str]:
    images = len(file.images)
    if not images:
        raise FormatError(f"{path} holds no images.", remedy="look at it with another program")
    return [""] if images == 1 else [str(number) for number in range(images)]


def _pages(path: str, file: Any, image: Any) -> Pages:
    sizes = {str(name): int(size) for name, size in image.sizes.items()}
    shape, dtype = checked_shape(path, list(sizes.values())), np.dtype(image.dtype)
    frames = image.frames
    page = tuple(int(size) for size in frames.frame_shape)
    names = list(sizes)[: len(sizes) - len(page)]
    if tuple(shape[len(names) :]) != page:
        raise FormatError(f"{path}: the planes {page} are no last part of {shape}.", remedy="export it as OME-TIFF")
    block = image.memory_block
    needed, there = size_in_bytes(shape, dtype), int(block.size)
    parts = [os.path.abspath(os.path.join(image.parent.dirname, one.file)) for one in block.frames]
    if needed > there or (not parts and int(block.offset) + there > os.path.getsize(path)):
        raise FormatError(
            f"{path} is cut off, or its description is wrong: the image {shape} {dtype} takes {needed} bytes; {there}"
            f" are announced, from byte {block.offset} of {os.path.getsize(path)} on.",
            remedy=AGAIN,
        )
    lead = shape[: len(names)]
    lock, forks = threading.Lock(), count()

    def load(number: int) -> np.ndarray:
        check_opened(forks, path)
        require_memory(path, size_in_bytes(page, dtype))
        at = np.unravel_index(number, lead) if lead else ()
        indices = {name: int(position) for name, position in zip(names, at, strict=True)}
        with lock, reading(path, _NAME):
            return np.array(image.frame(**indices), dtype).reshape(page)

    def file_of(number: int) -> str:
        return parts[number] if len(parts) == math.prod(lead) else parts[0] if parts else os.path.abspath(path)

    return Pages(lead, page, dtype.newbyteorder("="), load, file.close, file_of)


def _axes(image: Any) -> tuple[Axis, ...]:
    coords = image.coords
    axes = []
    for name in image.sizes:
        kind = "channel" if name in "CS" else kind_of(name)
        places = np.asarray(coords.get(name, ()))
        unit, scale, start = None, 1.0, 0.0
        if places.dtype.kind == "f" and len(places) > 1 and kind in ("space", "time"):
            step = float(places[-1] - places[0]) / (len(places) - 1)
            by = 1e6 if kind == "space" else 1.0  # lengths are metres
            if np.isfinite(step) and step != 0:
                unit = "micrometer" if kind == "space" else "second"
                scale, start = abs(step) * by, float(places[0]) * by if step > 0 else 0.0
        axes.append(Axis(name.lower(), kind, unit, scale, start))
    return tuple(axes)


def _plain(value: Any, depth: int = 0) -> Any:
    """Return metadata as values of JSON."""
    if isinstance(value, Mapping) and depth < 20:
        return {str(name): _plain(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple) and depth < 20:
        return [_plain(one, depth + 1) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)[:1024]
