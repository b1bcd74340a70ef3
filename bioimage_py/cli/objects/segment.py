"""`bioimage-py segment`."""

from __future__ import annotations

from typing import Any

import click

from ..common import (
    Command,
    dry_run_option,
    execution_of,
    json_option,
    lengths,
    offsets,
    print_json,
    region,
    run_options,
    sizes,
)
from ..inputs import open_input


@click.command(cls=Command)
@click.argument("input")
@click.argument("output")
@click.option("--key", help="Key of the image in INPUT.")
@click.option(
    "--method",
    type=click.Choice(["watershed", "components", "multicut", "agglomerate", "mutex"]),
    default="watershed",
    metavar="NAME",
    show_default=True,
    help="How.",
)
@click.option("--threshold", type=float, help="Grey value.  [default: Otsu's]")
@click.option(
    "--sigma",
    type=lengths,
    metavar="X[,X,X]",
    help="Smoothing, voxels.  [default: 1.5]",
)
@click.option("--seed-distance", type=float, help="Depth of seeds, in voxels.  [default: 3]")
@click.option("--min-size", type=int, help="Remove smaller objects.")
@click.option(
    "--objects",
    type=click.Choice(["bright", "dark"]),
    default="bright",
    show_default=True,
    help="Grey of objects.",
)
@click.option("--fill/--no-fill", default=None, help="Watershed: fill the space with objects.")
@click.option(
    "--halo",
    type=sizes,
    metavar="N[,N,N]",
    help="Around a block.  [default: by method]",
)
@click.option("--beta", type=float, help="More cuts more, 0 to 1.  [default: 0.5]")
@click.option(
    "--offsets",
    type=offsets,
    metavar="N,N,N;...",
    help="Mutex: to the partner, each channel.",
)
@click.option("--classifier", metavar="FILE", help="What was learned of edges (.npz).")
@click.option("--model", metavar="FILE", help="Network that makes boundaries first.")
@click.option("--tile", type=sizes, metavar="N[,N,N]", help="Voxels that the network sees.  [default: 64]")
@click.option("--overlap", type=sizes, metavar="N[,N,N]", help="Of its tiles.  [default: a quarter]")
@click.option("--margin", type=sizes, metavar="N[,N,N]", help="At the border of tiles, not used.")
@click.option("--normalize", metavar="standard|A,B", help="The network gets (voxel - A) / B.")
@click.option("--keep", metavar="FOLDER", help="Keep superpixels and graph here.")
@click.option("--block-shape", type=sizes, metavar="N[,N,N]", help="Voxels of a block.")
@click.option("--roi", type=region, metavar="Z0:Z1,Y0:Y1,X0:X1", help="Region to segment.")
@click.option("--overwrite", is_flag=True, help="Replace an existing label image.")
@run_options
@dry_run_option
@json_option
def segment(
    input: str,
    output: str,
    key: str | None,
    halo: int | tuple[int, ...] | None,
    block_shape: int | tuple[int, ...] | None,
    tile: int | tuple[int, ...] | None,
    overlap: int | tuple[int, ...] | None,
    margin: int | tuple[int, ...] | None,
    normalize: str | None,
    workers: int,
    job_type: str,
    quiet: bool,
    dry_run: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Segment the image INPUT; labels, with a pyramid, go to OUTPUT (OME-Zarr).

    Methods: watershed, components; multicut and agglomerate take boundaries, mutex affinities (0 to 1), or what --model
    (ONNX, TorchScript) makes.

    \b
    Example:
      bioimage-py segment volume.zarr/raw labels.ome.zarr
    """  # noqa: D301
    from ...workflows import segment as run

    network: dict[str, Any] = {"tile": tile, "overlap": overlap, "margin": margin}
    network |= {"normalize": None if normalize is None else _pair(normalize)}
    called = {name: value for name, value in network.items() if value is not None}
    found = run(
        open_input(input, key),
        output,
        halo=halo,
        network=called or None,
        block_shape=block_shape,
        execution=execution_of(workers, job_type, quiet or as_json, dry_run),
        **settings,
    )
    if as_json:
        print_json(found.to_dict())
        return
    if dry_run:
        click.echo(str(found))
        return
    click.echo(found.summary())
    if not found.n_objects:
        click.echo("No objects: try another --threshold, a smaller --seed-distance, or --objects dark.", err=True)


def _pair(text: str) -> Any:
    """Two numbers, or the word "standard"."""
    return text if text == "standard" else lengths(text)
