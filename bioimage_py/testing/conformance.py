"""What a source has to do, as tests."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ..errors import BioimageError, DtypeError, IndexingError, ReadOnlyError, ShapeError, ValueRangeError
from ..sources.axes import Axis
from ..sources.base import Source
from ..sources.registry import as_source, from_spec
from ..sources.spec import SourceSpec
from ..wrapper.roi import RoiSource
from .checks import THREADS, MakeSource, check, example_axes, modes, same_axes, same_voxels, together
from .child import Child, described
from .indices import indices, values, voxels, write_units


class SourceConformance:
    """Proves that a kind of source is right; to be derived from, in a test file.

    The derived class (its name begins with "Test") overrides the fixture ``make_source``. It returns a function
    ``make(content, *, writable=True, axes=None)`` that stores the array `content` (shape and data type as they are)
    in a new place at every call and returns a `Source` of it: read-only for ``writable=False``, with the physical
    `axes` where they are given. Chunks should be smaller than `shape` and not divide it.

    Six checks are made: "read" (indexing like numpy, data types, errors), "write" (broadcasting, range, shape and
    mode errors), "reopen" (specs, modes, other processes), "threads" (8 of them; also write units), "axes", "foreign"
    (data that another program wrote). What a kind cannot do is named in `impossible`.

    Attributes
    ----------
    kind : str
        Name in the table of sources; by default the name of the class without "Test".
    impossible : mapping
        From the name of a check to the reason why this kind cannot pass it, shown with the skipped tests.
    shape : tuple of int
        Shape of the content.
    dtype : str
        Its data type.
    dtypes : sequence of str
        All data types that the kind stores.
    examples : int
        How many indices hypothesis draws; fewer for kinds that are slow.
    tolerance : float
        Largest difference of a voxel, for lossy kinds.

    Examples
    --------
    >>> class TestMyFormat(SourceConformance):
    ...     impossible = {"foreign": "nothing else writes this format"}
    ...
    ...     @pytest.fixture
    ...     def make_source(self, tmp_path):
    ...         def make(content, *, writable=True, axes=None):
    ...             path = tmp_path / f"{uuid4().hex}.my"
    ...             my_format.save(path, content, axes)
    ...             return MySource(path, mode="r+" if writable else "r")
    ...
    ...         return make
    """

    kind: ClassVar[str] = ""
    impossible: ClassVar[Mapping[str, str]] = {}
    shape: ClassVar[tuple[int, ...]] = (13, 18, 23)
    dtype: ClassVar[str] = "uint16"
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16", "uint64", "int8", "int32", "int64", "float32", "float64")
    examples: ClassVar[int] = 40
    tolerance: ClassVar[float] = 0

    @pytest.fixture
    def make_source(self) -> MakeSource:
        """Return the function that makes a source; to be overridden."""
        pytest.fail("override the fixture make_source: see SourceConformance")

    @pytest.fixture
    def make_foreign(self) -> Callable[[np.ndarray], Source]:
        """Return a function that lets another program write an array, and opens it; one parameter a program."""
        pytest.skip("no other program writes the data: override the fixture make_foreign, or declare it impossible")

    def content(self, seed: int = 0) -> np.ndarray:
        """Return an array of `shape` and `dtype`; to be overridden where not all values can be stored."""
        return voxels(self.shape, np.dtype(self.dtype), seed)

    def given_axes(self) -> tuple[Axis, ...]:
        """Return the axes that a source is made with; to be overridden where units or names are fixed."""
        return example_axes(len(self.shape))

    def release(self, source: Source) -> None:
        """Let other processes open the data; to be overridden where more than closing the source is needed."""
        source.close()

    @pytest.fixture(autouse=True)
    def _possible(self, request: pytest.FixtureRequest) -> None:
        for name in getattr(request.function, "checks", ()):
            if name in self.impossible:
                pytest.skip(f"declared impossible: {self.impossible[name]}")

    def _again(self, source: Source) -> Source:
        """The same data through another handle, where there is a way."""
        return source if "reopen" in self.impossible else from_spec(source.to_spec())

    def _equal(self, found: np.ndarray, expected: np.ndarray) -> None:
        same_voxels(found, expected, self.tolerance)

    @check("read")
    def test_shape_data_type_and_voxels(self, make_source: MakeSource) -> None:
        """The content comes back, also by iteration, as an array, and as a view."""
        content = self.content()
        with make_source(content, writable=False) as source:
            assert (source.shape, source.dtype, source.ndim) == (content.shape, content.dtype, content.ndim)
            assert (source.size, source.nbytes, len(source)) == (content.size, content.nbytes, len(content))
            assert as_source(source) is source
            for found in (source[...], source.read(), source.view(), np.asarray(source), np.stack(list(source))):
                self._equal(np.asarray(found), content)
            source.close()  # twice is no error

    @check("read")
    def test_indexing_equals_numpy(self, make_source: MakeSource) -> None:
        """Integers, slices with steps of either sign, ellipsis and None select what they do in numpy."""
        content = self.content()
        with make_source(content, writable=False) as source:
            expected = source[...] if self.tolerance else content

            @settings(max_examples=self.examples, deadline=None, database=None, report_multiple_bugs=False)
            @given(index=indices(self.shape))
            def equals(index: Any) -> None:
                found = source[index]
                assert isinstance(found, np.ndarray)
                np.testing.assert_array_equal(found, expected[index])
                np.testing.assert_array_equal(source.view(index), expected[index])

            equals()

    @check("read")
    def test_indices_that_numpy_refuses(self, make_source: MakeSource) -> None:
        """Out of range, too many, floats, booleans and lists are IndexError, with what to do instead."""
        with make_source(self.content(), writable=False) as source:
            n, ndim = self.shape[0], len(self.shape)
            refused = (n, -n - 1, 1.0, True, [0, 1], (0,) * (ndim + 1), (..., ...), slice(0, 2, 0), slice(0.5, 2), "0")
            for index in refused:
                with pytest.raises(IndexingError) as caught:
                    source[index]
                assert caught.value.remedy, index

    @check("read")
    def test_what_is_read_belongs_to_the_caller(self, make_source: MakeSource) -> None:
        """Changing an array that was read does not change the source."""
        content = self.content()
        with make_source(content, writable=False) as source:
            box = tuple(slice(0, size) for size in self.shape)
            before = source[box].copy()
            changed = source[box]
            changed[...] = 0
            np.testing.assert_array_equal(source[box], before)

    @check("read")
    def test_data_types(self, make_source: MakeSource) -> None:
        """Every data type keeps its extremes: ids above 2^53, negative numbers, both ends of the range."""
        for name in self.dtypes:
            dtype = np.dtype(name)
            content = voxels(self.shape, dtype)
            if dtype.kind in "iu":
                info = np.iinfo(dtype)
                content.flat[:3] = [info.min, info.max, info.max - 1]
            with make_source(content, writable=False) as source:
                assert source.dtype == dtype
                self._equal(source[...], content)

    @check("read")
    def test_grid(self, make_source: MakeSource) -> None:
        """Chunks, shards, write units and their origin fit each other and the shape."""
        with make_source(self.content(), writable=False) as source:
            for unit in (source.chunks, source.shards, source.write_chunks):
                assert unit is None or (len(unit) == source.ndim and all(type(n) is int and n > 0 for n in unit))
            assert len(source.grid_origin) == source.ndim
            assert all(type(n) is int for n in source.grid_origin)
            assert source.concurrency in ("any", "aligned", "single-writer")
            assert not (source.lossless and self.tolerance), "lossless values are equal"
            if source.shards is not None:
                assert source.write_chunks == source.shards
            assert isinstance(hash(source.identity), int)
            assert type(source).__name__ in repr(source)

    @check("read")
    def test_read_only_sources_refuse_to_write(self, make_source: MakeSource) -> None:
        """Writing is an error that says how to open it; nothing changes."""
        content = self.content()
        with make_source(content, writable=False) as source:
            assert not source.writable
            before = source[...].copy()
            for casting in ("checked", "unsafe"):
                with pytest.raises(ReadOnlyError, match="read-only") as caught:
                    source.write(0, 1, casting=casting)
                assert caught.value.remedy
            np.testing.assert_array_equal(source[...], before)

    @check("write")
    def test_writing_equals_numpy(self, make_source: MakeSource) -> None:
        """What is written anywhere, also broadcast, is what numpy would have; nothing around it changes."""
        content = self.content()
        with make_source(content) as source:
            assert source.writable
            np.testing.assert_array_equal(source[...], content)

            @settings(max_examples=self.examples, deadline=None, database=None, report_multiple_bugs=False)
            @given(data=st.data())
            def equals(data: st.DataObject) -> None:
                # compared with what was there before, so that a failure does not depend on the examples before it
                expected = source[...].copy()
                index = data.draw(indices(self.shape))
                value = data.draw(values(np.shape(expected[index]), expected.dtype))
                expected[index] = value
                source[index] = value
                np.testing.assert_array_equal(source[...], expected)

            equals()
            np.testing.assert_array_equal(self._again(source)[...], source[...])

    @check("write")
    def test_values_that_do_not_fit(self, make_source: MakeSource) -> None:
        """Values out of range, of another kind, or of another shape are errors before anything is written."""
        content = self.content()
        dtype = content.dtype
        with make_source(content) as source:
            wrong: list[tuple[Any, type[BioimageError]]] = [(np.zeros((2, *self.shape)), ShapeError)]
            if dtype.kind in "iu":
                high = int(np.iinfo(dtype).max)
                wrong += [(high + 1, ValueRangeError), (np.nan, ValueRangeError), (-high - 2, ValueRangeError)]
            if dtype.kind != "c":
                wrong.append((1j, DtypeError))
            for value, error in wrong:
                with pytest.raises(error) as caught:
                    source[...] = value
                assert caught.value.remedy
            np.testing.assert_array_equal(source[...], content)
            if dtype.kind in "iu" and dtype.itemsize < 8:
                source.write(0, int(np.iinfo(dtype).max) + 3, casting="unsafe")
                np.testing.assert_array_equal(source[0], np.full(self.shape[1:], int(np.iinfo(dtype).min) + 2, dtype))

    @check("write")
    def test_write_units_have_files_of_their_own(self, make_source: MakeSource) -> None:
        """There are several units, and where they are files, no two have the same one."""
        with make_source(self.content()) as source:
            if source.concurrency == "aligned":
                assert source.write_chunks is not None
            boxes = write_units(source)
            assert len(boxes) > 1, "make_source should make chunks (shards) that are smaller than the shape"
            files = [found for box in boxes if (found := source.unit_files(box)) is not None]
            names = [name for found in files for name in found.names]
            assert len(names) == len(set(names)) == len(files)

    @check("threads")
    def test_eight_threads_read(self, make_source: MakeSource) -> None:
        """One handle serves eight threads."""
        content = self.content()
        with make_source(content, writable=False) as source:
            expected = source[...]
            start = threading.Barrier(THREADS)

            def read(seed: int) -> None:
                generator = np.random.default_rng(seed)
                start.wait(60)
                for _ in range(max(4, self.examples // 4)):
                    cuts = [sorted(generator.integers(0, size + 1, 2)) for size in self.shape]
                    box = tuple(slice(int(begin), int(end)) for begin, end in cuts)
                    np.testing.assert_array_equal(source[box], expected[box])

            together(read)

    @check("threads", "write")
    def test_eight_threads_write_their_own_units(self, make_source: MakeSource) -> None:
        """Writers on different units, through two handles and in several parts a unit, lose no voxel."""
        content = self.content(1)
        with make_source(self.content()) as source:
            boxes, start = write_units(source), threading.Barrier(THREADS)
            single = source.concurrency == "single-writer"
            handles = [source, source if single else self._again(source)]
            turn = threading.Lock() if single else nullcontext()

            def write(worker: int) -> None:
                handle = handles[worker % 2]
                start.wait(60)
                for box in boxes[worker::THREADS]:
                    middle = (box[-1].start + box[-1].stop) // 2
                    for last in (slice(box[-1].start, middle), slice(middle, box[-1].stop)):
                        with turn:
                            handle[(*box[:-1], last)] = content[(*box[:-1], last)]
                    np.testing.assert_array_equal(handle[box], content[box])

            together(write)
            np.testing.assert_array_equal(source[...], content)
            np.testing.assert_array_equal(self._again(source)[...], content)

    @check("reopen")
    def test_the_spec_is_a_value(self, make_source: MakeSource) -> None:
        """It survives JSON and pickle, compares, hashes, and opens what says and holds the same."""
        content = self.content()
        with make_source(content, writable=False) as source:
            spec = source.to_spec()
            for copy in (SourceSpec.from_json(spec.to_json(), allow_pickle=True), pickle.loads(pickle.dumps(spec))):
                assert copy == spec
                assert hash(copy) == hash(spec)
            json.loads(spec.to_json())
            with from_spec(spec) as again, pickle.loads(pickle.dumps(source)) as pickled:
                assert again.to_spec() == spec
                assert described(again) == described(source) == described(pickled)
                assert again.identity == source.identity
                self._equal(again[...], content)

    @check("reopen")
    def test_specs_keep_the_mode_and_empty_nothing(self, make_source: MakeSource) -> None:
        """A read-only source stays read-only; one that was just made opens again with all its voxels."""
        content = self.content()
        for writable in (False, True) if "write" not in self.impossible else (False,):
            with make_source(content, writable=writable) as source:
                spec = source.to_spec()
                assert set(modes(spec)) <= {"r", "r+"}
                for _ in range(2):
                    with from_spec(spec) as again:
                        assert again.writable is writable
                        self._equal(again[...], content)
                        if not writable:
                            with pytest.raises(ReadOnlyError):
                                again[0] = 1

    @check("reopen")
    def test_other_processes_read_and_write(self, make_source: MakeSource, tmp_path: Path) -> None:
        """New processes find the same; two that write different units at the same time lose no voxel."""
        can_write = "write" not in self.impossible
        content, new = self.content(), self.content(1)
        source = make_source(content, writable=can_write)
        spec, said, boxes = source.to_spec(), described(source), write_units(source) if can_write else []
        alone = source.concurrency == "single-writer" or not can_write
        self.release(source)
        shares = [boxes] if alone else [boxes[::2], boxes[1::2]]
        children = [Child(tmp_path / f"process{i}", spec, share, new) for i, share in enumerate(shares)]
        for child in children:
            found, says = child.found()
            self._equal(found, content)
            assert says == json.loads(json.dumps(said))
        for child in children:
            if can_write:
                child.write()
        for child in children:
            child.end()
        with from_spec(spec) as again:
            self._equal(again[...], new if can_write else content)

    @check("axes")
    def test_axes_are_kept(self, make_source: MakeSource) -> None:
        """Names, kinds, units, scale and offset come back, also from the spec; a region moves the offset."""
        axes = self.given_axes()
        with make_source(self.content(), writable=False, axes=axes) as source:
            same_axes(source.axes, axes)
            same_axes(self._again(source).axes, axes)
            starts = tuple(min(2, size - 1) for size in self.shape)
            cut = RoiSource(source, [slice(start, None) for start in starts])
            moved = [replace(a, offset=a.offset + n * a.scale) for a, n in zip(axes, starts, strict=True)]
            same_axes(cut.axes, tuple(moved))
            if "reopen" not in self.impossible:
                same_axes(from_spec(cut.to_spec()).axes, tuple(moved))

    @check("read")
    def test_there_is_an_axis_for_every_dimension(self, make_source: MakeSource) -> None:
        """Names differ, scales are not 0, also where nothing is known."""
        with make_source(self.content(), writable=False) as source:
            assert len(source.axes) == source.ndim
            assert len({axis.name for axis in source.axes}) == source.ndim
            assert all(axis.scale != 0 and np.isfinite([axis.scale, axis.offset]).all() for axis in source.axes)

    @check("foreign")
    def test_reads_what_another_program_wrote(self, make_foreign: Callable[[np.ndarray], Source]) -> None:
        """The same voxels in the same order of axes."""
        content = self.content()
        with make_foreign(content) as source:
            self._equal(source[...], content)
            box = tuple(slice(1, size - 1) for size in self.shape)
            np.testing.assert_array_equal(source[box], source[...][box])
