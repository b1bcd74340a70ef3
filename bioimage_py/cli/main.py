"""The command and its subcommands."""

from __future__ import annotations

import click

from .. import __version__
from .bench import bench
from .convert import convert
from .demo import demo
from .evaluate import evaluate
from .info import info
from .mesh import mesh, skeleton
from .pipeline import pipeline
from .project import project
from .runs import runs
from .segment import segment
from .slurm import slurm


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bioimage-py")
def main() -> None:
    """Convert, segment, score and inspect image volumes of any size, block by block."""


for _command in (info, convert, segment, evaluate, mesh, skeleton, demo, bench, pipeline, project, runs, slurm):
    main.add_command(_command)
