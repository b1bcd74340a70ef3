"""Whether an unfinished run is that of a call, and what differs where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ResumeConflict
from ...run_folder import WrittenRegion
from ..planning.stage import Stage
from .stamps import Move, Output

if TYPE_CHECKING:
    from ...run_folder import RunState

UNTELLABLE = "untellable"
_CODE = ("function", "setup")


@dataclass(frozen=True)
class Difference:
    """What differs between a run and a call; ``bearable`` where the run can go on if the user says so.

    ``stage`` is the one in whose definition it does.
    """

    text: str
    bearable: bool = True
    stage: str = ""


def differences(other: RunState, mine: RunState) -> list[Difference]:
    """What differs between an unfinished run and a call, by what is written down of both."""
    found = []
    for what, theirs, ours in (
        ("versions", other.versions, mine.versions),
        ("definition", other.definition, mine.definition),
        ("fingerprint", other.inputs, mine.inputs),
    ):
        for key in sorted({*theirs, *ours}):
            then, now = str(theirs.get(key)), str(ours.get(key))
            if then == now and not now.startswith(UNTELLABLE):
                continue
            part = key.rpartition(".")[2]
            if part == "block_ids" and _part_of(other, mine, key):
                continue
            bearable = what != "definition" or part in _CODE
            stage = key.rpartition(".")[0] if what == "definition" else ""
            found.append(Difference(f"{what} of {key}: then {then}, now {now}", bearable, stage))
    return found


def same_functions(other: RunState, mine: RunState) -> bool:
    """Whether a run has the functions of a call; those that go on with it may have been told to bear others."""
    names = {name for name in (*other.definition, *mine.definition) if name.rpartition(".")[2] in (*_CODE, "reduce")}
    return all(other.definition.get(name) == mine.definition.get(name) for name in names)


def _part_of(other: RunState, mine: RunState, key: str) -> bool:
    """Whether a call asks for some blocks of a run of all blocks, whose values are not folded."""
    returns = mine.definition.get(key.replace(".block_ids", ".returns"))
    return other.definition.get(key, "").startswith("all ") and returns != "fold"


def moved(other: RunState, mine: RunState, move: Move) -> RunState:
    """What is written down of a run whose output has moved, with the paths as they are now where the call agrees."""
    known = {claim.storage for claim in mine.claims}
    claims = [WrittenRegion(now, c.box) if (now := move(c.storage)) in known else c for c in other.claims]
    tables = []
    for theirs, ours in ((other.definition, mine.definition), (other.inputs, mine.inputs)):
        tables.append({k: now if (now := move(str(value))) == ours.get(k) else value for k, value in theirs.items()})
    return replace(other, claims=claims, definition=tables[0], inputs=tables[1])


def check(
    other: RunState,
    folder: Path,
    mine: RunState,
    stages: Sequence[Stage],
    outputs: Sequence[Output],
    *,
    accepted: bool,
) -> None:
    """Refuse to go on with a run in a folder that is not that of a call.

    Stamps are looked for in the ``outputs``; where the user has named the folder (``accepted``), what is bearable is
    borne.

    Raises
    ------
    ResumeConflict
        Says what differs and what to type.
    """
    found = differences(other, mine)
    if other.definition == mine.definition:
        missing = [out.place.url for out in outputs if not out.late and out.place.read(other.run) is None]
        found += [Difference(f"stamp in {url}: then there, now missing (the output was made anew)") for url in missing]
    changed = [stage for stage in stages if stage.in_place or stage.reads_outputs]
    if other.state == "complete" and any(stage.in_place for stage in changed):
        found.append(Difference("it changes data in place and was complete, but nobody was told"))
    elif other.state == "complete" and found:  # a kill at its very end looks like this, too
        found.append(Difference("it was complete, but nobody was told"))
    if other.state != "complete" and any(not stage.undo for stage in changed):
        text = "it changes data in place in a storage whose old content cannot be kept: restore the data first"
        found.append(Difference(text, bearable=False))
    if accepted:
        found = [difference for difference in found if not difference.bearable]
    if found:
        raise ResumeConflict(
            f"the unfinished run {other.run!r} in {folder} writes the same region, but this call differs from it:\n  "
            + "\n  ".join(_told(found, _stages(other), _stages(mine))),
            remedy=_remedy(other, folder, found),
        )


def _stages(run: RunState) -> set[str]:
    return {key.rpartition(".")[0] for key in run.definition} - {""}


def _told(found: Sequence[Difference], then: set[str], now: set[str]) -> list[str]:
    """Lines that say what differs: a stage that only one of both has is one word, not a line for each of its parts."""
    lines = [difference.text for difference in found if difference.stage not in then ^ now]
    named = {difference.stage for difference in found}
    for stages, text in ((then - now, "stages of that run alone: "), (now - then, "stages of this call alone: ")):
        if named & stages:
            lines.append(text + ", ".join(sorted(named & stages)))
    return lines


def _remedy(other: RunState, folder: Path, found: Sequence[Difference]) -> str:
    calls = []
    if any(f"now {UNTELLABLE}" in difference.text for difference in found):
        calls.append('version="1" stands for a function that cannot be compared')
    if all(difference.bearable for difference in found):
        does = "returns its result" if other.state == "complete" else "continues it"
        calls.append(f"resume={str(folder)!r} {does}")
    anew = "does it a second time" if other.state == "complete" else "forgets it and starts anew"
    return "; ".join([*calls, f'resume="never" {anew}'])
