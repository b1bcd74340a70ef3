"""Frames of a sequence: numbers, closed ranges, and what a caller may give for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ParameterError

GLOBAL = -1
"""The frame of a classification that is about the whole space."""


@dataclass
class Range:
    """Whole numbers from `start` to `end`; both belong to it.

    Parameters
    ----------
    start, end : int

    Raises
    ------
    ParameterError
        `end` is before `start`.

    Examples
    --------
    >>> list(Range(2, 4))
    [2, 3, 4]
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            whole_number(getattr(self, name), name)
        if self.end < self.start:
            raise ParameterError(
                f"Range({self.start}, {self.end}) ends before it starts.", remedy=f"Range({self.end}, {self.start})"
            )

    def __iter__(self) -> Any:
        return iter(range(self.start, self.end + 1))

    def __len__(self) -> int:
        return self.end - self.start + 1

    def overlaps(self, other: Range) -> bool:
        """Whether both have a number in common."""
        return self.start <= other.end and other.start <= self.end

    def merge(self, other: Range) -> None:
        """Grow to the smallest range that holds both."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)

    def copy(self) -> Range:
        """Return a range of its own."""
        return Range(self.start, self.end)


def whole_number(value: Any, name: str) -> int:
    """Return a whole number; ParameterError for anything else."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ParameterError(f"{name}={value!r} is {type(value).__name__}.", remedy="use whole numbers, or Range(a, b)")
    return int(value)


def frame_numbers(frames: Any, count: int) -> list[int]:
    """Return frames in order, each once.

    Parameters
    ----------
    frames : int, Range, range, slice, or an iterable of these
        `range` and slices are half-open, `Range` is closed.
    count : int
        Number of frames.

    Raises
    ------
    ParameterError
        None is given, something else, or one that is not there.
    """
    found = sorted(set(_numbers(frames, count)))
    if not found:
        raise ParameterError(f"frames={frames!r} has no frame.", remedy=f"use 0 to {count - 1}")
    for frame in (found[0], found[-1]):
        if not 0 <= frame < count:
            raise ParameterError(
                f"There is no frame {frame}: they are 0 to {count - 1}.", remedy=f"use 0 to {count - 1}"
            )
    return found


def _numbers(frames: Any, count: int) -> Iterable[int]:
    if isinstance(frames, slice):
        for part in (frames.start, frames.stop, frames.step):
            if part is not None:
                whole_number(part, "frames")
        if frames.step == 0:
            raise ParameterError(f"frames={frames!r} has the step 0.", remedy="slice(0, 8)")
        return range(*frames.indices(count))
    if isinstance(frames, Range | range):
        numbers = range(frames.start, frames.end + 1) if isinstance(frames, Range) else frames
        # the ends are enough to refuse a range: it need not be written out
        return numbers if len(numbers) <= count else [numbers[0], numbers[-1]]
    if isinstance(frames, str | bytes | float | dict) or not isinstance(frames, Iterable):
        return [whole_number(frames, "frames")]
    return [number for part in frames for number in _numbers(part, count)]
