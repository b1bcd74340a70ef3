"""A worker imports what runs blocks, and nothing of what plans runs, drives them or looks at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py import evaluation, filters, inference, morphology, operations, segmentation, stats, transformation
from bioimage_py.runner import map_blocks

from ...layout.package_graph import imports

DRIVER = (
    "backends",
    "cli",
    "engine.job",
    "engine.mapping",
    "engine.operation",
    "engine.outputs",
    "engine.reducing",
    "engine.stages",
    "engine.views",
    "io.create",
    "io.output",
    "projects",
    "runner.calls",
    "runner.control",
    "runner.driver",
    "runner.execute",
    "runner.identity",
    "runner.lease",
    "runner.ledger.driver_side",
    "runner.ledger.in_memory",
    "runner.planning.build",
    "runner.planning.checks",
    "runner.planning.defaults",
    "runner.planning.estimate",
    "runner.planning.instead",
    "runner.planning.pickling",
    "workflows",
)
"""What a worker does without, with all that is in it."""
BLOCK = (8, 8, 8)


@pytest.fixture
def arrays(tmp_path: Path) -> list[zarr.Array]:
    """Numbers, labels and an output, in two blocks."""
    rng = np.random.default_rng(1)
    found = [
        zarr.create_array(tmp_path / f"{dtype}.zarr", shape=(16, 8, 8), chunks=BLOCK, dtype=dtype)
        for dtype in ("float32", "uint32", "uint64")
    ]
    found[0][...] = rng.random((16, 8, 8), dtype=np.float32)
    found[1][...] = rng.integers(0, 4, (16, 8, 8), dtype=np.uint32)
    return found


def of_the_driver(modules: list[str]) -> list[str]:
    return [name for name in modules if any(f"{name}.".startswith(f"bioimage_py.{part}.") for part in DRIVER)]


def test_what_a_worker_does_without_is_there() -> None:
    assert [part for part in DRIVER if f"bioimage_py.{part}" not in imports()] == []


def test_a_worker_of_operations_imports_nothing_of_the_driver(arrays: list[zarr.Array], tmp_path: Path) -> None:
    numbers, labels, output = arrays
    half = zarr.create_array(tmp_path / "half.zarr", shape=(8, 4, 4), chunks=(4, 4, 4), dtype="float32")
    # by content, and by builtins alone: nothing is imported for it
    look = eval("lambda block, inputs, outputs, mask: sorted(__import__('sys').modules)")
    with bp.execution("subprocess", progress=False):

        def of_worker() -> list[str]:
            values = map_blocks(look, [numbers], block_shape=(16, 8, 8), has_return_val=True).results
            assert "bioimage_py.runner.worker.block_runner" in values[0]
            return of_the_driver(values[0])

        filters.gaussian_smoothing(numbers, 1.0, output, block_shape=BLOCK, casting="unsafe")
        assert of_worker() == []
        bp.copy(labels, output, block_shape=BLOCK)
        inference.predict(numbers, np.negative, output, tile=4, normalize="standard", dtype="uint64", block_shape=BLOCK)
        bp.downsample(numbers, 2, half, block_shape=(4, 4, 4), method="mean")
        bp.pyramid(numbers, [2], [half], block_shape=(4, 4, 4))
        operations.add(numbers, 1.0, numbers, block_shape=BLOCK)
        transformation.affine(numbers, None, output, rotation=(5, 0, 0), order=1, block_shape=BLOCK, casting="unsafe")
        transformation.resample(numbers, half, scale=0.5, order=1, block_shape=(4, 4, 4))
        stats.summary(numbers, block_shape=BLOCK)
        evaluation.dice_score(labels, labels, block_shape=BLOCK)
        segmentation.label(labels, output, multi_label=True, block_shape=BLOCK)
        segmentation.relabel_consecutive(labels, output, block_shape=BLOCK)
        segmentation.size_filter(labels, output, min_size=1, block_shape=BLOCK)
        segmentation.watershed(numbers, labels, output, halo=2, block_shape=BLOCK)
        segmentation.keep_largest(labels, output, block_shape=BLOCK)
        segmentation.remove_border_objects(labels, output, block_shape=BLOCK)
        segmentation.split_disconnected(labels, output, block_shape=BLOCK)
        segmentation.majority(labels, output, block_shape=BLOCK)
        segmentation.merge_labels(labels, [(1, 2)], output, block_shape=BLOCK)
        segmentation.contacts(labels, block_shape=BLOCK)
        segmentation.stitch_tiled_segmentation(labels, 8, output, block_shape=BLOCK)
        same = eval("lambda tile, tile_id: tile")
        segmentation.stitch_segmentation(labels, same, 8, 2, output, block_shape=BLOCK)
        evaluation.hausdorff_distance(labels, labels, block_shape=BLOCK)
        evaluation.centroid_matching(labels, labels, distance_threshold=1, block_shape=BLOCK)
        assert of_worker() == []
        morphology.regionprops(labels, compute_surface=True, block_shape=BLOCK)
        morphology.distance_transform(labels, distances=output, block_shape=BLOCK)
        morphology.find_local_maxima(numbers, block_shape=BLOCK)
        morphology.map_points_to_objects(labels, [[9, 3, 3]], BLOCK)
        morphology.binary_closing(labels, output, block_shape=BLOCK)
        morphology.fill_holes(labels, output, block_shape=BLOCK)
        morphology.expand_labels(labels, 2, output, block_shape=BLOCK)
        assert of_worker() == []
