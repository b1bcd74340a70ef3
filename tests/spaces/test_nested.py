"""Attributes that are asked where an option was chosen: in answers, updates with undo, documents and other formats."""

from __future__ import annotations

import jsonschema
import pytest

from bioimage_py.errors import FormatError, ParameterError
from bioimage_py.spaces import (
    Attribute,
    Classification,
    ClassificationInstance,
    ObjectClass,
    ObjectInstance,
    Ontology,
    Point,
    Range,
    Space,
    from_document,
    to_document,
)
from bioimage_py.spaces.exchange import from_cvat_xml, from_encord, to_cvat_xml, to_encord
from bioimage_py.spaces.schema import schema

PHASE = Attribute(
    "phase",
    "radio",
    ["G1", "M"],
    id="phase",
    nested={
        "G1": [Attribute("note", id="note-g1")],
        "M": [
            Attribute("note", id="note-m"),
            Attribute("parts", "checklist", ["plate", "pole"], id="parts", required=True, nested={
                "plate": [Attribute("width", "numeric", id="width")],
            }),
        ],
    },
)  # fmt: skip
SEEN = Attribute("seen", "radio", ["yes", "no"], dynamic=True, id="seen", nested={
    "yes": [Attribute("how", "text", dynamic=True, id="how")]
})  # fmt: skip
CELL = ObjectClass("cell", "point", attributes=[PHASE, SEEN], id="cell")
STAIN = Classification(
    "stain", Attribute("which?", "radio", ["DAPI", "none"], nested={"DAPI": [Attribute("dose", "numeric")]})
)
ONTOLOGY = Ontology([CELL], [STAIN])


def put(kind: str = "image") -> tuple[Space, ObjectInstance]:
    shape, axes = ((80, 100), ("y", "x")) if kind == "image" else ((5, 80, 100), ("t", "y", "x"))
    space = Space.for_image(shape, axes, ONTOLOGY, user="ada")
    cell = ObjectInstance(CELL, "c1", {"width": 2.5, "parts": ["plate"], "phase": "M"})  # in any order
    space.put_object_instance(cell, *(() if kind == "image" else (Range(0, 4),)), Point((10, 20)))
    return space, cell


def test_answers_show_while_their_options_are_chosen() -> None:
    space, cell = put()
    record = space.get("c1")
    assert record.answers == {"phase": "M", "phase/M/parts": ["plate"], "phase/M/parts/plate/width": 2.5}
    cell.set_answer("G1", "phase")
    assert record.answers == {"phase": "G1"}
    assert cell.get_answer("width") is None
    cell.set_answer("M", "phase")
    cell.set_answer(["pole"], "phase/M/parts")
    assert record.answers == {"phase": "M", "phase/M/parts": ["pole"]}


def test_what_is_not_asked_is_refused_and_changes_nothing() -> None:
    space, cell = put()
    before = to_document(space)
    with pytest.raises(ParameterError, match=r"'phase/G1/note' is asked where 'phase' = 'G1', which was not chosen"):
        cell.set_answer("early", "phase/G1/note")
    with pytest.raises(ParameterError, match="several attributes 'note'"):
        cell.set_answer("early", "note")
    with pytest.raises(ParameterError, match="not chosen"):
        space.update("c1", answers={"phase": "G1", "width": 3.0})
    with pytest.raises(ParameterError, match="not chosen"):
        ObjectInstance(CELL, answers={"width": 1.0})
    assert to_document(space) == before


def test_update_chooses_and_answers_in_one_step_that_can_be_undone() -> None:
    space, cell = put()
    space.update("c1", answers={"note-g1": "early", "phase": "G1"})
    assert space.get("c1").answers == {"phase": "G1", "phase/G1/note": "early"}
    space.undo()
    assert space.get("c1").answers["phase/M/parts/plate/width"] == 2.5
    assert cell.get_answer("phase") == "M"


def test_required_is_what_is_asked() -> None:
    space, _ = put()
    assert not list(space.validate())
    other = ObjectInstance(CELL, "c2", {"phase": "M"})
    space.put_object_instance(other, Point((1, 2)))
    assert list(space.validate()) == ["c2: cell lacks phase/M/parts"]
    other.set_answer("G1", "phase")
    assert not list(space.validate())


def test_dynamic_ones_frame_by_frame() -> None:
    space, cell = put("sequence")
    space.set_dynamic_answer(cell, Range(0, 2), "yes", "seen")
    with pytest.raises(ParameterError, match="not chosen"):
        space.set_dynamic_answer(cell, Range(1, 3), "well", "how")
    assert space.get_dynamic_answer(cell, 1, "how") is None
    space.set_dynamic_answer(cell, Range(0, 2), "well", "how")
    assert [space.get_dynamic_answer(cell, frame, "how") for frame in range(4)] == ["well"] * 3 + [None]
    space.set_dynamic_answer(cell, 1, "no", "seen")
    assert space.get_dynamic_answer(cell, 1, "how") is None
    assert "seen/yes/how" in next(r for r in space if r.frame == 0).answers
    with pytest.raises(ParameterError, match="are not dynamic"):
        Attribute("a", "radio", ["x"], dynamic=True, nested={"x": [Attribute("b")]})


def test_documents_keep_them() -> None:
    space, _ = put()
    stain = ClassificationInstance(STAIN)
    stain.set_answer("DAPI", "which?")
    stain.set_answer(0.5, "dose")
    space.put_classification_instance(stain)
    document = to_document(space)
    jsonschema.validate(document, schema())
    again = from_document(document)
    assert again.ontology == ONTOLOGY
    assert again.get("c1").answers == space.get("c1").answers
    assert to_document(again) == document
    assert hash(again.ontology.object_class("cell")) == hash(CELL)


def test_ontologies_without_them_are_stored_as_before() -> None:
    plain = Ontology([ObjectClass("cell", "point", attributes=[Attribute("note", id="n")], id="c")])
    assert "nested" not in str(plain.to_document())


@pytest.mark.parametrize(
    ("nested", "said"),
    [
        ({"S": []}, r"attributes\[0\].*option"),
        ([], r"nested is no mapping"),
        ({"M": 3}, r"nested is no mapping"),
        ({"M": [{"name": "x", "size": 1}]}, r"nested\.M\[0\] has the unknown fields"),
    ],
)
def test_documents_that_are_wrong(nested: object, said: str) -> None:
    document = ONTOLOGY.to_document()
    document["objects"]["cell"]["attributes"][0]["nested"] = nested
    with pytest.raises(FormatError, match=said):
        Ontology.from_document(document)


def test_two_of_one_id_are_refused() -> None:
    with pytest.raises(ParameterError, match="Two attributes of 'cell'"):
        ObjectClass("cell", "point", attributes=[Attribute("a", id="n"), Attribute("b", "radio", ["x"], nested={
            "x": [Attribute("c", id="n")]
        })])  # fmt: skip


def test_other_formats() -> None:
    space, _ = put()
    read = Space.for_image((80, 100), ("y", "x"), ONTOLOGY)
    from_encord(read, to_encord(space).document)
    assert read.get("c1").answers == space.get("c1").answers
    space.update("c1", answers={"phase": "G1", "phase/G1/note": "early"})
    read = Space.for_image((80, 100), ("y", "x"), ONTOLOGY)
    from_cvat_xml(read, to_cvat_xml(space).document)
    assert next(iter(read)).answers == {"phase": "G1", "phase/G1/note": "early"}
