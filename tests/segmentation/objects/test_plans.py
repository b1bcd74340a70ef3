"""A plan of an operation on objects says what would run, and makes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py import evaluation, segmentation
from bioimage_py.errors import ValueRangeError
from bioimage_py.runner.planning.estimate import RunPlan

LABELS = np.arange(64, dtype="u2").reshape(4, 4, 4) // 5


def same(tile: np.ndarray, tile_id: int) -> np.ndarray:
    return tile


CALLS: dict[str, Callable[..., Any]] = {
    "keep_largest": segmentation.keep_largest,
    "remove_border_objects": segmentation.remove_border_objects,
    "split_disconnected": segmentation.split_disconnected,
    "majority": segmentation.majority,
    "merge_labels": lambda a, out, **run: segmentation.merge_labels(a, [(1, 2)], out, **run),
    "relabel": lambda a, out, **run: segmentation.relabel(a, np.arange(20), out, **run),
    "stitch_segmentation": lambda a, out, **run: segmentation.stitch_segmentation(a, same, 2, 1, out, **run),
    "stitch_tiled_segmentation": lambda a, out, **run: segmentation.stitch_tiled_segmentation(a, 2, out, **run),
    "contacts": lambda a, out, **run: segmentation.contacts(a, **run),
    "intersect": lambda a, out, **run: segmentation.intersect(a, a, **run),
    "centroid_matching": lambda a, out, **run: evaluation.centroid_matching(a, a, distance_threshold=1, **run),
    "hausdorff_distance": lambda a, out, **run: evaluation.hausdorff_distance(a, a, **run),
    "matched_pairs": lambda a, out, **run: evaluation.matched_pairs(a, a, **run),
    "average_precision": lambda a, out, **run: evaluation.average_precision(a, a, **run),
}


@pytest.mark.parametrize("blocks", [None, 2])
@pytest.mark.parametrize("name", CALLS)
def test_a_plan_makes_nothing(name: str, blocks: int | None, tmp_path: Path) -> None:
    plan = CALLS[name](LABELS, str(tmp_path / "out.zarr" / "x"), block_shape=blocks, plan=True)
    assert isinstance(plan, RunPlan)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CALLS)
def test_debug_mode_leaves_outputs_and_gives_tables(name: str) -> None:
    output = np.full(LABELS.shape, 77, "u8")
    result = CALLS[name](LABELS, output, block_shape=2, debug=True, progress=False)
    assert (output == 77).all()
    if result is not output:
        again = CALLS[name](LABELS, output, block_shape=2, progress=False)
        np.testing.assert_equal(*(one if isinstance(one, dict) else np.asarray(one) for one in (result, again)))


def test_debug_mode_sees_what_tiles_hold() -> None:
    labels = np.arange(1, 401, dtype="u2").reshape(20, 20)
    with pytest.raises(ValueRangeError, match="400 objects"):
        segmentation.stitch_segmentation(labels, same, 20, 0, np.zeros((20, 20), "u1"), debug=True)
