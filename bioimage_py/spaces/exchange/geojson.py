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
from .common import Exported, bad, put_all


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


def from_geojson(space: Any, document: Any) -> int:
    """Put the features of a GeoJSON document, all or none.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace
        Its ontology must have the classes, by name; an object becomes what its class wants.
    document : dict or list
        A collection of features, one of them, or a list.

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
        if not isinstance(feature, Mapping) or not isinstance(properties := feature.get("properties"), Mapping):
            raise bad(where, "it has no properties")
        class_ = properties.get("classification")
        name = class_.get("name") if isinstance(class_, Mapping) else None
        if not isinstance(name, str):
            raise bad(f"{where}.properties.classification", f"{class_!r} has no name")
        frame = properties.get("frame", 0)
        if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < space.n_frames:
            raise bad(f"{where}.properties.frame", f"{frame!r} is none of 0 to {space.n_frames - 1}")
        id = feature.get("id")
        sure = properties.get("confidence")
        found.append((where, name, _geometry(feature, properties, where), frame, None if id is None else str(id), sure))
    return put_all(space, found)


def _geometry(feature: Any, properties: Any, where: str) -> Geometry:
    try:
        exact = properties.get("exact")
        if exact is not None:
            return KINDS[exact["shape"]].from_document(exact["geometry"])
        kind, at = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        if kind == "Point":
            return Point(at)
        if kind == "LineString":
            return Polyline(at)
        if kind not in ("Polygon", "MultiPolygon"):
            raise bad(f"{where}.geometry.type", f"{kind!r} is not read")
        return Polygon(parts=[at] if kind == "Polygon" else at)
    except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise bad(f"{where}.geometry", error) from None
