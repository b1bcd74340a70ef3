"""What writing a file has in common for all formats: one image, its axes in an order, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import DtypeError, ParameterError, ShapeError
from ...sources.axes import Axis, unit_name
from ..details import Image
from ..written.said import lost_metadata

PIECE_BYTES = 64 * 2**20

_METERS = {
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "inch": 0.0254,
    "meter": 1.0,
}
_SECONDS = {
    "nanosecond": 1e-9,
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}


def factor(unit: str | None, wanted: str) -> float | None:
    """Return by what a value in a unit is multiplied to be one in another; None where they do not measure the same.

    Examples
    --------
    >>> factor("nanometer", "angstrom")
    10.0
    """
    name = unit_name(unit)
    for table in (_METERS, _SECONDS):
        if name in table and wanted in table:
            return float(f"{table[str(name)] / table[wanted]:.12g}")  # 10, not 9.999999999999998
    return None


class OrderedImage:
    """An image that is to be written, its axes in the order of a format, read piece by piece.

    Parameters
    ----------
    image : Image
        The image.
    names : sequence of str
        Names of the axes that the format has, in its order, the slowest first.
    name : str
        Name of the format, for messages.
    kinds : sequence of str
        Data types that the format holds, such as "uint8".

    Raises
    ------
    ShapeError
        If the image has an axis that the format has not, or no voxels.
    DtypeError
        If the format does not hold its data type.
    """

    def __init__(self, image: Image, names: Sequence[str], name: str, kinds: Sequence[str]) -> None:
        given = [axis.name for axis in image.axes]
        if unknown := [axis for axis in given if axis not in names]:
            raise ShapeError(
                f"{name} files have no axis {', '.join(map(repr, unknown))}; they have {', '.join(names)} at most.",
                remedy=f'axes="{"".join(names[-len(given) :])}" if these are meant, else write to .ome.zarr',
            )
        dtype = np.dtype(image.array.dtype)
        if dtype.newbyteorder("=").name not in kinds:
            raise DtypeError(
                f"{name} files hold {', '.join(kinds)}, not {dtype}.",
                remedy=f"convert it: image.astype({nearest(dtype, kinds)!r}); .ome.zarr and .npy hold it as it is",
            )
        self._turn = sorted(range(len(given)), key=lambda index: names.index(given[index]))
        self._array = image.array
        self.dtype = dtype.newbyteorder("=")
        self.axes: tuple[Axis, ...] = tuple(image.axes[index] for index in self._turn)
        self.shape = tuple(int(image.array.shape[index]) for index in self._turn)
        if 0 in self.shape or not self.shape:
            raise ShapeError(f"An image of shape {self.shape} has no voxels.", remedy="write one that has some")

    def region(self, roi: Sequence[slice]) -> np.ndarray:
        """Return a box, in the order of the axes of the format."""
        index: list[slice] = [slice(None)] * len(self._turn)
        for part, position in zip(roi, self._turn, strict=True):
            index[position] = part
        return np.ascontiguousarray(np.asarray(self._array[tuple(index)]).transpose(self._turn), self.dtype)

    def pieces(self) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        """Give the image in C order as boxes that follow each other in memory, of 64 MiB at most where rows allow."""
        yield from self._cut((), self.shape)

    def _cut(self, lead: tuple[slice, ...], left: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        row = int(np.prod(left[1:], dtype=object)) * self.dtype.itemsize
        if len(left) > 1 and row > PIECE_BYTES:
            for at in range(left[0]):
                yield from self._cut((*lead, slice(at, at + 1)), left[1:])
            return
        step = max(1, PIECE_BYTES // max(1, row))
        for at in range(0, left[0], step):
            part = (slice(at, min(at + step, left[0])), *(slice(0, size) for size in left[1:]))
            yield (*lead, *part), self.region((*lead, *part))


def stored(piece: Any) -> memoryview:
    """Return the bytes of a contiguous array, little endian."""
    return memoryview(piece.astype(piece.dtype.newbyteorder("<"), copy=False)).cast("B")


def nearest(dtype: np.dtype, kinds: Sequence[str]) -> str:
    """Return the data type among some that keeps most of another one."""
    safe = [kind for kind in kinds if np.can_cast(dtype, kind, "safe")]
    same = [kind for kind in kinds if np.can_cast(dtype, kind, "same_kind")]
    return safe[0] if safe else (same or list(kinds))[-1]


def single(images: Sequence[Image], name: str) -> Image:
    """Return the only image, for formats that hold one.

    Raises
    ------
    ShapeError
        If there are none or several.
    """
    if len(images) != 1:
        raise ShapeError(
            f"A {name} file holds one image, not {len(images)}.", remedy="write a file for each, or .ome.tif, .ome.zarr"
        )
    return images[0]


def chosen(options: Mapping[str, Any], name: str, known: Sequence[Any]) -> Any:
    """Return an option; the first of those that are known where it is not given.

    Raises
    ------
    ParameterError
        If it is none of them.
    """
    value = options.get(name)
    if value is None:
        return known[0]
    if value not in known:
        raise ParameterError(f"{name} is {value!r}.", remedy=f"use one of {', '.join(map(repr, known))}")
    return value


def lost_of(image: Image, *kept: str) -> tuple[str, ...]:
    """Return which of what an image says of itself a format has no place for: all but `kept`.

    Parameters
    ----------
    image : Image
        The image.
    *kept : str
        Of "name", "channel_names", "channel_colors", "positions", "affine", "labels", "metadata".
    """
    details = image.details
    said = {
        "name": image.name,
        "channel_names": details.channel_names,
        "channel_colors": details.channel_colors,
        "positions": details.positions,
        "affine": details.affine,
        "labels": details.is_label,
    }
    metadata = () if "metadata" in kept else lost_metadata(image, ())
    return (*(name for name, value in said.items() if value and name not in kept), *metadata)
