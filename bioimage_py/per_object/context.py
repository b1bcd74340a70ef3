"""What functions get that work on objects: which there are, and where their pieces are."""

from __future__ import annotations

from dataclasses import dataclass

from ..runner.ledger.stage_record import Results
from .listing import Listing
from .pieces import PiecesOf


@dataclass(frozen=True)
class Level:
    """Where the pieces of a level are, and which objects are wanted; called as the setup of a stage.

    Parameters
    ----------
    stages : tuple of str
        The stages of the levels, the finest first.
    """

    stages: tuple[str, ...]

    def __call__(self, earlier: Results) -> Context:
        """What the functions of a stage get."""
        return Context(earlier["objects"], [PiecesOf(earlier, name) for name in self.stages], earlier)


@dataclass(frozen=True)
class Context:
    """The objects that are wanted, and the pieces of each level."""

    objects: Listing
    pieces: list[PiecesOf]
    earlier: Results
