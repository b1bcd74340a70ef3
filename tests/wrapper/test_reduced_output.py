"""A coarser level in the voxels of the level above, for writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import RegionError, ShapeError
from bioimage_py.io import create_array
from bioimage_py.sources import Axis, from_spec
from bioimage_py.wrapper import RoiSource, WrapperSource
from bioimage_py.wrapper.downsample import DownsampleSource
from bioimage_py.wrapper.reduced import ReducedOutput

from ..operations.pyramid_levels import voxels


@pytest.mark.parametrize("method", ["mean", "mode", "stride"])
def test_what_is_written_is_reduced_and_reading_repeats(method: Any, tmp_path: Path) -> None:
    array = voxels((11, 9, 10), "u8")
    level = create_array(tmp_path / "a.zarr", "a", shape=(4, 9, 5), dtype="u8", chunks=(2, 4, 4), shards=(2, 4, 8))
    view = ReducedOutput(level, (3, 1, 2), array.shape, method)
    expected = np.asarray(bp.downsample(array, (3, 1, 2), method=method))
    view[...] = array
    np.testing.assert_array_equal(level[...], expected)
    level[...] = 0
    view[6:11, 2:3, 4:8] = array[6:11, 2:3, 4:8]
    np.testing.assert_array_equal(level[2:, 2:3, 2:4], expected[2:, 2:3, 2:4])
    assert np.count_nonzero(level[...]) == 4
    level[...] = expected
    repeated = expected.repeat(3, 0).repeat(2, 2)[:11]
    np.testing.assert_array_equal(view[...], repeated)
    np.testing.assert_array_equal(view[4:11, 3:, 1:2], repeated[4:11, 3:, 1:2])


def test_the_view_is_in_voxels_of_the_level_above(tmp_path: Path) -> None:
    axes = (Axis("z", unit="nanometer", scale=5.0, offset=7.0), Axis("y", scale=2.0))
    level = create_array(tmp_path / "a.zarr", "a", shape=(20, 30), dtype="u1", chunks=(4, 8), shards=(8, 16))
    part = RoiSource(level, (slice(3, 13), slice(8, 30)))
    view = ReducedOutput(part, (2, 3), (19, 65), "mean")
    assert (view.shape, view.dtype, view.nbytes) == ((19, 65), np.dtype("u1"), 10 * 22)
    assert (view.chunks, view.shards, view.write_chunks, view.grid_origin) == ((8, 24), (16, 48), (16, 48), (-6, -24))
    assert view.identity == level.identity
    assert view.writable
    assert view.concurrency == "aligned"
    files = view.unit_files((slice(0, 11), slice(0, 1)))
    assert files is not None
    assert files.names == ("c/0/0", "c/1/0"), "rows 3 to 8 of the array"
    assert view.inner_box(((1, 9), (0, 64))) == ((0, 5), (0, 22))
    array = ReducedOutput(np.zeros((10, 22)), (2, 3), (19, 65))
    assert (array.chunks, array.write_chunks, array.grid_origin) == (None, (2, 3), (0, 0))
    for method in ("mean", "stride"):
        finer = create_array(tmp_path / "b.zarr", method, shape=(19, 65), dtype="u1", axes=axes)
        again = ReducedOutput(AxesOf(DownsampleSource(finer, (2, 3), method)), (2, 3), (19, 65), method)
        assert again.axes == finer.axes


class AxesOf(WrapperSource):
    """A level with the axes of a view."""

    def _getitem(self, roi: Any) -> np.ndarray:
        return self._source._getitem(roi)


def test_the_view_opens_in_another_process(tmp_path: Path) -> None:
    level = create_array(tmp_path / "a.zarr", "a", shape=(3, 4), dtype="u1", chunks=(2, 2))
    view = ReducedOutput(ReducedOutput(level, 2, (5, 8), "mode"), (3, 1), (15, 8), "mode")
    again = from_spec(type(view.to_spec()).from_json(view.to_spec().to_json()))
    assert isinstance(again, ReducedOutput)
    assert (again.shape, again.identity, again.axes) == (view.shape, view.identity, view.axes)
    again[...] = np.full((15, 8), 9)
    assert (level[...] == 9).all()
    assert isinstance(view.durable(), ReducedOutput)
    assert view.durable() is not view
    assert view.fresh().identity == view.identity


def test_boxes_that_cut_a_voxel_are_refused() -> None:
    level = np.zeros((3, 4))
    view = ReducedOutput(level, 2, (5, 8))
    for index in ((slice(1, 5), slice(0, 8)), (slice(0, 3), slice(0, 8)), (slice(0, 5), slice(0, 7))):
        with pytest.raises(RegionError, match="cuts voxels of a level that is coarser by"):
            view[index] = 1
    assert not level.any()
    view[4:5, 6:8] = 1
    assert level.sum() == 1
    with pytest.raises(ShapeError, match=r"is \(3, 4\)"):
        ReducedOutput(np.zeros((3, 3)), 2, (5, 8))
