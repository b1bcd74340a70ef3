"""Old names that keep working."""

from __future__ import annotations

import functools
import warnings
from typing import Any

wraps = functools.wraps


def deprecate(old: str, new: str, owner: type[Any], is_property: bool = False) -> None:
    """Let a class answer to an old name too, with a warning.

    Parameters
    ----------
    old, new : str
    owner : type
        Class that has the new name.
    is_property : bool, default False
        Whether it is a property rather than a method.
    """

    def get(self: Any) -> Any:
        warnings.warn(f"{owner.__name__}.{old} is now called {new}", DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    def put(self: Any, value: Any) -> None:
        setattr(self, new, value)

    # A method is got like a property: what is got is bound already.
    setattr(owner, old, property(get, put if is_property else None, doc=f"The same as `{new}`."))
