"""Every shape by its name."""

from __future__ import annotations

from .geometry import Box, Ellipse, Geometry, Polygon, RotatedBox
from .lines import Mesh, Point, Polyline, Skeleton
from .masks import Mask

KINDS: dict[str, type[Geometry]] = {
    kind.shape: kind for kind in (Box, RotatedBox, Polygon, Polyline, Point, Skeleton, Ellipse, Mesh)
} | {"bitmask": Mask}
