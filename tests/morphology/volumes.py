"""Small volumes for hypothesis: any shape, type, blocks, region."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

DTYPES = ("u1", "i2", ">u4", "i8", "u8", "?")
OFFSETS = {"u8": 2**64 - 9, "i8": 2**62}


@st.composite
def shapes(draw: Any, ndims: tuple[int, ...] = (2, 3)) -> tuple[int, ...]:
    return tuple(draw(st.integers(1, 11)) for _ in range(draw(st.sampled_from(ndims))))


@st.composite
def labels(draw: Any, ndims: tuple[int, ...] = (2, 3)) -> np.ndarray:
    """Labels with runs, holes, and ids up to the limit of their type."""
    shape, dtype = draw(shapes(ndims)), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    coarse = rng.integers(0, draw(st.integers(1, 8)), [-(-size // 2) for size in shape])
    small = coarse
    for axis, size in enumerate(shape):
        small = np.repeat(small, 2, axis)[(slice(None),) * axis + (slice(size),)]
    small = np.where(rng.random(shape) < 0.1, 0, small)
    found = small.astype(dtype)
    if dtype in OFFSETS:
        found = np.where(small > 0, found + np.array(OFFSETS[dtype], dtype), found)
    return found


@st.composite
def blocks(draw: Any, ndim: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(1, 7)) for _ in range(ndim))


@st.composite
def regions(draw: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    found = []
    for size in shape:
        begin = draw(st.integers(0, size - 1))
        found.append(slice(begin, draw(st.integers(begin + 1, size))))
    return tuple(found)
