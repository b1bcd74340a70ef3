"""Geometry of objects: points and boxes as values, float64, in the order x, y, z.

Coordinates are world coordinates in the unit of the image, unless a call says otherwise (`Grid`).
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, ParameterError

if TYPE_CHECKING:
    from .grid import Grid

LARGEST = 1e150
"""Coordinates reach so far: areas and distances of all of them are numbers, too."""
Points = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float, float, float]
"""Smallest x, y, z, then largest; a flat geometry reaches from -inf to inf along z."""


class Geometry(abc.ABC):
    """Base of all shapes; a value, equal to another one of the same numbers.

    `fields` names what its constructor takes, in order, which is also its JSON form.
    """

    shape: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def bounds(self, grid: Grid) -> Bounds:
        """Return the smallest box around it in world coordinates."""

    @abc.abstractmethod
    def mapped(self, scale: Points, shift: Points) -> Geometry:
        """Return it with every coordinate times `scale` plus `shift`, each for x, y and z."""

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: _plain(getattr(self, name)) for name in self.fields}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the geometry of a JSON form."""
        return cls(**document)

    def rings(self) -> list[Points]:
        """Return the rings (n, 2) that enclose its area by the even-odd rule; none where it has no area."""
        return []

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.to_document() == self.to_document()

    def __hash__(self) -> int:
        return hash(repr(self.to_document()))

    def __repr__(self) -> str:
        shown = repr(self.to_document())
        return f"{type(self).__name__}({shown if len(shown) < 200 else shown[:200] + '...'})"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def usable(numbers: Any) -> Any:
    """Which numbers coordinates can be."""
    return (numbers >= -LARGEST) & (numbers <= LARGEST)


def points(value: Any, name: str, *, ndim: int | None = None, least: int = 1) -> Points:
    """Return finite points (n, 2) or (n, 3), read-only."""
    try:
        given = np.array(value)
        if given.dtype.kind not in "iufO" or (given.dtype.kind == "O" and not _are_ints(given)):
            raise TypeError
        found = given.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError):
        raise ParameterError(f"{name}={value!r:.200} are no points.", remedy=f"{name}=[(x, y), ...]") from None
    if found.ndim != 2 or found.shape[1] not in ((2, 3) if ndim is None else (ndim,)) or len(found) < least:
        raise ParameterError(
            f"{name} has the shape {found.shape}; wanted are {least} or more points of {ndim or '2 or 3'} coordinates.",
            remedy=f"{name}=[(x, y), ...]",
        )
    if not (good := usable(found)).all():
        raise ParameterError(f"{name} holds {found[~good][0]}.", remedy=f"{name}: finite numbers up to {LARGEST:g}")
    found.setflags(write=False)
    return found


def _are_ints(given: npt.NDArray[Any]) -> bool:
    """Whether objects are numbers, of which one is larger than any of numpy."""
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in given.flat)


def point(value: Any, name: str, ndim: int | None = None) -> Points:
    """Return one finite point."""
    found: Points = points([value], name, ndim=ndim)[0]
    return found


def positive(value: Points, name: str) -> Points:
    """Return lengths that are all above 0."""
    if not (value > 0).all():
        raise ParameterError(f"{name} is {value.tolist()}; all of it must be above 0.", remedy=f"{name}: above 0")
    return value


def _angle(value: Any) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not -LARGEST <= value <= LARGEST:
        raise ParameterError(f"angle={value!r} is no finite number.", remedy="angle=0.0, in degrees")
    return float(value)


def extent(found: Points) -> Bounds:
    """Return the bounds of points."""
    low, high = found.min(axis=0).tolist(), found.max(axis=0).tolist()
    flat = [[-math.inf], [math.inf]] if len(low) == 2 else [[], []]
    return (*low, *flat[0], *high, *flat[1])


