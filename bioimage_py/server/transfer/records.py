"""Documents of data sets and layers that clients send, looked at before they are used."""

from __future__ import annotations

import math

import numpy as np

from ...errors import BioimageError, FormatError, ParameterError
from ...io.v3.properties import usable_affine
from ...projects.storage.packs import ARRAY
from ...projects.values.merge import Document
from ...projects.values.models import Layer
from ...projects.values.records import DescriptorRecord
from ...projects.values.settings import ProjectSettings, parse_settings
from ...sources import Axis, SourceSpec
from ...sources.stores.paths import is_url

_MOST_AXES, _LARGEST = 16, 2**53


def new_record(name: str, document: Document) -> DescriptorRecord:
    """Return the record of a data set that a client is about to add.

    Raises
    ------
    ParameterError
        It is none, or not of this name.
    """
    record = described(name, document)
    check_image(record)
    return record


def new_layer(id: str, document: Document) -> Layer:
    """Return a layer that a client is about to add, as the settings have it by its id; errors as of `new_record`."""
    settings = {**ProjectSettings("new").with_ids().to_document(), "layers": {id: document}}
    try:
        (found,) = parse_settings(settings).layers
    except (FormatError, ValueError) as error:
        raise ParameterError(f"The layer {id!r} cannot be described so: {error}", remedy="project.save()") from None
    return found


def described(name: str, document: Document) -> DescriptorRecord:
    """Return the record of a document; errors as of `new_record`."""
    try:
        record = DescriptorRecord.parse(document)
    except FormatError as error:
        raise ParameterError(error.message, remedy="look at the field that it names") from None
    if {**record.to_document(), "edit_time": ""} != {**document, "edit_time": ""}:
        raise ParameterError(f"{name!r} has fields in another form.", remedy="send what to_document() gives")
    if record.identifier != name:
        raise ParameterError(f"{name!r} says that it is {record.identifier!r}.", remedy="the identifier stays")
    return record


def check_image(record: DescriptorRecord) -> None:
    """Refuse an image that only the client's program could open, or that is of no possible size.

    Raises
    ------
    ParameterError
    """
    image = record.image
    if not 1 <= len(image.shape) <= _MOST_AXES or len(image.axes) != len(image.shape):
        raise ParameterError("The image has not one axis for each size.", remedy="look at image.shape and image.axes")
    if not all(0 <= size <= _LARGEST for size in image.shape):
        raise ParameterError(f"The image has the shape {image.shape}.", remedy="sizes are 0 or more")
    try:
        _check_axes(image.axis_values())
        if image.affine is not None and usable_affine(image.affine, image.axis_values()) is None:
            raise ValueError("affine")
        if np.dtype(image.dtype).kind not in "buifc":
            raise ValueError("dtype")
        spec = SourceSpec.from_json(image.spec)
    except (ValueError, TypeError, KeyError, ImportError) as error:
        what = error.message if isinstance(error, BioimageError) else type(error).__name__
        raise ParameterError(
            f"The image cannot be described so: {what}", remedy="send what a local project has"
        ) from None
    if image.own_copy:
        _check_copied(record)
        return
    inner: SourceSpec | None = spec
    while inner is not None:
        if inner.path is not None and not is_url(inner.path) and not inner.path.startswith("/"):
            raise ParameterError("The image has a path inside the project.", remedy="give an absolute path, or a URL")
        inner = inner.wrapped


def _check_axes(axes: tuple[Axis, ...]) -> None:
    for axis in axes:
        words, numbers = (axis.name, axis.kind, axis.unit or ""), (axis.scale, axis.offset)
        if not all(isinstance(word, str) for word in words):
            raise TypeError("words")
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers) or axis.scale <= 0:
            raise ValueError("numbers")
    names = sorted(axis.name.lower() for axis in axes if axis.kind == "space")
    if names not in (["x", "y"], ["x", "y", "z"]) or len({axis.name for axis in axes}) != len(axes):
        raise ValueError("names")


def _check_copied(record: DescriptorRecord) -> None:
    """Refuse another place of a copy than its own."""
    spec = record.image.spec
    place = {"path": f"images/{record.identifier}.zarr", "internal_path": ARRAY, "kind": "file", "wrapped": None}
    params = {"format": "zarr", "mode": "r"}
    if any(spec.get(key) != value for key, value in place.items()) or spec.get("params") != params:
        raise ParameterError(
            f"The copy of an image lies at images/{record.identifier}.zarr, as the project itself opens it.",
            remedy="send what a local project has",
        )
