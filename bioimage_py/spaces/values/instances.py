"""Instances: what has an identity and answers, wherever it lies."""

from __future__ import annotations

from typing import Any

from ...errors import ParameterError
from .ids import checked_id, new_id
from .ontology import Attribute, Class, Classification, ObjectClass


class _Instance:
    """Something of a class, with an id and answers that hold in every space that it lies in."""

    def __init__(self, class_: Any, id: str | None, answers: dict[str, Any] | None) -> None:
        self._class = class_
        self.id = new_id() if id is None else checked_id(id)
        self.answers: dict[str, Any] = {}
        for key, value in (answers or {}).items():
            self.set_answer(value, key)

    @property
    def class_(self) -> Class:
        """Its class or classification."""
        return self._class  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """Name of its class."""
        return self.class_.name

    def _attribute(self, key: str | Attribute | None) -> Attribute:
        known = self.class_.attributes
        if key is None and len(known) == 1:
            return known[0]
        for attribute in known:
            if key in (attribute, attribute.id, attribute.name):
                return attribute
        raise ParameterError(f"{self.name!r} has no attribute {key!r}.", remedy=f"use one of {[a.name for a in known]}")

    def set_answer(self, answer: Any, attribute: str | Attribute | None = None) -> None:
        """Answer an attribute, for all spaces.

        Parameters
        ----------
        answer : str, number or list of str
        attribute : str or Attribute, optional
            May be left out where there is only one.

        Raises
        ------
        ParameterError
            The answer is of another type or no option, the attribute is dynamic or not there.
        """
        found = self._attribute(attribute)
        if found.dynamic:
            raise ParameterError(
                f"{found.name!r} may differ from frame to frame.",
                remedy="space.set_dynamic_answer(instance, frames, ...)",
            )
        self.answers[found.id] = found.check(answer)

    def get_answer(self, attribute: str | Attribute | None = None) -> Any:
        """Return an answer, None where there is none."""
        return self.answers.get(self._attribute(attribute).id)

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
