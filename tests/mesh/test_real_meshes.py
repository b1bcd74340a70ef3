"""Surfaces of real neurons: closed, and of the volume that their voxels have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp

from .reading import read, volume


def closed(faces: np.ndarray, n: int) -> bool:
    """Whether each edge has two triangles that run along it in both directions; for many triangles."""
    begin, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    there, back = np.sort(begin * n + end), np.sort(end * n + begin)
    return bool((there == back).all() and (np.diff(there) > 0).all())


def check(labels: np.ndarray, folder: Path, least: int, max_error: float) -> int:
    """Number of objects whose surfaces are closed and have the volume of their voxels.

    Within 1 % from 100,000 voxels on, without simplification: marching cubes cuts off edges and corners.
    """
    bp.mesh.surfaces(labels, folder, format="ply", max_error=max_error, block_shape=64, num_workers=2, progress=False)
    sizes = np.bincount(labels.reshape(-1))
    n, inside, voxels = 0, 0.0, 0
    for path in folder.glob("*.ply"):
        surface = read(path)
        assert closed(surface[1], len(surface[0])), path
        n += 1
        size = int(sizes[int(path.stem)])
        if size >= least:
            inside, voxels = inside + volume(surface), voxels + size
            rel = 0.03 if max_error else 0.01 if size >= 100_000 else 0.02
            assert volume(surface) == pytest.approx(size, rel=rel), path
    assert inside == pytest.approx(voxels, rel=0.01)
    return n


@pytest.mark.real_data
@pytest.mark.parametrize("max_error", [0.0, 1.0])
def test_a_part_of_connectomics(connectomics: np.ndarray, tmp_path: Path, max_error: float) -> None:
    part = np.ascontiguousarray(connectomics[200:310, 200:300, 200:300])
    assert check(part, tmp_path / "out", 20_000, max_error) > 10


@pytest.mark.long
@pytest.mark.real_data
@pytest.mark.timeout(1800)
def test_a_thousand_objects_of_connectomics(connectomics: np.ndarray, tmp_path: Path) -> None:
    assert check(connectomics, tmp_path / "out", 20_000, 0.0) > 1000
