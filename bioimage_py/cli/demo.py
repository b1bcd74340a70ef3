"""`bioimage-py demo`."""

from __future__ import annotations

import os

import click

from .common import Command, execution_of, json_option, numbers, print_json, run_options


@click.command(cls=Command)
@click.option("--out", default="demo", show_default=True, help="Folder for the results.")
@click.option("--shape", type=numbers, metavar="Z,Y,X", default="256,256,256", show_default=True, help="Voxels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another volume.")
@run_options
@json_option
def demo(out: str, shape: tuple[int, ...], seed: int, workers: int, job_type: str, quiet: bool, as_json: bool) -> None:
    """Make a volume like nerve tissue in electron microscopy, segment it, score it, and draw it.

    \b
    Example:
      bioimage-py demo
    """  # noqa: D301
    from ..workflows import demo as run

    done = run(
        out,
        shape,
        seed=seed,
        execution=execution_of(workers, job_type, quiet or as_json),
        tell=(lambda line: None) if as_json else click.echo,
    )
    if as_json:
        print_json(
            {"folder": done.folder, "scores": done.scores.to_dict(), "segmentation": done.segmentation.to_dict()}
        )
        return
    click.echo("")
    click.echo(done.segmentation.summary())
    click.echo("")
    for name, value, meaning in done.scores.lines():
        click.echo(f"  {name:<20} {value:>12}  {meaning}")
    click.echo(f"\n{done.seconds:.1f} s; left in {done.folder}:")
    for name in sorted(os.listdir(done.folder)):
        click.echo(f"  {name}")
