"""Label projects: data sets that are sources plus metadata, with label maps, boxes and landmarks."""

from ..extras import need

need("pydantic", "A label project")

from .aliases import deprecate, wraps
from .descriptor import Descriptor
from .descriptors import DescriptorsAccessor
from .drafts import Draft
from .jobs.apply import ApplyReport
from .jobs.edit import EditPlan, Item, Loss
from .layers import BoundingBoxLayer, LabelMapLayer, LandmarkLayer
from .project import Project
from .remote.logins import ApiToken, Tokens, login, logout, tokens
from .remote.opening import ListedProject
from .remote.store import Event
from .remote.watching import Watch
from .storage.leases import LockToken
from .values.accessor import Accessor
from .values.kinds import DataType, LayerKind, TagKind
from .values.models import Group, ImageInfo, Label, Layer, Tag
from .values.sets import BoxSet, LandmarkSet
from .values.settings import ProjectSettings

TagLegacy = Tag
LabelLegacy = BoundingBox = Landmark = Label
TagsAccessor = LayersAccessor = LabelsAccessor = TagsAccessorLegacy = LabelsAccessorLegacy = Accessor
LabelMapsAccessor = BoundingBoxLayersAccessor = LandmarkLayersAccessor = Accessor
BoundingBoxAccessor = LandmarksAccessor = Accessor

__all__ = [
    "Accessor",
    "ApiToken",
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
    "Event",
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
    "ListedProject",
    "LockToken",
    "Loss",
    "Project",
    "ProjectSettings",
    "Tag",
    "TagKind",
    "TagLegacy",
    "TagsAccessor",
    "TagsAccessorLegacy",
    "Tokens",
    "Watch",
    "deprecate",
    "login",
    "logout",
    "tokens",
    "wraps",
]
