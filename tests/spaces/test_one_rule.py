"""One rule for coordinates through every converter: the centre of voxel i lies at ``offset + i * scale``.

Pixel i covers ``[i, i + 1)``, so world = offset + (pixel - 0.5) * scale. One voxel is sent through all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.projects import BoxSet, LandmarkSet
from bioimage_py.sources import Axis, as_source
from bioimage_py.spaces import Box, Mask, ObjectInstance, Ontology, Point, Polygon, Space, from_document, to_document
from bioimage_py.spaces.document import to_stored
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
from bioimage_py.spaces.raster import rasterise, vectorise
from bioimage_py.wrapper import AxesSource

VOXEL = (4, 3, 2)
"""x, y, z"""
SCALES = [(1.0, 1.0, 1.0), (3.0, 3.0, 3.0), (0.3, 2.0, 5.0)]
OFFSETS = [(0.0, 0.0, 0.0), (7.0, 7.0, 7.0), (-3.5, 100.0, 0.1)]
CASES = [(scale, offset) for scale in SCALES for offset in OFFSETS]


def axes_of(scale: Any, offset: Any) -> list[Axis]:
    found = [Axis(name, "space", "micrometer", s, o) for name, s, o in zip("xyz", scale, offset, strict=True)]
    return found[::-1]


def volume(scale: Any, offset: Any, ontology: Ontology) -> Any:
    return Space.for_image((9, 10, 12), axes_of(scale, offset), ontology)


def flat(scale: Any, offset: Any, ontology: Ontology) -> Any:
    return Space.for_image((10, 12), axes_of(scale, offset)[1:], ontology)


def center(space: Any) -> Any:
    """Where the centre of the voxel lies in the world, by the axes of the image alone."""
    axes = {axis.name: axis for axis in space.grid.axes}
    return [axes[n].offset + i * axes[n].scale for n, i in zip("xyz", VOXEL, strict=True) if n in axes]


def middle(geometry: Any, space: Any) -> Any:
    found = geometry.bounds(space.grid)
    d = space.grid.ndim
    return (np.array(found[:d]) + found[3 : 3 + d]) / 2


def put(space: Any, name: str, geometry: Any) -> Any:
    return space.put_object_instance(ObjectInstance(space.ontology.object_class(name), "o"), geometry, units="pixel")


@pytest.mark.parametrize(("scale", "offset"), CASES)
def test_all_shapes_of_a_voxel_agree(ontology: Ontology, scale: Any, offset: Any) -> None:
    for space in (volume(scale, offset, ontology), flat(scale, offset, ontology)):
        d = space.grid.ndim
        at = np.array(VOXEL[:d], float)
        crop = np.ones((1,) * d, bool)
        shapes = [Box(at, at + 1), Mask(crop, VOXEL[:d][::-1]), Point(at + 0.5)]
        if d == 2:
            shapes.append(Polygon(Box(at, at + 1).rings()))
        for shape in shapes:
            world = space.grid.world(shape, "pixel")
            np.testing.assert_allclose(middle(world, space), center(space), rtol=1e-12)
            if not isinstance(shape, Point):
                low, high = np.array(world.bounds(space.grid)).reshape(2, 3)[:, :d]
                np.testing.assert_allclose(high - low, space.grid.scale[:d], rtol=1e-9)
            if not isinstance(shape, Mask):
                back = space.grid.convert(world, "pixel")
                np.testing.assert_allclose(middle(back, space), at + 0.5, rtol=1e-9)
                part = space.grid.convert(world, "normalised")
                np.testing.assert_allclose(middle(part, space), (at + 0.5) / space.grid.size()[:d], rtol=1e-9)


def through_rows(space: Any, _: Any) -> Any:
    return from_document(json.loads(json.dumps(to_document(space))))


def through_columns(space: Any, _: Any) -> Any:
    return from_document(json.loads(json.dumps(to_stored(space, columns_from=0))))


def through_boxes(space: Any, again: Any) -> Any:
    from_boxes(again, to_boxes(space, BoxSet(["nucleus"])))
    return again


def through_landmarks(space: Any, again: Any) -> Any:
    from_landmarks(again, to_landmarks(space, LandmarkSet(["point"])))
    return again


def through_labels(space: Any, again: Any) -> Any:
    output = np.zeros(space.grid.mask_shape(), "u1")
    rasterise(space, output)
    assert np.argwhere(output).tolist() == [list(VOXEL[: output.ndim][::-1])]
    vectorise(again, output, next(space.query()).class_)
    return again


def through(write: Any, read: Any) -> Callable[[Any, Any], Any]:
    def convert(space: Any, again: Any) -> Any:
        assert read(again, write(space).document) == 1
        return again

    return convert


FLAT = {
    "rows": through_rows,
    "columns": through_columns,
    "labels": through_labels,
    "coco": through(to_coco, from_coco),
    "geojson": through(to_geojson, from_geojson),
    "cvat": through(to_cvat_xml, from_cvat_xml),
    "encord": through(to_encord, from_encord),
    "boxes": through_boxes,
    "landmarks": through_landmarks,
}
LACKING = {("coco", "point"), ("labels", "point")}
"""Coco has no points, and a point covers no voxel."""
ONLY = {"boxes": ("nucleus",), "landmarks": ("point",)}


@pytest.mark.parametrize("way", FLAT)
@pytest.mark.parametrize("name", ["nucleus", "polygon", "bitmask", "point"])
def test_a_voxel_through_every_converter(ontology: Ontology, way: str, name: str) -> None:
    if (way, name) in LACKING or name not in ONLY.get(way, (name,)):
        assert way in FLAT
        return
    at = np.array(VOXEL[:2], float)
    shapes: dict[str, Any] = {
        "nucleus": Box(at, at + 1),
        "polygon": Polygon(Box(at, at + 1).rings()),
        "bitmask": Mask(np.ones((1, 1), bool), VOXEL[:2][::-1]),
        "point": Point(at + 0.5),
    }
    for scale, offset in CASES:
        space = flat(scale, offset, ontology)
        put(space, name, shapes[name])
        again = FLAT[way](space, flat(scale, offset, ontology))
        (record,) = again.query()
        np.testing.assert_allclose(middle(record.geometry, again), center(space), rtol=1e-9)
        np.testing.assert_allclose(record.bounds, next(space.query()).bounds, rtol=1e-9)


@pytest.mark.parametrize("way", ["rows", "columns", "labels", "boxes", "landmarks"])
def test_a_voxel_of_a_volume(ontology: Ontology, way: str) -> None:
    name = "point" if way == "landmarks" else "nucleus"
    at = np.array(VOXEL, float)
    for scale, offset in CASES:
        space = volume(scale, offset, ontology)
        put(space, name, Point(at + 0.5) if name == "point" else Box(at, at + 1))
        again = FLAT[way](space, volume(scale, offset, ontology))
        np.testing.assert_allclose(middle(next(again.query()).geometry, again), center(space), rtol=1e-9)


def test_numbers_of_other_formats_are_pixels(ontology: Ontology) -> None:
    """Whatever scale and offset are: what others draw over the image lies on the voxel."""
    for scale, offset in CASES:
        space = flat(scale, offset, ontology)
        put(space, "nucleus", Box((4, 3), (5, 4)))
        np.testing.assert_allclose(to_coco(space).document["annotations"][0]["bbox"], [4, 3, 1, 1], atol=1e-9)
        ring = to_geojson(space).document["features"][0]["geometry"]["coordinates"][0]
        np.testing.assert_allclose(np.min(ring, axis=0), [4, 3], atol=1e-9)
        np.testing.assert_allclose(np.max(ring, axis=0), [5, 4], atol=1e-9)
        part = to_encord(space).document["space"]["labels"]["0"]["objects"][0]["boundingBox"]
        np.testing.assert_allclose([part[key] for key in "xywh"], [4 / 12, 3 / 10, 1 / 12, 1 / 10], atol=1e-9)
        assert 'xtl="4' in (text := to_cvat_xml(space).document) or 'xtl="3.99' in text


def test_a_nifti_of_another_program(ontology: Ontology, tmp_path: Path) -> None:
    """The affine of a file says where centres of voxels lie; a space over that file agrees."""
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([0.3, 2.0, 5.0, 1.0])
    affine[:3, 3] = [7, 8, 9]
    nibabel.save(nibabel.Nifti1Image(np.zeros((12, 10, 9), "u1"), affine), tmp_path / "a.nii")
    with bp.open_source(tmp_path / "a.nii") as source:
        space = Space.for_image(source, ontology=ontology)
    assert space.kind == "volume"
    at = np.array(VOXEL, float)
    record = put(space, "nucleus", Box(at, at + 1))
    np.testing.assert_allclose(middle(record.geometry, space), affine[:3, :3] @ VOXEL + affine[:3, 3], rtol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_downsampled(ontology: Ontology, tmp_path: Path, factor: int) -> None:
    """A voxel of the smaller image covers the voxels that it is made of, to the edge."""
    fine = AxesSource(as_source(np.zeros((12, 12, 12), "u1")), axes_of((3.0, 3.0, 3.0), (7.0, 7.0, 7.0)))
    bp.downsample(fine, factor, tmp_path / "a.zarr", method="mean")
    with bp.open_source(tmp_path / "a.zarr") as coarse:
        spaces = [Space.for_image(source, ontology=ontology) for source in (fine, coarse)]
    at = np.array((2, 1, 0), float)
    boxes = [Box(at * factor, (at + 1) * factor), Box(at, at + 1)]
    worlds = [space.grid.world(box, "pixel") for space, box in zip(spaces, boxes, strict=True)]
    np.testing.assert_allclose(worlds[0].bounds(spaces[0].grid), worlds[1].bounds(spaces[1].grid), rtol=1e-12)
