"""What needs a geometry library: areas, intersections, clipping, outlines of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...extras import needing
from .geometry import Geometry, Polygon
from .lines import Point, Polyline, Skeleton
from .masks import Mask

if TYPE_CHECKING:
    from .grid import Grid

with needing("shapely", "Geometry of annotation spaces"):
    import shapely


def shape_of(geometry: Geometry) -> Any:
    """Return the shape of a geometry in the plane of x and y."""
    if isinstance(geometry, Polygon):
        parts = [shapely.Polygon(part[0], part[1:]) for part in geometry.parts]
        return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    if isinstance(geometry, Point):
        return shapely.Point(geometry.position[:2])
    if isinstance(geometry, Polyline):
        return shapely.LineString(geometry.points[:, :2])
    if isinstance(geometry, Skeleton):
        return shapely.MultiPoint(geometry.points[:, :2])
    return shapely.Polygon(geometry.rings()[0]) if geometry.rings() else None


def _whole(shape: Any) -> Any:
    """Return a valid shape of the same points: each part by the even-odd rule, and what is in any of them."""
    if shape.is_valid:
        return shape
    return shapely.union_all(shapely.make_valid(shapely.get_parts(shape)))


def polygon_of(shape: Any) -> Polygon | None:
    """Return the polygons of a shape; None where it has no area."""
    found = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and not part.is_empty]
    parts = [[np.array(ring.coords) for ring in (part.exterior, *part.interiors)] for part in found]
    return Polygon(parts=parts) if parts else None


def clipped(polygon: Polygon, bounds: Sequence[float]) -> Polygon | None:
    """Return the part of a polygon within bounds (x, y, x, y)."""
    return polygon_of(shapely.intersection(_whole(shape_of(polygon)), shapely.box(*bounds)))


def touches(geometry: Geometry, bounds: npt.NDArray[np.float64], grid: Grid) -> bool:
    """Whether a geometry meets a box, given that their bounds do; in the plane of x and y, a mask in all axes."""
    if isinstance(geometry, Mask):
        n = geometry.crop.ndim
        low, high = ((bounds[at : at + n] - grid.corner[:n]) / grid.scale[:n] for at in (0, 3))
        begin = np.clip(np.ceil(low[::-1]) - 1 - geometry.origin, 0, None)
        end = np.clip(np.floor(high[::-1]) + 1 - geometry.origin, 0, geometry.crop.shape)
        return bool(geometry.crop[tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))].any())
    shape = shape_of(geometry)
    if shape is None:
        return True
    return bool(_whole(shape).intersects(shapely.box(bounds[0], bounds[1], bounds[3], bounds[4])))


def crosses_itself(geometry: Geometry) -> bool:
    """Whether a polygon crosses itself."""
    return isinstance(geometry, Polygon) and not shape_of(geometry).is_valid


def area_of(geometry: Geometry) -> float:
    """Return the area in the plane of x and y."""
    shape = shape_of(geometry)
    return 0.0 if shape is None else float(shapely.area(_whole(shape)))


def outline_of_runs(x0: Any, y0: Any, x1: Any, y1: Any) -> Polygon:
    """Return the union of boxes."""
    found = polygon_of(shapely.union_all(shapely.box(x0, y0, x1, y1)))
    assert found is not None
    return found
