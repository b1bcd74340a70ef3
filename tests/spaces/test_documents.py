"""Documents: all shapes there and back to the same bits, files, and the published schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import FormatError, SourceNotFoundError
from bioimage_py.spaces import (
    Box,
    Ellipse,
    Geometry,
    Mask,
    Mesh,
    ObjectInstance,
    Point,
    Polygon,
    Polyline,
    RotatedBox,
    Skeleton,
    Space,
    from_document,
    read_space,
    to_document,
    write_space,
)
from bioimage_py.spaces.document import to_text
from bioimage_py.spaces.schema import schema

from .conftest import make_ontology

FLAT: list[Geometry] = [
    Box((1 / 3, 2), (30, 40.1)),
    RotatedBox((40, 40), (20, 10), 30.0),
    Polygon(parts=[[[(10, 10), (50, 12), (30, 60)], [(20, 20), (30, 20), (25, 30)]], [[(1, 1), (3, 1), (3, 4)]]]),
    Polyline([(1, 1), (5, 8), (9, 2)]),
    Point((7, 8)),
    Skeleton([(1, 2), (3, 4)], ["nose", "tail"], ["visible", "occluded"]),
    Mask(np.random.default_rng(0).random((9, 7)) < 0.5, (3, 4)),
    Ellipse((20, 20), (5, 3), 10.0),
]
DEEP: list[Geometry] = [
    Box((1, 2, 3), (4, 5, 6)),
    Polyline([(1, 1, 1), (5, 8, 9)]),
    Point((7, 8, 9)),
    Mask(np.ones((2, 3, 4), bool), (1, 1, 1)),
    Mesh([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], [(0, 1, 2), (1, 2, 3)]),
]


def filled(space: Any, shapes: list[Geometry]) -> Any:
    for i, shape in enumerate(shapes):
        name = "nucleus" if shape.shape == "bounding_box" else shape.shape
        space.put_object_instance(ObjectInstance(space.ontology.object_class(name), f"o{i}"), shape)
    space.get("o0").instance.set_answer("grün 💚", "note")
    return space


def test_all_shapes(image: Any, volume: Any, tmp_path: Path) -> None:
    for space, shapes in ((filled(image, FLAT), FLAT), (filled(volume, DEEP), DEEP)):
        write_space(space, tmp_path / "space.json")
        again = read_space(tmp_path / "space.json")
        assert [record.geometry for record in again] == shapes
        assert to_document(again) == to_document(space)
        assert to_text(to_document(again)) == (tmp_path / "space.json").read_text()
        assert (tmp_path / "space.json").read_text().count("\n") < 20 + len(space)


def test_every_document_follows_the_schema(image: Any, volume: Any, frames: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    frames.put_object_instance(ObjectInstance(frames.ontology.object_class("nucleus")), [1, 2], FLAT[0])
    for space in (filled(image, FLAT), filled(volume, DEEP), frames):
        document = json.loads(json.dumps(to_document(space)))
        assert [error.message for error in validator.iter_errors(document)] == []
        document["objects"][0]["confidence"] = 3
        assert len(list(validator.iter_errors(document))) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2, *[st.floats(1e-3, 1e6)] * 2), min_size=1, max_size=5))
def test_floats_keep_their_bits(rows: list[tuple[float, ...]]) -> None:
    space = Space.for_image((80, 100), ("y", "x"), make_ontology())
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows])
    space.put_many("nucleus", boxes)
    again = from_document(json.loads(to_text(to_document(space))))
    assert [record.bounds for record in again] == [record.bounds for record in space]
    assert [record.outside for record in again] == [record.outside for record in space]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        read_space(tmp_path / "none.json")
    for i, text in enumerate(("", "[" * 10**5, "[]", '{"schema": 1}', "\x00")):
        path = tmp_path / f"{i}.json"
        path.write_text(text)
        with pytest.raises(FormatError):
            read_space(path)
