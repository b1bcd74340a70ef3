"""What may be annotated: classes of objects, classifications, and their attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, Self

from ...errors import FormatError, KeyNotFoundError, ParameterError
from .attributes import (
    DEEPEST,
    Attribute,
    Known,
    all_of,
    check_attributes,
    check_flags,
    check_one_of,
    check_text,
    check_unique,
)
from .ids import checked_id, new_id

Color = tuple[int, int, int]
SHAPES = (
    "bounding_box", "rotatable_bounding_box", "polygon", "polyline", "point", "skeleton", "bitmask", "ellipse", "mesh",
)  # fmt: skip
"""What an object of a class can be; a bounding box has two or three axes."""


def checked_color(value: Any) -> Color:
    """Return RGB, 0 to 255, also from "#RRGGBB"."""
    if isinstance(value, str) and re.fullmatch("#[0-9A-Fa-f]{6}", value):
        return (int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16))
    found = tuple(value) if isinstance(value, list | tuple) else ()
    if len(found) == 3 and all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c <= 255 for c in found):
        return found
    raise ParameterError(f"color={value!r} is no colour.", remedy="use (255, 0, 0) or '#FF0000'")


@dataclass(frozen=True)
class ObjectClass:
    """A kind of object.

    Parameters
    ----------
    name : str
    shape : str
        One of `SHAPES`.
    color : tuple of int or str, default (255, 255, 255)
        RGB, 0 to 255, or "#RRGGBB".
    attributes : sequence of Attribute
    id : str
        Empty: one is given.
    required, archived : bool, default False
        Objects of an archived class are read, not put.
    parent : str, optional
        Id of a broader class.
    """

    name: str
    shape: str
    color: Color | str = (255, 255, 255)
    attributes: Sequence[Attribute] = ()
    id: str = ""
    required: bool = False
    archived: bool = False
    parent: str | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_flags(self, "required", "archived")
        if self.parent is not None:
            checked_id(self.parent, "parent")
        check_one_of(self.shape, "shape", SHAPES)
        object.__setattr__(self, "color", checked_color(self.color))
        object.__setattr__(self, "attributes", tuple(self.attributes))
        check_attributes(self.attributes, self.name)
        object.__setattr__(self, "id", checked_id(self.id or new_id()))
        check_unique((a.name for a in self.attributes), f"attributes of {self.name!r}")
        check_unique((one.attribute.id for one in self.all_attributes), f"attributes of {self.name!r}")

    @cached_property
    def all_attributes(self) -> tuple[Known, ...]:
        """Its attributes and those that are nested in them."""
        return tuple(all_of(self.attributes))

    def attribute(self, key: str) -> Attribute:
        """Return an attribute by name or id; KeyNotFoundError where there is none."""
        found: Attribute = _found(self.attributes, key, f"{self.name!r} has no attribute")
        return found


@dataclass(frozen=True)
class Classification:
    """A question about a frame or the whole space.

    Parameters
    ----------
    name : str
    attribute : Attribute
        The question.
    level : {"frame", "global"}, default "frame"
    id : str
        Empty: one is given.
    several : bool, default False
        Whether a frame may have several answers, with ``on_overlap="keep_both"``.
    archived : bool, default False
    """

    name: str
    attribute: Attribute
    level: Literal["frame", "global"] = "frame"
    id: str = ""
    several: bool = False
    archived: bool = False

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_flags(self, "several", "archived")
        check_attributes([self.attribute], self.name)
        check_one_of(self.level, "level", ("frame", "global"))
        object.__setattr__(self, "id", checked_id(self.id or new_id()))
        check_unique((one.attribute.id for one in self.all_attributes), f"attributes of {self.name!r}")

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The question, as a tuple."""
        return (self.attribute,)

    @cached_property
    def all_attributes(self) -> tuple[Known, ...]:
        """The question and what is nested in it."""
        return tuple(all_of(self.attributes))


Class = ObjectClass | Classification


