"""Surfaces are closed and those of the whole array, whatever the blocks, formats, types and ids."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import ArgumentError, DtypeError, ParameterError, RunnerError, ShapeError
from bioimage_py.mesh.marching import surfaces_of
from bioimage_py.sources.axes import Axis

from .reading import closed, euler, levels, pieces, read, together, triangles, volume

FILES = {"ply": "{}.ply", "obj": "{}.obj", "stl": "{}.stl", "glb": "{}.glb", "legacy": "{}:0:all"}


def ball(radius: float, size: int) -> np.ndarray:
    grid = np.mgrid[:size, :size, :size] - (size - 1) / 2
    return np.asarray((grid**2).sum(0) < radius**2)


def torus(large: float, small: float, size: int) -> np.ndarray:
    z, y, x = np.mgrid[:size, :size, :size] - (size - 1) / 2
    return np.asarray((np.hypot(y, x) - large) ** 2 + z**2 < small**2)


def made(labels: Any, folder: Path, **how: Any) -> Path:
    bp.mesh.surfaces(labels, folder, progress=False, **how)
    return folder


def whole(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface of an object of the whole array, x, y, z."""
    found = dict(surfaces_of(np.pad(mask, 1).astype(np.int32), 1))
    vertices, faces = found[1]
    return (vertices - 1)[:, ::-1], faces[:, ::-1]


SMALL = st.tuples(*[st.integers(1, 9)] * 3)


@given(
    shape=SMALL,
    blocks=st.tuples(*[st.integers(1, 10)] * 3),
    dtype=st.sampled_from([">u2", "u1", "i8", "u8", ">i4", "u4"]),
    n=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=20, deadline=None)
def test_blocks_give_the_surface_of_the_whole_array(
    shape: tuple[int, ...], blocks: tuple[int, ...], dtype: str, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    largest = int(np.iinfo(dtype).max)
    ids = np.array([0, *sorted({largest, largest - 1, 5})][: n + 1], dtype)
    labels = ids[rng.integers(0, len(ids), shape)]
    with TemporaryDirectory() as folder:
        made(labels, Path(folder, "out"), format="ply", block_shape=blocks)
        there = sorted(int(path.stem) for path in Path(folder, "out").glob("*.ply"))
        assert there == sorted(set(labels.reshape(-1).tolist()) - {0})
        for one in there:
            surface = read(Path(folder, "out", f"{one}.ply"))
            assert closed(surface[1])
            np.testing.assert_array_equal(triangles(surface), triangles(whole(labels == one)))


@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    fill=st.floats(0.1, 0.95),
    block=st.integers(2, 9),
    error=st.sampled_from([0.0, 0.8]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=10, deadline=None)
def test_the_euler_number_is_that_of_the_voxels(
    shape: tuple[int, ...], fill: float, block: int, error: float, seed: int
) -> None:
    from skimage.measure import euler_number

    mask = np.random.default_rng(seed).random(shape) < fill
    mask[0, 0, 0] = True
    mask[-1, -1, -1] = True
    with TemporaryDirectory() as folder:
        made(mask, Path(folder, "out"), format="ply", block_shape=block, max_error=error)
        surface = read(Path(folder, "out", "1.ply"))
    assert closed(surface[1])
    assert euler(surface[1]) == 2 * euler_number(np.pad(mask, 1), connectivity=1)


def test_each_cube_of_eight_voxels_has_the_euler_number_of_its_voxels() -> None:
    from skimage.measure import euler_number

    for bits in range(1, 256):
        cube = np.unpackbits(np.uint8(bits)).reshape(2, 2, 2).astype(bool)
        for mask in (np.pad(cube, 1), np.pad(np.pad(cube, 1, constant_values=True), 1)):  # alone, and as a hole
            ((_, (vertices, faces)),) = surfaces_of(mask.astype(np.int32), 1)
            assert closed(faces)
            assert euler(faces) == 2 * euler_number(mask, connectivity=1)
            assert 0 < volume((vertices, faces)) < mask.sum()


@given(
    shape=st.tuples(*[st.integers(4, 20)] * 3),
    block=st.integers(3, 12),
    error=st.floats(0.3, 3.0),
    seed=st.integers(0, 2**16),
    fill=st.floats(0.1, 0.9),
)
@settings(max_examples=12, deadline=None)
def test_simplified_surfaces_are_closed_at_every_level(
    shape: tuple[int, ...], block: int, error: float, seed: int, fill: float
) -> None:
    from scipy.ndimage import uniform_filter

    rng = np.random.default_rng(seed)
    smooth = uniform_filter(rng.random(shape), 3)
    labels = (smooth < np.quantile(smooth, fill)).astype(np.uint8)
    sampling = (2.0, 1.0, 1.0)
    with TemporaryDirectory() as folder:
        made(labels, Path(folder, "ply"), format="ply", block_shape=block, max_error=error, sampling=sampling)
        surface, exact = read(Path(folder, "ply", "1.ply")), whole(labels == 1)
        assert closed(surface[1])
        assert euler(surface[1]) == euler(exact[1])
        made(labels, Path(folder, "lods"), block_shape=block, max_error=error, sampling=sampling)
        for cells, meshes in levels(Path(folder, "lods"), 1):
            assert len(cells) == len(meshes)
            # cells are cut by planes, so only closedness is asked for: no edge without a partner
            faces = together(meshes)[1]
            counts = np.unique(
                np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1),
                axis=0,
                return_counts=True,
            )[1]
            assert (counts % 2 == 0).all()


