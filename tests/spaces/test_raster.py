"""Objects as voxels and back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import ParameterError, ShapeError
from bioimage_py.sources import Axis
from bioimage_py.spaces import Box, Ellipse, Grid, Mask, ObjectInstance, Ontology, Point, Polygon, Space
from bioimage_py.spaces.raster import outline, rasterise, rasterise_geometry, vectorise
from bioimage_py.spaces.values.masks import from_run_lengths, run_lengths
from bioimage_py.spaces.values.planar import area_of

from .conftest import make_ontology

WHOLE = (slice(0, 100), slice(0, 100))


@pytest.mark.parametrize("offset", [7, -1234.1])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_circle(scale: float, offset: float) -> None:
    grid = Grid([Axis("y", scale=scale, offset=offset), Axis("x", scale=scale, offset=offset)], (100, 100))
    circle = grid.world(Ellipse((50.5, 50.5), (10, 10)), "pixel")
    found = rasterise_geometry(circle, grid, WHOLE)
    y, x = np.mgrid[:100, :100] + 0.5
    inside = np.hypot(y - 50.5, x - 50.5)
    edge = abs(inside - 10) < 1e-9  # as for half-open intervals: the left end of a row
    assert edge.sum() == 12
    np.testing.assert_array_equal(found, np.where(edge, x < 50.5, inside < 10))
    traced = grid.world(outline(Mask(found)), "pixel")
    np.testing.assert_array_equal(rasterise_geometry(traced, grid, WHOLE), found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_outlines_of_masks_give_the_mask_back(seed: int, density: float) -> None:
    found = np.random.default_rng(seed).random((9, 11)) < density
    found[3, 4] = True
    grid = Grid([Axis("y"), Axis("x")], (9, 11))
    again = rasterise_geometry(grid.world(outline(Mask(found)), "pixel"), grid, (slice(0, 9), slice(0, 11)))
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(from_run_lengths(run_lengths(found), found.shape), found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=8, unique=True))
def test_polygons_as_shapely_has_them(points: list[tuple[float, float]]) -> None:
    import shapely

    if len({*points}) < 3:
        return
    grid = Grid([Axis("y", offset=0.5), Axis("x", offset=0.5)], (20, 20))  # world is pixel
    found = rasterise_geometry(Polygon(points), grid, (slice(0, 20), slice(0, 20)))
    y, x = np.mgrid[:20, :20] + 0.5
    inside, clear = np.zeros((20, 20), bool), np.ones((20, 20), bool)
    # even and odd: of the triangles between the first point and each edge (make_valid merges edges that lie on another)
    for pair in pairwise(points[1:]):
        triangle = shapely.Polygon([points[0], *pair])
        inside ^= shapely.contains_xy(triangle, x, y)
        clear &= shapely.distance(triangle.boundary, shapely.points(x, y)) > 1e-6
    np.testing.assert_array_equal(found[clear], inside[clear])


def blobs(seed: int, shape: tuple[int, int], count: int) -> Any:
    """Labels that touch, with holes, islands and bridges of one pixel: rectangles and lines over each other."""
    rng = np.random.default_rng(seed)
    found = np.zeros(shape, "u2")
    for value in range(1, count + 1):
        for _ in range(int(rng.integers(1, 4))):
            y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
            height, width = rng.integers(1, 7, 2) if rng.random() < 0.6 else rng.permutation([1, 9])
            found[y : y + height, x : x + width] = value if rng.random() < 0.8 else 0
    return found


SCALED = st.sampled_from([(1.0, 1.0), (0.3, 0.3), (0.1, 7.0), (1e-6, 3.0)])
PLACED = st.sampled_from([(0.0, 0.0), (7.0, -7.0), (1e4, 0.1)])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), SCALED, PLACED, st.sampled_from([None, (5, 7), (1, 30)]))
def test_labels_as_polygons_and_back(seed: int, count: int, scale: Any, offset: Any, block_shape: Any) -> None:
    """Holes, objects that touch, bridges of one pixel, scales of their own: the same labels, to the pixel."""
    labels = blobs(seed, (19, 23), count)
    axes = [Axis(name, scale=s, offset=o) for name, s, o in zip("yx", scale, offset, strict=True)]
    for name in ("polygon", "bitmask"):
        space = Space.for_image(labels.shape, axes, make_ontology())
        made = vectorise(space, labels, name, block_shape=block_shape)
        assert set(made) == {*np.unique(labels).tolist()} - {0}
        again = np.zeros_like(labels)
        rasterise(space, again, values={id: value for value, id in made.items()}, block_shape=block_shape)
        np.testing.assert_array_equal(again, labels)
        assert list(space.validate()) == []
        traced = vectorise(space, again, name)
        for value, id in made.items():
            assert space.get(traced[value]).geometry == space.get(id).geometry


@pytest.mark.parametrize(
    "rows",
    [
        ["#.#", ".#.", "#.#"],  # they meet at corners only
        ["###", "#.#", "###"],  # a hole
        ["#####", "#...#", "#.#.#", "#...#", "#####"],  # an island in a hole
        ["##..##", "######", "##..##"],  # a bridge of one pixel
        ["#.", ".#"],
        ["#"],
        ["###", "#.#", "##."],  # a hole that meets the outside at a corner
    ],
)
def test_masks_that_are_hard_to_trace(rows: list[str]) -> None:
    found = np.array([[c == "#" for c in row] for row in rows])
    grid = Grid([Axis("y", scale=0.3, offset=7), Axis("x", scale=5.0, offset=-1)], found.shape)
    traced = grid.world(outline(Mask(found)), "pixel")
    window = tuple(slice(0, n) for n in found.shape)
    np.testing.assert_array_equal(rasterise_geometry(traced, grid, window), found)
    assert area_of(outline(Mask(found))) == found.sum()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 22), st.floats(-3, 22)), min_size=3, max_size=7, unique=True),
    st.floats(0.01, 100),
    st.floats(-50, 50),
)
def test_what_a_polygon_covers_is_traced_to_the_same(points: Any, scale: float, offset: float) -> None:
    """A polygon of any form, its voxels, their outline, and the voxels of that: nothing is won or lost."""
    grid = Grid([Axis("y", scale=scale, offset=offset), Axis("x", scale=scale, offset=offset)], (20, 20))
    window = (slice(0, 20), slice(0, 20))
    try:
        polygon = grid.world(Polygon(points), "pixel")
    except ParameterError:  # so thin that nothing is left of it half a pixel further
        return
    covered = rasterise_geometry(polygon, grid, window)
    halves = [rasterise_geometry(polygon, grid, (slice(0, 20), part)) for part in (slice(0, 9), slice(9, 20))]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), covered)
    if covered.any():
        traced = grid.world(outline(Mask(covered, (0, 0))), "pixel")
        np.testing.assert_array_equal(rasterise_geometry(traced, grid, window), covered)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-1, 19), st.floats(-1, 19))
def test_neighbours_share_no_voxel(seed: int, x: float, y: float) -> None:
    """A square cut into four at any point: each voxel belongs to one part, also where the cut goes through centres."""
    grid = Grid([Axis("y", offset=0.5), Axis("x", offset=0.5)], (20, 20))
    at = (round(x), round(y)) if seed % 3 == 0 else (round(x) + 0.5, round(y) + 0.5) if seed % 3 == 1 else (x, y)
    corners = [(-2.0, -2.0), (22.0, -2.0), (22.0, 22.0), (-2.0, 22.0)]
    parts = [Polygon([at, corners[i], corners[(i + 1) % 4]]) for i in range(4)]
    window = (slice(0, 20), slice(0, 20))
    counts = sum(rasterise_geometry(part, grid, window).astype(int) for part in parts)
    np.testing.assert_array_equal(counts, np.ones((20, 20), int))


def test_boxes_polygons_and_masks_of_the_same_voxels(image: Any) -> None:
    grid = image.grid
    box = grid.world(Box((2, 3), (5, 9)), "pixel")
    window = (slice(0, 80), slice(0, 100))
    expected = np.zeros((80, 100), bool)
    expected[3:9, 2:5] = True
    for geometry in (box, Polygon(box.rings()), Mask(expected)):
        np.testing.assert_array_equal(rasterise_geometry(geometry, grid, window), expected)
        np.testing.assert_allclose(geometry.bounds(grid), box.bounds(grid))


@pytest.mark.parametrize("block_shape", [None, (7, 13)])
def test_a_space_in_blocks(image: Any, block_shape: Any) -> None:
    rng = np.random.default_rng(1)
    expected = np.zeros((80, 100), "u2")
    for i in range(1, 15):
        y, x = rng.integers(0, 70), rng.integers(0, 90)
        expected[y : y + 9, x : x + 8] = i
    values = np.unique(expected)[1:]
    for name in ("bitmask", "polygon"):
        made = vectorise(image, expected, name, block_shape=block_shape, source="model")
        assert list(made) == values.tolist()
        assert not image.get(made[int(values[0])]).manual_annotation
        output = np.zeros((80, 100), "u2")
        known = rasterise(image, output, values={made[v]: v for v in made}, class_=name, block_shape=block_shape)
        assert set(known.values()) == set(values.tolist())
        np.testing.assert_array_equal(output, expected)


def test_volumes(volume: Any, ontology: Ontology) -> None:
    labels = np.zeros((40, 80, 100), "u1")
    labels[3:6, 10:20, 30:50], labels[30:, 70:, 90:] = 1, 2
    made = vectorise(volume, labels, "bitmask", block_shape=(16, 32, 32))
    found = np.zeros_like(labels)
    rasterise(volume, found, values={made[1]: 1, made[2]: 2}, block_shape=(9, 32, 50))
    np.testing.assert_array_equal(found, labels)
    made = vectorise(volume, labels, "nucleus")
    assert volume.get(made[1]).geometry_in("pixel") == Box((30, 10, 3), (50, 20, 6))


def test_frames(frames: Any) -> None:
    nucleus = ObjectInstance(frames.ontology.object_class("nucleus"))
    frames.put_object_instance(nucleus, 3, Box((0, 0), (2, 2)), units="pixel")
    output = np.zeros((80, 100), "u1")
    rasterise(frames, output, frame=2)
    assert not output.any()
    rasterise(frames, output, frame=3, by="class", values={"nuc": 7})
    assert (output[:2, :2] == 7).all()
    assert (output == 7).sum() == 4


def test_refused(image: Any) -> None:
    with pytest.raises(ShapeError, match="80, 100"):
        rasterise(image, np.zeros((8, 8), "u1"))
    with pytest.raises(ShapeError, match="80, 100"):
        vectorise(image, np.zeros((8, 8), "u1"), "bitmask")
    with pytest.raises(ParameterError, match="float"):
        vectorise(image, np.zeros((80, 100)), "bitmask")
    with pytest.raises(ParameterError, match="point"):
        vectorise(image, np.zeros((80, 100), "u1"), "point")
    image.put_object_instance(ObjectInstance(image.ontology.object_class("point")), Point((1, 1)))
    with pytest.raises(ParameterError, match="point covers no voxels"):
        rasterise(image, np.zeros((80, 100), "u1"))
    image.put_many("nucleus", np.tile([0.0, 0, 1, 1], (300, 1)))
    with pytest.raises(ParameterError, match="300 in uint8"):
        rasterise(image, np.zeros((80, 100), "u1"), class_="nucleus")


def test_space_over_an_axis_with_channels(ontology: Ontology) -> None:
    space = Space.for_image((3, 8, 8), (Axis("c", "channel"), Axis("y"), Axis("x")), ontology)
    assert space.kind == "image"
    assert space.grid.mask_shape() == (8, 8)
    assert Space.for_image((1, 1, 8, 8), ("t", "z", "y", "x"), ontology).kind == "image"
    assert Space.for_image((2, 3, 8, 8), ("t", "z", "y", "x"), ontology).grid.mask_shape() == (3, 8, 8)


def test_parts_that_overlap_are_one_area(image: Any) -> None:
    corners = np.array([(0.0, 0), (10, 0), (10, 10), (0, 10)])
    both = Polygon(parts=[[corners], [corners + 5]])
    image.put_object(ObjectInstance(image.ontology.object_class("polygon"), "a"), both, units="pixel")
    record = image.get("a")
    window = slice(0, 20), slice(0, 20)
    covered = rasterise_geometry(record.geometry, image.grid, window)
    assert covered.sum() == area_of(both) == 175
    assert [r.id for r in image.query(Box((6, 6), (8, 8)), units="pixel")] == ["a"]
    assert [note for note in image.validate() if "crosses itself" in note]


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 50), st.floats(-2000, 2000), st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_centres_on_edges_are_of_one_side_whatever_the_scale(scale: float, offset: float, ends: list[int]) -> None:
    (x0, x1), (y0, y1) = sorted(ends[:2]), sorted(ends[2:])
    corners = np.array([[x0, y0], [x1 + 1, y1 + 1]]) / 2  # halves: through centres
    low, high = corners
    shapes: list[Any] = [
        Box(low, high),
        Polygon([low, (high[0], low[1]), high, (low[0], high[1])]),
        Ellipse((low + high) / 2, (high - low) / 2),
        Ellipse((low + high) / 2, (high - low) / 2, 90),
    ]
    grid = Grid([Axis("y", scale=scale, offset=offset), Axis("x", scale=scale, offset=offset)], (30, 30))
    plain = Grid([Axis("y", offset=0.5), Axis("x", offset=0.5)], (30, 30))  # world is pixel
    window = (slice(0, 30), slice(0, 30))
    box, polygon, *round_ = (rasterise_geometry(grid.world(shape, "pixel"), grid, window) for shape in shapes)
    for shape, found in zip(shapes, (box, polygon, *round_), strict=True):
        np.testing.assert_array_equal(found, rasterise_geometry(shape, plain, window))
    np.testing.assert_array_equal(box, polygon)
