"""What the layers of viewers have in common as image files: one source below, levels by their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import FormatError, KeyNotFoundError, OptionError
from ...sources.arrays.through import SourceBacking
from ...sources.base import Source
from ...sources.file import Opened
from ...sources.stores.paths import is_url
from ..details import Details


@dataclass(frozen=True)
class Told:
    """What a layer said when it was opened (`Described`).

    Parameters
    ----------
    source : Source
        The level that was opened; closed with this.
    count : int
        Number of layers beside it, with itself.
    level_shapes : tuple of tuple of int
        Shapes of its levels, the finest first.
    describe : callable
        Returns what is said of it beside the voxels.
    """

    source: Source
    count: int
    level_shapes: tuple[tuple[int, ...], ...]
    describe: Callable[[], Details]

    def details(self) -> Details:
        """Return what the layer says of itself."""
        return self.describe()

    def close(self) -> None:
        """Close the source."""
        self.source.close()

    def opened(self, key: str) -> Opened:
        """Return the voxels under the key by which they are opened again."""
        return Opened(SourceBacking(self.source), key, self.source.axes, self)


def check_arguments(path: str, kwargs: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse arguments that are not known.

    Raises
    ------
    OptionError
    """
    unknown = [name for name in kwargs if name not in known]
    if unknown:
        raise OptionError(
            f"{path} takes no {', '.join(unknown)}; known are {', '.join(known)}.", remedy=f"leave {unknown[0]} out"
        )


def level_named(path: str, level: Any, names: Sequence[str]) -> int:
    """Return the number of a level that is given by its number or its name; None is the finest.

    Raises
    ------
    KeyNotFoundError
        If there is none; lists those that there are.
    """
    if level is None:
        return 0
    if isinstance(level, str) and level in names:
        return list(names).index(level)
    number = int(level) if not isinstance(level, str) or level.lstrip("-").isdecimal() else len(names)
    if not -len(names) <= number < len(names):
        raise KeyNotFoundError(
            f"{path} has no level {level!r}; it has {', '.join(names)}.", remedy=f"level={len(names) - 1}, or less"
        )
    return number % len(names)


def stays_inside(folder: str, part: str, remedy: str) -> None:
    """Refuse a folder of voxels that a description places outside of its own, also by way of a link.

    Raises
    ------
    FormatError
    """
    inside = os.path.realpath(folder)
    if (
        is_url(part)
        or "\0" in part
        or os.path.commonpath([inside, os.path.realpath(os.path.join(folder, part))]) != inside
    ):
        raise FormatError(f"{folder} says that its voxels are in {part!r}, which lies outside of it.", remedy=remedy)
