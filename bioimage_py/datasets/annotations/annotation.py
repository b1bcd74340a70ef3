"""One thing that somebody says of a resource, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Self

import numpy as np

from ...errors import ParameterError
from .masks import CropMask, Mask

_ALIASES = {"added_by": "created_by", "index": "frame_index", "name": "identifier", "type": "annotation_type"}
_OURS = ("mask", "extra")


@dataclass(frozen=True)
class Annotation:
    """A label, category, segmentation, box, point, ... of a resource, or of one of its frames.

    Parameters
    ----------
    id : str
    identifier : str
        Name of the label or category.
    scope : {"image", "frame"}
    annotation_type : str
        "segmentation", "label", "category", "box" or "point"; from spaces also "text", "number", "polyline", "skeleton"
        and "mesh", which have no place in items.
    resource_id : str
    created_by : str, optional
        Who made it.
    frame_index : int, optional
        Of the scope "frame".
    text_value : str, optional
        Value of a category.
    geometry : list
        In pixels, pixel ``i`` covering [i, i+1): of a box x0, y0, x1, y1 or x0, y0, z0, x1, y1, z1; of a point
        x, y(, z); of lines, skeletons and meshes of spaces one dict, as spaces store it.
    source : str, optional
        "manual", "imported" or "model".
    mask : Mask, optional
        Of a segmentation; not a part of `to_dict`.
    extra : mapping
        Whatever else `from_dict` was given.

    Other fields are kept as they are.

    Examples
    --------
    >>> Annotation.label("nucleus", created_by="ann").is_label()
    True
    """

    id: str
    identifier: str
    scope: str
    annotation_type: str
    resource_id: str
    created_by: str | None = None
    annotation_worklist_id: str | None = None
    status: str | None = None
    frame_index: int | None = None
    text_value: str | None = None
    numeric_value: float | None = None
    units: str | None = None
    geometry: list[Any] = field(default_factory=list)
    created_at: str | None = None
    approved_at: str | None = None
    approved_by: str | None = None
    associated_file: str | None = None
    file: str | None = None
    deleted: bool = False
    deleted_at: str | None = None
    deleted_by: str | None = None
    created_by_model: str | None = None
    old_geometry: Any = None
    set_name: str | None = None
    resource_filename: str | None = None
    resource_modality: str | None = None
    annotation_worklist_name: str | None = None
    user_info: dict[str, str] | None = None
    values: Any = None
    source: str | None = None
    mask: Mask | None = field(default=None, repr=False, compare=False)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def segmentation(cls, name: str, mask: Any, *, created_by: str | None = None, **more: Any) -> Self:
        """Return a segmentation of a mask: an array (N, H, W) or (H, W), or a `Mask`."""
        made = mask if isinstance(mask, Mask) else CropMask.of(mask)
        return cls._made(name, "segmentation", created_by, more, mask=made)

    @classmethod
    def label(cls, name: str, *, created_by: str | None = None, **more: Any) -> Self:
        """Return a label of an image, or with ``frame_index`` of a frame."""
        return cls._made(name, "label", created_by, more)

    @classmethod
    def category(cls, name: str, value: str, *, created_by: str | None = None, **more: Any) -> Self:
        """Return a category's value."""
        return cls._made(name, "category", created_by, more, text_value=value)

    @classmethod
    def box(cls, name: str, corners: Any, *, created_by: str | None = None, **more: Any) -> Self:
        """Return a box: x0, y0, x1, y1, or x0, y0, z0, x1, y1, z1, in pixels.

        Raises
        ------
        ParameterError
            It has another number of values, one is not finite, or an end lies before its begin.
        """
        found = np.asarray(corners, np.float64)
        half = found.size // 2
        if found.shape not in ((4,), (6,)) or not np.isfinite(found).all() or (found[:half] > found[half:]).any():
            raise ParameterError(
                f"The box {name!r} has the corners {np.asarray(corners).tolist()}.", remedy="x0, y0, x1, y1, ends last"
            )
        return cls._made(name, "box", created_by, more, geometry=found.tolist())

    @classmethod
    def _made(cls, name: str, kind: str, by: str | None, more: dict[str, Any], **given: Any) -> Self:
        if not isinstance(name, str) or not name:
            raise ParameterError(f"{name!r} is no name of a {kind}.", remedy="a text such as 'nucleus'")
        scope = "image" if more.get("frame_index") is None else "frame"
        known = {"id": "", "resource_id": "", "scope": scope} | given | more
        return cls(identifier=name, annotation_type=kind, created_by=by, **known)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the record of a dict; what it does not know is kept as `extra`.

        Raises
        ------
        ParameterError
            A field is missing that every annotation has.
        """
        names = {item.name for item in fields(cls)}.difference(_OURS)
        given = {_ALIASES.get(key, key): value for key, value in data.items()}
        required = {"id", "identifier", "scope", "annotation_type", "resource_id"}
        if missing := sorted(required.difference(given)):
            raise ParameterError(f"An annotation without {', '.join(missing)}: {dict(data)}", remedy="add it")
        known = {key: value for key, value in given.items() if key in names}
        return cls(**known, extra={key: value for key, value in given.items() if key not in names})

    def to_dict(self) -> dict[str, Any]:
        """Return all fields but the mask, with those that `from_dict` did not know."""
        known = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _OURS}
        return {**self.extra, **known}

    @property
    def added_by(self) -> str | None:
        """The same as `created_by`."""
        return self.created_by

    @property
    def index(self) -> int | None:
        """The same as `frame_index`."""
        return self.frame_index

    @property
    def name(self) -> str:
        """The same as `identifier`."""
        return self.identifier

    @property
    def type(self) -> str:
        """The same as `annotation_type`."""
        return self.annotation_type

    @property
    def value(self) -> str | None:
        """Value of a category."""
        return self.text_value

    @property
    def author(self) -> str:
        """Who made it, else the model that did, else "unknown"."""
        return self.created_by or self.created_by_model or "unknown"

    def get_created_datetime(self) -> datetime | None:
        """When it was made; None where that is not told."""
        return None if self.created_at is None else datetime.fromisoformat(self.created_at)

    def is_category(self) -> bool:
        """Whether it is a category."""
        return self.annotation_type == "category"

    def is_label(self) -> bool:
        """Whether it is a label."""
        return self.annotation_type == "label"

    def is_segmentation(self) -> bool:
        """Whether it is a segmentation."""
        return self.annotation_type == "segmentation"

    def is_frame_scoped(self) -> bool:
        """Whether it belongs to a frame."""
        return self.scope == "frame"

    def is_image_scoped(self) -> bool:
        """Whether it belongs to the whole image."""
        return self.scope == "image"

    def of(self, resource: str, number: int) -> Self:
        """Return it as one of a resource, with an id if it has none."""
        return replace(self, resource_id=self.resource_id or resource, id=self.id or f"{resource}/{number}")

    def __hash__(self) -> int:
        return hash((self.id, self.resource_id))
