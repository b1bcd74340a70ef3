"""Bad input gets a clear error, with what to type next, before the first block runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py import filters, segmentation, stats
from bioimage_py.errors import (
    ArgumentError,
    BioimageError,
    BlockShapeError,
    ConfigError,
    DtypeError,
    FormatError,
    HaloError,
    KeyNotFoundError,
    ParameterError,
    ReadOnlyError,
    RegionError,
    RunnerError,
    ShapeError,
    SourceNotFoundError,
    SourceTypeError,
    ValueRangeError,
)

Call = Callable[..., Any]
SHAPE = (16, 16)


def ran(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    raise AssertionError("a block ran")


def run(input: Any, output: Any = None, **keywords: Any) -> Any:
    return bp.map_blocks(ran, [input], () if output is None else [output], **keywords)


def smooth(input: Any, output: Any = None, **keywords: Any) -> Any:
    return filters.gaussian_smoothing(input, 1.0, output, **keywords)


CALLS = [bp.copy, smooth, segmentation.label, run]
every_call = pytest.mark.parametrize("call", CALLS, ids=["copy", "gaussian", "label", "map_blocks"])


@pytest.fixture(autouse=True)
def nothing_else_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No call may leave a file behind, a run folder neither."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    assert list((tmp_path / "here").iterdir()) == []
    assert not (tmp_path / ".bioimage_py").exists()


@pytest.fixture
def data() -> np.ndarray:
    return np.arange(256, dtype="u1").reshape(SHAPE)


def output() -> np.ndarray:
    return np.zeros(SHAPE, "u8")


def check(error: type[BaseException], text: str, call: Call, *args: Any, **keywords: Any) -> BaseException:
    """The call must raise this very class, not the error of a run, with this text and a remedy."""
    with pytest.raises(error, match=text) as raised:
        call(*args, **keywords)
    assert isinstance(raised.value, BioimageError)
    assert not isinstance(raised.value, RunnerError)
    assert raised.value.remedy, "the error says what to type next"
    assert raised.value.remedy in str(raised.value)
    return raised.value


# --- what is not an array ------------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("path", ["volume.zarr", b"volume.zarr"], ids=["str", "bytes"])
def test_a_string_is_not_an_array(call: Call, path: Any) -> None:
    error = check(SourceTypeError, "A path is not an array: .*volume.zarr", call, path)
    assert isinstance(error, TypeError)
    assert "open_source(" in str(error)


@every_call
def test_neither_is_a_list_or_nothing(call: Call) -> None:
    assert "np.asarray" in str(check(SourceTypeError, "A list cannot be used as a source", call, [[1, 2], [3, 4]]))
    check(SourceTypeError, "A NoneType cannot be used as a source", call, None)


@every_call
def test_a_missing_file_is_named(call: Call, tmp_path: Path) -> None:
    error = check(SourceNotFoundError, "nope.zarr does not exist", call, tmp_path / "nope.zarr")
    assert isinstance(error, FileNotFoundError)


def test_open_source_names_missing_files_keys_and_formats(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_array("raw", shape=(4,), chunks=(2,), dtype="u1")
    path = str(tmp_path / "g.zarr")
    check(SourceNotFoundError, "no.zarr does not exist", bp.open_source, str(tmp_path / "no.zarr"))
    error = check(KeyNotFoundError, r"has no array 'rav'\. It has: raw", bp.open_source, path, "rav")
    assert isinstance(error, KeyError)
    assert f"open_source('{path}', 'raw')" in str(error)
    assert bp.open_source(path).internal_path == "raw"  # the only one
    group.create_array("other", shape=(4,), chunks=(2,), dtype="u1")
    check(ParameterError, r"is a container, and no key is given\. It has: other, raw", bp.open_source, path)
    (tmp_path / "a.foo").touch()
    check(FormatError, "foo", bp.open_source, str(tmp_path / "a.foo"))


# --- shapes --------------------------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("keywords", [{}, {"block_shape": 8}], ids=["direct", "blocks"])
@pytest.mark.parametrize("shape", [(16, 15), (16,), (3, 16, 15), (1, 16)], ids=str)
def test_an_output_of_another_shape(call: Call, data: np.ndarray, shape: tuple[int, ...], keywords: Any) -> None:
    error = check(ShapeError, r"output.* has the shape \(.*\(16, 16\)", call, data, np.zeros(shape, "u8"), **keywords)
    assert str(shape) in str(error)


@every_call
def test_a_mask_of_another_shape(call: Call, data: np.ndarray) -> None:
    check(ShapeError, r"mask 0 has the shape \(16,\), the first input \(16, 16\)", call, data, mask=np.ones(16))


def test_inputs_of_different_shapes(data: np.ndarray) -> None:
    check(
        ShapeError,
        r"input 1 has the shape \(16, 15\), the first input \(16, 16\)",
        bp.map_blocks,
        ran,
        [data, data[:, 1:]],
    )
    with pytest.raises(ValueError, match=r"\(16, 15\)"):
        bp.evaluation.contingency_table(data, data[:, 1:])


# --- blocks, halos, regions ----------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize(
    ("block_shape", "text"),
    [
        (0, r"block_shape \(0, 0\) has an entry below 1"),
        ((8, -8), r"block_shape \(8, -8\) has an entry below 1"),
        ((8,), "has 1 entries, the volume has 2 axes"),
        ((8, 8, 8), "has 3 entries, the volume has 2 axes"),
        (2.5, r"block_shape 2\.5 is not made of whole numbers"),
        ("8", "not made of whole numbers"),
    ],
)
def test_bad_block_shapes(call: Call, data: np.ndarray, block_shape: Any, text: str) -> None:
    check(BlockShapeError, text, call, data, block_shape=block_shape)


@every_call
def test_a_block_shape_that_chains_write_units(call: Call, tmp_path: Path) -> None:
    data = np.zeros((512, 512), "u1")
    out = zarr.create_array(str(tmp_path / "o.zarr"), shape=data.shape, chunks=(64, 64), dtype="u8")
    error = check(BlockShapeError, r"makes \d+ blocks share write units", call, data, out, block_shape=(5, 7))
    assert error.remedy == "block_shape=(64, 64)"  # type: ignore[attr-defined]
    assert list((tmp_path / "o.zarr").iterdir()) == [tmp_path / "o.zarr" / "zarr.json"], "no chunk was written"


@pytest.mark.parametrize(
    ("halo", "text"),
    [(-1, r"halo \(-1, -1\) is negative"), ((1, 2, 3), "has 3 entries"), (2.7, r"halo 2\.7 is not a whole number")],
)
def test_bad_halos(data: np.ndarray, halo: Any, text: str) -> None:
    check(HaloError, text, run, data, halo=halo)
    check(HaloError, text, segmentation.watershed, data, data.astype("u4"), block_shape=8, halo=halo)


def test_watershed_of_some_blocks_asks_for_its_halo(data: np.ndarray) -> None:
    check(HaloError, "needs a halo", segmentation.watershed, data, data.astype("u4"), block_shape=8, block_ids=[0])


@every_call
@pytest.mark.parametrize(
    ("roi", "text"),
    [
        ((slice(0, 17),), "roi 0:17 of axis 0 is not inside the volume 0:16"),
        ((slice(None), slice(-4, None)), "roi -4:16 of axis 1 is not inside the volume 0:16"),
        ((slice(9, 3),), "roi 9:3 of axis 0"),
        ((slice(0, 16, 2),), "roi of axis 0 has the step 2"),
        ((slice(None, None, -1),), "roi of axis 0 has the step -1"),
        ((3,), "roi entry 3 of axis 0 is not a slice"),
        ((slice(None),) * 3, "names 3 axes, the volume has 2"),
    ],
    ids=str,
)
def test_bad_regions(call: Call, data: np.ndarray, roi: Any, text: str) -> None:
    check(RegionError, text, call, data, roi=roi)


@pytest.mark.parametrize("call", [bp.copy, smooth, run], ids=["copy", "gaussian", "map_blocks"])
@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([4], r"block_ids \[4\] are not in 0\.\.3"),
        ([-1], r"block_ids \[-1\]"),
        ([0, 0], "more than once"),
        ([0.5], "whole"),
    ],
)
def test_bad_block_ids(call: Call, data: np.ndarray, ids: Any, text: str) -> None:
    check(RegionError, text, call, data, block_shape=8, block_ids=ids)


# --- outputs that cannot be written --------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("keywords", [{}, {"block_shape": 8}], ids=["direct", "blocks"])
def test_read_only_outputs(call: Call, data: np.ndarray, tmp_path: Path, keywords: Any) -> None:
    frozen = output()
    frozen.flags.writeable = False
    zarr.create_array(str(tmp_path / "o.zarr"), shape=SHAPE, chunks=(8, 8), dtype="u8")
    for target in (
        frozen,
        bp.open_source(str(tmp_path / "o.zarr"), mode="r"),
        zarr.open_array(str(tmp_path / "o.zarr"), mode="r"),
    ):
        error = check(ReadOnlyError, r"output.* is read-only", call, data, target, **keywords)
        assert isinstance(error, ValueError)
        assert 'mode="r+"' in str(error)


# --- data types and values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda labels: segmentation.label(labels, multi_label=True),
        lambda labels: segmentation.relabel(labels, {0: 0}),
        lambda labels: segmentation.relabel_consecutive(labels),
        lambda labels: segmentation.size_filter(labels, min_size=2),
        lambda labels: segmentation.watershed(labels, labels),
        lambda labels: bp.evaluation.contingency_table(labels, labels),
        lambda labels: bp.downsample(labels, 2, method="mode"),
    ],
    ids=["label", "relabel", "relabel_consecutive", "size_filter", "watershed", "contingency_table", "downsample"],
)
def test_float_labels(call: Call) -> None:
    error = check(DtypeError, "float32", call, np.zeros(SHAPE, "f4"))
    assert isinstance(error, TypeError)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("keywords", [{}, {"block_shape": 8}], ids=["direct", "blocks"])
def test_outputs_of_a_type_that_cannot_hold_the_result(data: np.ndarray, keywords: Any) -> None:
    label = segmentation.label
    check(DtypeError, "needs an output of an integer type, got float32", label, data, np.zeros(SHAPE, "f4"), **keywords)
    wave = np.zeros(SHAPE, "c8")
    check(
        DtypeError,
        "complex64 cannot be written to an output of type float32",
        bp.copy,
        wave,
        np.zeros(SHAPE, "f4"),
        **keywords,
    )
    check(DtypeError, "complex64", smooth, wave, **keywords)


@pytest.mark.parametrize("keywords", [{}, {"block_shape": 10}], ids=["direct", "blocks"])
def test_more_components_than_the_output_can_number(keywords: Any) -> None:
    chess = (np.indices((40, 40)).sum(0) % 2).astype("u1")
    out = np.zeros((40, 40), "u1")
    text = r"there are 800 components, more than the output's type uint8 can number \(255\)"
    check(ValueRangeError, text, segmentation.label, chess, out, **keywords)
    assert not out.any(), "nothing has been written"


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (300, "u1", "Value 300 .* does not fit uint8, which holds 0 to 255"),
        (-1, "u4", "Value -1 .* does not fit uint32"),
        (np.nan, "i4", "Value nan .* does not fit int32"),
        (np.inf, "u1", "Value inf .* does not fit uint8"),
        (1e300, "f4", "Value 1e\\+300 .* does not fit float32"),
    ],
)
def test_values_that_the_output_cannot_hold(value: Any, dtype: str, text: str) -> None:
    """Only the data tells: the direct call raises it as it is, a run as the error of the block."""
    data = np.zeros(SHAPE, np.asarray(value).dtype)
    data[9, 12] = value
    check(ValueRangeError, text.replace(" .* ", r" at index \(9, 12\) "), bp.copy, data, np.zeros(SHAPE, dtype))
    everywhere, part = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    part[9, 10:14] = True
    for mask in (None, everywhere, part):
        with pytest.raises(RunnerError, match=text) as error:
            bp.copy(data, np.zeros(SHAPE, dtype), block_shape=8, mask=mask)
        assert "at index (9, 12)" in str(error.value)
        assert "block 3 [8:16, 8:16]" in str(error.value)
        assert error.value.failed_block_ids == [3]
    with np.errstate(all="ignore"):
        found = bp.copy(data, np.zeros(SHAPE, dtype), casting="unsafe", block_shape=8)
        np.testing.assert_array_equal(found, data.astype(dtype))


def test_a_masked_value_is_not_written_and_so_not_refused() -> None:
    data = np.full(SHAPE, 300)
    data[:4] = 7
    mask = data == 7
    found = bp.copy(data, np.zeros(SHAPE, "u1"), mask=mask, block_shape=8)
    np.testing.assert_array_equal(found, np.where(mask, 7, 0))


# --- settings ------------------------------------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"job_type": "pbs"}, r"unknown job_type 'pbs'; known are \[.*'local'.*'subprocess'"),
        ({"job_type": None}, "job_type None is not a name"),
        ({"num_workers": 0}, "num_workers=0 is below 1"),
        ({"num_workers": -1}, "num_workers=-1 is below 1"),
        ({"num_workers": None}, "num_workers=None is not a whole number"),
        ({"job_config": {"tmp_root": "x"}}, r"job_config \{'tmp_root': 'x'\} is not a runner configuration"),
        ({"retries": -1}, "retries=-1 is below 0"),
        ({"casting": "safe"}, "casting='safe' is neither"),
    ],
    ids=str,
)
def test_bad_settings(call: Call, data: np.ndarray, keywords: Any, text: str) -> None:
    error = check(ConfigError, text, call, data, **keywords)
    assert isinstance(error, ValueError)


def test_reductions_check_their_settings_too(data: np.ndarray) -> None:
    check(ConfigError, "unknown job_type 'pbs'", stats.max, data, job_type="pbs")
    check(ConfigError, "is not a runner configuration", stats.max, data, job_config={})
    check(SourceTypeError, "A path is not an array", stats.max, "volume.zarr")
    check(BlockShapeError, "below 1", stats.mean, data, block_shape=0)


@pytest.mark.parametrize("call", CALLS[:3], ids=["copy", "gaussian", "label"])
def test_misspelt_keywords_are_named(call: Call, data: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"got unknown keyword\(s\) \['blok_shape'\]; it takes .*'block_shape'"):
        call(data, blok_shape=8)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(
    "call",
    [
        segmentation.label,
        segmentation.relabel_consecutive,
        segmentation.size_filter,
        bp.pyramid,
        bp.workflows.segment,
    ],
)
def test_operations_of_several_stages_work_on_all_blocks(call: Call, given: bool, tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=(8, 8), chunks=(2, 2), dtype="u1")
    array[0, 0] = 1
    text = rf"{call.__name__}\(\) takes no skip_empty=, got {given}"
    check(ArgumentError, text, call, array, tmp_path / "out.zarr", skip_empty=given)
    assert not (tmp_path / "out.zarr").exists()
    assert "skip_empty" not in (call.__doc__ or "")


def test_misspelt_settings_are_named(data: np.ndarray) -> None:
    check(ConfigError, r"unknown execution setting\(s\) \['workers'\]; known are .*'num_workers'", run, data, workers=2)


@pytest.mark.parametrize("sigma", [0, -1.0, np.nan, np.inf, (1, 2, 3), "x"])
def test_bad_sigma(data: np.ndarray, sigma: Any) -> None:
    check(ParameterError, "sigma", filters.gaussian_smoothing, data, sigma)


def test_bad_connectivity_and_factors(data: np.ndarray) -> None:
    check(ParameterError, r"connectivity must be in \[1, 2\].* got 5", segmentation.label, data, connectivity=5)
    check(ParameterError, "scale_factor|factor", bp.downsample, data, 0)
