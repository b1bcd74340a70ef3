"""Nothing is converted or segmented into the image that it is read from, or into what it is kept with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import AliasError, FormatError, ParameterError, RunningError
from bioimage_py.pipelines.folder import lock_folder
from bioimage_py.workflows import convert, segment, write_pyramid
from bioimage_py.wrapper import RoiSource

QUIET: dict[str, Any] = {"progress": False, "block_shape": 16}
RAW = np.random.default_rng(0).random((32, 32, 32)).astype("f4")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image with levels "0" and "1"."""
    path = tmp_path / "image.ome.zarr"
    convert(RAW, path)
    write_pyramid(path, smallest=16)
    return path


def content(path: Path, key: str) -> np.ndarray:
    with bp.open_source(path, key) as level:
        return np.asarray(level[...])


@pytest.mark.parametrize("key", ["0", "1"])
@pytest.mark.parametrize("into", ["", "/0", "/1"])
@pytest.mark.parametrize("pyramid", [False, True])
def test_a_level_is_not_converted_into_its_image(image: Path, key: str, into: str, pyramid: bool) -> None:
    before = [content(image, one) for one in "01"]
    with bp.open_source(image, key) as level, pytest.raises(AliasError, match="would take the place"):
        convert(level, f"{image}{into}", overwrite=True, pyramid=pyramid and not into)
    with bp.open_source(image, key) as level, pytest.raises(AliasError, match="would take the place"):
        convert(RoiSource(level, (slice(0, 8),) * 3), f"{image}{into}", overwrite=True)
    assert all(np.array_equal(content(image, one), then) for one, then in zip("01", before, strict=True))


def test_another_array_of_its_container_is_made_of_a_level(image: Path) -> None:
    with bp.open_source(image, "1") as level:
        convert(level, f"{image}/half")
        convert(level, f"{image}/half", overwrite=True)
    assert np.array_equal(content(image, "half"), content(image, "1"))


def test_labels_are_not_segmented_into_themselves(image: Path, tmp_path: Path) -> None:
    with bp.open_source(image, "0") as raw:
        segment(raw, image / "labels" / "cells", **QUIET)
        with pytest.raises(FormatError, match=r"lies in the array .*image.ome.zarr/0"):
            segment(raw, image / "0" / "labels", **QUIET)
    path = image / "labels" / "cells"
    before = content(image, "labels/cells/0")
    os.symlink(image, tmp_path / "link.ome.zarr")
    for place in (path, tmp_path / "link.ome.zarr" / "labels" / "cells"):
        with bp.open_source(place, "0") as level, pytest.raises(AliasError, match="would take the place"):
            segment(level, path, overwrite=True, **QUIET)
    assert np.array_equal(content(image, "labels/cells/0"), before)
    assert sorted(os.listdir(tmp_path)) == ["image.ome.zarr", "link.ome.zarr"]


def test_what_is_kept_lies_apart(tmp_path: Path) -> None:
    how: dict[str, Any] = {"method": "multicut", **QUIET}
    for output, keep in (("k/labels.zarr", "k"), ("k/k", "k/k"), ("k", "k/labels")):
        with pytest.raises(ParameterError, match="lie in each other"):
            segment(RAW, tmp_path / output, keep=tmp_path / keep, **how)
    pieces = bp.io.create_array(tmp_path / "kept" / "superpixels.zarr", "", shape=RAW.shape, dtype="u1")
    pieces[...] = np.rint(RAW * 255)
    with pytest.raises(AliasError, match="would take the place"):
        segment(pieces, tmp_path / "labels.zarr", keep=tmp_path / "kept", **how)
    assert np.array_equal(pieces[...], np.rint(RAW * 255))
    with lock_folder(tmp_path / "kept"), pytest.raises(RunningError, match="another process is working in"):
        segment(RAW, tmp_path / "labels.zarr", keep=tmp_path / "kept", **how)


def test_what_was_kept_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """By a volume of another shape, too; and what killed processes have left there is no reason to refuse."""
    how: dict[str, Any] = {"method": "multicut", "keep": tmp_path / "kept", "progress": False}
    segment(RAW, tmp_path / "a.zarr", block_shape=16, **how)
    for name in (".0a1b2c-1-1-0a1b2c.graph.zarr", "pending.zarr", "pending-2.zarr"):
        (tmp_path / "kept" / name).mkdir()
    values = np.full((20, 24), 300.0)
    with pytest.raises(bp.errors.BioimageError):
        segment(values, tmp_path / "c.zarr", block_shape=24, **how)
    before = content(tmp_path / "kept" / "superpixels.zarr", "")
    assert before.shape == RAW.shape  # what fails leaves what was kept
    segment(RAW[:20, 0], tmp_path / "b.zarr", block_shape=24, **how)
    assert content(tmp_path / "kept" / "superpixels.zarr", "").shape == (20, 32)
    graph = bp.graph.open_graph(tmp_path / "kept" / "graph.zarr")
    with bp.open_source(tmp_path / "kept" / "partition.zarr", "parts") as parts:
        assert parts.shape == (len(graph.nodes),)
    assert not [name for name in os.listdir(tmp_path / "kept") if "pending" in name]
