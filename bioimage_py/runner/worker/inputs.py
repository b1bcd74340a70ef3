"""Inputs of an early stage as a function sees them: what a block was not promised has perhaps not been written yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import RegionError
from ...sources.base import Source
from ...sources.chunked.encoded import EncodedChunks
from ...sources.indexing import Roi
from ...sources.spec import SourceSpec
from ...wrapper.base import WrapperSource


class GuardedInput(WrapperSource):
    """One worker's view on an input that stages write which run at the same time: a block reads its own box only."""

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self._box: Roi = tuple(slice(0, 0) for _ in self.shape)

    def enter(self, box: Roi) -> None:
        """Allow reading in the box of a block, with its halo."""
        self._box = box

    def over(self, change: Callable[[Source], Source]) -> Source:
        """Itself: nobody gets a handle without the guard."""
        return self

    def close(self) -> None:
        """Nothing: other workers of the process read from the input."""

    def to_spec(self) -> SourceSpec:
        """Spec of the input."""
        return self._source.to_spec()

    def _getitem(self, roi: Roi) -> np.ndarray:
        self._check(roi)
        return self._source._getitem(roi)

    def _viewitem(self, roi: Roi) -> np.ndarray:
        self._check(roi)
        return self._source._viewitem(roi)

    def encoded(self, roi: Roi) -> tuple[EncodedChunks, ...]:
        """Return the chunks of the input as they are stored."""
        self._check(roi)
        return self._source.encoded(roi)

    def _check(self, roi: Roi) -> None:
        for part, box in zip(roi, self._box, strict=True):
            if part.start < part.stop and (part.start < box.start or part.stop > box.stop):
                asked, allowed = (", ".join(f"{p.start}:{p.stop}" for p in one) for one in (roi, self._box))
                raise RegionError(
                    f"a block that begins before the call in front has ended may read [{allowed}] only, its box with"
                    f" its halo, not [{asked}]: that may not have been written yet",
                    remedy="move this call behind the `with p.overlap():` block, or give it the halo that it reads",
                )


def guarded(source: Source, writers: frozenset[Any]) -> Source:
    """An input as a function gets it, where some storages (by identity) are written at the same time."""
    return GuardedInput(source) if any(part.identity in writers for part in source.parts) else source
