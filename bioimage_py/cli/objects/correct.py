"""`bioimage-py correct`."""

from __future__ import annotations

import click

from ..common import Command, execution_of, json_option, print_json, run_options


@click.command(cls=Command)
@click.argument("labels")
@click.argument("kept")
@click.argument("constraints")
@run_options
@json_option
def correct(labels: str, kept: str, constraints: str, workers: int, job_type: str, quiet: bool, as_json: bool) -> None:
    """Join and cut objects of LABELS as the file CONSTRAINTS says, and rewrite only what changes.

    LABELS and KEPT are what `bioimage-py segment INPUT LABELS --method multicut --keep KEPT` has made. CONSTRAINTS is a
    JSON file with pairs of superpixels, the ids in KEPT/superpixels.zarr: {"join": [[3, 5]], "cut": [[5, 9]]}. It lists
    all that hold, also those of earlier calls.

    \b
    Example:
      bioimage-py correct labels.ome.zarr kept constraints.json
    """  # noqa: D301
    from ...workflows import correct as run

    found = run(labels, kept, constraints, execution=execution_of(workers, job_type, quiet or as_json))
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(found.summary())
