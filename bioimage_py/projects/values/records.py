"""What is stored of one data set, and how older forms of the stored documents are brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ...errors import FormatError, ParameterError
from ...sources.axes import Axis
from .merge import Document
from .models import Group, ImageInfo, Model

SCHEMA = 2
STEPS: dict[int, Callable[[Document], Document]] = {1: lambda document: document}
"""How a document of a version becomes one of the next. 2: the settings may have an ontology, data sets spaces."""


class ImageRecord(Model):
    """Where an image is, and what is known of it without opening it."""

    spec: dict[str, Any]
    shape: list[int]
    dtype: str
    axes: list[dict[str, Any]]
    own_copy: bool = False
    original_path: str = ""
    affine: list[list[float]] | None = None
    """How its file says that it lies in a body: from indices, in the order of its axes, to the world."""

    @model_serializer(mode="wrap")
    def _only_told(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        if self.affine is None:
            del found["affine"]  # as older versions have it
        return found

    def axis_values(self) -> tuple[Axis, ...]:
        """Return the axes."""
        return tuple(Axis(**axis) for axis in self.axes)


class LayerRecord(Model):
    """What is stored in one layer: a version that never changes.

    `units` is the number of stored chunks of a label map, or of rows of a table.
    """

    version: str
    units: int
    dtype: str | None = None


class DescriptorRecord(Model):
    """One data set."""

    schema_version: Annotated[Literal[2], Field(alias="schema")] = 2
    identifier: str
    name: str
    import_time: datetime
    edit_time: datetime
    grouping: list[Group] = Field(default_factory=list)
    comments: str = ""
    tags: dict[str, bool | str | float] = Field(default_factory=dict)
    frames: dict[str, bool] = Field(default_factory=dict)
    roi: list[tuple[int, int]] | None = None
    scale: float = 1.0
    shift: float = 0.0
    top_down: bool = True
    info: ImageInfo = Field(default_factory=ImageInfo)
    image: ImageRecord
    layers: dict[str, LayerRecord] = Field(default_factory=dict)

    def to_document(self) -> Document:
        """Return the JSON form."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def parse(cls, document: Document) -> DescriptorRecord:
        """Return the record of a JSON form.

        Raises
        ------
        FormatError
            A field is missing, unknown or of another type.
        """
        try:
            return cls(**document)
        except ParameterError as error:
            raise FormatError(
                f"The descriptor {document.get('identifier')!r}: {error.message}", remedy="mend its JSON file by hand"
            ) from None


class Counts(NamedTuple):
    """Sizes of an image by the names of its axes; 1 for what it has no axis for."""

    n_images: int
    n_channels: int
    n_slices: int
    height: int
    width: int


def counts_of(axes: tuple[Axis, ...], shape: tuple[int, ...]) -> Counts:
    """Return the sizes: of x, y, z, of channels, and of all other axes (time) together."""
    found = {"images": 1, "channel": 1, "z": 1, "y": 1, "x": 1}
    for axis, size in zip(axes, shape, strict=True):
        name = axis.name.lower()
        kind = name if axis.kind == "space" else axis.kind
        found[kind if kind in found else "images"] *= size
    return Counts(found["images"], found["channel"], found["z"], found["y"], found["x"])


def axis_documents(axes: tuple[Axis, ...]) -> list[dict[str, Any]]:
    """Return axes as they are stored."""
    return [asdict(axis) for axis in axes]


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def completed(document: Document) -> Document:
    """Return a descriptor's document with the time of this edit."""
    return {**document, "edit_time": now().isoformat().replace("+00:00", "Z")}


def migrate(document: Document, where: str) -> Document:
    """Return a stored document in the present form.

    Raises
    ------
    FormatError
        It was written by a newer version, or says none.
    """
    version = document.get("schema")
    if not isinstance(version, int) or version > SCHEMA or version < min(STEPS, default=SCHEMA):
        raise FormatError(f"{where} has the schema {version!r}, known is {SCHEMA}.", remedy="update bioimage_py")
    for step in range(version, SCHEMA):
        document = {**STEPS[step](document), "schema": step + 1}
    return document


class Summary(NamedTuple):
    """What listing and filtering need of a descriptor."""

    name: str
    tags: Mapping[str, bool | str | float]
    grouping: tuple[tuple[str, str], ...]
    layers: tuple[str, ...]
    annotated: bool
    personal: bool = False
    """Whether the image says whom it shows."""


def summarise(record: DescriptorRecord) -> Summary:
    """Return the summary of a descriptor."""
    grouping = tuple((group.key, group.display) for group in record.grouping)
    layers, personal = tuple(record.layers), record.info.is_personal
    return Summary(record.name, dict(record.tags), grouping, layers, is_annotated(record), personal)


def n_frames(record: DescriptorRecord) -> int:
    """Number of frames: images over time where there are several, else slices."""
    counts = counts_of(record.image.axis_values(), tuple(record.image.shape))
    return counts.n_images if counts.n_images > 1 else counts.n_slices


def is_annotated(record: DescriptorRecord) -> bool:
    """Whether every frame is marked."""
    return sum(record.frames.values()) == n_frames(record)
