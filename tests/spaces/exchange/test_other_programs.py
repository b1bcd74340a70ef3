"""Files that other programs have made, and whether they read ours."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import FormatError
from bioimage_py.spaces import Box, Mask, ObjectClass, Ontology, Point, Polygon, Space
from bioimage_py.spaces.exchange import from_coco, from_encord, from_geojson, to_coco, to_geojson
from bioimage_py.spaces.exchange.coco import unpacked
from bioimage_py.spaces.raster import rasterise_geometry

from .test_exchange import WINDOW, empty, polygons

masks = pytest.importorskip("pycocotools.mask")


def coco_of(path: Path, document: Any) -> Any:
    """The document as the COCO API has it."""
    from pycocotools.coco import COCO

    path.write_text(json.dumps(document))
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_the_coco_api_reads_ours(ontology: Ontology, tmp_path: Path) -> None:
    """Areas, boxes and masks are the same there; its polygons are drawn by another rule, at the edges."""
    space = empty(ontology)
    mask = np.random.default_rng(0).random((80, 100)) < 0.2
    space.put_many("bitmask", [Mask(mask), Mask(np.ones((3, 4), bool), (5, 6))])
    space.put_many("polygon", polygons(40))
    space.put_many("nucleus", np.array([[0.25, 3, 10, 11.125]]))
    coco = coco_of(tmp_path / "ours.json", to_coco(space).document)
    assert len(coco.getAnnIds()) == 43
    assert {item["name"] for item in coco.loadCats(coco.getCatIds())} == {item.name for item in ontology.objects}
    for item, record in zip(coco.loadAnns(coco.getAnnIds()), space.get_annotations("object"), strict=True):
        if not item["segmentation"]:
            assert np.allclose(item["bbox"], [0.75, 3.5, 9.75, 8.125])  # pixels: half a voxel beside the world
            continue
        theirs, ours = coco.annToMask(item).astype(bool), rasterise_geometry(record.geometry, space.grid, WINDOW)
        if isinstance(item["segmentation"], dict):
            np.testing.assert_array_equal(theirs, ours)
            assert item["area"] == masks.area(coco.annToRLE(item)) == ours.sum()
            assert item["bbox"] == masks.toBbox(coco.annToRLE(item)).tolist()
        else:
            assert (theirs != ours).sum() < sum(len(ring) for ring in item["segmentation"]) * 10


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 40), st.integers(1, 40))
def test_packed_run_lengths(seed: int, density: float, height: int, width: int) -> None:
    array = np.random.default_rng(seed).random((height, width)) < density
    array[seed % height, seed % width] = True
    packed = masks.encode(np.asfortranarray(array.astype("u1")))
    space = Space.for_image(array.shape, ("y", "x"), Ontology([ObjectClass("cell", "bitmask")]))
    row = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {**packed, "counts": packed["counts"].decode()}}
    images, names = [{"id": 1, "width": width, "height": height}], [{"id": 1, "name": "cell"}]
    from_coco(space, {"images": images, "annotations": [row], "categories": names})
    np.testing.assert_array_equal(rasterise_geometry(next(iter(space)).geometry, space.grid, _whole(array)), array)
    ours = to_coco(space).document["annotations"][0]["segmentation"]
    assert masks.frPyObjects(ours, height, width)["counts"] == packed["counts"]
    assert unpacked(packed["counts"]) == ours["counts"]


def _whole(array: Any) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in array.shape)


@pytest.mark.parametrize("text", ["p" * 20, "~", " ", "o", "é", "0" * 10])
def test_text_that_is_no_run_lengths(image: Any, text: str) -> None:
    row = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [80, 100], "counts": text}}
    images, names = [{"id": 1, "width": 100, "height": 80}], [{"id": 1, "name": "bitmask"}]
    with pytest.raises(FormatError, match=r"annotations\[0\]"):
        from_coco(image, {"images": images, "annotations": [row], "categories": names})


# As QuPath 0.4 exports a detection, an annotation on another plane, and points ("Export GeoJSON" of its documentation).
QUPATH = """{"type": "FeatureCollection", "features": [
{"type": "Feature", "id": "c5f2d1e0-7a6b-4c62-9f6c-0d3a6a1d9b10",
 "geometry": {"type": "Polygon", "coordinates": [[[10.5, 10], [10.5, 20], [20, 20], [20, 10], [10.5, 10]]]},
 "properties": {"objectType": "detection", "classification": {"name": "nucleus", "color": [200, 0, 0]},
                "isLocked": false, "measurements": {"Area": 95.0}}},
{"type": "Feature", "id": "PathAnnotationObject",
 "geometry": {"type": "MultiPolygon", "plane": {"c": -1, "z": 0, "t": 2},
              "coordinates": [[[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]], [[2, 2], [2, 5], [5, 5], [5, 2], [2, 2]]],
                              [[[30, 30], [40, 30], [40, 40], [30, 30]]]]},
 "properties": {"object_type": "annotation", "classification": {"name": "polygon", "colorRGB": -3670016}}},
{"type": "Feature", "id": "PathAnnotationObject",
 "geometry": {"type": "MultiPoint", "coordinates": [[1.5, 2.5], [3.5, 4.5]]},
 "properties": {"objectType": "annotation"}}]}"""


def test_a_file_of_qupath(frames: Any) -> None:
    with pytest.raises(FormatError, match=r"features\[2\].properties.classification"):
        from_geojson(frames, json.loads(QUPATH))
    assert len(frames) == 0
    assert from_geojson(frames, json.loads(QUPATH), class_="point") == 4
    first = frames.get("c5f2d1e0-7a6b-4c62-9f6c-0d3a6a1d9b10")
    assert first.geometry_in("pixel") == Box((10.5, 10), (20, 20))
    (other,) = frames.query(class_="polygon")
    assert other.frame == 2
    assert len(other.id) == 16  # what older files have in its place is the kind of the object
    covered = rasterise_geometry(other.geometry, frames.grid, WINDOW)
    assert covered[:9, :9].sum() == 81 - 9
    assert not covered[2:5, 2:5].any()
    points = [record.geometry_in("pixel") for record in frames.query(class_="point")]
    assert points == [Point((1.5, 2.5)), Point((3.5, 4.5))]


def test_shapely_reads_and_writes_geojson(ontology: Ontology) -> None:
    import shapely

    space = empty(ontology)
    ids = space.put_many("polygon", polygons(40), created_by="ada").tolist()
    features = json.loads(json.dumps(to_geojson(space).document["features"]))
    for id, feature in zip(ids, features, strict=True):
        theirs = shapely.from_geojson(json.dumps(feature["geometry"]))
        ours = space.get(id).geometry_in("pixel")
        outer = [part.exterior for part in shapely.get_parts(theirs)]
        assert all(ring.is_ccw for ring in outer)
        assert sum(len(part.interiors) for part in shapely.get_parts(theirs)) == len(ours.rings()) - len(outer)
        feature["geometry"] = json.loads(shapely.to_geojson(shapely.reverse(theirs)))  # rings are read in any order
    again = empty(ontology)
    assert from_geojson(again, features) == 40
    for id in ids:
        record, twin = space.get(id), again.get(id)
        assert twin.created_by == "ada"
        covered = [rasterise_geometry(one.geometry, space.grid, WINDOW) for one in (record, twin)]
        np.testing.assert_array_equal(*covered)


# A label row of an image as the vendor's documentation of the SDK prints it, with the names of our classes.
VENDOR: dict[str, Any] = {
    "space": {
        "space_type": "image",
        "width": 100,
        "height": 80,
        "labels": {
            "0": {
                "objects": [
                    {
                        "objectHash": "bA8/x+1q",
                        "featureHash": "4c9Zr1Ks",
                        "name": "nucleus",
                        "value": "nucleus",
                        "color": "#D33115",
                        "shape": "bounding_box",
                        "createdAt": "Thu, 09 Feb 2023 14:12:03 GMT",
                        "createdBy": "ada@example.org",
                        "lastEditedAt": "Thu, 09 Feb 2023 14:12:04 GMT",
                        "lastEditedBy": "ada@example.org",
                        "confidence": 1,
                        "manualAnnotation": True,
                        "boundingBox": {"h": 0.25, "w": 0.5, "x": 0.1, "y": 0.2},
                    }
                ],
                "classifications": [],
            }
        },
    },
    "object_answers": {"bA8/x+1q": {"objectHash": "bA8/x+1q", "classifications": []}},
    "classification_answers": {},
}


def test_the_dictionaries_of_the_vendor(ontology: Ontology) -> None:
    space = empty(ontology)
    assert from_encord(space, VENDOR) == 1
    record = space.get("bA8/x+1q")
    found = record.geometry_in("pixel")
    np.testing.assert_allclose([*found.top_left, *found.size], [10, 16, 50, 20])
    assert (record.created_at.isoformat(), record.created_by) == ("2023-02-09T14:12:03+00:00", "ada@example.org")
    assert (record.confidence, record.manual_annotation) == (1.0, True)


def test_a_polygon_of_shapely_with_a_hole(image: Any) -> None:
    import shapely

    ring = shapely.Point(40, 40).buffer(20).difference(shapely.Point(40, 40).buffer(10))
    one = Polygon([np.array(part.coords) for part in (ring.exterior, *ring.interiors)])
    y, x = np.mgrid[:80, :100] + 0.5
    inside = shapely.contains_xy(ring, x, y)
    found = rasterise_geometry(image.grid.world(one, "pixel"), image.grid, WINDOW)
    np.testing.assert_array_equal(found, inside)
