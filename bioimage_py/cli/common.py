"""What the subcommands share: errors without tracebacks, and the options of a run."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import BioimageError
from ..system.threads import usable_cores
from .remedies import as_command

if TYPE_CHECKING:
    from ..runner.execution import Execution

F = TypeVar("F", bound=Callable[..., Any])

INTERRUPTED = 130


class _Positive(click.IntRange):
    def _describe_range(self) -> str:
        return ""  # the help of --workers is short


_POSITIVE = _Positive(min=1)


class Command(click.Command):
    """A command that prints errors of the package as one message, exit code 1, unless --debug is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, callback=_keep, help="Show tracebacks.")
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _once(set())
                return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends silently where the reader of a pipe has gone
        except KeyboardInterrupt:
            click.echo("Interrupted; where a scratch folder was left, the same command goes on in it.", err=True)
            ctx.exit(INTERRUPTED)
        except (BioimageError, OSError) as error:
            if ctx.meta.get("bioimage_py.debug"):
                raise
            message, remedy = (error.message, error.remedy) if isinstance(error, BioimageError) else (str(error), "")
            click.echo(f"Error: {message}", err=True)
            if remedy:
                click.echo(f"Remedy: {as_command(remedy, self)}", err=True)
            ctx.exit(1)


def _once(shown: set[str]) -> Callable[..., None]:
    """Print every text of a warning once, without the line of code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            click.echo(f"Warning: {message}", err=True)

    return show


def _keep(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta["bioimage_py.debug"] = value


def numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers with commas between them, such as 64,64,64; one number stands alone."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not made of whole numbers with commas between them, such as 64,64,64"
        ) from None


def sizes(text: str) -> int | tuple[int, ...]:
    """Parse one whole number for all axes, or one per axis with commas between them."""
    found = numbers(text)
    return found[0] if len(found) == 1 else found


def offsets(text: str) -> tuple[tuple[int, ...], ...]:
    """Parse offsets with semicolons between them, such as -1,0,0;0,-1,0"""
    return tuple(numbers(part) for part in text.split(";"))


def lengths(text: str) -> float | tuple[float, ...]:
    """Parse one number, or one per axis with commas between them."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor numbers with commas between them") from None
    return found[0] if len(found) == 1 else found


def region(text: str) -> tuple[slice, ...]:
    """Parse ranges with commas between them, such as 0:64,100:200,:"""
    try:
        return tuple(_range(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not made of ranges with commas between them, such as 0:64,100:200,:"
        ) from None


def place(text: str) -> tuple[str, tuple[int | slice, ...] | None]:
    """Part a path from the region behind it, such as volume.zarr/raw::0:64,:,10; a number is one index.

    What is there under the whole name has no region: a file may be called so.
    """
    path, mark, box = text.rpartition("::")
    if not mark or not box or not set(box) <= set("-0123456789:, ") or os.path.exists(text):
        return text, None
    try:
        return path, tuple(_range(part) if ":" in part else int(part) for part in box.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} ends with no region: ranges or numbers with commas between them, such as ::0:64,:,10"
        ) from None


def _range(text: str) -> slice:
    begin, colon, end = text.strip().partition(":")
    if not colon:
        raise ValueError(text)
    return slice(int(begin) if begin else None, int(end) if end else None)


def run_options(function: F) -> F:
    """Add the options that say how to run; `execution_of` makes an `Execution` of them."""
    options = (
        click.option(
            "--workers",
            metavar="N",
            type=_POSITIVE,
            default=usable_cores,
            help="Workers at once.  [default: all cores]",
        ),
        click.option("--job-type", metavar="NAME", default="local", show_default=True, help="Backend."),
        click.option("--quiet", is_flag=True, help="No progress bars."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def json_option(function: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def dry_run_option(function: F) -> F:
    """Add --dry-run."""
    return click.option("--dry-run", is_flag=True, help="Print the plan; run and write nothing.")(function)


def execution_of(workers: int, job_type: str, quiet: bool, plan: bool = False) -> Execution:
    """The execution that the options of `run_options`, and of `dry_run_option`, ask for."""
    from ..runner.execution import Execution

    return Execution(job_type=job_type, num_workers=workers, progress=not quiet, plan=plan)


def print_json(content: Any) -> None:
    """Print JSON values."""
    click.echo(json.dumps(content, indent=1))
