"""Boxes and landmarks of label projects, whose coordinates are those of spaces."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ParameterError
from ..values.geometry import Box
from ..values.ids import new_id
from ..values.lines import Point


def from_boxes(space: Any, boxes: Any, **given: Any) -> int:
    """Put the boxes of a `BoxSet`; its types are the names of classes.

    Parameters
    ----------
    space : Space
    boxes : BoxSet
    **given
        As of `Space.put_many`.

    Returns
    -------
    int
        Number of boxes.

    Raises
    ------
    KeyNotFoundError
        There is no such class.
    """
    d = space.grid.ndim
    shapes = [Box(row.top_left[:d], row.lower_right[:d]) for row in boxes]
    return _put(space, boxes, shapes, given)


def from_landmarks(space: Any, landmarks: Any, **given: Any) -> int:
    """Put the points of a `LandmarkSet`; as `from_boxes`."""
    shapes = [Point(row.world[: space.grid.ndim]) for row in landmarks]
    return _put(space, landmarks, shapes, given)


def _put(space: Any, rows: Any, shapes: list[Any], given: Any) -> int:
    sequence = space.kind == "sequence"
    frames = np.array([row.frame if sequence else 0 for row in rows], np.int64)
    if shapes:
        space.put_many([row.type for row in rows], shapes, frames, [new_id() for _ in shapes], **given)
    return len(shapes)


def to_boxes(space: Any, boxes: Any, class_: Any = None) -> Any:
    """Add the boxes of a space to a `BoxSet`, and return it; a flat box reaches through one voxel of z."""
    for record in space.query(class_=class_):
        if record.class_.shape != "bounding_box":
            if class_ is not None:
                raise ParameterError(
                    f"{record.name!r} is of the shape {record.class_.shape}.", remedy="a class of boxes"
                )
            continue
        low, high = (np.array(record.bounds[at : at + 3]) for at in (0, 3))
        flat = ~np.isfinite(low)
        low, high = np.where(flat, -0.5, low), np.where(flat, 0.5, high)
        boxes.add(record.name, record.frame, low, high)
    return boxes


def to_landmarks(space: Any, landmarks: Any, class_: Any = None) -> Any:
    """Add the points of a space to a `LandmarkSet`, and return it."""
    for record in space.query(class_=class_):
        if record.class_.shape == "point":
            at = record.geometry.position
            landmarks.add(record.name, record.frame, np.concatenate([at, np.zeros(3 - len(at))]))
    return landmarks
