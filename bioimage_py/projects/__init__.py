"""Label projects: data sets that are sources plus metadata, with label maps, boxes and landmarks."""

from ..extras import need

need("pydantic", "A label project")

from .accessor import Accessor
from .aliases import deprecate, wraps
from .apply import ApplyReport
from .descriptor import Descriptor
from .descriptors import DescriptorsAccessor
from .drafts import Draft
from .editing import EditPlan, Item, Loss
from .kinds import DataType, LayerKind, TagKind
from .layers import BoundingBoxLayer, LabelMapLayer, LandmarkLayer
from .leases import LockToken
from .models import Group, ImageInfo, Label, Layer, Tag
from .project import Project
from .sets import BoxSet, LandmarkSet
from .settings import ProjectSettings

TagLegacy = Tag
LabelLegacy = BoundingBox = Landmark = Label
TagsAccessor = LayersAccessor = LabelsAccessor = TagsAccessorLegacy = LabelsAccessorLegacy = Accessor
LabelMapsAccessor = BoundingBoxLayersAccessor = LandmarkLayersAccessor = Accessor
BoundingBoxAccessor = LandmarksAccessor = Accessor

__all__ = [
    "Accessor",
    "ApplyReport",
    "BoundingBox",
    "BoundingBoxAccessor",
    "BoundingBoxLayer",
    "BoundingBoxLayersAccessor",
    "BoxSet",
    "DataType",
    "Descriptor",
    "DescriptorsAccessor",
    "Draft",
    "EditPlan",
    "Group",
    "ImageInfo",
    "Item",
    "Label",
    "LabelLegacy",
    "LabelMapLayer",
    "LabelMapsAccessor",
    "LabelsAccessor",
    "LabelsAccessorLegacy",
    "Landmark",
    "LandmarkLayer",
    "LandmarkLayersAccessor",
    "LandmarkSet",
    "LandmarksAccessor",
    "Layer",
    "LayerKind",
    "LayersAccessor",
    "LockToken",
    "Loss",
    "Project",
    "ProjectSettings",
    "Tag",
    "TagKind",
    "TagLegacy",
    "TagsAccessor",
    "TagsAccessorLegacy",
    "deprecate",
    "wraps",
]
