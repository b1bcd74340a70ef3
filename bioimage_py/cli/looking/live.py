"""`bioimage-py runs watch` and `runs serve`: runs while they go on."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time

import click

from ..common import Command, json_option, print_json

_HOME, _CLEAR = "\x1b[H", "\x1b[J"


@click.command(cls=Command)
@click.argument("run")
@click.option("--every", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Look once.")
@click.option("--no-map", is_flag=True, help="Without the maps of blocks.")
@json_option
def watch(run: str, every: float, once: bool, no_map: bool, as_json: bool) -> None:
    """Watch RUN from any machine that sees its folder: stages, rate, workers, slow and failed blocks, maps.

    It ends when the run does; Ctrl-C leaves the run as it is. With --json a line a look.

    \b
    Example:
      bioimage-py runs watch label-1f3a52c0
    """  # noqa: D301
    from ...errors import ConfigError
    from ...runner.control.watching import Watching
    from ...viz.live.text import lines_of
    from ..runs import find

    name = find(run)
    watching = Watching(name.folder)
    terminal = sys.stdout.isatty() and not as_json
    colors = terminal and "NO_COLOR" not in os.environ
    if terminal:
        click.echo(_HOME + _CLEAR, nl=False)
    while True:
        try:
            look = watching.look()
        except ConfigError:
            click.echo(f"{name.run}: over, and its folder is gone: it has finished, or was removed.", err=as_json)
            return
        if as_json:
            print_json(look.to_dict()) if once else click.echo(_line(look.to_dict()))
        else:
            lines = lines_of(look, colors=colors, maps=not no_map)
            _show(lines, terminal)
        if once or look.over:
            return
        time.sleep(every)


def _line(told: object) -> str:
    import json

    return json.dumps(told)


def _show(lines: list[str], terminal: bool) -> None:
    if not terminal:
        click.echo("\n".join(lines) + "\n")
        return
    rows = shutil.get_terminal_size().lines - 1
    click.echo(_HOME + "".join(f"{line}\x1b[K\n" for line in lines[:rows]) + _CLEAR, nl=False)


@click.command(cls=Command)
@click.argument("places", nargs=-1, type=click.Path(exists=True))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page.  [default: any that is free]")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
def serve(places: tuple[str, ...], port: int, no_browser: bool) -> None:
    """Serve a page of all runs at and below PLACES, which refreshes itself; Ctrl-C ends it.

    Without PLACES: as `runs list`. Only this machine can open it, at the address that is printed.

    \b
    Example:
      bioimage-py runs serve /data
    """  # noqa: D301
    import webbrowser

    from ...errors import ParameterError
    from ...viz.live.server import RunServer

    try:
        server = RunServer(places, port)
    except OSError as error:
        raise ParameterError(f"port {port} cannot be taken: {error.strerror}", remedy="--port 0") from error
    with server:
        click.echo(server.url)
        if not no_browser:
            webbrowser.open(server.url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("")
