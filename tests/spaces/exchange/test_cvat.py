"""CVAT XML: there and back, a file as the documentation of CVAT gives it, and files that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from bioimage_py.errors import FormatError, ParameterError
from bioimage_py.spaces import (
    Attribute,
    Box,
    Classification,
    ClassificationInstance,
    Ellipse,
    Geometry,
    Mask,
    ObjectClass,
    ObjectInstance,
    Ontology,
    Point,
    Polygon,
    Polyline,
    Range,
    RotatedBox,
    Skeleton,
    Space,
)
from bioimage_py.spaces.exchange import from_cvat_xml, to_cvat_xml
from bioimage_py.spaces.raster import rasterise_geometry

from .test_exchange import WINDOW, empty, polygons

SHAPES: list[Geometry] = [
    Box((1 / 3, 2), (30, 40.1)),
    RotatedBox((40, 40), (20, 10), 30.0),
    Polygon([(10, 10), (50, 12), (30, 60)]),
    Polyline([(1, 1), (5, 8), (9, 2)]),
    Point((7, 8)),
    Skeleton([(1, 2), (3, 4), (5, 6)], ["nose", "tail", "ear"], ["visible", "occluded", "invisible"]),
    Mask(np.random.default_rng(0).random((9, 7)) < 0.5, (3, 4)),
    Ellipse((20, 20), (5, 3), 10.0),
]
MEASURES = Ontology(
    [
        ObjectClass(
            "cell",
            "polygon",
            attributes=(
                Attribute("phase", "radio", ("G1", "S")),
                Attribute("size", "numeric"),
                Attribute("note"),
                Attribute("marks", "checklist", ("a", "b")),
                Attribute("stage", "radio", ("early", "late"), dynamic=True),
            ),
        )
    ],
    [Classification("stain", Attribute("which?", "radio", ("H&E", "DAPI")))],
)


def put(space: Any, shapes: list[Geometry], *frames: Any) -> list[str]:
    ids = []
    for shape in shapes:
        name = "nucleus" if shape.shape == "bounding_box" else shape.shape
        one = ObjectInstance(space.ontology.object_class(name))
        space.put_object_instance(one, *frames, shape, units="pixel", manual_annotation=len(ids) % 2 == 0)
        ids.append(one.id)
    return ids


def near(one: Geometry, other: Geometry) -> bool:
    """Equal but for the rounding of half a voxel."""
    assert type(one) is type(other)
    if isinstance(one, Mask | Skeleton):
        return one == other
    if isinstance(one, Polygon):
        return all(np.allclose(a, b, rtol=1e-9) for a, b in zip(one.rings(), other.rings(), strict=True))
    return all(np.allclose(getattr(one, name), getattr(other, name), rtol=1e-9) for name in one.fields)


def test_all_shapes_of_an_image(image: Any, ontology: Ontology) -> None:
    put(image, SHAPES)
    exported, again = to_cvat_xml(image), empty(ontology)
    assert exported.lost == {"ids": 8, "authors and times": 8}
    assert from_cvat_xml(again, exported.document) == from_cvat_xml(empty(ontology), exported.document.encode()) == 8
    for record, other in zip(image, again, strict=True):
        assert near(record.geometry_in("pixel"), other.geometry_in("pixel"))
        assert (record.name, record.manual_annotation) == (other.name, other.manual_annotation)


def test_polygons_cover_the_same_pixels(ontology: Ontology) -> None:
    """Those with holes or of two parts go as masks and come back as the outlines of them."""
    space, again = empty(ontology), empty(ontology)
    space.put_many("polygon", polygons(60))
    assert from_cvat_xml(again, to_cvat_xml(space).document) == 60
    for record, other in zip(space, again, strict=True):
        shapes = [rasterise_geometry(one.geometry, space.grid, WINDOW) for one in (record, other)]
        np.testing.assert_array_equal(*shapes)


def test_tracks(frames: Any, ontology: Ontology) -> None:
    ids = put(frames, SHAPES, [Range(1, 2), 5])
    ids += put(frames, SHAPES[:1], Range(6, 7))
    document = to_cvat_xml(frames).document
    track = ElementTree.fromstring(document).findall("track")[0]
    told = [(node.get("frame"), node.get("outside")) for node in track]
    assert told == [("1", "0"), ("2", "0"), ("3", "1"), ("5", "0"), ("6", "1")]
    again = Space.for_image((8, 80, 100), ("t", "y", "x"), ontology)
    assert from_cvat_xml(again, document) == len(frames)
    for id, twin in zip(ids, again.get_object_instances(), strict=True):
        for record in frames.get_annotations("object", [id]):
            assert near(again.get(twin.id, record.frame).geometry_in("pixel"), record.geometry_in("pixel"))
        assert len(list(frames.get_annotations("object", [id]))) == len(
            list(again.get_annotations("object", [twin.id]))
        )


def test_answers() -> None:
    space = Space.for_image((80, 100), ("y", "x"), MEASURES)
    answers = {"phase": "S", "size": 0.1, "note": "grün <&> 💚", "marks": ["a"]}
    cell = ObjectInstance(MEASURES.object_class("cell"), answers=answers)
    space.put_object_instance(cell, SHAPES[2])
    stain = ClassificationInstance(MEASURES.classification("stain"))
    stain.set_answer("H&E")
    space.put_classification_instance(stain, manual_annotation=False)
    exported, again = to_cvat_xml(space), Space.for_image((80, 100), ("y", "x"), MEASURES)
    assert exported.lost["checklists"] == 1
    assert from_cvat_xml(again, exported.document) == 2
    assert next(again.get_annotations("object")).answers == {k: v for k, v in answers.items() if k != "marks"}
    answer = next(again.get_annotations("classification"))
    assert (answer.answers, answer.manual_annotation) == ({"which?": "H&E"}, False)
    cell.set_answer("a\x07b", "note")
    with pytest.raises(ParameterError, match="x07"):
        to_cvat_xml(space)


def test_answers_on_frames() -> None:
    space, again = (Space.for_image((8, 80, 100), ("t", "y", "x"), MEASURES) for _ in range(2))
    cell = ObjectInstance(MEASURES.object_class("cell"), answers={"phase": "S"})
    space.put_object_instance(cell, Range(2, 4), SHAPES[2])
    space.set_dynamic_answer(cell, 3, "late", "stage")
    from_cvat_xml(again, to_cvat_xml(space).document)
    told = [record.answers for record in again]
    assert told == [{"phase": "S"}, {"phase": "S", "stage": "late"}, {"phase": "S"}]


# Shapes, numbers and the order of attributes as in the example of docs.cvat.ai, "XML annotation format" 1.1.
EXAMPLE = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>4</id><size>27</size><mode>annotation</mode></task><dumped>2018-09-25 11:38:28+03:00</dumped></meta>
  <image id="0" name="filename000.jpg" width="1600" height="1200">
    <box label="plate" xtl="797.33" ytl="870.92" xbr="965.52" ybr="928.94" occluded="0" z_order="4">
    </box>
    <polyline label="traffic_line" points="462.10,0.00;126.80,1200.00" occluded="0" z_order="3">
    </polyline>
    <points label="wheel" points="574.90,939.48;1170.16,907.90;1130.69,445.26" occluded="0" z_order="5">
    </points>
    <tag label="good_frame" source="manual">
    </tag>
    <skeleton label="s1" source="manual" z_order="0">
      <points label="1" occluded="0" source="manual" outside="0" points="54.47,94.81">
      </points>
      <points label="2" occluded="1" source="manual" outside="0" points="68.02,162.34">
      </points>
    </skeleton>
    <mask label="car" source="auto" occluded="0" rle="3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, \
12, 2, 11, 3, 9, 5, 7, 7, 5, 3" left="707" top="888" width="13" height="15" z_order="0">
    </mask>
  </image>
</annotations>
"""