class Box(Geometry):
    """A box along the axes.

    Parameters
    ----------
    top_left, lower_right : (x, y) or (x, y, z)
        Geometric edges: a box around the voxels 0 and 1 of scale 1 and offset 0 reaches from -0.5 to 1.5.

    Raises
    ------
    ParameterError
        A coordinate is not finite, or a size not above 0.

    Examples
    --------
    >>> Box((0, 0), (4, 2)).size.tolist()
    [4.0, 2.0]
    """

    shape = "bounding_box"
    fields = ("top_left", "lower_right")
    __slots__ = ("lower_right", "top_left")

    def __init__(self, top_left: Any, lower_right: Any) -> None:
        self.top_left = point(top_left, "top_left")
        self.lower_right = point(lower_right, "lower_right", len(self.top_left))
        positive(self.size, "size")

    @property
    def size(self) -> Points:
        """Width, height and depth."""
        return self.lower_right - self.top_left

    @classmethod
    def of_bounds(cls, bounds: Sequence[float] | Points) -> Box:
        """Return the box of bounds."""
        twin = cls.__new__(cls)  # they were checked as they were put
        corners = np.array(bounds, np.float64)
        n = 2 if math.isinf(corners[2]) else 3
        twin.top_left, twin.lower_right = corners[:n], corners[3 : 3 + n]
        return twin

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        low, high = self.top_left.tolist(), self.lower_right.tolist()
        if len(low) == 2:
            return (*low, -math.inf, *high, math.inf)
        return (*low, *high)

    def mapped(self, scale: Points, shift: Points) -> Box:
        """As of `Geometry`."""
        n = len(self.top_left)
        corners = np.stack([self.top_left, self.lower_right]) * scale[:n] + shift[:n]
        return Box(corners.min(axis=0), corners.max(axis=0))

    def rings(self) -> list[Points]:
        """As of `Geometry`."""
        (x0, y0), (x1, y1) = self.top_left[:2], self.lower_right[:2]
        return [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])]


class _Turned(Geometry):
    """A centre, two lengths, and an angle in degrees from x to y."""

    _lengths: ClassVar[str]

    def _set(self, center: Any, lengths: Any, angle: Any) -> None:
        self.center = point(center, "center", 2)
        setattr(self, self._lengths, positive(point(lengths, self._lengths, 2), self._lengths))
        self.angle = _angle(angle)

    def mapped(self, scale: Points, shift: Points) -> Geometry:
        """As of `Geometry`."""
        lengths, angle = getattr(self, self._lengths), self.angle
        if not math.isclose(abs(scale[0]), abs(scale[1]), rel_tol=1e-12) and angle % 90:
            raise ParameterError(
                f"{type(self).__name__} at {angle} degrees has no such form where x and y are scaled by"
                f" {scale[0]} and {scale[1]}.",
                remedy="use a Polygon",
            )
        factors = np.abs(scale[:2])[:: -1 if angle % 180 == 90 else 1]
        return type(self)(self.center * scale[:2] + shift[:2], lengths * factors, angle)  # type: ignore[call-arg]


class RotatedBox(_Turned):
    """A rectangle that is turned about its centre.

    Parameters
    ----------
    center : (x, y)
    size : (width, height)
        Before it is turned.
    angle : float, default 0
        Degrees, from x to y.
    """

    shape = "rotatable_bounding_box"
    fields = ("center", "size", "angle")
    _lengths = "size"
    __slots__ = ("angle", "center", "size")
    size: Points

    def __init__(self, center: Any, size: Any, angle: float = 0.0) -> None:
        self._set(center, size, angle)

    def rings(self) -> list[Points]:
        """As of `Geometry`."""
        turn = math.radians(self.angle)
        along = np.array([math.cos(turn), math.sin(turn)]) * self.size[0] / 2
        across = np.array([-math.sin(turn), math.cos(turn)]) * self.size[1] / 2
        c = self.center
        return [np.stack([c - along - across, c + along - across, c + along + across, c - along + across])]

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        return extent(self.rings()[0])


