"""Descriptions of sources that another process can open again: plain values with a JSON form."""

from __future__ import annotations

import base64
import importlib
import json
import math
import os
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import FormatError, ParameterError
from ..system.json_text import parse_json

VERSION = 1

_SAVED = "pass what SourceSpec.to_json returned"

_TRUST = "if you trust where it comes from: SourceSpec.from_json(text, allow_pickle=True)"
_PACKAGE = __name__.partition(".")[0]
_REDUCTIONS = "all amax amin any average max mean median min nanmax nanmean nanmin nansum prod ptp std sum var"
_OPERATORS = "add and_ eq floordiv ge gt invert le lt mod mul ne neg or_ pos sub truediv xor"
_FUNCTIONS = {
    *(f"numpy:{name}" for name in _REDUCTIONS.split()),
    *(f"_operator:{name}" for name in _OPERATORS.split()),
}
"""Besides ufuncs, what a spec may name that nobody vouches for."""
_registered: dict[str, Any] = {}

_CALLABLE, _PICKLE, _SLICE, _FLOAT, _SPEC = "__callable__", "__cloudpickle__", "__slice__", "__float__", "__spec__"


class FrozenParams(Mapping[str, Any]):
    """A mapping of JSON values that cannot change and can be hashed; equal to a dict with the same content."""

    __slots__ = ("_data", "_hash")

    def __init__(self, data: Mapping[str, Any]) -> None:
        for key in data:
            if not isinstance(key, str):
                raise ParameterError(f"The parameter name {key!r} is no string.", remedy="name parameters by strings")
        self._data = {key: freeze(value) for key, value in data.items()}
        self._hash: int | None = None

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self._data == (other._data if isinstance(other, FrozenParams) else dict(FrozenParams(other)))

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._data.items()))
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:
        return (FrozenParams, (self._data,))

    def __repr__(self) -> str:
        return repr(self._data)


