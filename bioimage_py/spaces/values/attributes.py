"""Attributes: what is said of an object, or asked by a classification, also where an option was chosen before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ...errors import ParameterError
from .ids import checked_id, is_text, new_id

KINDS = ("text", "numeric", "radio", "checklist")
"""Of attributes: a text, a number, one option, several options."""
DEEPEST = 32
"""Attributes within each other: what nobody asks, and a file nests no deeper than it can be read."""


def check_text(value: Any, name: str) -> None:
    """Raise ParameterError unless it is a text that is not empty."""
    if not is_text(value) or not value:
        raise ParameterError(f"{name}={value!r} is no text.", remedy=f"{name}='nucleus'")


def check_flags(item: Any, *names: str) -> None:
    """Raise ParameterError where an attribute of these names is neither True nor False."""
    for name in names:
        if not isinstance(value := getattr(item, name), bool):
            raise ParameterError(f"{name}={value!r} of {item.name!r} is neither True nor False.", remedy=f"{name}=True")


def check_one_of(value: Any, name: str, allowed: Iterable[str]) -> None:
    """Raise ParameterError unless it is one of those that are allowed."""
    if value not in (known := list(allowed)):
        raise ParameterError(f"{name}={value!r} is none of {known}.", remedy=f"{name}={known[0]!r}")


@dataclass(frozen=True)
class Attribute:
    """Something that is said of an object, or the question of a classification.

    Parameters
    ----------
    name : str
    kind : {"text", "numeric", "radio", "checklist"}
    options : sequence of str
        Of a radio or checklist.
    dynamic : bool, default False
        Whether it may differ from frame to frame.
    required : bool, default False
        Whether `Space.validate` tells of objects without it.
    id : str
        Empty: one is given.
    nested : mapping from option to sequence of Attribute, optional
        What is asked where that option is chosen; of the same `dynamic`.

    Examples
    --------
    >>> Attribute("phase", "radio", ["G1", "M"], nested={"M": [Attribute("plate", "numeric")]}).options
    ('G1', 'M')
    """

    name: str
    kind: Literal["text", "numeric", "radio", "checklist"] = "text"
    options: Sequence[str] = ()
    dynamic: bool = False
    required: bool = False
    id: str = ""
    nested: Mapping[str, Sequence[Attribute]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_one_of(self.kind, "kind", KINDS)
        check_flags(self, "dynamic", "required")
        if isinstance(self.options, str):
            raise ParameterError(f"options={self.options!r} is one text.", remedy=f"options=[{self.options!r}]")
        object.__setattr__(self, "options", tuple(self.options))
        for option in self.options:
            check_text(option, "option")
        object.__setattr__(self, "id", checked_id(self.id or new_id()))
        if bool(self.options) != (self.kind in ("radio", "checklist")):
            raise ParameterError(
                f"The attribute {self.name!r} of kind {self.kind} has the options {list(self.options)}.",
                remedy="a radio or checklist has options, others have none",
            )
        check_unique(self.options, f"options of {self.name!r}")
        object.__setattr__(self, "nested", {option: tuple(found) for option, found in dict(self.nested).items()})
        for option, found in self.nested.items():
            check_one_of(option, f"nested of {self.name!r}: option", self.options)
            check_attributes(found, self.name)
            if wrong := [one.name for one in found if one.dynamic != self.dynamic]:
                raise ParameterError(
                    f"The attributes {wrong} of the option {option!r} of {self.name!r} are"
                    f" {'not ' * self.dynamic}dynamic, {self.name!r} is{' not' * (not self.dynamic)}.",
                    remedy=f"dynamic={self.dynamic} for all of them",
                )
        if self.depth > DEEPEST:
            raise ParameterError(
                f"{self.name!r} has attributes {self.depth} deep within each other, {DEEPEST} at most are asked.",
                remedy="ask less deep",
            )

    @cached_property
    def depth(self) -> int:
        """How many attributes lie within each other, with itself."""
        return 1 + max((one.depth for found in self.nested.values() for one in found), default=0)

    def check(self, value: Any) -> Any:
        """Return an answer in its JSON form.

        Raises
        ------
        ParameterError
            It is of another type, or no option.
        """
        if self.kind == "text" and is_text(value):
            return value
        if self.kind == "numeric" and _is_finite(value):
            return value
        if self.kind == "radio" and isinstance(value, str) and value in self.options:
            return value
        if (
            self.kind == "checklist"
            and isinstance(value, list | tuple | set | frozenset)
            and all(isinstance(option, str) and option in self.options for option in value)
        ):
            return [option for option in self.options if option in value]
        allowed = {"text": "a text", "numeric": "a finite number", "radio": f"one of {list(self.options)}"}
        wanted = allowed.get(self.kind, f"a list of {list(self.options)}")
        raise ParameterError(f"The answer {value!r:.80} to {self.name!r} is not {wanted}.", remedy=f"use {wanted}")


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can be, too."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


@dataclass(frozen=True)
class Known:
    """An attribute of a class, at any depth.

    Parameters
    ----------
    attribute : Attribute
    path : str
        Its name; of a nested one after those of what it lies in: "phase/M/plate".
    under : tuple of (Attribute, str)
        The options that have to be chosen, the outermost first.
    """

    attribute: Attribute
    path: str
    under: tuple[tuple[Attribute, str], ...] = ()

    def asked(self, answers: Mapping[str, Any]) -> bool:
        """Whether the options that it lies in are chosen, by answers by id."""
        return all(
            option == (found := answers.get(one.id)) or (isinstance(found, list) and option in found)
            for one, option in self.under
        )

    def check_asked(self, answers: Mapping[str, Any]) -> None:
        """Raise ParameterError where it is not asked."""
        if not self.asked(answers):
            needed = [f"{one.name!r} = {option!r}" for one, option in self.under]
            raise ParameterError(
                f"{self.path!r} is asked where {' and '.join(needed)}, which was not chosen.",
                remedy=f"set_answer({self.under[-1][1]!r}, {self.under[-1][0].name!r})",
            )


def check_attributes(given: Iterable[Any], name: str) -> None:
    """Raise ParameterError where something is no attribute."""
    for one in given:
        if not isinstance(one, Attribute):
            raise ParameterError(f"{one!r:.80} of {name!r} is no Attribute.", remedy="Attribute('note')")


def all_of(attributes: Iterable[Attribute]) -> Iterator[Known]:
    """Yield attributes with those that are nested in them, each after what it lies in."""
    for attribute in attributes:
        yield Known(attribute, attribute.name)
        for option, nested in attribute.nested.items():
            for inner in all_of(nested):
                path = f"{attribute.name}/{option}/{inner.path}"
                yield Known(inner.attribute, path, ((attribute, option), *inner.under))


def found_in(known: Sequence[Known], key: Any, name: str) -> Known:
    """Return an attribute by itself, its id, its path, or its name where only one has it.

    Raises
    ------
    ParameterError
        There is none, or several are called so.
    """
    if key is None and len(known) == 1:
        return known[0]
    for found in known:
        if key in (found.attribute, found.attribute.id, found.path):
            return found
    named = [found for found in known if found.attribute.name == key]
    if len(named) == 1:
        return named[0]
    what = f"several attributes {key!r}" if named else f"no attribute {key!r}"
    raise ParameterError(f"{name!r} has {what}.", remedy=f"use one of {[found.path for found in named or known]}")


def check_unique(values: Iterable[str], what: str) -> None:
    """Raise ParameterError where a value comes twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ParameterError(f"Two {what} are {value!r}.", remedy="give one of them another name")
        seen.add(value)
