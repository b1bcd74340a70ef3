"""`bioimage-py pipeline`: run, plan and look at scripts whose calls are remembered."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path

import click

from ..errors import ConfigError
from .common import Command, json_option, print_json


@click.group()
def pipeline() -> None:
    """Scripts with `bioimage_py.pipeline`: what was done is not done again.

    \b
    Example:
      bioimage-py pipeline status script.py
    """  # noqa: D301


_SCRIPT = click.argument("script", type=click.Path(exists=True, dir_okay=False))
_ARGUMENTS = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)


@pipeline.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--detach", is_flag=True, help="As a job of its own, which goes on when this terminal is closed.")
@_SCRIPT
@_ARGUMENTS
def run(script: str, arguments: tuple[str, ...], detach: bool) -> None:
    """Run SCRIPT; where it was interrupted, it goes on. What follows SCRIPT is for the script."""
    from ..pipelines.detached import detaching, run_script

    with detaching() if detach else nullcontext():
        run_script(script, arguments)
        if detach:
            raise _no_pipeline(script)


@pipeline.command(cls=Command, context_settings={"ignore_unknown_options": True})
@_SCRIPT
@_ARGUMENTS
def plan(script: str, arguments: tuple[str, ...]) -> None:
    """Show what SCRIPT will do, call by call, without running a block; what is done already says so."""
    from ..pipelines.detached import run_script
    from ..pipelines.script import planning

    with planning() as plans:
        run_script(script, arguments)
    if not plans:
        raise _no_pipeline(script)
    for folder, found in plans:
        click.echo(f"{folder}\n{found}")


@pipeline.command(cls=Command)
@click.argument("target", metavar="SCRIPT|FOLDER", type=click.Path(exists=True))
@json_option
def status(target: str, as_json: bool) -> None:
    """List the calls that a script, or the folder of its pipeline, has come to the end of."""
    from ..pipelines.detached import DetachedPipeline
    from ..pipelines.folder import known_calls

    shown = {str(folder): known_calls(folder) for folder in _folders(target)}
    if as_json:
        told = {"name": str, "done": bool, "seconds": float, "blocks": int, "finished": float}
        print_json(
            {at: [{name: getattr(call, name) for name in told} for call in calls] for at, calls in shown.items()}
        )
        return
    for folder, calls in shown.items():
        click.echo(folder)
        with suppress(ConfigError):
            click.echo(f"  {DetachedPipeline(Path(folder)).status()}")
        for call in calls:
            click.echo(
                f"  {'done' if call.done else 'begun':<6} {call.seconds:9.2f} s {call.blocks:8d} blocks  {call.name}"
            )
        click.echo(f"  {sum(call.done for call in calls)} of {len(calls)} calls that were begun are done")


@pipeline.command(cls=Command)
@click.argument("target", metavar="SCRIPT|FOLDER", type=click.Path(exists=True))
def cancel(target: str) -> None:
    """End the job that runs a detached script, and its workers; what is done stays, and the script goes on later."""
    from ..pipelines.detached import DetachedPipeline

    for folder in _folders(target):
        click.echo(f"{folder}\n  {DetachedPipeline(folder).cancel()}")


@pipeline.command(cls=Command)
@click.argument("target", metavar="SCRIPT|FOLDER", type=click.Path(exists=True))
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(target: str, yes: bool) -> None:
    """Remove the records and scratch arrays of a script's pipeline; outputs stay, and the next start does all again."""
    from ..pipelines.folder import lock_folder
    from ..system.owner import check_own

    for folder in _folders(target):
        check_own(folder)
        if yes or click.confirm(f"Remove {folder}?"):
            with lock_folder(folder):
                shutil.rmtree(folder)
            click.echo(f"removed {folder}")


def _no_pipeline(script: str) -> ConfigError:
    return ConfigError(f"{script} has no `with bioimage_py.pipeline(...)` block", remedy="see docs/pipelines.md")


def _folders(target: str) -> list[Path]:
    """The folder of a pipeline, or those beside a script, or here, that it has made."""
    from ..pipelines.folder import read_about

    path = Path(os.path.abspath(target))
    if path.is_dir():
        if not (path / "pipeline.json").is_file():
            raise ConfigError(f"{path} is no folder of a pipeline", remedy="bioimage-py pipeline status SCRIPT")
        return [path]
    near = sorted({about.parent for top in (path.parent, Path.cwd()) for about in top.glob("*/pipeline.json")})
    found = [folder for folder in near if read_about(folder)["script"] == str(path)]
    if not found:
        raise ConfigError(
            f"neither {path.parent} nor {Path.cwd()} has the folder of a pipeline that {path.name} has made",
            remedy="bioimage-py pipeline status FOLDER",
        )
    return found
