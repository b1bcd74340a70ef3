"""What an operation returns, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def jsonable(value: Any) -> Any:
    """Values of JSON; NaN and infinity, which it has not, become null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(one) for key, one in value.items()}
    if hasattr(value, "to_dict"):
        return jsonable(value.to_dict("records") if hasattr(value, "columns") else value.to_dict())
    if is_dataclass(value):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple | set):
        return [jsonable(one) for one in value]
    return str(value)


def lines(value: Any) -> str:
    """The same for people."""
    if hasattr(value, "to_string"):  # a table
        return str(value.to_string(index=False))
    if isinstance(value, Mapping) or is_dataclass(value):
        pairs = (
            value.items() if isinstance(value, Mapping) else [(f.name, getattr(value, f.name)) for f in fields(value)]
        )
        width = max((len(str(name)) for name, _ in pairs), default=0)
        return "\n".join(f"{name!s:<{width}}  {_short(one)}" for name, one in pairs)
    if isinstance(value, tuple):
        return "\n".join(lines(one) for one in value)
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, threshold=2000)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
