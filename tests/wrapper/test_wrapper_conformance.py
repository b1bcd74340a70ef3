"""Every wrapper, over a chunked array on disk, passes the conformance suite."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bioimage_py.io import create_array
from bioimage_py.sources import Axis, Source, default_axes, open_source
from bioimage_py.testing import MakeSource, SourceConformance
from bioimage_py.wrapper import (
    AffineSource,
    AxesSource,
    CachedSource,
    CastSource,
    ChannelSource,
    ConcatenateSource,
    DownsampleSource,
    ExpandDimsSource,
    FlipSource,
    MultiTransformationSource,
    NormalizeSource,
    PadSource,
    ResizedSource,
    RoiSource,
    Rotate90Source,
    SimpleTransformationSource,
    SimpleTransformationWithHaloSource,
    StackSource,
    StandardizeSource,
    ThresholdSource,
    TransformationSource,
    TransposeSource,
    WarpSource,
)

VIEW = {"foreign": "a view has no format"}
COMPUTED = {**VIEW, "write": "computed voxels have no place"}


class Wrapped(SourceConformance):
    """A wrapper whose voxels are known from what is stored; `chunks` are those of the stored array."""

    impossible: ClassVar[dict[str, str]] = VIEW
    chunks: ClassVar[tuple[int, ...]] = (4, 5, 8)
    shards: ClassVar[tuple[int, ...] | None] = None
    examples = 25

    def stored(self, content: np.ndarray) -> np.ndarray:
        """What has to be stored for a wrapper to show the content."""
        return content

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        """Axes of the stored array for a wrapper to have these."""
        return axes

    def wrap(self, *sources: Source) -> Source:
        raise AssertionError("every class has its own")

    def places(self) -> int:
        """How many arrays a wrapper is made of."""
        return 1

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            stored = self.stored(content)
            arrays = [stored] if self.places() == 1 else stored
            opened = []
            for array in arrays:
                path = tmp_path / f"{next(counter)}.zarr"
                given = self.stored_axes(axes) if axes else ()
                chunks, options = self.chunks[-array.ndim :], {"shards": self.shards} if self.shards else {}
                made = create_array(
                    path, "a", shape=array.shape, dtype=array.dtype, chunks=chunks, axes=given, **options
                )
                made[...] = array
                opened.append(open_source(path, "a", mode="r+" if writable and "write" not in self.impossible else "r"))
            return self.wrap(*opened)

        return make


class TestRoi(Wrapped):
    kind = "RoiSource"
    shards = (8, 10, 16)

    def stored(self, content: np.ndarray) -> np.ndarray:
        return np.pad(content, [(3, 2), (1, 4), (5, 0)], constant_values=1)

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(replace(a, offset=a.offset - n * a.scale) for a, n in zip(axes, (3, 1, 5), strict=True))

    def wrap(self, *sources: Source) -> Source:
        return RoiSource(sources[0], (slice(3, -2), slice(1, -4), slice(5, None)))


class TestChannel(Wrapped):
    kind = "ChannelSource"
    chunks = (2, 4, 5, 8)

    def stored(self, content: np.ndarray) -> np.ndarray:
        return np.stack([np.zeros_like(content), np.ones_like(content), content])

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return (Axis("c", "channel"), *axes)

    def wrap(self, *sources: Source) -> Source:
        return ChannelSource(sources[0], -1)


class TestTranspose(Wrapped):
    kind = "TransposeSource"

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content.transpose(2, 0, 1)

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return (axes[2], axes[0], axes[1])

    def wrap(self, *sources: Source) -> Source:
        return TransposeSource(sources[0], (1, 2, 0))


class TestFlip(Wrapped):
    kind = "FlipSource"

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content[::-1, :, ::-1]

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        turned = [
            replace(a, scale=-a.scale, offset=a.offset + (n - 1) * a.scale)
            for a, n in zip(axes, self.shape, strict=True)
        ]
        return (turned[0], axes[1], turned[2])

    def wrap(self, *sources: Source) -> Source:
        return FlipSource(sources[0], (0, -1))


class TestRotate90(Wrapped):
    kind = "Rotate90Source"
    shards = (8, 10, 16)

    def stored(self, content: np.ndarray) -> np.ndarray:
        return np.rot90(content, -1, (0, 2))

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        # what is first here is the last axis there, from its other end
        first = replace(axes[0], scale=-axes[0].scale, offset=axes[0].offset + (self.shape[0] - 1) * axes[0].scale)
        return (axes[2], axes[1], first)

    def wrap(self, *sources: Source) -> Source:
        return Rotate90Source(sources[0], 1, (0, 2))


class TestExpandDims(Wrapped):
    kind = "ExpandDimsSource"
    shape = (13, 1, 18, 23)

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content[:, 0]

    def given_axes(self) -> tuple[Axis, ...]:
        z, y, x = default_axes(3)
        return (replace(z, scale=2.0, unit="nanometer"), Axis("c", "channel"), replace(y, offset=3.0), x)

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return (axes[0], *axes[2:])

    def wrap(self, *sources: Source) -> Source:
        return ExpandDimsSource(sources[0], 1)


class TestAxes(Wrapped):
    kind = "AxesSource"

    @pytest.fixture
    def make_source(self, make_stored: MakeSource) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            return AxesSource(make_stored(content, writable=writable), axes or default_axes(content.ndim))

        return make

    make_stored = Wrapped.make_source

    def wrap(self, *sources: Source) -> Source:
        return sources[0]


class TestCast(Wrapped):
    kind = "CastSource"
    dtypes = ("uint8", "uint16", "int16", "int32")

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content.astype(np.float64)

    @pytest.fixture
    def make_source(self, make_stored: MakeSource) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            return CastSource(make_stored(content, writable=writable, axes=axes), content.dtype)

        return make

    make_stored = Wrapped.make_source

    def wrap(self, *sources: Source) -> Source:
        return sources[0]


class Computed(Wrapped):
    impossible: ClassVar[dict[str, str]] = COMPUTED


class TestCached(Computed):
    kind = "CachedSource"
    impossible: ClassVar[dict[str, str]] = {**VIEW, "write": "what is kept would not change"}

    def wrap(self, *sources: Source) -> Source:
        return CachedSource(sources[0], 5000)


class TestDownsample(Computed):
    kind = "DownsampleSource"
    dtypes = ("uint8", "uint64", "int8", "int64")

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content.repeat(2, 0).repeat(3, 2)

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        fine = [replace(a, scale=a.scale / f) for a, f in zip(axes, (2, 1, 3), strict=True)]
        return tuple(replace(a, offset=a.offset - (f - 1) / 2 * a.scale) for a, f in zip(fine, (2, 1, 3), strict=True))

    def wrap(self, *sources: Source) -> Source:
        return DownsampleSource(sources[0], (2, 1, 3), "mean")


class TestSimpleTransformation(Computed):
    kind = "SimpleTransformationSource"

    def stored(self, content: np.ndarray) -> np.ndarray:
        return -content - 1 if content.dtype.kind == "f" else ~content

    def wrap(self, *sources: Source) -> Source:
        return SimpleTransformationSource(sources[0], lambda block: -block - 1 if block.dtype.kind == "f" else ~block)

    dtypes = ("uint8", "uint64", "int32")


class TestTransformationWithHalo(Computed):
    kind = "SimpleTransformationWithHaloSource"

    def stored(self, content: np.ndarray) -> np.ndarray:
        return np.pad(content, [(0, 0), (0, 0), (0, 1)])

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return (*axes[:2], replace(axes[2], offset=axes[2].offset - axes[2].scale))

    def wrap(self, *sources: Source) -> Source:
        def shifted(block: np.ndarray) -> np.ndarray:
            return np.roll(block, 1, 2)

        # the first voxel of a row has no left neighbour to be shifted from
        whole = SimpleTransformationWithHaloSource(sources[0], shifted, (0, 0, 1))
        return RoiSource(whole, (slice(None), slice(None), slice(1, None)))


class TestTransformation(Computed):
    kind = "TransformationSource"
    dtypes = ("int32", "int64")
    dtype = "int64"

    def content(self, seed: int = 0) -> np.ndarray:
        return super().content(seed) // 4

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content - np.arange(content.shape[0], dtype=content.dtype)[:, None, None] * (content.shape[1] > 0)

    def wrap(self, *sources: Source) -> Source:
        def add_row(block: np.ndarray, roi: tuple[slice, ...]) -> np.ndarray:
            return block + np.arange(roi[0].start, roi[0].stop, dtype=block.dtype)[:, None, None]

        return TransformationSource(sources[0], add_row)


class TestMultiTransformation(Computed):
    kind = "MultiTransformationSource"

    def stored(self, content: np.ndarray) -> Any:
        return (
            [content // 2, content - content // 2] if content.dtype.kind != "f" else [content, np.zeros_like(content)]
        )

    def places(self) -> int:
        return 2

    def wrap(self, *sources: Source) -> Source:
        return MultiTransformationSource(np.add, *sources)


class TestThreshold(Computed):
    kind = "ThresholdSource"
    dtype = "bool"
    dtypes = ("bool",)

    def stored(self, content: np.ndarray) -> np.ndarray:
        return np.where(content, 20, 10).astype(np.uint8)

    def wrap(self, *sources: Source) -> Source:
        return ThresholdSource(sources[0], 15)


class TestNormalize(Computed):
    kind = "NormalizeSource"
    dtype = "float32"
    dtypes = ("float32", "float64")

    def content(self, seed: int = 0) -> np.ndarray:
        content = np.linspace(0, 1, int(np.prod(self.shape)), dtype=self.dtype).reshape(self.shape)
        return content[:, ::-1]

    @pytest.fixture
    def make_source(self, make_stored: MakeSource) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            if content.min() < 0:
                return make_stored(content, axes=axes)  # a range of any width does not come back to the bit
            return NormalizeSource(make_stored(content.astype(np.float64) * 8 - 2, axes=axes), content.dtype)

        return make

    make_stored = Wrapped.make_source

    def wrap(self, *sources: Source) -> Source:
        return sources[0]


class TestStandardize(Computed):
    kind = "StandardizeSource"
    dtype = "float64"
    dtypes = ("float64",)

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content * 4 + 8

    tolerance = 1e-9

    def wrap(self, *sources: Source) -> Source:
        return StandardizeSource(sources[0], "float64", mean_and_std=(8, 4))


class TestStack(Computed):
    kind = "StackSource"
    shape = (13, 3, 18, 23)

    def places(self) -> int:
        return 3

    def stored(self, content: np.ndarray) -> Any:
        return list(content.transpose(1, 0, 2, 3))

    def given_axes(self) -> tuple[Axis, ...]:
        z, y, x = default_axes(3)
        return (replace(z, scale=2.0, unit="nanometer"), Axis("c", "channel"), replace(y, offset=3.0), x)

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return (axes[0], *axes[2:])

    def wrap(self, *sources: Source) -> Source:
        return StackSource(*sources, axis=1)


class TestConcatenate(Computed):
    kind = "ConcatenateSource"

    def places(self) -> int:
        return 3

    def stored(self, content: np.ndarray) -> Any:
        return [content[:, :7], content[:, 7:8], content[:, 8:]]

    def wrap(self, *sources: Source) -> Source:
        return ConcatenateSource(*sources, axis="y")


class TestPad(Computed):
    kind = "PadSource"
    dtypes = ()

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content[:7, 3:, 2:13]

    @pytest.fixture
    def make_source(self, make_stored: MakeSource) -> MakeSource:
        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            return PadSource(make_stored(content, axes=axes), self.widths, "reflect")

        return make

    make_stored = Wrapped.make_source
    widths: ClassVar[tuple[Any, ...]] = (6, (3, 0), (2, 10))

    def content(self, seed: int = 0) -> np.ndarray:
        return np.pad(self.stored(super().content(seed)), ((0, 6), (3, 0), (2, 10)), "reflect")

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(replace(a, offset=a.offset + n * a.scale) for a, n in zip(axes, (0, 3, 2), strict=True))

    def wrap(self, *sources: Source) -> Source:
        return sources[0]


class TestAffine(Computed):
    kind = "AffineSource"

    def stored(self, content: np.ndarray) -> np.ndarray:
        return np.pad(content.transpose(1, 0, 2), [(2, 3), (1, 1), (0, 4)])

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return axes

    def given_axes(self) -> tuple[Axis, ...]:
        # the transform turns z into y: only equal scales, and no offset, are known afterwards
        return tuple(replace(axis, scale=2.0, unit="nanometer") for axis in default_axes(3))

    def wrap(self, *sources: Source) -> Source:
        return AffineSource(sources[0], self.shape, affine_matrix=[[0, 1, 0, 2], [1, 0, 0, 1], [0, 0, 1, 0]])


class TestWarp(Computed):
    kind = "WarpSource"

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content[:, ::-1]

    @pytest.fixture
    def make_source(self, make_stored: MakeSource, tmp_path: Path) -> MakeSource:
        counter = itertools.count()

        def make(content: np.ndarray, *, writable: bool = True, axes: tuple[Axis, ...] | None = None) -> Source:
            shifts = np.zeros((3, *content.shape), np.float32)
            shifts[1] = content.shape[1] - 1 - 2 * np.indices(content.shape)[1]  # to what was reversed
            path = tmp_path / f"field{next(counter)}.zarr"
            field = create_array(path, "f", shape=shifts.shape, dtype="f4", chunks=(3, 4, 5, 8))
            field[...] = shifts
            return WarpSource(make_stored(content, axes=axes), open_source(path, "f"), displacement=True)

        return make

    make_stored = Wrapped.make_source

    def wrap(self, *sources: Source) -> Source:
        return sources[0]


class TestResized(Computed):
    kind = "ResizedSource"

    def stored(self, content: np.ndarray) -> np.ndarray:
        return content.repeat(3, 0).repeat(2, 2)

    def stored_axes(self, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        fine = [replace(a, scale=a.scale / f) for a, f in zip(axes, (3, 1, 2), strict=True)]
        return tuple(replace(a, offset=a.offset - (f - 1) / 2 * a.scale) for a, f in zip(fine, (3, 1, 2), strict=True))

    def wrap(self, *sources: Source) -> Source:
        return ResizedSource(sources[0], self.shape)
