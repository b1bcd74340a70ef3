"""`bioimage-py mesh` and `bioimage-py skeleton`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .common import Command, execution_of, json_option, lengths, numbers, print_json, region, run_options
from .inputs import open_input

F = TypeVar("F", bound=Callable[..., Any])

_WHICH = (
    click.option("--key", help="Key of the labels in LABELS, for containers with several arrays."),
    click.option("--ids", type=numbers, metavar="N[,N...]", help="Objects.  [default: all]"),
    click.option("--min-size", type=int, help="Leave out smaller objects, in voxels."),
    click.option("--max-size", type=int, help="Leave out larger objects, in voxels."),
    click.option("--sharded", is_flag=True, help="Put the objects into few files (precomputed)."),
    click.option("--sampling", type=lengths, metavar="X[,X,X]", help="Size of a voxel.  [default: as the data say]"),
    click.option(
        "--block-shape", type=numbers, metavar="N[,N,N]", help="Voxels of a block.  [default: 128 an axis, or 256]"
    ),
    click.option("--roi", type=region, metavar="Z0:Z1,Y0:Y1,X0:X1", help="Region."),
    click.option("--overwrite", is_flag=True, help="Replace what such a call has written there."),
)


def _which(function: F) -> F:
    """Add the options that both commands have."""
    for option in reversed(_WHICH):
        function = option(function)
    return function


@click.command(cls=Command)
@click.argument("labels")
@click.argument("output")
@click.option(
    "--format",
    type=click.Choice(["precomputed", "legacy", "ply", "obj", "stl", "glb"]),
    default="precomputed",
    show_default=True,
    help="Meshes of Neuroglancer with levels of detail, or without; or a file for each object.",
)
@click.option(
    "--max-error", type=float, default=0.0, show_default=True, help="Simplify within this distance, in the data's unit."
)
@click.option("--levels", type=int, help="Levels of detail.  [default: as many as it takes, at most 5]")
@click.option("--fill-holes", is_flag=True, help="Leave out surfaces of cavities.")
@_which
@run_options
@json_option
def mesh(labels: str, output: str, as_json: bool, **settings: Any) -> None:
    """Write the surface of every object of LABELS into the folder OUTPUT."""
    from ..mesh import surfaces

    n = _run(surfaces, labels, output, as_json, settings)
    if as_json:
        print_json({"output": output, "objects": n})
        return
    click.echo(f"{output}: {n} meshes")


@click.command(cls=Command)
@click.argument("labels")
@click.argument("output")
@click.option(
    "--format",
    type=click.Choice(["precomputed", "swc"]),
    default="precomputed",
    show_default=True,
    help="Skeletons of Neuroglancer, or a file for each object.",
)
@click.option("--scale", type=float, default=1.5, show_default=True, help="A line covers so many times its radius, and")
@click.option("--constant", type=float, help="so much more, in the data's unit.  [default: 8 voxels]")
@click.option("--tick-length", type=float, help="Remove shorter ends.  [default: as --constant]")
@click.option("--min-length", type=float, default=0.0, show_default=True, help="Remove shorter pieces.")
@click.option("--soma-radius", type=float, help="From this radius on a place is a soma.  [default: none is]")
@_which
@run_options
@json_option
def skeleton(labels: str, output: str, as_json: bool, **settings: Any) -> None:
    """Write the skeleton of every object of LABELS into the folder OUTPUT."""
    from ..skeleton import trace

    table = _run(trace, labels, output, as_json, settings)
    total = float(table.cable_length.sum())
    if as_json:
        print_json({"output": output, "objects": len(table), "cable_length": total})
        return
    click.echo(f"{output}: {len(table)} skeletons, cable length {total:.6g}")


def _run(function: Callable[..., Any], labels: str, output: str, as_json: bool, settings: dict[str, Any]) -> Any:
    """Call the operation with the options of its command."""
    key, shape = settings.pop("key"), settings.pop("block_shape")
    workers, job_type, quiet = (settings.pop(name) for name in ("workers", "job_type", "quiet"))
    shape = shape[0] if shape is not None and len(shape) == 1 else shape
    how = execution_of(workers, job_type, quiet or as_json)
    return function(open_input(labels, key), output, block_shape=shape, execution=how, **settings)
