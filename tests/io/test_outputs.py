"""An output may be a path, of every operation: it is made when the run begins, and a plan makes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py import evaluation, filters, operations, segmentation, stats
from bioimage_py.errors import ConfigError, DtypeError, FormatError, ParameterError, RegionError, ShapeError
from bioimage_py.io.ome import read_multiscales
from bioimage_py.runner.planning.estimate import RunPlan
from bioimage_py.sources import Axis

SHAPE = (12, 10, 14)
QUIET: dict[str, Any] = {"progress": False}
Call = Callable[..., Any]


def seeds(source: Any) -> np.ndarray:
    return np.where(np.asarray(source) > 240, 7, 0).astype("u8")


def keep(labels: Any, mask: Any) -> Any:
    return labels


WRITING: dict[str, Call] = {
    "copy": bp.copy,
    "downsample": lambda source, output=None, **how: bp.downsample(source, 2, output, **how),
    "gaussian": lambda source, output=None, **how: filters.gaussian_smoothing(source, 1.0, output, **how),
    "add": lambda source, output=None, **how: operations.add(source, 0, output, **how),
    "greater": lambda source, output=None, **how: operations.greater(source, 100, output, **how),
    "apply": lambda source, output=None, **how: operations.apply_operation(source, 3, "minimum", output, **how),
    "isin": lambda source, output=None, **how: operations.isin(source, [1, 2], output, **how),
    "label": lambda source, output=None, **how: segmentation.label(source, output, threshold=99, **how),
    "watershed": lambda source, output=None, **how: segmentation.watershed(
        source, seeds(source), output, halo=2, **how
    ),
    "relabel": lambda source, output=None, **how: segmentation.relabel(source, np.arange(256), output, **how),
    "consecutive": lambda source, output=None, **how: segmentation.relabel_consecutive(source, output, **how)[0],
    "size_filter": lambda source, output=None, **how: segmentation.size_filter(source, output, min_size=2, **how),
    "filter": lambda source, output=None, **how: segmentation.segmentation_filter(source, keep, output, **how),
}
every_output = pytest.mark.parametrize("call", WRITING.values(), ids=WRITING)
PLANNED: dict[str, Call] = {
    **WRITING,
    "consecutive": segmentation.relabel_consecutive,
    "pyramid": lambda source, output=None, **how: bp.pyramid(source, [2, 2], output and f"{output}/p", **how),
    "mean": lambda source, output=None, **how: stats.mean(source, **how),
    "rand": lambda source, output=None, **how: evaluation.variation_of_information(source, source, **how),
    "map_blocks": lambda source, output=None, **how: bp.map_blocks(fails, [source], **how),
}
every_plan = pytest.mark.parametrize("call", PLANNED.values(), ids=PLANNED)


def fails(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    raise AssertionError("a block ran")


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, SHAPE).astype("u1")


@pytest.fixture
def source(tmp_path: Path, array: np.ndarray) -> Any:
    return bp.copy(array, tmp_path / "in.zarr" / "raw", chunks=(4, 4, 4))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@every_output
@pytest.mark.parametrize("where", ["o.zarr", "o.zarr/a/b", "o.n5/a", "o.h5/a", "o.ome.zarr"])
def test_a_path_gets_what_an_array_would(call: Call, where: str, source: Any, tmp_path: Path) -> None:
    if where == "o.n5/a" and call in (WRITING["greater"], WRITING["isin"]):
        pytest.skip("n5 has no bool")
    expected = call(source, **QUIET)
    for path in (str(tmp_path / where), tmp_path / where):  # made, then found there
        found = call(source, path, **QUIET)
        np.testing.assert_array_equal(found[...], expected)
        assert found.writable
        assert found.path == str(tmp_path / where.split("/")[0])
    np.testing.assert_array_equal(bp.open_source(str(tmp_path / where))[...], expected)


@every_output
def test_a_numpy_input_has_a_path_too(call: Call, array: np.ndarray, tmp_path: Path) -> None:
    how = {"block_shape": 6} if call is WRITING["watershed"] else {}
    np.testing.assert_array_equal(call(array, tmp_path / "o.zarr", **how, **QUIET)[...], call(array, **how))


@every_plan
@pytest.mark.parametrize("kind", ["numpy", "stored"])
@pytest.mark.parametrize("there", [False, True])
def test_a_plan_makes_nothing(
    call: Call, kind: str, there: bool, array: np.ndarray, source: Any, tmp_path: Path
) -> None:
    data = array if kind == "numpy" else source
    paths: list[Any] = [None, tmp_path / "o.zarr" / "x", str(tmp_path / "o.h5" / "x"), tmp_path / "o.ome.zarr"]
    if there and call in WRITING.values():
        bp.copy(call(data, **QUIET), paths[1])
        paths = paths[:2]
    before = files(tmp_path)
    for path in paths:
        plan = call(data, path, plan=True)
        assert isinstance(plan, RunPlan)
        assert "MiB promised" in str(plan)
        assert plan.stages[-1].n_blocks >= 1
    with bp.execution(plan=True):
        assert isinstance(call(data, paths[1]), RunPlan)
        assert isinstance(call(data, None, debug=True), RunPlan), "a plan is nothing that runs"
    assert files(tmp_path) == before


def test_what_runs_as_a_whole_is_planned_as_one_block() -> None:
    large = np.broadcast_to(np.uint8(1), (300, 300, 300))
    for call in (segmentation.label, stats.mean, segmentation.relabel_consecutive):
        plan: Any = call(large, plan=True)
        assert plan.stages[0].n_blocks == 1
        assert plan.stages[0].block_shape == large.shape
        assert call(large, plan=True, num_workers=2).stages[0].n_blocks > 1
    assert bp.downsample(large, 3, plan=True).stages[0].block_shape == (100, 100, 100)
    whole: Any = segmentation.watershed(large, large, plan=True)
    assert whole.stages[0].n_blocks == 1
    # the result would not fit the address space
    vast = np.broadcast_to(np.uint8(1), (2**20,) * 3)
    assert segmentation.label(vast, plan=True).stages[-1].bytes_written == 2**63


def test_a_plan_counts_the_chunks_that_would_be_made(source: Any, tmp_path: Path) -> None:
    assert bp.copy(source, tmp_path / "o.zarr", plan=True).stages[0].files_written == 3 * 3 * 4
    assert bp.copy(source, tmp_path / "o.zarr", plan=True, chunks=(6, 5, 7)).stages[0].files_written == 8
    sharded = bp.copy(source, tmp_path / "o.zarr", plan=True, chunks=(2, 2, 2), shards=(12, 10, 14))
    assert sharded.stages[0].files_written == 1


@pytest.mark.parametrize("call", [bp.pyramid, bp.workflows.segment])
def test_where_there_is_no_plan_there_is_no_run_either(call: Call, source: Any, tmp_path: Path) -> None:
    before = files(tmp_path)
    arguments = (source, tmp_path / "o.zarr") if call is bp.workflows.segment else (source, [2], [tmp_path / "o.zarr"])
    with bp.execution(plan=True):
        planned = call(*arguments)
        assert isinstance(planned, RunPlan if call is bp.pyramid else bp.workflows.SegmentationPlan)
        with pytest.raises(ConfigError, match="plan=True"):
            bp.workflows.write_pyramid(bp.copy(source, tmp_path / "p.zarr" / "0", execution=bp.Execution()).path)
    assert [name for name in files(tmp_path) if not name.startswith("p.zarr")] == before


# --- nothing is written where a call is wrong ----------------------------------------------------------------------


@every_output
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"roi": (slice(0, 100),), "block_shape": 4}, RegionError),
        ({"block_shape": (1, 2)}, ValueError),
        ({"mask": np.ones((3, 3, 3), "u1")}, ShapeError),
        ({"block_timeout": 5.0, "block_shape": 4}, ConfigError),
        ({"memory": 10, "block_shape": 4}, ValueError),
        ({"chunks": (4, 4)}, ParameterError),
        ({"chunks": (4, 4, 4), "shards": (5, 4, 4)}, ParameterError),
    ],
    ids=["roi", "block_shape", "mask", "timeout", "memory", "chunks", "shards"],
)
def test_a_refused_call_leaves_no_output(call: Call, how: Any, error: Any, source: Any, tmp_path: Path) -> None:
    before = files(tmp_path)
    with pytest.raises(error) as caught:
        call(source, tmp_path / "o.zarr", **how, **QUIET)
    assert caught.value.remedy
    assert files(tmp_path) == before


@every_output
@pytest.mark.parametrize("name", ["o.png", "o.nii.gz", "o.tif", "o.v2", "sub.zarr.bak/o.jpeg"])
def test_endings_that_no_writer_has(call: Call, name: str, source: Any, tmp_path: Path) -> None:
    before = files(tmp_path)
    with pytest.raises(FormatError, match=r"no writer makes|cannot be created") as caught:
        call(source, tmp_path / name, **QUIET)
    assert ".zarr, " in caught.value.remedy
    assert ".h5, " in caught.value.remedy
    assert files(tmp_path) == before


def test_other_calls_that_create_refuse_them_too(source: Any, tmp_path: Path) -> None:
    for call in (
        lambda path: bp.io.create_array(path, shape=(4, 4), dtype="u1"),
        lambda path: bp.open_source(path, mode="w", shape=(4, 4), dtype="u1"),
        lambda path: bp.pyramid(source, [2], path),
        lambda path: bp.pyramid(source, [2], [path]),
    ):
        for name in ("o.png", "o.npy"):
            with pytest.raises(FormatError) as caught:
                call(str(tmp_path / name))
            assert caught.value.remedy
            assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["plain", "run.2", "2026.11.28", "sample.zarr/odd.png"])
def test_names_that_are_no_ending(name: str, source: Any, tmp_path: Path) -> None:
    assert bp.copy(source, tmp_path / name, **QUIET).format == "zarr"
    assert bp.io.create_array(tmp_path / "o.v2", format="zarr", shape=(4, 4), dtype="u1").format == "zarr"


@pytest.mark.parametrize("where", ["a.ome.zarr/0", "a.zarr", "a.n5/raw", "a.h5/raw", "memory://"])
def test_nothing_is_put_inside_of_an_array(where: str, source: Any, tmp_path: Path) -> None:
    place = f"memory://{tmp_path.name}.zarr/raw" if where == "memory://" else str(tmp_path / where)
    bp.copy(source, place.removesuffix("/0"), **QUIET)
    before = files(tmp_path)
    for path in (f"{place}/x", f"{place}/x/y"):
        for call in (
            lambda path: bp.copy(source, path, **QUIET),
            lambda path: bp.workflows.convert(source, path, overwrite=True, dry_run=True),
            lambda path: bp.workflows.convert(source, path, overwrite=True),
            lambda path: bp.imwrite(path, source),
            lambda path: bp.open_source(path, mode="a", shape=(4, 4), dtype="u1"),
            lambda path: bp.pyramid(source, [2], path),
        ):
            with pytest.raises(ParameterError, match="is an array, and holds no others") as caught:
                call(path)
            assert place.rpartition("/")[0] in caught.value.remedy or "another name" in caught.value.remedy
    assert files(tmp_path) == before


# --- chunks and shards ---------------------------------------------------------------------------------------------


@every_output
def test_chunks_and_shards_are_as_asked(call: Call, source: Any, tmp_path: Path) -> None:
    shape = call(source, **QUIET).shape
    made = call(source, tmp_path / "o.zarr", chunks=(2, 3, 2), shards=(4, 6, 4), **QUIET)
    assert (made.shape, made.chunks, made.shards) == (shape, (2, 3, 2), (4, 6, 4))
    assert call(source, tmp_path / "p.n5" / "a", chunks=(5, 5, 5), **QUIET).chunks == (5, 5, 5) if call not in (
        WRITING["greater"], WRITING["isin"]
    ) else True  # fmt: skip
    with pytest.raises(ParameterError, match=r"has been made with chunks=\(2, 3, 2\), but chunks=\(4, 4, 4\)"):
        call(source, tmp_path / "o.zarr", chunks=(4, 4, 4), **QUIET)
    with pytest.raises(ParameterError, match="the output is no path"):
        call(source, None, chunks=(4, 4, 4), **QUIET)
    with pytest.raises(ParameterError, match="has no shards"):
        call(source, tmp_path / "p.n5" / "b", shards=(8, 8, 8), **QUIET)


def test_reductions_take_no_chunks(source: Any) -> None:
    with pytest.raises(TypeError, match="unknown keyword"):
        stats.mean(source, chunks=(4, 4, 4))


def test_chunks_and_shards_of_the_input_are_taken_over_where_they_suit(tmp_path: Path) -> None:
    zeros = np.zeros((16, 16, 16), "u1")
    sharded = bp.copy(zeros, tmp_path / "a.zarr", chunks=(4, 4, 4), shards=(8, 8, 8))
    for path, shards in (("b.zarr", (8, 8, 8)), ("b.n5/a", None), ("b.h5/a", None)):
        made = bp.copy(sharded, tmp_path / path, **QUIET)
        assert (made.chunks, made.shards) == ((4, 4, 4), shards), "not every format has shards"
    zarr.open_group(str(tmp_path / "two.zarr"), mode="w", zarr_format=2)
    assert bp.copy(sharded, tmp_path / "two.zarr" / "a", **QUIET).shards is None


@pytest.mark.parametrize(
    ("letters", "shape", "chunks", "expected"),
    [
        ("zyx", (40, 90, 200), (1, 90, 200), (40, 64, 64)),
        ("zyx", (40, 90, 200), (40, 90, 1), (40, 64, 64)),
        ("zyx", (1, 90, 200), (1, 90, 200), (1, 90, 200)),
        ("zyx", (400, 400, 400), (2, 400, 400), (2, 400, 400)),
        ("zyx", (200, 200, 200), (200, 200, 200), (64, 64, 64)),
        ("yx", (3000, 3000), (3000, 3000), (512, 512)),
        ("yx", (3000, 3000), (1, 3000), (512, 512)),
        ("cyx", (3, 600, 600), (1, 600, 600), (1, 600, 600)),
        ("cyx", (3, 3000, 600), (3, 1, 600), (1, 512, 512)),
        ("tczyx", (3, 2, 80, 90, 70), (1, 1, 1, 90, 70), (1, 1, 64, 64, 64)),
        ("zyxc", (80, 90, 70, 3), (1, 90, 70, 3), (64, 64, 64, 1)),
    ],
)
def test_slices_and_huge_chunks_are_not_taken_over(
    letters: str, shape: Any, chunks: Any, expected: Any, tmp_path: Path
) -> None:
    kinds = {"t": "time", "c": "channel"}
    axes = [Axis(letter, kinds.get(letter, "space")) for letter in letters]
    source = bp.io.create_array(tmp_path / "in.zarr", shape=shape, dtype="u1", chunks=chunks, axes=axes)
    plan = bp.copy(source, tmp_path / "o.zarr", plan=True)
    assert plan.stages[0].files_written == np.prod([-(-n // c) for n, c in zip(shape, expected, strict=True)])
    region = tuple(slice(0, 1) for _ in shape)
    made = bp.copy(source, tmp_path / "o.zarr", roi=region, block_shape=expected, **QUIET)
    assert made.chunks == expected
    assert [axis.name for axis in made.axes] == list(letters)


def test_a_result_with_channels_has_the_axes_and_chunks_of_its_input(tmp_path: Path) -> None:
    space = [Axis("z", unit="micrometer", scale=2.0), Axis("y", unit="micrometer"), Axis("x", unit="micrometer")]
    for lead, expected in (((), "czyx"), ((Axis("c", "channel"),), "channel czyx")):
        shape, chunks = (2, 12, 14, 16)[-3 - len(lead) :], (1, 4, 4, 8)[-3 - len(lead) :]
        place = tmp_path / expected
        source = bp.io.create_array(place / "in.zarr", shape=shape, dtype="u1", chunks=chunks, axes=(*lead, *space))
        made = bp.filters.hessian_of_gaussian_eigenvalues(source, 1.0, place / "o.zarr", **QUIET)
        assert (made.shape, made.chunks) == ((3, *shape), (1, *chunks))
        assert made.axes[1:] == source.axes
        assert made.axes[0] == Axis("c" if not lead else "channel", "channel")
        assert bp.filters.median(made, 3, **QUIET).shape == (3, *shape)


def test_a_stack_of_slices_becomes_a_volume_of_blocks(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    volume = np.random.default_rng(0).integers(0, 9, (70, 20, 30)).astype("u1")
    tifffile.imwrite(tmp_path / "stack.tif", volume)
    made = bp.copy(bp.open_source(str(tmp_path / "stack.tif")), tmp_path / "o.zarr", **QUIET)
    assert made.chunks == (64, 20, 30)
    np.testing.assert_array_equal(made[...], volume)


# --- OME-Zarr ------------------------------------------------------------------------------------------------------


def test_an_ome_zarr_path_is_made_an_image(tmp_path: Path) -> None:
    axes = [Axis("c", "channel"), Axis("z", unit="micrometer", scale=2.0, offset=1.0), Axis("y", scale=0.5), Axis("x")]
    source = bp.io.create_array(tmp_path / "a.zarr", "raw", shape=(2, 4, 6, 8), dtype="u2", axes=axes)
    source[...] = 5
    path = tmp_path / "b.ome.zarr"
    made = bp.copy(source, path, **QUIET)
    assert made.axes == tuple(axes)
    assert (made.path, made.internal_path) == (str(path), "0")
    (image,) = read_multiscales(path)
    assert image.levels == (("0", tuple(axes)),)
    group = zarr.open_group(str(path), mode="r")
    (described,) = group.attrs["ome"]["multiscales"]  # type: ignore[index,call-overload]
    assert [axis["type"] for axis in described["axes"]] == ["channel", "space", "space", "space"]
    assert described["datasets"][0]["coordinateTransformations"][0] == {"type": "scale", "scale": [1, 2, 0.5, 1]}
    opened = bp.open_source(str(path))
    assert opened.axes == tuple(axes)
    assert (opened[...] == 5).all()
    # the levels above it are made, and described, in place
    bp.pyramid(opened, [2], str(path), **QUIET)
    assert [key for key, _ in read_multiscales(path)[0].levels] == ["0", "1"]
    assert bp.open_source(str(path), level=1).shape == (2, 2, 3, 4)
    # once more into the same place: its finest level
    assert bp.copy(source, path, **QUIET).internal_path == "0"
    assert len(read_multiscales(path)[0].levels) == 2


def test_an_image_of_other_level_names_is_written_to_its_finest(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    level = bp.io.create_array(path, "s0", shape=(4, 4), dtype="u1")
    bp.io.ome.write_multiscales(path, levels=[("s0", level.axes)])
    assert bp.copy(np.ones((4, 4), "u1"), path).internal_path == "s0"
    assert bp.io.create_array(tmp_path / "b.ome.zarr", "", shape=(4, 4), dtype="u1").internal_path == ""
    assert bp.copy(np.ones((4, 4), "u1"), tmp_path / "b.ome.zarr").internal_path == "", "an array of that name"


@pytest.mark.parametrize("shape", [(8,), (2, 2, 2, 2, 2, 2)])
def test_axes_that_ome_zarr_cannot_describe(shape: Any, tmp_path: Path) -> None:
    for call in (
        lambda: bp.copy(np.zeros(shape), tmp_path / "a.ome.zarr"),
        lambda: bp.io.create_array(tmp_path / "a.ome.zarr", shape=shape, dtype="u1"),
        lambda: bp.pyramid(np.zeros(shape), [2], tmp_path / "a.zarr"),
    ):
        with pytest.raises(ParameterError, match="cannot describe the axes"):
            call()
    assert files(tmp_path) == []


def test_a_described_image_survives_a_death_between_array_and_description(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    bp.io.create_array(path, "0", shape=(4, 4), dtype="u1").close()
    assert read_multiscales(path) == []
    bp.copy(np.ones((4, 4), "u1"), path)
    assert len(read_multiscales(path)) == 1


# --- pyramids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["p.zarr", "p.zarr/group", "p.ome.zarr", "p.n5", "p.h5/group", "plain"])
def test_a_pyramid_at_one_path(where: str, source: Any, tmp_path: Path) -> None:
    expected = bp.pyramid(source, [2, (1, 2, 2)], **QUIET)
    for path in (str(tmp_path / where), tmp_path / where):
        levels = bp.pyramid(source, [2, (1, 2, 2)], path, **QUIET)
        for level, values in zip(levels, expected, strict=True):
            np.testing.assert_array_equal(level[...], values)
    if where.endswith(("n5", "h5/group")):
        return
    container, _, key = where.partition("/")
    (image,) = read_multiscales(tmp_path / container, key)
    assert [name for name, _ in image.levels] == ["1", "2"]
    assert image.levels[1][1] == levels[1].axes


def test_a_pyramid_does_not_take_the_place_of_another_image(source: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    bp.copy(source, path, **QUIET)
    with pytest.raises(ParameterError, match=r"holds an image with the levels \['0'\]") as caught:
        bp.pyramid(source, [2], path)
    assert caught.value.remedy
    assert [name for name, _ in read_multiscales(path)[0].levels] == ["0"]


@pytest.mark.parametrize(
    ("factors", "outputs", "text"),
    [
        (2, None, "scale_factors=2 is no list"),
        ("p.zarr", None, "scale_factors='p.zarr' is no list"),
        (None, None, "scale_factors=None is no list"),
        ([2, "a"], None, "whole numbers"),
        ([2, 0], ["o.zarr/1", "o.zarr/2"], "below 1"),
        ([2, (2, 2)], "o.zarr", "2 entries"),
        ([2, 2], ["o.zarr/1"], "2 scale factors and 1 outputs"),
        ([2, 2], np.zeros((6, 5, 7)), "(?s)outputs=.* is no list"),
        ([2, 2], 5, "outputs=5 is no list"),
    ],
    ids=range(9),
)
def test_pyramids_that_make_no_sense(
    factors: Any, outputs: Any, text: str, source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.listdir()
    with pytest.raises(ParameterError, match=text) as caught:
        bp.pyramid(source, factors, outputs)
    assert caught.value.remedy
    assert os.listdir() == before


# --- an array that is there ----------------------------------------------------------------------------------------


@every_output
def test_an_array_of_another_shape_or_type_is_refused(call: Call, source: Any, tmp_path: Path) -> None:
    bp.io.create_array(tmp_path / "o.zarr", "a", shape=(3, 3, 3), dtype="u1")
    bp.io.create_array(tmp_path / "o.zarr", "b", shape=call(source, **QUIET).shape, dtype="f2")
    for plan in (False, True):
        for key, error in (("a", ShapeError), ("b", DtypeError)):
            with pytest.raises(error) as caught:
                call(source, tmp_path / "o.zarr" / key, plan=plan, **QUIET)
            assert caught.value.remedy


def test_worker_processes_open_what_was_made(source: Any, tmp_path: Path) -> None:
    for path in ("o.zarr/a", "o.h5/a"):
        made = operations.add(source, 1, tmp_path / path, job_type="subprocess", num_workers=2, **QUIET)
        np.testing.assert_array_equal(made[...], operations.add(source, 1, **QUIET))


def test_an_array_is_made_where_a_killed_process_was_making_it(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "zarr.json.__lock").touch()  # as the storage engine leaves it
    array = bp.io.create_array(folder, shape=(4, 4), dtype="u1", chunks=(2, 2))
    array[...] = 7
    assert bp.open_source(folder)[...].tolist() == [[7] * 4] * 4
