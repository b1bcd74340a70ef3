"""Instances: what has an identity and answers, wherever it lies."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ...errors import ParameterError
from .attributes import Attribute, Known, found_in
from .ids import checked_id, new_id
from .ontology import Class, Classification, ObjectClass


class Answers:
    """Answers by id of the attribute, as a mapping that never changes, but gives way to another one.

    So whoever keeps the mapping of a moment keeps the answers of that moment, and whether one of a hundred thousand
    instances was answered otherwise since is told without a look into any.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: Mapping[str, Any] = {}

    def __setitem__(self, id: str, answer: Any) -> None:
        self.now = {**self.now, id: answer}

    def pop(self, id: str, default: Any = None) -> Any:
        """Take an answer away."""
        self.now, found = {key: other for key, other in self.now.items() if key != id}, self.now.get(id, default)
        return found

    def take(self, answers: Mapping[str, Any]) -> None:
        """Take over other answers in the place of all; equal ones change nothing."""
        if answers != self.now:
            self.now = dict(answers)


class _Instance:
    """Something of a class, with an id and answers that hold in every space that it lies in."""

    def __init__(self, class_: Any, id: str | None, answers: dict[str, Any] | None) -> None:
        self._class = class_
        self.id = new_id() if id is None else checked_id(id)
        self._known_elsewhere = id is not None
        self._answers = Answers()
        given = [(self._known(key), value) for key, value in (answers or {}).items()]
        for known, value in sorted(given, key=lambda one: len(one[0].under)):  # what lies in an option after its choice
            self.set_answer(value, known.attribute)

    @property
    def answers(self) -> Mapping[str, Any]:
        """Its answers, by id of the attribute; `set_answer` changes them."""
        return MappingProxyType(self._answers.now)

    @property
    def class_(self) -> Class:
        """Its class or classification."""
        return self._class  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """Name of its class."""
        return self.class_.name

    def _known(self, key: str | Attribute | None) -> Known:
        if key is None and len(self.class_.attributes) == 1:
            return self.class_.all_attributes[0]
        return found_in(self.class_.all_attributes, key, self.name)

    def _attribute(self, key: str | Attribute | None) -> Attribute:
        return self._known(key).attribute

    def set_answer(self, answer: Any, attribute: str | Attribute | None = None) -> None:
        """Answer an attribute, for all spaces.

        Parameters
        ----------
        answer : str, number or list of str
        attribute : str or Attribute, optional
            By name, id, or path ("phase/M/plate"). May be left out where there is only one.

        Raises
        ------
        ParameterError
            The answer is of another type or no option, the attribute is dynamic or not there, or the option that it is
            nested in is not chosen.
        """
        known = self._known(attribute)
        found = known.attribute
        if found.dynamic:
            raise ParameterError(
                f"{found.name!r} may differ from frame to frame.",
                remedy="space.set_dynamic_answer(instance, frames, ...)",
            )
        known.check_asked(self.answers)
        self._answers[found.id] = found.check(answer)

    def get_answer(self, attribute: str | Attribute | None = None) -> Any:
        """Return an answer, None where there is none, or where the option that it is nested in is not chosen now."""
        known = self._known(attribute)
        return self.answers.get(known.attribute.id) if known.asked(self.answers) else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, id={self.id!r})"


class ObjectInstance(_Instance):
    """An object: its id and answers; its geometry belongs to the space that it is put in.

    Parameters
    ----------
    class_ : ObjectClass
    id : str, optional
        None: 16 random hexadecimal characters.
    answers : dict, optional
        By name or id of the attribute.

    Raises
    ------
    ParameterError
        The id is empty, too long, or has control characters; an answer does not fit.
    """

    def __init__(self, class_: ObjectClass, id: str | None = None, answers: dict[str, Any] | None = None) -> None:
        if not isinstance(class_, ObjectClass):
            raise ParameterError(f"{class_!r} is no ObjectClass.", remedy="ontology.object_class('nucleus')")
        super().__init__(class_, id, answers)


class ClassificationInstance(_Instance):
    """An answer to a classification; parameters as of `ObjectInstance`."""

    def __init__(self, class_: Classification, id: str | None = None, answers: dict[str, Any] | None = None) -> None:
        if not isinstance(class_, Classification):
            raise ParameterError(f"{class_!r} is no Classification.", remedy="ontology.classification('stain')")
        super().__init__(class_, id, answers)
