"""`bioimage-py evaluate`."""

from __future__ import annotations

import click

from ..common import Command, dry_run_option, execution_of, json_option, print_json, region, run_options
from ..inputs import open_input


@click.command(cls=Command)
@click.argument("segmentation")
@click.argument("groundtruth")
@click.option("--seg-key", help="Key of the labels in SEGMENTATION.")
@click.option("--gt-key", help="Key of the labels in GROUNDTRUTH.")
@click.option("--ignore-seg", type=int, multiple=True, help="Leave out voxels with this label there; repeatable.")
@click.option("--ignore-gt", type=int, multiple=True, help="Leave out voxels with this label there; repeatable.")
@click.option("--roi", type=region, metavar="Z0:Z1,Y0:Y1,X0:X1", help="Region of GROUNDTRUTH that SEGMENTATION covers.")
@run_options
@dry_run_option
@json_option
def evaluate(
    segmentation: str,
    groundtruth: str,
    seg_key: str | None,
    gt_key: str | None,
    ignore_seg: tuple[int, ...],
    ignore_gt: tuple[int, ...],
    roi: tuple[slice, ...] | None,
    workers: int,
    job_type: str,
    quiet: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Score the labels SEGMENTATION against the labels GROUNDTRUTH.

    0 counts as a label like any other unless it is ignored.

    \b
    Example:
      bioimage-py evaluate labels.ome.zarr truth.zarr/labels
    """  # noqa: D301
    from ...workflows import evaluate as run

    scores = run(
        open_input(segmentation, seg_key),
        open_input(groundtruth, gt_key, roi),
        ignore_seg=ignore_seg or None,
        ignore_gt=ignore_gt or None,
        execution=execution_of(workers, job_type, quiet or as_json, dry_run),
    )
    if dry_run:
        from ..made.results import jsonable

        print_json(jsonable(scores)) if as_json else click.echo(str(scores))
        return
    if as_json:
        print_json(scores.to_dict())
        return
    for name, value, meaning in scores.lines():
        click.echo(f"{name:<20} {value:>14}  {meaning}")
