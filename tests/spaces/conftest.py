"""Spaces as several tests use them."""

from __future__ import annotations

from typing import Any

import pytest

from bioimage_py.spaces import Attribute, Classification, ObjectClass, Ontology, Space


def make_ontology() -> Ontology:
    note = Attribute("note", "text", id="note")
    stage = Attribute("stage", "radio", ("early", "late"), id="stage", dynamic=True)
    shapes = ("polygon", "polyline", "point", "skeleton", "bitmask", "ellipse", "mesh", "rotatable_bounding_box")
    return Ontology(
        [
            ObjectClass("nucleus", "bounding_box", "#FF0000", (note, stage), id="nuc"),
            *(ObjectClass(shape, shape, id=f"id-{shape}") for shape in shapes),
            ObjectClass("old", "bounding_box", id="old", archived=True),
        ],
        [
            Classification("text", Attribute("text?", "text", id="q-text"), id="text"),
            Classification(
                "stain", Attribute("stain?", "checklist", ("a", "b"), id="q-stain"), id="stain", several=True
            ),
            Classification("site", Attribute("site?", "radio", ("skin", "lung"), id="q-site"), "global", id="site"),
        ],
    )


@pytest.fixture
def ontology() -> Ontology:
    return make_ontology()


@pytest.fixture
def image(ontology: Ontology) -> Any:
    """100 wide, 80 high."""
    return Space.for_image((80, 100), ("y", "x"), ontology, user="me")


@pytest.fixture
def frames(ontology: Ontology) -> Any:
    """8 frames of 100 x 80."""
    return Space.for_image((8, 80, 100), ("t", "y", "x"), ontology, user="me")


@pytest.fixture
def volume(ontology: Ontology) -> Any:
    """Of 100 x 80 x 40 (x, y, z)."""
    return Space.for_image((40, 80, 100), ("z", "y", "x"), ontology, user="me")
