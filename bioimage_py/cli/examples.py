"""An example for each command in a group, at the end of its help."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

_EXAMPLES = """
runs list volume.zarr
runs show label-1f3a52c0
runs replay label-1f3a52c0 40
runs attach label-1f3a52c0
runs resume label-1f3a52c0 --workers 4
runs cancel label-1f3a52c0
runs clean --finished
runs forget volume.h5 raw
runs report label-1f3a52c0 run.html
pipeline plan script.py
pipeline run script.py --detach
pipeline status script.py
pipeline cancel script.py
pipeline clean script.py --yes
project create cells.project --labelmap cells:cell --tag Reviewed
project import cells.project scans/
project info cells.project
project validate cells.project
project apply cells.project threshold.py:bright --layer cells --workers 2
project export cells.project nnunet --format nnunet --layer cells
project thumbnails cells.project --sheet sheet.png --layer cells
project login https://labels.example.org
project logout https://labels.example.org
server run /srv/labels
server check /srv/labels
server audit /srv/labels --verify
server backup /srv/labels copy.tar
server restore copy.tar /srv/other
server user add /srv/labels alice
server user disable /srv/labels alice
server user link /srv/labels alice https://login.example.org 1a2b3c
server user password /srv/labels alice
server project add /srv/labels study.project --owner alice
server project remove /srv/labels project-1a2b3c4d
slurm init --account lab
slurm check --folder /scratch/me
"""


def nested(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The commands in a group, and those in the groups there, by their names."""
    for name, command in group.commands.items():
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from nested(command, *names, name)


def add_examples(group: click.Group) -> None:
    """Give each command in the groups of a group that has no example the one of the table."""
    lines = _EXAMPLES.split("\n")
    for names, command in nested(group):
        words = " ".join(names)
        line = next((one for one in lines if f"{one} ".startswith(f"{words} ")), None)
        if len(names) > 1 and line and "Example:" not in (command.help or ""):
            command.help = f"{inspect.cleandoc(command.help or '')}\n\n\b\nExample:\n  bioimage-py {line}"
