"""What a space promises, scenario by scenario."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import ConflictError, LabelRowError, ParameterError, ShapeError
from bioimage_py.spaces import (
    Box,
    ClassificationInstance,
    Ellipse,
    ImageSpace,
    ObjectInstance,
    Ontology,
    Point,
    Polygon,
    Range,
    SequenceSpace,
    Space,
    from_document,
    to_document,
)

SIX = ["created_at", "created_by", "last_edited_at", "last_edited_by", "confidence", "manual_annotation"]


def nucleus(space: Any, id: str | None = None) -> ObjectInstance:
    return ObjectInstance(space.ontology.object_class("nucleus"), id)


def text(space: Any, answer: str, name: str = "text") -> ClassificationInstance:
    found = ClassificationInstance(space.ontology.classification(name))
    found.set_answer(answer)
    return found


def back(space: Any) -> Any:
    return from_document(json.loads(json.dumps(to_document(space))))


@pytest.mark.parametrize(
    ("method", "positional"),
    [
        (ImageSpace.put_object_instance, ["object_instance", "coordinates"]),
        (ImageSpace.put_classification_instance, ["classification_instance"]),
        (SequenceSpace.put_object_instance, ["object_instance", "frames", "coordinates"]),
        (SequenceSpace.put_classification_instance, ["classification_instance", "frames"]),
    ],
)
def test_signatures_of_puts(method: Any, positional: list[str]) -> None:
    parameters = inspect.signature(method).parameters
    assert [name for name, p in parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD] == ["self", *positional]
    keywords = {name: p.default for name, p in parameters.items() if p.kind == p.KEYWORD_ONLY}
    assert list(keywords)[:7] == ["on_overlap", *SIX]
    assert keywords["on_overlap"] == "error"
    assert all(keywords[name] is None for name in SIX)


def test_signatures_of_the_others() -> None:
    assert list(inspect.signature(Space.remove_object_instance).parameters)[1] == "object_hash"
    assert list(inspect.signature(Space.remove_classification_instance).parameters)[1] == "classification_hash"
    assert list(inspect.signature(Space.get_annotations).parameters)[1:] == ["type_", "filter_instance_hashes"]


def test_basic(image: Any) -> None:
    one, two = nucleus(image), nucleus(image)
    image.put_object_instance(one, Box((1, 2), (11, 22)))
    image.put_object_instance(two, Box((3, 4), (5, 6)))
    image.put_classification_instance(text(image, "Hello!"))
    assert image.get_object_instances() == [one, two]
    assert [r.id for r in image.get_annotations("object")] == [one.id, two.id]
    assert len(image.get_classification_instances()) == 1
    assert image.count() == len(image) == 3
    assert image.count("object", "nucleus") == 2
    assert one.id in image
    document = to_document(image)
    assert [len(document[key]) for key in ("objects", "classifications")] == [2, 1]
    again = back(image)
    assert to_document(again) == document
    assert again.get_classification_instances()[0].get_answer() == "Hello!"
    assert again.get(one.id).geometry == Box((1, 2), (11, 22))


def test_conflict(image: Any) -> None:
    one = nucleus(image, "o1")
    first = image.put_object_instance(
        one, Box((0, 0), (5, 5)), created_by="her", confidence=0.0, manual_annotation=False
    )
    before, edited = to_document(image), first.last_edited_at
    with pytest.raises(ConflictError, match="o1") as error:
        image.put_object_instance(one, Box((1, 1), (5, 5)))
    assert isinstance(error.value, LabelRowError)
    assert "replace" in str(error.value)
    assert to_document(image) == before
    record = image.put_object_instance(one, Box((1, 1), (5, 5)), on_overlap="replace", confidence=0.5)
    assert record.geometry == Box((1, 1), (5, 5))
    assert (record.confidence, record.created_by, record.last_edited_by) == (0.5, "her", "me")
    assert record.manual_annotation is False
    assert record.last_edited_at > edited
    assert record.created_at == first.created_at
    kept = image.put_object_instance(one, Box((7, 7), (8, 8)), on_overlap="skip")
    assert kept.geometry == Box((1, 1), (5, 5))


def test_two_spaces(ontology: Ontology) -> None:
    pool: dict[str, Any] = {}
    a, b = (Space.for_image((80, 100), ("y", "x"), ontology, space_id=name) for name in "ab")
    a._instances = b._instances = pool
    one = nucleus(a)
    a.put_object_instance(one, Box((0, 0), (0.5, 0.5)), units="normalised")
    b.put_object_instance(one, Box((0, 0), (0.8, 0.8)), units="normalised")
    one.set_answer("Hello!", "note")
    assert a.get(one.id).geometry != b.get(one.id).geometry
    assert a.get(one.id).answers == b.get(one.id).answers == {"note": "Hello!"}
    assert a.remove_object_instance(one.id) is one
    assert one.id not in a
    assert one.id in b


def test_frames(frames: Any) -> None:
    texts = [text(frames, f"text{i}") for i in range(3)]
    frames.put_classification_instance(texts[0], Range(0, 3))
    frames.put_classification_instance(texts[1], Range(4, 7))
    with pytest.raises(LabelRowError, match="text"):
        frames.put_classification_instance(texts[2], Range(2, 5))
    frames.put_classification_instance(texts[2], Range(2, 5), on_overlap="replace")
    found: dict[str, list[Any]] = {}
    for record in frames.get_annotations("classification"):
        found.setdefault(record.instance.get_answer(), []).append(record.frame)
    assert found == {"text0": [0, 1], "text2": [2, 3, 4, 5], "text1": [6, 7]}
    frames.undo()
    assert frames.count("classification", frames=3) == 1
    assert frames.get(texts[0].id, 3).frame == 3


def test_ranges(ontology: Ontology) -> None:
    space = Space.for_image((12, 80, 100), ("t", "y", "x"), ontology)
    one, two = nucleus(space), nucleus(space)
    box = Box((0, 0), (1, 1))
    assert [r.frame for r in space.put_object_instance(one, Range(2, 4), box)] == [2, 3, 4]
    assert [r.frame for r in space.put_object_instance(two, range(2, 4), box)] == [2, 3]
    assert [r.frame for r in space.put_object_instance(nucleus(space), {1, 0, Range(0, 1).start}, box)] == [0, 1]
    space.remove_object_instance(one.id, Range(3, 9))
    assert [r.frame for r in space.get_annotations("object", [one.id])] == [2]
    space.remove_object_instance(one.id, 2)
    assert one.id not in space
    assert space.remove_object_instance("unknown") is None


def test_range_values() -> None:
    one, two = Range(1, 3), Range(3, 5)
    assert one.overlaps(two)
    assert not one.overlaps(Range(4, 5))
    twin = one.copy()
    twin.merge(two)
    assert (twin, one) == (Range(1, 5), Range(1, 3))


def test_global(frames: Any) -> None:
    frames.put_classification_instance(text(frames, "lung", "site"))
    frames.put_classification_instance(text(frames, "t"), 3)
    assert [r.frame for r in frames.get_annotations("classification")] == [3, None]
    with pytest.raises(ParameterError, match="whole space"):
        frames.put_classification_instance(text(frames, "skin", "site"), 2, on_overlap="replace")
    with pytest.raises(ParameterError, match="needs frames"):
        frames.put_classification_instance(text(frames, "t"))
    with pytest.raises(LabelRowError):
        frames.put_classification_instance(text(frames, "skin", "site"))
    assert to_document(back(frames)) == to_document(frames)


def test_keep_both(image: Any) -> None:
    one, two = (ClassificationInstance(image.ontology.classification("stain")) for _ in "ab")
    image.put_classification_instance(one)
    with pytest.raises(LabelRowError):
        image.put_classification_instance(two)
    image.put_classification_instance(two, on_overlap="keep_both")
    assert image.count("classification") == 2
    with pytest.raises(ParameterError, match="one answer"):
        image.put_classification_instance(text(image, "t"), on_overlap="keep_both")


def test_bulk_is_all_or_nothing(image: Any) -> None:
    boxes = np.tile([1.0, 1, 3, 3], (100_000, 1))
    boxes[77_777, 2] = np.nan
    with pytest.raises(ParameterError, match="Row 77777"):
        image.put_many("nucleus", boxes)
    assert len(image) == 0
    boxes[77_777, 2] = 3
    ids = image.put_many("nucleus", boxes, source="model", confidence=0.25)
    assert len(set(ids)) == len(image) == 100_000
    record = image.get(str(ids[5]))
    assert (record.confidence, record.manual_annotation) == (0.25, False)
    image.undo()
    assert len(image) == 0


def test_bulk_of_shapes_and_strategies(image: Any) -> None:
    square = Polygon([(0, 0), (4, 0), (4, 4)])
    image.put_many(["nucleus", "polygon"], [Box((0, 0), (1, 1)), square], ids=["a", "b"], created_by="model 1")
    with pytest.raises(LabelRowError, match="Row 1: the object 'b'"):
        image.put_many("polygon", [square, square], ids=["c", "b"])
    assert "c" not in image
    image.put_many("polygon", [square, Polygon([(0, 0), (9, 0), (9, 9)])], ids=["c", "b"], on_overlap="replace")
    assert [r.id for r in image.get_annotations("object")] == ["a", "b", "c"]
    assert image.get("b").created_by == "model 1"
    assert image.get("b").bounds[3] == 9
    image.put_many("polygon", [square, square], ids=["d", "b"], on_overlap="skip")
    assert image.get("b").bounds[3] == 9
    with pytest.raises(LabelRowError, match="comes twice"):
        image.put_many("nucleus", np.tile([0.0, 0, 1, 1], (2, 1)), ids=["x", "x"])
    with pytest.raises(ParameterError, match=r"Row 1.*1 bad rows"):
        image.put_many("polygon", [square, Point((1, 1))])


def test_volume(volume: Any) -> None:
    one = nucleus(volume)
    volume.put_object_instance(one, Box((0, 0, 0), (5, 5, 5)))
    volume.put_object_instance(nucleus(volume), Box((0, 0, 20), (5, 5, 25)))
    assert [r.id for r in volume.query(Box((1, 1, 1), (2, 2, 2)))] == [one.id]
    assert to_document(back(volume)) == to_document(volume)
    with pytest.raises(ParameterError, match="2 coordinates"):
        volume.put_object_instance(nucleus(volume), Box((0, 0), (5, 5)))


def test_query(image: Any) -> None:
    image.put_object_instance(nucleus(image, "box"), Box((0, 0), (10, 10)), confidence=0.3, created_by="a")
    ring = Polygon([[(20, 20), (40, 20), (40, 40), (20, 40)], [(22, 22), (38, 22), (38, 38), (22, 38)]])
    image.put_object_instance(ObjectInstance(image.ontology.object_class("polygon"), "ring"), ring)

    def found(*args: Any, **given: Any) -> list[str]:
        return [r.id for r in image.query(*args, **given)]

    assert found(Box((5, 5), (30, 30))) == ["box", "ring"]
    assert found(Box((25, 25), (30, 30))) == []  # the hole
    assert found(Box((-1, -1), (30, 30)), predicate="within") == ["box"]
    assert found(min_confidence=0.5) == ["ring"]
    assert found(author="a") == ["box"]
    assert found(class_="polygon") == ["ring"]
    assert found(Box((0, 0), (0.1, 0.1)), units="normalised") == ["box"]


def test_dynamic_answers(frames: Any) -> None:
    one = nucleus(frames)
    frames.put_object_instance(one, Range(0, 2), Box((0, 0), (1, 1)))
    frames.set_dynamic_answer(one, Range(1, 2), "late", "stage")
    assert [frames.get_dynamic_answer(one, f, "stage") for f in range(3)] == [None, "late", "late"]
    assert to_document(back(frames)) == to_document(frames)
    with pytest.raises(ParameterError, match="not on frame 3"):
        frames.set_dynamic_answer(one, Range(2, 3), "early", "stage")
    assert frames.get_dynamic_answer(one, 2, "stage") == "late"
    frames.set_dynamic_answer(one, Range(2, 3), "early", "stage", missing="ignore")
    frames.remove_dynamic_answer(one, 1, "stage")
    assert [frames.get_dynamic_answer(one, f, "stage") for f in range(3)] == [None, None, "early"]
    frames.remove_object_instance(one.id)
    assert not frames._dynamic
    frames.undo()
    assert frames.get_dynamic_answer(one, 2, "stage") == "early"
    with pytest.raises(ParameterError, match="frame to frame"):
        one.set_answer("late", "stage")


def test_update_and_history(image: Any) -> None:
    one = nucleus(image, "o")
    image.put_object_instance(one, Box((0, 0), (1, 1)))
    record = image.update("o", geometry=Box((0, 0), (2, 2)), answers={"note": "n"}, confidence=0.5, last_edited_by="x")
    assert (record.geometry, record.answers, record.last_edited_by) == (Box((0, 0), (2, 2)), {"note": "n"}, "x")
    assert [change.what for change in image.history("o")] == ["put_object_instance", "update"]
    image.undo()
    assert (record.geometry, record.answers) == (Box((0, 0), (1, 1)), {})
    image.redo()
    assert record.confidence == 0.5
    with pytest.raises(ParameterError, match="0 steps"):
        image.redo()


def test_times_are_one_instant(image: Any) -> None:
    record = image.put_object_instance(nucleus(image), Box((0, 0), (1, 1)))
    assert record.created_at == record.last_edited_at
    assert record.created_at.tzinfo is not None
    when = datetime(2020, 1, 1)
    early = image.put_object_instance(nucleus(image), Box((0, 0), (1, 1)), last_edited_at=when, naive="utc")
    assert early.last_edited_at == early.created_at == when.replace(tzinfo=UTC)


def test_frames_of_different_sizes(ontology: Ontology) -> None:
    space = Space.for_image((2, 80, 100), ("t", "y", "x"), ontology, sizes=[(80, 100), (10, 20)])
    one = nucleus(space)
    space.put_object_instance(one, [0, 1], Box((0.5, 0.5), (1, 1)), units="normalised")
    assert space.get(one.id, 0).geometry_in("pixel") == Box((50, 40), (100, 80))
    assert space.get(one.id, 1).geometry_in("pixel") == Box((10, 5), (20, 10))
    assert not space.get(one.id, 1).outside


def test_one_rule_for_coordinates(ontology: Ontology) -> None:
    from bioimage_py.sources import Axis

    axes = [Axis("y", scale=3.0, offset=7.0), Axis("x", scale=3.0, offset=7.0)]
    space = Space.for_image((10, 10), axes, ontology)
    one = space.put_object_instance(nucleus(space), Box((2, 2), (3, 3)), units="pixel")
    center = (one.geometry.top_left + one.geometry.lower_right) / 2
    assert center.tolist() == [13, 13]  # the centre of voxel 2 lies at offset + 2 * scale


def test_validate(image: Any) -> None:
    bow = Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    image.put_object_instance(ObjectInstance(image.ontology.object_class("polygon"), "bow"), bow)
    image.put_object_instance(nucleus(image, "out"), Box((90, 70), (120, 90)))
    assert [line.split(":")[0] for line in image.validate()] == ["bow", "out"]
    cut = image.put_object_instance(nucleus(image), Box((90, 70), (120, 90)), outside="clip")
    assert cut.geometry == Box((90, 70), (99.5, 79.5))


def test_audit_columns_of_many(image: Any) -> None:
    boxes = np.tile([1.0, 1, 3, 3], (3, 1))
    columns = {"created_by": ["a", "b", "a"], "manual_annotation": np.array([True, False, True])}
    ids = image.put_many("nucleus", boxes, confidence=[0, 1, 0.5], **columns).tolist()
    found = [image.get(id) for id in ids]
    assert [record.created_by for record in found] == [record.last_edited_by for record in found] == ["a", "b", "a"]
    assert [record.manual_annotation for record in found] == [True, False, True]
    image.put_many("nucleus", boxes, ids=ids, on_overlap="replace", last_edited_by=["x", "y", "z"])
    assert [(record.created_by, record.last_edited_by) for record in found] == [("a", "x"), ("b", "y"), ("a", "z")]
    before = to_document(image)
    for wrong in (
        {"created_by": ["a", "b"]},
        {"created_by": ["a", "b", ""]},
        {"created_by": ["a", "b", 3]},
        {"created_by": 3},
        {"last_edited_by": ""},
        {"manual_annotation": [True, False]},
        {"manual_annotation": 1},
    ):
        with pytest.raises((ParameterError, ShapeError)):
            image.put_many("nucleus", boxes, **wrong)
    assert to_document(image) == before


def test_a_second_answer_is_named(frames: Any) -> None:
    frames.put_classification_instance(text(frames, "a"), Range(2, 4))
    with pytest.raises(ConflictError, match=r"'text' is answered already for the frames \[3, 4\]") as error:
        frames.put_classification_instance(text(frames, "b"), Range(3, 6))
    assert "replace" in error.value.remedy
    assert frames.count("classification", frames=[5, 6]) == 0


def test_an_id_that_is_free_again_may_be_of_another_class(image: Any) -> None:
    nucleus, ellipse = (image.ontology.object_class(name) for name in ("nucleus", "ellipse"))
    image.put_object_instance(ObjectInstance(nucleus, "a", {"note": "n"}), Box((1, 1), (2, 2)))
    kept = image.remove_object_instance("a")
    image.put_object_instance(ObjectInstance(ellipse, "a"), Ellipse((5, 5), (2, 2), 0))
    assert (image.get("a").name, dict(image.get("a").answers)) == ("ellipse", {})
    with pytest.raises(LabelRowError, match="another class"):
        image.put_object_instance(kept, Box((1, 1), (2, 2)))
    image.undo(2)
    assert (image.get("a").name, image.get("a").answers) == ("nucleus", {"note": "n"})
    image.redo(2)
    image.remove_object_instance("a")
    image.put_many("nucleus", np.array([[0.0, 0, 5, 5]]), ids=["a"])
    assert (image.get("a").name, dict(image.get("a").answers)) == ("nucleus", {})
    image.remove_object_instance("a")
    image.put_object_instance(kept, Box((1, 1), (2, 2)))
    assert image.get("a").answers == {"note": "n"}  # the very object that was taken out
