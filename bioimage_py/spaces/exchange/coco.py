"""COCO: boxes, polygons and run lengths in pixels; an image for each frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import BioimageError
from ..raster import rasterise_geometry
from ..values.geometry import Box, Geometry, Polygon
from ..values.masks import Mask, from_run_lengths, run_lengths
from .common import Exported, Found, bad, put_all


def to_coco(space: Any, *, file_name: str = "image") -> Exported:
    """Return a space as COCO.

    Boxes become boxes, polygons without holes polygons, masks and polygons with holes run lengths (by columns, over the
    whole image). The ids of objects stand in `object_id`, as COCO's own are numbers; confidence in `score`.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace
    file_name : str, default "image"
        Of the image.

    Returns
    -------
    Exported
    """
    grid, lost = space.grid, Exported({}).lost
    numbers = {item.id: i for i, item in enumerate(space.ontology.objects, 1)}
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for frame in range(space.n_frames):
        height, width = grid.mask_shape(frame)[-2:]
        images.append({"id": frame + 1, "file_name": file_name, "width": width, "height": height, "frame": frame})
    for record in space.get_annotations("object"):
        drawn = _drawn(record, grid)
        if drawn is None:
            lost[record.class_.shape] += 1
            continue
        rows.append(
            {
                "id": len(rows) + 1,
                "image_id": record.frame + 1,
                "category_id": numbers[record.class_.id],
                **drawn,
                "score": record.confidence,
                "object_id": record.id,
            }
        )
        lost["author and time"] += 1
    lost["classifications"] += space.count("classification")
    categories = [{"id": numbers[item.id], "name": item.name} for item in space.ontology.objects]
    document = {"images": images, "annotations": rows, "categories": categories}
    return Exported(document, {what: n for what, n in lost.items() if n})


def _drawn(record: Any, grid: Any) -> dict[str, Any] | None:
    geometry, frame = record.geometry_in("pixel"), record.frame
    if grid.ndim != 2:
        return None
    if isinstance(geometry, Mask):
        found = np.zeros(grid.mask_shape(frame), bool)
        found[geometry.slices()] = geometry.crop
        return _runs(found)
    if not geometry.rings():
        return None
    if isinstance(geometry, Polygon) and any(len(part) > 1 for part in geometry.parts):
        window = tuple(slice(0, n) for n in grid.mask_shape(frame))
        found = rasterise_geometry(record.geometry, grid, window)
        return _runs(found) if found.any() else None
    rings = geometry.rings()
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    area = float(np.prod(high - low)) if isinstance(geometry, Box) else sum(_area(ring) for ring in rings)
    outlines = [] if isinstance(geometry, Box) else [ring.ravel().tolist() for ring in rings]
    return {"bbox": [*low.tolist(), *(high - low).tolist()], "area": area, "iscrowd": 0, "segmentation": outlines}


def _area(ring: Any) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _runs(found: Any) -> dict[str, Any]:
    rows, columns = (np.flatnonzero(found.any(axis=axis)) for axis in (1, 0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    runs = {"size": list(found.shape), "counts": run_lengths(np.asfortranarray(found).T)}
    return {"bbox": box, "area": int(found.sum()), "iscrowd": 1, "segmentation": runs}


def from_coco(space: Any, document: Any, *, image_id: Any = None, new_ids: bool = False) -> int:
    """Put the objects of a COCO document, all or none.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace
        Its ontology must have the categories, by name; an object becomes what its class wants.
    document : dict
    image_id : optional
        Of an image space: which image. None: the only one. In a sequence an image's `frame` tells where it is.
    new_ids : bool, default False
        Give objects other ids than the file's, as for a file that is read into several data sets of a project.

    Returns
    -------
    int
        Number of objects.

    Raises
    ------
    FormatError
        Something is wrong; names the place, such as "annotations[3].bbox".
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, Mapping) or not isinstance(document.get(key), list):
            raise bad(key, "there is no such list")
    names = {id: str(item.get("name")) for id, item in _by_id(document, "categories").items()}
    images = _by_id(document, "images")
    frames = _frames(space, images, _id(image_id))
    found = []
    for i, item in enumerate(document["annotations"]):
        where = f"annotations[{i}]"
        if not isinstance(item, Mapping):
            raise bad(where, "it is no mapping")
        image, category = _id(item.get("image_id")), _id(item.get("category_id"))
        if image not in images:
            raise bad(f"{where}.image_id", f"there is no image {item.get('image_id')!r:.80}")
        if image not in frames:
            continue
        if category not in names:
            raise bad(f"{where}.category_id", f"there is no category {item.get('category_id')!r:.80}")
        frame = frames[image]
        geometry = _geometry(space, item, frame, where)
        found.append(Found(where, names[category], geometry, frame, item.get("object_id"), item.get("score")))
    return put_all(space, found, new_ids)


def _by_id(document: Any, key: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for i, item in enumerate(document[key]):
        id = _id(item.get("id")) if isinstance(item, Mapping) else None
        if id is None or id in found:
            raise bad(f"{key}[{i}].id", "it is none" if id is None else f"{id!r:.80} comes twice")
        found[id] = item
    return found


def _id(value: Any) -> Any:
    """Return an id: a text or whole number, also one that a table program wrote as 1.0; None where it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str | np.integer) and not isinstance(value, bool) else None


def _frames(space: Any, known: Mapping[Any, Any], image_id: Any) -> dict[Any, int]:
    if space.kind != "sequence":
        if image_id is None and len(known) == 1:
            image_id = next(iter(known))
        if image_id not in known:
            raise bad("images", f"there is no image {image_id!r} among {list(known)[:10]}")
        return {image_id: 0}
    frames = {}
    for id, item in known.items():
        frame = item.get("frame")
        if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < space.n_frames:
            raise bad("images", f"the image {id!r} has the frame {frame!r}, there are 0 to {space.n_frames - 1}")
        frames[id] = frame
    return frames


def _geometry(space: Any, item: Any, frame: int, where: str) -> Geometry:
    outlines = item.get("segmentation")
    try:
        if isinstance(outlines, Mapping):
            size = tuple(int(n) for n in outlines["size"])
            if size != space.grid.mask_shape(frame):
                raise bad(f"{where}.segmentation", f"its size is {size}")
            counts = outlines["counts"]
            return Mask(from_run_lengths(unpacked(counts) if isinstance(counts, str | bytes) else counts, size, "F"))
        if outlines:
            return Polygon(parts=[[np.array(ring, float).reshape(-1, 2)] for ring in outlines])
        x, y, width, height = (float(n) for n in item["bbox"])
        return Box((x, y), (x + width, y + height))
    except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise bad(where, error) from None


def unpacked(text: str | bytes) -> list[int]:
    """Return run lengths that were packed into text, as the COCO API does.

    Six bits a character, of which one says that more follow; from the fourth on a number is the difference to the one
    before the last.

    Raises
    ------
    ValueError
        It is no such text.
    """
    found: list[int] = []
    number = shift = 0
    for byte in text.encode() if isinstance(text, str) else text:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"{text!r:.80} are no packed run lengths")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        found.append(number + (found[-2] if len(found) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError(f"{text!r:.80} ends within a number")
    return found
