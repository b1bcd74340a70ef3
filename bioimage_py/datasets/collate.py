"""Items as one batch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_warned: set[str] = set()


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a batch of items.

    Arrays of a key are stacked where all have one shape and type; anything else is a list, with None for items that
    lack the key. A list where arrays were expected is warned of once for each key.

    Parameters
    ----------
    items : sequence of dict

    Returns
    -------
    dict
        {} of no items.

    Examples
    --------
    >>> collate([{"image": np.zeros((1, 2))}, {"image": np.ones((1, 2))}])["image"].shape
    (2, 1, 2)
    """
    keys = dict.fromkeys(key for item in items for key in item)
    return {key: _joined(key, [item.get(key) for item in items]) for key in keys}


def _joined(key: str, values: list[Any]) -> Any:
    if all(isinstance(value, np.ndarray | np.generic) for value in values):
        if len({(np.shape(value), value.dtype) for value in values}) == 1:
            return np.stack(values)
    elif all(_is_tensor(value) for value in values):
        if len({(tuple(value.shape), value.dtype) for value in values}) == 1:
            return _stack_tensors(values)
    elif not any(isinstance(value, np.ndarray) or _is_tensor(value) for value in values):
        return values
    if key not in _warned:
        _warned.add(key)
        warnings.warn(
            f"Arrays of {key!r} differ in shape or type, or are missing: the batch has them as a list.", stacklevel=4
        )
    return values


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "shape")


def _stack_tensors(values: list[Any]) -> Any:
    import torch

    return torch.stack(values)
