"""Segmentation of boundaries, as a network predicts them: superpixels, their graph, which of them belong together."""

from __future__ import annotations

import numpy as np

from ..graph import apply_node_labels, costs, join_small_parts, multicut, region_graph
from ..segmentation import distance_watershed
from ..sources import Source
from .work import Work


def by_multicut(work: Work, result: Source) -> float:
    """Superpixels joined by multicut; returns the threshold of boundaries."""
    settings = work.settings
    threshold = 0.15 if settings.threshold is None else settings.threshold
    pieces = work.array("superpixels", np.uint64)
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
    graph = work.stage("graph", lambda: work.run(region_graph, pieces, work.source))

    def partition() -> object:
        found = multicut(graph, costs(graph, beta=settings.beta), execution=work.job.execution)
        return join_small_parts(graph, found, settings.min_size) if settings.min_size else found

    parts = work.stage("multicut", partition)
    work.stage("labels", lambda: work.run(apply_node_labels, pieces, parts, result))
    return threshold
