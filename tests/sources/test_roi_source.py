"""Views of regions: what they report of the storage, reading, writing, reopening."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import FormatError, NotReopenableError, ReadOnlyError, RegionError, SourceTypeError
from bioimage_py.io import create_array
from bioimage_py.sources import Axis, Source, SourceSpec, as_source, from_spec
from bioimage_py.wrapper import RoiSource, WrapperSource, register_wrapper, wrapper_from_spec

SHAPE = (32, 48)


def sharded(path: Path) -> Source:
    axes = (Axis("y", unit="nanometer", scale=4.0), Axis("x", unit="nanometer", scale=2.0))
    axes = (Axis("y", unit="nanometer", scale=4.0), Axis("x", unit="nanometer", scale=2.0))
    source = create_array(path / "s.zarr", "raw", shape=SHAPE, dtype="u2", chunks=(4, 4), shards=(16, 16), axes=axes)
    source[...] = np.arange(32 * 48).reshape(SHAPE)
    return source


class Doubled(WrapperSource):
    """A third party's wrapper with arguments of its own."""

    def __init__(self, source: Any, offset: int, function: Any = np.add) -> None:
        super().__init__(source)
        self._arguments = {"offset": offset, "function": function}

    def _params(self) -> dict[str, Any]:
        return self._arguments

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self._arguments["function"](2 * self.source[roi], self._arguments["offset"]))


def test_reports_the_storage_unchanged(tmp_path: Path) -> None:
    inner = sharded(tmp_path)
    view = RoiSource(inner, (slice(5, 30), slice(17, 19)))
    assert view.shape == (25, 2)
    assert view.chunks == (4, 4)
    assert view.shards == (16, 16)
    assert view.write_chunks == (16, 16)
    assert view.grid_origin == (-5, -17)
    nanometer = "nanometer"
    assert view.axes == (Axis("y", "space", nanometer, 4.0, 20.0), Axis("x", "space", nanometer, 2.0, 34.0))
    assert view.writable
    assert view.concurrency == "aligned"
    assert view.identity == inner.identity
    nested = RoiSource(view, (slice(2, None), 1), squeeze=True)
    assert nested.grid_origin == (-7,)
    assert nested.write_chunks == (16,)
    assert nested.identity == inner.identity


def test_axes_are_shifted() -> None:
    class Scaled(WrapperSource):
        @property
        def axes(self) -> tuple[Axis, ...]:
            return (Axis("y", unit="nanometer", scale=4.0, offset=2.0), Axis("x", scale=0.5))

        def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
            return self.source[roi]

    view = RoiSource(Scaled(np.zeros(SHAPE)), (slice(5, 9), slice(-8, None)))
    assert view.axes == (Axis("y", unit="nanometer", scale=4.0, offset=22.0), Axis("x", scale=0.5, offset=20.0))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_equals_numpy_views(data: st.DataObject) -> None:
    array = np.arange(6 * 7 * 5).reshape(6, 7, 5)
    parts: list[Any] = []
    for size in array.shape[: data.draw(st.integers(0, 3))]:
        if data.draw(st.booleans()):
            parts.append(data.draw(st.integers(-size, size - 1)))
        else:
            start = data.draw(st.integers(0, size - 1))
            stop = data.draw(st.integers(start + 1, size))
            parts.append(slice(data.draw(st.sampled_from([start, start - size])), stop))
    squeeze = data.draw(st.booleans())
    kept = [slice(p, p + 1 if p != -1 else None) if isinstance(p, int) and not squeeze else p for p in parts]
    expected = array.copy()
    target = expected[tuple(kept)]
    written = array.copy()
    view = RoiSource(written, tuple(parts), squeeze=squeeze)
    np.testing.assert_array_equal(view[...], target)
    np.testing.assert_array_equal(view.view(), target)
    assert view.shape == np.shape(target)
    if target.ndim:
        index = (data.draw(st.slices(target.shape[0])),)
        target[index] = -1
        view[index] = -1
        np.testing.assert_array_equal(written, expected)


def test_unaligned_view_of_shards_keeps_what_is_around(tmp_path: Path) -> None:
    inner = sharded(tmp_path)
    expected = inner[...].copy()
    view = RoiSource(inner, (slice(3, 29), slice(7, 45)))
    value = np.arange(26 * 38).reshape(26, 38) + 2000
    groups = [(slice(max(0, y - 3), y + 13), slice(max(0, x - 7), x + 9)) for y in (0, 16) for x in (0, 16, 32)]

    def write(roi: tuple[slice, slice]) -> None:
        view[roi] = value[roi]

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, groups))
    expected[3:29, 7:45] = value
    np.testing.assert_array_equal(inner[...], expected)
    np.testing.assert_array_equal(from_spec(view.to_spec())[...], value)


def test_read_only_and_unreopenable_inner(tmp_path: Path) -> None:
    array = np.zeros(SHAPE)
    array.flags.writeable = False
    view = RoiSource(array, slice(1, 3))
    assert not view.writable
    with pytest.raises(ReadOnlyError):
        view[0] = 1
    with pytest.raises(NotReopenableError, match="numpy array in memory"):
        view.to_spec()


