"""The arguments of a call, checked before it does anything: their names, flags, numbers and data types."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np

from .errors import ArgumentError, ConfigError, DtypeError, ParameterError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def bound(name: str, signature: inspect.Signature, args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call by name.

    Raises
    ------
    ArgumentError
        For an argument that is unknown, missing or given twice.
    ParameterError
        If what is declared as bool is neither True nor False.
    """
    parameters = signature.parameters
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        known = [one for one in parameters if one != "self"]
        if unknown := sorted(set(given) - set(known)):
            meant = get_close_matches(unknown[0], known, 1)
            raise ArgumentError(
                f"{name}() got unknown keyword(s) {unknown}; it takes {known}",
                remedy=f"{meant[0]}=..." if meant else f"leave out {unknown[0]}=",
            )
    try:
        found = dict(signature.bind(*args, **given).arguments)
    except TypeError as error:
        needed = [one for one, its in parameters.items() if its.default is its.empty and one != "self"]
        raise ArgumentError(f"{name}(): {error}", remedy=f"{name}({', '.join([*needed, '...'])})") from None
    for one, value in found.items():
        if _is_flag(parameters[one]) and not isinstance(value, bool | np.bool_):
            raise ParameterError(f"{one}={value!r} is neither True nor False", remedy=f"{one}=True")
    return found


def check_names(given: Iterable[str], known: set[str], what: str, otherwise: str) -> None:
    """ConfigError for settings that are not known; its remedy is the nearest known one, or what is said otherwise."""
    if unknown := sorted(set(given) - known):
        meant = get_close_matches(unknown[0], known, 1) or [otherwise.format(unknown[0])]
        raise ConfigError(f"unknown {what} {unknown}; known are {sorted(known)}", remedy=meant[0])


def named(function: F, name: str = "") -> F:
    """A function whose calls are checked by `bound`; `name` stands for its own."""
    signature = inspect.signature(function)
    shown = name or function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        bound(shown, signature, args, given)
        return function(*args, **given)

    return call  # type: ignore[return-value]


def named_fields(cls: type[T]) -> type[T]:
    """Decorator of a class whose constructor is checked by `bound`."""
    cls.__init__ = named(cls.__init__, cls.__name__)  # type: ignore[method-assign]
    return cls


def number(name: str, value: Any, *, least: float = -math.inf, example: Any = 1) -> Any:
    """A real number that is not NaN and at least `least`; ParameterError otherwise."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number) or value != value:
        raise ParameterError(f"{name}={value!r} is not a number", remedy=f"{name}={example}")
    if value < least:
        wrong = "negative" if least == 0 else f"below {least}"
        raise ParameterError(f"{name}={value!r} is {wrong}", remedy=f"{name}={example}")
    return value


def data_type(value: Any, name: str = "dtype") -> np.dtype[Any]:
    """A data type of numpy; DtypeError for what is none, and for None, which numpy takes for float64."""
    try:
        if value is not None:
            found: np.dtype[Any] = np.dtype(value)
            return found
    except (TypeError, ValueError, SyntaxError):  # numpy reads text as Python
        pass
    raise DtypeError(f"{name}={value!r:.100} is no data type", remedy=f'{name}="uint8"')


def _is_flag(parameter: inspect.Parameter) -> bool:
    if parameter.annotation is parameter.empty:
        return isinstance(parameter.default, bool)
    return parameter.annotation in ("bool", bool)
