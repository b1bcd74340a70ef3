"""What the speed is to be, as ratios of one session, and what falls short of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bioimage_py.bench.scaling import beyond
from bioimage_py.bench.session import Cell, Table
from bioimage_py.bench.table import FLOOR

PEERS = ("bioimage-py", "bioimage-py subprocess")
"""The better of them is what `AGAINST_PEER` is about."""
AGAINST_PEER = {
    "copy": 1.75,
    "copy to shards": 1.75,
    "gaussian 2": 2.0,
    "gaussian 8": 2.0,
    "hessian 1.5": 1.5,  # its kernel has the speed of the peer's, and half of the halo
    "median 3": 3.0,  # the peer has none: scipy's in blocks
    "label 6": 3.0,
    "label 26": 3.0,
    "label multi": 3.0,
    "downsample mean": 3.0,
    "downsample stride": 3.0,
    "pyramid image": 3.0,
    "pyramid image stride": 3.0,
    "pyramid labels": 3.0,
    "pyramid labels stride": 3.0,
    "statistics": 3.0,
    "unique counts": 3.0,
    "watershed": 1.3,
    "distance": 0.9,  # not slower; the peer's is exact up to its halo, which has to be known
    "fill holes": 3.0,  # the peer has none, nor an erosion: see bioimage_py/bench/works.py
    "erosion": 2.0,
    "local maxima": 3.0,
    "regionprops": 3.0,
    "stitch": 1.5,
    "stitch tiles": 3.0,
    "object vi": 1.5,
    "watershed sparse": 3.0,  # the mask touches one block in eight
}
"""At least this many times faster; against every other engine, and on every other work: not slower.

The peer has neither means nor modes of blocks, it samples: the works by stride say how the two compare.
"""
SUBPROCESS, JITTER = 1.15, 0.05
"""Subprocess against local at most, both less the time of the same call on 64³ voxels.

Two starts of workers differ by so many seconds, which are not counted.
"""
EMPTY_SECONDS, EMPTY_MIB = 8.0, 200.0
"""One million empty blocks on local; memory of the driver on both backends."""
NOISE = 0.1
"""By so much medians of one session differ on their own: who is slower by less is not slower."""
DECIDED = 1.5
"""So many times better than a target after one run: a peer need not run again."""
PROCESSES = ("label 6", "label 26", "label multi", "segment")
"""Works whose kernel holds Python's lock: there ``job_type="auto"`` takes processes, as the floor does.

The floor is what those are compared with, their start included.
"""
WHOLE = ("distance",)
"""Works whose floor keeps the whole volume in memory, as no blocks of its library are exact: nobody has to be as fast.

That is what this package's stages are for.
"""
OTHERS = ("segment",)
"""Works that the peers do in another way, with worse objects: their figures stand beside, only the floor's counts."""
BOUND = ("unique counts", "watershed", "hessian 1.5", "local maxima")
"""Works whose libraries alone may fall short of the target against the peer.

That counts only where the bare script, `bioimage_py/bench/floor.py`, falls short of it in the same session.
That a peer is faster always counts.
"""