def test_a_file_as_cvat_documents_it() -> None:
    pairs = {"plate": "bounding_box", "traffic_line": "polyline", "wheel": "point", "s1": "skeleton", "car": "bitmask"}
    classes = [ObjectClass(name, shape) for name, shape in pairs.items()]
    ontology = Ontology(classes, [Classification("good_frame", Attribute("note"))])
    space = Space.for_image((1200, 1600), ("y", "x"), ontology)
    assert from_cvat_xml(space, EXAMPLE) == 8
    found: dict[str, list[Any]] = {}
    for record in space.get_annotations("object"):
        found.setdefault(record.name, []).append(record.geometry_in("pixel"))
    assert near(found["plate"][0], Box((797.33, 870.92), (965.52, 928.94)))
    assert [shape.position.round(9).tolist() for shape in found["wheel"]][1] == [1170.16, 907.9]
    assert found["s1"][0].states == ("visible", "occluded")
    (car,) = found["car"]
    assert (car.origin, car.crop.shape) == ((888, 707), (15, 13))
    begins = np.diff(np.pad(car.crop, ((0, 0), (1, 0))).astype(int), axis=1) == 1
    assert (begins.sum(axis=1) == 1).all()  # a disk, which it is only where runs go along the rows of the box
    assert np.flatnonzero(car.crop[0]).tolist() == [3, 4, 5, 6, 7]
    assert [record.manual_annotation for record in space.query(class_="car")] == [False]
    assert space.count("classification") == 1


