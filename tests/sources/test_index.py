"""Indexing of sources against numpy's basic indexing, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bioimage_py.errors import DtypeError, IndexingError, ParameterError, ShapeError, ValueRangeError
from bioimage_py.sources import ArraySource, Source
from bioimage_py.sources.casting import convert_values
from bioimage_py.sources.indexing import normalize_index
from bioimage_py.wrapper import RoiSource


class Boxes(Source):
    """A source with nothing but the two hooks, which check what they are given."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def writable(self) -> bool:
        return True

    def _check(self, roi: tuple[slice, ...]) -> None:
        assert len(roi) == self.ndim
        for part, size in zip(roi, self.shape, strict=True):
            assert part.step is None
            assert type(part.start) is int
            assert type(part.stop) is int
            assert 0 <= part.start <= part.stop <= size

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        self._check(roi)
        return self.data[roi].copy()

    def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
        self._check(roi)
        assert value.shape == tuple(part.stop - part.start for part in roi)
        assert value.dtype == self.dtype
        self.data[roi] = value


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape)), dtype=np.int64).reshape(shape)


shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


@st.composite
def indexed(draw: st.DrawFn) -> tuple[tuple[int, ...], object]:
    shape = draw(shapes)
    index = draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if draw(st.booleans()):
        entry = st.one_of(
            st.integers(-7, 7),
            st.slices(8),
            st.just(Ellipsis),
            st.none(),
            st.integers(-7, 7).map(np.int16),
            st.builds(slice, *[st.one_of(st.none(), st.integers(-9, 9))] * 2, st.sampled_from([None, 1, 2, 7, -1, -3])),
        )
        index = draw(st.one_of(entry, st.lists(entry, max_size=4).map(tuple)))
    return shape, index


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(indexed())
def test_reading_equals_numpy(case: tuple[tuple[int, ...], object]) -> None:
    shape, index = case
    data = numbers(shape)
    try:
        expected = data[index]
    except (IndexError, ValueError):
        for source in (Boxes(data), ArraySource(data)):
            with pytest.raises(IndexingError):
                source[index]
        return
    for source in (Boxes(data), ArraySource(data), RoiSource(data, ())):
        for found in (source[index], source.read(index), source.view(index)):
            assert isinstance(found, np.ndarray)
            assert found.shape == np.shape(expected)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(indexed(), st.data())
def test_writing_equals_numpy(case: tuple[tuple[int, ...], object], data: st.DataObject) -> None:
    shape, index = case
    start = numbers(shape)
    try:
        selected = np.shape(start[index])
    except (IndexError, ValueError):
        with pytest.raises(IndexingError):
            Boxes(start.copy())[index] = 0
        return
    smaller = tuple(size if data.draw(st.booleans()) else 1 for size in selected)
    dropped = data.draw(st.integers(0, len(smaller)))
    assume(0 not in selected or 0 not in smaller[:dropped])
    value = -numbers(smaller[dropped:])
    if selected and data.draw(st.booleans()):
        value = value[np.newaxis]
    expected = start.copy()
    expected[index] = value
    for make in (Boxes, ArraySource, lambda array: RoiSource(array, ())):
        written = start.copy()
        make(written)[index] = value
        np.testing.assert_array_equal(written, expected)


@pytest.mark.parametrize(
    "index",
    [
        True,
        np.True_,
        1.0,
        np.float32(1),
        "a",
        [0, 1],
        np.array([0, 1]),
        np.array(1),
        np.array([True, False]),
        (0, True),
        (slice(None), 1.5),
        slice(0.0, 2),
        slice(None, None, 0),
        (0, 0, 0),
        (..., 0, ...),
        4,
        -5,
        (0, np.int8(5)),
        {},
    ],
)
def test_refused_indices(index: object) -> None:
    source = ArraySource(np.zeros((4, 5)))
    with pytest.raises(IndexingError, match="remedy"):
        source[index]
    with pytest.raises(IndexError):
        source[index] = 0


def test_messages_of_indices() -> None:
    source = ArraySource(np.zeros((4, 5)))
    with pytest.raises(IndexingError, match=r"Index 5 is out of range for axis 1 of size 5"):
        source[0, 5]
    with pytest.raises(IndexingError, match=r"Too many indices: 3 for an array of 2 axes, shape \(4, 5\)"):
        source[0, 0, 0]
    with pytest.raises(IndexingError, match="True, of type bool"):
        source[True]


def test_locate_gives_absolute_indices() -> None:
    selection = normalize_index((2, slice(None, None, -2), None, slice(3, 9, 3)), (4, 7, 10))
    assert selection.shape == (4, 1, 2)
    assert selection.locate((1, 0, 1)) == (2, 4, 6)


@given(indexed())
def test_voxels_with_steps_make_the_selection(drawn: tuple[tuple[int, ...], object]) -> None:
    shape, index = drawn
    try:
        selection, data = normalize_index(index, shape), numbers(shape)
    except IndexingError:
        assume(False)
    thin = data[selection.thinned]
    assert thin.size == np.prod(selection.shape)
    np.testing.assert_array_equal(selection.turn(thin), selection.pick(data[selection.roi]))


def test_read_is_a_copy_and_view_is_not() -> None:
    data = np.zeros((4, 4), np.uint8)
    source = ArraySource(data)
    source.read()[...] = 1
    source[1:3][...] = 1
    source[::2][...] = 1
    source[::-2, 1][...] = 1
    assert not data.any()
    assert np.shares_memory(source.view(np.s_[::2]), data)
    assert np.shares_memory(source.view((slice(1, 3), ...)), data)


def test_strided_writes_in_memory_touch_nothing_else() -> None:
    data = np.zeros(6, np.uint8)
    data.flags.writeable = True
    ArraySource(data)[::2] = [1, 2, 3]
    assert data.tolist() == [1, 0, 2, 0, 3, 0]


