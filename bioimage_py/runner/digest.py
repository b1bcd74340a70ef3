"""Digests of values that are the same in any process: arrays by content, functions by what they do and what they name.

Functions of installed libraries count by name. What Python can take apart for pickling is told by its parts; the rest
cannot be told.
"""

from __future__ import annotations

import base64
import copyreg
import dataclasses
import enum
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..errors import FormatError, NotReopenableError
from ..sources.base import Source
from ..sources.spec import SourceSpec, load_qualified
from ..wrapper.base import WrapperSource
from .instructions import instructions_of, uses_of

_PACKAGE = __name__.partition(".")[0]
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_PLAIN = {type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)}
_NOT_TOLD = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__match_args__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}
"""What a class has besides its functions and values."""
_DESCRIPTORS = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)


class UntellableError(Exception):
    """A value of which nobody can tell whether it is the same in another process."""


def tell(value: Any) -> str:
    """Digest of a value, or why there is none: an ``"untellable …"``, which equals nothing."""
    try:
        return _Digest().of(value)
    except UntellableError as error:
        return f"untellable {error}"
    except RecursionError:
        return f"untellable {type(value).__qualname__}, which is nested too deep"


def describe(source: Source) -> str:
    """A source by its spec, without the mode; an array in memory by its content."""
    try:
        return json.dumps(_plain(source.to_spec().to_dict()), sort_keys=True)
    except NotReopenableError:
        return _in_memory(source)


def _in_memory(source: Source) -> str:
    array = getattr(source, "array", None)
    if isinstance(array, np.memmap) and array.filename is not None:
        begin = np.frombuffer(array._mmap, np.uint8).__array_interface__["data"][0]  # type: ignore[attr-defined]
        at = array.__array_interface__["data"][0] - begin
        stat = os.stat(array.filename)
        return f"{array.filename} {stat.st_ino} {stat.st_mtime_ns} at {at} {array.shape} {array.strides} {array.dtype}"
    if isinstance(array, np.ndarray):
        return f"array in memory {array.shape} {array.dtype} {tell(array)}"
    if isinstance(source, WrapperSource):
        return f"{tell((type(source), source._params()))} of {', '.join(map(describe, source.sources))}"
    return f"untellable {type(source).__module__}.{type(source).__qualname__}"


def _plain(spec: Any) -> Any:
    """A spec without modes, its functions by what they do."""
    if isinstance(spec, list):
        return [_plain(item) for item in spec]
    if not isinstance(spec, dict):
        return spec
    if set(spec) == {"__cloudpickle__"}:
        import cloudpickle

        return tell(cloudpickle.loads(base64.b64decode(spec["__cloudpickle__"])))
    if set(spec) == {"__callable__"}:
        try:
            return tell(load_qualified(spec["__callable__"]))
        except FormatError:
            return spec
    return {key: _plain(value) for key, value in spec.items() if key != "mode"}


def is_library(module: str | None) -> bool:
    """Whether a module belongs to Python, to an installed library or to this package."""
    if module is None or module == "__main__":
        return False
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    return root == _PACKAGE or (root in sys.stdlib_module_names if file is None else _in_library(file))


def _in_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or f"{os.sep}site-packages{os.sep}" in file


