"""Annotation spaces: objects with geometry, and classifications, of an image, a volume or a sequence."""

from .document import read_space, to_document, write_space
from .parsing import from_document
from .putting import FrameOverlapStrategy
from .records import Record
from .space import ImageSpace, SequenceSpace, Space, VolumeSpace
from .values.attributes import Attribute
from .values.frames import Range
from .values.geometry import Box, Ellipse, Geometry, Polygon, RotatedBox
from .values.grid import Grid
from .values.ids import new_id
from .values.instances import ClassificationInstance, ObjectInstance
from .values.lines import Mesh, Point, Polyline, Skeleton
from .values.masks import Mask
from .values.ontology import Classification, ObjectClass, Ontology

__all__ = [
    "Attribute",
    "Box",
    "Classification",
    "ClassificationInstance",
    "Ellipse",
    "FrameOverlapStrategy",
    "Geometry",
    "Grid",
    "ImageSpace",
    "Mask",
    "Mesh",
    "ObjectClass",
    "ObjectInstance",
    "Ontology",
    "Point",
    "Polygon",
    "Polyline",
    "Range",
    "Record",
    "RotatedBox",
    "SequenceSpace",
    "Skeleton",
    "Space",
    "VolumeSpace",
    "from_document",
    "new_id",
    "read_space",
    "to_document",
    "write_space",
]
