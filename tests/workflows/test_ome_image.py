"""Conversion to OME-Zarr with levels: the bits of a level at a time, from one pass over the input; kills."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
import bioimage_py.io.v3 as iio
from bioimage_py.errors import AliasError, DtypeError, ParameterError, ReadOnlyError, StorageError
from bioimage_py.io import create_array
from bioimage_py.io.written import blocks
from bioimage_py.sources import Axis, as_source
from bioimage_py.workflows import convert
from bioimage_py.workflows.pyramids import level_factors
from bioimage_py.wrapper import WrapperSource
from bioimage_py.wrapper.view import AxesSource

TYPES = ["u1", "u2", ">i2", "u4", "i8", "u8", "f4", "f8", "b1"]
QUIET = bp.Execution(progress=False)


class Counting(WrapperSource):
    """Counts how often each voxel is read."""

    def __init__(self, source: Any, chunks: tuple[int, ...] | None = None) -> None:
        super().__init__(as_source(source))
        self.counts = np.zeros(self.shape, "u1")
        self.own_chunks = chunks
        self.lock = threading.Lock()

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self.own_chunks

    def _getitem(self, roi: Any) -> np.ndarray:
        with self.lock:
            self.counts[roi] += 1
        return self._source._getitem(roi)


def voxels(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, 2**62, shape)
    if np.dtype(dtype).kind == "f":
        found = (drawn / 2**50 - 2000).astype(dtype)
        found.reshape(-1)[:: max(1, found.size // 3)] = np.nan
        return found
    if dtype == "u8":
        return drawn.astype("u8") * 4 + 3
    return drawn.astype(dtype) if dtype != "b1" else drawn % 2 == 0


def expected(data: np.ndarray, axes: Any, count: int | None = None) -> list[np.ndarray]:
    found = [data.astype(data.dtype.newbyteorder("="))]
    for factor in level_factors(data.shape, axes) if count is None else [(2,) * data.ndim] * count:
        ids = data.dtype.kind in "iu" and data.dtype.itemsize >= 4  # what is taken for ids is not averaged
        found.append(bp.downsample(found[-1], factor, method="mode" if ids else "mean"))
    return found


def same_bits(path: Path, levels: list[np.ndarray]) -> None:
    assert len(iio.improps(path).levels) == len(levels)
    for number, level in enumerate(levels):
        read = iio.imread(path, level=number)
        assert (read.shape, read.dtype) == (level.shape, level.dtype)
        assert read.tobytes() == level.tobytes(), number


@given(
    shape=st.tuples(*[st.integers(1, 150)] * 2, st.integers(1, 40)),
    dtype=st.sampled_from(TYPES),
    chunks=st.tuples(*[st.integers(5, 70)] * 3),
    scale=st.sampled_from([(1, 1, 1), (4, 1, 1), (1, 1, 9)]),
    workers=st.integers(1, 2),
    seed=st.integers(0, 9),
)
@settings(max_examples=20)
def test_levels_have_the_bits_of_one_call_each(
    shape: Any, dtype: str, chunks: Any, scale: Any, workers: int, seed: int
) -> None:
    data = voxels(shape, dtype, seed)
    axes = tuple(Axis(name, scale=float(one)) for name, one in zip("zyx", scale, strict=True))
    with TemporaryDirectory() as folder:
        source = AxesSource(data, axes)
        how = bp.Execution(num_workers=workers, progress=False)
        done = convert(source, Path(folder, "a.ome.zarr"), pyramid=True, chunks=chunks, verify=True, execution=how)
        assert done.verified
        same_bits(Path(folder, "a.ome.zarr"), expected(data, axes))


@given(
    shape=st.tuples(*[st.integers(1, 90)] * 2, st.integers(1, 40)),
    dtype=st.sampled_from(TYPES),
    chunks=st.tuples(*[st.integers(5, 40)] * 3),
    count=st.integers(0, 4),
    budget=st.sampled_from([2**12, 2**16, 2**26]),
    pages=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=20)
def test_the_same_of_imwrite(
    shape: Any, dtype: str, chunks: Any, count: int, budget: int, pages: bool, seed: int
) -> None:
    data = voxels(shape, dtype, seed)
    source = Counting(data, (1, *shape[1:]) if pages else None)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", budget)
        patch.setattr(blocks, "PIECES_BYTES", budget)
        path = Path(folder, "a.ome.zarr")
        iio.imwrite(path, source, axes="zyx", pyramid=count, chunks=chunks)
        same_bits(path, expected(data, None, count))
    assert (source.counts == 1).all(), "of the image no voxel is read twice"


@pytest.mark.parametrize("chunks", [None, (1, 128, 128), (32, 32, 32)])
def test_no_voxel_of_the_input_is_read_twice(chunks: Any, tmp_path: Path) -> None:
    source = Counting(voxels((140, 128, 128), "u2", 0), chunks)
    convert(source, tmp_path / "a.ome.zarr", axes="zyx", pyramid=True, chunks=(32,) * 3, execution=QUIET)
    assert (source.counts == 1).all()
    assert len(iio.improps(tmp_path / "a.ome.zarr").levels) == 3


def test_chunks_of_zarr_are_copied_as_they_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = voxels((100, 100, 100), "u2", 0)
    source = create_array(tmp_path / "in.zarr", "a", shape=data.shape, dtype="u2", chunks=(32,) * 3)
    source[...] = data
    files = {
        path.relative_to(tmp_path / "in.zarr" / "a"): path for path in (tmp_path / "in.zarr" / "a" / "c").rglob("*")
    }
    convert(
        tmp_path / "in.zarr/a", tmp_path / "a.ome.zarr", pyramid=True, chunks=(32,) * 3, axes="zyx", execution=QUIET
    )
    same_bits(tmp_path / "a.ome.zarr", expected(data, source.axes))
    for name, path in files.items():
        if path.is_file():
            assert (tmp_path / "a.ome.zarr" / "0" / name).read_bytes() == path.read_bytes()


def test_channels_are_kept_apart(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 200, (2, 70, 80, 90)).astype("u2")
    how: Any = {"scale": (1, 2, 0.5, 0.5), "unit": "um", "channel_names": ["DAPI", "GFP"], "axes": "czyx"}
    iio.imwrite(tmp_path / "a.ome.tif", data, **how)
    convert(bp.open_source(tmp_path / "a.ome.tif"), tmp_path / "a.ome.zarr", pyramid=True, execution=QUIET)
    told = iio.improps(tmp_path / "a.ome.zarr")
    assert told.channel_names == ("DAPI", "GFP")
    convert(bp.open_source(tmp_path / "a.ome.zarr"), tmp_path / "again.ome.tif", execution=QUIET)
    assert iio.improps(tmp_path / "again.ome.tif").channel_names == ("DAPI", "GFP")
    assert told.axes == ("c", "z", "y", "x")
    assert told.levels[:3] == ((2, 70, 80, 90), (2, 70, 40, 45), (2, 70, 20, 23))
    np.testing.assert_array_equal(
        iio.imread(tmp_path / "a.ome.zarr", level=1), bp.downsample(data, (1, 1, 2, 2), method="mean")
    )


def test_what_cannot_be_leaves_nothing(tmp_path: Path) -> None:
    data = np.zeros((70, 70, 70), "u2")
    with pytest.raises(ParameterError):
        convert(data, tmp_path / "a.ome.zarr", axes="zyx", pyramid=True, chunks=(5, 5), execution=QUIET)
    with pytest.raises(DtypeError):
        convert(data.astype("c8"), tmp_path / "a.ome.zarr", axes="zyx", pyramid=True, execution=QUIET)
    assert list(tmp_path.iterdir()) == []


def test_labels_stay_labels(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (80, 80, 80)).astype("u8") * (2**60 + 1)
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(ids.T.astype("i8"), np.eye(4), dtype="int64")
    image.header.set_intent("label")
    nibabel.save(image, tmp_path / "a.nii")
    convert(bp.open_source(tmp_path / "a.nii"), tmp_path / "a.ome.zarr", pyramid=True, execution=QUIET)
    coarse = bp.downsample(ids.astype("i8"), 2, method="mode")
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.ome.zarr", level=1), coarse)
    assert iio.improps(tmp_path / "a.ome.zarr").is_label


def test_archives_are_refused_and_arrays_replaced(tmp_path: Path) -> None:
    data = np.ones((70, 70, 70), "u1")
    for name in ("a.zip", "a.ozx"):
        with pytest.raises(ReadOnlyError):
            convert(data, tmp_path / name, axes="zyx", pyramid=True, execution=QUIET)
    assert list(tmp_path.iterdir()) == []
    bp.copy(data + 1, tmp_path / "a.zarr", progress=False)
    itself = bp.open_source(tmp_path / "a.zarr")
    with pytest.raises(AliasError):
        convert(itself, tmp_path / "a.zarr", axes="zyx", pyramid=True, overwrite=True, execution=QUIET)
    np.testing.assert_array_equal(itself[...], data + 1)
    convert(data, tmp_path / "a.zarr", axes="zyx", pyramid=True, overwrite=True, execution=QUIET)
    same_bits(tmp_path / "a.zarr", [data, np.ones((35, 35, 35), "u1")])


def test_fewer_levels_than_before(tmp_path: Path) -> None:
    out = tmp_path / "a.ome.zarr"
    convert(np.ones((300, 10, 10), "u1"), out, axes="zyx", pyramid=True, execution=QUIET)
    with pytest.raises(StorageError, match="already"):
        convert(np.ones((70, 10, 10), "u1"), out, axes="zyx", pyramid=True, execution=QUIET)
    convert(np.ones((70, 10, 10), "u1"), out, axes="zyx", pyramid=True, overwrite=True, execution=QUIET)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["0", "1"]
    same_bits(out, [np.ones((70, 10, 10), "u1"), np.ones((35, 5, 5), "u1")])


CONVERT = """
import os, signal, sys
import bioimage_py as bp
from bioimage_py.workflows import convert, ome_image

