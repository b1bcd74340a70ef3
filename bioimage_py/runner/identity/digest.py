"""Digests of values that are the same in any process: arrays by content, functions by what they do and what they name.

What an installed library defines counts by its name, an object of one by the parts that Python pickles it by. All else
is told by all that it holds, and what can be told in neither way is said to be untellable. An object whose class says
that it is pickled as a global (``__reduce__`` returns its name) counts by that name, whatever it holds.
"""

from __future__ import annotations

import base64
import contextlib
import copyreg
import enum
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import FormatError, NotReopenableError
from ...sources.base import Source
from ...sources.spec import SourceSpec, load_qualified
from ...wrapper.base import WrapperSource
from .instructions import Uses, instructions_of, uses_of
from .libraries import IMMUTABLE_TYPE, found, home_of, in_library, is_importable, is_library, is_of_c, of_library

PLAIN = {type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)}
_PICKLING = {"__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__"}
_NOT_TOLD = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__match_args__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__slotnames__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
    "__pydantic_core_schema__",
    "__pydantic_serializer__",
    "__pydantic_validator__",
    "_value2member_map_",
}
"""What a class has besides its functions and values: texts, and what Python keeps there once it is used."""
DESCRIPTORS = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)


def tell(value: Any) -> str:
    """Digest of a value, or why there is none: an ``"untellable …"``, which equals nothing."""
    digest = Digest()
    try:
        told = digest.of(value)
    except RecursionError:
        return f"untellable {type(value).__qualname__}, which is nested too deep"
    except Exception as error:  # noqa: BLE001 - objects fail in any way when they are looked at
        return f"untellable {type(value).__qualname__}: {type(error).__name__}: {error}"
    return f"untellable {digest.untold[0]}" if digest.untold else told


def describe(source: Source) -> str:
    """A source by its spec, without the mode; an array in memory by its content."""
    try:
        return json.dumps(_plain(source.to_spec().to_dict()), sort_keys=True)
    except NotReopenableError:
        return _in_memory(source)


def _in_memory(source: Source) -> str:
    array = getattr(source, "array", None)
    if isinstance(array, np.memmap) and array.filename is not None:
        return _mapped(array)
    if isinstance(array, np.ndarray):
        return f"array in memory {array.shape} {array.dtype} {tell(array)}"
    if isinstance(source, WrapperSource):
        return f"{tell((type(source), source._params()))} of {', '.join(map(describe, source.sources))}"
    return f"untellable {type(source).__module__}.{type(source).__qualname__}"


def _mapped(array: np.memmap) -> str:
    begin = np.frombuffer(array._mmap, np.uint8).__array_interface__["data"][0]  # type: ignore[attr-defined]
    at = array.__array_interface__["data"][0] - begin
    stat = os.stat(array.filename)  # type: ignore[arg-type]
    return f"{array.filename} {stat.st_ino} {stat.st_mtime_ns} at {at} {array.shape} {array.strides} {array.dtype}"


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


