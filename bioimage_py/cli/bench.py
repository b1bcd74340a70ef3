"""`bioimage-py bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..system.threads import usable_cores
from .common import Command, numbers

if TYPE_CHECKING:
    from ..bench import Settings

F = TypeVar("F", bound=Callable[..., Any])


def bench_options(
    size: int, workers: Callable[[], int] | int, repeats: int, out: str, outputs: Callable[[], str | None] | None = None
) -> Callable[[F], F]:
    """Add the options that say what to measure, with these defaults; `settings_of` makes `Settings` of them."""
    shown = "all cores" if callable(workers) else True
    options = (
        click.option("--size", type=int, default=size, show_default=True, callback=_edges, help="Edge of the volume."),
        click.option("--works", metavar="NAMES", help="Only these, with commas between them; all by default."),
        click.option("--workers", type=click.IntRange(min=1), default=workers, show_default=shown, help="At once."),
        click.option("--repeats", type=click.IntRange(min=1), default=repeats, show_default=True, help="Medians of."),
        click.option("--timeout", type=float, default=600.0, show_default=True, help="Seconds for one run."),
        click.option("--out", default=out, show_default=True, help="Folder for data and tables."),
        click.option("--outputs", default=outputs, help="Folder for what the works write; --out by default."),
        click.option("--scaling", is_flag=True, help="Instead: how time grows with the volume and the workers."),
        click.option(
            "--sizes", type=numbers, default="256,512,1024", show_default=True, callback=_edges, help="Of --scaling."
        ),
    )

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def _edges(_: click.Context, __: click.Parameter, value: Any) -> Any:
    edges = value if isinstance(value, tuple) else (value,)
    if any(edge % 32 or edge < 64 for edge in edges) or list(edges) != sorted(set(edges)):
        raise click.BadParameter("multiples of 32 are wanted, at least 64, and rising")
    return value


def settings_of(
    size: int, works: str | None, workers: int, repeats: int, timeout: float, out: str, outputs: str | None
) -> Settings:
    """The settings that the options of `bench_options` ask for; the folder is made."""
    from ..bench import Settings
    from ..bench.check import CHECKS

    names = tuple(CHECKS) if works is None else tuple(name.strip() for name in works.split(","))
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(CHECKS)}", param_hint="--works")
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    place = None if outputs is None else Path(outputs).resolve()
    return Settings(folder, size, names, workers, repeats, timeout, place)


@click.command(cls=Command)
@bench_options(size=256, workers=usable_cores, repeats=3, out="bench")
def bench(scaling: bool, sizes: tuple[int, ...], **what: Any) -> None:
    """Measure this machine: works on local and subprocess, and the bare codecs and kernels below them.

    Results are checked voxel by voxel. Leaves bench.json, bench.md and bench.png, with --scaling scaling.*, beside the
    data in the folder. Keep the machine idle meanwhile. Exit code 2: a result was wrong.

    \b
    Example:
      bioimage-py bench --size 128
    """  # noqa: D301
    from ..bench import OWN, Session

    session = Session(settings_of(**what), OWN, click.echo)
    if scaling:
        from ..bench.scaling import grow, wrong

        found = wrong(grow(session, sizes))
    else:
        from ..bench import comparison

        found = comparison.wrong(comparison.compare(session, "bench", "Speed of this machine"))
    if found:
        click.echo(f"Wrong results: {', '.join(found)}", err=True)
        click.get_current_context().exit(2)
