"""What worker processes import in place of what the driver sends them, and whether it is the same."""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import importlib.machinery
import math
import os
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...run_folder import RunFolder
from ...sources.base import Source
from ...wrapper.base import WrapperSource
from ..planning.stage import Stage
from .digest import DESCRIPTORS, PLAIN, Digest, hashed
from .instructions import constants_of, literals_of, uses_of
from .libraries import found, is_importable

_LASTING = (
    tuple,
    frozenset,
    enum.Enum,
    np.generic,
    np.dtype,
    types.CodeType,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.ModuleType,
    type,
    staticmethod,
    classmethod,
    property,
    functools.cached_property,
    functools.partial,
    functools._lru_cache_wrapper,
    *DESCRIPTORS,
)


class _Imported(Digest):
    """Digest of what an import makes, the same in every process that imports the same file.

    What else is imported counts by its name. Values that may change while a program runs do not count, nor does what
    the file computes, which may depend on the machine.
    """

    def __init__(self, root: Any) -> None:
        super().__init__()
        self._root = root

    def of(self, value: Any) -> str:
        """Digest of a value."""
        if not (type(value) in PLAIN or issubclass(type(value), _LASTING)):
            return hashed(f"a {type(value).__qualname__}")
        if isinstance(value, (types.FunctionType, type)) and value is not self._root and is_importable(value):
            return hashed(f"{value.__module__}:{value.__qualname__}")
        return super().of(value)

    def defaults(self, function: types.FunctionType) -> Any:
        """Those that the file writes as they are."""
        code = _module_code(function.__module__) if function.__defaults__ else None
        written = code is not None and repr(function.__defaults__) in constants_of(code)
        return function.__defaults__ if written else None

    def kept(self, owner: Any, named: dict[str, Any]) -> dict[str, Any]:
        """Functions and classes, and values that the file writes as they are and the owner never changes."""
        codes = [item.__code__ for item in (owner, *vars(owner).values()) if isinstance(item, types.FunctionType)]
        changed = {name for code in codes for name in uses_of(code).stored}
        scope = owner.__qualname__ if isinstance(owner, type) else "<module>"
        data = {name for name, item in named.items() if type(item) in PLAIN or type(item) is tuple}
        code = _module_code(owner.__module__) if data else None
        written = set() if code is None else literals_of(code, scope)
        return {name: item for name, item in named.items() if name not in data or name in written - changed}


def code_of(stages: Iterable[Stage]) -> dict[str, str]:
    """Digests of the functions and classes of the user's that worker processes import, by "module:name".

    Of modules that are imported from a file as they are; hooks of other programs may change what an import makes.
    """
    digest = Digest()
    for stage in stages:
        for value in (stage.function, stage.merge, stage.setup, *map(_made_of, stage.sources)):
            with contextlib.suppress(Exception):  # what was met before one that cannot be looked at counts
                digest.of(value)
    plain = {name: value for name, value in digest.met.items() if _module_code(value.__module__) is not None}
    return {name: _Imported(value).of(value) for name, value in plain.items()}


def other_code(code: Mapping[str, str], began: float = math.inf) -> str:
    """Names of what this process imports otherwise than the driver, with the files; empty where nothing is.

    A module whose file was edited after a process ``began`` (seconds since the epoch) may be other code, too. It
    imports the modules, so their names must come from a run folder whose plan may be opened.
    """
    changed = []
    for name, told in code.items():
        module, path = name.split(":")
        with contextlib.suppress(ImportError, OSError):  # opening the plan will say it
            file, value = importlib.import_module(module).__file__ or "", found(module, path)
            if _Imported(value).of(value) != told or os.stat(file).st_mtime > began:
                changed.append(f"{module}.{path} of {file}")
    return ", ".join(changed)


def same_code(run: Path, stages: Iterable[Stage]) -> bool:
    """Whether the driver that a run had before imported what this one does, as far as both tell: its workers do."""
    with contextlib.suppress(OSError, ValueError):
        theirs, mine = RunFolder(run).code(), code_of(stages)
        return all(theirs[name] == mine[name] for name in theirs.keys() & mine.keys())
    return True


def _made_of(source: Source) -> Any:
    inner = map(_made_of, source.sources) if isinstance(source, WrapperSource) else ()
    return type(source), source._params() if isinstance(source, WrapperSource) else None, *inner


def _module_code(name: str) -> types.CodeType | None:
    """Code of the file of a module, as it is now; None where that is not all that makes the module."""
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    if sys.flags.optimize or type(loader) is not importlib.machinery.SourceFileLoader:
        return None
    try:
        stat = os.stat(loader.path)
        return _read_code(name, loader, stat.st_mtime_ns, stat.st_size)
    except (ImportError, OSError, SyntaxError):
        return None


@functools.lru_cache(64)
def _read_code(name: str, loader: Any, *_: int) -> types.CodeType | None:
    code: types.CodeType | None = loader.get_code(name)
    return code
