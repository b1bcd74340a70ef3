"""Spaces in the formats of other programs."""

from .coco import from_coco, to_coco
from .common import Exported
from .cvat import from_cvat_xml, to_cvat_xml
from .geojson import from_geojson, to_geojson
from .sets import from_boxes, from_landmarks, to_boxes, to_landmarks
from .vendor import from_encord, to_encord

__all__ = [
    "Exported",
    "from_boxes",
    "from_coco",
    "from_cvat_xml",
    "from_encord",
    "from_geojson",
    "from_landmarks",
    "to_boxes",
    "to_coco",
    "to_cvat_xml",
    "to_encord",
    "to_geojson",
    "to_landmarks",
]
