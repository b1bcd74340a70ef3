"""Pyramids for tests: their data, their levels by a call each, and a look at what is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import bioimage_py as bp
from bioimage_py.io import create_array
from bioimage_py.runner.worker.outputs import GuardedOutput
from bioimage_py.sources import as_source
from bioimage_py.wrapper import WrapperSource

QUIET: dict[str, Any] = {"progress": False, "retries": 0}


def voxels(shape: Sequence[int], dtype: Any, seed: int = 0) -> np.ndarray:
    """Few values, so that modes tie; ids are above 2^53."""
    drawn = np.random.default_rng(seed).integers(0, 5, shape)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return drawn > 2
    if kind.kind == "f":
        return (drawn * 0.3 - 0.6).astype(kind)
    return (drawn + (2**60 + 2**7 if kind == "u8" else 0)).astype(kind) * np.array(-1 if kind.kind == "i" else 1, kind)


def shapes_of(shape: Sequence[int], factors: Sequence[Any]) -> list[tuple[int, ...]]:
    found = [tuple(shape)]
    for factor in factors:
        by = (factor,) * len(shape) if isinstance(factor, int) else factor
        found.append(tuple(-(-n // f) for n, f in zip(found[-1], by, strict=True)))
    return found[1:]


def levels_of(
    array: Any, factors: Sequence[Any], method: Any, targets: Sequence[Any] | None = None
) -> list[np.ndarray]:
    """A call of `downsample` a level."""
    made = []
    for number, factor in enumerate(factors):
        array = bp.downsample(array, factor, None if targets is None else targets[number], method=method)
        made.append(np.asarray(array))
    return made


def same_bits(outputs: Sequence[Any], expected: Sequence[np.ndarray]) -> None:
    for output, level in zip(outputs, expected, strict=True):
        found = np.asarray(output[...])
        assert found.dtype == level.dtype
        assert found.tobytes() == level.tobytes()


def zarrs(folder: Path, shape: Sequence[int], factors: Sequence[Any], dtype: Any, chunks: Any, **how: Any) -> list[Any]:
    """One array a level, with the chunks of the first where the shape has room for them."""
    return [
        create_array(folder / "levels.zarr", str(number), shape=level, dtype=dtype, chunks=chunks, **how)
        for number, level in enumerate(shapes_of(shape, factors), 1)
    ]


def stages_of(source: Any, factors: Sequence[Any], outputs: Sequence[Any], **how: Any) -> list[str]:
    return [stage.name for stage in bp.pyramid(source, factors, outputs, plan=True, **how).stages]


@contextmanager
def units_written_once(outputs: Sequence[Any]) -> Iterator[None]:
    """Every unit of every level is written, and none twice."""
    sources = [as_source(output) for output in outputs]
    units = [source.write_chunks or (1,) * source.ndim for source in sources]
    counts = [
        np.zeros([-(-n // u) for n, u in zip(source.shape, unit, strict=True)], int)
        for source, unit in zip(sources, units, strict=True)
    ]
    lock, store = threading.Lock(), GuardedOutput.store

    def counted(self: GuardedOutput, roi: Any, value: np.ndarray) -> None:
        target, box = self.target, tuple((part.start, part.stop) for part in roi)
        while isinstance(target, WrapperSource) and (inner := target.inner_box(box)) is not None:
            target, box = target.source, inner
        (number,) = [n for n, source in enumerate(sources) if source.identity == target.identity]
        with lock:
            counts[number][tuple(slice(b // u, -(-e // u)) for (b, e), u in zip(box, units[number], strict=True))] += 1
        store(self, roi, value)

    with mock.patch.object(GuardedOutput, "store", counted):
        yield
    for count in counts:
        assert (count == 1).all()
