"""What the exchanges share: the report of an export, and shapes that a class wants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import BioimageError, FormatError
from ..raster import outline, rasterise_geometry
from ..values.geometry import Box, Geometry, Polygon
from ..values.grid import Grid
from ..values.masks import Mask


@dataclass
class Exported:
    """A document of another format, and what it could not hold.

    Parameters
    ----------
    document : dict
    lost : dict of str to int
        What is not in it, and how often.
    """

    document: dict[str, Any]
    lost: dict[str, int] = field(default_factory=Counter)


def bad(where: str, what: Any) -> FormatError:
    """The error for something of a document that is wrong."""
    return FormatError(f"{where}: {getattr(what, 'message', what)}", remedy="mend the file, or leave it out")


def whole_box(geometry: Geometry) -> Box:
    """Return the box around a flat geometry in pixels."""
    points = np.concatenate(geometry.rings())
    return Box(points.min(axis=0), points.max(axis=0))


def fitted(geometry: Geometry, shape: str, grid: Grid, frame: int) -> Geometry:
    """Return a geometry in pixels as another shape that a class wants, where that is the same area.

    A box may be given as a polygon, a mask as its outline or the other way round; anything else stays.
    """
    if shape == "bounding_box" and isinstance(geometry, Polygon):
        return whole_box(geometry)
    if shape == "polygon" and isinstance(geometry, Box):
        return Polygon(geometry.rings())
    if shape == "polygon" and isinstance(geometry, Mask):
        return outline(geometry)
    if shape == "bitmask" and isinstance(geometry, Polygon):
        window = tuple(slice(0, n) for n in grid.mask_shape(frame))
        return Mask(rasterise_geometry(grid.world(geometry, "pixel", frame), grid, window))
    return geometry


def put_all(space: Any, found: list[tuple[str, Any, Geometry, int, str | None, Any]]) -> int:
    """Put objects (place, class, geometry in pixels, frame, id, confidence), all or none; return how many."""
    grid = space.grid
    shapes, rows = [], []
    for where, class_, geometry, frame, id, confidence in found:
        try:
            item = space.ontology.object_class(class_)
            shapes.append(grid.world(fitted(geometry, item.shape, grid, frame), "pixel", frame))
            rows.append((item, frame, id, 1.0 if confidence is None else float(confidence)))
        except (BioimageError, TypeError, ValueError) as error:
            raise bad(where, error) from None
    if not rows:
        return 0
    from ..values.ids import new_id

    ids = [id or new_id() for _, _, id, _ in rows]
    try:
        space.put_many(
            [item for item, *_ in rows],
            shapes,
            np.array([frame for _, frame, _, _ in rows]),
            ids,
            confidence=np.array([sure for *_, sure in rows]),
        )
    except BioimageError as error:
        raise bad("the document", error) from None
    return len(rows)
