"""Label volumes for the tests of operations on objects: all types, ids to the limits, masks, regions, kept axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import AxesSource

DTYPES = ["?", "u1", "i1", ">u2", "i2", "u4", ">i4", "u8", ">u8", "i8"]
NAMES = {"space": ("z", "y", "x"), "time": ("t",), "channel": ("c",)}


@dataclass(frozen=True)
class Case:
    """Labels, and how an operation is called on them."""

    labels: np.ndarray
    run: dict[str, Any]
    apart: int

    @property
    def source(self) -> Any:
        """The labels, with axes where some are kept apart."""
        if not self.apart:
            return self.labels
        kept = [Axis("t", "time"), Axis("c", "channel")][: self.apart]
        return AxesSource(self.labels, [*kept, *(Axis(name) for name in "zyx"[: self.labels.ndim - self.apart])])

    @property
    def roi(self) -> tuple[slice, ...]:
        """The region, with its numbers."""
        roi = self.run.get("roi") or (slice(None),) * self.labels.ndim
        return tuple(slice(*part.indices(size)[:2]) for part, size in zip(roi, self.labels.shape, strict=True))

    @property
    def inside(self) -> np.ndarray:
        """Where the operation works."""
        inside = np.zeros(self.labels.shape, bool)
        inside[self.roi] = True
        return inside if "mask" not in self.run else inside & (self.run["mask"] != 0)

    def each(self, array: np.ndarray) -> list[np.ndarray]:
        """The parts of an array that are kept apart: views."""
        return [array[index] for index in np.ndindex(self.labels.shape[: self.apart])]


@st.composite
def cases(draw: Any, *, dtypes: list[str] = DTYPES, max_side: int = 9, least: int = 1) -> Case:
    """Labels in boxes, with single voxels between, run in blocks."""
    apart = draw(st.integers(0, 2))
    ndim = draw(st.integers(1, 3))
    shape = (*draw(st.tuples(*[st.integers(1, 2)] * apart)), *draw(st.tuples(*[st.integers(least, max_side)] * ndim)))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "b":
        ids = np.array([False, True])
    else:
        limits = np.iinfo(dtype)
        some = {0, 1, 2, 5, limits.max, limits.max - 1, max(limits.min, -3), limits.min, 2**53 + 1, 2**60}
        ids = np.array(sorted(one for one in some if limits.min <= one <= limits.max), dtype)
    coarse = ids[rng.integers(0, len(ids), [-(-size // 3) for size in shape])]
    labels = coarse
    for axis, size in enumerate(shape):
        labels = np.repeat(labels, 3, axis=axis).take(range(size), axis=axis)
    single = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))
    labels = np.where(single, ids[rng.integers(0, len(ids), shape)], labels).astype(dtype)
    run: dict[str, Any] = {"progress": False}
    if draw(st.booleans()):
        run["block_shape"] = draw(st.tuples(*(st.integers(1, size) for size in shape)))
        run["num_workers"] = draw(st.sampled_from([1, 2]))
    if draw(st.booleans()):
        run["mask"] = (rng.random(shape) < 0.7).astype("u1")
    if draw(st.booleans()):
        starts = [draw(st.integers(0, size - 1)) for size in shape]
        run["roi"] = tuple(
            slice(start, draw(st.integers(start + 1, size))) for start, size in zip(starts, shape, strict=True)
        )
    return Case(labels, run, apart)
