"""Voxel-wise operations: exact integers, numpy's types, in place, broadcasting, clear errors."""

from __future__ import annotations

import operator
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bioimage_py import operations as op
from bioimage_py.errors import DtypeError, ParameterError, RunnerError, ShapeError, ValueRangeError
from bioimage_py.operations.arithmetic_kernels import Apply, IsIn, result_dtype
from bioimage_py.operations.exact import exact_quotient, exact_threshold

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
EXACT = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "minimum": min, "maximum": max}
COMPARISONS = {
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "less": operator.lt,
    "less_equal": operator.le,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


def corners(dtype: str) -> st.SearchStrategy[int]:
    """Integers of a type with its limits, where wrapping and rounding begin."""
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    special = sorted({low, low + 1, 0, 1, 2, 3, high - 1, high, high // 2, min(2**53, high), min(2**53 + 1, high)})
    return st.sampled_from(special) | st.integers(low, high)


def vectors(dtype: str, size: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(dtype, size, elements=corners(dtype))


@st.composite
def operands(draw: st.DrawFn) -> tuple[np.ndarray, Any, np.dtype[Any]]:
    size = draw(st.integers(1, 5))
    x = draw(vectors(draw(st.sampled_from(INTEGERS)), size))
    kind = draw(st.sampled_from(INTEGERS))
    y = draw(vectors(kind, size) | corners(kind) | st.integers(-(2**70), 2**70))
    return x, y, np.dtype(draw(st.sampled_from(INTEGERS)))


def elements(value: Any, size: int) -> list[int]:
    return [int(v) for v in value] if isinstance(value, np.ndarray) else [int(value)] * size


@given(operands(), st.sampled_from(sorted(EXACT)))
@settings(max_examples=600, deadline=None)
def test_integer_arithmetic_is_exact(case: tuple[np.ndarray, Any, np.dtype[Any]], name: str) -> None:
    x, y, destination = case
    y_array = y if isinstance(y, np.ndarray) else None
    result = Apply(name, destination, None if y_array is not None else y)(*([x] if y_array is None else [x, y_array]))
    expected = [EXACT[name](a, b) for a, b in zip(elements(x, x.size), elements(y, x.size), strict=True)]
    assert [int(v) for v in result] == expected
    assert result.dtype.kind in "iuO"


@given(operands(), st.sampled_from(sorted(EXACT)))
@settings(max_examples=300, deadline=None)
def test_unsafe_casting_wraps_like_numpy(case: tuple[np.ndarray, Any, np.dtype[Any]], name: str) -> None:
    x, y, destination = case
    arrays = [x, y] if isinstance(y, np.ndarray) else [x]
    result = Apply(name, destination, None if len(arrays) == 2 else y, unsafe=True)(*arrays).astype(destination)
    info, bits = np.iinfo(destination), 8 * destination.itemsize
    expected = [EXACT[name](a, b) for a, b in zip(elements(x, x.size), elements(y, x.size), strict=True)]
    assert [int(v) for v in result] == [(v - int(info.min)) % 2**bits + int(info.min) for v in expected]


@given(operands(), st.sampled_from(sorted(COMPARISONS)))
@settings(max_examples=300, deadline=None)
def test_integer_comparisons_are_exact(case: tuple[np.ndarray, Any, np.dtype[Any]], name: str) -> None:
    x, y, _ = case
    arrays = [x, y] if isinstance(y, np.ndarray) else [x]
    result = Apply(name, np.dtype(bool), None if len(arrays) == 2 else y)(*arrays)
    pairs = zip(elements(x, x.size), elements(y, x.size), strict=True)
    assert result.tolist() == [COMPARISONS[name](a, b) for a, b in pairs]


@given(
    st.sampled_from(["i8", "u8", "i2"]).flatmap(lambda kind: vectors(kind, 4)),
    st.floats(allow_nan=True) | st.sampled_from([2.0**53, 2.0**63, 2.0**64, -(2.0**63), 0.5, -0.5, 2.0]),
    st.sampled_from(sorted(COMPARISONS)),
)
@settings(max_examples=300, deadline=None)
def test_integers_are_compared_with_floats_exactly(x: np.ndarray, y: float, name: str) -> None:
    result = Apply(name, np.dtype(bool), y)(x)
    assert result.tolist() == [COMPARISONS[name](int(v), y) for v in x]


@given(operands())
@settings(max_examples=300, deadline=None)
def test_integer_quotients_are_cut_towards_zero(case: tuple[np.ndarray, Any, np.dtype[Any]]) -> None:
    x, y, _ = case
    result = exact_quotient(x, y)
    divisors = elements(y, x.size)
    if 0 in divisors:
        assert result is None
    else:
        assert result is not None
        expected = [
            abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in zip(x.tolist(), divisors, strict=True)
        ]
        assert [int(v) for v in result] == expected


def test_threshold_rules() -> None:
    assert exact_threshold("greater", 2.5) == ("greater", 2)
    assert exact_threshold("less", 2.5) == ("less", 3)
    assert exact_threshold("greater_equal", -2.5) == ("greater_equal", -2)
    assert exact_threshold("less", float("nan")) is None
    assert exact_threshold("add", 2.5) is None


@pytest.mark.parametrize("block_shape", [None, (4, 4)])
def test_uint8_sum_beyond_255_raises_and_fits_uint16(block_shape: Any) -> None:
    x = np.full((8, 8), 250, np.uint8)
    with pytest.raises((ValueRangeError, RunnerError), match=r"Value 260 .*does not fit uint8, which holds 0 to 255"):
        op.add(x, 10, block_shape=block_shape)
    wide = np.zeros((8, 8), np.uint16)
    assert op.add(x, 10, wide, block_shape=block_shape) is wide
    assert (wide == 260).all()
    wrapped = op.add(x, 10, block_shape=block_shape, casting="unsafe")
    assert wrapped.dtype == np.uint8
    assert (wrapped == 4).all()


def test_64_bit_limits_raise_instead_of_wrapping_or_rounding() -> None:
    high = np.array([2**64 - 1, 2**63], np.uint64)
    with pytest.raises(ValueRangeError, match=r"18446744073709551616 .*uint64"):
        op.add(high, 1)
    np.testing.assert_array_equal(op.subtract(high, 1), np.array([2**64 - 2, 2**63 - 1], np.uint64))
    np.testing.assert_array_equal(op.add(high, -1), np.array([2**64 - 2, 2**63 - 1], np.uint64))
    with pytest.raises(ValueRangeError, match=r"-9223372036854775809 .*int64"):
        op.subtract(np.array([-(2**63)]), 1)
    with pytest.raises(ValueRangeError, match=r"Value -1 .*uint64"):
        op.subtract(np.zeros(3, np.uint64), 1)
    out = np.zeros(2, np.uint64)
    op.add(high, np.array([-1, -(2**62)], np.int64), out)
    np.testing.assert_array_equal(out, np.array([2**64 - 2, 2**63 - 2**62], np.uint64))
    np.testing.assert_array_equal(op.divide(high, 2, out), np.array([2**63 - 1, 2**62], np.uint64))
    assert op.greater(np.array([2**53 + 1]), 2.0**53).tolist() == [True]


@pytest.mark.parametrize(
    ("x", "y", "name", "expected"),
    [
        ("u1", 10, "add", "u1"),
        ("u1", 1.5, "add", "f8"),
        ("u1", 300, "add", "u2"),
        ("u1", -1, "subtract", "i2"),
        ("u8", -1, "add", "u8"),
        ("f4", 1.5, "multiply", "f4"),
        ("f4", 3, "divide", "f4"),
        ("u2", 3, "divide", "f8"),
        ("u1", np.int64(3), "add", "i8"),
        ("i4", np.dtype("u4"), "minimum", "i8"),
        ("u1", 1000, "greater", "?"),
        ("u1", 300, "divide", "f8"),
        ("?", 2, "add", "i8"),
    ],
)
def test_allocated_type_is_numpys_type_of_one_voxel(x: str, y: Any, name: str, expected: str) -> None:
    assert result_dtype(name, np.dtype(x), y) == np.dtype(expected)
    if not isinstance(y, np.dtype):
        assert getattr(op, name)(np.full(3, 1, x), y).dtype == np.dtype(expected)


@pytest.mark.parametrize("block_shape", [None, (3, 4, 5)])
@pytest.mark.parametrize("name", [*EXACT, "divide", "greater", "greater_equal", "less", "less_equal"])
@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
def test_every_operation_with_scalar_array_and_repeated_axes(name: str, dtype: str, block_shape: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(10, 16, (7, 8, 9)).astype(dtype)
    for y in (3, x[::-1].copy() - x.dtype.type(8), rng.integers(1, 4, (1, 8, 1)).astype(dtype)):
        result = getattr(op, name)(x, y, block_shape=block_shape)
        expected = getattr(np, name)(x, y)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("kwargs", [{}, {"block_shape": (3, 4)}, {"block_shape": (2, 9), "num_workers": 2}])
def test_in_place(kwargs: Any) -> None:
    x = np.arange(60, dtype=np.uint8).reshape(6, 10)
    before = x.copy()
    assert op.multiply(x, 4, x, **kwargs) is x
    np.testing.assert_array_equal(x, before * 4)
    op.divide(x, 8, x, **kwargs)
    np.testing.assert_array_equal(x, before * 4 // 8)
    op.subtract(x, x, x, **kwargs)
    assert not x.any()


def test_in_place_division_of_floats_by_truncation() -> None:
    x = np.array([-7, 7, 9], np.int32)
    op.divide(x, 2, x)
    assert x.tolist() == [-3, 3, 4]
    op.multiply(x, 1.5, x)
    assert x.tolist() == [-4, 4, 6]


def test_division_by_zero_cannot_be_written_as_an_integer() -> None:
    x = np.array([1, 2], np.uint8)
    assert op.divide(x, 0).tolist() == [np.inf, np.inf]
    with pytest.raises(ValueRangeError, match=r"Value inf .*uint8"):
        op.divide(x, 0, x)
    assert x.tolist() == [1, 2]


def test_mask_keeps_the_rest() -> None:
    x = np.arange(48, dtype=np.int16).reshape(6, 8)
    mask = x % 3 == 0
    expected = np.where(mask, x + 100, x)
    for kwargs in ({}, {"block_shape": (4, 3)}):
        out = x.copy()
        op.add(out, 100, out, mask=mask, **kwargs)
        np.testing.assert_array_equal(out, expected)
        out = x.copy()
        op.add(out, np.full((1, 8), 100), out, mask=mask, **kwargs)
        np.testing.assert_array_equal(out, expected)


def test_apply_operation_takes_names_and_callables() -> None:
    x = np.array([[1, 2], [3, 15]], np.uint8)
    np.testing.assert_array_equal(op.apply_operation(x, 2, "power"), x**2)
    np.testing.assert_array_equal(op.apply_operation(x, 2, np.power), x**2)
    with pytest.raises(ValueRangeError, match=r"Value 3375 .*uint8"):
        op.apply_operation(x, 3, "power")
    np.testing.assert_array_equal(op.apply_operation(x, 2, lambda a, b: a // b, block_shape=(1, 1)), x // 2)
    np.testing.assert_array_equal(op.apply_operation(x, x.T.copy(), "hypot"), np.hypot(x, x.T))
    np.testing.assert_array_equal(op.apply_operation(x > 2, True, "logical_xor"), x <= 2)
    with pytest.raises(ParameterError, match=r"unknown operation 'nope'.*\n.*remedy.*name of a numpy function"):
        op.apply_operation(x, 2, "nope")
    with pytest.raises(ParameterError, match=r"unknown operation 5"):
        op.apply_operation(x, 2, 5)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"returned the shape \(\) for a block of shape \(2, 2\)"):
        op.apply_operation(x, 2, lambda a, b: a.sum())
    with pytest.raises(ParameterError, match="negative power"):
        op.apply_operation(x, np.array([[1, -1]]), "power")
    with pytest.raises(ParameterError, match="beyond every data type"):
        op.apply_operation(x, 10**9, "power")


def test_operands_that_do_not_fit() -> None:
    x = np.ones((4, 6))
    for shape in ((6,), (3, 6), (4, 2), (1, 4, 6)):
        with pytest.raises(ShapeError, match=r"second operand of shape .* does not fit the first of shape \(4, 6\)"):
            op.add(x, np.ones(shape))
    with pytest.raises(TypeError):
        op.add(x, [1, 2])
    with pytest.raises(TypeError, match="path is not an array"):
        op.add("a.zarr", 1)
    with pytest.raises(DtypeError, match="subtract is not defined for bool"):
        op.subtract(np.ones(3, bool), np.ones(3, bool))
    with pytest.raises(ShapeError, match=r"\(4, 5\).*\(4, 6\)"):
        op.add(x, 1, np.zeros((4, 5)))
    with pytest.raises(TypeError, match="unknown keyword"):
        op.add(x, 1, blockshape=(2, 2))


def test_scalars_of_numpy_and_arrays_without_axes() -> None:
    x = np.ones((2, 3), np.uint8)
    assert op.add(x, np.array(5)).dtype == np.int64
    assert op.add(x, np.uint8(5)).dtype == np.uint8
    assert op.add(x, 2j).dtype == np.complex128


@pytest.mark.parametrize("block_shape", [None, (2, 3)])
def test_isin(block_shape: Any) -> None:
    x = np.array([[0, 5, 2**63 + 1], [2**53, 2**53 + 1, 7]], np.uint64)
    for values, expected in (
        (5, [[0, 1, 0], [0, 0, 0]]),
        ([2**53 + 1, -5, 2**70, 7.0, 7.5], [[0, 0, 0], [0, 1, 1]]),
        ({2**63 + 1, 0}, [[1, 0, 1], [0, 0, 0]]),
        (np.array([-1, 7], np.int64), [[0, 0, 0], [0, 0, 1]]),
        ([], [[0, 0, 0], [0, 0, 0]]),
    ):
        result = op.isin(x, values, block_shape=block_shape)
        assert result.dtype == bool
        np.testing.assert_array_equal(result, np.array(expected, bool))
    np.testing.assert_array_equal(op.isin(np.array([0.5, 1.0]), [0.5]), [True, False])
    np.testing.assert_array_equal(op.isin(np.array([True, False]), [1]), [True, False])
    with pytest.raises(DtypeError, match="isin cannot look for 'cell' in integers"):
        op.isin(x, ["cell"])
    with pytest.raises(DtypeError, match="isin cannot look for"):
        op.isin(np.ones(3), ["cell"])
    in_place = np.array([3, 4, 5], np.int8)
    assert op.isin(in_place, [4, 200], in_place).tolist() == [0, 1, 0]


@given(hnp.arrays("i2", 30, elements=st.integers(-5, 5)), st.lists(st.integers(-7, 7)))
@settings(max_examples=50, deadline=None)
def test_isin_agrees_with_python(x: np.ndarray, values: list[int]) -> None:
    assert IsIn.of(values, x.dtype)(x).tolist() == [int(v) in values for v in x]


def test_empty_input() -> None:
    assert op.add(np.empty((0, 3), np.uint8), 1).shape == (0, 3)
    assert op.minimum(np.empty((0, 3), np.uint8), np.empty((0, 3), np.int8)).dtype == np.int16


@pytest.mark.parametrize("kernel", [Apply("add", np.dtype("u1"), 3), IsIn.of([1, 2], np.dtype("u1"))])
def test_kernels_can_be_sent(kernel: Any) -> None:
    assert pickle.loads(pickle.dumps(kernel)) == kernel
