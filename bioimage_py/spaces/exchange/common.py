"""What the exchanges share: the report of an export, and shapes that a class wants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import BioimageError, ConflictError, FormatError
from ..raster import outline, rasterise_geometry
from ..values.audit import checked_confidence
from ..values.geometry import Box, Geometry, Polygon
from ..values.grid import Grid
from ..values.ids import checked_id, new_id
from ..values.masks import Mask


@dataclass
class Exported:
    """A document of another format, and what it could not hold.

    Parameters
    ----------
    document : dict or str
        JSON, or the text of XML.
    lost : dict of str to int
        What is not in it, and how often.
    """

    document: Any
    lost: dict[str, int] = field(default_factory=Counter)


@dataclass
class Found:
    """An object of another format.

    Parameters
    ----------
    where : str
        Its place in the document.
    class_ : str or ObjectClass
    geometry : Geometry
        In pixels.
    frame : int, default 0
    id : str, optional
        None: one is given.
    confidence : float, optional
    manual : bool, default True
    author : str, optional
        None: the user of the space.
    answers : dict, optional
        By id of the attribute, checked.
    """

    where: str
    class_: Any
    geometry: Geometry
    frame: int = 0
    id: str | None = None
    confidence: Any = None
    manual: bool = True
    author: str | None = None
    answers: dict[str, Any] | None = None


_NEW = "new_ids=True gives objects ids of their own (COCO, GeoJSON); or change the ids in the file"


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


def put_all(space: Any, found: list[Found], new_ids: bool = False) -> int:
    """Put objects, all or none, with the ids that they have or with new ones; return how many."""
    grid = space.grid
    shapes, classes, sure = [], [], []
    for one in found:
        try:
            item = space.ontology.object_class(one.class_)
            shapes.append(grid.world(fitted(one.geometry, item.shape, grid, one.frame), "pixel", one.frame))
            classes.append(item)
            sure.append(1.0 if one.confidence is None else checked_confidence(one.confidence))
            if one.id is not None:
                checked_id(one.id)
        except BioimageError as error:
            raise bad(one.where, error) from None
    if not found:
        return 0
    other = {one.id: new_id() for one in found} if new_ids else {}  # what lies on several frames stays one
    ids = [new_id() if one.id is None else other.get(one.id, one.id) for one in found]
    try:
        space.put_many(
            classes,
            shapes,
            np.array([one.frame for one in found]),
            ids,
            confidence=np.array(sure),
            created_by=[one.author or space.user for one in found],
            manual_annotation=np.array([one.manual for one in found]),
        )
    except BioimageError as error:
        if isinstance(error, ConflictError):
            raise FormatError(f"the document: {error.message}", remedy=_NEW) from None
        raise bad("the document", error) from None
    for id, one in zip(ids, found, strict=True):
        for key, value in (one.answers or {}).items():
            _answer(space, id, one, key, value)
    return len(found)


def _answer(space: Any, id: str, one: Found, key: str, value: Any) -> None:
    """Answer an attribute of an object that was put: on its frame, where the attribute may differ."""
    instance = space._instance("object", id)
    attribute = instance._attribute(key)
    if not attribute.dynamic:
        instance._answers[key] = value
    elif space.kind == "sequence":
        space.set_dynamic_answer(instance, one.frame, value, attribute)
