"""All works by all engines: table, files and plot."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import MissingDependencyError
from . import picture, table
from .session import Session, Table


def compare(
    session: Session,
    name: str,
    title: str,
    targets: Mapping[str, float] | None = None,
    works: Collection[str] | None = None,
) -> Table:
    """Run the session's works, or some of them; write NAME.json, NAME.md and NAME.png after each round.

    Parameters
    ----------
    session : Session
    name, title : str
    targets : mapping, optional
        Marked in the plot, see `picture.ratios`.
    works : collection of str, optional
    """
    out, facts = session.settings.out, table.machine(session.settings)
    peers = dict.fromkeys(package for engine in session.engines for package in engine.packages())
    if peers:
        facts["peers"] = ", ".join(peers)
    found: Table = {}
    for found in session.rounds(works):
        table.write(out, name, title, facts, found)
        try:
            picture.ratios(out / f"{name}.png", found, facts, targets)
        except MissingDependencyError as error:
            session.tell(str(error))
    session.tell(f"\n{table.aligned(table.brief(found))}\n\n{table.BRIEF}\nLeft in {out}: {name}.md, .json, .png")
    return found


def wrong(found: Table) -> list[str]:
    """Works, with the engine, of which a result of ours was wrong."""
    return [
        f"{work} ({name})"
        for work, cells in found.items()
        for name, cell in cells.items()
        if cell.wrong and name.startswith("ours")
    ]