def test_iteration_length_and_array_protocol() -> None:
    data = numbers((3, 2))
    source = ArraySource(data)
    assert len(source) == 3
    assert [row.tolist() for row in source] == data.tolist()
    assert np.asarray(source).tolist() == data.tolist()
    assert np.asarray(source, dtype=np.float32).dtype == np.float32
    with pytest.raises(IndexingError, match="no length"):
        len(ArraySource(np.zeros(())))


def test_broadcast_refused() -> None:
    source = ArraySource(np.zeros((4, 5)))
    with pytest.raises(ShapeError, match=r"shape \(3,\) cannot be broadcast to the selected region of shape \(2, 5\)"):
        source[:2] = np.zeros(3)
    with pytest.raises(ShapeError):
        source[0] = np.zeros((2, 5))


# Values


INTEGERS = [np.dtype(kind) for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")]
FLOATS = [np.dtype(kind) for kind in ("f2", "f4", "f8")]
edges = [
    0,
    1,
    -1,
    127,
    128,
    -128,
    -129,
    255,
    256,
    2**31,
    2**32 - 1,
    2**53 + 1,
    2**60 + 1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(INTEGERS),
    st.sampled_from(INTEGERS),
    st.lists(st.one_of(st.sampled_from(edges), st.integers(-(2**63), 2**64 - 1)), min_size=1, max_size=6),
)
def test_integers_are_exact_or_refused(source: np.dtype, target: np.dtype, values: list[int]) -> None:
    info = np.iinfo(source)
    values = [value for value in values if info.min <= value <= info.max]
    assume(values)
    limits = np.iinfo(target)
    fits = [int(limits.min) <= value <= int(limits.max) for value in values]
    array = np.array(values, source)
    if all(fits):
        assert convert_values(array, target).tolist() == values
        return
    first = fits.index(False)
    with pytest.raises(ValueRangeError) as caught:
        convert_values(array, target)
    assert f"Value {values[first]} at index ({first},)" in str(caught.value)
    assert f"{limits.min} to {limits.max}" in str(caught.value)
    np.testing.assert_array_equal(convert_values(array, target, "unsafe"), array.astype(target))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(FLOATS),
    st.sampled_from(INTEGERS),
    st.lists(st.one_of(st.floats(width=16), st.floats(), st.sampled_from(edges).map(float)), min_size=1, max_size=6),
)
def test_floats_truncate_or_are_refused(source: np.dtype, target: np.dtype, values: list[float]) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values).astype(source)
    limits = np.iinfo(target)
    fits = [np.isfinite(v) and int(limits.min) <= int(v) <= int(limits.max) for v in array.tolist()]
    if all(fits):
        assert convert_values(array, target).tolist() == [int(value) for value in array.tolist()]
        return
    with pytest.raises(ValueRangeError, match=rf"at index \({fits.index(False)},\) does not fit {target}"):
        convert_values(array, target)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 256.0, -1.0, 1e300])
def test_bad_floats_name_the_absolute_index(bad: float) -> None:
    source = ArraySource(np.zeros((6, 8), np.uint8))
    value = np.zeros((2, 3))
    value[1, 2] = bad
    with pytest.raises(ValueRangeError, match=r"at index \(3, 1\) does not fit uint8, which holds 0 to 255"):
        source[2:4, 5:0:-2] = value
    with pytest.raises(ValueRangeError, match=r"at index \(2, 3\)"):
        source[2:5, 3:] = bad
    assert not source[...].any()


def test_casting_unsafe_is_astype() -> None:
    source = ArraySource(np.zeros(3, np.uint8))
    source.write(..., np.array([256, 300, -1]), casting="unsafe")
    assert source[...].tolist() == [0, 44, 255]
    with pytest.raises(ParameterError, match="casting is 'same_kind'"):
        source.write(..., 1, casting="same_kind")  # type: ignore[arg-type]


def test_minus_a_half_truncates_to_zero() -> None:
    assert convert_values([-0.5, 255.9], np.dtype("u1")).tolist() == [0, 255]


def test_python_integers_beyond_64_bits() -> None:
    with pytest.raises(ValueRangeError, match=str(2**70)):
        convert_values(2**70, np.dtype("u8"))
    assert convert_values(2**64 - 1, np.dtype("u8")) == 2**64 - 1
    with pytest.raises(DtypeError, match="NoneType"):
        convert_values(None, np.dtype("u8"))


@pytest.mark.parametrize(("value", "dtype"), [(70000, "f2"), (1e39, "f4"), (-1e39, "f4"), (1e300 + 0j, "c8")])
def test_finite_values_do_not_become_infinite(value: complex, dtype: str) -> None:
    with pytest.raises(ValueRangeError, match="does not fit"):
        convert_values(np.array([0, value]), np.dtype(dtype))


def test_infinities_stay_in_floats() -> None:
    found = convert_values(np.array([np.inf, -np.inf, np.nan, 1.5]), np.dtype("f4"))
    np.testing.assert_array_equal(found, np.array([np.inf, -np.inf, np.nan, 1.5], "f4"))


@pytest.mark.parametrize(("value", "dtype"), [(1j, "f8"), (1j, "u1"), ("a", "f4"), (np.datetime64("2020"), "i8")])
def test_kinds_that_do_not_fit(value: object, dtype: str) -> None:
    with pytest.raises(DtypeError, match="cannot be written as"):
        convert_values(value, np.dtype(dtype))


def test_to_bool_as_numpy() -> None:
    assert convert_values(np.array([0, 3, -1]), np.dtype(bool)).tolist() == [False, True, True]
    assert convert_values(np.array([0.0, 0.5]), np.dtype(bool)).tolist() == [False, True]
