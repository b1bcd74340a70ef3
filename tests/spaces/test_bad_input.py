"""Refused calls: what they say, and that they change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import BioimageError, FormatError, KeyNotFoundError, ParameterError, ReadOnlyError, ShapeError
from bioimage_py.spaces import (
    Box,
    ClassificationInstance,
    Mask,
    ObjectClass,
    ObjectInstance,
    Point,
    Polygon,
    from_document,
    to_document,
)

BOX = Box((0, 0), (1, 1))
WHEN = datetime(2024, 1, 2, tzinfo=UTC)


def make(space: Any, name: str = "nucleus", id: str | None = None) -> ObjectInstance:
    return ObjectInstance(space.ontology.object_class(name), id)


Call = Callable[[Any], Any]
REFUSED: list[tuple[str, Call, type[BioimageError], str]] = [
    ("strategy None", lambda s: s.put_object(make(s), 0, BOX, on_overlap=None), ParameterError, "None.*replace"),
    ("strategy both", lambda s: s.put_object(make(s), 0, BOX, on_overlap="both"), ParameterError, "both.*skip"),
    ("frame 8 of 8", lambda s: s.put_object(make(s), 8, BOX), ParameterError, "frame 8.*0 to 7"),
    ("frame -1", lambda s: s.put_object(make(s), -1, BOX), ParameterError, "frame -1.*0 to 7"),
    ("no frame", lambda s: s.put_object(make(s), [], BOX), ParameterError, "no frame"),
    ("frame True", lambda s: s.put_object(make(s), True, BOX), ParameterError, "True is bool"),
    ("frame 1.5", lambda s: s.put_object(make(s), 1.5, BOX), ParameterError, "1.5 is float"),
    ("frame text", lambda s: s.put_object(make(s), "3", BOX), ParameterError, "'3' is str"),
    ("huge range", lambda s: s.put_object(make(s), range(10**12), BOX), ParameterError, "0 to 7"),
    ("point for a box", lambda s: s.put_object(make(s), 0, Point((1, 1))), ParameterError, "nucleus.*box.*point"),
    ("mask", lambda s: s.put_object(make(s, "bitmask"), 0, Mask(np.ones((50, 50), bool))), ShapeError, "50.*80, 100"),
    (
        "mask outside",
        lambda s: s.put_object(make(s, "bitmask"), 0, Mask(np.ones((5, 5), bool), (78, 0))),
        ShapeError,
        "80",
    ),
    ("nan", lambda s: s.put_object(make(s), 0, Box((0, np.nan), (1, 1))), ParameterError, "top_left.*nan"),
    ("inf", lambda s: s.put_object(make(s), 0, Box((0, 0), (np.inf, 1))), ParameterError, "lower_right.*inf"),
    ("width 0", lambda s: s.put_object(make(s), 0, Box((0, 0), (0, 1))), ParameterError, "size.*0.0"),
    ("width -3", lambda s: s.put_object(make(s), 0, Box((0, 0), (-3, 1))), ParameterError, "size.*-3"),
    ("empty polygon", lambda s: Polygon([]), ParameterError, "rings"),
    ("outside", lambda s: s.put_object(make(s), 0, Box((0, 0), (999, 1)), outside="error"), ParameterError, "999"),
    *(
        (f"confidence {c}", lambda s, c=c: s.put_object(make(s), 0, BOX, confidence=c), ParameterError, "0 to 1")
        for c in (1.2, -0.1, np.nan, "high", True)
    ),
    (
        "naive",
        lambda s: s.put_object(make(s), 0, BOX, created_at=WHEN.replace(tzinfo=None)),
        ParameterError,
        "zone.*00:00",
    ),
    (
        "edited before created",
        lambda s: s.put_object(make(s), 0, BOX, created_at=WHEN, last_edited_at=WHEN.replace(year=2023)),
        ParameterError,
        "2023.*2024",
    ),
    ("edited before the old", lambda s: s.update("o1", last_edited_at=WHEN), ParameterError, "before created"),
    ("author", lambda s: s.put_object(make(s), 0, BOX, created_by=""), ParameterError, "254"),
    ("manual", lambda s: s.put_object(make(s), 0, BOX, manual_annotation=1), ParameterError, "True nor False"),
    ("other class", lambda s: s.put_object(ObjectInstance(ObjectClass("x", "point")), 0, BOX), KeyNotFoundError, "nuc"),
    ("archived", lambda s: s.put_object(make(s, "old"), 0, BOX), ReadOnlyError, "archived"),
    ("missing", lambda s: s.remove_object_instance("nobody", missing="error"), KeyNotFoundError, "nobody"),
    ("missing", lambda s: s.get("nobody"), KeyNotFoundError, "nobody"),
    ("update", lambda s: s.update("nobody"), KeyNotFoundError, "nobody"),
    ("update field", lambda s: s.update("o1", colour=3), ParameterError, "colour"),
    ("update answer", lambda s: s.update("o1", answers={"note": 3}, confidence=0.1), ParameterError, "note"),
    ("type", lambda s: s.get_annotations("both"), ParameterError, "both"),
    ("id ''", lambda s: s.put_object(make(s, id=""), 0, BOX), ParameterError, "''"),
    ("id long", lambda s: s.put_object(make(s, id="x" * 200), 0, BOX), ParameterError, "xxx"),
    ("id lines", lambda s: s.put_object(make(s, id="a\nb"), 0, BOX), ParameterError, r"a\\nb"),
    ("id of another class", lambda s: s.put_object(make(s, "point", "o1"), 1, Point((1, 1))), BioimageError, "o1"),
    ("undo", lambda s: s.undo(7), ParameterError, "7"),
    (
        "bulk source",
        lambda s: s.put_many("nucleus", np.array([[0, 0, 1, 1]]), source="me"),
        ParameterError,
        "me.*model",
    ),
    ("bulk outside", lambda s: s.put_many("nucleus", np.array([[0, 0, 1, 1]]), outside="x"), ParameterError, "outside"),
    ("bulk of nothing", lambda s: s.put_many("nucleus", None), ParameterError, "None"),
    ("bulk of a generator", lambda s: s.put_many("nucleus", (BOX for _ in "a")), ParameterError, "generator"),
    ("update a list", lambda s: s.update(["o1"]), KeyNotFoundError, "o1"),
    ("get on True", lambda s: s.get("o1", True), ParameterError, "True is bool"),
    ("get on 1.0", lambda s: s.get("o1", 1.0), ParameterError, "1.0 is float"),
    ("one text of ids", lambda s: s.get_annotations("object", "o1"), ParameterError, "one text"),
    ("step 0", lambda s: s.put_object(make(s), slice(0, 8, 0), BOX), ParameterError, "step 0"),
    (
        "missing",
        lambda s: s.set_dynamic_answer(s.get("o1").instance, 0, "late", "stage", missing="x"),
        ParameterError,
        "missing",
    ),
    ("frames", lambda s: s.get_dynamic_answer(s.get("o1").instance, [0], "stage"), ParameterError, "list"),
    ("query author", lambda s: next(s.query(author=3)), ParameterError, "3 is no text"),
    ("predicate", lambda s: next(s.query(BOX, predicate="near")), ParameterError, "near"),
    ("units", lambda s: s.put_object(make(s), 0, BOX, units="inch"), ParameterError, "inch"),
    ("answer", lambda s: make(s).set_answer(3, "note"), ParameterError, "3"),
    (
        "option",
        lambda s: ClassificationInstance(s.ontology.classification("site")).set_answer("arm"),
        ParameterError,
        "arm.*skin",
    ),
]


@pytest.mark.parametrize(("what", "call", "kind", "says"), REFUSED, ids=[f"{i}-{r[0]}" for i, r in enumerate(REFUSED)])
def test_refused_and_nothing_changes(frames: Any, what: str, call: Call, kind: Any, says: str) -> None:
    frames.put_object_instance(make(frames, id="o1"), 0, BOX)
    before = json.dumps(to_document(frames))
    with pytest.raises(kind, match=f"(?s){says}") as error:
        call(frames)
    assert error.value.remedy
    assert json.dumps(to_document(frames)) == before
    assert len(frames.history()) == 1


def test_handle_of_a_removed_record(image: Any) -> None:
    record = image.put_object_instance(make(image, id="o1"), BOX)
    image.remove_object_instance("o1")
    for read in (lambda: record.geometry, lambda: record.confidence, lambda: record.instance):
        with pytest.raises(KeyNotFoundError, match=r"o1.*was removed"):
            read()
    image.undo()
    assert record.geometry == BOX


def put(path: tuple[Any, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


DAMAGED = [
    (put(("more",), 1), "more"),
    (put(("schema",), 2), "schema.*2"),
    (put(("schema",), True), "schema"),
    (drop("objects"), "objects"),
    (put(("objects",), {}), "objects"),
    (put(("objects", 1, "more"), 1), r"objects\[1\].more"),
    (put(("objects", 1, "class"), "none"), r"objects\[1\].class"),
    (put(("objects", 1, "class"), []), r"objects\[1\].class"),
    (drop("objects", 1, "class"), r"objects\[1\].class"),
    (put(("objects", 1, "shape"), "polygon"), r"objects\[1\].shape"),
    (put(("objects", 1, "id"), "o0"), r"objects\[1\].id"),
    (put(("objects", 1, "id"), ""), r"objects\[1\].id"),
    (put(("objects", 1, "frame"), 8), r"objects\[1\].frame"),
    (put(("objects", 1, "frame"), True), r"objects\[1\].frame"),
    (put(("objects", 1, "confidence"), 2), r"objects\[1\].confidence"),
    (put(("objects", 1, "created_at"), "2020"), r"objects\[1\].created_at"),
    (put(("objects", 1, "created_at"), "2020-13-45T99:00:00.000000Z"), "objects"),
    (put(("objects", 1, "created_by"), None), r"objects\[1\].created_by"),
    (put(("objects", 1, "geometry"), 3), r"objects\[1\].geometry"),
    (put(("objects", 1, "geometry", "top_left"), [0]), r"objects\[1\].geometry"),
    (put(("objects", 1, "geometry", "top_left"), [1e400, 0]), r"objects\[1\].geometry"),
    (put(("objects", 2, "geometry", "shape"), [2**40, 2**40]), r"objects\[2\].geometry"),
    (put(("objects", 2, "geometry", "counts"), [0, 2**62]), r"objects\[2\].geometry"),
    (put(("objects", 2, "geometry", "counts"), [-1, 10]), r"objects\[2\].geometry"),
    (put(("classifications", 0, "class"), "nuc"), r"classifications\[0\].class"),
    (put(("answers", "nobody"), {}), "answers.nobody"),
    (put(("answers", "o0", "note"), 3), "answers.o0.note"),
    (put(("axes",), []), "axes"),
    (put(("size",), [1e9]), "axes"),
    (put(("kind",), "scene"), "kind"),
    (put(("kind",), "image"), "kind"),
    (put(("ontology", "objects", "nuc", "shape"), "cube"), "ontology.objects.nuc"),
    (put(("ontology", "objects", "nuc", "more"), 1), "ontology.objects.nuc"),
    (put(("ontology", "objects", "nuc"), 5), "ontology.objects"),
    *(
        (put(("ontology", "objects", "nuc", key), value), f"ontology.objects.nuc.*{says}")
        for key, value, says in (
            ("parent", 5, "parent"),
            ("required", "no", "required"),
            ("archived", None, "archived"),
            ("attributes", 5, ""),
            ("attributes", "ab", "no Attribute"),
            ("attributes", [5], r"attributes\[0\]"),
            ("name", "\ud800", "no text"),
        )
    ),
    (put(("ontology", "objects", "nuc", "attributes", 1, "options"), "ab"), r"attributes\[1\].*one text"),
    (put(("ontology", "objects", "nuc", "attributes", 1, "options"), [5]), r"attributes\[1\].*option=5"),
    (put(("ontology", "objects", "nuc", "attributes", 0, "dynamic"), "no"), r"attributes\[0\].*dynamic"),
    (put(("ontology", "classifications", "text", "several"), 1), "classifications.text.*several"),
    (put(("objects", 1, "id"), "\ud800"), r"objects\[1\].id"),
    (put(("objects", 1, "created_by"), "\ud800"), r"objects\[1\].created_by"),
    (put(("objects", 1, "created_at"), "0000-01-01T00:00:00.000000Z"), r"objects\[1\].created_at"),
    (put(("objects", 1, "created_at"), "٢٠٢٣-01-01T00:00:00.000000Z"), r"objects\[1\].created_at"),
    (put(("objects", 1, "confidence"), 10**400), r"objects\[1\].confidence"),
    (put(("objects", 1, "geometry", "top_left"), [-(10**400), 0]), r"objects\[1\].geometry"),
    (put(("objects", 1, "geometry", "top_left"), [-1e200, 0]), r"(?s)objects\[1\].geometry.*1e\+150"),
    (put(("objects", 1, "geometry", "top_left"), ["0", "0"]), r"objects\[1\].geometry"),
    (put(("answers", "o0", "note"), "\udfff"), "answers.o0.note"),
    (put(("size",), [8, 80.5, 100]), "axes.*80.5"),
    (put(("size",), [2**70, 80, 100]), "axes"),
    (put(("size",), ["8", "80", "100"]), "axes"),
    (put(("sizes",), [[-5, 1]] * 8), "axes.*-5"),
    (put(("axes", 2, "name"), "y"), "axes"),
    (put(("axes", 0, "unit"), "\ud800"), "axes"),
    (put(("unit",), "micrometer"), "unit.*'micrometer'.*None"),
    (put(("unit",), []), "unit"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_documents(frames: Any, damage: Any, says: str) -> None:
    frames.put_object_instance(make(frames, id="o0"), 0, BOX)
    frames.put_object_instance(make(frames, id="o1"), 0, BOX)
    frames.put_object_instance(make(frames, "bitmask", "m"), 0, Mask(np.ones((2, 3), bool), (1, 1)))
    frames.put_classification_instance(ClassificationInstance(frames.ontology.classification("text"), "c"), 0)
    frames.get("o0").instance.set_answer("n", "note")
    document = json.loads(json.dumps(to_document(frames)))
    from_document(document)
    damage(document)
    with pytest.raises(FormatError, match=says):
        from_document(document)
