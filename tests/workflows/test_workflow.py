"""Whole jobs: segmentation against whole-array references, pyramids, scores, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import (
    BlockShapeError,
    ConfigError,
    DtypeError,
    FormatError,
    HaloError,
    KeyNotFoundError,
    ParameterError,
    RegionError,
    RunnerError,
    RunningError,
    ShapeError,
    SourceTypeError,
)
from bioimage_py.filters.gaussian_kernel import Gaussian
from bioimage_py.io import create_array, read_multiscales
from bioimage_py.pipelines.folder import known_calls
from bioimage_py.pipelines.script import job_pipeline
from bioimage_py.segmentation import distance_seeds, label, size_filter, watershed
from bioimage_py.sources import Axis, Source
from bioimage_py.workflows import by_threshold, demo, evaluate, segment, write_pyramid
from bioimage_py.workflows.pyramids import level_factors
from bioimage_py.workflows.segmentation_kernels import Brightness, Histogram, otsu

SHAPE = (40, 100, 110)
QUIET = {"progress": False}
NM = tuple(Axis(name, unit="nanometer", scale=scale) for name, scale in zip("zyx", (30.0, 10.0, 10.0), strict=True))


@pytest.fixture(scope="module")
def volume():
    return bp.sample.neurites(SHAPE, seed=1)


@pytest.fixture(scope="module")
def raw(volume):
    return volume.raw[...]


@pytest.fixture(scope="module")
def smooth(raw):
    return np.rint(Gaussian((0.5, 1.5, 1.5))(raw) * 256)


@pytest.fixture(scope="module")
def stored(volume, tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "raw.zarr"
    array = create_array(path, "raw", shape=SHAPE, dtype="uint8", chunks=(32, 32, 32), axes=volume.raw.axes)
    array[...] = volume.raw[...]
    return array


def ids(path):
    return bp.open_source(path)[...]


class TestComponents:
    @pytest.mark.parametrize("block_shape", [None, 32, (17, 50, 64), (40, 100, 110)])
    @pytest.mark.slow
    def test_equals_the_whole_array_exactly(self, stored, smooth, tmp_path, block_shape):
        found = segment(
            stored,
            tmp_path / "a.zarr",
            method="components",
            threshold=140,
            block_shape=block_shape,
            num_workers=2,
            **QUIET,
        )
        expected = size_filter(label(smooth > 140 * 256), min_size=100)
        np.testing.assert_array_equal(ids(found.path), expected)
        assert found.n_objects == expected.max() > 10

    def test_the_input_may_be_an_array_or_float(self, raw, stored, tmp_path):
        first = segment(stored, tmp_path / "a.zarr", method="components", sigma=0, threshold=140, **QUIET)
        second = segment(raw, tmp_path / "b.zarr", method="components", sigma=0, threshold=140, **QUIET)
        third = segment(
            raw.astype(np.float64), tmp_path / "c.zarr", method="components", sigma=0, threshold=140, **QUIET
        )
        np.testing.assert_array_equal(ids(first.path), ids(second.path))
        np.testing.assert_array_equal(ids(first.path), ids(third.path))

    def test_min_size_zero_keeps_everything(self, raw, tmp_path):
        found = segment(raw, tmp_path / "a.zarr", method="components", sigma=0, threshold=140, min_size=0, **QUIET)
        np.testing.assert_array_equal(ids(found.path), label(raw > 140))

    def test_dark_objects_are_bright_ones_of_the_inverted_image(self, raw, tmp_path):
        bright = segment(raw, tmp_path / "a.zarr", method="components", sigma=0, threshold=140, **QUIET)
        dark = segment(
            255 - raw, tmp_path / "b.zarr", method="components", sigma=0, threshold=115, objects="dark", **QUIET
        )
        np.testing.assert_array_equal(ids(bright.path), ids(dark.path))
        assert dark.threshold == 115

    def test_two_axes(self, raw, tmp_path):
        found = segment(raw[20], tmp_path / "a.zarr", method="components", sigma=1, threshold=140, min_size=20, **QUIET)
        expected = size_filter(label(np.rint(Gaussian((1.0, 1.0))(raw[20]) * 256) > 140 * 256), min_size=20)
        np.testing.assert_array_equal(ids(found.path), expected)

    def test_the_default_threshold_is_otsus(self, stored, smooth, tmp_path):
        from skimage.filters import threshold_otsu

        found = segment(stored, tmp_path / "a.zarr", method="components", **QUIET)
        assert abs(found.threshold - threshold_otsu(smooth / 256, nbins=4096)) < 0.2
        floats = segment(stored[...] / 7.0, tmp_path / "b.zarr", method="components", sigma=(0.5, 1.5, 1.5), **QUIET)
        assert abs(floats.threshold * 7 - found.threshold) < 0.5


class TestWatershed:
    @pytest.mark.slow
    def test_is_close_to_the_whole_array_and_to_the_truth(self, stored, volume, smooth, tmp_path):
        found = segment(stored, tmp_path / "a.zarr", num_workers=2, block_shape=(20, 50, 55), **QUIET)
        seeds = distance_seeds(smooth > found.threshold * 256, sampling=(3, 1, 1), min_distance=3)
        whole = watershed((65535 - smooth).astype(np.float32), seeds)
        blockwise = ids(found.path)
        np.testing.assert_array_equal(blockwise[seeds > 0], seeds[seeds > 0])
        assert np.mean(blockwise != whole) < 0.02
        truth = volume.labels[...]
        near, far = evaluate(blockwise, truth), evaluate(whole, truth)
        assert near.vi_sum < far.vi_sum + 0.05
        assert near.vi_sum < 1.0
        assert near.adapted_rand_error < 0.25

    @pytest.mark.slow
    def test_does_better_than_components(self, stored, volume, tmp_path):
        truth = volume.labels[...]
        one = segment(stored, tmp_path / "a.zarr", **QUIET)
        two = segment(stored, tmp_path / "b.zarr", method="components", **QUIET)
        assert evaluate(ids(one.path), truth).vi_sum < evaluate(ids(two.path), truth, ignore_seg=0).vi_sum

    @pytest.mark.slow
    def test_workers_and_repeats_give_the_same_bits(self, stored, tmp_path):
        first, second = (
            segment(stored, tmp_path / f"{n}.zarr", num_workers=n, block_shape=(20, 64, 64), **QUIET) for n in (1, 3)
        )
        np.testing.assert_array_equal(ids(first.path), ids(second.path))

    def test_fill_gives_every_voxel_to_an_object(self, stored, tmp_path):
        found = segment(stored, tmp_path / "a.zarr", min_size=400, **QUIET)
        labels, counts = np.unique(ids(found.path), return_counts=True)
        np.testing.assert_array_equal(labels, np.arange(1, found.n_objects + 1))
        assert counts.min() >= 400
        smaller = segment(stored, tmp_path / "b.zarr", **QUIET)
        assert smaller.n_objects > found.n_objects

    def test_without_fill_the_background_stays(self, stored, smooth, tmp_path):
        found = segment(stored, tmp_path / "a.zarr", fill=False, threshold=140, **QUIET)
        labels = ids(found.path)
        assert not labels[smooth <= 140 * 256].any()
        assert (labels[smooth > 140 * 256] > 0).mean() > 0.9
        np.testing.assert_array_equal(np.unique(labels), np.arange(found.n_objects + 1))

    def test_without_a_seed_nothing_is_found(self, stored, tmp_path):
        found = segment(stored, tmp_path / "a.zarr", seed_distance=1000, **QUIET)
        assert found.n_objects == 0
        assert not ids(found.path).any()


class TestOutput:
    def test_is_an_ome_zarr_with_a_pyramid(self, stored, tmp_path):
        found = segment(stored, tmp_path / "a.ome.zarr", name="cells", **QUIET)
        attributes = zarr.open_group(found.path, mode="r").attrs["ome"]
        assert attributes["version"] == "0.5"
        assert "image-label" in attributes
        (image,) = read_multiscales(found.path)
        assert image.name == "cells"
        assert [key for key, _ in image.levels] == ["0", "1"]
        levels = [bp.open_source(found.path, key) for key, _ in image.levels]
        assert [level.shape for level in levels] == [(40, 100, 110), (40, 50, 55)] == list(found.levels)
        assert levels[0].dtype == np.uint64
        np.testing.assert_array_equal(levels[1][...], bp.downsample(levels[0][...], (1, 2, 2), method="mode"))
        assert [(axis.scale, axis.offset) for axis in levels[1].axes] == [(30, 0), (20, 5), (20, 5)]
        assert levels[1].axes[0].unit == "nanometer"
        assert json.loads(json.dumps(found.to_dict()))["n_objects"] == found.n_objects
        assert f"{found.n_objects} objects by watershed" in found.summary()

    def test_only_the_result_is_left(self, stored, tmp_path):
        segment(stored, tmp_path / "deep" / "a.ome.zarr", **QUIET)
        assert os.listdir(tmp_path / "deep") == ["a.ome.zarr"]
        assert sorted(os.listdir(tmp_path / "deep" / "a.ome.zarr")) == ["0", "1", "zarr.json"]
        assert sorted(os.listdir(tmp_path / "deep" / "a.ome.zarr" / "0")) == ["c", "zarr.json"]

    def test_goes_into_a_container_as_one_of_its_labels(self, stored, tmp_path):
        path = tmp_path / "image.ome.zarr"
        create_array(path, "0", shape=SHAPE, dtype="uint8", axes=NM)[...] = 7
        write_pyramid(path, name="image")
        for name in ("one", "two"):
            segment(stored, path / "labels" / name, method="components", **QUIET)
        assert zarr.open_group(path / "labels", mode="r").attrs["ome"]["labels"] == ["one", "two"]
        group = zarr.open_group(path / "labels" / "two", mode="r").attrs["ome"]
        assert group["image-label"]["source"]["image"] == "../../"
        assert os.listdir(tmp_path) == ["image.ome.zarr"]
        assert (bp.open_source(path, "1")[...] == 7).all()

    def test_a_region_is_a_volume_that_knows_where_it_lies(self, stored, raw, tmp_path):
        roi = (slice(5, 37), slice(11, 90), slice(20, 110))
        found = segment(
            stored, tmp_path / "a.zarr", roi=roi, num_workers=2, method="components", threshold=140, **QUIET
        )
        expected = segment(
            raw[roi], tmp_path / "b.zarr", method="components", threshold=140, sigma=(0.5, 1.5, 1.5), **QUIET
        )
        np.testing.assert_array_equal(ids(found.path), ids(expected.path))
        assert [axis.offset for axis in bp.open_source(found.path).axes] == [150, 110, 200]

    def test_blocks_are_made_of_whole_chunks(self, stored, tmp_path):
        found = segment(stored, tmp_path / "a.zarr", block_shape=(20, 45, 37), **QUIET)
        assert bp.open_source(found.path).chunks == (20, 45, 37)

    def test_what_exists_is_not_replaced_by_accident(self, stored, raw, tmp_path):
        path = tmp_path / "a.zarr"
        found = segment(stored, path, method="components", threshold=140, **QUIET)
        before = ids(found.path)
        with pytest.raises(ParameterError, match=r"a\.zarr exists\.") as caught:
            segment(raw, path, **QUIET)
        assert "overwrite=True" in caught.value.remedy
        np.testing.assert_array_equal(ids(path), before)
        found = segment(stored, path, method="components", threshold=150, overwrite=True, **QUIET)
        assert not np.array_equal(ids(path), before)
        assert os.listdir(tmp_path) == ["a.zarr"]

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_what_is_no_label_image_is_never_replaced(self, raw, tmp_path, overwrite):
        path = tmp_path / "image.zarr"
        create_array(path, "0", shape=SHAPE, dtype="uint8", axes=NM)[...] = raw
        write_pyramid(path, name="image")
        with pytest.raises(ParameterError, match="is no label image"):
            segment(raw, path, overwrite=overwrite, **QUIET)
        np.testing.assert_array_equal(bp.open_source(path)[...], raw)
        (tmp_path / "folder").mkdir()
        with pytest.raises(ParameterError, match="is no label image"):
            segment(raw, tmp_path / "folder", overwrite=overwrite, **QUIET)


class Breaking(Source):
    """An array that cannot be read after some reads, until it is mended."""

    def __init__(self, array, reads):
        self.values = array
        self.left = reads

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)

    def _getitem(self, roi):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")
        return self.values[roi].copy()


def leave(call, stored, output):
    """Begin a call that fails after its first stage; names of the calls inside of it that were made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_threshold, "label", fails)
        with pytest.raises(RunnerError, match="on purpose"):
            segment(stored, output, **call)
    return [one.name for one in known_calls(output.with_name(f"{output.name}.scratch")) if one.done]


