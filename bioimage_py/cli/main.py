"""The command and its subcommands."""

from __future__ import annotations

import click

from .. import __version__
from .bench import bench
from .convert import convert
from .demo import demo
from .examples import add_examples
from .info import info
from .looking.live import serve, watch
from .looking.view import view
from .made.commands import command_of, name_of
from .made.listing import completion, operations
from .objects.correct import correct
from .objects.evaluate import evaluate
from .objects.segment import segment
from .pipeline import pipeline
from .project import project
from .runs import runs
from .server import server
from .slurm import slurm

_OFTEN = (
    "copy, downsample, pyramid, smooth, threshold, label, watershed, relabel, size-filter, stats, regionprops, predict,"
    " mesh, skeleton"
)


class Commands(click.Group):
    """The commands that have a file, and one for every operation, which is made when it is asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        return super().get_command(ctx, cmd_name) or command_of(cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Operations too."""
        from ..catalogue.operations import declared

        known = super().shell_complete(ctx, incomplete)
        names = {name_of(one): one.summary for one in declared()} if not incomplete.startswith("-") else {}
        more = [name for name in names if name.startswith(incomplete) and name not in self.commands]
        return known + [click.shell_completion.CompletionItem(name, help=names[name]) for name in sorted(more)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say which commands are made of operations."""
        with formatter.section("Operations"):
            formatter.write_text(f"{_OFTEN}, and more: `bioimage-py operations` lists them.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bioimage-py")
def main() -> None:
    """Convert, segment, score and inspect image volumes of any size, block by block.

    Every operation is a command. A path leads into a file (volume.zarr/raw), to a URL, and to a region
    (volume.zarr/raw::0:64,:,10).
    """


for _command in (
    info, view, convert, segment, correct, evaluate, demo, bench, operations, pipeline, project,
    runs, server, slurm, completion,
):  # fmt: skip
    main.add_command(_command)
for _command in (watch, serve):
    runs.add_command(_command)
add_examples(main)
