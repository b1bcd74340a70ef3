"""ND2 files of Nikon, through the library nd2: an image for each position of the stage, decoded plane by plane."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....errors import FormatError, StorageError
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

_NAME = "ND2"
_MAGIC = (b"\xda\xce\xbe\x0a", b"\0\0\0\x0cjP  ")
_PLANE = "CYXS"
_DENSEST = 1040


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the images under their keys."""
    return {key: open_dataset(path, key, mode, {}).array for key in keys(path)}


def keys(path: str) -> list[str]:
    """Return "0", "1", ... for the positions of the stage; "" where there is one."""
    with _file(path) as file, reading(path, _NAME):
        return _keys(file)


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the image at a position as ``([t,] [z,] [c,] y, x[, s])``."""
    only_image(path, None, mode, _NAME, kwargs)
    file = _file(path)
    try:
        with reading(path, _NAME):
            name = one_of_several(path, key, _keys(file), "positions")
            pages = _pages(path, file, int(name or 0))
            return Opened(pages, name, _axes(file), pages)
    except BaseException:
        file.close()
        raise


def details(path: str, key: str | None) -> Details:
    """Return what the microscope has noted: channels, objective, positions, time step."""
    only_image(path, None, "r", _NAME)
    with _file(path) as file, reading(path, _NAME):
        one_of_several(path, key or _keys(file)[0], _keys(file), "positions")
        axes = _axes(file)
        described = list(file.metadata.channels or ()) if hasattr(file.metadata, "channels") else []
        names = tuple(str(one.channel.name) for one in described)
        colors = tuple(_color(one.channel) for one in described)
        text = dict(file.text_info)
        scope = described[0].microscope if described else None
        points = [loop.parameters.points for loop in file.experiment if loop.type == "XYPosLoop"]
        positions = tuple(tuple(map(float, point.stagePositionUm)) for point in points[0]) if points else None
        step = next((axis.scale for axis in axes if axis.name == "t" and axis.unit), None)
        attributes = file.attributes
        bits, allocated = attributes.bitsPerComponentSignificant, attributes.bitsPerComponentInMemory
        return Details(
            raw=_plain(attributes._asdict()),
            file=text,
            standard={
                "acquired": text.get("date"),
                "instrument": {"software": text.get("appVersion"), "optics": text.get("optics")},
                "objective": None
                if scope is None
                else {
                    "name": scope.objectiveName,
                    "magnification": scope.objectiveMagnification,
                    "numerical_aperture": scope.objectiveNumericalAperture,
                },
                "channels": [{"name": n, "color": c} for n, c in zip(names, colors, strict=True)],
                "pixel_sizes": pixel_sizes(axes),
            },
            channel_names=names or None,
            channel_colors=tuple(str(color) for color in colors) if colors and all(colors) else None,
            time_step=step,
            positions=positions,
            compression=attributes.compressionType if attributes.compressionType != "none" else None,
            bits=bits if bits != allocated else None,
            is_rgb="S" in file.sizes,
        )


def _file(path: str) -> Any:
    import nd2

    found = head_of(path, 12)
    if not found.startswith(_MAGIC):
        raise no_such(path, _NAME, found)
    with reading(path, _NAME):
        return nd2.ND2File(path)


def _keys(file: Any) -> list[str]:
    positions = int(file.sizes.get("P", 1))
    return [""] if positions == 1 else [str(number) for number in range(positions)]


def _loops(file: Any) -> dict[str, int]:
    return {name: int(size) for name, size in file.sizes.items() if name not in _PLANE}


def _pages(path: str, file: Any, position: int) -> Pages:
    sizes = {name: int(size) for name, size in file.sizes.items()}
    checked_shape(path, list(sizes.values()))
    loops = _loops(file)
    lead = tuple(size for name, size in loops.items() if name != "P")
    page = tuple(size for name, size in sizes.items() if name in _PLANE and (name != "C" or size > 1))
    dtype = np.dtype(file.dtype)
    planes, there = math.prod(loops.values()), os.path.getsize(path)
    packed = file.attributes.compressionType is not None or file.is_legacy
    needed = planes * size_in_bytes(page, dtype)
    if packed and planes <= there:
        needed = min(needed, size_in_bytes(page, dtype) // _DENSEST)
    if int(file.attributes.sequenceCount or 0) >= planes and needed > there:
        raise FormatError(
            f"{path} is cut off: {planes} planes {page} {dtype} take {needed} bytes, the file has {there}.",
            remedy=AGAIN,
        )
    lock, forks = threading.Lock(), count()
    # where the library finds no plane, it makes up zeros: these are asked for before
    places = None if file.is_legacy else getattr(getattr(file, "_rdr", None), "_frame_offsets", None)

    def load(number: int) -> np.ndarray:
        check_opened(forks, path)
        at = list(np.unravel_index(number, lead)) if lead else []
        whole = [position if name == "P" else int(at.pop(0)) for name in loops]
        frame = int(np.ravel_multi_index(whole, tuple(loops.values()))) if loops else 0
        require_memory(path, size_in_bytes(page, dtype))
        if places is not None and not 0 < places.get(frame, -1) < there - (
            0 if packed else size_in_bytes(page, dtype) - 1
        ):
            raise StorageError(
                f"Plane {frame} of {path} was never written, or the file is cut off before it.",
                remedy="read the planes that are there, by a region of interest",
            )
        with lock, reading(path, _NAME):
            return np.array(file.read_frame(frame), dtype).reshape(page)

    return Pages(lead, page, dtype, load, file.close, lambda number: os.path.abspath(path))


def _axes(file: Any) -> tuple[Axis, ...]:
    sizes = file.sizes
    scales: dict[str, tuple[str | None, float]] = {}
    try:
        for name, scale in zip("XYZ", file.voxel_size(), strict=True):
            if scale and scale > 0:
                scales[name] = ("micrometer", float(scale))
        for loop in file.experiment:
            if loop.type == "TimeLoop" and loop.parameters.periodMs > 0:
                scales["T"] = ("second", loop.parameters.periodMs / 1000)
    except Exception as error:  # noqa: BLE001 - voxels are not lost where what is noted of them does not parse
        warnings.warn(f"{file.path}: its metadata are damaged ({error!r}); it is read without scales.", stacklevel=2)
    axes = []
    for name in sizes:
        if name == "P" or (name == "C" and sizes[name] == 1):
            continue
        kind = "channel" if name in "CS" else kind_of(name)
        axes.append(Axis(name.lower(), kind, *scales.get(name, (None, 1.0))))
    return tuple(axes)


def _color(channel: Any) -> str | None:
    color = getattr(channel, "color", None)
    return None if color is None else f"#{color.r:02x}{color.g:02x}{color.b:02x}"


def _plain(value: Any) -> Any:
    """Return metadata as values of JSON."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)[:1024]
