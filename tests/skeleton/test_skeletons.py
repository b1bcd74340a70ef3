"""Skeletons of blocks are those of the whole array, never broken, and read by others."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import DtypeError, ParameterError, RunnerError, ShapeError
from bioimage_py.skeleton.cleaning import Cleaning, Lines, _Near, chains
from bioimage_py.skeleton.pieces import Skeleton

from .neurites import neurites


def traced(labels: Any, folder: Path, **how: Any) -> pd.DataFrame:
    found: pd.DataFrame = bp.skeleton.trace(labels, folder, progress=False, **how)
    return found


def swc(path: Path) -> np.ndarray:
    """Rows of a file; parents come before their children."""
    rows = np.loadtxt(path, ndmin=2)
    assert (rows[:, 0] == np.arange(1, len(rows) + 1)).all()
    assert (rows[:, 6] < rows[:, 0]).all()
    return rows


def precomputed(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, m = np.frombuffer(data, "<u4", 2).tolist()
    assert len(data) == 8 + 12 * n + 8 * m + 4 * n
    edges = np.frombuffer(data, "<u4", 2 * m, 8 + 12 * n).reshape(-1, 2)
    return np.frombuffer(data, "<f4", 3 * n, 8).reshape(-1, 3), edges, np.frombuffer(data, "<f4", n, 8 + 12 * n + 8 * m)


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Any:
    labels, lines = neurites(100, 160, 5)
    return labels, lines, traced(labels, tmp_path_factory.mktemp("whole") / "out", format="swc", block_shape=160)


@pytest.mark.parametrize("shape", [64, (50, 64, 80)])
def test_a_hundred_neurites_across_blocks(tmp_path: Path, hundred: Any, shape: Any) -> None:
    labels, lines, whole = hundred
    blocks = traced(labels, tmp_path / "blocks", format="swc", block_shape=shape)
    assert whole.label.tolist() == blocks.label.tolist() == list(range(1, 101))
    assert (blocks.pieces == 1).all(), "a neurite is broken"
    assert (blocks.ends == 2).mean() > 0.97
    ratio = blocks.cable_length / whole.cable_length
    assert abs(blocks.cable_length.sum() / whole.cable_length.sum() - 1) < 0.01
    assert (abs(ratio - 1) < 0.03).mean() >= 0.95
    assert abs(ratio - 1).max() < 0.1, ratio.describe()
    for number, line in enumerate(lines, 1):
        points = swc(tmp_path / "blocks" / f"{number}.swc")[:, [4, 3, 2]]
        away = np.linalg.norm(points[:, None] - line[None], axis=2)
        assert away.min(1).max() < 4.5, "a line leaves its neurite"
        assert away.min(0).max() < 6, "a part of the neurite has no line"


def test_radii_units_and_order(tmp_path: Path) -> None:
    labels = np.zeros((40, 24, 24), np.uint8)
    z, y, x = np.mgrid[:40, :24, :24]
    labels[((y - 11) ** 2 + (x - 13) ** 2 < 12) & (z > 3) & (z < 36)] = 7
    how: dict[str, Any] = {"block_shape": 16, "sampling": (4.0, 2.0, 2.0)}
    table = traced(labels, tmp_path / "swc", format="swc", **how)
    rows = swc(tmp_path / "swc" / "7.swc")
    middle = (rows[:, 4] > 40) & (rows[:, 4] < 110)
    np.testing.assert_allclose(rows[middle][:, 2], 26, atol=4.1)
    np.testing.assert_allclose(rows[middle][:, 3], 22, atol=4.1)
    np.testing.assert_allclose(rows[middle][:, 5], 7, atol=2.1)
    assert table.cable_length[0] == pytest.approx(4 * 31, rel=0.15)
    traced(labels, tmp_path / "layer", **how)
    points, edges, radii = precomputed((tmp_path / "layer" / "7").read_bytes())
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    assert lengths.sum() == pytest.approx(table.cable_length[0], rel=1e-4)
    assert sorted(radii) == pytest.approx(sorted(rows[:, 5]), rel=1e-4)
    np.testing.assert_allclose(points[:, 0].mean(), rows[:, 2].mean() + 1, atol=0.01)  # from the corner of a voxel


@pytest.mark.parametrize("sharded", [False, True])
def test_cloudvolume_reads_them(tmp_path: Path, sharded: bool) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    labels = np.zeros((24, 24, 60), np.uint64)
    ids = [2, 2**53 + 1, 2**64 - 1]
    for number, one in enumerate(ids):
        labels[4 + 7 * number : 8 + 7 * number, 8:14, 4:56] = one
    layer = tmp_path / "layer"
    info = cloudvolume.CloudVolume.create_new_info(
        1, "segmentation", "uint64", "raw", (4, 4, 4), (0, 0, 0), (60, 24, 24), skeletons="skeletons"
    )
    cloudvolume.CloudVolume(f"file://{layer}", info=info).commit_info()
    table = traced(labels, layer / "skeletons", block_shape=20, sampling=4, sharded=sharded)
    assert table.label.tolist() == ids
    volume = cloudvolume.CloudVolume(f"file://{layer}", progress=False)
    for one, length in zip(ids, table.cable_length, strict=True):
        found = volume.skeleton.get(one)
        assert found.cable_length() == pytest.approx(length, rel=1e-4)
        assert len(found.components()) == 1


def test_a_soma_is_a_star(tmp_path: Path) -> None:
    z, y, x = np.mgrid[:60, :60, :60] - 30
    labels = (z**2 + y**2 + x**2 < 14**2).astype(np.uint8)
    for axis in (z, y, x):
        others = [one for one in (z, y, x) if one is not axis]
        labels[(others[0] ** 2 + others[1] ** 2 < 7) & (axis > 0) & (axis < 27)] = 1
    table = traced(labels, tmp_path / "out", format="swc", block_shape=32, soma_radius=8.0)
    rows = swc(tmp_path / "out" / "1.swc")
    soma = rows[rows[:, 1] == 1]
    assert len(soma) == 1
    np.testing.assert_allclose(soma[0, 2:5], 30, atol=2)
    assert soma[0, 5] == pytest.approx(14, abs=2.5)
    assert table.ends[0] == 3
    assert table.pieces[0] == 1
    assert np.count_nonzero(rows[:, 6] == soma[0, 0]) + (soma[0, 6] > 0) == 3


def test_the_end_of_an_object_stays_and_a_line_beside_another_goes() -> None:
    cleaning = Cleaning((1.0, 1.0, 1.0), 0.0, 0.0, np.inf, 1.5, 8.0)
    middle = [(0, 0, n) for n in range(30)]
    # at 22 a line leaves towards the skin; the end is long, but thinner
    skin = [(0, n, 22) for n in range(1, 4)]
    points = np.array([*middle, *skin], np.float64)
    edges = np.array([*((n, n + 1) for n in range(29)), (22, 30), (30, 31), (31, 32)])
    radii = np.array([3.0] * 24 + [1.0] * 6 + [2.0] * 3, np.float32)
    found = cleaning.without_slivers(Lines(points, edges, radii))
    assert found.vertices.tolist() == points[:30].tolist()
    # a way that turns at the end, and comes back
    back = [(0, 1, 29), *((0, 2, n) for n in range(29, 14, -1))]
    points = np.array([*middle, *back], np.float64)
    edges = np.array([(n, n + 1) for n in range(len(points) - 1)])
    radii = np.array([3.0] * 28 + [1.0] * (len(points) - 28), np.float32)
    found = cleaning.without_turns(Lines(points, edges, radii))
    assert 29 <= len(found.vertices) < 40
    assert (found.vertices[:29] == points[:29]).all()


@given(st.integers(0, 2**16), st.integers(1, 120), st.integers(1, 100))
def test_what_covers_an_end_is_any_vertex_in_whose_reach_it_is(seed: int, n: int, others: int) -> None:
    rng, size = np.random.default_rng(seed), n + min(others, n + 32)
    lines = Lines(rng.uniform(0, 20, (size, 3)), np.empty((0, 2), np.int64), rng.uniform(0, 3, size))
    near, path = _Near(lines, np.ones(3)), rng.permutation(size)[:n]
    reach, counts = rng.uniform(0, rng.uniform(1, 12), size), rng.random(size) < 0.9
    away = np.linalg.norm(lines.vertices[path][:, None] - lines.vertices[None], axis=2)
    away[:, path] = np.inf
    assert near.cover(path, reach, counts) == (away <= np.where(counts, reach, -1)).any(1).all()
    assert near.out(path) == pytest.approx((away - lines.radii).min(1).max())


def test_a_long_branch_takes_little_memory() -> None:
    n = 20_000
    middle = np.stack([np.zeros(100), np.zeros(100), np.arange(100.0)], 1)
    branch = np.stack([1.0 + np.arange(n), np.zeros(n), np.full(n, 50.0)], 1)
    edges = [np.arange(99)[:, None] + [0, 1], [[50, 100]], 100 + np.arange(n - 1)[:, None] + [0, 1]]
    lines = Lines(np.concatenate([middle, branch]), np.concatenate(edges), np.full(n + 100, 1.5, np.float32))
    cleaning = Cleaning((1.0, 1.0, 1.0), 0.0, 0.0, np.inf, 1.5, 8.0)
    tracemalloc.start()
    try:
        assert len(cleaning.without_slivers(lines).vertices) == n + 100
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_ticks_circles_and_dust() -> None:
    line = [(0, 0, n) for n in range(30)]
    points = np.array([*line, (0, 1, 10), (0, 2, 10), (5, 5, 5), (5, 5, 6)])
    edges = np.array([*((n, n + 1) for n in range(29)), (10, 30), (30, 31), (32, 33)])
    given = Skeleton(points, edges, np.full(len(points), 0.1, np.float32))
    steps = (1.0, 1.0, 1.0)
    assert len(Cleaning(steps, 3.0, 2.0, np.inf)(given).vertices) == 30
    assert len(Cleaning(steps, 0.0, 0.0, np.inf)(given).vertices) == 34
    circle = Skeleton(points[:4] * [1, 1, 1], np.array([(0, 1), (1, 2), (2, 3), (3, 0)]), np.ones(4, np.float32))
    assert (
        len(
            Cleaning(steps, 0.0, 0.0, np.inf)
            .without_circles(Lines(circle.vertices * 1.0, circle.edges, circle.radii))
            .edges
        )
        == 3
    )
    assert sorted(map(len, chains(Lines(points * 1.0, edges, given.radii)))) == [2, 3, 11, 20]


def test_a_piece_of_one_voxel_stays(tmp_path: Path) -> None:
    labels = np.zeros((8, 12, 12), np.uint8)
    labels[1, 2, 3:5], labels[1, 8, 8], labels[4, 4, 4], labels[7, 11, 11] = 1, 1, 1, 1
    table = traced(labels, tmp_path / "out", block_shape=4)  # with the ticks of the default
    assert (table.pieces.tolist(), table.vertices.tolist()) == ([4], [5])


def test_choice_and_nothing(tmp_path: Path) -> None:
    labels, _ = neurites(5, 64, 1)
    assert traced(labels, tmp_path / "a", ids=[2, 4, 99], block_shape=32).label.tolist() == [2, 4]
    sizes = np.bincount(labels.reshape(-1))[1:]
    least = int(np.sort(sizes)[2])
    assert set(traced(labels, tmp_path / "b", min_size=least).label) == set(np.flatnonzero(sizes >= least) + 1)
    assert len(traced(np.zeros((5, 6, 7), bool), tmp_path / "c", sharded=True)) == 0
    assert json.loads((tmp_path / "c" / "info").read_text())["@type"] == "neuroglancer_skeletons"
    one = traced(np.ones((1, 1, 1), bool), tmp_path / "d", format="swc")
    assert (one.label.tolist(), one.vertices.tolist(), one.cable_length.tolist()) == ([1], [1], [0.0])
    for dtype in (">u2", "i8", "u1", ">i4"):
        found = traced(labels.astype(dtype), tmp_path / dtype.strip(">"), block_shape=(20, 64, 40), roi=np.s_[:40])
        assert len(found)


@pytest.mark.parametrize(
    ("labels", "how", "error"),
    [
        (np.zeros((4, 4, 4), np.float32), {}, DtypeError),
        (np.zeros((4, 4), np.uint8), {}, ShapeError),
        (np.ones((4, 4, 4), np.uint8), {"format": "obj"}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"format": "swc", "sharded": True}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"scale": -1}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"tick_length": float("nan")}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"soma_radius": "large"}, ParameterError),
        (np.full((4, 4, 4), -3, np.int16), {}, RunnerError),
    ],
)
def test_bad_input(tmp_path: Path, labels: np.ndarray, how: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        bp.skeleton.trace(labels, tmp_path / "out", progress=False, **how)
    assert not (tmp_path / "out").exists()