def broken(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: "", "the document"),
        (lambda _: "<a/>", "annotations"),
        (lambda _: 3, "the document"),
        (lambda text: text[:-30], "the document"),
        (lambda text: '<!DOCTYPE a [<!ENTITY e "x">]>' + text, "DOCTYPE"),
        (broken('label="nucleus"', 'label="nobody"'), r"image\[0\].box\[0\]: .*nobody"),
        (broken('label="nucleus"', ""), r"image\[0\].box\[0\]"),
        (broken("xtl=", "x="), r"image\[0\].box\[0\]"),
        (broken('xtl="', 'xtl="x'), r"image\[0\].box\[0\]"),
        (broken('xtl="', 'xtl="nan" no="'), r"image\[0\].box\[0\]"),
        (broken("<mask", "<cuboid"), r"image\[0\].cuboid\[1\]: it is not read"),
        (broken('width="7"', 'width="8"'), r"image\[0\].mask\[1\]"),
        (broken('width="7"', f'width="{2**40}"'), r"image\[0\].mask\[1\]"),
        (broken('left="4"', 'left="99"'), "mask"),
        (broken('rle="', 'rle="-1, '), r"image\[0\].mask\[1\]"),
        (broken('rle="', f'rle="{"9" * 5000}, '), r"image\[0\].mask\[1\]"),
        (broken("</image>", "<cuboid/></image>"), r"image\[0\].cuboid\[2\]: it is not read"),
        (broken("</image>", '<tag label="text"/><tag label="text"/></image>'), r"image\[0\].tag\[3\]"),
        (broken("<box ", "<box><attribute name='x'/></box><box "), r"image\[0\].box\[0\]"),
        (broken("</image>", '</image><image id="1"/>'), "there are 2"),
    ],
)
def test_broken(image: Any, ontology: Ontology, change: Any, says: str) -> None:
    put(image, [SHAPES[0], SHAPES[6]])
    text = to_cvat_xml(image).document
    space = empty(ontology)
    with pytest.raises(FormatError, match=says):
        from_cvat_xml(space, change(text))
    assert (len(space), len(space.history())) == (0, 0)
    assert from_cvat_xml(space, text) == 2


def test_images_as_frames(ontology: Ontology) -> None:
    boxes = "".join(
        f'<image id="{i}"><box label="nucleus" xtl="0" ytl="0" xbr="{i + 1}" ybr="1"/></image>' for i in (0, 2)
    )
    text = f"<annotations>{boxes}</annotations>"
    space = Space.for_image((3, 80, 100), ("t", "y", "x"), ontology)
    assert from_cvat_xml(space, text) == 2
    assert [(record.frame, record.geometry_in("pixel").size[0]) for record in space] == [(0, 1), (2, 3)]
    one = empty(ontology)
    assert from_cvat_xml(one, text, image_id=2) == 1
    with pytest.raises(FormatError, match="0 to 1"):
        from_cvat_xml(Space.for_image((2, 80, 100), ("t", "y", "x"), ontology), text)