def freeze(value: Any) -> Any:
    """Return ``value`` as an immutable JSON value.

    Lists and arrays become tuples, dicts become `FrozenParams`, numpy scalars become Python numbers, paths and data
    types become strings. Callables become ``{"__callable__": "module:qualname"}`` if that name leads back to them,
    else ``{"__cloudpickle__": base64}``. Slices, NaN, infinities and specs are marked in the same way.

    Raises
    ------
    ParameterError
        For any other type.
    """
    if value is None or isinstance(value, bool | str | FrozenParams | SourceSpec):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return freeze(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else FrozenParams({_FLOAT: repr(float(value))})
    if isinstance(value, Mapping):
        return FrozenParams(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, slice):
        return FrozenParams({_SLICE: [value.start, value.stop, value.step]})
    if isinstance(value, np.dtype):
        return value.str
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(value):
        return encode_callable(value)
    raise ParameterError(
        f"A parameter of type {type(value).__name__} cannot be part of a spec.",
        remedy="use numbers, strings, lists, dicts, slices or functions",
    )


def thaw(value: Any) -> Any:
    """Return the plain Python value of a frozen one: tuples become lists, marked values what they stand for."""
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    if not isinstance(value, FrozenParams):
        return value
    if len(value) == 1:
        mark, content = next(iter(value.items()))
        if mark == _SLICE:
            return slice(*content)
        if mark == _FLOAT:
            return float(content)
        if mark in (_CALLABLE, _PICKLE):
            return decode_callable(value)
    return {key: thaw(item) for key, item in value.items()}


def encode_callable(function: Any) -> FrozenParams:
    """Return a marked JSON value for a callable: by name where the name leads back to it, else by content."""
    name = qualified_name(function)
    if name is not None:
        return FrozenParams({_CALLABLE: name})
    import cloudpickle

    try:
        # strings shared between code and annotations are not after loading: the second form stays as it is
        content = cloudpickle.dumps(cloudpickle.loads(cloudpickle.dumps(function)))
    except Exception as error:  # pickling runs code of foreign objects, which may raise anything
        raise ParameterError(
            f"The function {function!r} cannot be described: {error}",
            remedy="define it at the top level of a module, and keep locks, files and generators out of it",
        ) from error
    return FrozenParams({_PICKLE: base64.b64encode(content).decode("ascii")})


def decode_callable(mark: Mapping[str, Any]) -> Any:
    """Return the callable of a marked JSON value made by `encode_callable`."""
    if _CALLABLE in mark:
        return load_qualified(mark[_CALLABLE])
    import cloudpickle

    return cloudpickle.loads(base64.b64decode(mark[_PICKLE]))


def qualified_name(thing: Any) -> str | None:
    """Return ``"module:qualname"`` if importing that name gives the same object, else None."""
    if (name := _name_of(thing)) is None:
        return None
    try:
        return name if load_qualified(name) is thing else None
    except FormatError:
        return None


def _name_of(thing: Any) -> str | None:
    """Return ``"module:qualname"`` where that can lead back to a thing."""
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if isinstance(thing, np.ufunc):
        module = "numpy"
    if isinstance(thing, types.MethodType) or not module or not name or module == "__main__" or "<" in name:
        return None
    return f"{module}:{name}"


def load_qualified(name: str) -> Any:
    """Import what ``"module:qualname"`` names.

    Raises
    ------
    FormatError
        If the module or the name in it does not exist.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise FormatError(
            f"{name!r} cannot be imported: {error}",
            remedy=f"make the module {module!r} importable in this process, for example by installing its package",
        ) from error
    return found


@dataclass(frozen=True)
class SourceSpec:
    """What another process needs to open a source again.

    Parameters
    ----------
    kind : str
        Registered kind; decides who opens it (see `register_source`).
    path : str, optional
        Absolute path or URL of the container.
    internal_path : str, optional
        Path of the array inside the container.
    params : mapping, optional
        Further arguments, as JSON values; stored frozen (see `freeze`). `arguments` gives them back.
    wrapped : SourceSpec, optional
        Spec of the inner source, for wrappers.
    version : int, default 1
        Version of this form.
    """

    kind: str
    path: str | None = None
    internal_path: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    wrapped: SourceSpec | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not self.kind:
            raise ParameterError(f"kind is {self.kind!r}.", remedy="use the name of a registered kind")
        if self.path is not None:
            object.__setattr__(self, "path", os.fspath(self.path))
        if not isinstance(self.params, FrozenParams):
            object.__setattr__(self, "params", FrozenParams(self.params))

    def arguments(self) -> dict[str, Any]:
        """Return the parameters as plain Python values (lists, slices, callables)."""
        return {key: thaw(value) for key, value in self.params.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as a dict of JSON values."""
        return {
            "kind": self.kind,
            "path": self.path,
            "internal_path": self.internal_path,
            "params": _to_json(self.params),
            "wrapped": None if self.wrapped is None else self.wrapped.to_dict(),
            "version": self.version,
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the spec as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, data: str | bytes | Mapping[str, Any], *, allow_pickle: bool = False) -> SourceSpec:
        """Return the spec that `to_json` or `to_dict` wrote.

        Parameters
        ----------
        data : str, bytes or mapping
            JSON text, or what `to_dict` gave.
        allow_pickle : bool, default False
            Trust the text: accept functions stored as cloudpickle bytes, functions of any module by name, and headers
            with environment variables. Opening such a spec runs code that it contains or names, and sends what it asks
            for, so allow it only for text from a trusted place. Without it, wrappers of this package, numpy's and
            scipy's ufuncs and some reductions, and what `register_callable` was told are opened.

        Raises
        ------
        FormatError
            If the text is no spec, is of a newer version, or holds or names code that is not allowed.
        """
        try:
            return cls._from_json(parse_json(data) if isinstance(data, str | bytes) else data, allow_pickle)
        except RecursionError:
            raise FormatError("The spec is nested too deep.", remedy=_SAVED) from None
        except FormatError:
            raise
        except ValueError as error:
            raise FormatError(f"This is not JSON: {error}", remedy=_SAVED) from error

    @classmethod
    def _from_json(cls, data: Any, allow_pickle: bool) -> SourceSpec:
        if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
            raise FormatError("This is not a source spec: it has no 'kind'.", remedy=_SAVED)
        version = data.get("version", VERSION)
        if not isinstance(version, int) or version > VERSION:
            raise FormatError(f"The spec has version {version!r}, known is {VERSION}.", remedy="update bioimage_py")
        known = {"kind", "path", "internal_path", "params", "wrapped", "version"}
        if unknown := sorted(set(data) - known):
            raise FormatError(f"The spec has unknown fields {unknown}.", remedy=f"known fields are {sorted(known)}")
        path, internal, wrapped, params = (data.get(name) for name in ("path", "internal_path", "wrapped", "params"))
        if not isinstance(path, str | None) or not isinstance(internal, str | None):
            raise FormatError(f"The spec's paths are {path!r} and {internal!r}, not texts.", remedy=_SAVED)
        if not isinstance(params, Mapping | None):
            raise FormatError(f"The spec's params are a {type(params).__name__}.", remedy=_SAVED)
        inner = None if wrapped is None else cls._from_json(wrapped, allow_pickle)
        return cls(data["kind"], path, internal, _from_json(params or {}, allow_pickle), inner, version)


def _check_untrusted(value: Mapping[str, Any]) -> None:
    """Refuse what runs code of others, or tells them what is in the environment."""
    if _PICKLE in value:
        raise FormatError(
            "The spec holds a function as cloudpickle bytes, which run code when they are loaded.", remedy=_TRUST
        )
    if _CALLABLE in value and not named_freely(value[_CALLABLE]):
        raise FormatError(
            f"The spec names {value[_CALLABLE]!r}, which would run with what the spec says.",
            remedy=f"{_TRUST}; for a function of your own package: register_callable(function)",
        )
    headers = value.get("headers")
    if isinstance(headers, Mapping) and any("$" in str(part) for part in headers.values()):
        raise FormatError(f"The spec sends environment variables to a server: {dict(headers)}.", remedy=_TRUST)


def register_callable(function: Any) -> Any:
    """Let specs that nobody vouches for name a function or class, and return it; usable as a decorator.

    Such a spec may call it with any array and any parameters, so it must not do harm whatever they are. A package
    does so in what its entry point of the group ``bioimage_py.sources`` calls.

    Parameters
    ----------
    function : callable
        That its module and name lead back to.

    Raises
    ------
    ParameterError
        They do not.
    """
    name = _name_of(function)
    if name is None:
        raise ParameterError(f"{function!r} is not found by its name.", remedy="define it at the top level of a module")
    _registered[name] = function
    return function


def named_freely(name: Any) -> bool:
    """Whether a spec may name a callable without being trusted; imports only numpy, scipy and this package."""
    module, _, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if f"{module}:{path}" in (*_FUNCTIONS, *_registered):
        return True
    try:
        if module in ("numpy", "scipy.special") and path.isidentifier():
            found = load_qualified(name)
            return isinstance(found, np.ufunc) or (isinstance(found, type) and issubclass(found, np.generic))
        if module.partition(".")[0] == _PACKAGE:
            found = load_qualified(name)
            return any(found is one for one in _registered.values())
    except FormatError:
        pass
    return False


def _to_json(value: Any) -> Any:
    if isinstance(value, SourceSpec):
        return {_SPEC: value.to_dict()}
    if isinstance(value, FrozenParams):
        return {key: _to_json(item) for key, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any, allow_pickle: bool) -> Any:
    if isinstance(value, list):
        return [_from_json(item, allow_pickle) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {_SPEC}:
        return SourceSpec._from_json(value[_SPEC], allow_pickle)
    if not allow_pickle:
        _check_untrusted(value)
    return {key: _from_json(item, allow_pickle) for key, item in value.items()}


def reopened(spec: SourceSpec) -> Any:
    """Return the source that a spec describes, by way of the registry; what a pickled source names."""
    return load_qualified("bioimage_py.sources.registry:from_spec")(spec)