class Digest:
    """Walks over a value; what is met again inside itself counts by how far up it is.

    ``untold`` are the kinds that cannot be told, ``met`` what was met of the user's that other processes import.
    """

    def __init__(self) -> None:
        self.untold: list[str] = []
        self.met: dict[str, Any] = {}
        self._done: dict[int, str] = {}
        self._active: dict[int, int] = {}
        self._kept: list[Any] = []

    def of(self, value: Any) -> str:
        """Digest of a value."""
        if type(value) in PLAIN:
            return hashed(f"{type(value).__name__}:{value!r}")
        key = id(value)
        if key in self._active:
            return f"up {len(self._active) - self._active[key]}"
        if key not in self._done:
            self._active[key] = len(self._active)
            self._kept.append(value)  # an id is good only as long as its object lives
            try:
                teller = next((teller for kinds, teller in _TELLERS if issubclass(type(value), kinds)), Digest.thing)
                self._done[key] = hashed(teller(self, value))
            finally:
                del self._active[key]
        return self._done[key]

    def join(self, kind: str, *values: Any) -> str:
        """Digests of several values in order."""
        if all(type(value) in PLAIN for value in values):
            return f"{kind}|{values!r}"
        return "|".join([kind, *map(self.of, values)])

    def pairs(self, named: Mapping[Any, Any]) -> str:
        """Named values, whatever their order."""
        return "{" + "|".join(f"{name!r}={self.of(named[name])}" for name in sorted(named, key=repr)) + "}"

    def untellable(self, value: Any) -> str:
        """Note that a value cannot be told."""
        self.untold.append(f"{type(value).__module__}.{type(value).__qualname__}")
        return "untellable"

    def array(self, value: np.ndarray) -> str:
        """An array by its content."""
        value = value.view(np.ndarray)
        if value.dtype.names:  # bytes between the fields are not content
            return self.join(f"fields:{value.dtype!r}:{value.shape}", *(value[name] for name in value.dtype.names))
        if value.dtype.hasobject:
            return self.join(f"objects:{value.shape}", value.tolist())
        data = np.ascontiguousarray(value).reshape(-1).view(np.uint8) if value.size else np.zeros(0, np.uint8)
        return f"array:{value.dtype!r}:{value.shape}:{hashed(data.data)}"

    def mapping(self, value: dict[Any, Any]) -> str:
        """A dict in its order, which a loop over it follows."""
        return self.join("dict", *(part for item in dict.items(value) for part in item))

    def members(self, value: Iterable[Any]) -> str:
        """A set, whatever its order."""
        ordered: list[Any] = sorted(value, key=_label)  # so that loops through members are entered at the same place
        return "|".join(["set", *sorted(map(self.of, ordered))])

    def code(self, value: types.CodeType) -> str:
        """Code by its instructions and its signature."""
        names = value.co_varnames, value.co_freevars, value.co_cellvars
        counts = value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags & 0x2EF
        steps = [(name, what if type(what) in PLAIN else self.of(what)) for name, what in instructions_of(value)]
        return f"code|{steps!r}|{names!r}|{counts!r}"

    def function(self, value: types.FunctionType) -> str:
        """A function: by name in a library, else its code, defaults, closure, attributes, and what it names."""
        module, space = value.__globals__.get("__name__"), value.__globals__
        name = (value.__module__, value.__qualname__)
        if is_library(module) and is_importable(value):
            return self.join("function", *name)
        self._meet(value)
        uses = uses_of(value.__code__)
        if uses.hidden and not is_library(module):
            self.untold.append(f"{value.__qualname__}, which calls {uses.hidden}")
        cells = [_reached(_content(cell), uses, set()) for cell in value.__closure__ or ()]
        named = {} if is_library(module) else self._named(uses, space)
        told = self.join("def", *name, value.__code__, self.defaults(value), *cells)
        return told + self.pairs(self.kept(value, vars(value))) + self.pairs(self.kept(value, named))

    def defaults(self, function: types.FunctionType) -> Any:
        """What a function takes for arguments that are not given."""
        return function.__defaults__, *(function.__kwdefaults__ or {}).items()

    def _named(self, uses: Uses, space: dict[str, Any]) -> dict[str, Any]:
        named = {name: _reached(space[name], uses, set()) for name in uses.names if name in space}
        for name, level in uses.imports:
            if (module := _imported(name, level, space.get("__package__"))) is not None:
                named[f"import {level} {name}"] = _reached(module, uses, set())
        return named

    def module(self, value: types.ModuleType) -> str:
        """A module: by name in a library, else with all that it holds."""
        if is_library(value.__name__):
            return self.join("module", value.__name__)
        return self.join("module", value.__name__) + self.pairs(_held(value, None))

    def klass(self, value: type) -> str:
        """A class: by name in a library, else with its bases, functions and values."""
        name = (value.__module__, value.__qualname__)
        if of_library(value):
            return self.join("class", *name)
        if value.__flags__ & IMMUTABLE_TYPE:
            return self.untellable(value)
        self._meet(value)
        body = {key: item for key, item in vars(value).items() if key not in _NOT_TOLD}
        if isinstance(value, enum.EnumType):
            members: dict[str, Any] = dict(value.__members__)
            body["members"] = tuple((key, *_fields(member).items()) for key, member in members.items())
        return self.join("class", *name, type(value), value.__bases__) + self.pairs(self.kept(value, body))

    def kept(self, owner: Any, named: dict[str, Any]) -> dict[str, Any]:
        """Those of the named values of a function or class that count: all."""
        return named

    def _meet(self, value: Any) -> None:
        if value.__module__ != "__main__" and is_importable(value):
            self.met[f"{value.__module__}:{value.__qualname__}"] = value

    def thing(self, value: Any) -> str:
        """An object: its type, what the C type beneath holds, and what its own classes have put into it."""
        kind = type(value)
        beneath: Any = next(filter(is_of_c, kind.__mro__))
        own = not all(map(of_library, kind.__mro__))
        if beneath in PLAIN:
            told = f"{beneath.__name__}:{beneath.__repr__(value)}"
        elif beneath in _CONTENTS:
            told = _CONTENTS[beneath](self, value)
        elif not own or _is_global(value):
            return self.reduced(value)
        elif beneath is object:
            told = "object"
        elif any(_PICKLING & vars(one).keys() for one in kind.__mro__ if not of_library(one)):
            told = self.untellable(value)  # its C type would be asked for a part of what it holds
        else:
            told = self.reduced(value)
        return told if kind is beneath else f"{told}|{self.of(kind)}{self.pairs(_fields(value))}"

    def reduced(self, value: Any) -> str:
        """An object by the parts that Python pickles it by, where they lead to it."""
        kind = type(value)
        try:
            registered = copyreg.dispatch_table.get(kind)
            parts = value.__reduce_ex__(4) if registered is None else registered(value)
        except Exception:  # noqa: BLE001 - objects say in any way that they cannot be taken apart
            return self.untellable(value)
        if isinstance(parts, str):
            home = kind.__module__ if _is_global(value) else home_of(value, parts)
            return self.join("global", parts, home) if home else self.untellable(value)
        make, arguments, state, items, pairs = [*parts, None, None, None][:5]
        return self.join("object", make, arguments, state, list(items or ()), dict(pairs or ()))