@pytest.mark.parametrize(("format", "error"), [*((format, 0.0) for format in FILES), ("ply", 1.0)])
@pytest.mark.parametrize(("mask", "genus"), [(ball(13, 32), 0), (torus(10, 4, 32), 1)], ids=["ball", "torus"])
def test_seams_of_eight_blocks(tmp_path: Path, format: str, error: float, mask: np.ndarray, genus: int) -> None:
    folder = made(mask, tmp_path / "out", format=format, block_shape=16, max_error=error)
    surface = read(folder / FILES[format].format(1))
    assert closed(surface[1])
    assert pieces(surface[1]) == 1
    assert euler(surface[1]) == 2 - 2 * genus
    assert volume(surface) == pytest.approx(mask.sum(), rel=0.01 if not error else 0.05)


@pytest.mark.parametrize(("across", "lost"), [(10, 0.022), (16, 0.01), (26, 0.005), (32, 0.003)])
def test_the_volume_is_that_of_the_voxels_but_for_cut_corners(across: int, lost: float) -> None:
    mask = ball(across / 2, across + 3)
    assert (1 - lost) * mask.sum() < volume(whole(mask)) < mask.sum()


def sampled(surface: tuple[np.ndarray, np.ndarray], n: int) -> np.ndarray:
    """Points on the triangles of a surface, less than their sides / n apart."""
    corners = surface[0].astype(np.float64)[surface[1]]
    shares = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]) / n
    return np.einsum("sk,fkx->fsx", shares, corners).reshape(-1, 3)


