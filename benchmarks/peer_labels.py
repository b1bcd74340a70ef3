"""Drop-in calls of sections 10 and 11 of the peer: stitching, multicut, and the scores of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from peer_data import blobs, cells, hills, inside, noise

BLOCKED: dict[str, Any] = {"block_shape": (6, 10, 8), "num_workers": 2}
VARIANTS: dict[str, dict[str, Any]] = {"direct": {}, "blocked": BLOCKED}
TILE, OVERLAP = (6, 10, 12), (2, 3, 3)
PROBS = np.array([0.0, 0.1, 0.35, 0.5, 0.9, 1.0])
SIZES = np.array([1.0, 8.0, 3.0, 4.0, 2.0, 5.0])
BETWEEN = np.array([True, False, True, False, False, True])
EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4], [4, 5]], np.uint64)
COSTS = np.array([1.5, -2.0, 3.0, 1.0, -0.5, -1.0])

Call = Callable[[Callable[[str], Any], Any], Any]


def calls() -> Iterator[tuple[str, Call, float, bool]]:
    """Name, call, tolerance, and whether labels agree up to their numbering."""
    for name, call in {**_stitching(), **_objects()}.items():
        yield name, call, 0.0, True
    for name, call in _costs().items():
        yield name, call, 1e-9, False
    for name, call in _scores().items():
        yield name, call, 1e-9, False


def components(tile: np.ndarray, tile_id: int) -> np.ndarray:
    """Components of a tile above a threshold."""
    from scipy.ndimage import label

    return np.asarray(label(tile > 118)[0], np.uint64)


def _tiled() -> np.ndarray:
    """Components of tiles without overlap, numbered through."""
    result, used = np.zeros((12, 20, 24), np.uint64), 0
    for z in range(0, 12, TILE[0]):
        for y in range(0, 20, TILE[1]):
            for x in range(0, 24, TILE[2]):
                part = (slice(z, z + TILE[0]), slice(y, y + TILE[1]), slice(x, x + TILE[2]))
                own = components(hills(np.int64)[part], 0)
                result[part] = np.where(own > 0, own + np.uint64(used), 0)
                used = int(result.max())
    return result


def _stitching() -> dict[str, Call]:
    found: dict[str, Call] = {}
    for beta in (0.5, 0.3):
        for workers in (1, 2):
            found[f"stitch_segmentation beta {beta} workers {workers}"] = lambda p, _, beta=beta, workers=workers: p(
                "segmentation"
            ).stitch_segmentation(hills(np.int64), components, TILE, OVERLAP, beta=beta, num_workers=workers)
            found[f"stitch_tiled_segmentation beta {beta} workers {workers}"] = (
                lambda p, _, beta=beta, workers=workers: p("segmentation").stitch_tiled_segmentation(
                    _tiled(), TILE, beta=beta, num_workers=workers
                )
            )
    found["stitch_segmentation before stitching"] = lambda p, _: p("segmentation").stitch_segmentation(
        hills(np.int64), components, TILE, OVERLAP, return_before_stitching=True
    )
    found["stitch_segmentation of channels"] = lambda p, _: p("segmentation").stitch_segmentation(
        np.stack([hills(np.int64)] * 2, axis=-1),
        lambda tile, tile_id: components(tile[..., 0], tile_id),
        TILE,
        OVERLAP,
        shape=(12, 20, 24),
    )
    found["stitch_segmentation float output"] = lambda p, _: p("segmentation").stitch_segmentation(
        hills(np.int64), components, TILE, OVERLAP, np.zeros((12, 20, 24))
    )
    found["stitch_tiled_segmentation overlap 2"] = lambda p, _: p("segmentation").stitch_tiled_segmentation(
        _tiled(), TILE, overlap=2
    )
    return found


def _graph() -> Any:
    from bioimage_cpp.graph import UndirectedGraph

    return UndirectedGraph.from_edges(6, EDGES)


def _objects() -> dict[str, Call]:
    found: dict[str, Call] = {}
    for name in ("multicut_kernighan_lin", "multicut_gaec", "multicut_decomposition"):
        found[name] = lambda p, _, name=name: getattr(p("segmentation"), name)(_graph(), COSTS)[np.newaxis]
    for solver in ("kernighan-lin", "greedy-additive", "greedy-fixation"):
        found[f"multicut_decomposition {solver}"] = lambda p, _, solver=solver: p(
            "segmentation"
        ).multicut_decomposition(_graph(), COSTS, 2, solver)[np.newaxis]
    found["multicut_decomposition unknown"] = lambda p, _: p("segmentation").multicut_decomposition(
        _graph(), COSTS, internal_solver="none"
    )
    found["multicut_gaec too few costs"] = lambda p, _: p("segmentation").multicut_gaec(_graph(), COSTS[:3])
    return found


def _costs() -> dict[str, Call]:
    found: dict[str, Call] = {}
    for name, options in {
        "": {},
        " beta": {"beta": 0.3},
        " sizes": {"edge_sizes": SIZES},
        " exponent": {"edge_sizes": SIZES, "weighting_exponent": 2.0},
        " populations": {"edge_sizes": SIZES, "edge_populations": [np.array([0, 1]), np.array([2, 3])]},
    }.items():
        found[f"transform_probabilities_to_costs{name}"] = lambda p, _, options=options: p(
            "segmentation"
        ).transform_probabilities_to_costs(PROBS, **options)
    for scheme in (None, "none", "all", "xyz", "z", "unknown"):
        found[f"compute_edge_costs {scheme}"] = lambda p, _, scheme=scheme: p("segmentation").compute_edge_costs(
            PROBS, SIZES, BETWEEN, weighting_scheme=scheme
        )
    found["compute_edge_costs without sizes"] = lambda p, _: p("segmentation").compute_edge_costs(
        PROBS, weighting_scheme="all"
    )
    return found


def _truth() -> np.ndarray:
    """The cells, every third voxel of a plane moved on."""
    moved = cells()
    moved[:, 1:, ::3] = cells()[:, :-1, ::3]
    return moved


def _smaller() -> np.ndarray:
    """The cells, some of them cut to two thirds, others with a neighbour's share."""
    z, y, x = np.indices(cells().shape)
    cut = np.where((z % 4 == 3) & (x < 12), 0, cells())
    return np.where((y % 5 == 0) & (x >= 12), np.roll(cut, 1, axis=1), cut).astype(np.uint64)


