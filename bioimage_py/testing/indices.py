"""What the conformance suite draws: indices, values that broadcast, units of writing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..sources.base import Source
from ..sources.indexing import Roi


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Any index of numpy's basic indexing that is valid for a shape."""
    head = draw(st.integers(0, len(shape)))
    tail = draw(st.integers(0, len(shape) - head))
    parts = [draw(_part(size)) for size in shape[:head]]
    if tail or draw(st.booleans()):
        parts += [Ellipsis, *(draw(_part(size)) for size in shape[len(shape) - tail :])]
    if draw(st.integers(0, 3)) == 0:
        parts.insert(draw(st.integers(0, len(parts))), None)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


def _part(size: int) -> st.SearchStrategy[Any]:
    return st.one_of(st.integers(-size, size - 1), _slices(size), _slices(size))


def _slices(size: int) -> st.SearchStrategy[slice]:
    bound = st.none() | st.integers(-size - 2, size + 2)
    step = st.sampled_from([None, None, 1, 2, 3, -1, -2])
    return st.builds(slice, bound, bound, step)


@st.composite
def values(draw: st.DrawFn, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array that broadcasts to a shape: of fewer axes, or with size 1 along some, or a scalar."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    kept = tuple(1 if size > 1 and draw(st.integers(0, 3)) == 0 else size for size in kept)
    return voxels(kept, dtype, draw(st.integers(0, 2**16)))


def voxels(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int = 0) -> np.ndarray:
    """Random voxels over the whole range of a data type; floats are finite and of all magnitudes near 1."""
    generator = np.random.default_rng(seed)
    if dtype.kind == "b":
        return generator.random(shape) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return generator.integers(info.min, info.max, shape, dtype.type, endpoint=True)
    real = generator.normal(size=shape) * 100
    return (real + 1j * generator.normal(size=shape) if dtype.kind == "c" else real).astype(dtype)


def write_units(source: Source) -> list[Roi]:
    """The boxes that may be written at the same time: the write units, cut at the borders of the volume."""
    sizes = source.write_chunks or tuple(max(1, -(-size // 3)) for size in source.shape)
    axes = []
    for size, unit, origin in zip(source.shape, sizes, source.grid_origin, strict=True):
        cuts = [0, *range(origin % unit or unit, size, unit), size]
        axes.append([slice(begin, end) for begin, end in itertools.pairwise(cuts)])
    return list(itertools.product(*axes))
