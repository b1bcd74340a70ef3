"""Which image, and which part of it: index, region and order of axes, as arithmetic."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np

from ...errors import IndexingError, ParameterError, RegionError, ShapeError
from ...sources.axes import Axis, kind_of

Index = int | EllipsisType | None


def checked_index(index: Any) -> Index:
    """Return None, the ellipsis or a whole number; "all" means the ellipsis."""
    if index is None or index is Ellipsis:
        return index
    if isinstance(index, str) and index == "all":
        return Ellipsis
    if isinstance(index, bool | np.bool_) or not hasattr(type(index), "__index__"):
        raise ParameterError(
            f"index={index!r} is no number of an image.", remedy="index=0, index=... for all, or leave it out"
        )
    return operator.index(index)


def position(index: int, count: int, what: str, path: str) -> int:
    """Return the number of an image from 0 on; negative ones count from the end."""
    if not -count <= index < count:
        raise IndexingError(
            f"index={index}, but {path} has {count} {what}{'' if count == 1 else 's'}.",
            remedy=f"index={count - 1}" if count else "read another file",
        )
    return index % count


def one_of(index: Any, series: Any) -> Any:
    """The index, which tif files also call series."""
    if series is not None and index is not None and index is not Ellipsis and index != series:
        raise ParameterError(f"index={index!r} and series={series!r} name two images.", remedy=f"index={series!r}")
    return checked_index(series if series is not None else index)


@dataclass(frozen=True)
class Part:
    """A part of an image, and the order of axes in which it is wanted.

    Parameters
    ----------
    roi : slices, mapping or None
        Slices in the order of the axes, or by their names; None is all.
    axes : str or sequence of str, optional
        Names in the order that is wanted; those that the image lacks are added with length 1.
    """

    roi: Any = None
    axes: str | Sequence[str] | None = None

    def box(self, shape: tuple[int, ...], axes: Sequence[Axis]) -> tuple[slice, ...]:
        """Return a slice with both ends for every axis."""
        names = [axis.name for axis in axes]
        parts: list[Any] = [slice(None)] * len(shape)
        if isinstance(self.roi, Mapping):
            for name, part in self.roi.items():
                if name not in names:
                    raise RegionError(f"roi names the axis {name!r}; the image has {names}.", remedy=_example(names))
                parts[names.index(name)] = part
        elif self.roi is None:
            return tuple(slice(0, size) for size in shape)
        else:
            given = self.roi if isinstance(self.roi, tuple | list) else (self.roi,)
            if len(given) > len(shape):
                raise RegionError(
                    f"roi has {len(given)} slices for the shape {shape} of the axes {names}.", remedy=_example(names)
                )
            parts[: len(given)] = given
        return tuple(_bounds(*one) for one in zip(parts, shape, names, strict=True))

    def order(self, shape: tuple[int, ...], axes: Sequence[Axis]) -> list[int | None]:
        """Return for each wanted axis its number in the image, None for one that is added."""
        names = [axis.name for axis in axes]
        if self.axes is None:
            return list(range(len(names)))
        wanted = list(self.axes) if isinstance(self.axes, Sequence) else [self.axes]
        if not all(isinstance(name, str) for name in wanted) or len(set(wanted)) < len(wanted):
            raise ParameterError(f"axes={self.axes!r} are no different names.", remedy=f"axes={''.join(names)!r}")
        dropped = [name for name, size in zip(names, shape, strict=True) if name not in wanted and size > 1]
        if dropped:
            raise ShapeError(
                f"axes={self.axes!r} leave out {dropped}, but the image of the axes {names} has the shape {shape}.",
                remedy=f"roi={{{dropped[0]!r}: slice(0, 1)}}, or name it in axes",
            )
        return [names.index(name) if name in names else None for name in wanted]

    def arranged(self, array: np.ndarray, axes: Sequence[Axis]) -> tuple[np.ndarray, tuple[Axis, ...]]:
        """Return an array in the wanted order of axes, and these."""
        order = self.order(array.shape, axes)
        if order == list(range(len(axes))):
            return array, tuple(axes)
        kept = [number for number in order if number is not None]
        left = [number for number in range(len(axes)) if number not in kept]
        turned = array.transpose(*left, *kept)[(0,) * len(left)]
        shown = turned[tuple(slice(None) if number is not None else None for number in order)]
        names = list(self.axes or ())
        return shown, tuple(
            Axis(name, kind_of(name)) if number is None else axes[number]
            for name, number in zip(names, order, strict=True)
        )


def _bounds(part: Any, size: int, name: str) -> slice:
    if not isinstance(part, slice):
        raise RegionError(f"roi has {part!r} for the axis {name!r}, which is no slice.", remedy="slice(0, 1)")
    if part.step not in (None, 1):
        raise RegionError(
            f"roi has the step {part.step} along {name!r}.", remedy="leave it out, and take array[::step] of the result"
        )
    ends: list[int] = []
    for end, default in ((part.start, 0), (part.stop, size)):
        try:
            number = default if end is None else operator.index(end)
        except TypeError:
            raise RegionError(f"roi has {part!r} for the axis {name!r}.", remedy="slice(0, 10)") from None
        ends.append(number + size if number < 0 else number)
    if not 0 <= ends[0] < ends[1] <= size:
        raise RegionError(
            f"roi has {part!r} for the axis {name!r}, which has {size} voxels.", remedy=f"slice(0, {size})"
        )
    return slice(*ends)


def _example(names: Sequence[str]) -> str:
    return f"roi={{{names[-1]!r}: slice(0, 10)}}" if names else "leave it out"
