"""What a call hands over to be written, made values that formats take: axes, units, data types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...arguments import data_type
from ...errors import DtypeError, ParameterError, ShapeError, ValueRangeError
from ...sources.axes import Axis, kind_of, unit_name
from ...sources.base import Source
from ...sources.casting import convert_values
from ...sources.registry import as_source
from ...wrapper.cast import CastSource
from ...wrapper.transform import SimpleTransformationSource
from ..details import Details, Image

PICTURES = ("png", "jpeg", "bmp", "webp", "gif", "avif", "jpeg2000", "jpegxl")
_BY_NUMBER = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}


@dataclass(frozen=True)
class Wanted:
    """What is said of an image that is to be written; see `imwrite`."""

    axes: Any = None
    scale: Any = None
    unit: Any = None
    channel_names: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = None
    dtype: Any = None
    casting: Any = "checked"
    rescale: tuple[float, float] | None = None
    name: str = ""
    labels: bool | None = None

    def image(self, given: Any, format: str) -> Image:
        """Return a value that formats take.

        Raises
        ------
        ShapeError, DtypeError, ParameterError
        """
        array = given if isinstance(given, np.ndarray) else _array_of(given)
        if 0 in array.shape or not array.shape:
            raise ShapeError(f"An image of the shape {array.shape} has no voxels.", remedy="at least 1 x 1 of them")
        if array.dtype.kind not in "biufc":
            raise DtypeError(f"An image of {array.dtype} is no image of numbers.", remedy="array.astype('uint8')")
        array = self._converted(array)
        if self.labels and array.dtype.kind not in "iu":
            raise DtypeError(f"Labels are integers, not {array.dtype}.", remedy='dtype="uint32"')
        axes = self._scaled(self._named(array, format))
        names = None if self.channel_names is None else tuple(map(str, self.channel_names))
        channels = [size for axis, size in zip(axes, array.shape, strict=True) if axis.kind == "channel"]
        if names is not None and len(names) != (channels[0] if channels else 1):
            raise ParameterError(
                f"channel_names has {len(names)} names, the image {channels[0] if channels else 'no'} channels.",
                remedy="one name for each index of the axis 'c'",
            )
        raw = dict(self.metadata or {})
        rgb = axes[-1].kind == "channel" and array.shape[-1] in (3, 4)
        return Image(array, axes, self.name, Details(raw=raw, channel_names=names, is_label=self.labels, is_rgb=rgb))

    def _converted(self, array: Any) -> Any:
        if self.casting not in ("checked", "unsafe"):
            raise ParameterError(f"casting={self.casting!r}.", remedy='casting="checked" or casting="unsafe"')
        kind = np.dtype("u1") if self.dtype is None and self.rescale is not None else self.dtype
        if kind is None:
            return array
        kind = data_type(kind)
        if self.rescale is not None:
            array = _rescaled(array, self.rescale, kind)
        if array.dtype == kind:
            return array
        if array.dtype.kind == "c" and kind.kind != "c":
            raise DtypeError(f"Complex numbers do not become {kind}.", remedy="pass array.real, or numpy.abs(array)")
        if isinstance(array, Source):
            return CastSource(array, kind, casting=self.casting)
        return convert_values(array, kind, self.casting)

    def _named(self, array: Any, format: str) -> tuple[Axis, ...]:
        own = array.axes if isinstance(array, Source) and not all(is_unknown(axis) for axis in array.axes) else None
        if self.axes is None and own is not None and not _default(own):
            return tuple(own)
        colour = format in PICTURES and array.ndim in (3, 4) and array.shape[-1] in (3, 4)
        if self.axes is None and colour and array.dtype.name in ("uint8", "uint16"):
            return tuple(Axis(name, kind_of(name)) for name in ("yxc" if array.ndim == 3 else "tyxc"))
        if self.axes is None and format in PICTURES and array.ndim == 3:
            return tuple(Axis(name, kind_of(name)) for name in "tyx")
        given = self.axes if self.axes is not None else _BY_NUMBER.get(array.ndim)
        if given is None:
            names = [f"d{number}" for number in range(array.ndim - 3)] + ["z", "y", "x"][-array.ndim :]
            return tuple(Axis(name, "other" if name[0] == "d" else "space") for name in names)
        axes = tuple(one if isinstance(one, Axis) else Axis(str(one), kind_of(str(one))) for one in given)
        if len(axes) != array.ndim or len({axis.name for axis in axes}) < len(axes):
            raise ParameterError(
                f"axes={self.axes!r} for an image of the shape {array.shape}.",
                remedy=f"axes={_BY_NUMBER.get(array.ndim, 'tczyx')!r}: a different name for each",
            )
        if own is not None and len(own) == len(axes):
            known = {axis.name: axis for axis in own}
            axes = tuple(known.get(axis.name, axis) if axis == Axis(axis.name, axis.kind) else axis for axis in axes)
        return axes

    def _scaled(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        scales = _by_axis("scale", self.scale, axes)
        units = _by_axis("unit", self.unit, axes)
        for scale in scales:
            if scale is not None and not (isinstance(scale, int | float | np.number) and 0 < scale < float("inf")):
                raise ParameterError(f"scale has {scale!r}, which is no distance.", remedy="scale=0.5")
        return tuple(
            replace(
                axis,
                scale=axis.scale if scale is None else float(scale),
                unit=axis.unit if unit is None else unit_name(str(unit)),
            )
            for axis, scale, unit in zip(axes, scales, units, strict=True)
        )


def images_of(given: Any, wanted: Wanted, format: str, is_batch: bool) -> list[Image]:
    """Return the images of a call: one, or those of a list or of the first axis."""
    many = isinstance(given, list | tuple) and len(given) > 0 and np.ndim(given[0]) >= 2
    if not (is_batch or many):
        return [wanted.image(given, format)]
    items = list(given) if many else [given[number] for number in range(len(given))]
    if not items:
        raise ShapeError("There is no image in an empty list.", remedy="pass at least one")
    return [wanted.image(item, format) for item in items]


def is_unknown(axis: Axis) -> bool:
    """Whether it stands for an axis of which nothing is known."""
    return re.fullmatch(r"d\d+", axis.name) is not None


def _array_of(given: Any) -> Any:
    if isinstance(given, list | tuple | int | float | complex | str | bytes | np.generic) or given is None:
        try:
            return np.asarray(given)
        except ValueError as error:
            raise ShapeError(f"A list of different lengths is no image: {error}", remedy="is_batch=True") from None
    return as_source(given)


def _default(axes: Sequence[Axis]) -> bool:
    """Whether axes are those of data that says nothing of them."""
    return all(is_unknown(axis) or axis == Axis(axis.name) for axis in axes) and any(map(is_unknown, axes))


def _by_axis(what: str, given: Any, axes: Sequence[Axis]) -> list[Any]:
    """A value for each axis, None where there is none."""
    if given is None:
        return [None] * len(axes)
    if isinstance(given, Mapping):
        names = [axis.name for axis in axes]
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ParameterError(f"{what} names {unknown[0]!r}; the axes are {names}.", remedy=f"{what}={{'x': ...}}")
        return [given.get(name) for name in names]
    if isinstance(given, str) or np.ndim(given) == 0:
        return [given if axis.kind == "space" else None for axis in axes]
    values = list(given)
    space = [axis.kind == "space" for axis in axes]
    if len(values) == len(axes):
        return values
    if len(values) == sum(space):
        left = iter(values)
        return [next(left) if one else None for one in space]
    raise ParameterError(
        f"{what}={given!r} has {len(values)} values for the axes {[axis.name for axis in axes]}.",
        remedy=f"one value, or {len(axes)}",
    )


@dataclass(frozen=True)
class Rescale:
    """Maps a range of values to the ends of a data type, and clips what lies outside."""

    low: float
    high: float
    dtype: str

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Return a block in the data type.

        Raises
        ------
        ValueRangeError
            A voxel is no number, for which whole numbers have no place.
        """
        kind = np.dtype(self.dtype)
        if kind.kind in "iu" and block.dtype.kind == "f" and (bad := np.isnan(block)).any():
            raise ValueRangeError(
                f"rescale={(self.low, self.high)}: {int(bad.sum())} voxels are no numbers (NaN), and {kind} has none.",
                remedy="numpy.nan_to_num(image), or dtype='float32'",
            )
        first, last = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "iu" else (0, 1)
        share = np.clip((block.astype("f8") - self.low) / (self.high - self.low), 0, 1)
        values = first + share * (float(last) - float(first))
        return (np.rint(values) if kind.kind in "iu" else values).astype(kind)


def _rescaled(array: Any, ends: Any, kind: np.dtype) -> Any:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise ParameterError(f"rescale={ends!r} are no two numbers.", remedy="rescale=(0, 1000)") from None
    if not low < high or kind.kind not in "iuf" or kind.itemsize > 4:
        raise ParameterError(f"rescale={ends!r} to {kind}.", remedy='rescale=(0, 1000), dtype="uint8"')
    mapping = Rescale(low, high, kind.str)
    return SimpleTransformationSource(array, mapping) if isinstance(array, Source) else mapping(array)
