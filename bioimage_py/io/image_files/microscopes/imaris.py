"""Imaris files (.ims): HDF5 with a dataset for each resolution level, time point and channel."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....errors import FormatError
from ....sources.arrays.backing import Backing
from ....sources.arrays.hdf5 import HDF5Backing
from ....sources.arrays.hdf5_attributes import check_attributes
from ....sources.arrays.hdf5_parts import open_file, reading_structure
from ....sources.axes import Axis, unit_name
from ....sources.file import Opened
from ...details import Details
from ..opening import (
    AGAIN,
    checked_shape,
    head_of,
    level_among,
    no_such,
    only_image,
    pixel_sizes,
    split_level,
    with_level,
)
from .tiles import BackingStack

_NAME = "Imaris"
_MOST_ATTRIBUTES = 4096


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the image under the key ""."""
    return {"": open_dataset(path, None, mode, {}).array}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open a resolution level as ``([t,] [c,] z, y, x)``; times and channels where there are several."""
    arguments = dict(kwargs)
    key, level = split_level(key, arguments.pop("level", None), [""])
    only_image(path, key, mode, _NAME, arguments)
    file = _file(path)
    try:
        with reading_structure(path):
            number = level_among(path, level, _count(path, file["DataSet"], "ResolutionLevel"))
            times, channels, shape = _layout(path, file, number)
            lead = tuple(size for size in (times, channels) if size > 1)

            def opener(position: tuple[int, ...]) -> Backing:
                rest = list(position)
                time = rest.pop(0) if times > 1 else 0
                with reading_structure(path):
                    return HDF5Backing(_data(file, number, time, rest[0] if rest else 0))

            stack = BackingStack(lead, shape, opener, file.close, (path,))
            return Opened(stack, with_level("", number), _axes(path, file, number), stack)
    except BaseException:
        file.close()
        raise


def details(path: str, key: str | None) -> Details:
    """Return the attributes of ``DataSetInfo``, names and colours of the channels, and the time step."""
    only_image(path, split_level(key, None, [""])[0], "r", _NAME)
    with _file(path) as file, reading_structure(path):
        _, channels, _ = _layout(path, file, 0)
        axes = _axes(path, file, 0)
        info = file.get("DataSetInfo")
        raw = {name: _texts(group) for name, group in (info or {}).items() if hasattr(group, "attrs")}
        described = [raw.get(f"Channel {n}", {}) for n in range(channels)]
        image = raw.get("Image", {})
        names = tuple(one.get("Name", f"Channel {n}") for n, one in enumerate(described))
        colors = tuple(_color(one.get("Color", "")) for one in described)
        step = next((axis.scale for axis in axes if axis.name == "t" and axis.unit), None)
        compression = _data(file, 0, 0, 0).compression
        return Details(
            raw=raw,
            standard={
                "image": {"name": image.get("Name")},
                "acquired": (image.get("RecordingDate") or "").replace(" ", "T", 1) or None,
                "channels": [{"name": n, "color": c} for n, c in zip(names, colors, strict=True)],
                "pixel_sizes": pixel_sizes(axes),
            },
            channel_names=names,
            channel_colors=tuple(str(color) for color in colors) if all(colors) else None,
            time_step=step,
            compression=compression,
        )


def levels(path: str, key: str | None = None) -> list[tuple[int, ...]]:
    """Return the shapes of all resolution levels, the finest first, in the order of `open_dataset`."""
    with _file(path) as file, reading_structure(path):
        found = []
        for number in range(_count(path, file["DataSet"], "ResolutionLevel")):
            times, channels, shape = _layout(path, file, number)
            found.append((*(size for size in (times, channels) if size > 1), *shape))
        return found


def _file(path: str) -> Any:
    import h5py

    if not h5py.is_hdf5(path):
        raise no_such(path, _NAME, head_of(path, 8))
    file = open_file(path, "r")
    with reading_structure(path):
        if "DataSet" in file and isinstance(file["DataSet"], h5py.Group):
            return file
    file.close()
    raise FormatError(f"{path} is an HDF5 file, but none of Imaris: it has no DataSet.", remedy='format="hdf5"')


def _count(path: str, group: Any, name: str) -> int:
    count = 0
    while f"{name} {count}" in group:
        count += 1
    if not count:
        raise FormatError(f"{path} has no {name} 0 in {group.name}.", remedy=AGAIN)
    return count


def _data(file: Any, level: int, time: int, channel: int) -> Any:
    return file[f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {channel}/Data"]


def _layout(path: str, file: Any, level: int) -> tuple[int, int, tuple[int, ...]]:
    """Return the numbers of times and channels, and the shape without what fills up the last chunks."""
    group = file[f"DataSet/ResolutionLevel {level}"]
    times = _count(path, group, "TimePoint")
    channels = _count(path, group["TimePoint 0"], "Channel")
    first = group["TimePoint 0/Channel 0"]
    stored = checked_shape(path, first["Data"].shape)
    check_attributes(first, path)
    said = [_text(first.attrs.get(f"ImageSize{name}")) for name in "ZYX"]
    shape = tuple(
        int(size) if size.isdecimal() and 0 < int(size) <= there else there
        for size, there in zip(said, stored, strict=True)
    )
    return times, channels, shape


def _axes(path: str, file: Any, level: int) -> tuple[Axis, ...]:
    times, channels, shape = _layout(path, file, level)
    info = file.get("DataSetInfo")
    image = _texts(info["Image"]) if info is not None and "Image" in info else {}
    unit = unit_name(image.get("Unit")) or None
    axes = []
    for n, (name, size) in enumerate(zip("zyx", shape, strict=True)):
        low, high = (_number(image.get(f"Ext{end}{2 - n}")) for end in ("Min", "Max"))
        scale = (high - low) / size if low is not None and high is not None and high > low else None
        if scale is None or low is None:
            axes.append(Axis(name))
        else:
            axes.append(Axis(name, "space", unit, scale, low + scale / 2))
    lead = [Axis("t", "time", *_step(info, times))] if times > 1 else []
    return (*lead, *([Axis("c", "channel")] if channels > 1 else []), *axes)


def _step(info: Any, times: int) -> tuple[str | None, float]:
    """Return the unit and the mean distance of the time points, where they say when they were."""
    from datetime import datetime

    said = _texts(info["TimeInfo"]) if info is not None and "TimeInfo" in info else {}
    try:
        first, last = (datetime.fromisoformat(said[f"TimePoint{n}"].strip()) for n in (1, times))
    except (KeyError, ValueError):
        return None, 1.0
    seconds = (last - first).total_seconds() / (times - 1)
    return ("second", seconds) if seconds > 0 else (None, 1.0)


def _texts(group: Any) -> dict[str, str]:
    """Return the attributes of a group, each an array of characters; of damaged ones none, with a warning."""
    try:
        check_attributes(group, group.file.filename)
    except FormatError as error:  # what describes an image must not cost its voxels
        warnings.warn(f"{error.message}; left out", stacklevel=2)
        return {}
    return {name: _text(group.attrs[name]) for name in list(group.attrs)[:_MOST_ATTRIBUTES]}


def _text(value: Any) -> str:
    if value is None:
        return ""
    array = np.asarray(value)
    if array.dtype.kind == "S":
        return array.tobytes().rstrip(b"\0").decode("utf-8", "replace")
    return str(array.item() if array.size == 1 else value)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _color(text: str) -> str | None:
    parts = [_number(part) for part in text.split()]
    if len(parts) != 3 or any(part is None or not 0 <= part <= 1 for part in parts):
        return None
    return "#" + "".join(f"{round(255 * (part or 0)):02x}" for part in parts)