def _frame(table: Any) -> list[Any]:
    return [list(table.columns), *(table[name].to_numpy() for name in table.columns)]


def _scores() -> dict[str, Call]:
    found: dict[str, Call] = {}
    a, b = _truth(), cells()

    def scored(name: str, run: dict[str, Any], seg: np.ndarray = a, **options: Any) -> Call:
        def call(p: Any, _: Any) -> Any:
            value = getattr(p("evaluation"), name)(seg, b, **options, **run)
            return _frame(value) if hasattr(value, "columns") else value

        return call

    for variant, run in {**VARIANTS, "mask": {**BLOCKED, "mask": inside()}}.items():
        for name in ("object_vi", "cremi_score", "symmetric_best_dice_score", "mean_segmentation_accuracy"):
            found[f"{name} {variant}"] = scored(name, run)
        for criterion in ("iou", "iop", "iot"):
            for threshold in (0.25, 0.5, 0.7, 0.8):
                name = f"matching {criterion} {threshold} {variant}"
                found[name] = scored("matching", run, _smaller(), criterion=criterion, threshold=threshold)
        for threshold in (0.2, 0.5, 2.0):
            name = f"centroid_matching {threshold} {variant}"
            found[name] = scored("centroid_matching", run, _smaller(), distance_threshold=threshold)
        found[f"dice_score {variant}"] = scored("dice_score", run)
    found["centroid_matching resolution"] = scored("centroid_matching", {}, distance_threshold=1, resolution=(2, 1, 3))
    found["mean_segmentation_accuracy accuracies"] = scored(
        "mean_segmentation_accuracy", {}, _smaller(), return_accuracies=True
    )
    found["dice_score of values"] = lambda p, _: p("evaluation").dice_score(
        noise() / 251, blobs(), threshold_seg=None, threshold_gt=None
    )
    found["matching unknown criterion"] = scored("matching", {}, criterion="none")
    for name in ("object_vi_scores", "cremi_scores", "matching_scores", "best_dice_scores"):
        found[name] = lambda p, _, name=name: _plain(
            getattr(p("evaluation"), name)(p("evaluation").contingency_table(a, b))
        )
    points, others = np.argwhere(noise(97) == 5), np.argwhere(noise(97) == 6)
    for threshold in (1.0, 3.0, 5.0):
        found[f"coordinate_matching {threshold}"] = lambda p, _, t=threshold: p("evaluation").coordinate_matching(
            points, others, distance_threshold=t
        )
    found["coordinate_matching resolution"] = lambda p, _: p("evaluation").coordinate_matching(
        points, others, distance_threshold=4.0, resolution=(2, 1, 0.5)
    )
    found["coordinate_matching other axes"] = lambda p, _: p("evaluation").coordinate_matching(
        points, others[:, :2], distance_threshold=4.0
    )
    return found


def _plain(value: Any) -> Any:
    return _frame(value) if hasattr(value, "columns") else value
