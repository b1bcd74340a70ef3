"""Label projects: data sets that are sources plus metadata, with label maps, boxes and landmarks.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..extras import need

need("pydantic", "A label project")

if TYPE_CHECKING:
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
    from .remote.watching import Event, Watch
    from .storage.leases import LockHolder, LockToken
    from .values.accessor import Accessor
    from .values.kinds import DataType, LayerKind, TagKind
    from .values.legacy import (
        BoundingBox,
        BoundingBoxAccessor,
        BoundingBoxLayersAccessor,
        LabelLegacy,
        LabelMapsAccessor,
        LabelsAccessor,
        LabelsAccessorLegacy,
        Landmark,
        LandmarkLayersAccessor,
        LandmarksAccessor,
        LayersAccessor,
        TagLegacy,
        TagsAccessor,
        TagsAccessorLegacy,
    )
    from .values.models import Group, ImageInfo, Label, Layer, Tag
    from .values.sets import BoxSet, LandmarkSet
    from .values.settings import ProjectSettings
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "Accessor": ".values.accessor",
            "ApiToken": ".remote.logins",
            "ApplyReport": ".jobs.apply",
            "BoundingBox": ".values.legacy",
            "BoundingBoxAccessor": ".values.legacy",
            "BoundingBoxLayer": ".layers",
            "BoundingBoxLayersAccessor": ".values.legacy",
            "BoxSet": ".values.sets",
            "DataType": ".values.kinds",
            "Descriptor": ".descriptor",
            "DescriptorsAccessor": ".descriptors",
            "Draft": ".drafts",
            "EditPlan": ".jobs.edit",
            "Event": ".remote.watching",
            "Group": ".values.models",
            "ImageInfo": ".values.models",
            "Item": ".jobs.edit",
            "Label": ".values.models",
            "LabelLegacy": ".values.legacy",
            "LabelMapLayer": ".layers",
            "LabelMapsAccessor": ".values.legacy",
            "LabelsAccessor": ".values.legacy",
            "LabelsAccessorLegacy": ".values.legacy",
            "Landmark": ".values.legacy",
            "LandmarkLayer": ".layers",
            "LandmarkLayersAccessor": ".values.legacy",
            "LandmarkSet": ".values.sets",
            "LandmarksAccessor": ".values.legacy",
            "Layer": ".values.models",
            "LayerKind": ".values.kinds",
            "LayersAccessor": ".values.legacy",
            "ListedProject": ".remote.opening",
            "LockHolder": ".storage.leases",
            "LockToken": ".storage.leases",
            "Loss": ".jobs.edit",
            "Project": ".project",
            "ProjectSettings": ".values.settings",
            "Tag": ".values.models",
            "TagKind": ".values.kinds",
            "TagLegacy": ".values.legacy",
            "TagsAccessor": ".values.legacy",
            "TagsAccessorLegacy": ".values.legacy",
            "Tokens": ".remote.logins",
            "Watch": ".remote.watching",
            "deprecate": ".aliases",
            "login": ".remote.logins",
            "logout": ".remote.logins",
            "tokens": ".remote.logins",
            "wraps": ".aliases",
        },
    )

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
    "LockHolder",
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
