"""GeoJSON as QuPath has it: features in pixels, class and colour in their properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import BioimageError
from ..raster import outline
from ..values.geometry import Geometry, Polygon
from ..values.lines import Point, Polyline
from ..values.masks import Mask
from ..values.shapes import KINDS
from .common import Exported, Found, bad, put_all


def to_geojson(space: Any) -> Exported:
    """Return a space as GeoJSON.

    Coordinates are pixels of the whole image, outer rings run counter-clockwise. What GeoJSON has no shape for is
    written as its outline, with the exact numbers in the property `exact`, which `from_geojson` reads.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace

    Returns
    -------
    Exported
    """
    features, lost = [], Exported({}).lost
    for record in space.get_annotations("object"):
        geometry = record.geometry_in("pixel") if space.grid.ndim == 2 else None
        drawn = None if geometry is None else _drawn(geometry)
        if geometry is None or drawn is None:
            lost[record.class_.shape] += 1
            continue
        properties: dict[str, Any] = {
            "objectType": "annotation",
            "classification": {"name": record.name, "color": list(record.class_.color)},
            "confidence": record.confidence,
            "created_by": record.created_by,
        }
        if space.kind == "sequence":
            properties["frame"] = record.frame
        if geometry.shape not in ("polygon", "polyline", "point"):
            properties["exact"] = {"shape": geometry.shape, **_exact(geometry)}
        features.append({"type": "Feature", "id": record.id, "geometry": drawn, "properties": properties})
        lost["times"] += 1
    lost["classifications"] += space.count("classification")
    document = {"type": "FeatureCollection", "features": features}
    return Exported(document, {what: n for what, n in lost.items() if n})


def _exact(geometry: Geometry) -> dict[str, Any]:
    return {"geometry": geometry.to_document()}


def _drawn(geometry: Geometry) -> dict[str, Any] | None:
    if isinstance(geometry, Point):
        return {"type": "Point", "coordinates": geometry.position.tolist()}
    if isinstance(geometry, Polyline):
        return {"type": "LineString", "coordinates": geometry.points.tolist()}
    if isinstance(geometry, Mask):
        geometry = outline(geometry)
    if not geometry.rings():
        return None
    parts = geometry.parts if isinstance(geometry, Polygon) else (tuple(geometry.rings()),)
    closed = [[_closed(ring, i == 0) for i, ring in enumerate(part)] for part in parts]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed[0]}
    return {"type": "MultiPolygon", "coordinates": closed}


def _closed(ring: Any, outer: bool) -> list[list[float]]:
    x, y = ring[:, 0], ring[:, 1]
    counter_clockwise = np.dot(x, np.roll(y, -1)) > np.dot(y, np.roll(x, -1))
    turned = ring if counter_clockwise == outer else ring[::-1]
    return np.concatenate([turned, turned[:1]]).tolist()  # type: ignore[no-any-return]


_NO_IDS = ("PathAnnotationObject", "PathDetectionObject", "PathCellObject", "PathTileObject", "PathRootObject")
"""What older files of QuPath have in the place of an id: the kind of the object, the same for many."""


def from_geojson(space: Any, document: Any, *, class_: Any = None, new_ids: bool = False) -> int:
    """Put the features of a GeoJSON document, all or none.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace
        Its ontology must have the classes, by name; an object becomes what its class wants.
    document : dict or list
        A collection of features, one of them, or a list. Each of several points becomes an object of its own.
    class_ : str or ObjectClass, optional
        Of features that have no classification. None: there must be none.
    new_ids : bool, default False
        Give objects other ids than the file's, as where files of several images number them alike.

    Returns
    -------
    int
        Number of objects.

    Raises
    ------
    FormatError
        Something is wrong; names the place, such as "features[3].geometry".
    """
    features = document.get("features", [document]) if isinstance(document, Mapping) else document
    if not isinstance(features, list):
        raise bad("features", "there is no such list")
    found = []
    for i, feature in enumerate(features):
        where = f"features[{i}]"
        if not isinstance(feature, Mapping) or "properties" not in feature:
            raise bad(where, "it has no properties")
        properties = {} if feature["properties"] is None else feature["properties"]  # RFC 7946 allows null
        if not isinstance(properties, Mapping):
            raise bad(f"{where}.properties", "they are no mapping")
        given = properties.get("classification")
        name = given.get("name") if isinstance(given, Mapping) else class_ if given is None else None
        if name is None or (name is not class_ and not isinstance(name, str)):
            raise bad(f"{where}.properties.classification", f"{given!r} has no name; class_='...' is for such features")
        frame = _frame(space, feature, properties, where)
        id, author = feature.get("id"), properties.get("created_by")
        if isinstance(id, bool) or not isinstance(id, str | int | float | None):
            raise bad(f"{where}.id", f"{id!r:.80} is neither a text nor a number")
        id = None if id is None or id in _NO_IDS else str(id)
        drawn = _geometries(feature, properties, where)
        for geometry in drawn:
            kept = id if len(drawn) == 1 else None
            found.append(Found(where, name, geometry, frame, kept, properties.get("confidence"), True, author))
    return put_all(space, found, new_ids)


def _frame(space: Any, feature: Any, properties: Any, where: str) -> int:
    """Return the frame: ours, else that of the plane that QuPath names."""
    frame = properties.get("frame")
    shape = feature.get("geometry")
    plane = shape.get("plane") if isinstance(shape, Mapping) else None
    if frame is None and space.kind == "sequence" and isinstance(plane, Mapping):
        frame = plane.get("z" if space.grid.frames == "z" else "t")
    frame = 0 if frame is None else frame
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < space.n_frames:
        raise bad(f"{where}.properties.frame", f"{frame!r} is none of 0 to {space.n_frames - 1}")
    return frame


def _geometries(feature: Any, properties: Any, where: str) -> list[Geometry]:
    try:
        exact = properties.get("exact")
        if exact is not None:
            return [KINDS[exact["shape"]].from_document(exact["geometry"])]
        kind, at = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        if kind in ("Point", "MultiPoint"):
            return [Point(one) for one in ([at] if kind == "Point" else at)]
        if kind == "LineString":
            return [Polyline(at)]
        if kind not in ("Polygon", "MultiPolygon"):
            raise bad(f"{where}.geometry.type", f"{kind!r} is not read")
        return [Polygon(parts=[at] if kind == "Polygon" else at)]
    except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise bad(f"{where}.geometry", error) from None
