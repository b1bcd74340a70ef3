"""The vendor's dictionary form, there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import FormatError
from bioimage_py.spaces import (
    Box,
    ClassificationInstance,
    Mask,
    ObjectInstance,
    Ontology,
    Point,
    Polygon,
    Polyline,
    Range,
    RotatedBox,
    Space,
)
from bioimage_py.spaces.exchange import from_encord, to_encord

SHAPES = [
    Box((1, 2), (30, 40)),
    RotatedBox((40, 40), (20, 10), 30.0),
    Polygon(parts=[[[(10, 10), (50, 12), (30, 60)], [(20, 20), (30, 20), (25, 30)]], [[(1, 1), (3, 1), (3, 4)]]]),
    Polyline([(1, 1), (5, 8), (9, 2)]),
    Point((7, 8)),
    Mask(np.random.default_rng(0).random((9, 7)) < 0.5, (3, 4)),
]


def name_of(shape: Any) -> str:
    return "nucleus" if shape.shape == "bounding_box" else str(shape.shape)


@pytest.fixture
def document(frames: Any, ontology: Ontology) -> dict[str, Any]:
    for i, shape in enumerate(SHAPES):
        instance = ObjectInstance(ontology.object_class(name_of(shape)), f"o{i}")
        frames.put_object_instance(instance, [i, 7], shape, confidence=0.5, created_by="her", manual_annotation=False)
    frames.get("o0").instance.set_answer("Hello!", "note")
    text = ClassificationInstance(ontology.classification("text"), "c")
    text.set_answer("t")
    frames.put_classification_instance(text, [Range(0, 2), 5])
    site = ClassificationInstance(ontology.classification("site"), "g")
    site.set_answer("lung")
    frames.put_classification_instance(site)
    found: dict[str, Any] = json.loads(json.dumps(to_encord(frames).document))
    return found


def test_there_and_back(frames: Any, document: dict[str, Any], ontology: Ontology) -> None:
    assert document["space"]["labels"]["0"]["objects"][0]["boundingBox"].keys() == {"h", "w", "x", "y"}
    assert document["classification_answers"]["c"]["spaces"] == {"root": {"range": [[0, 2], [5, 5]], "type": "frame"}}
    again = Space.for_image((8, 80, 100), ("t", "y", "x"), ontology)
    assert from_encord(again, document) == len(frames)
    for record in frames:
        twin = again.get(record.id, record.frame) if record.frame is not None else again.get(record.id)
        assert (twin.confidence, twin.created_by, twin.manual_annotation) == (
            record.confidence, record.created_by, record.manual_annotation,
        )  # fmt: skip
        assert twin.answers == record.answers
        assert abs((twin.created_at - record.created_at).total_seconds()) < 1
        if record.type == "object":
            np.testing.assert_allclose(twin.bounds, record.bounds, rtol=1e-9, atol=1e-9)
    assert again.get("o5").geometry == SHAPES[5]


def change(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return apply


FIRST = ("space", "labels", "0", "objects", 0)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change("space", value=3), "space"),
        (change("space", "labels", "9", value={}), "labels.9"),
        (change("space", "labels", "x", value={}), "labels.x"),
        (change("space", "labels", "0", value=[]), "labels.0"),
        (change("space", "labels", "9" * 5000, value={}), "labels.9"),
        (change(*FIRST, "createdAt", value=5), r"objects\[0\].*createdAt"),
        (change(*FIRST, "confidence", value=10**400), r"objects\[0\]"),
        (change(*FIRST, "boundingBox", "x", value=10**400), r"objects\[0\]"),
        (change(*FIRST, "featureHash", value="q"), ""),
        (change(*FIRST, "boundingBox", value={"x": 1}), r"objects\[0\]"),
        (change(*FIRST, "boundingBox", "w", value=-1), r"objects\[0\]"),
        (change(*FIRST, "confidence", value=3), r"objects\[0\]"),
        (change(*FIRST, "createdAt", value="yesterday"), r"objects\[0\]"),
        (change("object_answers", "o0", value=3), r"objects\[0\]"),
        (change("space", "labels", "5", "objects", 0, "bitmask", "rleString", value="9,x"), "labels.5"),
        (change("space", "labels", "5", "objects", 0, "bitmask", "height", value=2**40), "labels.5"),
        (change("classification_answers", "g", "featureHash", value="text"), "classification_answers.g"),
    ],
)
def test_damaged(document: dict[str, Any], ontology: Ontology, damage: Any, says: str) -> None:
    damage(document)
    space = Space.for_image((8, 80, 100), ("t", "y", "x"), ontology)
    if not says:  # a class that is found by its name
        assert from_encord(space, document) > 0
        return
    with pytest.raises(FormatError, match=says):
        from_encord(space, document)
    assert len(space) == 0
