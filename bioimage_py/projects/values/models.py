"""What a project defines: settings, tags, layers, labels, groups. Plain values, validated, with a JSON form."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    StrictInt,
    ValidationError,
    model_serializer,
    model_validator,
)

from ...errors import ConfigError, ParameterError, ReadOnlyError
from .accessor import Accessor
from .kinds import LayerKind, TagKind

SEPARATOR = "|||"
"""Between key and display text of a group, in its short form."""


def named(kind: type[enum.IntEnum]) -> Any:
    """Enums are stored by name: a person reads the files."""

    def parse(value: Any) -> Any:
        if isinstance(value, str) and value in kind.__members__:
            return kind[value]
        return value

    return BeforeValidator(parse)


def _by_name(value: enum.IntEnum) -> str:
    return value.name


def listed(value: Any) -> Any:
    """Definitions are stored as mappings from their ids, so that two writers meet only in the same one."""
    if isinstance(value, Mapping):
        return [{**item, "id": key} if isinstance(item, Mapping) else item for key, item in value.items()]
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


Color = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]
BY_NAME = PlainSerializer(_by_name, when_used="json")


class Model(BaseModel):
    """Base of all models: unknown fields are errors, assignments are checked, errors name the field."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, populate_by_name=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise explain(error, type(self).__name__) from None

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            self.__dict__[name] = before  # a check of the whole model comes after the assignment
            raise explain(error, type(self).__name__) from None


def explain(error: ValidationError, what: str) -> ParameterError:
    """Return an error of the package that names the first field that is wrong, and how many are."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    found = f"{field} is {first['input']!r}: " if field else ""
    more = f" ({error.error_count()} problems in all)" if error.error_count() > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    return ParameterError(f"{what}: {found}{message}{more}", remedy=f"give {field or 'it'} another value")


class Definition(Model):
    """A tag, layer or label: detached, or bound to the project (and descriptor) that it was taken from."""

    name: Annotated[str, Field(min_length=1)]
    id: str = ""
    _owner: Any = PrivateAttr(default=None)
    _index: int = PrivateAttr(default=-1)

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name in type(self).model_fields and self._owner is not None:
            raise ReadOnlyError(
                f"{type(self).__name__} {self.name!r} belongs to a project: its {name} is changed by edit().",
                remedy="settings = project.settings(); change it there; project.edit(settings)",
            )
        super().__setattr__(name, value)

    @property
    def project(self) -> Any:
        """The project that it was taken from; None for a detached one."""
        return getattr(self._owner, "project", None)

    @property
    def descriptor(self) -> Any:
        """The descriptor that it was taken from; None for a detached one, or one of the project."""
        return getattr(self._owner, "descriptor", None)

    @property
    def index(self) -> int:
        """Position among its kind; -1 for a detached one."""
        return self._index

    def bound(self, owner: Any, index: int) -> Self:
        """Return a copy that knows where it comes from."""
        twin = self.model_copy(deep=True)
        twin._owner, twin._index = owner, index
        return twin

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.id, self.name))


class Tag(Definition):
    """Something that is said of a whole data set.

    Parameters
    ----------
    name : str
    kind : TagKind
    color : tuple of int, default (255, 255, 255)
        RGB, 0 to 255.
    options : sequence of str
        What an Enum tag can be.
    readonly : bool, default False
        Whether values can't be set.
    id : str
        Empty for a new tag; the project gives it one.
    """

    kind: Annotated[TagKind, named(TagKind), BY_NAME]
    color: Color = (255, 255, 255)
    options: Annotated[list[str], BeforeValidator(listed)] = Field(default_factory=list)
    readonly: bool = False

    def __init__(
        self, name: str, kind: Any, color: Any = (255, 255, 255), options: Iterable[str] = (), **data: Any
    ) -> None:
        super().__init__(name=name, kind=kind, color=color, options=options, **data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.options and self.kind != TagKind.Enum:
            raise ValueError(f"options are for Enum tags; this one is of kind {self.kind.name}")
        return self

    @property
    def locked(self) -> bool:
        """The same as `readonly`."""
        return self.readonly

    @property
    def value(self) -> bool | str | float | None:
        """What the descriptor says; None where it says nothing, and for a tag that was not taken from one."""
        return None if self.descriptor is None else self.descriptor._tag_value(self)

    @value.setter
    def value(self, value: bool | str | float | None) -> None:
        if self.descriptor is None:
            raise ParameterError(
                f"The tag {self.name!r} was not taken from a descriptor, so it has no value.",
                remedy=f"descriptor.tags[{self.name!r}].value = {value!r}",
            )
        self.descriptor._set_tag_value(self, value)

    def add_option(self, option: str) -> None:
        """Add an option (Enum tags); of a bound tag, also to its project.

        Raises
        ------
        ParameterError
            The tag is of another kind, or has the option.
        """
        if self.kind != TagKind.Enum or option in self.options:
            raise ParameterError(
                f"The tag {self.name!r} ({self.kind.name}, options {self.options}) can't get the option {option!r}.",
                remedy="add a new option to a tag of kind Enum",
            )
        if self._owner is not None:
            self.project._add_option(self.id, option)
        self.options.append(option)

    def check(self, value: Any) -> bool | str | float:
        """Return a value that the tag can have.

        Raises
        ------
        ParameterError
            The value does not fit the kind, or is none of the options.
        """
        if self.kind == TagKind.Bool and (isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")):
            return bool(value)
        if self.kind == TagKind.Enum and value in self.options:
            return str(value)
        if self.kind == TagKind.Float and not isinstance(value, bool | str):
            with suppress(TypeError, ValueError):
                if math.isfinite(number := float(value)):
                    return number
        allowed = {TagKind.Bool: "True or False", TagKind.Enum: f"one of {self.options}", TagKind.Float: "a number"}
        raise ParameterError(f"The tag {self.name!r} can't be {value!r}.", remedy=f"use {allowed[self.kind]}")


class Label(Definition):
    """One thing that is labelled in a layer: a voxel value, or a type of box or landmark.

    Parameters
    ----------
    name : str
    kind : LayerKind
        That of its layer.
    color : tuple of int, default (255, 255, 255)
        RGB, 0 to 255.
    value : int, optional
        Voxel value; for pixelwise labels only, and needed there.
    id : str
        Empty for a new label.
    """

    kind: Annotated[LayerKind, named(LayerKind), BY_NAME]
    color: Color = (255, 255, 255)
    value: Annotated[StrictInt, Field(ge=0, lt=2**64)] | None = None

    def __init__(
        self, name: str, kind: Any, color: Any = (255, 255, 255), value: int | None = None, **data: Any
    ) -> None:
        super().__init__(name=name, kind=kind, color=color, value=value, **data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind == LayerKind.PIXELWISE) != (self.value is not None):
            raise ValueError("a pixelwise label needs a value, others have none")
        return self


class Layer(Definition):
    """A set of annotations of one kind.

    Parameters
    ----------
    name : str
    kind : LayerKind
    labels : sequence of Label
        What can be labelled.
    id : str
        Empty for a new layer.
    """

    kind: Annotated[LayerKind, named(LayerKind), BY_NAME]
    labels: Annotated[
        Accessor[Label],
        PlainValidator(lambda value: definitions_of(value, Label, "label")),
        PlainSerializer(lambda labels: mapping_of(labels), when_used="json"),
    ] = Field(default_factory=lambda: Accessor((), "label"))

    def __init__(self, name: str, kind: Any, labels: Any = (), **data: Any) -> None:
        super().__init__(name=name, kind=kind, labels=labels, **data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_unique((label.name for label in self.labels), f"labels of the layer {self.name!r}", "name")
        values = [label.value for label in self.labels if label.value is not None]
        check_unique(map(str, values), f"labels of the layer {self.name!r}", "value")
        for label in self.labels:
            if label.kind != self.kind:
                raise ValueError(f"the label {label.name!r} is of kind {label.kind.name}, not {self.kind.name}")
        return self

    def add_label(self, label: Label) -> None:
        """Add a label.

        Raises
        ------
        ParameterError
            A label of another kind, or a name or value that is taken.
        """
        self.labels = Accessor([*self.labels, label], "label")


class Group(Model):
    """A value that groups data sets: the key decides, the display text is shown.

    Parameters
    ----------
    key : str
    display : str, optional
        None: the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    display: str

    def __init__(self, key: str, display: str | None = None) -> None:
        super().__init__(key=key, display=key if display is None else display)

    @classmethod
    def parse(cls, value: str | Group | Mapping[str, str]) -> Group:
        """Return the group that a text stands for: ``"key|||display"`` or just a key."""
        if isinstance(value, Group):
            return value
        if isinstance(value, Mapping):
            return cls(value["key"], value.get("display"))
        if not isinstance(value, str):
            raise ParameterError(f"{value!r} is no group.", remedy="use a string, or Group(key, display)")
        key, separator, display = value.partition(SEPARATOR)
        return cls(key, display if separator else None)


