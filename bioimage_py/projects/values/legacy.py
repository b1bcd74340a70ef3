"""Names by which what this package has in one class is known elsewhere."""

from __future__ import annotations

from .accessor import Accessor
from .models import Label, Tag

TagLegacy = Tag
LabelLegacy = BoundingBox = Landmark = Label
TagsAccessor = LayersAccessor = LabelsAccessor = TagsAccessorLegacy = LabelsAccessorLegacy = Accessor
LabelMapsAccessor = BoundingBoxLayersAccessor = LandmarkLayersAccessor = Accessor
BoundingBoxAccessor = LandmarksAccessor = Accessor
