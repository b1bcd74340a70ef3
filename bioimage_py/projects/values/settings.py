"""All that a project defines, as one value."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from ...errors import FormatError, KeyNotFoundError, ParameterError
from ...spaces import Ontology
from .accessor import Accessor
from .kinds import DataType
from .models import BY_NAME, Definition, Layer, Model, Tag, check_unique, definitions_of, mapping_of, named
from .names import plain

D = TypeVar("D", bound=Definition)


class ProjectSettings(Model):
    """All that a project defines; a value of its own, until `Project.create` or `Project.edit` gets it.

    Parameters
    ----------
    name : str
    tags : sequence of Tag
    layers : sequence of Layer
    data_type : DataType, default AnyDataType
    grouping_hierarchy : sequence of str
        Titles of the levels of grouping.
    ontology : Ontology
        What may be annotated in the spaces of data sets.
    """

    schema_version: Annotated[Literal[2], Field(alias="schema")] = 2
    id: str = ""
    name: Annotated[str, Field(min_length=1)]
    data_type: Annotated[DataType, named(DataType), BY_NAME] = DataType.AnyDataType
    grouping_hierarchy: list[str] = Field(default_factory=list)
    configuration: dict[str, Any] = Field(default_factory=dict)
    tags: Annotated[
        Accessor[Tag],
        PlainValidator(lambda value: definitions_of(value, Tag, "tag")),
        PlainSerializer(lambda tags: mapping_of(tags), when_used="json"),
    ] = Field(default_factory=lambda: Accessor((), "tag"))
    layers: Annotated[
        Accessor[Layer],
        PlainValidator(lambda value: definitions_of(value, Layer, "layer")),
        PlainSerializer(lambda layers: mapping_of(layers), when_used="json"),
    ] = Field(default_factory=lambda: Accessor((), "layer"))
    ontology: Annotated[
        Ontology,
        PlainValidator(lambda value: value if isinstance(value, Ontology) else Ontology.from_document(value)),
        PlainSerializer(Ontology.to_document, when_used="json"),
    ] = Field(default_factory=Ontology)

    def __init__(self, name: str = "", tags: Any = (), layers: Any = (), **data: Any) -> None:
        super().__init__(name=name, tags=tags, layers=layers, **data)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_unique((tag.name for tag in self.tags), "tags", "name")
        check_unique((layer.name for layer in self.layers), "layers", "name")
        return self

    def add_tag(self, tag: Tag) -> None:
        """Add a tag.

        Raises
        ------
        ParameterError
            The name is taken.
        """
        self.tags = Accessor([*self.tags, tag], "tag")

    def add_layer(self, layer: Layer) -> None:
        """Add a layer.

        Raises
        ------
        ParameterError
            The name is taken.
        """
        self.layers = Accessor([*self.layers, layer], "layer")

    def remove_tag(self, tag: Tag) -> None:
        """Remove a tag.

        Raises
        ------
        KeyNotFoundError
            There is no such tag.
        """
        self.tags = Accessor(_without(self.tags, tag), "tag")

    def remove_layer(self, layer: Layer) -> None:
        """Remove a layer.

        Raises
        ------
        KeyNotFoundError
            There is no such layer.
        """
        self.layers = Accessor(_without(self.layers, layer), "layer")

    def with_ids(self) -> ProjectSettings:
        """Return a copy in which everything new has an id."""
        twin = self.model_copy(deep=True)
        twin.id = twin.id or new_id("project")
        for definition in (*twin.tags, *twin.layers, *(label for layer in twin.layers for label in layer.labels)):
            definition.id = definition.id or new_id(type(definition).__name__.lower())
        return twin

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form; everything needs an id."""
        return self.model_dump(mode="json", by_alias=True)


def new_id(what: str) -> str:
    """Return an id that no other process gives."""
    return f"{what}-{secrets.token_hex(4)}"


def parse_settings(document: Mapping[str, Any]) -> ProjectSettings:
    """Return the settings of a JSON form that `ProjectSettings.to_document` gave."""
    try:
        found = ProjectSettings(**document)
    except (ParameterError, TypeError) as error:
        raise FormatError(f"The project's settings: {error}", remedy="mend project.json by hand") from None
    for layer in found.layers:
        plain(layer.id)
    return found


def _without(items: Sequence[D], gone: D) -> list[D]:
    left = [item for item in items if not (item is gone or (gone.id and item.id == gone.id) or item == gone)]
    if len(left) == len(items):
        raise KeyNotFoundError(f"{gone!r} is not among {[item.name for item in items]}.", remedy="take it from there")
    return left
