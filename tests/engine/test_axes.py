"""Operations work along the axes of space: channels and times are kept apart, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py import filters, segmentation, stats
from bioimage_py.errors import ParameterError, ShapeError
from bioimage_py.sources import Axis
from bioimage_py.sources.along import lengths, per_axis, working_axes

KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space", "s": "other"}
SIZES = {"t": 3, "c": 2, "s": 2, "z": 6, "y": 9, "x": 8}
QUIET: dict[str, Any] = {"progress": False}
LAYOUTS = ["czyx", "tyx", "zyxc", "tczyx", "zcyx", "yxs"]


def axes_of(letters: str) -> list[Axis]:
    return [Axis(letter, KINDS[letter]) for letter in letters]


def stored(folder: Path, letters: str, array: np.ndarray, name: str = "raw") -> Any:
    source = bp.io.create_array(
        folder / "in.zarr", name, shape=array.shape, dtype=array.dtype, axes=axes_of(letters), chunks=(4,) * array.ndim
    )
    source[...] = array
    return source


def image(letters: str, dtype: str = "u1") -> np.ndarray:
    shape = [SIZES[letter] for letter in letters]
    return np.random.default_rng(len(letters)).integers(0, 200, shape).astype(dtype)


def parts(letters: str, ndim: int) -> Iterator[tuple[Any, ...]]:
    """Index of every channel and time."""
    apart = [axis for axis, letter in enumerate(letters) if KINDS[letter] != "space"]
    for values in np.ndindex(*(SIZES[letters[axis]] for axis in apart)):
        index: list[Any] = [slice(None)] * ndim
        for axis, value in zip(apart, values, strict=True):
            index[axis] = value
        yield tuple(index)


every_layout = pytest.mark.parametrize("letters", LAYOUTS)
every_way = pytest.mark.parametrize(
    "how", [{}, {"block_shape": 4}, {"block_shape": 4, "num_workers": 2}], ids=["automatic", "blocks", "threads"]
)


@every_layout
@every_way
def test_each_channel_is_smoothed_as_an_array_of_its_own(letters: str, how: Any, tmp_path: Path) -> None:
    array = image(letters)
    found = filters.gaussian_smoothing(stored(tmp_path, letters, array), 1.0, **how, **QUIET)
    assert found.dtype == np.float32
    for index in parts(letters, array.ndim):
        np.testing.assert_allclose(found[index], filters.gaussian_smoothing(array[index], 1.0), atol=1e-3)


@every_layout
@pytest.mark.parametrize("method", ["mean", "mode", "stride", None])
def test_each_channel_is_downsampled_as_an_array_of_its_own(letters: str, method: Any, tmp_path: Path) -> None:
    array, keywords = image(letters), {"method": method, "anti_aliasing": method is None}
    source = stored(tmp_path, letters, array)
    found = bp.downsample(source, 2, **keywords, **QUIET)
    view = bp.wrapper.DownsampleSource(source, 2, method or "stride", method is None)
    np.testing.assert_array_equal(view[...], found)
    assert [new.scale / old.scale for new, old in zip(view.axes, source.axes, strict=True)] == [
        2 if KINDS[letter] == "space" else 1 for letter in letters
    ]
    for index in parts(letters, array.ndim):
        np.testing.assert_array_equal(found[index], bp.downsample(array[index], 2, **keywords))


@every_layout
@every_way
def test_each_channel_has_a_pyramid_of_its_own(letters: str, how: Any, tmp_path: Path) -> None:
    array = image(letters)
    source = stored(tmp_path, letters, array)
    for levels in (
        bp.pyramid(source, [2, 2], **how, **QUIET),  # numpy arrays between, which know nothing of channels
        bp.pyramid(source, [2, 2], [tmp_path / "out.zarr" / name for name in "12"], **how, **QUIET),
    ):
        for index in parts(letters, array.ndim):
            for level, expected in zip(levels, bp.pyramid(array[index], [2, 2]), strict=True):
                np.testing.assert_array_equal(level[index], expected)


@every_layout
@every_way
@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("multi_label", [False, True])
def test_components_are_not_joined_over_channels(
    letters: str, how: Any, connectivity: int, multi_label: bool, tmp_path: Path
) -> None:
    array = image(letters) % 3
    source = stored(tmp_path, letters, array)
    found = segmentation.label(source, connectivity=connectivity, multi_label=multi_label, **how, **QUIET)
    seen: set[int] = set()
    for index in parts(letters, array.ndim):
        own = segmentation.label(array[index], connectivity=connectivity, multi_label=multi_label)
        pairs = np.unique(np.stack([own.reshape(-1), found[index].reshape(-1)]), axis=1)
        assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1], "the same partition"
        ids = set(pairs[1].tolist()) - {0}
        assert not seen & ids, "no id in two channels"
        seen |= ids
    _, first = np.unique(found, return_index=True)
    assert seen == set(range(1, len(seen) + 1))
    assert np.array_equal(np.argsort(first[-len(seen) :]), np.arange(len(seen))), "ranked by the first voxel"


@pytest.mark.parametrize("letters", ["czyx", "zyxc", "tczyx", "cyx"])
@pytest.mark.parametrize("how", [{}, {"block_shape": 4, "halo": 3}], ids=["whole", "blocks"])
@pytest.mark.parametrize("masked", [False, True])
def test_each_channel_is_flooded_as_a_volume_of_its_own(letters: str, how: Any, masked: bool, tmp_path: Path) -> None:
    array = image(letters).astype("f4")
    seeds = np.where(
        np.random.default_rng(3).random(array.shape) < 0.05, np.arange(1, array.size + 1).reshape(array.shape), 0
    )
    mask = np.random.default_rng(4).random(array.shape) < 0.8 if masked else None
    sources = [stored(tmp_path, letters, each, name) for each, name in ((array, "a"), (seeds.astype("u8"), "b"))]
    found = segmentation.watershed(*sources, mask=mask, **how, **QUIET)
    for index in parts(letters, array.ndim):
        part = None if mask is None else mask[index]
        expected = segmentation.watershed(array[index], seeds[index], mask=part, **how, **QUIET)
        np.testing.assert_array_equal(found[index], expected)


def test_flooding_needs_two_or_three_axes_of_space(tmp_path: Path) -> None:
    array = image("tczyx")
    with pytest.raises(ShapeError, match="2 or 3 axes, got 4"):
        segmentation.watershed(stored(tmp_path, "tczyx", array), array.astype("u8"), axes="czyx")


def test_axes_says_along_which_to_work(tmp_path: Path) -> None:
    array = image("czyx")
    source = stored(tmp_path, "czyx", array)
    for axes in ("czyx", ("c", "z", "y", "x"), (0, 1, 2, 3), [-4, "z", 2, "x"]):
        np.testing.assert_array_equal(
            bp.downsample(source, 2, method="mean", axes=axes), bp.downsample(array, 2, method="mean")
        )
    np.testing.assert_array_equal(bp.downsample(source, 2, axes="y"), array[:, :, ::2])
    np.testing.assert_array_equal(bp.downsample(source, 2, axes=2), array[:, :, ::2])
    # one value for each axis that is named, in that order
    np.testing.assert_array_equal(bp.downsample(source, (4, 2), axes="xz"), array[:, ::2, :, ::4])
    np.testing.assert_allclose(
        filters.gaussian_smoothing(source, (2.0, 0.5), axes="xy")[1, 3],
        filters.gaussian_smoothing(array[1, 3], (0.5, 2.0)),
        atol=1e-3,
    )
    joined = segmentation.label(source, threshold=120, axes="czyx", connectivity=4)
    np.testing.assert_array_equal(joined, segmentation.label(array, threshold=120, connectivity=4))
    # a numpy array has no channels, but its axes have names
    np.testing.assert_array_equal(
        segmentation.label(array, threshold=120, axes="zyx"), segmentation.label(source, threshold=120)
    )


def test_what_is_given_for_every_axis_means_every_axis(tmp_path: Path) -> None:
    array = image("czyx")
    source = stored(tmp_path, "czyx", array)
    np.testing.assert_array_equal(
        bp.downsample(source, (2, 1, 3, 2), method="mean"), bp.downsample(array, (2, 1, 3, 2), method="mean")
    )
    np.testing.assert_array_equal(bp.downsample(source, (1, 3, 2)), array[:, :, ::3, ::2])
    np.testing.assert_allclose(
        filters.gaussian_smoothing(source, (1.0, 0.5, 1.0, 2.0)),
        filters.gaussian_smoothing(array, (1.0, 0.5, 1.0, 2.0)),
        atol=1e-3,
    )


@pytest.mark.parametrize("ndim", [1, 2, 3, 4, 5])
def test_nothing_is_known_of_the_axes_of_numpy_arrays(ndim: int, tmp_path: Path) -> None:
    array = np.random.default_rng(ndim).integers(0, 9, (5, 4, 6, 3, 4)[:ndim]).astype("u1")
    assert bp.downsample(array, 2).shape == tuple(-(-size // 2) for size in array.shape)
    np.testing.assert_array_equal(bp.downsample(array, 2), array[(slice(None, None, 2),) * ndim])
    saved = bp.copy(array, tmp_path / "a.zarr", **QUIET)  # the names that stand for "not known" are kept
    np.testing.assert_array_equal(bp.downsample(saved, 2, **QUIET), bp.downsample(array, 2))
    np.testing.assert_array_equal(segmentation.label(saved, **QUIET), segmentation.label(array))


def test_where_no_axis_is_of_space_all_are_meant() -> None:
    assert working_axes(axes_of("tc")) == (0, 1)
    assert working_axes(axes_of("tcx")) == (2,)
    assert working_axes([Axis("d0", "other"), *axes_of("zyx")]) == (0, 1, 2, 3)
    assert working_axes([Axis("angle", "other"), *axes_of("zyx")]) == (1, 2, 3)


def test_halos_are_zero_along_the_axes_that_are_kept_apart(tmp_path: Path) -> None:
    source = stored(tmp_path, "tczyx", image("tczyx"))
    plan = filters.gaussian_smoothing(source, 1.0, block_shape=(1, 1, 6, 9, 8), plan=True)
    # one block an image: with a halo along times and channels it would read more than there is
    assert plan.stages[0].bytes_read <= source.nbytes * (6 + 6) * (9 + 6) * (8 + 6) / (6 * 9 * 8)
    seeds = stored(tmp_path, "tczyx", image("tczyx").astype("u8"), "seeds")
    plan = segmentation.watershed(source, seeds, halo=2, block_shape=(1, 1, 6, 9, 8), plan=True)
    assert plan.stages[0].bytes_read <= 9 * source.size * (6 + 4) * (9 + 4) * (8 + 4) / (6 * 9 * 8)


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ("czyxw", "'w' is no axis of the input, which has"),
        ("q", "'q' is no axis"),
        (("z", "z"), "names an axis twice"),
        ((0, -4), "names an axis twice"),
        ((), "names no axis"),
        ("", "names no axis"),
        (4, "4 is no axis"),
        (-5, "-5 is no axis"),
        (1.5, "1.5 is no axis"),
        (("z", None), "None is no axis"),
        (np.nan, "nan is no axis"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "call",
    [
        lambda source, **how: bp.downsample(source, 2, **how),
        lambda source, **how: bp.pyramid(source, [2], **how),
        lambda source, **how: filters.gaussian_smoothing(source, 1.0, **how),
        lambda source, **how: segmentation.label(source, **how),
        lambda source, **how: segmentation.watershed(source, source, **how),
    ],
    ids=["downsample", "pyramid", "gaussian", "label", "watershed"],
)
def test_axes_that_the_input_does_not_have(call: Callable[..., Any], axes: Any, text: str, tmp_path: Path) -> None:
    source = stored(tmp_path, "czyx", image("czyx"))
    with pytest.raises(ParameterError, match=text) as caught:
        call(source, axes=axes)
    assert caught.value.remedy.startswith("axes=")


@pytest.mark.parametrize("value", [(2, 2), (2, 2, 2, 2, 2), [1], []])
def test_a_wrong_number_of_values_names_both_numbers(value: Any, tmp_path: Path) -> None:
    source = stored(tmp_path, "czyx", image("czyx"))
    for call in (bp.downsample, filters.gaussian_smoothing):
        with pytest.raises(ParameterError, match=r"3 for the axes \['z', 'y', 'x'\] or 4 for"):
            call(source, value)


def test_voxels_are_counted_over_all_channels(tmp_path: Path) -> None:
    array = image("czyx")
    source = stored(tmp_path, "czyx", array)
    assert stats.max(source) == array.max()
    labels = bp.segmentation.relabel_consecutive(source, np.zeros(array.shape, "u8"))[0]
    np.testing.assert_array_equal(labels[1] > 0, array[1] > 0)
    with pytest.raises(TypeError, match="unknown keyword"):
        stats.max(source, axes="zyx")


OPERATIONS = [
    bp.copy, bp.downsample, bp.pyramid, filters.gaussian_smoothing, segmentation.label, segmentation.watershed,
    segmentation.relabel, segmentation.size_filter, bp.operations.add, bp.operations.isin, stats.mean, stats.unique,
    bp.evaluation.variation_of_information,
]  # fmt: skip


@pytest.mark.parametrize("call", OPERATIONS, ids=lambda call: call.__name__)
def test_every_docstring_says_what_axes_are_for(call: Any) -> None:
    assert ("kept apart" in call.__doc__) != ("Axes play no part" in call.__doc__)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_reach_the_axes_that_they_are_given_for(data: st.DataObject) -> None:
    letters = data.draw(st.permutations(list("tczyx")).map("".join))
    letters = letters[: data.draw(st.integers(1, 5))]
    axes = axes_of(letters)
    named = data.draw(st.permutations(list(letters)))[: data.draw(st.integers(1, len(letters)))]
    values = data.draw(st.lists(st.integers(1, 9), min_size=len(named), max_size=len(named)))
    full = per_axis(values, axes, named, name="v", elsewhere=0)
    assert full == tuple(dict(zip(named, values, strict=True)).get(letter, 0) for letter in letters)
    assert per_axis(7, axes, named, name="v", elsewhere=0) == tuple(7 if letter in named else 0 for letter in letters)
    along = working_axes(axes)
    assert along == tuple(n for n, a in enumerate(axes) if a.kind == "space") or not any(
        a.kind == "space" for a in axes
    )


PHYSICAL = [
    Axis("c", "channel"),
    Axis("z", unit="micrometer", scale=2.0),
    Axis("y", unit="µm", scale=-0.5),
    Axis("x", unit="micron", scale=0.5),
]


@pytest.mark.parametrize(
    ("value", "wanted", "physical", "expected"),
    [
        (4.0, None, False, (None, 4.0, 4.0, 4.0)),
        (4.0, None, True, (None, 2.0, 8.0, 8.0)),
        ((4, 1, 2), None, True, (None, 2.0, 2.0, 4.0)),
        ((2, 4), "xz", True, (None, 2.0, None, 4.0)),
        ((None, 4, 1, 2), None, True, (None, 2.0, 2.0, 4.0)),
        (np.float32(4), "z", True, (None, 2.0, None, None)),
        ("wide", "z", True, (None, "wide", None, None)),
    ],
)
def test_lengths_in_voxels_and_in_units(value: Any, wanted: Any, physical: bool, expected: Any) -> None:
    assert lengths(value, PHYSICAL, wanted, name="sigma", physical=physical) == expected


@pytest.mark.parametrize("axis", [Axis("x"), Axis("x", unit="micrometer", scale=0.0), Axis("x", scale=float("nan"))])
def test_a_length_in_units_needs_a_scale(axis: Axis) -> None:
    assert lengths(2.0, [axis], name="size") == (2.0,)
    with pytest.raises(ParameterError, match="size cannot count in physical units: the axis 'x'"):
        lengths(2.0, [axis], name="size", physical=True)
    with pytest.raises(ParameterError, match="size has 2 values, the input has 1 axes"):
        lengths((2.0, 1.0), [axis], name="size")


def test_one_length_for_axes_of_different_units() -> None:
    axes = [Axis("t", "time", "second", 2.0), Axis("x", unit="micrometer", scale=0.5)]
    assert lengths((4, 3), axes, "tx", name="sigma", physical=True) == (2.0, 6.0)
    with pytest.raises(ParameterError, match=r"one value for axes of the units .*second"):
        lengths(4, axes, "tx", name="sigma", physical=True)
