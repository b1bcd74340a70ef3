"""What a run writes and reads, as it is written down: regions of storage, and fingerprints."""

from __future__ import annotations

from collections.abc import Sequence

from ...run_folder import WrittenRegion
from ...sources.base import Source
from ...sources.output_folder import OutputFolder
from ...sources.run_array import RunArray
from ...wrapper.base import WrapperSource
from ..planning.stage import Stage


def written_regions(stages: Sequence[Stage]) -> list[WrittenRegion]:
    """What the stages write, rounded out to whole write units."""
    regions = [written_region(stage, output) for stage in stages for output in stage.outputs]
    return [region for region in regions if region is not None]


def hidden_folders(stages: Sequence[Stage], run: str) -> list[str]:
    """Where the files of a run lie until a folder that it writes is complete."""
    outputs = [output for stage in stages for output in stage.outputs if isinstance(output, OutputFolder)]
    return sorted({str(output.hidden(run)) for output in outputs})


def written_region(stage: Stage, output: Source) -> WrittenRegion | None:
    """What a stage writes of one output, of a folder all; None where it has no grid, or is the run's own."""
    if isinstance(output, OutputFolder):
        return WrittenRegion(repr(output.identity), ((0, 1),))
    if stage.units.groups is None or isinstance(output, RunArray):
        return None
    lead = [(0, size) for size in output.shape[: output.ndim - stage.units.groups.grid.ndim]]
    source, region = output, (*lead, *stage.units.groups.grid.roi)
    while isinstance(source, WrapperSource) and (inner := source.inner_box(region)) is not None:
        source, region = source.source, inner
    units = source.write_chunks
    # counted from the write grid of the storage, so that boxes of sources that begin elsewhere can be compared
    region = tuple((b - origin, e - origin) for (b, e), origin in zip(region, source.grid_origin, strict=True))
    if source.concurrency == "single-writer":
        region = tuple((0, size) for size in source.shape)
    elif units is not None:
        region = tuple((b // u * u, -(-e // u) * u) for (b, e), u in zip(region, units, strict=True))
    return WrittenRegion(repr(source.identity), region)