def hashed(told: Any) -> str:
    """Digest of a text or of bytes."""
    data = told.encode("utf-8", "surrogatepass") if isinstance(told, str) else told
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _label(value: Any) -> str:
    return repr(value) if type(value) in PLAIN else f"{type(value).__qualname__} {getattr(value, '__qualname__', '')}"


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


def _is_global(value: Any) -> bool:
    """Whether a class of the user's says that its object is what a name of its module leads to."""
    if not any("__reduce__" in vars(one) for one in type(value).__mro__ if not is_of_c(one)):
        return False
    try:
        name = value.__reduce__()
    except Exception:  # noqa: BLE001 - it says that it cannot be pickled
        return False
    return isinstance(name, str) and found(type(value).__module__, name) is value


def _fields(value: Any) -> dict[str, Any]:
    """What the classes of an object have put into it, and what they have named slots for."""
    fields = dict(getattr(value, "__dict__", {}))
    fields.pop("_inverted_", None)  # what a flag finds out once it is asked
    for one in (one for one in type(value).__mro__ if "__slots__" in vars(one)):
        for name, slot in vars(one).items():
            if isinstance(slot, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # it is empty
                    fields[f"{one.__qualname__}.{name}"] = slot.__get__(value)
    return fields


def _held(module: types.ModuleType, names: set[str] | None) -> dict[str, Any]:
    """What a module holds of some names, or of all."""
    own = {name for name in vars(module) if not name.startswith("__")} if names is None else names
    return {name: vars(module)[name] for name in {*own, "__getattr__"} if name in vars(module)}


def _reached(value: Any, uses: Uses, seen: set[str]) -> Any:
    """A value; of a module that is not a library's, what a function may reach in it."""
    if not isinstance(value, types.ModuleType) or is_library(value.__name__) or value.__name__ in seen:
        return value.__name__ if isinstance(value, types.ModuleType) else value
    seen = {*seen, value.__name__}
    inside = _held(value, None if uses.any_attribute else uses.attributes)
    return (value.__name__, *((name, _reached(inside[name], uses, seen)) for name in sorted(inside)))


def _imported(name: str, level: int, package: str | None) -> types.ModuleType | None:
    """The module of an import in a function, where it is not a library's."""
    try:
        full = importlib.util.resolve_name("." * level + name, package)
        if full not in sys.modules:
            spec = importlib.util.find_spec(full)
            if spec is None or spec.origin is None or in_library(spec.origin) or not spec.has_location:
                return None
        return None if is_library(full) else importlib.import_module(full)
    except (ImportError, ValueError):  # an import that a function guards, or that is wrong: it will say so itself
        return None


_CONTENTS: dict[type, Callable[[Digest, Any], str]] = {
    np.ndarray: Digest.array,
    list: lambda digest, value: digest.join("list", *list.__iter__(value)),
    tuple: lambda digest, value: digest.join("tuple", *tuple.__iter__(value)),
    dict: Digest.mapping,
    set: lambda digest, value: digest.members(set.__iter__(value)),
    frozenset: lambda digest, value: digest.members(frozenset.__iter__(value)),
    staticmethod: lambda digest, value: digest.join("static", value.__func__),
    classmethod: lambda digest, value: digest.join("class's", value.__func__),
    property: lambda digest, value: digest.join("property", value.fget, value.fset, value.fdel),
}
"""What objects of these types, and of classes made of them, hold in C."""
_TELLERS: tuple[tuple[Any, Callable[[Digest, Any], str]], ...] = (
    (enum.Enum, lambda digest, value: digest.join("enum", type(value), value.name, value.value)),
    (np.generic, lambda digest, value: f"{digest.array(np.asarray(value))}|{digest.join('scalar', type(value))}"),
    (np.dtype, lambda digest, value: f"dtype:{value!r}"),
    (np.memmap, lambda digest, value: digest.array(value) if value.filename is None else _mapped(value)),
    (types.MappingProxyType, lambda digest, value: digest.mapping(dict(value))),
    (Source, lambda digest, value: describe(value)),
    (SourceSpec, lambda digest, value: json.dumps(_plain(value.to_dict()), sort_keys=True)),
    (types.CodeType, Digest.code),
    (types.FunctionType, Digest.function),
    (types.MethodType, lambda digest, value: digest.join("method", value.__func__, value.__self__)),
    (
        functools._lru_cache_wrapper,
        lambda digest, value: digest.join("cache", *value.cache_parameters().values()) + digest.pairs(vars(value)),
    ),
    (types.ModuleType, Digest.module),
    (DESCRIPTORS, lambda digest, value: digest.join("descriptor", value.__objclass__, value.__name__)),
    (type, Digest.klass),
    (functools.cached_property, lambda digest, value: digest.pairs({**_fields(value), "lock": type(value)})),
)
