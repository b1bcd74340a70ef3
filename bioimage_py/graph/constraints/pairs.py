"""Pairs of regions that must, or must not, be in one part, and the file that they are kept in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FormatError, ParameterError, SourceNotFoundError
from ...system.files import write_once
from ...system.json_text import parse_json

FORMAT, _VERSION = "bioimage_py constraints", 1
Pair = tuple[int, int]


@dataclass(frozen=True)
class Constraints:
    """What proofreading has found: which regions (superpixels) belong together, and which do not.

    Parameters
    ----------
    join : sequence of (int, int)
        Ids of two regions that must be in one part, whether they touch or not.
    cut : sequence of (int, int)
        Ids of two regions that must be in different parts.

    Raises
    ------
    ParameterError
        What is no pair of ids, 1 to 2^64 - 1.

    Examples
    --------
    >>> import bioimage_py as bp
    >>> found = bp.graph.Constraints(join=[(3, 5)]) + bp.graph.Constraints(cut=[(5, 9)])
    >>> found.join, found.cut
    (((3, 5),), ((5, 9),))
    """

    join: tuple[Pair, ...] = ()
    cut: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        for name in ("join", "cut"):
            object.__setattr__(self, name, tuple(_pair(one, name) for one in _listed(getattr(self, name), name)))

    def __add__(self, other: Constraints) -> Constraints:
        return Constraints((*self.join, *other.join), (*self.cut, *other.cut))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Constraints:
        """Those of a file: ``{"join": [[3, 5]], "cut": [[5, 9]]}``.

        Raises
        ------
        SourceNotFoundError
            If nothing is there.
        FormatError
            If it is no such file.
        """
        place = Path(path)
        if not place.is_file():
            raise SourceNotFoundError(f"{place} does not exist", remedy='write {"join": [[3, 5]], "cut": [[5, 9]]}')
        try:
            told: Any = parse_json(place.read_bytes(), unique=True)
            if not isinstance(told, dict) or (extra := sorted(set(told) - {"format", "version", "join", "cut"})):
                raise ValueError(f"members {extra}" if isinstance(told, dict) else f"a {type(told).__name__}")
            if told.get("format", FORMAT) != FORMAT or told.get("version", _VERSION) != _VERSION:
                raise ValueError(f"format {told.get('format')!r}, version {told.get('version')!r}")
            return cls(told.get("join", ()), told.get("cut", ()))
        except (ValueError, ParameterError) as error:
            raise FormatError(
                f"{place} holds no constraints: {error}", remedy='{"join": [[3, 5]], "cut": [[5, 9]]}'
            ) from error

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write them to a file, in one step."""
        told = {"format": FORMAT, "version": _VERSION, "join": self.join, "cut": self.cut}
        write_once(Path(path), json.dumps(told).encode())


def constraints_of(given: Any) -> Constraints:
    """Constraints, given as such or as the path of a file."""
    if isinstance(given, Constraints):
        return given
    if isinstance(given, str | os.PathLike):
        return Constraints.read(given)
    raise ParameterError(
        f"a {type(given).__name__} holds no constraints", remedy="bp.graph.Constraints(join=[(3, 5)], cut=[(5, 9)])"
    )


def _listed(pairs: Any, name: str) -> Iterable[Any]:
    if isinstance(pairs, str | bytes | dict) or not hasattr(pairs, "__iter__"):
        raise ParameterError(f"{name} lists pairs of ids, got {pairs!r}", remedy=f"{name}=[(3, 5)]")
    return list(pairs)


def _pair(pair: Any, name: str) -> Pair:
    import numpy as np

    found = list(pair) if hasattr(pair, "__iter__") and not isinstance(pair, str) else [pair]
    whole = all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in found)
    if len(found) != 2 or not whole or not all(0 < int(one) < 2**64 for one in found):
        raise ParameterError(f"{name} lists pairs of ids of regions, got {pair!r}", remedy=f"{name}=[(3, 5)]")
    return int(found[0]), int(found[1])
