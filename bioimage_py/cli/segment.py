"""`bioimage-py segment`."""

from __future__ import annotations

from typing import Any

import click

from .common import Command, execution_of, json_option, lengths, numbers, offsets, print_json, region, run_options
from .inputs import open_input


@click.command(cls=Command)
@click.argument("input")
@click.argument("output")
@click.option("--key", help="Key of the image in INPUT, for containers with several arrays.")
@click.option(
    "--method",
    type=click.Choice(["watershed", "components", "multicut", "agglomerate", "mutex"]),
    default="watershed",
    show_default=True,
    help="Grow seeds, take connected components, or join superpixels of boundaries (0 to 1), of affinities for mutex.",
)
@click.option("--threshold", type=float, help="Grey value between objects and the rest.  [default: Otsu's]")
@click.option(
    "--sigma",
    type=lengths,
    metavar="X[,X,X]",
    help="Smoothing, in voxels of the finest axis, or per axis.  [default: 1.5; 0 is none]",
)
@click.option("--seed-distance", type=float, help="Depth of seeds, in voxels of the finest axis.  [default: 3]")
@click.option(
    "--min-size", type=int, help="Remove smaller objects, in voxels.  [default: 0 for watershed, 100 for components]"
)
@click.option(
    "--objects",
    type=click.Choice(["bright", "dark"]),
    default="bright",
    show_default=True,
    help="Objects against what is between them.",
)
@click.option("--fill/--no-fill", default=None, help="Watershed: objects fill the space, or leave a background.")
@click.option(
    "--halo",
    type=numbers,
    metavar="N[,N,N]",
    help="Voxels around a block.  [default: 8 for multicut and agglomerate, else 0]",
)
@click.option("--beta", type=float, help="Multicut, agglomerate, mutex: 0 to 1, larger cuts more.  [default: 0.5]")
@click.option(
    "--offsets",
    type=offsets,
    metavar="N,N,N;...",
    help="Mutex: from a voxel to its partner, for each channel of the affinities, such as -1,0,0;0,-1,0;0,0,-1;-3,0,0",
)
@click.option("--classifier", metavar="FILE", help="Multicut, agglomerate, mutex: what was learned of edges (.npz).")
@click.option(
    "--model", metavar="FILE", help="Network (ONNX, TorchScript) that makes boundaries or affinities of INPUT, first."
)
@click.option("--tile", type=numbers, metavar="N[,N,N]", help="Voxels that the network sees.  [default: 64]")
@click.option("--overlap", type=numbers, metavar="N[,N,N]", help="Of its tiles.  [default: a quarter]")
@click.option("--margin", type=numbers, metavar="N[,N,N]", help="At the border of tiles, not used.  [default: 0]")
@click.option(
    "--normalize", metavar="standard|A,B", help="The network gets (voxel - A) / B.  [default: voxels as they are]"
)
@click.option("--keep", metavar="FOLDER", help="Multicut, agglomerate, mutex: keep superpixels and graph here.")
@click.option(
    "--block-shape", type=numbers, metavar="N[,N,N]", help="Voxels of a block.  [default: chosen from shape and chunks]"
)
@click.option("--roi", type=region, metavar="Z0:Z1,Y0:Y1,X0:X1", help="Region to segment.")
@click.option("--overwrite", is_flag=True, help="Replace an existing label image.")
@run_options
@json_option
def segment(
    input: str,
    output: str,
    key: str | None,
    halo: tuple[int, ...] | None,
    block_shape: tuple[int, ...] | None,
    tile: tuple[int, ...] | None,
    overlap: tuple[int, ...] | None,
    margin: tuple[int, ...] | None,
    normalize: str | None,
    workers: int,
    job_type: str,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Segment the image INPUT, and write labels with their pyramid to OUTPUT (OME-Zarr).

    INPUT is a zarr, n5, HDF5 or TIFF file, or a path into one (volume.zarr/raw). OUTPUT is made, such as
    labels.ome.zarr.
    """
    from ..workflows import segment as run

    network: dict[str, Any] = {"tile": _single(tile), "overlap": _single(overlap), "margin": _single(margin)}
    network |= {"normalize": None if normalize is None else _pair(normalize)}
    called = {name: value for name, value in network.items() if value is not None}
    found = run(
        open_input(input, key),
        output,
        halo=_single(halo),
        network=called or None,
        block_shape=_single(block_shape),
        execution=execution_of(workers, job_type, quiet or as_json),
        **settings,
    )
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(found.summary())
    if not found.n_objects:
        click.echo("No objects: try another --threshold, a smaller --seed-distance, or --objects dark.", err=True)


def _pair(text: str) -> Any:
    """Two numbers, or the word "standard"."""
    return text if text == "standard" else lengths(text)


def _single(given: tuple[int, ...] | None) -> int | tuple[int, ...] | None:
    return given[0] if given is not None and len(given) == 1 else given
