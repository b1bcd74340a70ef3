"""Graphs of regions: which of them touch, what lies between them, and which belong together.

Public names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .agglomeration import MergeTree, agglomerate
    from .building import region_graph
    from .constraints.pairs import Constraints
    from .correcting.correction import correct
    from .edge_costs import costs, edge_probabilities
    from .learning.classifier import EdgeClassifier, train_edges
    from .learning.truth import edge_truth
    from .multicuts import lifted_multicut, multicut
    from .parts import Partition, apply_node_labels, join_small_parts
    from .regions import RegionGraph
    from .storing.stored import open_graph, save
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "Constraints": ".constraints.pairs",
            "EdgeClassifier": ".learning.classifier",
            "MergeTree": ".agglomeration",
            "Partition": ".parts",
            "RegionGraph": ".regions",
            "agglomerate": ".agglomeration",
            "apply_node_labels": ".parts",
            "correct": ".correcting.correction",
            "costs": ".edge_costs",
            "edge_probabilities": ".edge_costs",
            "edge_truth": ".learning.truth",
            "join_small_parts": ".parts",
            "lifted_multicut": ".multicuts",
            "multicut": ".multicuts",
            "open_graph": ".storing.stored",
            "region_graph": ".building",
            "save": ".storing.stored",
            "train_edges": ".learning.classifier",
        },
    )

__all__ = [
    "Constraints",
    "EdgeClassifier",
    "MergeTree",
    "Partition",
    "RegionGraph",
    "agglomerate",
    "apply_node_labels",
    "correct",
    "costs",
    "edge_probabilities",
    "edge_truth",
    "join_small_parts",
    "lifted_multicut",
    "multicut",
    "open_graph",
    "region_graph",
    "save",
    "train_edges",
]