class Ellipse(_Turned):
    """An ellipse.

    Parameters
    ----------
    center : (x, y)
    radii : (along x, along y)
        Before it is turned.
    angle : float, default 0
        Degrees, from x to y.
    """

    shape = "ellipse"
    fields = ("center", "radii", "angle")
    _lengths = "radii"
    __slots__ = ("angle", "center", "radii")
    radii: Points

    def __init__(self, center: Any, radii: Any, angle: float = 0.0) -> None:
        self._set(center, radii, angle)

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        turn = math.radians(self.angle)
        c, s = math.cos(turn), math.sin(turn)
        half = np.array(
            [math.hypot(self.radii[0] * c, self.radii[1] * s), math.hypot(self.radii[0] * s, self.radii[1] * c)]
        )
        return extent(np.stack([self.center - half, self.center + half]))

    def rings(self) -> list[Points]:
        """As of `Geometry`."""
        angle, turn = np.linspace(0, 2 * np.pi, 128, endpoint=False), math.radians(self.angle)
        x, y = self.radii[0] * np.cos(angle), self.radii[1] * np.sin(angle)
        c, s = math.cos(turn), math.sin(turn)
        return [np.stack([c * x - s * y, s * x + c * y], axis=1) + self.center]


class Polygon(Geometry):
    """An area with holes, in one or several parts.

    Parameters
    ----------
    rings : ring, or sequence of rings
        Points (n, 2) of the outer ring, and of holes. The last point may repeat the first, or not.
    more : sequence of sequences of rings
        Further parts.

    Raises
    ------
    ParameterError
        There is no ring, or one with fewer than three different points.
    """

    shape = "polygon"
    fields = ("parts",)
    __slots__ = ("parts",)

    def __init__(self, rings: Any = (), more: Iterable[Any] = (), *, parts: Iterable[Any] | None = None) -> None:
        given = [rings, *more] if parts is None else list(parts)
        self.parts: tuple[tuple[Points, ...], ...] = tuple(_rings(part) for part in given)
        if not self.parts:
            raise ParameterError("A polygon without rings.", remedy="Polygon([(x, y), (x, y), (x, y)])")

    @classmethod
    def of_parts(cls, parts: Iterable[tuple[Points, ...]]) -> Polygon:
        """Return the polygon of parts that were checked."""
        twin = cls.__new__(cls)
        twin.parts = tuple(parts)
        return twin

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        return extent(np.concatenate([part[0] for part in self.parts]))

    def mapped(self, scale: Points, shift: Points) -> Polygon:
        """As of `Geometry`."""
        return Polygon(parts=[[ring * scale[:2] + shift[:2] for ring in part] for part in self.parts])

    def rings(self) -> list[Points]:
        """As of `Geometry`."""
        return [ring for part in self.parts for ring in part]


def _rings(part: Any) -> tuple[Points, ...]:
    listed = list(part) if isinstance(part, Iterable) else []
    if listed and np.ndim(listed[0]) == 1 and np.shape(listed[0]) in ((2,), (3,)):
        listed = [listed]  # one ring
    if not listed:
        raise ParameterError("A part of a polygon without rings.", remedy="Polygon([(x, y), (x, y), (x, y)])")
    return tuple(_ring(ring) for ring in listed)


def _ring(value: Any) -> Points:
    found = points(value, "ring", ndim=2, least=3)
    other = (found != found[0]).any(axis=1)
    found = found[: len(found) - int(np.argmax(other[::-1]))]  # without points at its end that repeat the first
    others = found[other[: len(found)]]
    if not (len(others) and (others != others[0]).any()):
        raise ParameterError(
            f"A ring with the points {found.tolist()} has no area.", remedy="give three or more points"
        )
    return found


def unreadable(shape: str, error: Exception) -> FormatError:
    """The error for a stored geometry that is none."""
    return FormatError(f"{shape}: {getattr(error, 'message', error)}", remedy="mend it by hand, or restore a backup")