@dataclass(frozen=True)
class Miss:
    """A ratio that falls short: the work, which kind of target, the figures, and the bare script's if it does too."""

    work: str
    kind: str
    said: str
    bare: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is a result, not a ratio."""
        return self.kind.startswith("right")

    def __str__(self) -> str:
        return f"{self.work}: {self.said}"


def missed(table: Table) -> list[Miss]:
    """Every target that is not reached; a result of ours that is wrong is one."""
    found = []
    for work, cells in table.items():
        wrong = [name for name, cell in cells.items() if cell.wrong and name.startswith("ours")]
        found += [Miss(work, f"right {name}", f"{name} {cells[name].wrong}") for name in wrong]
        good = {name: cell for name, cell in cells.items() if not cell.wrong}
        if "ours" in good:
            bare = {"peer": _bare(good, AGAINST_PEER[work])} if work in BOUND else {}
            found += [Miss(work, kind, said, bare.get(kind, "")) for kind, said in _missed(work, good).items()]
    return found


def _bare(good: Mapping[str, Cell], least: float) -> str:
    floor, peer = (good["floor"].wall if "floor" in good else 0.0), _peer(good)
    return f"{peer / floor:.2f} x" if floor and peer is not None and peer < least * floor else ""


def _peer(good: Mapping[str, Cell]) -> float | None:
    return min((good[name].wall for name in PEERS if name in good), default=None)


def _missed(work: str, good: Mapping[str, Cell]) -> dict[str, str]:
    ours, found, empty = good["ours"].wall, {}, work.startswith("empty")
    auto = good["ours subprocess"].wall if work in PROCESSES and "ours subprocess" in good else ours
    if "floor" in good and not empty and work not in WHOLE and auto > FLOOR * good["floor"].wall:
        found["floor"] = f"{auto / good['floor'].wall:.2f} x the floor, at most {FLOOR}"
    if work in OTHERS:
        return found
    least, peer = AGAINST_PEER.get(work, 0.0), _peer(good)
    if peer is not None and not empty and peer < least * ours:
        found["peer"] = f"{peer / ours:.2f} x as fast as bioimage-py, at least {least}"
    if peer is not None and not empty and peer < (1 - NOISE) * ours:
        found["slower than bioimage-py"] = f"slower than bioimage-py: {ours:.2f} s, not {peer:.2f}"
    for name, cell in good.items():
        if name not in ("ours", "ours subprocess", "floor", *PEERS) and cell.wall < (1 - NOISE) * ours:
            found[f"slower than {name}"] = f"slower than {name}: {ours:.2f} s, not {cell.wall:.2f}"
    if "ours subprocess" in good:
        found |= _missed_subprocess(good)
    if empty:  # each backend against the same one of the peer
        for mine, theirs in zip(("ours", "ours subprocess"), PEERS, strict=True):
            if mine in good and theirs in good and good[mine].wall > good[theirs].wall:
                found[f"slower {mine}"] = f"{mine} {good[mine].wall:.2f} s, {theirs} {good[theirs].wall:.2f}"
    if work == "empty 1m":
        found |= _missed_empty(good)
    return found


def _missed_subprocess(good: Mapping[str, Cell]) -> dict[str, str]:
    local, other = (beyond(good[name]) for name in ("ours", "ours subprocess"))
    if other <= SUBPROCESS * local + JITTER:
        return {}
    return {"subprocess": f"subprocess {other / local:.2f} x local beyond start-up, at most {SUBPROCESS}"}


def _missed_empty(good: Mapping[str, Cell]) -> dict[str, str]:
    found = {}
    if good["ours"].wall > EMPTY_SECONDS:
        found["seconds"] = f"{good['ours'].wall:.1f} s local, at most {EMPTY_SECONDS}"
    for name in ("ours", "ours subprocess"):
        if name in good and good[name].driver > EMPTY_MIB:
            found[f"memory {name}"] = f"driver of {name} {good[name].driver:.0f} MiB, at most {EMPTY_MIB:.0f}"
    return found


def confirmed(first: Sequence[Miss], second: Sequence[Miss]) -> list[Miss]:
    """What counts of two sets: every wrong result, and ratios that both fall short of."""
    seen = {(miss.work, miss.kind) for miss in first}
    again = [miss for miss in second if miss.wrong != ((miss.work, miss.kind) in seen)]
    return [miss for miss in first if miss.wrong] + again


def decided(work: str, name: str, cells: Mapping[str, Cell]) -> bool:
    """Whether a peer is wrong, or so slow that another run of it cannot matter."""
    ours, cell = cells.get("ours"), cells[name]
    if cell.wrong or ours is None or ours.wrong:
        return bool(cell.wrong)
    if name.startswith("ours") or name == "floor":
        return False
    return cell.wall > DECIDED * ours.wall * (AGAINST_PEER.get(work, 1.0) if name in PEERS else 1.0)