class ImageInfo(Model):
    """Who and what an image shows, as its file says (DICOM attributes of these names; dates as YYYYMMDD)."""

    patient_id: str | None = None
    patient_name: str | None = None
    study_instance_uid: str | None = None
    study_description: str | None = None
    study_date: str | None = None
    series_instance_uid: str | None = None
    series_description: str | None = None
    series_date: str | None = None
    modality: str | None = None

    @property
    def is_personal(self) -> bool:
        """Whether it says more than the modality."""
        return any(value for field, value in self if field != "modality")

    @model_serializer(mode="wrap")
    def _known(self, dump: SerializerFunctionWrapHandler) -> dict[str, str]:
        return {key: value for key, value in dump(self).items() if value is not None}


def definitions_of(value: Any, kind: type[Any], what: str) -> Accessor[Any]:
    """Return definitions as a list to look things up in, also from their JSON form."""
    items = listed(value)
    if not isinstance(items, list):
        raise ValueError(f"give a list of {kind.__name__}")
    found = []
    for item in items:
        if isinstance(item, Mapping):
            item = kind(**item)
        if not isinstance(item, kind):
            raise ValueError(f"{item!r} is no {kind.__name__}")
        found.append(item)
    return Accessor(found, what)


def mapping_of(definitions: Iterable[Definition]) -> dict[str, Any]:
    """Return the JSON form of definitions, by id."""
    found: dict[str, Any] = {}
    for definition in definitions:
        if not definition.id:
            raise ConfigError(f"{definition!r} has no id.", remedy="settings.with_ids()")
        found[definition.id] = definition.model_dump(mode="json", exclude={"id"})
    return found


def check_unique(values: Iterable[str], what: str, field: str) -> None:
    """Raise ValueError for a value that occurs twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"two {what} have the {field} {value!r}")
        seen.add(value)