def fails(*arguments, **settings):
    raise RunnerError("on purpose", [], None)


class TestFailures:
    def test_a_failed_run_leaves_no_output(self, raw, tmp_path):
        with pytest.raises(RunnerError, match="the disk is gone"):
            segment(Breaking(raw, 3), tmp_path / "a.zarr", block_shape=32, **QUIET)
        assert os.listdir(tmp_path) == ["a.zarr.scratch"]
        found = segment(raw, tmp_path / "a.zarr", block_shape=32, **QUIET)
        again = segment(raw, tmp_path / "b.zarr", block_shape=32, **QUIET)
        np.testing.assert_array_equal(ids(found.path), ids(again.path))
        assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr"]

    def test_the_same_call_goes_on_after_a_kill(self, stored, tmp_path):
        code = (
            "import sys, bioimage_py as bp\n"
            "from bioimage_py.workflows import segment\n"
            "segment(bp.open_source(sys.argv[1], 'raw'), sys.argv[2], block_shape=16, progress=False)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", code, stored.path, str(tmp_path / "a.zarr")])
        seeds = tmp_path / "a.zarr.scratch" / "scratch" / "seeds.zarr"
        end = time.monotonic() + 60
        while not seeds.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert os.listdir(tmp_path) == ["a.zarr.scratch"]
        done = [call for call in known_calls(tmp_path / "a.zarr.scratch") if call.done]
        assert [call.name for call in done][:2] == ["brightness", "histogram"]
        found = segment(bp.open_source(stored.path, "raw"), tmp_path / "a.zarr", block_shape=16, **QUIET)
        assert os.listdir(tmp_path) == ["a.zarr"]
        times = {stage.name: stage.seconds for stage in found.stages}
        assert [times["smooth"], times["threshold"]] == [call.seconds for call in done[:2]]
        clean = segment(stored, tmp_path / "b.zarr", block_shape=16, **QUIET)
        np.testing.assert_array_equal(ids(found.path), ids(clean.path))

    def test_another_call_starts_anew(self, stored, tmp_path):
        """Whatever was left of the one before: here a run that this call could not go on with."""
        folder, output = tmp_path / "a.zarr.scratch", tmp_path / "a.zarr"
        one = dict(method="components", threshold=120, sigma=2.0, block_shape=32, **QUIET)
        begun = leave(one, stored, output)
        assert begun == ["brightness"]
        kept = (folder / "scratch" / "smooth.zarr" / "zarr.json").stat().st_ino
        assert leave(one, stored, output) == begun
        assert (folder / "scratch" / "smooth.zarr" / "zarr.json").stat().st_ino == kept, "the same call goes on"
        found = segment(stored, output, **{**one, "sigma": 1.0})
        np.testing.assert_array_equal(
            ids(found.path), ids(segment(stored, tmp_path / "b.zarr", **{**one, "sigma": 1.0}).path)
        )
        assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr"]

    def test_two_calls_for_one_output_are_refused(self, raw, tmp_path):
        folder = tmp_path / "a.zarr.scratch"
        with job_pipeline(folder, None, bp.Execution()) as p:
            with pytest.raises(RunningError, match="another process is working in"):
                segment(raw, tmp_path / "a.zarr", execution=bp.Execution(progress=False))
            p.discard()
        segment(raw, tmp_path / "a.zarr", **QUIET)

    def test_a_folder_of_somebody_else_is_not_touched(self, raw, tmp_path):
        (tmp_path / "a.zarr.scratch").mkdir()
        (tmp_path / "a.zarr.scratch" / "mine").write_text("x")
        with pytest.raises(ParameterError, match="holds other files"):
            segment(raw, tmp_path / "a.zarr", **QUIET)
        assert (tmp_path / "a.zarr.scratch" / "mine").read_text() == "x"

    def test_in_a_pipeline_it_is_one_call(self, stored, tmp_path):
        def script(**changes):
            with bp.pipeline(tmp_path / "script.run", progress=False) as p:
                out = tmp_path / "a.zarr"
                found = segment(stored, out, block_shape=32, **{"threshold": 120, "method": "components", **changes})
                most = bp.stats.max(bp.open_source(out, "0"), block_shape=32)
            return [(call.name, call.action) for call in p.explain()], found, most

        first = script()
        assert first[0] == [("segment", "run"), ("max", "run")]
        assert script() == ([("segment", "skipped"), ("max", "skipped")], *first[1:])
        assert not (tmp_path / "a.zarr.scratch").exists()
        with pytest.raises(ParameterError, match="overwrite=True replaces it"):
            script(threshold=130)
        actions, found, _ = script(threshold=130, overwrite=True)
        assert actions == [("segment", "run"), ("max", "run")]
        assert found.threshold == 130

    @pytest.mark.parametrize(
        ("changes", "error", "text"),
        [
            ({"method": "magic"}, ParameterError, "method is 'magic'"),
            ({"objects": "red"}, ParameterError, "objects is 'red'"),
            ({"threshold": float("nan")}, ParameterError, "threshold is nan"),
            ({"sigma": -1}, ParameterError, "sigma must be positive"),
            ({"sigma": (1, 1)}, ParameterError, "sigma has 2 values"),
            ({"seed_distance": -1}, ParameterError, "seed_distance is -1"),
            ({"min_size": -1}, ParameterError, "min_size is -1"),
            ({"min_size": 2.5}, ParameterError, "min_size is 2.5"),
            ({"halo": -1}, HaloError, "halo"),
            ({"halo": (1, 2)}, HaloError, "halo"),
            ({"method": "components", "fill": True}, ParameterError, "fill does nothing for method='components'"),
            ({"method": "multicut", "seed_distance": 2}, ParameterError, "seed_distance does nothing for method='mult"),
            ({"method": "multicut", "threshold": 140}, ParameterError, "boundaries lie between 0 and 1"),
            ({"method": "multicut", "beta": 1}, ParameterError, "beta is 1"),
            ({"beta": 0.4}, ParameterError, "beta does nothing for method='watershed'"),
            ({"block_shape": 0}, BlockShapeError, "below 1"),
            ({"block_shape": (8, 8)}, BlockShapeError, "2 entries"),
            ({"roi": (slice(0, 41),)}, RegionError, "0:41"),
            ({"roi": (slice(0, 40, 2),)}, RegionError, "step"),
            ({"job_type": "magic"}, ConfigError, "magic"),
            ({"execution": bp.Execution(debug=True)}, ConfigError, "cannot be called with debug=True"),
            ({"output_path": "a.h5"}, FormatError, "OME-Zarr folder"),
            ({"output_path": "s3://bucket/a.zarr"}, FormatError, "OME-Zarr folder"),
            ({"output_path": 3}, FormatError, "not a path"),
            ({"input": "raw.zarr"}, SourceTypeError, "open_source"),
            ({"input": np.zeros((2, 2, 2, 2))}, ShapeError, "2 or 3 axes of space"),
            ({"input": np.zeros((0, 2, 2))}, ShapeError, "empty"),
            ({"input": np.zeros((4, 4, 4), complex)}, DtypeError, "complex128"),
            ({"input": np.full((8, 8, 8), 5, np.uint8)}, ParameterError, "nearly the same value"),
            ({"input": np.full((8, 8, 8), 5.0)}, ParameterError, "nearly the same value"),
            ({"input": np.full((8, 8, 8), np.nan)}, ParameterError, "NaN or infinite"),
        ],
    )
    def test_bad_input_is_named_and_nothing_is_left(self, raw, tmp_path, changes, error, text):
        arguments = {"input": raw, "output_path": "a.zarr", **QUIET, **changes}
        if arguments["output_path"] == "a.zarr":
            arguments["output_path"] = tmp_path / "a.zarr"
        with pytest.raises(error, match=text):
            segment(**arguments)
        assert os.listdir(tmp_path) == []

    def test_a_zarr_2_container_is_refused(self, raw, tmp_path):
        zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
        with pytest.raises(FormatError, match="zarr version 2"):
            segment(raw, tmp_path / "old.zarr" / "labels" / "cells", **QUIET)


