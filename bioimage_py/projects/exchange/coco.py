"""Boxes as COCO has them: one JSON file of images, categories and boxes in pixels.

A COCO image is one frame of a data set; frames other than the first are told by the further field "frame".
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FormatError, SourceNotFoundError
from ...system.files import write_once
from ...system.json_text import parse_json
from ..values.sets import BoxSet

if TYPE_CHECKING:
    from ..descriptor import Descriptor
    from ..project import Project


def import_coco(
    project: Project,
    path: str | os.PathLike[str],
    *,
    layer: str = "boxes",
    images: str | os.PathLike[str] | None = None,
    own_copy: bool = False,
) -> list[Descriptor]:
    """Read boxes into a layer, in addition to those that it has.

    A COCO image is the data set whose name, or whose file, is called like its ``file_name``; others are added from
    `images`. Categories become types of the layer.

    Parameters
    ----------
    project : Project
    path : path
        JSON file.
    layer : str, default "boxes"
        Layer of boxes, made if it is missing.
    images : path, optional
        Folder of the images that the project does not have yet; None: that of the JSON file.
    own_copy : bool, default False
        Copy images that are added into the project.

    Returns
    -------
    list of Descriptor
        Those that got boxes, in one transaction.

    Raises
    ------
    FormatError
        It is no COCO file; names what is missing.
    SourceNotFoundError
        An image is neither in the project nor in the folder.
    """
    document = _read(Path(path))
    folder = Path(images) if images is not None else Path(path).parent
    with project:
        if layer not in project.boundingbox_layers.names:
            project.add_boundingbox_layer(layer)
        live = project.boundingbox_layers[layer]
        categories = {item["id"]: str(item["name"]) for item in document["categories"]}
        for name in categories.values():
            if name not in live.boundingboxes.names:
                live.add_annotation(name)
        rows = _by_image(document)
        known = _known(project)
        found = {
            item["id"]: _descriptor(project, known, item, folder, own_copy)
            for item in document["images"]
            if item["id"] in rows or images is not None
        }
        sets: dict[str, BoxSet] = {}
        for item in document["images"]:
            if item["id"] not in rows:
                continue
            descriptor = found[item["id"]]
            boxes = sets.get(descriptor.identifier)
            if boxes is None:
                stored = descriptor.boundingbox_layers[layer].load()
                boxes = sets[descriptor.identifier] = stored or BoxSet.from_descriptor(descriptor, layer)
            frame = int(item.get("frame", 0))
            for box in rows[item["id"]]:
                boxes.add(categories[box["category_id"]], frame, *_corners(descriptor, frame, box["bbox"]))
        for identifier, boxes in sets.items():
            project.descriptors[identifier].boundingbox_layers[layer].save_new_data(boxes)
    return [project.descriptors[identifier] for identifier in sets]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SourceNotFoundError(f"{path} is no file.", remedy="give the path of a COCO file")
    try:
        document = parse_json(path.read_bytes())
    except ValueError as error:
        raise FormatError(f"{path} is no JSON: {error}", remedy="give the path of a COCO file") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise FormatError(f"{path} is no COCO file: it has no list {key!r}.", remedy="give a COCO file")
    known = {item["id"] for item in document["categories"]}, {item["id"] for item in document["images"]}
    for box in document["annotations"]:
        if box.get("category_id") not in known[0] or box.get("image_id") not in known[1]:
            raise FormatError(
                f"{path}: the annotation {box.get('id')} has the category {box.get('category_id')} and the image"
                f" {box.get('image_id')}, of which one is not in the file.",
                remedy="remove it, or add what is missing",
            )
    return dict(document)


def _by_image(document: dict[str, Any]) -> dict[Any, list[dict[str, Any]]]:
    rows: dict[Any, list[dict[str, Any]]] = {}
    for box in document["annotations"]:
        if box.get("bbox"):
            rows.setdefault(box["image_id"], []).append(box)
    return rows


def _known(project: Project) -> dict[str, list[str]]:
    """Identifiers of the data sets of each name."""
    known: dict[str, list[str]] = {}
    for identifier, name in zip(project.descriptors.identifiers, project.descriptors.names, strict=True):
        known.setdefault(name, []).append(identifier)
        known[identifier] = [identifier]
    return known


def _descriptor(
    project: Project, known: dict[str, list[str]], item: dict[str, Any], folder: Path, own_copy: bool
) -> Descriptor:
    name = str(item["file_name"])
    for wanted in (str(item.get("descriptor", "")), name, Path(name).name):
        if len(known.get(wanted, ())) == 1:
            return project.descriptors[known[wanted][0]]
        if wanted in known:
            return project.descriptors[wanted]  # an error that says what to do
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise FormatError(
            f"The image {name!r} lies out of {folder}.", remedy="pass images='folder', and names relative to it"
        )
    if not path.exists():
        raise SourceNotFoundError(
            f"The image {name!r} is neither in the project nor at {path}.", remedy="pass images='folder of the images'"
        )
    return project.add_descriptor(path, Path(name).name, own_copy, axes=_flat_axes(path))


def _flat_axes(path: Path) -> tuple[str, ...] | None:
    """Axes of a colour picture, whose last axis is short."""
    from ...sources.file import open_source

    with open_source(path) as source:
        return ("y", "x", "c") if source.ndim == 3 and source.shape[2] in (3, 4) else None


def _corners(descriptor: Descriptor, frame: int, box: Any) -> tuple[list[float], list[float]]:
    x, y, width, height = (float(value) for value in box)
    begin, end = {"x": x, "y": y}, {"x": x + width, "y": y + height}
    depth = _depth(descriptor)
    begin["z"], end["z"] = (frame, frame + 1) if depth == "frames" else (0, max(1, descriptor.n_slices))
    scales = _scales(descriptor)
    return tuple([scales[a][1] + scales[a][0] * (at[a] - 0.5) for a in "xyz"] for at in (begin, end))  # type: ignore[return-value]


def _depth(descriptor: Descriptor) -> str:
    """What frames run along: "frames" of z, or times of a whole volume."""
    times = any(axis.kind == "time" and size > 1 for axis, size in zip(descriptor.axes, descriptor.shape, strict=True))
    return "whole" if times or descriptor.n_slices == 1 else "frames"


def _scales(descriptor: Descriptor) -> dict[str, tuple[float, float]]:
    known = {axis.name.lower(): (axis.scale, axis.offset) for axis in descriptor.axes if axis.kind == "space"}
    return {name: known.get(name, (1.0, 0.0)) for name in "xyz"}


def export_coco(project: Project, path: str | os.PathLike[str], *, layer: str = "boxes") -> int:
    """Write the boxes of a layer as COCO.

    COCO boxes are flat: along z only the frame is told.

    Parameters
    ----------
    project : Project
    path : path
        JSON file to write.
    layer : str, default "boxes"

    Returns
    -------
    int
        Number of boxes.

    Raises
    ------
    KeyNotFoundError
        There is no such layer.
    """
    types = project.boundingbox_layers[layer].boundingboxes.names
    numbers = {name: number for number, name in enumerate(types, 1)}
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for descriptor in project.descriptors:
        boxes = descriptor.boundingbox_layers[layer].load()
        scales = _scales(descriptor)
        scale, offset = (np.array([scales[axis][part] for axis in "xy"]) for part in (0, 1))
        for frame in sorted({box.frame for box in boxes or ()} | {0}):
            images.append(
                {
                    "id": len(images) + 1,
                    "file_name": descriptor.name,
                    "width": descriptor.width,
                    "height": descriptor.height,
                    "descriptor": descriptor.identifier,
                    "frame": frame,
                }
            )
            for box in boxes.frame(frame) if boxes is not None else ():
                begin, end = ((corner[:2] - offset) / scale + 0.5 for corner in (box.top_left, box.lower_right))
                rows.append(
                    {
                        "id": len(rows) + 1,
                        "image_id": len(images),
                        "category_id": numbers[box.type],
                        "bbox": [*begin.tolist(), *(end - begin).tolist()],
                        "area": float(np.prod(end - begin)),
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    document = {"images": images, "annotations": rows, "categories": categories}
    write_once(Path(path), (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
    return len(rows)
