"""A table of wrong calls: each is refused by an error of the package with a remedy, before anything is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py import evaluation, filters, io, operations, segmentation, stats, transformation, wrapper  # noqa: F401 - the table does
from bioimage_py import runner as run
from bioimage_py.errors import ArgumentError, BioimageError, ParameterError, RunnerError
from bioimage_py.sources import Axis, as_source, open_source  # noqa: F401

TABLE = """
bp.copy()
bp.copy(image, image, image)
bp.copy(image, 5)
bp.copy(image, [1])
bp.copy(image, input=image)
bp.copy(image, blocks=4)
bp.copy(image, chunks=(2, 2, 2))
bp.copy(image, "o.zarr", chunks=2)
bp.copy(image, "o.zarr", chunks="abc")
bp.copy(image, "o.zarr", chunks=(0, 2, 2))
bp.copy(image, "o.zarr", chunks=(1.5, 2, 2))
bp.copy(image, "o.zarr", chunks=(2, 2))
bp.copy(image, "o.zarr", shards=("a", 2, 2))
bp.copy(image, "o.zarr", axes="zyx")
bp.copy(image, block_shape="four")
bp.copy(image, block_shape=nan)
bp.copy(image, block_shape=[None, 4, 4])
bp.copy(image, block_shape=4, mask="mask.zarr")
bp.copy(image, block_shape=4, mask=5)
bp.copy(image, block_shape=4, roi="all")
bp.copy(image, block_shape=4, roi=((0, 4), (0, 4), (0, 4)))
bp.copy(image, block_shape=4, roi=(slice("a", 4),))
bp.copy(image, block_shape=4, roi=(slice(0.5, 4),))
bp.copy(image, block_shape=4, block_ids="01")
bp.copy(image, block_shape=4, block_ids=3)
bp.copy(image, block_shape=4, block_ids=[1.5])
bp.copy(image, block_shape=4, skip_empty="yes")
bp.copy(image, execution="local")
bp.copy(image, execution=4)
bp.copy(image, num_workers="2")
bp.copy(image, num_workers=2.0)
bp.copy(image, progress="off")
bp.copy(image, plan="yes")
bp.copy(image, debug=2.5)
bp.copy(image, detach="no")
bp.copy(image, version=5)
bp.copy(image, resume=5)
bp.copy(image, resume_from=5)
bp.copy(image, block_timeout=nan)
bp.copy(image, block_timeout=True)
bp.copy(image, memory="4G")
bp.copy(image, cache=-1)
bp.copy(image, read_ahead=np.zeros(2))
bp.copy(image, durability=["node"])
bp.copy(image, casting=None)
bp.copy(image, job_config=5)
bp.downsample(image)
bp.downsample(image, None)
bp.downsample(image, "two")
bp.downsample(image, -2)
bp.downsample(image, ((2, 2), 2, 2))
bp.downsample(image, {"z": 2})
bp.downsample(image, 2, method=["mean"])
bp.downsample(image, 2, order="cubic")
bp.downsample(image, 2, anti_aliasing="yes")
bp.pyramid(image)
bp.pyramid(image, 2)
bp.pyramid(image, None)
bp.pyramid(image, "p.zarr")
bp.pyramid(image, [2, None])
bp.pyramid(image, [2, [2, 2]])
bp.pyramid(image, [2], method=None)
bp.pyramid(image, [2], [5])
bp.pyramid(image, [2, 2], "p.zarr/a.png", format="png")
filters.gaussian_smoothing(image)
filters.gaussian_smoothing(image, None)
filters.gaussian_smoothing(image, [])
filters.gaussian_smoothing(image, {"z": 1})
filters.gaussian_smoothing(image, [[1, 1], 1, 1])
filters.gaussian_smoothing(image, 1e9)
filters.gaussian_smoothing(image, 1 + 2j)
segmentation.label(image, threshold="high")
segmentation.label(image, threshold=[1])
segmentation.label(image, threshold=1 + 2j)
segmentation.label(image, threshold=nan)
segmentation.label(image, connectivity="faces")
segmentation.label(image, connectivity=1.5)
segmentation.label(image, connectivity=[1])
segmentation.label(image, connectivity=nan)
segmentation.label(image, multi_label="yes")
segmentation.watershed(image)
segmentation.watershed(image, None)
segmentation.watershed(image, labels, halo="wide", block_shape=4)
segmentation.watershed(image, labels, halo=-1, block_shape=4)
segmentation.watershed(image, labels, halo=(1, 1), block_shape=4)
segmentation.relabel(labels, None)
segmentation.relabel(labels, 5)
segmentation.relabel(labels, {})
segmentation.relabel(labels, {"a": 1})
segmentation.relabel(labels, {1: None})
segmentation.relabel(labels, {1: 2.5})
segmentation.relabel(labels, {1: nan})
segmentation.relabel_consecutive(labels, start_label="one")
segmentation.relabel_consecutive(labels, start_label=None)
segmentation.relabel_consecutive(labels, keep_zeros="no")
segmentation.size_filter(labels, min_size="ten")
segmentation.size_filter(labels, min_size=nan)
segmentation.size_filter(labels, min_size=[1])
segmentation.segmentation_filter(labels, None)
segmentation.segmentation_filter(labels, lambda: 0)
segmentation.segmentation_filter(labels, lambda block, mask: block, relabel=5)
operations.add(image)
operations.add(image, None)
operations.add(image, "one")
operations.add(image, [1, 2])
operations.apply_operation(image, 1, None)
operations.apply_operation(image, 1, 5)
operations.apply_operation(image, 1, "sum")
operations.apply_operation(image, 1, "sqrt")
operations.apply_operation(image, 1, "=>")
operations.isin(image, None)
operations.isin(image, ["a"])
operations.isin(image, [[1], [2, 3]])
stats.mean()
stats.mean(None)
stats.mean(image, mask="mask.zarr")
stats.mean(image, output="o.zarr")
stats.unique(image, return_counts="yes")
evaluation.variation_of_information(labels, None)
evaluation.variation_of_information(labels, labels, ignore_seg="none")
evaluation.variation_of_information(labels, labels, ignore_seg=nan)
evaluation.variation_of_information(labels, labels, ignore_gt=[None])
evaluation.variation_of_information(labels, labels, ignore_gt=1.5)
evaluation.variation_of_information(labels, labels, use_log2="yes")
evaluation.matching(labels, labels, threshold="half")
evaluation.matching(labels, labels, threshold=None)
evaluation.matching(labels, labels, criterion=0)
evaluation.mean_segmentation_accuracy(labels, labels, thresholds="all")
evaluation.mean_segmentation_accuracy(labels, labels, thresholds=0.5)
evaluation.mean_segmentation_accuracy(labels, labels, thresholds=[])
bp.map_blocks()
bp.map_blocks(None, image)
bp.map_blocks("function", image)
bp.map_blocks(lambda block: 0, image)
bp.map_blocks(block, [])
bp.map_blocks(block, image, "o.zarr")
bp.map_blocks(block, image, halo="wide")
bp.map_blocks(block, image, halo=nan)
bp.map_blocks(block, image, reduce=5)
bp.map_blocks(block, image, setup=5)
bp.map_blocks(block, image, name=5)
bp.map_blocks(block, image, execution="local")
bp.map_blocks(block, image, workers=2)
bp.map_blocks(block, image, plan="yes")
bp.map_blocks(block, image, has_return_val="yes")
bp.map_blocks(block, image, block_shape=(4, 4), plan=True)
run.LocalRunner(5)
run.LocalRunner(configuration=None)
run.LocalRunner().run(block, image, workers=2)
run.LocalRunner().run(None, image)
run.LocalRunner().run(block, image, num_workers="two")
run.LocalRunner().run(block, image, pre_cleanup=5)
run.LocalRunner().map(None, 5)
run.LocalRunner().map(lambda index: index)
run.LocalRunner().map(lambda index: index, "five")
run.LocalRunner().map(lambda index: index, nan)
run.LocalRunner().map(lambda index: index, item_ids=5)
run.get_runner("pbs")
run.get_runner(None)
run.get_runner("local", 5)
bp.Execution(workers=2)
bp.Execution("local", job_type="local")
bp.Execution(5)
bp.Execution(num_workers=nan)
bp.Execution(progress="off")
bp.Execution(version=5)
bp.Execution(block_timeout="long")
bp.Execution(memory=nan)
bp.execution(workers=2).__enter__()
bp.execution(5).__enter__()
run.RunnerConfig(folder="x")
run.RunnerConfig(poll_interval="often")
run.RunnerConfig(poll_interval=nan)
run.RunnerConfig(poll_interval=None)
run.RunnerConfig(tasks_per_worker=1.5)
run.RunnerConfig(tmp_root=5)
run.RunnerConfig(python_executable=["python"])
run.SlurmConfig(memory="4G")
run.SlurmConfig(time="soon")
run.SlurmConfig(time=-5)
run.SlurmConfig(time="1:2:3:4")
run.SlurmConfig(time="1-")
run.SlurmConfig(time=[1])
run.SlurmConfig(time=True)
run.SlurmConfig(driver={"time": "soon"})
run.SlurmConfig(driver={"walltime": "1:00:00"})
run.SlurmConfig(mem=[1])
run.SlurmConfig(mem=-1)
run.SlurmConfig(cpus_per_task=1.5)
run.SlurmConfig(gpus=nan)
run.SlurmConfig(partition=5)
run.SlurmConfig(account=["a"])
run.SlurmConfig(setup=5)
run.SlurmConfig(setup=[5])
run.SlurmConfig(shebang=5)
run.SlurmConfig(options=5)
run.SlurmConfig(options={5: 1})
run.SlurmConfig(requeue="yes")
run.SlurmConfig(latency_wait=None)
run.SlurmConfig(exclude=7)
run.write_slurm_config("c.toml", memory="4G")
run.write_slurm_config("c.toml", time="soon")
io.create_array("n.zarr", shape=(2, 2))
io.create_array(None, shape=(2, 2), dtype="u1")
io.create_array(5, shape=(2, 2), dtype="u1")
io.create_array("n.zarr", 5, shape=(2, 2), dtype="u1")
io.create_array("n.zarr", shape=None, dtype="u1")
io.create_array("n.zarr", shape="ab", dtype="u1")
io.create_array("n.zarr", shape=5, dtype="u1")
io.create_array("n.zarr", shape=(2.5, 2), dtype="u1")
io.create_array("n.zarr", shape=(nan, 2), dtype="u1")
io.create_array("n.zarr", shape=(2, 2), dtype="byte7")
io.create_array("n.zarr", shape=(2, 2), dtype=None)
io.create_array("n.zarr", shape=(2, 2), dtype=object)
io.create_array("n.zarr", shape=(2, 2), dtype="u1", axes=("y", "x"))
io.create_array("n.zarr", shape=(2, 2), dtype="u1", axes="yx")
io.create_array("n.zarr", shape=(2, 2), dtype="u1", axes=5)
io.create_array("n.zarr", shape=(2, 2), dtype="u1", axes=[Axis("x")])
io.create_array("n.zarr", shape=(2, 2), dtype="u1", compressor="zip")
io.create_array("n.zarr", shape=(2, 2), dtype="u1", compressor=5)
io.create_array("n.n5", shape=(2, 2), dtype="u1", compressor=["gzip"])
io.create_array("n.zarr", shape=(2, 2), dtype="u1", fill_value="none")
io.create_array("n.zarr", shape=(2, 2), dtype="u1", fill_value=-1)
io.create_array("n.zarr", shape=(2, 2), dtype="u1", fill_value=nan)
io.create_array("n.zarr", shape=(2, 2), dtype="u1", format=5)
io.create_array("n.zarr", shape=(2, 2), dtype="u1", overwrite="yes")
io.create_array("n.zarr", shape=(2, 2), dtype="u1", replace=True)
io.create_array("n.zarr", shape=(2, 2), dtype="u1", storage_options=5)
open_source(None)
open_source(5)
open_source("in.zarr", 5)
open_source("in.zarr", "raw", mode=None)
open_source("in.zarr", "raw", format=5)
open_source("in.zarr", "raw", storage_options=5)
as_source(None)
as_source(nan)
Axis(5)
Axis("x", kind=5)
Axis("x", unit=1)
Axis("x", scale="wide")
Axis("x", offset=None)
wrapper.ThresholdSource()
wrapper.ThresholdSource(image, 3, "=>")
wrapper.ThresholdSource(image, 3, None)
wrapper.ThresholdSource(image, "high")
wrapper.ThresholdSource(image, None)
wrapper.ThresholdSource(image, nan)
wrapper.ThresholdSource(image, [1])
wrapper.ThresholdSource(image, level=3)
wrapper.RoiSource(image, None)
wrapper.RoiSource(image, "all")
wrapper.ChannelSource(image, "red")
wrapper.ChannelSource(image, nan)
wrapper.DownsampleSource(image, None)
wrapper.DownsampleSource(image, 2, None)
wrapper.DownsampleSource(image, 2, "stride", "yes")
wrapper.CastSource(image, None)
wrapper.CastSource(image, "byte7")
wrapper.PadSource(image, None)
wrapper.PadSource(image, nan)
wrapper.FlipSource(image, "q")
wrapper.TransposeSource(image, 5)
wrapper.TransposeSource(image, "zzz")
wrapper.ExpandDimsSource(image, "z")
wrapper.ExpandDimsSource(image, None)
wrapper.ExpandDimsSource(image, [0.5])
wrapper.AxesSource(image, None)
wrapper.AxesSource(image, "zyx")
wrapper.AxesSource(image, ["z", "y", "x"])
wrapper.AxesSource(image, [{"title": "z"}] * 3)
wrapper.StackSource(None)
wrapper.StackSource([])
wrapper.ConcatenateSource([image, image], "z1")
wrapper.ConcatenateSource([image, image], None)
wrapper.ResizedSource(image, None)
wrapper.ResizedSource(image, (4.5, 4, 4))
wrapper.AffineSource(image, "turn")
wrapper.AffineSource(image)
wrapper.AffineSource(image, affine_matrix="turn")
wrapper.AffineSource(image, affine_matrix=1 + 2j)
wrapper.AffineSource(image, scale=(1, 1))
wrapper.AffineSource(image, scale="2")
wrapper.AffineSource(image, rotation=(1 + 2j, 0, 0))
wrapper.AffineSource(image, scale=(1, 1, 1), order="cubic")
wrapper.AffineSource(image, scale=(1, 1, 1), order=None)
wrapper.AffineSource(image, scale=(1, 1, 1), mode=None)
wrapper.AffineSource(image, scale=(1, 1, 1), mode=["nearest"])
wrapper.AffineSource(image, scale=(1, 1, 1), fill_value="black")
wrapper.AffineSource(image, scale=(1, 1, 1), fill_value=None)
wrapper.AffineSource(image, scale=(1, 1, 1), anti_aliasing=None)
wrapper.AffineSource(image, scale=(1, 1, 1), anti_aliasing=[1, 1])
wrapper.AffineSource(image, scale=(1, 1, 1), anti_aliasing=[nan, 1, 1])
wrapper.AffineSource(image, scale=(1, 1, 1), axes="zw")
wrapper.AffineSource(image, scale=(inf, 1, 1))
wrapper.WarpSource(image, None)
wrapper.WarpSource(image, [1, 2])
wrapper.WarpSource(image, np.zeros((3, 4, 4)))
wrapper.WarpSource(image, np.zeros((3, 4, 4, 4), "c8"))
wrapper.WarpSource(image, np.zeros((3, 4, 4, 4)), displacement=1)
wrapper.Rotate90Source(image, None)
wrapper.Rotate90Source(image, 1, 0)
wrapper.Rotate90Source(image, 1, (0, 1, 2))
wrapper.Rotate90Source(image, 1, "zw")
transformation.affine(image, scale=2)
transformation.affine(image, "turn")
transformation.affine(image, scale=(1, 1, 1), shape="large")
transformation.affine(image, scale=(1, 1, 1), shape=(4, 4))
transformation.affine(image, scale=(1, 1, 1), shape=-1)
transformation.resample(image)
transformation.resample(image, scale="half")
transformation.resample(image, scale=(1, None, 1))
transformation.resample(image, scale=1 + 2j)
transformation.resample(image, scale=True)
transformation.resample(image, spacing=-1)
transformation.resample(image, shape=(4, 4))
transformation.resample(image, shape=(0, 4, 4))
transformation.resample(image, scale=1e-300)
transformation.resample(image, scale=1e300)
transformation.resample(image, scale=2, order=6)
transformation.resample(image, scale=2, anti_aliasing=1)
transformation.warp(image, None)
transformation.warp(image, np.zeros((3, 5, 5, 5)), displacement=True)
transformation.rotate90(image, 1.5)
transformation.rotate90(image, plane="z")
transformation.flip(image, "w")
transformation.flip(image, 3)
transformation.flip(image, 1.5)
transformation.transpose(image, "zy")
transformation.transpose(image, 5)
transformation.crop(image)
transformation.crop(image, None)
transformation.crop(image, slice(2, 9))
transformation.pad(image, "wide")
transformation.pad(image, (1, 2))
transformation.pad(image, 1, mode="mirror")
transformation.transform_coordinate((1, 2), "turn")
transformation.transform_coordinate(None, np.eye(3))
transformation.transform_roi_with_affine((1, 2), None, np.eye(3))
transformation.transform_subvolume_affine(image, None, (slice(None),) * 3)
transformation.transform_subvolume_affine(image, np.eye(4), None)
transformation.transform_subvolume_affine(image, np.eye(4), (slice(0.5, 2),) * 3)
transformation.transform_subvolume_affine(image, np.eye(4), (slice(None),) * 3, sigma="wide")
transformation.transform_subvolume_coordinates(image, None)
transformation.compute_affine_matrix("2")
transformation.compute_affine_matrix()
wrapper.AffineSource(image, np.full((4, 4), nan))
wrapper.NormalizeSource(image, "byte7")
wrapper.NormalizeSource(image, percentile=1)
wrapper.StandardizeSource(image, "byte7")
wrapper.CachedSource(image, "1G")
wrapper.CachedSource(image, None)
wrapper.CachedSource(image, -1)
wrapper.SimpleTransformationSource(image, None)
wrapper.SimpleTransformationSource(image, np.sin, dtype="byte7")
wrapper.SimpleTransformationWithHaloSource(image, np.sin, "wide")
wrapper.MultiTransformationSource(np.add, 5)
wrapper.compute_affine_matrix(scale="double")
wrapper.compute_affine_matrix(zoom=2)
stored["x"]
stored[1.5]
stored.write(..., "text")
stored.write(..., None)
stored.write(..., nan)
stored.write(..., 300)
stored.write(..., 1, casting="safe")
"""
CALLS = [line for line in TABLE.strip().splitlines() if line]


def block(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    raise AssertionError("a block ran")


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    image = np.arange(64, dtype="u1").reshape(4, 4, 4)
    stored = io.create_array("in.zarr", "raw", shape=image.shape, dtype="u1")
    numbers = {"nan": float("nan"), "inf": float("inf")}
    return {**globals(), **numbers, "image": image, "labels": image.astype("u8"), "stored": stored}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_is_refused_with_a_remedy(call: str, names: dict[str, Any]) -> None:
    with pytest.raises(BioimageError) as caught:
        eval(call, names)
    assert not isinstance(caught.value, RunnerError)
    assert caught.value.remedy
    assert caught.value.message
    assert os.listdir() == ["in.zarr"]
    assert not names["stored"][...].any()


def test_the_nearest_name_is_the_remedy() -> None:
    for call, meant in (
        (lambda: bp.copy(np.zeros(3), blok_shape=4), "block_shape=..."),
        (lambda: bp.Execution(num_worker=2), "num_workers=..."),
        (lambda: run.SlurmConfig(tme=5), "time=..."),
        (lambda: wrapper.ThresholdSource(np.zeros(3), treshold=1), "threshold=..."),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert caught.value.remedy == meant
        assert isinstance(caught.value, TypeError)


def test_what_numpy_makes_of_numbers_and_flags_is_taken(tmp_path: Path) -> None:
    image = np.arange(64, dtype="u1").reshape(4, 4, 4)
    assert filters.gaussian_smoothing(image, np.float32(1)).shape == (4, 4, 4)
    assert filters.gaussian_smoothing(image, np.ones(3)).shape == (4, 4, 4)
    assert bp.downsample(image, np.array([2, 1, 2]), anti_aliasing=np.True_).shape == (2, 4, 2)
    assert segmentation.label(image, threshold=np.int16(5), connectivity=np.int8(3)).max() == 1
    assert segmentation.label(image, threshold=np.inf).max() == 0
    assert wrapper.ThresholdSource(image, np.uint8(3)).dtype == bool
    assert bp.copy(image, num_workers=np.int64(2), progress=np.False_).shape == (4, 4, 4)
    assert io.create_array(tmp_path / "a.zarr", shape=np.array([2, 2]), dtype=np.uint8).shape == (2, 2)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (None, None),
        (90, 5400),
        ("90", 5400),
        ("30:15", 1815),
        ("02:00:00", 7200),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("2-00:00:05", 172805),
        ("UNLIMITED", 365 * 86400),
    ],
)
def test_wall_times_that_sbatch_takes(time: Any, seconds: Any) -> None:
    from bioimage_py.backends.config import wall_seconds

    assert wall_seconds(time) == seconds
    run.SlurmConfig(time=time, driver={"time": time})


def test_signatures_stay_those_of_the_functions() -> None:
    import inspect

    assert [*inspect.signature(bp.Execution).parameters][:2] == ["job_type", "num_workers"]
    assert [*inspect.signature(wrapper.ThresholdSource).parameters] == ["source", "threshold", "operator"]
    assert [*inspect.signature(bp.map_blocks).parameters][:3] == ["function", "inputs", "outputs"]


def test_a_class_of_a_user_keeps_its_constructor() -> None:
    class Mine(wrapper.WrapperSource):
        def __init__(self, source: Any, factor: bool) -> None:
            super().__init__(source)
            self.factor = factor

        def _getitem(self, roi: Any) -> np.ndarray:
            return self.source[roi]

    assert not hasattr(Mine.__init__, "__wrapped__")
    assert Mine(np.zeros(3), 5).factor == 5  # type: ignore[arg-type]


def test_errors_of_arguments_can_be_caught_as_python_raises_them() -> None:
    with pytest.raises(TypeError):
        bp.copy()
    with pytest.raises(ValueError, match="neither True nor False") as caught:
        segmentation.label(np.zeros(3), multi_label=2)  # type: ignore[arg-type]
    assert isinstance(caught.value, ParameterError)
