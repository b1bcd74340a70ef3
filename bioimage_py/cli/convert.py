"""`bioimage-py convert`."""

from __future__ import annotations

import os
from typing import Any

import click

from ..errors import ParameterError
from .common import Command, execution_of, json_option, print_json, run_options, sizes
from .inputs import open_input


def ends(text: str) -> tuple[float, float]:
    """Parse two numbers with a colon between them, such as 0:4095."""
    low, colon, high = text.partition(":")
    try:
        found = (float(low), float(high))
    except ValueError:
        found = None
    if not colon or found is None:
        raise click.BadParameter(f"{text!r} is not made of two numbers with a colon between them, such as 0:4095")
    return found


@click.command(cls=Command)
@click.argument("input")
@click.argument("output")
@click.option("--key", help="Key of the image in INPUT: an array, or the number of a series.")
@click.option("--each", metavar="ENDING", help="INPUT and OUTPUT are folders: convert each file to one of this ending.")
@click.option("--dtype", help="Data type to convert to; what does not fit is an error.")
@click.option("--rescale", type=ends, metavar="LO:HI", help="Map this range to the ends of --dtype.")
@click.option("--axes", metavar="NAMES", help="Names of the axes, such as tczyx.  [default: those of INPUT]")
@click.option("--chunks", type=sizes, metavar="N[,N,N]", help="Chunks of zarr, n5 and HDF5.")
@click.option("--shards", type=sizes, metavar="N[,N,N]", help="Shards of zarr.")
@click.option("--compression", help="Name of the codec, such as zstd.")
@click.option("--pyramid", is_flag=True, help="Coarser levels too.")
@click.option("--labels/--no-labels", default=None, help="Ids.  [default: as INPUT says, or 32 and 64 bits]")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--verify", is_flag=True, help="Read OUTPUT, and compare all voxels.")
@click.option("--dry-run", is_flag=True, help="Check, say what would be written, and write nothing.")
@run_options
@json_option
def convert(
    input: str,
    output: str,
    key: str | None,
    each: str | None,
    workers: int,
    job_type: str,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write the image INPUT in the format of the name OUTPUT, block by block.

    INPUT is any file that is read, or a path into one (volume.zarr/raw). OUTPUT is such as image.ome.zarr,
    image.ome.tif or volume.h5. Axes, scale and units are kept where the format has a place for them.

    \b
    Example:
      bioimage-py convert scan.czi scan.ome.zarr --pyramid
    """  # noqa: D301
    from ..workflows import convert as run

    chosen = {name: value for name, value in settings.items() if value is not None}
    how = execution_of(workers, job_type, quiet or as_json)
    found = []
    for one, target in _pairs(input, output, each):
        found.append(run(open_input(one, key), target, execution=how, **chosen))
        if not as_json:
            click.echo(found[-1].summary())
    if as_json:
        print_json([one.to_dict() for one in found] if each else found[0].to_dict())


def _pairs(input: str, output: str, each: str | None) -> list[tuple[str, str]]:
    """What is converted to what: one, or all files of a folder."""
    if each is None:
        return [(input, output)]
    if not os.path.isdir(input):
        raise ParameterError(f"{input} is no folder.", remedy="leave out --each, or name a folder")
    ending = each if each.startswith(".") else f".{each}"
    names = sorted(name for name in os.listdir(input) if not name.startswith("."))
    if not names:
        raise ParameterError(f"{input} is empty.", remedy="name a folder with files")
    os.makedirs(output, exist_ok=True)
    pairs = [(os.path.join(input, name), os.path.join(output, name.partition(".")[0] + ending)) for name in names]
    if len({target for _, target in pairs}) < len(pairs):
        raise ParameterError(f"Two files in {input} have one name but for the ending.", remedy="rename one of them")
    return pairs
