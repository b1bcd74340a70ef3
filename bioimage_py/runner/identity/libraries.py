"""What installed libraries have defined, and where it is: this counts by its name."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
IMMUTABLE_TYPE = 1 << 8
"""Flag of a type that only C code can make."""


def is_library(module: str | None) -> bool:
    """Whether a module belongs to Python, to an installed library or to this package."""
    if module is None or module == "__main__":
        return False
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    return root == _PACKAGE or (root in sys.stdlib_module_names if file is None else in_library(file))


def in_library(file: str) -> bool:
    """Whether a file is Python's or was installed."""
    return file.startswith(_LIBRARIES) or f"{os.sep}site-packages{os.sep}" in file


def found(module: Any, path: str) -> Any:
    """What a name leads to in a module that is loaded."""
    head, *rest = path.split(".")
    inside = getattr(sys.modules.get(module), "__dict__", {}).get(head)
    return functools.reduce(lambda value, name: getattr(value, name, None), rest, inside)


def is_importable(value: Any) -> bool:
    """Whether the name of a function or class leads to it."""
    return found(value.__module__, value.__qualname__) is value


def home_of(value: Any, name: str) -> str | None:
    """The package in which a name leads to an object of C code, which nobody else can have made."""
    module = getattr(value, "__module__", None)
    if not callable(value):  # a name is all that it is
        return str(module)
    for one in (module, type(value).__module__, *sorted(sys.modules)):
        if found(one, name) is value and is_library(one):
            return str(one).partition(".")[0]
    return None


def is_of_c(kind: type) -> bool:
    """Whether a class was written in C."""
    return bool(kind.__flags__ & IMMUTABLE_TYPE) or isinstance(vars(kind).get("__new__"), types.BuiltinFunctionType)


def of_library(kind: type) -> bool:
    """Whether a class is one that a library has written, and not one that it has made of what it was given."""
    module = kind.__module__
    if kind.__flags__ & IMMUTABLE_TYPE:  # those of Cython itself are in no file
        return not hasattr(sys.modules.get(module), "__file__") or is_library(module)
    return not isinstance(module, str) or (is_library(module) and is_importable(kind))