class TestPyramid:
    @given(
        st.lists(st.integers(1, 5000), min_size=2, max_size=3),
        st.lists(st.sampled_from([0.1, 0.2, 1.0, 2.5, 4.0, 10.0, 30.0]), min_size=3, max_size=3),
        st.integers(1, 100),
    )
    def test_factors_reach_the_size_and_make_voxels_cubes(self, shape, scales, smallest):
        axes = [Axis(name, scale=scale) for name, scale in zip("zyx", scales, strict=True)][: len(shape)]
        sizes, now = list(shape), [axis.scale for axis in axes]
        for factors in level_factors(shape, axes, smallest):
            assert max(sizes) > smallest
            assert 2 in factors
            long = [scale for scale, size in zip(now, sizes, strict=True) if size > 1]
            spread = max(long) / min(long)
            sizes = [-(-size // factor) for size, factor in zip(sizes, factors, strict=True)]
            now = [scale * factor for scale, factor in zip(now, factors, strict=True)]
            long = [scale for scale, size in zip(now, sizes, strict=True) if size > 1] or [1.0]
            assert max(long) / min(long) <= max(spread, 2.0) * 1.001
        assert max(sizes) <= smallest

    def test_channels_keep_their_size(self):
        axes = (Axis("c", kind="channel"), Axis("y"), Axis("x"))
        assert level_factors((300, 100, 100), axes) == [(1, 2, 2)]

    def test_every_level_is_made_from_the_one_above(self, raw, tmp_path):
        create_array(tmp_path / "a.zarr", "g/0", shape=SHAPE, dtype="uint8", axes=NM)[...] = raw
        levels = write_pyramid(tmp_path / "a.zarr", "g", name="image", smallest=20)
        assert [level.shape for level in levels] == [(40, 100, 110), (40, 50, 55), (20, 25, 28), (10, 13, 14)]
        expected = raw
        for level, factors in zip(levels[1:], [(1, 2, 2), (2, 2, 2), (2, 2, 2)], strict=True):
            expected = bp.downsample(expected, factors, method="mean")
            np.testing.assert_array_equal(level[...], expected)
        assert [axis.offset for axis in levels[3].axes] == [45.0, 35.0, 35.0]

    def test_without_a_finest_level_it_is_refused(self, tmp_path):
        zarr.open_group(tmp_path / "a.zarr", mode="w")
        with pytest.raises(KeyNotFoundError, match="no array 'g/0'"):
            write_pyramid(tmp_path / "a.zarr", "g")


class TestScores:
    def test_equal_those_of_scikit_image_where_they_agree(self, volume, stored, tmp_path):
        from skimage.metrics import contingency_table, variation_of_information

        truth = volume.labels[...]
        labels = ids(segment(stored, tmp_path / "a.zarr", **QUIET).path)
        scores = evaluate(labels, truth, block_shape=32)
        numbers = np.unique(truth, return_inverse=True)[1].reshape(SHAPE)
        merge, split = variation_of_information(labels.astype(int), numbers)
        np.testing.assert_allclose(sorted([scores.vi_split, scores.vi_merge]), sorted([split, merge]), rtol=1e-9)
        table = contingency_table(labels.astype(int), numbers, sparse_type="array").toarray()
        together = (table.astype(float) ** 2).sum()
        precision, recall = together / (table.sum(1) ** 2.0).sum(), together / (table.sum(0) ** 2.0).sum()
        assert scores.rand_precision == pytest.approx(precision)
        assert scores.rand_recall == pytest.approx(recall)
        assert scores.adapted_rand_error == pytest.approx(1 - 2 * precision * recall / (precision + recall))
        assert scores.n_objects == len(np.unique(truth))
        assert scores.voxels == labels.size

    def test_split_and_merge_are_not_mixed_up(self):
        one, two = np.ones((4, 4), int), np.ones((4, 4), int)
        two[:2] = 2
        assert (evaluate(two, one).vi_split, evaluate(two, one).vi_merge) == (1.0, 0.0)
        assert evaluate(two, one).rand_precision == 1.0
        assert (evaluate(one, two).vi_split, evaluate(one, two).vi_merge) == (0.0, 1.0)
        assert evaluate(one, two).rand_recall == 1.0
        assert evaluate(one, one).vi_sum == evaluate(one, one).adapted_rand_error == 0.0

    def test_ignored_labels_do_not_count(self):
        truth = np.array([[0, 1, 1], [0, 2, 2]])
        found = np.array([[5, 1, 1], [6, 2, 2]])
        assert evaluate(found, truth).vi_split > 0
        assert evaluate(found, truth, ignore_gt=0).vi_sum == 0
        assert evaluate(found, truth, ignore_gt=0).voxels == 4
        assert evaluate(found, truth, ignore_seg=(5, 6)).n_segments == 2

    def test_shapes_must_agree(self):
        with pytest.raises(ShapeError, match=r"segmentation has the shape \(4, 4\), the ground truth \(4, 5\)"):
            evaluate(np.zeros((4, 4), int), np.zeros((4, 5), int))


class TestKernels:
    @given(st.sampled_from(["u1", "u2", "i2", "f4", "f8"]), st.booleans(), st.floats(0, 255, width=32))
    def test_grey_values_survive_being_kept(self, dtype, dark, value):
        bright = Brightness(dtype, None, dark)
        assert bright.show(bright.keep(value)) == pytest.approx(value, abs=1e-12)
        block = np.array([[0, 100, 255]], dtype)
        kept = bright(block).astype(float)
        assert kept.dtype.kind == "f"
        assert [bright.show(v) for v in kept.ravel()] == [0, 100, 255]
        assert np.all(np.diff(kept) < 0) if dark else np.all(np.diff(kept) > 0)

    def test_histogram_counts_every_voxel(self):
        values = np.random.default_rng(0).normal(size=1000)
        histogram = Histogram(values.min(), values.max(), 16)
        counts = histogram(values)
        np.testing.assert_array_equal(counts, np.histogram(values, 16)[0])
        assert counts.sum() == 1000

    def test_otsu_separates_two_heaps(self):
        values = np.concatenate([np.full(100, 10.0), np.full(50, 90.0)])
        histogram = Histogram(0, 100)
        assert 10 <= otsu(histogram, histogram(values)) < 90

    @given(st.integers(0, 250), st.integers(1, 5), st.sampled_from(["u1", "u2", "f4"]))
    def test_an_image_of_two_values_is_separated(self, low, step, dtype):
        values = np.array([low, low, low + step], dtype)
        bright = Brightness(values.dtype.str, None)
        kept = bright(values)
        limits = (0, 65536) if bright.fixed else (float(kept.min()), float(kept.max()))
        histogram = Histogram(*limits)
        np.testing.assert_array_equal(kept > otsu(histogram, histogram(kept)), values > low)


@pytest.mark.slow
class TestDemo:
    def test_leaves_volume_tables_and_picture(self, tmp_path):
        lines = []
        execution = bp.Execution(num_workers=2, progress=False)
        done = demo(tmp_path / "demo", (32, 96, 96), seed=2, execution=execution, tell=lines.append)
        assert len(lines) == 4
        assert sorted(os.listdir(tmp_path / "demo")) == [
            "metrics.json", "metrics.md", "neurites.ome.zarr", "overview.png", "report.json", "report.txt", "run.html",
        ]  # fmt: skip
        sample = bp.sample.neurites((32, 96, 96), seed=2)
        np.testing.assert_array_equal(bp.open_source(done.volume)[...], sample.raw[...])
        truth = bp.open_source(done.volume, "labels/groundtruth")
        np.testing.assert_array_equal(truth[...], sample.labels[...])
        metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
        assert metrics == evaluate(bp.open_source(done.volume, "labels/segmentation"), truth).to_dict()
        report = json.loads((tmp_path / "demo" / "report.json").read_text())
        assert [step["name"] for step in report["steps"]] == ["sample", "segment", "evaluate", "overview"]
        assert "| vi_split |" in (tmp_path / "demo" / "metrics.md").read_text()
        names = zarr.open_group(f"{done.volume}/labels", mode="r").attrs["ome"]["labels"]
        assert sorted(names) == ["groundtruth", "segmentation"]
        assert demo(tmp_path / "demo", (32, 64, 64), execution=execution).segmentation.shape == (32, 64, 64)

    def test_other_data_is_not_removed(self, tmp_path):
        create_array(tmp_path / "neurites.ome.zarr", "mine", shape=(4,), dtype="uint8")[...] = 1
        with pytest.raises(ParameterError, match="not left by a demonstration"):
            demo(tmp_path, (16, 16, 16))
        assert bp.open_source(tmp_path / "neurites.ome.zarr", "mine")[...].all()


@pytest.mark.real_data
def test_real_nuclei_in_blocks_equal_the_whole_array(nuclei_raw, nuclei_labels, tmp_path):
    one = segment(nuclei_raw, tmp_path / "a.zarr", method="components", sigma=0.5, block_shape=16, **QUIET)
    smooth = Gaussian((0.5, 0.5, 0.5))(nuclei_raw)
    np.testing.assert_array_equal(ids(one.path), size_filter(label(smooth > one.threshold), min_size=100))
    two = segment(nuclei_raw, tmp_path / "b.zarr", sigma=0.5, seed_distance=2.5, fill=False, **QUIET)
    scores, background = evaluate(ids(two.path), nuclei_labels), evaluate(np.zeros_like(nuclei_labels), nuclei_labels)
    # Nuclei that touch are mostly merged: a global threshold is a weak method for them, but better than none.
    assert scores.vi_sum < 2.6 < background.vi_sum
    assert scores.adapted_rand_error < 0.3 < background.adapted_rand_error
