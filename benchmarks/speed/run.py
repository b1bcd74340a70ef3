"""Speed against the peers: every work by every engine in turn, in one session, each result checked.

    python benchmarks/speed/run.py [--works ...] [--engines ...] [--check] [--scaling]

Writes speed.json, speed.md and speed.png into the output folder, with --scaling scaling.*. With --check it lists every
target that is missed; works that miss one are measured again, and a miss counts if the second set shows it too.
Exit status: 0; 1 where a target is missed; 2 where a result of ours is wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import targets
from engines import ENGINES

from bioimage_py.bench import Session, comparison, scaling
from bioimage_py.bench.session import Table
from bioimage_py.cli.bench import bench_options, settings_of

BENCHMARKS = Path(__file__).resolve().parents[1]
OUT = BENCHMARKS / "out" / "speed"
ROOM = 12 << 30
"""Bytes: more than a work writes for 1024³ voxels."""
REAL = BENCHMARKS.parents[1] / "shared" / "data"
"""Where the real volume is looked for, unless the environment says so."""


def _memory() -> str | None:
    """A folder in memory: how fast a disk is changes with what was written to it, and removed from it, before."""
    folder = Path("/dev/shm")
    roomy = folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM
    return str(folder) if roomy else None


@click.command(help=__doc__.partition("\n")[0])
@bench_options(size=512, workers=2, repeats=3, out=str(OUT), outputs=_memory)
@click.option("--engines", metavar="NAMES", help=f"Only these, with commas between them: {', '.join(ENGINES)}.")
@click.option("--check", is_flag=True, help="Fail where a target is missed; list all.")
def main(engines: str | None, check: bool, scaling: bool, sizes: tuple[int, ...], **what: Any) -> None:
    names = list(ENGINES) if engines is None else [name.strip() for name in engines.split(",")]
    if unknown := [name for name in names if name not in ENGINES]:
        raise click.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(ENGINES)}", param_hint="--engines")
    os.environ.setdefault("BIOIMAGE_PY_TEST_DATA", str(REAL))
    session = Session(settings_of(**what), [ENGINES[name] for name in names], click.echo)
    if scaling:
        wrong = _grow(session, sizes)
        click.echo("".join(f"wrong: {name}\n" for name in wrong), err=True, nl=False)
        sys.exit(2 if wrong else 0)
    if check:
        session.settled = targets.decided
    found = comparison.compare(session, "speed", "Speed against the peers", targets.AGAINST_PEER)
    misses = targets.missed(found)
    sys.exit(_status(_confirmed(session, found, misses) if check else [miss for miss in misses if miss.wrong]))


def _grow(session: Session, sizes: tuple[int, ...]) -> list[str]:
    return scaling.wrong(scaling.grow(session, sizes))


def _confirmed(session: Session, found: Table, first: list[targets.Miss]) -> list[targets.Miss]:
    """What a second, equally interleaved set of the works that miss something misses too, by engines that come near."""
    works = list(dict.fromkeys(miss.work for miss in first if not miss.wrong))
    if not works:
        return first
    click.echo(f"\nonce more, because a target was missed: {', '.join(works)}")
    again = Session(session.settings, session.engines, session.tell, session.settled, found)
    second = comparison.compare(again, "again", "Works that missed a target", targets.AGAINST_PEER, works)
    return targets.confirmed(first, targets.missed(second))


def _status(misses: list[targets.Miss]) -> int:
    """List what is missed, and return the exit status."""
    counted = [miss for miss in misses if not miss.bare]
    for miss in misses:
        click.echo(
            f"the libraries alone fall short too, {miss.bare}: {miss}" if miss.bare else f"missed: {miss}", err=True
        )
    return 2 if any(miss.wrong for miss in counted) else 1 if counted else 0


if __name__ == "__main__":
    main()
