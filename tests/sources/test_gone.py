"""Arrays that go while somebody has them open: what is absent with them is no fill value, nothing is written there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.datasets import VolumeDataset
from bioimage_py.errors import BioimageError, ParameterError
from bioimage_py.sources import open_source
from bioimage_py.sources.array import ArraySource
from bioimage_py.sources.webknossos.wkw import WKWBacking
from bioimage_py.wrapper import RoiSource

from ..io.image_files.test_knossos import CUBE, cubes, layer

SHAPE = (9, 18, 24)
DATA = np.random.default_rng(3).integers(1, 200, SHAPE).astype("u1")


def _zarr(path: Path, version: int, **more: Any) -> Any:
    array = zarr.create_array(path, shape=SHAPE, chunks=(4, 5, 8), dtype="u1", zarr_format=version, **more)
    array[...] = DATA
    return open_source(path)


def _n5(path: Path) -> Any:
    pytest.importorskip("z5py")
    bp.io.create_array(path, "x", shape=SHAPE, dtype="u1", chunks=(4, 5, 8))[...] = DATA
    return open_source(path, "x")


def _unknown_to_tensorstore(path: Path) -> Any:
    numcodecs = pytest.importorskip("numcodecs")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("x", data=DATA, chunks=(4, 5, 8), compressors=None, filters=[numcodecs.Delta("u1")])
    return open_source(path, "x")


def _precomputed(path: Path) -> Any:
    pytest.importorskip("cloudvolume")
    from .precomputed.precomputed_layers import new_layer

    voxels = np.asfortranarray(DATA.T[..., np.newaxis])
    return bp.open_cloudvolume(new_layer(path, voxels), fill_missing=True)


def _knossos(path: Path) -> Any:
    path.mkdir()
    (path / "a.k.toml").write_text(layer("a", SHAPE))
    cubes(path / "mag1", "a", 1, DATA, cube=CUBE)
    return open_source(path / "a.k.toml")


def _wkw(path: Path) -> Any:
    wkw = pytest.importorskip("wkw")
    with wkw.Dataset.create(str(path), wkw.Header(np.uint8, block_len=8, file_len=2)) as made:
        made.write((0, 0, 0), np.asfortranarray(DATA.T))
    return RoiSource(ArraySource._of(WKWBacking(str(path), writable=False)), (slice(1), *map(slice, SHAPE)))


KINDS = {
    "zarr 3": lambda path: _zarr(path, 3),
    "zarr 3, shards": lambda path: _zarr(path, 3, shards=(8, 10, 16)),
    "zarr 2": lambda path: _zarr(path, 2),
    "n5": _n5,
    "zarr that tensorstore cannot open": _unknown_to_tensorstore,
    "precomputed": _precomputed,
    "KNOSSOS": _knossos,
    "wkw": _wkw,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_moved_away_reads_as_an_error(tmp_path: Path, kind: str) -> None:
    here, away = tmp_path / f"here.{'n5' if kind == 'n5' else 'data'}", tmp_path / "away"
    source = KINDS[kind](here)
    before = source[...]
    assert before.any()
    os.rename(here, away)
    for index in (..., 0, (slice(None), slice(2, 4))):
        with pytest.raises((BioimageError, FileNotFoundError)):
            source[index]
    os.rename(away, here)
    np.testing.assert_array_equal(source[...], before)


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_written_to_an_array_that_has_gone_is_told(tmp_path: Path, version: int) -> None:
    _zarr(tmp_path / "a.zarr", version)
    source = open_source(tmp_path / "a.zarr", mode="r+")
    source[:2] = 1
    os.rename(tmp_path / "a.zarr", tmp_path / "away.zarr")
    with pytest.raises(BioimageError, match="moved away"):
        source[2:4] = 1
    assert not (tmp_path / "a.zarr").exists(), "it can be put back"


def test_attributes_and_growth_are_no_loss(tmp_path: Path) -> None:
    source = _zarr(tmp_path / "a.zarr", 3)
    np.testing.assert_array_equal(source[...], DATA)
    zarr.open_array(tmp_path / "a.zarr", mode="r+").attrs["said"] = "meanwhile"
    np.testing.assert_array_equal(source[...], DATA)
    zarr.open_array(tmp_path / "a.zarr", mode="r+").resize((20, *SHAPE[1:]))
    np.testing.assert_array_equal(source[...], DATA)


def test_another_array_in_its_place(tmp_path: Path) -> None:
    source = _zarr(tmp_path / "a.zarr", 3)
    source[0]
    zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, chunks=(3, 3, 3), dtype="u2", overwrite=True)
    with pytest.raises(BioimageError, match="replaced"):
        source[0]


def test_a_data_set_does_not_learn_from_what_has_gone(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="resources="):
        VolumeDataset([tmp_path])
    volumes = VolumeDataset(resources=[_zarr(tmp_path / "a.zarr", 3)])
    patches = volumes.patches((4, 8, 8))
    assert volumes[0]["image"].all()
    os.rename(tmp_path / "a.zarr", tmp_path / "away.zarr")
    for items in (volumes, patches):
        with pytest.raises(BioimageError):
            items[0]["image"].any()