def test_spec_reopens(tmp_path: Path) -> None:
    view = RoiSource(sharded(tmp_path), (slice(5, 30), -1), squeeze=True)
    spec = view.to_spec()
    assert spec.kind == "wrapper"
    assert spec.params["class"] == {"__callable__": "bioimage_py.wrapper.roi:RoiSource"}
    assert spec.wrapped == view.source.to_spec()
    back = from_spec(SourceSpec.from_json(spec.to_json()))
    assert isinstance(back, RoiSource)
    np.testing.assert_array_equal(back[...], view[...])
    assert back.grid_origin == view.grid_origin
    assert back.to_spec() == spec
    assert back.writable


def test_fresh_goes_through(tmp_path: Path) -> None:
    inner = sharded(tmp_path)
    view = RoiSource(inner, (slice(5, 30),))
    cached = view.fresh(cache_bytes=10**6)
    assert isinstance(cached, RoiSource)
    before = cached[0, 0]
    inner[5, 0] = before + 1
    assert cached[0, 0] == before
    assert view.fresh()[0, 0] == before + 1
    memory = RoiSource(np.zeros(SHAPE), slice(1, 3))
    assert memory.fresh(cache_bytes=10) is memory


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (slice(0, 33), r"region 0:33 does not fit axis 0 of size 32"),
        (slice(-33, 3), "does not fit axis 0"),
        (slice(9, 3), "9:3 does not fit"),
        (slice(3, 3), "empty along axis 0"),
        ((slice(None), slice(0, 8, 2)), "step 2 along axis 1"),
        ((slice(None), slice(None, None, -1)), "step -1"),
        ((0, 48), "48 is outside of axis 1 of size 48"),
        ((0, 0, 0), r"3 axes, the source 2 \(shape \(32, 48\)\)"),
        ((0, 1.5), "1.5 .a float. for axis 1"),
        ((0, True), "True .a bool. for axis 1"),
        ((slice(0, 2.5),), "2.5 .a float. for axis 0"),
        (None, "None .a NoneType. for axis 0"),
        ("ab", "'a' .a str."),
    ],
)
def test_bad_regions(roi: Any, message: str) -> None:
    with pytest.raises(RegionError, match=message) as caught:
        RoiSource(np.zeros(SHAPE), roi)
    assert caught.value.remedy


def test_wrappers_of_third_parties_reopen(tmp_path: Path) -> None:
    register_wrapper(Doubled)
    source = Doubled(RoiSource(sharded(tmp_path), (slice(0, 2), slice(0, 3))), 5, lambda a, b: a + b)
    back = from_spec(SourceSpec.from_json(source.to_spec().to_json(), allow_pickle=True))
    assert type(back) is Doubled
    assert back[...].tolist() == [[5, 7, 9], [101, 103, 105]]
    assert not back.writable
    with pytest.raises(ReadOnlyError):
        back[0] = 1
    assert type(back.fresh(cache_bytes=1000)) is Doubled
    assert back.chunks == (4, 4)


def test_wrapper_of_a_script_reopens_in_another_process(tmp_path: Path) -> None:
    sharded(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        "import pickle, sys\n"
        "from bioimage_py.sources import open_source\n"
        "from bioimage_py.wrapper import WrapperSource\n"
        "class Plus(WrapperSource):\n"
        "    def _getitem(self, roi):\n"
        "        return self.source[roi] + 1\n"
        f"spec = Plus(open_source({str(tmp_path / 's.zarr')!r}, 'raw')).to_spec()\n"
        "sys.stdout.buffer.write(pickle.dumps(spec))\n"
    )
    done = subprocess.run(
        [sys.executable, script], check=True, stdout=subprocess.PIPE, cwd=tmp_path, env=_environment()
    )
    import pickle

    assert from_spec(pickle.loads(done.stdout))[0, :3].tolist() == [1, 2, 3]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_bad_wrapper_specs(tmp_path: Path) -> None:
    inner = sharded(tmp_path).to_spec()
    with pytest.raises(FormatError, match="names no class or no inner source"):
        wrapper_from_spec(SourceSpec("wrapper", wrapped=inner))
    with pytest.raises(FormatError, match="is no WrapperSource"):
        from_spec(SourceSpec("wrapper", params={"class": np.greater}, wrapped=inner))
    with pytest.raises(SourceTypeError, match="is no WrapperSource"):
        register_wrapper(int)  # type: ignore[type-var]


def test_closing_closes_the_inner_one(tmp_path: Path) -> None:
    inner = sharded(tmp_path)
    with RoiSource(inner, slice(0, 3)) as view:
        view[0]
    with pytest.raises(OSError, match="is closed"):
        inner[0]


def test_as_source_takes_wrappers() -> None:
    view = RoiSource(np.zeros(SHAPE), ())
    assert as_source(view) is view
