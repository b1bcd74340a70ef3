"""The conformance suite finds what is wrong: each broken source fails the test that is there for it."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.sources import Axis, Source, SourceSpec, default_axes, register_source, unregister_source
from bioimage_py.sources.array import ArraySource
from bioimage_py.testing import CHECKS, SourceConformance
from bioimage_py.testing.indices import indices, values, write_units

KIND = "test of the suite"


class Npy(Source):
    """A third party's source: one file of numpy, written in slabs of four planes."""

    pause = 0.0

    def __init__(self, path: str, mode: str = "r", axes: tuple[Axis, ...] | None = None) -> None:
        self.path, self.mode, self.given = path, mode, axes
        self.lock = threading.Lock()

    @property
    def map(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r+")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.map.shape

    @property
    def dtype(self) -> np.dtype:
        return self.map.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        return (4, *self.shape[1:])

    @property
    def concurrency(self) -> Any:
        return "aligned"

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.given or default_axes(self.ndim)

    @property
    def writable(self) -> bool:
        return self.mode == "r+"

    @property
    def identity(self) -> Any:
        return ("file", self.path)

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return np.array(self.map[roi])

    def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
        # whole slabs, as a compressed format would write them
        for begin in range(roi[0].start // 4 * 4, roi[0].stop, 4):
            slab = np.array(self.map[begin : begin + 4])
            time.sleep(self.pause)
            inside = slice(max(roi[0].start, begin), min(roi[0].stop, begin + 4))
            part = value[inside.start - roi[0].start : inside.stop - roi[0].start]
            slab[(slice(inside.start - begin, inside.stop - begin), *roi[1:])] = part
            self.map[begin : begin + 4] = slab

    def to_spec(self) -> SourceSpec:
        axes = [[a.name, a.kind, a.unit, a.scale, a.offset] for a in self.axes]
        return SourceSpec(KIND, self.path, None, {"mode": self.mode, "axes": axes})


def reopen(cls: type[Npy], spec: SourceSpec) -> Npy:
    arguments = spec.arguments()
    return cls(spec.path or "", arguments["mode"], tuple(Axis(*axis) for axis in arguments["axes"]))


class Suite(SourceConformance):
    examples = 30


@pytest.fixture
def make_of(tmp_path: Path) -> Any:
    counter = itertools.count()

    def of(cls: type[Npy]) -> Any:
        register_source(None, None, kind=KIND, reopen=lambda spec: reopen(cls, spec))

        def make(content: np.ndarray, *, writable: bool = True, axes: Any = None) -> Source:
            path = str(tmp_path / f"{next(counter)}.npy")
            np.save(path, content)
            return cls(path, "r+" if writable else "r", axes)

        return make

    yield of
    unregister_source(kind=KIND)


TESTS = [name for name in dir(SourceConformance) if name.startswith("test_")]
IN_PROCESS = [
    name
    for name in TESTS
    if name not in ("test_other_processes_read_and_write", "test_reads_what_another_program_wrote")
]


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_right_source_passes(make_of: Any, name: str) -> None:
    getattr(Suite(), name)(make_of(Npy))


def test_every_test_belongs_to_a_check() -> None:
    assert len(TESTS) >= 18
    for name in TESTS:
        assert set(getattr(SourceConformance, name).checks) <= set(CHECKS)


class IgnoresSteps(Npy):
    def read(self, index: Any = ...) -> np.ndarray:
        parts = index if isinstance(index, tuple) else (index,)
        return super().read(tuple(slice(p.start, p.stop) if isinstance(p, slice) else p for p in parts))


class AcceptsFloats(Npy):
    def read(self, index: Any = ...) -> np.ndarray:
        return super().read(int(index) if isinstance(index, float) else index)


class GivesItsOwnMemory(Npy):
    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return self.map[roi]


class ThroughFloat(Npy):
    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return np.array(self.map[roi]).astype(np.float64).astype(self.dtype)


class AlwaysWritable(Npy):
    writable = True  # type: ignore[assignment]


class WrapsAround(Npy):
    def write(self, index: Any, value: Any, *, casting: Any = "checked") -> None:
        super().write(index, value, casting="unsafe")


class Broadcastless(Npy):
    def _setitem(self, roi: tuple[slice, ...], value: np.ndarray) -> None:
        super()._setitem(roi, np.resize(np.unique(value), value.shape) if 0 in value.strides else value)


class UnitTooSmall(Npy):
    pause = 1e-4

    @property
    def chunks(self) -> tuple[int, ...]:
        return (2, *self.shape[1:])


class OriginWrong(Npy):
    pause = 1e-4

    @property
    def grid_origin(self) -> tuple[int, ...]:
        return (1, *(0 for _ in self.shape[1:]))


class OneCursor(Npy):
    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        self.cursor = roi
        time.sleep(1e-3)
        return np.array(self.map[self.cursor])


class EmptiesWhenOpened(Npy):
    def to_spec(self) -> SourceSpec:
        spec = super().to_spec()
        return SourceSpec(KIND, self.path, None, {**spec.params, "mode": "w"})


class ForgetsTheMode(Npy):
    def to_spec(self) -> SourceSpec:
        return SourceSpec(KIND, self.path, None, {**super().to_spec().params, "mode": "r+"})


class NeverTheSameSpec(Npy):
    def to_spec(self) -> SourceSpec:
        return SourceSpec(KIND, self.path, None, {**super().to_spec().params, "opened": time.perf_counter()})


class ForgetsAxes(Npy):
    def to_spec(self) -> SourceSpec:
        axes = [[a.name, a.kind, a.unit, 1.0, 0.0] for a in self.axes]
        return SourceSpec(KIND, self.path, None, {"mode": self.mode, "axes": axes})


BROKEN: list[tuple[type[Npy], str]] = [
    (IgnoresSteps, "test_indexing_equals_numpy"),
    (AcceptsFloats, "test_indices_that_numpy_refuses"),
    (GivesItsOwnMemory, "test_what_is_read_belongs_to_the_caller"),
    (ThroughFloat, "test_data_types"),
    (AlwaysWritable, "test_read_only_sources_refuse_to_write"),
    (AlwaysWritable, "test_specs_keep_the_mode_and_empty_nothing"),
    (WrapsAround, "test_values_that_do_not_fit"),
    (Broadcastless, "test_writing_equals_numpy"),
    (UnitTooSmall, "test_eight_threads_write_their_own_units"),
    (OriginWrong, "test_eight_threads_write_their_own_units"),
    (OneCursor, "test_eight_threads_read"),
    (EmptiesWhenOpened, "test_specs_keep_the_mode_and_empty_nothing"),
    (ForgetsTheMode, "test_specs_keep_the_mode_and_empty_nothing"),
    (NeverTheSameSpec, "test_the_spec_is_a_value"),
    (ForgetsAxes, "test_axes_are_kept"),
]


@pytest.mark.parametrize(("cls", "name"), BROKEN, ids=[f"{cls.__name__}-{name}" for cls, name in BROKEN])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_source_fails(make_of: Any, cls: type[Npy], name: str) -> None:
    # hypothesis joins failures of which one is not seen again
    with pytest.raises((AssertionError, pytest.fail.Exception, ExceptionGroup)):
        getattr(Suite(), name)(make_of(cls))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_drawn_indices_and_values_fit(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    array = np.zeros(shape, np.uint16)
    index = data.draw(indices(shape))
    array[index] = data.draw(values(array[index].shape, array.dtype))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_units_cover_every_voxel_once(data: st.DataObject) -> None:
    class Grid(ArraySource):
        write_chunks = grid_origin = None  # type: ignore[assignment]

    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    source = Grid(np.zeros(shape, int))
    source.write_chunks = tuple(data.draw(st.integers(1, 5)) for _ in shape)  # type: ignore[assignment,misc]
    source.grid_origin = tuple(data.draw(st.integers(-9, 9)) for _ in shape)  # type: ignore[assignment,misc]
    count = np.zeros(shape, int)
    for box in write_units(source):
        count[box] += 1
        assert all(part.start < part.stop for part in box)
        for part, unit, origin in zip(box, source.write_chunks, source.grid_origin, strict=True):
            assert (part.start - origin) // unit == (part.stop - 1 - origin) // unit
    assert (count == 1).all()


@pytest.mark.long
def test_the_table_fails_for_what_is_skipped_without_being_declared(tmp_path: Path) -> None:
    test = tmp_path / "test_kinds.py"
    test.write_text(
        dedent(
            """
            import pytest
            from bioimage_py.sources import as_source
            from bioimage_py.testing import SourceConformance

            class TestMemory(SourceConformance):
                kind = "memory"
                impossible = {"reopen": "memory", "axes": "none", "foreign": "memory"}
                dtypes = ("uint8",)
                examples = 2

                @pytest.fixture
                def make_source(self):
                    def make(content, *, writable=True, axes=None):
                        array = content.copy()
                        array.flags.writeable = writable
                        return as_source(array)
                    return make
            """
        )
    )
    table = Path(__file__).parents[2] / "benchmarks" / "sources_table.py"

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(table), str(test), f"--rootdir={tmp_path}", "-c", os.devnull]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    complete = run()
    assert complete.returncode == 0, complete.stdout
    assert re.search(r"memory +yes +yes +impossible +yes +impossible +impossible", complete.stdout)
    test.write_text(test.read_text().replace(', "foreign": "memory"}', "}"))
    undeclared = run()
    assert undeclared.returncode == 1
    assert re.search(r"memory +yes +yes +impossible +yes +impossible +SKIPPED", undeclared.stdout)
    assert "no other program writes the data" in undeclared.stdout
    test.write_text(test.read_text().replace("array.flags.writeable = writable", "pass"))
    failing = run()
    assert failing.returncode == 1
    assert re.search(r"memory +FAILED", failing.stdout)
