"""What a call computes, as a value that can be compared: the same call gives the same definition, in any process.

It covers code, not text: no file names, no line numbers, no comments. Functions of installed libraries count by name.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
import sysconfig
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import NotReopenableError
from ..sources.base import Source
from ..sources.spec import SourceSpec
from .plan import Stage

_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_PACKAGE = __name__.partition(".")[0]


class UntellableError(Exception):
    """A value of which nobody can tell whether it is the same in another process."""


def definition_of(stages: tuple[Stage, ...]) -> dict[str, str]:
    """Definition of a run: digests and readable values, by what they describe.

    Parameters
    ----------
    stages : tuple of Stage

    Returns
    -------
    dict
        JSON values; equal for equal calls. What cannot be told is an ``"untellable …"`` that equals nothing.
    """
    parts: dict[str, str] = {}
    for stage in stages:
        for name, value in (("function", stage.function), ("reduce", stage.merge), ("setup", stage.setup)):
            parts[f"{stage.name}.{name}"] = tell(value)
        for name, sources in (("input", stage.inputs), ("output", stage.outputs)):
            for index, source in enumerate(sources):
                parts[f"{stage.name}.{name} {index}"] = describe(source)
        parts[f"{stage.name}.mask"] = "None" if stage.mask is None else describe(stage.mask)
        parts[f"{stage.name}.halo"] = str(stage.halo)
        parts[f"{stage.name}.returns"] = stage.returns
        if stage.units.groups is not None:
            grid = stage.units.groups.grid
            parts[f"{stage.name}.grid"] = (
                f"shape {grid.shape} blocks {grid.block_shape} roi {grid.roi} anchor {grid.anchor}"
            )
        if stage.units.ids is not None:
            parts[f"{stage.name}.block_ids"] = tell(np.sort(stage.units.ids))
        else:
            parts[f"{stage.name}.block_ids"] = f"all {stage.units.n_blocks}"
    return parts


def tell(value: Any) -> str:
    """Digest of a value, or why there is none."""
    try:
        return _Digest().of(value)
    except UntellableError as error:
        return f"untellable {error}"


def describe(source: Source) -> str:
    """A source by its spec, without the mode; an array in memory by its content."""
    try:
        text: str = json.dumps(_plain(json.loads(source.to_spec().to_json())), sort_keys=True)
        return text
    except NotReopenableError:
        return f"array in memory {source.shape} {source.dtype} {tell(np.asarray(source))}"


def _plain(spec: Any) -> Any:
    if isinstance(spec, dict):
        return {key: _plain(value) for key, value in spec.items() if key != "mode"}
    return [_plain(item) for item in spec] if isinstance(spec, list) else spec


def is_library(module: str | None) -> bool:
    """Whether a module belongs to Python, to an installed library or to this package."""
    if module is None or module.partition(".")[0] == _PACKAGE:
        return True
    if module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or file.startswith(_LIBRARIES) or "site-packages" in file


class _Digest:
    """Walks over a value once; what is met again counts as a reference."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []

    def of(self, value: Any) -> str:
        """Digest of a value."""
        return hashlib.blake2b(self._bytes(value), digest_size=16).hexdigest()

    def _bytes(self, value: Any) -> bytes:
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic, np.dtype, type(...))):
            return f"{type(value).__name__}:{value!r}".encode()
        if id(value) in self._seen:
            return f"again:{self._seen[id(value)]}".encode()
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)  # an id is good only as long as its object lives
        for kinds, teller in _TELLERS:
            if isinstance(value, kinds):
                return teller(self, value)
        return self._object(value)

    def join(self, kind: str, *values: Any) -> bytes:
        """Digests of several values in order."""
        return "|".join([kind, *(self.of(value) for value in values)]).encode()

    def array(self, value: np.ndarray) -> bytes:
        """An array by its content."""
        if value.dtype.hasobject:
            return self.join("objects", value.shape, value.tolist())
        data = hashlib.blake2b(np.ascontiguousarray(value).view(np.uint8).data, digest_size=16).hexdigest()
        return f"array:{value.dtype.str}:{value.shape}:{data}".encode()

    def mapping(self, value: dict[Any, Any]) -> bytes:
        """A dict, whatever its order."""
        items = sorted(value.items(), key=lambda item: repr(item[0]))
        return "|".join(["dict", *(self.of(item) for item in items)]).encode()

    def members(self, value: set[Any]) -> bytes:
        """A set, whatever its order."""
        return "|".join(["set", *sorted(_Digest().of(item) for item in value)]).encode()

    def source(self, value: Source) -> bytes:
        """A source by its spec."""
        return describe(value).encode()

    def code(self, value: types.CodeType) -> bytes:
        """Code without names of files, numbers of lines, and its docstring."""
        constants = value.co_consts
        if constants and isinstance(constants[0], str) and value.co_flags & 0x2:
            constants = constants[1:]
        return self.join(
            "code",
            value.co_code,
            [self.of(item) for item in constants],
            value.co_names,
            value.co_varnames,
            value.co_freevars,
            value.co_cellvars,
            value.co_argcount,
            value.co_kwonlyargcount,
            value.co_flags & 0xF,
        )

    def function(self, value: types.FunctionType) -> bytes:
        """A function: by name in a library, else its code, defaults, closure, and the globals it names."""
        if is_library(value.__module__):
            return f"function:{value.__module__}:{value.__qualname__}".encode()
        cells = [cell.cell_contents for cell in value.__closure__ or () if not _empty(cell)]
        named = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
        return self.join(
            "def", value.__qualname__, value.__code__, value.__defaults__, value.__kwdefaults__, cells, named
        )

    def method(self, value: types.MethodType) -> bytes:
        """A bound method."""
        return self.join("method", value.__func__, value.__self__)

    def partial(self, value: functools.partial[Any]) -> bytes:
        """A partial call."""
        return self.join("partial", value.func, value.args, value.keywords)

    def module(self, value: types.ModuleType) -> bytes:
        """A module by its name."""
        return f"module:{value.__name__}".encode()

    def klass(self, value: type) -> bytes:
        """A class: by name in a library, else with its functions and values."""
        if is_library(value.__module__):
            return f"class:{value.__module__}:{value.__qualname__}".encode()
        skipped = {"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"}
        body = {name: item for name, item in vars(value).items() if name not in skipped}
        return self.join("class", value.__qualname__, value.__bases__, body)

    def _object(self, value: Any) -> bytes:
        if dataclasses.is_dataclass(value):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self.join("dataclass", type(value), fields)
        if isinstance(value, (staticmethod, classmethod)):
            return self.join("wrapped", value.__func__)
        if isinstance(value, types.BuiltinFunctionType) or type(value).__name__ in ("ufunc", "nb_func"):
            return f"built-in:{getattr(value, '__module__', '')}:{getattr(value, '__name__', '')}".encode()
        if hasattr(value, "__dict__") and not is_library(type(value).__module__):
            return self.join("object", type(value), vars(value))
        if type(value).__module__.partition(".")[0] == _PACKAGE and hasattr(value, "__dict__"):
            return self.join("object", type(value), vars(value))
        raise UntellableError(f"{type(value).__module__}.{type(value).__qualname__} {id(value):#x}")


def _empty(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


_TELLERS: tuple[tuple[Any, Callable[[_Digest, Any], bytes]], ...] = (
    (np.ndarray, _Digest.array),
    ((list, tuple), lambda digest, value: digest.join(type(value).__name__, *value)),
    (dict, _Digest.mapping),
    ((set, frozenset), _Digest.members),
    (Source, _Digest.source),
    (SourceSpec, lambda digest, value: json.dumps(_plain(json.loads(value.to_json())), sort_keys=True).encode()),
    (types.CodeType, _Digest.code),
    (types.FunctionType, _Digest.function),
    (types.MethodType, _Digest.method),
    (functools.partial, _Digest.partial),
    (types.ModuleType, _Digest.module),
    (type, _Digest.klass),
)
