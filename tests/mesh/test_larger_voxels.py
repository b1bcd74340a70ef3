"""An object that fills its volume has coarser levels no larger than its blocks, closed and near its surface."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from bioimage_py.mesh import meshes, simplifying
from bioimage_py.mesh.marching import surfaces_of

from .reading import euler, levels, together
from .test_meshes import made, sampled, whole


def sponge(size: int, period: float) -> np.ndarray:
    z, y, x = np.mgrid[:size, :size, :size] * (2 * np.pi / period)
    return np.asarray(np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x) > 0)


def test_a_coarser_cell_has_no_more_triangles_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshes, "_LEAST", 0)
    found = levels(made(sponge(95, 12.0), tmp_path / "out", block_shape=16), 1)
    most = [max(len(faces) for _, faces in cells) for _, cells in found]
    assert len(found) == 4
    assert max(most) == most[0], most
    for level, ((finer, _), (coarser, surfaces)) in enumerate(itertools.pairwise(found)):
        # a viewer comes to each cell by the coarser one, and draws what is coarser where there is no finer one
        assert set(map(tuple, finer // 2)) <= set(map(tuple, coarser))
        centres = np.concatenate([vertices[faces].mean(1) for vertices, faces in surfaces])
        assert set(map(tuple, (centres + 1) // (16 * 2**level))) <= set(map(tuple, finer))


@given(
    block=st.sampled_from([6, 8, 9]),
    seed=st.integers(0, 2**16),
    steps=st.sampled_from([(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)]),
    fill=st.floats(0.2, 0.8),
)
@settings(max_examples=6, deadline=None)
def test_larger_voxels_are_closed_and_near_the_surface(
    block: int, seed: int, steps: tuple[float, ...], fill: float
) -> None:
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal((30, 26, 35)), 1.5)
    mask = smooth > np.quantile(smooth, fill)
    vertices, faces = whole(mask)
    exact = cKDTree(sampled((vertices * steps[::-1], faces), 4))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, "_most", lambda finest: 0)
        found = levels(made(mask, Path(folder, "out"), block_shape=block, sampling=steps), 1)
    assert len(found) > 2
    for level, (_, cells) in enumerate(found):
        surface = together(cells)
        sides = np.sort(surface[1][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
        assert (np.unique(sides, axis=0, return_counts=True)[1] % 2 == 0).all()
        larger = 2 ** (level + (block % 4 == 0)) if level else 0
        away = exact.query(surface[0] * steps[::-1])[0]
        assert away.max() <= 2.1 * larger * max(steps) + 2 ** (level - 1) + max(steps) / 4


def test_a_surface_too_large_for_the_kernel_is_simplified_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, surface),) = surfaces_of(sponge(40, 14.0).astype(np.int32), 1)
    at_once = simplifying.simplified(surface, 1.0, (1.0, 1.0, 1.0), (39,) * 3)
    monkeypatch.setattr(simplifying, "_MOST", len(surface[1]) // 3)
    vertices, faces = simplifying.simplified(surface, 1.0, (1.0, 1.0, 1.0), (39,) * 3)
    assert len(faces) < 1.5 * len(at_once[1]) < len(surface[1])
    assert euler(faces) == euler(surface[1])
    before, after = (simplifying.Edges(faces, len(vertices)) for vertices, faces in (surface, (vertices, faces)))
    assert after.of_a_surface
    assert set(map(tuple, surface[0][before.open].reshape(-1, 6))) == set(
        map(tuple, vertices[after.open].reshape(-1, 6))
    )
    assert cKDTree(sampled(surface, 4)).query(vertices)[0].max() <= 1.25


def test_parts_of_a_surface_are_small_at_once_beside_many_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.pad(sponge(40, 14.0), ((0, 0), (0, 0), (0, 40)))
    mask[2::8, 2::8, 44::8] = True  # single voxels: a recursion for each few of them would keep as many copies
    ((_, surface),) = surfaces_of(mask.astype(np.int32), 1)
    largest = max(len(part[1]) for part in simplifying._divided(surface))
    assert largest < len(surface[1]) / 3
    assert sum(len(part[1]) for part in simplifying._divided(surface)) == len(surface[1])
