"""Every operation that declares itself, found by its name or all of them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..engine.declaration import Declaration
from ..engine.operation import SHARED
from .parameters import Parameter, parameters_of

_PACKAGE = __name__.partition(".")[0]
_FOLDER = Path(__file__).parents[1]


@dataclass(frozen=True)
class Operation:
    """An operation.

    Parameters
    ----------
    package : str
        Where it is public: ``"filters"``; "" for the package itself.
    name : str
    call : callable
    """

    package: str
    name: str
    call: Callable[..., Any]

    @property
    def full_name(self) -> str:
        """As one types it behind ``bp.``"""
        return f"{self.package}.{self.name}".lstrip(".")

    @property
    def declaration(self) -> Declaration:
        """What it promises and costs."""
        return self.call.declaration  # type: ignore[attr-defined,no-any-return]

    @cached_property
    def summary(self) -> str:
        """The first paragraph of its text, on one line."""
        return " ".join((inspect.getdoc(self.call) or "").partition("\n\n")[0].split())

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its own parameters, in their order."""
        return parameters_of(self.call, leave_out=SHARED)

    @cached_property
    def shared(self) -> frozenset[str]:
        """Which of the keywords that operations share it takes."""
        return frozenset(inspect.signature(self.call).parameters) & frozenset(SHARED)

    @cached_property
    def output(self) -> Parameter | None:
        """The parameter that says where its result is written."""
        by_name = {one.name: one for one in self.parameters}
        return next((by_name[name] for name in self.declaration.outputs if name in by_name), None)


def declared() -> Iterator[Operation]:
    """Yield every public operation that has a declaration, those of the package itself first."""
    for package in ("", *_packages()):
        for name in sorted(_names(package)):
            if (found := _operation(package, name)) is not None:
                yield found


def find(name: str) -> Operation | None:
    """The operation of a name, in whatever package it is; only its module is imported."""
    for package in ("", *_packages()):
        if name in _names(package) and (found := _operation(package, name)) is not None:
            return found
    return None


def _packages() -> list[str]:
    return [name for name in sorted(_module("").__all__) if (_FOLDER / name / "__init__.py").is_file()]


def _names(package: str) -> list[str]:
    return list(getattr(_module(package), "__all__", ()))


def _module(package: str) -> Any:
    return importlib.import_module(f"{_PACKAGE}.{package}".rstrip("."))


def _operation(package: str, name: str) -> Operation | None:
    if not package and (_FOLDER / name / "__init__.py").is_file():
        return None
    call = getattr(_module(package), name)
    return None if getattr(call, "declaration", None) is None else Operation(package, name, call)