if len(sys.argv) > 3:
    made, kill = getattr(ome_image, sys.argv[3]), int(sys.argv[4])
    count = 0
    def killed(*arguments, **named):
        global count
        count += 1
        if count > kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return made(*arguments, **named)
    setattr(ome_image, sys.argv[3], killed)
ome_image.block_of = lambda *sources: (32, 32, 32)
how = bp.Execution(num_workers=2, progress=False)
convert(bp.open_source(sys.argv[1]), sys.argv[2], pyramid=True, chunks=(16,) * 3, axes="zyx", execution=how)
"""
LATER = [("mark_unfinished", "0"), ("create_array", "0"), ("mark_unfinished", "1"), "after-write:1", "before-write:70"]
MOMENTS = [("create_array", "1"), ("pyramid", "0"), ("describe_image", "0"), "before-write:1", "after-write:70"]


@pytest.mark.processes
@pytest.mark.parametrize("moment", [*MOMENTS, *(pytest.param(one, marks=pytest.mark.long) for one in LATER)])
def test_the_same_call_goes_on_after_a_kill(moment: Any, tmp_path: Path) -> None:
    data = voxels((80, 70, 100), "u2", 1)
    iio.imwrite(tmp_path / "in.tif", data)
    line = [sys.executable, "-c", CONVERT, str(tmp_path / "in.tif"), str(tmp_path / "a.ome.zarr")]
    environment = dict(os.environ)
    if isinstance(moment, str):
        (tmp_path / "token").touch()
        environment["BIOIMAGE_PY_FAULT"] = f"{moment}:{tmp_path / 'token'}"
    killed = subprocess.run(
        [*line, *(moment if isinstance(moment, tuple) else ())], env=environment, capture_output=True, text=True
    )
    assert killed.returncode < 0, killed.stderr
    again = subprocess.run(line, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    same_bits(tmp_path / "a.ome.zarr", expected(data, [Axis(name) for name in "zyx"]))
    with pytest.raises(StorageError, match="already"):
        convert(bp.open_source(tmp_path / "in.tif"), tmp_path / "a.ome.zarr", pyramid=True, axes="zyx")
