"""`bioimage-py operations` and `bioimage-py completion`: which commands there are, for people and for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ...errors import ParameterError
from ..common import Command, json_option, print_json
from .commands import name_of


@click.command(cls=Command)
@click.argument("words", nargs=-1)
@json_option
def operations(words: tuple[str, ...], as_json: bool) -> None:
    """List the operations that are commands too, those with all WORDS in their name or text.

    \b
    Example:
      bioimage-py operations watershed
    """  # noqa: D301 (click's mark for text that is not wrapped)
    from ...catalogue.operations import declared

    found = [one for one in declared() if _has(f"{one.full_name} {name_of(one)} {one.summary}", words)]
    if not found:
        raise ParameterError(f"no operation is about {' '.join(words)}.", remedy="bioimage-py operations")
    if as_json:
        told = [{"command": name_of(o), "operation": o.full_name, "summary": o.summary} for o in found]
        print_json([{**one, "relation": o.declaration.relation} for one, o in zip(told, found, strict=True)])
        return
    package = None
    for one in found:
        if one.package != package:
            package = one.package
            click.echo(f"{package or 'volumes'}:")
        click.echo(f"  {name_of(one):<30} {one.summary}")


def _has(text: str, words: tuple[str, ...]) -> bool:
    return all(word.lower() in text.lower() for word in words)


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and paths.

    \b
    Example:
      eval "$(bioimage-py completion bash)"         in ~/.bashrc
      eval "$(bioimage-py completion zsh)"          in ~/.zshrc
      bioimage-py completion fish | source          in ~/.config/fish/config.fish
    """  # noqa: D301
    found = get_completion_class(shell)
    assert found is not None
    made = found(ctx.find_root().command, {}, "bioimage-py", "_BIOIMAGE_PY_COMPLETE")
    click.echo(made.source_template % made.source_vars())
