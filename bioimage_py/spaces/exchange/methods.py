"""What a space can do with the documents and files of other programs: the functions of this folder, as its methods."""

from __future__ import annotations

from ..document import to_document
from ..parsing import from_document
from ..raster import rasterise, vectorise
from .coco import from_coco, to_coco
from .cvat import from_cvat_xml, to_cvat_xml
from .geojson import from_geojson, to_geojson
from .sets import from_boxes, from_landmarks, to_boxes, to_landmarks
from .vendor import from_encord, to_encord


class Exchanging:
    """A space as the first argument of each: ``space.to_coco()`` is ``to_coco(space)``."""

    to_document = to_document
    from_document = staticmethod(from_document)
    to_coco = to_coco
    from_coco = from_coco
    to_geojson = to_geojson
    from_geojson = from_geojson
    to_cvat_xml = to_cvat_xml
    from_cvat_xml = from_cvat_xml
    to_encord = to_encord
    from_encord = from_encord
    to_boxes = to_boxes
    from_boxes = from_boxes
    to_landmarks = to_landmarks
    from_landmarks = from_landmarks
    rasterise = rasterise
    vectorise = vectorise
