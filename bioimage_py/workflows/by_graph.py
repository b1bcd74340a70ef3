"""Segmentation of boundaries, as a network predicts them: superpixels, their graph, which of them belong together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..graph import (
    EdgeClassifier,
    Partition,
    RegionGraph,
    agglomerate,
    apply_node_labels,
    costs,
    join_small_parts,
    multicut,
    region_graph,
)
from ..graph.correcting.kept import KeptPartition, save_partition
from ..segmentation import distance_watershed, mutex_watershed
from ..sources import Source
from .work import Work


def by_multicut(work: Work, result: Source) -> float:
    """Superpixels joined by multicut; returns the threshold of boundaries."""
    return _joined(work, result, "multicut", lambda graph: work.on(multicut, graph, _costs(work, graph)))


def by_agglomeration(work: Work, result: Source) -> float:
    """Superpixels joined as long as the mean boundary between two of them allows it; returns as `by_multicut`."""
    limit = 1 - work.settings.beta

    def partition(graph: RegionGraph) -> Partition:
        return work.on(agglomerate, graph, _probabilities(work, graph), thresholds=limit).partition(limit)  # type: ignore[no-any-return]

    return _joined(work, result, "agglomerate", partition)


def by_mutex(work: Work, result: Source) -> None:
    """Pieces of the mutex watershed, whose parts in neighbouring blocks are joined by multicut."""
    offsets = work.settings.offsets
    pieces, path = work.array("superpixels", np.uint64), work.pipeline.scratch("graph")
    work.stage("superpixels", lambda: work.run(mutex_watershed, work.given, offsets, pieces))
    graph = work.stage(
        "graph",
        lambda: work.run(region_graph, pieces, None, path, affinities=work.given, offsets=offsets),
    )
    _labels(work, result, pieces, graph, "multicut", lambda one: work.on(multicut, one, _costs(work, one)))


def _probabilities(work: Work, graph: RegionGraph) -> npt.NDArray[np.float64] | None:
    """That edges are boundaries, where that was learned; None stands for their mean."""
    path = work.settings.classifier
    return None if path is None else EdgeClassifier.read(path).probabilities(graph)


def _costs(work: Work, graph: RegionGraph) -> npt.NDArray[np.float64]:
    return costs(graph, _probabilities(work, graph), beta=work.settings.beta)


def _joined(work: Work, result: Source, name: str, partition: Callable[[RegionGraph], Partition]) -> float:
    """The threshold of boundaries."""
    settings = work.settings
    threshold = 0.15 if settings.threshold is None else settings.threshold
    pieces, path = work.array("superpixels", np.uint64), work.pipeline.scratch("graph")
    work.stage(
        "superpixels",
        lambda: work.run(
            distance_watershed,
            work.source,
            pieces,
            threshold=threshold,
            sigma=settings.sigma or 0,
            seed_sigma=settings.seed_sigma,
            sampling=settings.sampling,
            halo=settings.halo,
        ),
    )
    graph = work.stage("graph", lambda: work.run(region_graph, pieces, work.source, path))
    _labels(work, result, pieces, graph, name, partition)
    return threshold


def _labels(
    work: Work,
    result: Source,
    pieces: Source,
    graph: RegionGraph,
    name: str,
    partition: Callable[[RegionGraph], Partition],
) -> None:
    least = work.settings.min_size

    def parts() -> Partition:
        found = partition(graph)
        return join_small_parts(graph, found, least) if least else found

    found = work.stage(name, parts)
    if work.keep:
        save_partition(KeptPartition(found.parts, _costs(work, graph), least), work.pipeline.scratch("partition"))
    work.stage("labels", lambda: work.run(apply_node_labels, pieces, found, result))
