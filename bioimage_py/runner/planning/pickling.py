"""A plan as bytes for workers; where that fails, the error names the variable."""

from __future__ import annotations

import types
from typing import Any

import cloudpickle

from ...errors import ParameterError
from .stage import Plan


def dump_plan(plan: Plan, *, needed: bool = True) -> bytes | None:
    """Pickle a plan; sources go as specs. None where that fails and is not needed.

    Raises
    ------
    ParameterError
        A function cannot be pickled; names the variable that is to blame.
    """
    try:
        data: bytes = cloudpickle.dumps(plan)
    except Exception as error:
        if not needed:
            return None
        for stage in plan.stages:
            if blame := culprit(stage.function, _name(stage.function)):
                raise ParameterError(
                    f"the function cannot be sent to worker processes: {blame} ({error})",
                    remedy="make it inside the function, or give it through setup=",
                ) from error
        raise
    return data


def culprit(value: Any, name: str) -> str:
    """Path to the innermost thing that cannot be pickled; empty where all can."""
    if _pickles(value):
        return ""
    for part, item in _parts(value):
        if blame := culprit(item, f"{name} -> {part}"):
            return blame
    return f"{name} is a {type(value).__module__}.{type(value).__qualname__}"


def _pickles(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001 - pickling calls foreign code, which may fail in any way
        return False
    return True


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, types.FunctionType):
        names = value.__code__.co_freevars
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        named = [(name, value.__globals__[name]) for name in value.__code__.co_names if name in value.__globals__]
        return [*((f"variable {name!r}", item) for name, item in zip(names, cells, strict=True)), *_globals(named)]
    if isinstance(value, types.MethodType):
        return [("its object", value.__self__)]
    if isinstance(value, dict):
        return [(repr(key), item) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    return [(f"attribute {key!r}", item) for key, item in getattr(value, "__dict__", {}).items()]


def _globals(named: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(f"global {name!r}", item) for name, item in named if not isinstance(item, types.ModuleType)]


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
