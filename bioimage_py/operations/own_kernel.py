"""Kernels that a user has written, as the engine calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError


@dataclass(frozen=True)
class OwnKernel:
    """Kernel: a user's function, whose result is checked.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **keywords)``.
    keywords : tuple of (str, object)
        Further arguments.
    channels : int, optional
        Length of the first axis that the result has before those of the input.
    """

    function: Callable[..., Any]
    keywords: tuple[tuple[str, Any], ...] = ()
    channels: int | None = None

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """Result for a block, of the shape of the block."""
        # a block may be a part of the caller's own array
        shown = [array.view() for array in arrays]
        for array in shown:
            array.flags.writeable = False
        result = np.asarray(self.function(*shown, **dict(self.keywords)))
        shape = arrays[0].shape if self.channels is None else (self.channels, *arrays[0].shape)
        if result.shape != shape:
            name = getattr(self.function, "__name__", repr(self.function))
            raise ShapeError(
                f"{name} made an array of the shape {result.shape} of a block (with its halo) of the shape"
                f" {arrays[0].shape}",
                remedy=f"let it return an array of the shape {shape}: the halo is cut off afterwards"
                if self.channels is not None or result.ndim != len(shape) + 1
                else f"channels={result.shape[0]}",
            )
        return result
