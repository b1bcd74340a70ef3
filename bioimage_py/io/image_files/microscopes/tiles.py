"""Arrays of equal shape in one file, as one array with axes in front: a dataset for each time and channel."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....errors import FormatError
from ....sources.arrays.backing import Backing
from ....sources.indexing import normalize_index


class BackingStack:
    """Backings of one shape as one read-only array; any number of threads may read it.

    Parameters
    ----------
    lead : tuple of int
        Shape of the axes in front.
    shape : tuple of int
        Shape of what is read of each backing: the first voxels of all that it stores.
    opener : callable
        ``opener(position)`` opens the backing at a position of the axes in front; it is kept.
    close : callable
        Closes the files.
    files : sequence of str
        Files that hold the voxels.
    """

    thread_safe = True

    def __init__(
        self,
        lead: tuple[int, ...],
        shape: tuple[int, ...],
        opener: Callable[[tuple[int, ...]], Backing],
        close: Callable[[], None],
        files: Sequence[str],
    ) -> None:
        self._lead, self._inner, self._open = lead, shape, opener
        self._opened: dict[tuple[int, ...], Backing] = {}
        self._files = tuple(os.path.abspath(name) for name in files)
        self.shape = (*lead, *shape)
        first = self._at((0,) * len(lead))
        self.dtype = first.dtype
        self.chunks = None if first.chunks is None else (*(1 for _ in lead), *first.chunks)
        self.close = close

    def _at(self, position: tuple[int, ...]) -> Backing:
        found = self._opened.get(position)
        if found is None:
            found = self._open(position)
            if len(found.shape) != len(self._inner) or any(
                there < size for there, size in zip(found.shape, self._inner, strict=True)
            ):
                raise FormatError(
                    f"{self._files[0]} stores {found.shape} voxels at {position}, its header says {self._inner}.",
                    remedy="copy the file again, or restore it",
                )
            first = next(iter(self._opened.values()), found)
            if first.dtype != found.dtype:
                raise FormatError(
                    f"{self._files[0]} stores {found.dtype} at {position} and {first.dtype} elsewhere.",
                    remedy="convert it with another program",
                )
            self._opened[position] = found
        return found

    def __getitem__(self, index: Any) -> np.ndarray:
        selection = normalize_index(index, self.shape)
        lead, inner = selection.roi[: len(self._lead)], selection.roi[len(self._lead) :]
        region = np.empty(selection.roi_shape, self.dtype)
        for place in itertools.product(*(range(part.start, part.stop) for part in lead)):
            at = tuple(position - part.start for position, part in zip(place, lead, strict=True))
            region[at] = self._at(place).read(inner)
        return selection.pick(region)

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the paths of the files that hold the voxels of a region."""
        return self._files
