"""Seams have fewer vertices, the same ones on both sides, whatever lies there."""

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

from bioimage_py.mesh.marching import surfaces_of
from bioimage_py.mesh.pieces import Surface
from bioimage_py.mesh.seams import with_fewer_on_seams
from bioimage_py.mesh.simplifying import Edges, rim_of

from .reading import closed, euler, levels, read, together, volume
from .test_meshes import ball, made, sampled, whole

SMOOTH = st.sampled_from([0.0, 0.5, 1.0, 2.0])


def blobs(seed: int, shape: tuple[int, ...], smooth: float, fill: float) -> np.ndarray:
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), smooth)
    return np.asarray(values > np.quantile(values, 1 - fill))


def on_plane(surface: Surface, position: int) -> np.ndarray:
    """Both ends of the open edges in a plane across the first axis, lower end first, sorted."""
    ends = surface[0][Edges(surface[1], len(surface[0])).open]
    ends = ends[(ends[:, :, 0] == position).all(1)][:, :, 1:]
    pairs = sorted(tuple(sorted(map(tuple, pair))) for pair in ends.tolist())
    return np.array(pairs).reshape(-1, 4)


@given(
    seed=st.integers(0, 2**16),
    smooth=SMOOTH,
    fill=st.floats(0.1, 0.9),
    error=st.floats(0.1, 5.0),
    steps=st.sampled_from([(1.0, 1.0, 1.0), (1.0, 3.0, 0.5)]),
)
@settings(max_examples=40, deadline=None)
def test_both_sides_of_a_face_get_the_same_line(
    seed: int, smooth: float, fill: float, error: float, steps: tuple[float, float, float]
) -> None:
    size = (7, 11, 13)
    mask = blobs(seed, (15, 12, 14), smooth, fill).astype(np.int32)
    sides = []
    for part, plane in ((mask[:8], 7), (mask[7:], 0)):
        for _, surface in surfaces_of(part, 1):
            found = with_fewer_on_seams(surface, error, steps, size)
            before, after = (Edges(one[1], len(one[0])) for one in (surface, found))
            assert after.of_a_surface
            assert euler(found[1]) == euler(surface[1])
            # vertices that stay have their place, and there is nothing but lines on faces
            there = set(map(tuple, surface[0][np.unique(before.open)].tolist()))
            assert set(map(tuple, found[0][np.unique(after.open)].tolist())) <= there
            assert len(rim_of(found, size)) == len(after.open) <= len(before.open)
            gone = cKDTree(_along(found, after) * steps).query(surface[0][np.unique(before.open)] * steps)[0]
            assert gone.max(initial=0) <= error + max(steps) / 8
            sides.append(on_plane(found, plane))
    if len(sides) == 2:
        np.testing.assert_array_equal(*sides)


def _along(surface: Surface, edges: Edges) -> np.ndarray:
    """Points on the open edges of a surface."""
    shares = np.linspace(0, 1, 65)[:, None, None]
    begin, end = surface[0][edges.open].transpose(1, 0, 2)
    return np.asarray(((1 - shares) * begin + shares * end).reshape(-1, 3))


@given(
    seed=st.integers(0, 2**16),
    smooth=SMOOTH,
    fill=st.floats(0.1, 0.9),
    error=st.floats(0.3, 6.0),
    block=st.integers(2, 9),
)
@settings(max_examples=15, deadline=None)
def test_joined_at_every_level(seed: int, smooth: float, fill: float, error: float, block: int) -> None:
    mask = blobs(seed, (14, 17, 12), smooth, fill)
    exact = whole(mask)
    with TemporaryDirectory() as folder:
        made(mask, Path(folder, "ply"), format="ply", block_shape=block, max_error=error)
        surface = read(Path(folder, "ply", "1.ply"))
        assert closed(surface[1])
        assert euler(surface[1]) == euler(exact[1])
        made(mask, Path(folder, "levels"), block_shape=block, max_error=error)
        for _, cells in levels(Path(folder, "levels"), 1):
            sides = np.sort(together(cells)[1][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
            assert (np.unique(sides, axis=0, return_counts=True)[1] % 2 == 0).all()


def test_seams_are_a_small_part_of_every_level(tmp_path: Path) -> None:
    mask = ball(45, 96)
    found = levels(made(mask, tmp_path / "out", block_shape=16, max_error=1.5), 1)
    for level, (cells, surfaces) in enumerate(found[:-1]):
        size, seams, n = 16 * 2**level, 0, 0
        for cell, (vertices, _) in zip(cells, surfaces, strict=True):
            at = (vertices + 1 - cell * size) / size
            seams, n = seams + int(((np.abs(at) < 1e-6) | (np.abs(at - 1) < 1e-6)).any(1).sum()), n + len(vertices)
        assert seams < 0.5 * n, (level, seams, n)
        assert volume(together(surfaces)) == pytest.approx(mask.sum(), rel=0.01 * 2**level)
    counts = [sum(len(faces) for _, faces in cells) for _, cells in found]
    assert all(coarse < 0.6 * fine for fine, coarse in itertools.pairwise(counts)), counts
    exact = cKDTree(sampled(whole(mask), 4))
    assert exact.query(together(found[0][1])[0])[0].max() <= 1.75
