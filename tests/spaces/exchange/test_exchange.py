"""Spaces in the formats of others, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import FormatError
from bioimage_py.projects import BoxSet, LandmarkSet
from bioimage_py.spaces import Box, Ellipse, Mask, ObjectInstance, Ontology, Point, Polygon, RotatedBox, Space
from bioimage_py.spaces.exchange import (
    from_boxes,
    from_coco,
    from_cvat_xml,
    from_encord,
    from_geojson,
    from_landmarks,
    to_boxes,
    to_coco,
    to_cvat_xml,
    to_encord,
    to_geojson,
    to_landmarks,
)
from bioimage_py.spaces.raster import rasterise_geometry

WINDOW = (slice(0, 80), slice(0, 100))


def polygons(count: int) -> list[Polygon]:
    """Stars with a hole, some of two parts."""
    rng, found = np.random.default_rng(3), []
    for i in range(count):
        center, n = rng.uniform(20, 60, 2), int(rng.integers(4, 12))
        angle = np.sort(rng.uniform(0, 2 * np.pi, n) + np.arange(n) * 1e-3)
        star = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        parts = [[center + star * rng.uniform(8, 15, (n, 1)), center + star * 3]]
        if i % 3 == 0:
            parts.append([[(1, 1), (5, 1.5), (4, 6)]])
        if i % 4 == 0:
            parts[0].pop()
        found.append(Polygon(parts=parts))
    return found


def empty(ontology: Ontology) -> Any:
    return Space.for_image((80, 100), ("y", "x"), ontology)


@pytest.mark.parametrize(("write", "read"), [(to_coco, from_coco), (to_geojson, from_geojson)])
def test_polygons_cover_the_same_pixels(ontology: Ontology, write: Any, read: Any) -> None:
    space, again = empty(ontology), empty(ontology)
    ids = space.put_many("polygon", polygons(100), confidence=0.25)
    exported = write(space)
    assert read(again, json.loads(json.dumps(exported.document))) == 100
    for id in ids.tolist():
        shapes = [rasterise_geometry(one.get(id).geometry, one.grid, WINDOW) for one in (space, again)]
        np.testing.assert_array_equal(*shapes)
    assert again.get(str(ids[0])).confidence == 0.25
    assert exported.lost


FORMATS = {
    "coco": (to_coco, from_coco, True),
    "geojson": (to_geojson, from_geojson, True),
    "cvat": (to_cvat_xml, from_cvat_xml, False),
    "encord": (to_encord, from_encord, True),
}


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", FORMATS)
def test_polygons_with_holes_in_every_format(ontology: Ontology, name: str, count: int) -> None:
    """The same pixels after the way there and back, in every format; ids where the format has them."""
    write, read, with_ids = FORMATS[name]
    space, again = empty(ontology), empty(ontology)
    space.put_many("polygon", polygons(count))
    document = write(space).document
    assert read(again, document if isinstance(document, str) else json.loads(json.dumps(document))) == count
    window = (slice(0, 78), slice(0, 78))  # they reach no further
    for record, twin in zip(space, again, strict=True):
        assert not with_ids or record.id == twin.id
        covered = [rasterise_geometry(one.geometry, space.grid, window) for one in (record, twin)]
        assert (covered[0] == covered[1]).all()


@pytest.mark.parametrize(("write", "read"), [(to_coco, from_coco), (to_geojson, from_geojson)])
def test_boxes_and_masks(ontology: Ontology, write: Any, read: Any) -> None:
    space, again = empty(ontology), empty(ontology)
    mask = np.random.default_rng(0).random((80, 100)) < 0.2
    shapes = [Box((0.25, 3), (10, 11.125)), Mask(mask), Mask(np.ones((3, 4), bool), (5, 6))]
    ids = space.put_many(["nucleus", "bitmask", "bitmask"], shapes).tolist()
    assert read(again, write(space).document) == 3
    assert [again.get(id).geometry for id in ids] == shapes


def test_other_shapes_of_geojson(ontology: Ontology) -> None:
    space, again = empty(ontology), empty(ontology)
    shapes = [RotatedBox((20, 20), (10, 4), 30.0), Ellipse((30, 30), (5, 3), 10.0), Point((4, 5))]
    ids = space.put_many(["rotatable_bounding_box", "ellipse", "point"], shapes).tolist()
    document = to_geojson(space).document
    from_geojson(again, json.loads(json.dumps(document)))
    assert [again.get(id).geometry for id in ids] == shapes
    ring = np.array(document["features"][0]["geometry"]["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    x, y = ring[:-1].T
    assert np.dot(x, np.roll(y, -1)) > np.dot(y, np.roll(x, -1))  # counter-clockwise


def test_a_file_of_qupath(ontology: Ontology) -> None:
    feature = {
        "type": "Feature",
        "id": "a1b2",
        "geometry": {"type": "Polygon", "coordinates": [[[10, 10], [10, 20], [20, 20], [20, 10], [10, 10]]]},
        "properties": {"objectType": "annotation", "classification": {"name": "nucleus", "color": [200, 0, 0]}},
    }
    space = empty(ontology)
    assert from_geojson(space, [feature]) == 1
    assert space.get("a1b2").geometry_in("pixel") == Box((10, 10), (20, 20))


def test_frames_of_coco(frames: Any, ontology: Ontology) -> None:
    nucleus = ObjectInstance(ontology.object_class("nucleus"), "o")
    frames.put_object_instance(nucleus, [2, 5], Box((0, 0), (4, 4)), units="pixel")
    document = to_coco(frames).document
    assert len(document["images"]) == 8
    again = Space.for_image((8, 80, 100), ("t", "y", "x"), ontology)
    from_coco(again, document)
    assert [r.frame for r in again] == [2, 5]
    other = empty(ontology)
    assert from_coco(other, document, image_id=3) == 1
    with pytest.raises(FormatError, match="image"):
        from_coco(other, document)


def test_a_mask_of_coco_is_what_pycocotools_writes(ontology: Ontology) -> None:
    """The run lengths of a 2 x 3 image, by columns: 01/11/00 are 1, 3, 2."""
    space = Space.for_image((2, 3), ("y", "x"), ontology)
    space.put_many("bitmask", [Mask(np.array([[0, 1, 0], [1, 1, 0]], bool))])
    segmentation = to_coco(space).document["annotations"][0]["segmentation"]
    assert segmentation == {"size": [2, 3], "counts": [1, 3, 2]}


def broken(**changes: Any) -> dict[str, Any]:
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], **changes}
    image = {"id": 1, "file_name": "a", "width": 100, "height": 80}
    return {"images": [image], "annotations": [row], "categories": [{"id": 1, "name": "nucleus"}]}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"images": []},
        broken(category_id=7),
        broken(category_id=[]),
        broken(bbox=[1, 1, 0, 2]),
        broken(bbox=[1, "x", 0, 2]),
        broken(segmentation={"size": [2**40, 2**40], "counts": [2**80]}),
        broken(segmentation={"size": [80, 100], "counts": "packed"}),
        broken(segmentation=[[1, 2, 3]]),
        broken(score=7),
        broken(object_id="a\nb"),
        broken(object_id=""),
        broken(object_id=2**60),
        broken(score=10**400),
        broken(score="0.5"),
        broken(score=True),
        broken(image_id=2),
        broken(image_id=None),
        broken(bbox=[10**400, 1, 1, 1]),
        {**broken(), "images": [{"id": None}]},
        {**broken(), "images": [{"id": 1}, {"id": 1}]},
        {**broken(), "categories": [{"id": 1, "name": "nucleus"}, {"id": 1.0, "name": "old"}]},
    ],
)
def test_broken_coco(image: Any, document: Any) -> None:
    with pytest.raises(FormatError):
        from_coco(image, document)
    assert len(image) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"properties": None},
        {"properties": {}},
        {"properties": [1]},
        {"id": True},
        {"id": [1]},
        {"id": "a\nb"},
        {"properties": {"classification": {"name": "nucleus"}, "confidence": 10**400}},
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [10**400, 0], [1, 1]]]}},
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1e200, 0], [1, 1]]]}},
        {"properties": {"classification": {"name": "nobody"}}},
        {"properties": {"classification": {"name": "nucleus"}, "frame": 3}},
        {"properties": {"classification": {"name": "nucleus"}, "confidence": "much"}},
        {"geometry": None},
        {"geometry": {"type": "Circle", "coordinates": []}},
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}},
        {"geometry": {"type": "Polygon", "coordinates": 3}},
    ],
)
def test_broken_geojson(image: Any, change: dict[str, Any]) -> None:
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    feature = {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "nucleus"}},
    }
    assert from_geojson(image, [feature]) == 1
    with pytest.raises(FormatError, match=r"features|properties"):
        from_geojson(image, [{**feature, **change}])
    assert len(image) == 1


def test_ids_that_a_table_program_wrote(image: Any) -> None:
    large = 2**53 + 1  # which a float is not
    document = {
        "images": [{"id": 1.0}, {"id": 2}],
        "categories": [{"id": 1.0, "name": "nucleus"}],
        "annotations": [{"id": large, "image_id": id, "category_id": 1, "bbox": [id, 1, 5, 5]} for id in (1, 2, 1.0)],
    }
    assert from_coco(image, document, image_id=1) == 2
    assert {record.geometry_in("pixel").top_left[0] for record in image} == {1}
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    features = [
        {"id": large + i, "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": None} for i in (0, 1)
    ]
    assert from_geojson(image, features, class_="polygon") == 2
    assert image.get(str(large)).id != image.get(str(large + 1)).id


def test_boxes_and_landmarks_of_projects(volume: Any, ontology: Ontology) -> None:
    boxes = BoxSet(["nucleus"])
    boxes.add("nucleus", 0, (0.5, 1.5, 2.5), (3.5, 4.5, 5.5))  # voxels 1 to 3 along x
    assert from_boxes(volume, boxes) == 1
    record = next(volume.query())
    assert record.geometry_in("pixel") == Box((1, 2, 3), (4, 5, 6))
    assert to_boxes(volume, BoxSet(["nucleus"])) == boxes
    points = LandmarkSet(["point"])
    points.add("point", 0, (1, 2, 3))
    from_landmarks(volume, points)
    assert to_landmarks(volume, LandmarkSet(["point"])) == points