@dataclass(frozen=True)
class Ontology:
    """All that may be annotated.

    Parameters
    ----------
    objects : sequence of ObjectClass
    classifications : sequence of Classification

    Raises
    ------
    ParameterError
        Two have one name or id.

    Examples
    --------
    >>> Ontology([ObjectClass("nucleus", "polygon")]).object_class("nucleus").shape
    'polygon'
    """

    objects: Sequence[ObjectClass] = ()
    classifications: Sequence[Classification] = ()

    def __post_init__(self) -> None:
        for name in ("objects", "classifications"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_unique((item.id for item in self), "classes")
        check_unique((item.name for item in self.objects), "classes of objects")
        check_unique((item.name for item in self.classifications), "classifications")

    def __iter__(self) -> Iterator[Class]:
        yield from self.objects
        yield from self.classifications

    def object_class(self, key: str | ObjectClass) -> ObjectClass:
        """Return a class by name or id.

        Raises
        ------
        KeyNotFoundError
            There is none.
        """
        found: ObjectClass = _found(self.objects, key, "There is no class")
        return found

    def classification(self, key: str | Classification) -> Classification:
        """Return a classification by name or id."""
        found: Classification = _found(self.classifications, key, "There is no classification")
        return found

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form: mappings by id, so that two writers meet only in the same one."""
        return {
            "objects": {item.id: _document(item) for item in self.objects},
            "classifications": {item.id: _document(item) for item in self.classifications},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "ontology") -> Self:
        """Return the ontology of a JSON form.

        Raises
        ------
        FormatError
            It is none; names the place.
        """
        groups: dict[str, Any] = {"objects": ObjectClass, "classifications": Classification}
        if not isinstance(document, Mapping) or not set(document) <= set(groups):
            raise FormatError(f"{where} is no ontology.", remedy="use what Ontology.to_document() gives")
        found: dict[str, list[Any]] = {}
        for name, kind in groups.items():
            items = document.get(name, {})
            if not isinstance(items, Mapping) or not all(isinstance(item, Mapping) for item in items.values()):
                raise FormatError(f"{where}.{name} is no mapping.", remedy="use what Ontology.to_document() gives")
            found[name] = [_parsed(kind, {**item, "id": id}, f"{where}.{name}.{id}") for id, item in items.items()]
        try:
            return cls(tuple(found["objects"]), tuple(found["classifications"]))
        except ParameterError as error:
            raise FormatError(f"{where}: {error.message}", remedy=error.remedy) from None


def _document(item: Any, with_id: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(item):
        value = getattr(item, one.name)
        if one.name == "attribute":
            value = _document(value, True)
        elif one.name == "attributes":
            value = [_document(attribute, True) for attribute in value]
        elif one.name == "nested":
            if not value:
                continue
            value = {option: [_document(attribute, True) for attribute in inner] for option, inner in value.items()}
        elif isinstance(value, tuple):
            value = list(value)
        if one.name != "id" or with_id:
            found[one.name] = value
    return found


def _parsed(kind: Any, document: Any, where: str, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise FormatError(f"{where:.80}... is nested too deep.", remedy=f"nest {DEEPEST} attributes at most")
    known = {one.name for one in fields(kind)}
    if not isinstance(document, Mapping) or not set(document) <= known:
        extra = sorted(set(document) - known) if isinstance(document, Mapping) else document
        raise FormatError(f"{where} has the unknown fields {extra}.", remedy=f"use {sorted(known)}")
    given = dict(document)
    if "attribute" in given:
        given["attribute"] = _parsed(Attribute, given["attribute"], f"{where}.attribute", depth + 1)
    if isinstance(given.get("attributes"), list):
        given["attributes"] = [
            _parsed(Attribute, a, f"{where}.attributes[{i}]", depth + 1) for i, a in enumerate(given["attributes"])
        ]
    if "nested" in given:
        given["nested"] = _parsed_nested(given["nested"], f"{where}.nested", depth)
    try:
        return kind(**given)
    except (ParameterError, TypeError) as error:
        raise FormatError(f"{where}: {getattr(error, 'message', error)}", remedy="mend it by hand") from None


def _parsed_nested(document: Any, where: str, depth: int) -> dict[str, list[Any]]:
    if not isinstance(document, Mapping) or not all(isinstance(inner, list) for inner in document.values()):
        raise FormatError(f"{where} is no mapping from options to attributes.", remedy="mend it by hand")
    return {
        option: [_parsed(Attribute, one, f"{where}.{option}[{i}]", depth + 1) for i, one in enumerate(inner)]
        for option, inner in document.items()
    }


def _found(items: Iterable[Any], key: Any, what: str) -> Any:
    known = list(items)
    for field_name in ("id", "name"):
        for item in known:
            if getattr(item, field_name) == (key if isinstance(key, str) else getattr(key, "id", None)):
                return item
    shown = key if isinstance(key, str) else getattr(key, "id", key)
    raise KeyNotFoundError(f"{what} {shown!r}.", remedy=f"there are: {[item.name for item in known]}")
