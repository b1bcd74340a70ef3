"""Names of a package that are imported when they are first asked for.

A package that does so names them twice: for type checkers and editors in an `if TYPE_CHECKING` block, and here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package of whose names none becomes a module that is called so, whoever imports that first."""

    _places: Mapping[str, str]

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in self._places):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        return importlib.import_module, (self.__name__,)


def names_of(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    places : mapping of str to str
        Name -> module that has it, relative to the package (".runner", "..errors"). What is in ``__all__`` beside these
        and the names that the package defines is a module of the package.

    Raises
    ------
    AttributeError
        By ``__getattr__``, for other names.
    """
    namespace = vars(sys.modules[package])
    namespace["_places"] = places
    sys.modules[package].__class__ = _Package

    def attribute(name: str) -> Any:
        if name not in places and name not in namespace.get("__all__", ()):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(places.get(name, f".{name}"), package)
        namespace[name] = value = getattr(module, name) if name in places else module
        return value

    return attribute, lambda: sorted(namespace["__all__"])
