"""The reader: volumes as layers that read what is shown, their coarser levels, scale and units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cli.looking.view import volumes
from ..errors import BioimageError
from ..sources import Axis, Source
from ..sources.axes import unit_name
from ..viz.viewing.contrast import contrast
from ..viz.viewing.levels import Level, levels_of, pyramid_of
from ..viz.viewing.view import is_labels
from ..wrapper import RoiSource

LayerData = tuple[Any, dict[str, Any], str]
_COLORS = ("magenta", "green", "cyan", "yellow", "red", "blue")


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return what reads a path, or None where it is no volume; nothing but its metadata is read here."""
    paths = [path] if isinstance(path, str) else list(path)
    try:
        found = [volume for one in paths for volume in volumes(one)]
    except (BioimageError, OSError):
        return None
    found = [(name, sources) for name, sources in found if is_shown(sources[0])]
    return (lambda _: [layer for name, sources in found for layer in layers_of(name, sources)]) if found else None


def is_shown(source: Source) -> bool:
    """Whether napari has a layer for it: lines and complex numbers have none."""
    return source.ndim > 1 and source.dtype.kind in "biuf" and 0 not in source.shape


class LazyArray:
    """A source as napari takes an array: read as it is indexed, in this machine's byte order.

    Parameters
    ----------
    source : Source
    channel : int, optional
        Position of an axis, and index along it: only this is shown, without the axis.
    """

    def __init__(self, source: Source, channel: tuple[int, int] | None = None) -> None:
        self._source, self._channel = source, channel
        self.dtype = source.dtype.newbyteorder("=")
        kept = [axis for axis in range(source.ndim) if channel is None or axis != channel[0]]
        self.shape = tuple(source.shape[axis] for axis in kept)
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.nbytes = self.size * self.dtype.itemsize

    @property
    def source(self) -> Source:
        """What it shows, as a source: without the axis of channels where it is one of these."""
        if self._channel is None:
            return self._source
        axis, number = self._channel
        return RoiSource(self._source, (*[slice(None)] * axis, number), squeeze=True)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        parts = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        parts += [slice(None)] * (self.ndim - len(parts))
        plain = [part if isinstance(part, slice) else int(part) for part in parts]
        steps = [part.step for part in plain if isinstance(part, slice)]
        plain = [slice(part.start, part.stop) if isinstance(part, slice) else part for part in plain]
        if self._channel is not None:
            plain.insert(*self._channel)
        found = self._source[tuple(plain)]
        if any(step not in (None, 1) for step in steps):
            found = found[tuple(slice(None, None, step) for step in steps)]
        return np.asarray(found, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        found = self[(slice(None),) * self.ndim]
        return found if dtype is None else found.astype(dtype)


def layers_of(name: str, sources: list[Source]) -> list[LayerData]:
    """The layers of a volume: one, or one for each of its channels."""
    levels = levels_of(sources[0]) if len(sources) == 1 else pyramid_of(sources)
    source = levels[0].source
    labels = is_labels(source, name)
    channels = [axis for axis, one in enumerate(source.axes) if one.kind == "channel"]
    if labels or len(channels) != 1 or source.shape[channels[0]] > len(_COLORS):
        return [_layer(name, levels, labels, None)]
    axis, found = channels[0], []
    for number in range(source.shape[axis]):
        data, told, kind = _layer(f"{name} {number}", levels, False, (axis, number))
        told |= {"colormap": _COLORS[number] if source.shape[axis] > 1 else "gray", "blending": "additive"}
        found.append((data, told, kind))
    return found


def _layer(name: str, levels: tuple[Level, ...], labels: bool, channel: tuple[int, int] | None) -> LayerData:
    finest = levels[0].source
    axes = [one for axis, one in enumerate(finest.axes) if channel is None or axis != channel[0]]
    data = [LazyArray(level.source, channel) for level in levels]
    told: dict[str, Any] = {"name": name, **placing(axes)}
    if not labels:
        told["contrast_limits"] = contrast(levels, (1.0, 99.7))
        if finest.dtype.kind == "b":
            data, told["contrast_limits"] = [_Whole(one) for one in data], (0, 1)
    elif finest.dtype.kind == "b":
        data = [_Whole(one) for one in data]
    if len(data) > 1:
        return data, {**told, "multiscale": True}, "labels" if labels else "image"
    return data[0], told, "labels" if labels else "image"


class _Whole(LazyArray):
    """Truth values as 0 and 1, which napari takes for labels and for images."""

    def __init__(self, inner: LazyArray) -> None:
        super().__init__(inner._source, inner._channel)
        self.dtype = np.dtype("u1")


def placing(axes: list[Axis]) -> dict[str, Any]:
    """Scale, place, names and units, as layers have them: of what napari does not take, such as a scale of 0, none."""
    return {
        "scale": [
            one.scale if one.kind != "channel" and one.scale and math.isfinite(one.scale) else 1.0 for one in axes
        ],
        "translate": [one.offset if one.kind != "channel" and math.isfinite(one.offset) else 0.0 for one in axes],
        "axis_labels": tuple(one.name for one in axes),
        "units": tuple(_unit(one.unit) for one in axes),
    }


def _unit(unit: str | None) -> str:
    """The name of a unit that the library of units knows which napari uses."""
    import pint

    name = unit_name(unit)
    return name if name is not None and name in pint.get_application_registry() else "pixel"