class _Digest:
    """Walks over a value; what is met again inside itself counts by how far up it is."""

    def __init__(self) -> None:
        self._done: dict[int, str] = {}
        self._active: dict[int, int] = {}
        self._kept: list[Any] = []

    def of(self, value: Any) -> str:
        """Digest of a value."""
        if _is_plain(value):
            return _hash(f"{type(value).__name__}:{value!r}")
        key = id(value)
        if key in self._active:
            return f"up {len(self._active) - self._active[key]}"
        if key not in self._done:
            self._active[key] = len(self._active)
            self._kept.append(value)  # an id is good only as long as its object lives
            try:
                told = next((teller(self, value) for kinds, teller in _TELLERS if isinstance(value, kinds)), None)
                self._done[key] = _hash(self.thing(value) if told is None else told)
            finally:
                del self._active[key]
        return self._done[key]

    def join(self, kind: str, *values: Any) -> str:
        """Digests of several values in order."""
        return "|".join([kind, *(self.of(value) for value in values)])

    def array(self, value: np.ndarray) -> str:
        """An array by its content."""
        if value.dtype.hasobject:
            return self.join("objects", value.shape, value.tolist())
        if isinstance(value, np.ma.MaskedArray):
            return self.join("masked", np.asarray(value.filled()), np.ma.getmaskarray(value))
        data = np.ascontiguousarray(value).reshape(-1).view(np.uint8) if value.size else np.zeros(0, np.uint8)
        return f"array:{value.dtype.descr}:{value.shape}:{_hash(data.data)}"

    def sequence(self, value: list[Any] | tuple[Any, ...]) -> str:
        """A list or tuple."""
        if all(map(_is_plain, value)):
            return f"{type(value).__name__}:{list(value)!r}"
        return self.join(type(value).__name__, *value)

    def mapping(self, value: dict[Any, Any]) -> str:
        """A dict, whatever its order."""
        if all(_is_plain(key) and _is_plain(item) for key, item in value.items()):
            return "dict:" + repr(sorted(map(repr, value.items())))
        return "|".join(["dict", *sorted(f"{self.of(key)}={self.of(item)}" for key, item in value.items())])

    def members(self, value: Iterable[Any]) -> str:
        """A set, whatever its order."""
        return "|".join(["set", *sorted(self.of(item) for item in value)])

    def code(self, value: types.CodeType) -> str:
        """Code by its instructions and its signature."""
        names = value.co_varnames, value.co_freevars, value.co_cellvars
        counts = value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags & 0x2EF
        return self.join("code", instructions_of(value), names, counts)

    def function(self, value: types.FunctionType) -> str:
        """A function: by name in a library, else its code, defaults, closure, and what it names."""
        name = (value.__module__, value.__qualname__)
        cells = [_content(cell) for cell in value.__closure__ or ()]
        defaults = (value.__defaults__, value.__kwdefaults__)
        if is_library(value.__module__):
            return self.join("function", name, cells, defaults if cells else None)
        attributes = {key: item for key, item in vars(value).items() if key != "__wrapped__"}
        return self.join("def", name, value.__code__, defaults, cells, attributes, self._named(value))

    def _named(self, function: types.FunctionType) -> dict[str, Any]:
        uses, space = uses_of(function.__code__), function.__globals__
        named = {name: _reached(space[name], uses.attributes, set()) for name in uses.names if name in space}
        for name, level in uses.imports:
            if (module := _imported(name, level, space.get("__package__"))) is not None:
                named[f"import {level} {name}"] = _reached(module, uses.attributes, set())
        return named

    def klass(self, value: type) -> str:
        """A class: by name in a library, else with its functions and values."""
        name = (value.__module__, value.__qualname__)
        if is_library(value.__module__):
            return self.join("class", name)
        if issubclass(value, enum.Enum):
            return self.join("enum", name, {member.name: member.value for member in value})
        if issubclass(value, tuple) and hasattr(value, "_field_defaults"):
            return self.join("named tuple", name, getattr(value, "_fields", ()), value._field_defaults)
        body = {key: item for key, item in vars(value).items() if key not in _NOT_TOLD and not _generated(value, item)}
        return self.join("class", name, value.__bases__, body)

    def thing(self, value: Any) -> str:
        """Any other object: by its fields, by what it wraps, or by the parts that Python pickles it by."""
        if dataclasses.is_dataclass(value):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self.join("dataclass", type(value), fields)
        if callable(wrapped := getattr(value, "__wrapped__", None)):
            return self.join("wrapper", type(value).__qualname__, wrapped)
        try:
            registered = copyreg.dispatch_table.get(type(value))
            parts = value.__reduce_ex__(4) if registered is None else registered(value)
        except Exception as error:  # objects say in any way that they cannot be taken apart
            raise UntellableError(f"{type(value).__module__}.{type(value).__qualname__}") from error
        if isinstance(parts, str):
            return self.join("global", getattr(value, "__module__", type(value).__module__), parts)
        make, arguments, state, items, pairs = [*parts, None, None, None][:5]
        return self.join("object", make, arguments, state, list(items or ()), dict(pairs or ()))


def _hash(told: Any) -> str:
    return hashlib.blake2b(told.encode() if isinstance(told, str) else told, digest_size=16).hexdigest()


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or isinstance(value, (np.generic, np.dtype))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


def _reached(value: Any, attributes: set[str], seen: set[str]) -> Any:
    """A value; of a module that is not a library's, what a function may reach in it."""
    if not isinstance(value, types.ModuleType) or is_library(value.__name__) or value.__name__ in seen:
        return value
    seen = {*seen, value.__name__}
    inside = {name: vars(value)[name] for name in attributes if name in vars(value)}
    return (value.__name__, {name: _reached(item, attributes, seen) for name, item in inside.items()})


def _imported(name: str, level: int, package: str | None) -> types.ModuleType | None:
    """The module of an import in a function, where it is not a library's."""
    try:
        full = importlib.util.resolve_name("." * level + name, package)
        if full not in sys.modules:
            spec = importlib.util.find_spec(full)
            if spec is None or spec.origin is None or _in_library(spec.origin) or not spec.has_location:
                return None
        if full.partition(".")[0] == _PACKAGE:
            return None
        return importlib.import_module(full)
    except (ImportError, ValueError):  # an import that a function guards, or that is wrong: it will say so itself
        return None


def _generated(owner: type, item: Any) -> bool:
    """Whether a function was written by ``dataclass``, from the fields."""
    if not (dataclasses.is_dataclass(owner) and isinstance(item, types.FunctionType)):
        return False
    file = item.__code__.co_filename
    return item.__name__.startswith("__") and (file == "<string>" or _in_library(file))


_TELLERS: tuple[tuple[Any, Callable[[_Digest, Any], str]], ...] = (
    (np.ndarray, _Digest.array),
    (enum.Enum, lambda digest, value: digest.join("enum", type(value), value.name)),
    ((list, tuple), _Digest.sequence),
    (dict, _Digest.mapping),
    ((set, frozenset), _Digest.members),
    (types.MappingProxyType, lambda digest, value: digest.mapping(dict(value))),
    (Source, lambda digest, value: describe(value)),
    (SourceSpec, lambda digest, value: json.dumps(_plain(value.to_dict()), sort_keys=True)),
    (types.CodeType, _Digest.code),
    (types.FunctionType, _Digest.function),
    (types.MethodType, lambda digest, value: digest.join("method", value.__func__, value.__self__)),
    (
        functools.partial,
        lambda digest, value: digest.join("partial", value.func, value.args, value.keywords),
    ),
    ((staticmethod, classmethod), lambda digest, value: digest.join(type(value).__name__, value.__func__)),
    (property, lambda digest, value: digest.join("property", value.fget, value.fset, value.fdel)),
    (functools.cached_property, lambda digest, value: digest.join("property", value.func)),
    (types.ModuleType, lambda digest, value: f"module:{value.__name__}"),
    (_DESCRIPTORS, lambda digest, value: f"descriptor:{value.__name__}"),
    (type, _Digest.klass),
)