def distances(points: np.ndarray, surface: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far points are from the nearest triangle."""
    least = np.full(len(points), np.inf)
    for a, b, c in surface[0].astype(np.float64)[surface[1]]:
        normal = np.cross(b - a, c - a)
        inside = np.full(len(points), bool(normal.any()))  # of a flat one the sides are all
        for start, end in ((a, b), (b, c), (c, a)):
            way = end - start
            share = np.clip((points - start) @ way / max(way @ way, 1e-12), 0, 1)
            least = np.minimum(least, np.linalg.norm(points - start - share[:, None] * way, axis=1))
            inside &= (points - start) @ np.cross(normal, way) >= 0
        over = np.abs((points - a) @ normal) / max(np.linalg.norm(normal), 1e-12)
        least[inside] = np.minimum(least, over)[inside]
    return least


@given(
    error=st.floats(0.02, 2.5),
    seed=st.integers(0, 2**16),
    steps=st.sampled_from([(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (0.5, 0.25, 1.0)]),
    block=st.sampled_from([9, 18]),
)
@settings(max_examples=5, deadline=None)
def test_no_vertex_is_farther_from_the_exact_surface_than_the_error(
    error: float, seed: int, steps: tuple[float, ...], block: int
) -> None:
    from scipy.ndimage import gaussian_filter
    from scipy.spatial import cKDTree

    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal((18, 18, 18)), 2.5)
    mask = smooth > np.quantile(smooth, 0.6)
    vertices, faces = whole(mask)
    exact = vertices * steps[::-1], faces
    with TemporaryDirectory() as folder:
        how: dict[str, Any] = {"format": "ply", "max_error": error, "sampling": steps, "block_shape": block}
        found = read(made(mask, Path(folder, "out"), **how) / "1.ply")
    assert len(found[1]) < 0.8 * len(faces)
    apart = max(steps) / 12
    assert cKDTree(sampled(exact, 12)).query(found[0])[0].max() <= error + apart
    # and nothing of the exact one is forgotten
    assert distances(exact[0], found).max() <= 2 * error + apart


def test_what_breaks_is_left_as_it_was_and_only_that() -> None:
    from bioimage_py.mesh.simplifying import simplified

    mask = ball(14, 36)
    mask[17:19, 17:19] = False  # a tunnel that the error would close
    ((_, surface),) = surfaces_of(np.pad(mask, 1).astype(np.int32), 1)
    # positions as those of a coarser level, which are not halves of voxels
    moved = surface[0] + np.random.default_rng(0).uniform(-0.1, 0.1, surface[0].shape)
    for vertices in (surface[0], moved):
        found = simplified((vertices, surface[1]), 4.0, (1.0, 1.0, 1.0), (38,) * 3)
        assert closed(found[1])
        assert euler(found[1]) == euler(surface[1]) == 0
        assert len(found[1]) < len(surface[1]) / 3


def test_levels_of_detail_are_closed_and_ever_coarser(tmp_path: Path) -> None:
    folder = made(ball(29, 64), tmp_path / "out", block_shape=16)
    found = levels(folder, 1)
    counts = []
    for level, (cells, meshes) in enumerate(found):
        surface = together(meshes)
        assert closed(surface[1])
        assert euler(surface[1]) == 2
        assert volume(surface) == pytest.approx(ball(29, 64).sum(), rel=0.02 * 2**level)
        assert (cells < np.ceil(5 / 2**level)).all()
        counts.append(len(surface[1]))
    assert len(found) == 3  # the ball lies in 4 of 5 blocks along each axis
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 4
    assert made(ball(9, 20), tmp_path / "two", block_shape=8, levels=2)
    assert len(levels(tmp_path / "two", 1)) == 2


def test_no_triangle_crosses_the_middle_of_a_coarser_cell(tmp_path: Path) -> None:
    folder = made(ball(29, 64), tmp_path / "out", block_shape=16)
    for level, (cells, meshes) in enumerate(levels(folder, 1)[1:], 1):
        for cell, (vertices, faces) in zip(cells, meshes, strict=True):
            middle = -1 + 16 * 2**level * (cell + 0.5)
            side = vertices[faces] - middle
            tolerance = 16 * 2**level / 2**16
            assert not ((side.min(1) < -tolerance) & (side.max(1) > tolerance)).any()


@pytest.mark.parametrize("sharded", [False, True])
def test_cloudvolume_reads_them(tmp_path: Path, sharded: bool) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    ids = [7, 2**53 + 1, 2**64 - 1]
    labels = np.zeros((24, 30, 36), np.uint64)
    labels[2:10, 3:12, 4:30], labels[12:20, 5:25, 2:9], labels[12:20, 5:25, 20:30] = ids
    layer = tmp_path / "layer"
    info = cloudvolume.CloudVolume.create_new_info(
        1, "segmentation", "uint64", "raw", (4, 8, 40), (0, 0, 0), (36, 30, 24), mesh="mesh"
    )
    cloudvolume.CloudVolume(f"file://{layer}", info=info).commit_info()
    made(labels, layer / "mesh", block_shape=10, sharded=sharded, sampling=(40, 8, 4))
    mesh = cloudvolume.CloudVolume(f"file://{layer}", progress=False).mesh
    for object_id in ids:
        found = mesh.get(object_id, lod=0)[object_id]
        at = np.argwhere(labels == object_id)[:, ::-1] * (4, 8, 40)
        size = np.array([4, 8, 40])
        np.testing.assert_allclose(found.vertices.min(0), at.min(0), atol=0.01)
        np.testing.assert_allclose(found.vertices.max(0), at.max(0) + size, atol=0.01)
        assert volume((found.vertices, found.faces)) == pytest.approx(
            (labels == object_id).sum() * size.prod(), rel=0.06
        )


def test_legacy_is_read_by_cloudvolume(tmp_path: Path) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    layer = tmp_path / "layer"
    info = cloudvolume.CloudVolume.create_new_info(
        1, "segmentation", "uint64", "raw", (4, 4, 4), (0, 0, 0), (20, 20, 20), mesh="mesh"
    )
    cloudvolume.CloudVolume(f"file://{layer}", info=info).commit_info()
    made(ball(8, 20), layer / "mesh", format="legacy", block_shape=8, sampling=4)
    found = cloudvolume.CloudVolume(f"file://{layer}", progress=False).mesh.get(1)
    found = found[1] if isinstance(found, dict) else found
    assert closed(np.asarray(found.faces, np.int64))
    np.testing.assert_allclose(found.vertices.mean(0), [40, 40, 40], atol=0.5)


def test_positions_are_those_of_the_axes(tmp_path: Path) -> None:
    labels = np.zeros((6, 8, 10), np.uint8)
    labels[1:3, 4:6, 5:9] = 1
    axes = (Axis("x", unit="micrometer", scale=2.0, offset=100.0), Axis("y", unit="micrometer", scale=3.0),
            Axis("z", unit="micrometer", scale=0.5))  # fmt: skip
    with bp.io.create_array(
        tmp_path / "a.zarr", "l", shape=labels.shape, dtype="u1", chunks=(4, 4, 4), axes=axes
    ) as out:
        out[...] = labels
    with bp.open_source(tmp_path / "a.zarr", "l") as source:
        assert [axis.name for axis in source.axes] == ["x", "y", "z"]
        surface = read(made(source, tmp_path / "out", format="ply", block_shape=4) / "1.ply")
    np.testing.assert_allclose(surface[0].min(0), [101, 10.5, 2.25])
    np.testing.assert_allclose(surface[0].max(0), [105, 16.5, 4.25])
    assert volume(surface) > 0


def test_choice(tmp_path: Path) -> None:
    labels = np.zeros((10, 12, 14), np.int32)
    labels[1:3, 1:3, 1:3], labels[5:9, 1:9, 1:9], labels[0, 11, 13] = 3, 4, 9
    for number, (how, there) in enumerate(
        [
            ({}, {3, 4, 9}),
            ({"ids": [4, 77]}, {4}),
            ({"min_size": 2}, {3, 4}),
            ({"max_size": 8}, {3, 9}),
            ({"ids": []}, set()),
        ]
    ):
        folder = made(labels, tmp_path / str(number), format="stl", block_shape=5, **how)
        assert {int(path.stem) for path in folder.glob("*.stl")} == there
    folder = made(labels, tmp_path / "roi", format="ply", block_shape=5, roi=np.s_[6:10, 0:12, 0:14])
    assert {int(path.stem) for path in folder.glob("*.ply")} == {4}
    vertices, faces = read(folder / "4.ply")
    assert closed(faces)
    np.testing.assert_array_equal(vertices.min(0), [0.5, 0.5, 5.5])


@pytest.mark.parametrize("format", ["ply", "precomputed"])
def test_cavities_are_filled(tmp_path: Path, format: str) -> None:
    mask = ball(13, 32) & ~ball(6, 32)
    mask[16, 16, 16] = True  # a piece of the object in its cavity
    how: dict[str, Any] = {"format": format, "block_shape": 9}
    if format == "ply":
        hollow, filled = (
            read(made(mask, tmp_path / str(fill), fill_holes=fill, **how) / "1.ply") for fill in (False, True)
        )
    else:
        hollow, filled = (
            together(levels(made(mask, tmp_path / str(fill), fill_holes=fill, **how), 1)[0][1])
            for fill in (False, True)
        )
    assert pieces(hollow[1]) == 3
    assert pieces(filled[1]) == 2
    assert closed(filled[1])
    assert volume(filled) == pytest.approx(ball(13, 32).sum(), rel=0.01)


def test_nothing_but_background(tmp_path: Path) -> None:
    for format in ("precomputed", "ply"):
        assert bp.mesh.surfaces(np.zeros((5, 5, 5), np.uint8), tmp_path / format, format=format, progress=False) == 0  # type: ignore[arg-type]
    assert json.loads((tmp_path / "precomputed" / "info").read_text())["@type"] == "neuroglancer_multilod_draco"


@pytest.mark.parametrize(
    ("labels", "how", "error"),
    [
        (np.zeros((4, 4, 4), np.float32), {}, DtypeError),
        (np.zeros((4, 4), np.uint8), {}, ShapeError),
        (np.zeros((2, 4, 4, 4), np.uint8), {}, ShapeError),
        (np.zeros((0, 4, 4), np.uint8), {}, ShapeError),
        (np.ones((4, 4, 4), np.uint8), {"format": "vtk"}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"format": "ply", "sharded": True}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"format": "ply", "levels": 2}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"levels": 0}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"max_error": -1}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"max_error": float("nan")}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"ids": [0]}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"ids": [2**64]}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"min_size": 5, "max_size": 4}, ParameterError),
        (np.ones((4, 4, 4), np.uint8), {"sampling": (1, 2)}, ParameterError),
        (np.full((4, 4, 4), -3, np.int16), {}, RunnerError),
    ],
)
def test_bad_input(tmp_path: Path, labels: np.ndarray, how: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        bp.mesh.surfaces(labels, tmp_path / "out", progress=False, **how)
    assert not (tmp_path / "out").exists()


def test_outputs(tmp_path: Path) -> None:
    labels = np.ones((4, 4, 4), np.uint8)
    for wrong in (None, 3, "", "s3://bucket/meshes"):
        with pytest.raises(ArgumentError):
            bp.mesh.surfaces(labels, wrong, progress=False)  # type: ignore[arg-type]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    for overwrite in (False, True):
        with pytest.raises(ParameterError, match="something else"):
            bp.mesh.surfaces(labels, tmp_path / "mine", overwrite=overwrite, progress=False)
    made(labels, tmp_path / "out", format="ply")
    with pytest.raises(ParameterError, match="earlier run"):
        bp.mesh.surfaces(labels, tmp_path / "out", format="ply", progress=False)
    made(2 * labels, tmp_path / "out", format="ply", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"2.ply", "provenance.json"}
    assert bp.mesh.surfaces(labels, tmp_path / "planned", plan=True).stages
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_an_object_of_many_blocks_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    import tracemalloc

    from bioimage_py.mesh.files import WriteFile
    from bioimage_py.mesh.pieces import Joined, Piece, from_bytes, to_bytes
    from bioimage_py.per_object.volume import Place

    size = 32
    z, y, x = np.mgrid[: size + 1, : size + 1, : size + 1] * (2 * np.pi / 16)
    sponge = (np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x) > 0).astype(np.int32)
    ((_, surface),) = surfaces_of(sponge, 1)
    data, write = to_bytes(surface), WriteFile("ply", Place((2, 1, 0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), None))
    peaks = []
    for side in (1, 6):
        corners = [tuple(size * n for n in at) for at in np.ndindex(side, side, side)]
        tracemalloc.start()
        write(tmp_path, side, Joined([Piece(corner, (size,) * 3, lambda: from_bytes(data)) for corner in corners]))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(read(tmp_path / "6.ply")[1]) == 216 * len(surface[1])
    assert peaks[1] < 0.05 * 216 * peaks[0], peaks  # a block, and a number for each vertex on a seam


def test_threads_do_not_simplify_each_others_surfaces() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from bioimage_py.mesh.simplifying import simplified

    given = [next(surfaces_of(np.pad(ball(radius, 26), 1).astype(np.int32), 1))[1] for radius in (7, 9, 11)] * 8
    alone = [simplified(one, 0.7, (1.0, 1.0, 1.0), (28,) * 3) for one in given[:3]] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: simplified(one, 0.7, (1.0, 1.0, 1.0), (28,) * 3), given))
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
