"""What an annotation space says, as annotations: objects with an area are masks, boxes are boxes, answers are labels.

A space tells who made a record, when, how sure they were and whether by hand, so nobody has to be asked for it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ShapeError, SourceNotFoundError
from ...spaces import Box, Geometry, Grid, Ontology, Point, Record, Space, read_space
from ...spaces.raster import rasterise_geometry
from ..annotations.annotation import Annotation
from ..annotations.label_sets import Category, LabelSets
from ..annotations.masks import Bools, Mask, Shared
from ..layout import Layout, Region

AREAS = ("polygon", "bitmask", "ellipse", "rotatable_bounding_box")
"""Shapes of classes whose objects are masks."""
_KEPT = 64
"""Files whose annotations are kept."""
_Frame = int | None


def labels_of(ontology: Ontology) -> LabelSets:
    """Return the labels that an ontology defines, in its order.

    A question about frames is one about the image where there is one frame, so it defines labels of both.
    """
    options: dict[str, list[Category]] = {"global": [], "frame": []}
    hot: dict[str, list[str]] = {"global": [], "frame": []}
    for item in ontology.classifications:
        for option in item.attribute.options:
            if item.attribute.kind == "radio":
                options[item.level].append((item.name, option))
            else:
                hot[item.level].append(_checked_name(item.name, option))
    return LabelSets(
        segmentation=tuple(item.name for item in ontology.objects if item.shape in AREAS),
        box=tuple(item.name for item in ontology.objects if item.shape == "bounding_box"),
        image=tuple(hot["global"] + hot["frame"]),
        frame=tuple(hot["frame"]),
        image_categories=tuple(options["global"] + options["frame"]),
        frame_categories=tuple(options["frame"]),
    )


def _checked_name(question: str, option: str) -> str:
    return f"{question}/{option}"


def authors_of(space: Space) -> set[str]:
    """Who made the records of a space."""
    return {record.created_by for record in space}


@dataclass(frozen=True, eq=False)
class ShapeMask(Mask):
    """The voxels whose centre lies in the geometry of an object; they are found when they are read.

    Parameters
    ----------
    geometries : mapping
        Geometry in world coordinates by frame; None stands for all frames.
    grid : Grid
        Of the space.
    shape : tuple of int
        (N, H, W); N is 1 where the geometry is flat and of no frame.
    """

    geometries: Mapping[_Frame, Geometry]
    grid: Grid
    shape: tuple[int, ...]

    @cached_property
    def _boxes(self) -> dict[_Frame, Region]:
        """A box (N, H, W) within the image around the geometry of each frame that has voxels there."""
        found = {}
        for frame, geometry in self.geometries.items():
            bounds = np.array(geometry.bounds(self.grid)).reshape(2, 3)
            low, high = ((end - self.grid.corner) / self.grid.scale for end in bounds)
            if frame is not None or self.grid.ndim == 2:
                low[2], high[2] = (0, self.shape[0]) if frame is None else (frame, frame + 1)
            # Nothing of a box is lost by rounding: a voxel at its edge may be looked at in vain.
            begins = [max(0, math.floor(round(x, 6))) for x in low[::-1]]
            ends = [min(n, math.ceil(round(x, 6))) for x, n in zip(high[::-1], self.shape, strict=True)]
            if all(a < b for a, b in zip(begins, ends, strict=True)):
                found[frame] = tuple(slice(a, b) for a, b in zip(begins, ends, strict=True))
        return found

    @property
    def box(self) -> Region | None:
        """A box around it; None where it is empty."""
        boxes = list(self._boxes.values())
        if not boxes:
            return None
        return tuple(
            slice(min(p.start for p in parts), max(p.stop for p in parts)) for parts in zip(*boxes, strict=True)
        )

    def read(self, region: Region, shared: Shared | None = None) -> Bools:
        """Return a box of it, bool (n, h, w)."""
        own = self.within(region)
        result = np.zeros([part.stop - part.start for part in own], bool)
        for frame, box in self._boxes.items():
            window = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(own, box, strict=True))
            if all(part.start < part.stop for part in window):
                to = tuple(slice(p.start - o.start, p.stop - o.start) for p, o in zip(window, own, strict=True))
                result[to] |= rasterise_geometry(self.geometries[frame], self.grid, self._of_space(frame, window))
        return np.broadcast_to(result, [part.stop - part.start for part in region])

    def _of_space(self, frame: _Frame, window: Region) -> Region:
        """The window along the axes of the space: (y, x) or (z, y, x), which has one z where there are frames."""
        if self.grid.ndim == 2:
            return window[1:]
        return window if frame is None else (slice(0, 1), *window[1:])


def annotations_of_space(space: Space, layout: Layout, resource: str, name: str, **common: Any) -> Iterator[Annotation]:
    """Return what a space says.

    Parameters
    ----------
    space : Space
    layout : Layout
        Of the items of its image.
    resource, name : str
        Id and name of the resource.
    **common
        More fields of all annotations.

    Raises
    ------
    ShapeError
        It is of another size than the image.
    """
    shape = _shape(space.grid, layout, name)
    common = {
        "resource_id": resource,
        "resource_filename": name,
        "annotation_worklist_id": space.space_id,
        "annotation_worklist_name": space.space_id,
        **common,
    }
    several = space.grid.n_frames > 1
    yield from _areas(space, shape, several, common)
    for record in space:
        if record.type == "classification":
            yield from _answers(record, several, common)
        elif record.geometry.shape not in AREAS:
            yield _outline(record, several, common)


def _shape(grid: Grid, layout: Layout, name: str) -> tuple[int, ...]:
    """Return the shape (N, H, W) of masks."""
    *deep, height, width = grid.mask_shape()
    planes = grid.n_frames if grid.n_frames > 1 else (deep[0] if deep else 1)
    frames, *plane = layout.shape[1:]
    odd = grid.sizes is None and [height, width] != plane
    if odd or planes not in (1, frames):
        raise ShapeError(
            f"The space of {name!r} has {planes} planes or frames of {height} x {width}, the image {frames} of"
            f" {plane[0]} x {plane[1]}.",
            remedy="give each image the space that was made for it",
        )
    return (planes, *plane)


def _areas(space: Space, shape: tuple[int, ...], several: bool, common: Mapping[str, Any]) -> Iterator[Annotation]:
    """Objects with an area: one annotation for an object of an author, over all of its frames."""
    objects: dict[tuple[str, str, bool], list[Record]] = {}
    for record in space.get_annotations("object"):
        if record.geometry.shape in AREAS:
            objects.setdefault((record.id, record.created_by, record.manual_annotation), []).append(record)
    for records in objects.values():
        shapes = {record.frame if several else None: record.geometry for record in records}
        mask = ShapeMask(shapes, space.grid, shape)
        yield Annotation(**_fields(records[0], common), annotation_type="segmentation", scope="image", mask=mask)


def _outline(record: Record, several: bool, common: Mapping[str, Any]) -> Annotation:
    """A box, a point, or something else that is no mask, in pixels."""
    given = _fields(record, common)
    geometry = record.geometry_in("pixel")
    if several:
        given |= {"id": f"{given['id']}/{record.frame}", "frame_index": record.frame}
    if isinstance(geometry, Box):
        corners = [*geometry.top_left.tolist(), *geometry.lower_right.tolist()]
        return Annotation(**given, scope="image", annotation_type="box", geometry=corners)
    if isinstance(geometry, Point):
        return Annotation(**given, scope="image", annotation_type="point", geometry=geometry.position.tolist())
    return Annotation(**given, scope="image", annotation_type=geometry.shape, geometry=[geometry.to_document()])


def _answers(record: Record, several: bool, common: Mapping[str, Any]) -> Iterator[Annotation]:
    """What was answered to a question: nothing where there is no answer."""
    given = _fields(record, common)
    framed = several and record.frame is not None
    given["scope"] = "frame" if framed else "image"
    if framed:
        given |= {"id": f"{given['id']}/{record.frame}", "frame_index": record.frame}
    attribute = record.class_.attributes[0]
    answer = record.answers.get(attribute.name)
    if answer is None:
        return
    if attribute.kind == "radio":
        yield Annotation(**given, annotation_type="category", text_value=answer)
    elif attribute.kind == "checklist":
        for option in answer:
            own = {"identifier": _checked_name(record.name, option), "id": f"{given['id']}/{option}"}
            yield Annotation(**{**given, **own}, annotation_type="label")
    elif attribute.kind == "numeric":
        yield Annotation(**given, annotation_type="number", numeric_value=float(answer))
    else:
        yield Annotation(**given, annotation_type="text", text_value=answer)


def _fields(record: Record, common: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **common,
        "id": f"{common['resource_id']}/{common['annotation_worklist_id']}/{record.id}",
        "identifier": record.name,
        "created_by": record.created_by,
        "created_at": record.created_at.isoformat(),
        "source": "manual" if record.manual_annotation else "model",
        "values": record.answers or None,
        "extra": {"confidence": record.confidence},
    }


def annotations_of_given(given: Any, layout: Layout, resource: str, name: str) -> tuple[Annotation, ...]:
    """Return what a space says that was given with an image: itself, or the path of its file.

    A file is read again when it has changed, a space in memory each time.

    Raises
    ------
    SourceNotFoundError
        The file is gone.
    """
    if isinstance(given, Space):
        return tuple(annotations_of_space(given, layout, resource, name))
    try:
        status = os.stat(given)
    except OSError as error:
        raise SourceNotFoundError(
            f"The space of {name!r} (id {resource!r}) is gone: {error}",
            remedy='put it back, or leave such resources out: on_error="skip"',
        ) from error
    return _of_file(Path(given), (status.st_mtime_ns, status.st_ino, status.st_size), layout, resource, name)


@lru_cache(maxsize=_KEPT)
def _of_file(path: Path, stamp: Iterable[int], layout: Layout, resource: str, name: str) -> tuple[Annotation, ...]:
    return tuple(annotations_of_space(read_space(path), layout, resource, name))
