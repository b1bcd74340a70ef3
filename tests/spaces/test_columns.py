"""Many objects: stored by column, the same content as a row each, and whatever is wrong is named by its place."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bioimage_py.errors import ConflictError, FormatError, ParameterError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.jobs.validate import validate
from bioimage_py.spaces import (
    Box,
    Classification,
    ClassificationInstance,
    ObjectClass,
    ObjectInstance,
    Ontology,
    Polygon,
    Range,
    Space,
    from_document,
    read_space,
    to_document,
    write_space,
)
from bioimage_py.spaces.columns import rows_of
from bioimage_py.spaces.document import to_stored, to_text
from bioimage_py.spaces.schema import schema

from .conftest import make_ontology
from .test_documents import DEEP, FLAT, filled


def again(document: Any) -> Any:
    return json.loads(to_text(document))


def some_frames(frames: Any) -> Any:
    """Objects of all shapes on several frames, changed and removed, with all kinds of answers."""
    filled_on(frames, FLAT)
    frames.remove_object_instance("o2", 1)
    frames.update("o1", confidence=0.25, last_edited_by="somebody else")
    frames.set_dynamic_answer(frames.get("o0").instance, [1, 2], "late", "stage")
    frames.get("o0").instance.set_answer("grün 💚", "note")
    frames.put_classification_instance(ClassificationInstance(frames.ontology.classification("text"), "c"), 3)
    return frames


def filled_on(space: Any, shapes: list[Any]) -> None:
    for i, shape in enumerate(shapes):
        name = "nucleus" if shape.shape == "bounding_box" else shape.shape
        instance = ObjectInstance(space.ontology.object_class(name), f"o{i}")
        space.put_object_instance(instance, Range(i % 3, 2), shape, created_by=f"user {i % 2}")


def test_the_same_content_in_both_forms(image: Any, volume: Any, frames: Any, tmp_path: Path) -> None:
    for space in (filled(image, FLAT), filled(volume, DEEP), some_frames(frames)):
        rows, columns = to_document(space), to_stored(space, columns_from=0)
        assert (rows["schema"], columns["schema"]) == (1, 2)
        found = from_document(again(columns))
        assert to_document(found) == rows
        assert to_stored(found, columns_from=0) == columns
        assert rows_of(again(columns)) == rows_of(rows) == rows["objects"]
        write_space(space, tmp_path / "space.json", columns_from=len(rows["objects"]))
        assert json.loads((tmp_path / "space.json").read_text()) == again(columns)
        assert to_document(read_space(tmp_path / "space.json")) == rows
        write_space(space, tmp_path / "space.json", columns_from=len(rows["objects"]) + 1)
        assert json.loads((tmp_path / "space.json").read_text()) == again(rows)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e149, 1e149)] * 2, *[st.floats(0, 1)] * 3), max_size=6))
def test_floats_keep_their_bits(numbers: list[tuple[float, ...]]) -> None:
    space = Space.for_image((80, 100), ("y", "x"), make_ontology())
    boxes = np.array([(x, y, np.nextafter(x + w, 9e307), np.nextafter(y + h, 9e307)) for x, y, w, h, _ in numbers])
    space.put_many("nucleus", boxes.reshape(-1, 4), confidence=np.array([row[-1] for row in numbers], float))
    assert to_document(from_document(again(to_stored(space, columns_from=0)))) == to_document(space)


def test_a_document_that_was_read_stays_as_it_is(image: Any) -> None:
    image.put_many("nucleus", np.array([[0.0, 0, 5, 5]]), ids=["a"])
    document = again(to_stored(image, columns_from=0))
    before = again(document)
    from_document(document).put_many("nucleus", np.array([[0.0, 0, 5, 5]]), ids=["b"])
    assert document == before
    empty, ids = Space.for_image((80, 100), ("y", "x"), make_ontology()), ["c", "d"]
    empty.put_many("nucleus", np.array([[0.0, 0, 5, 5]] * 2), ids=ids)
    empty.put_many("nucleus", np.array([[0.0, 0, 5, 5]]), ids=["e"])
    assert (ids, [record.id for record in empty]) == (["c", "d"], ["c", "d", "e"])


def test_it_follows_the_schema_and_is_small(frames: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema())
    document = again(to_stored(some_frames(frames), columns_from=0))
    assert [error.message for error in validator.iter_errors(document)] == []
    document["objects"]["more"] = 1
    assert len(list(validator.iter_errors(document))) == 1
    many = Space.for_image((80, 100), ("y", "x"), make_ontology())
    many.put_many("nucleus", np.random.default_rng(0).uniform(0, 9, (10_000, 4)) + np.array([0, 0, 9, 9]))
    assert to_stored(many)["schema"] == 2  # from 10,000 objects on
    assert len(to_text(to_stored(many))) < 140 * 10_000 < 300 * 10_000 < len(to_text(to_document(many)))


def test_undo_goes_back_over_rows_that_were_taken_over(image: Any) -> None:
    """The rows of the first call are taken over as they are; later ones must not write into what the caller has."""
    boxes = np.random.default_rng(0).uniform(0, 9, (100, 4)) + np.array([0, 0, 9, 9])
    given = boxes.copy()
    first = image.put_many("nucleus", given).tolist()
    empty = to_document(image)
    image.put_many("nucleus", given + 1, units="pixel")
    image.put_many("nucleus", given[:2] + 2, ids=first[:2], on_overlap="replace")
    np.testing.assert_array_equal(given, boxes)
    assert image.get(first[0]).bounds[:2] == tuple(boxes[0, :2] + 2)
    image.undo(2)
    assert to_document(image) == empty
    image.redo(2)
    assert image.count() == 200


def text(values: Any, dtype: str) -> str:
    return base64.b64encode(np.asarray(values, dtype)).decode()


def rings(parts: Any = (1,), rings: Any = (1,), points: Any = (3,), xy: Any = (0, 0, 1, 0, 1, 1)) -> dict[str, str]:
    counts = {"parts": text(parts, "<u4"), "rings": text(rings, "<u4"), "points": text(points, "<u4")}
    return {**counts, "xy": text(xy, "<f8")}


NO_POLYGONS = [
    (3, "objects.polygons"),
    ({}, "objects.polygons"),
    ({**rings(), "more": 1}, "objects.polygons"),
    (rings(parts=(1, 1)), r"polygons.parts"),
    (rings(parts=(0,)), r"polygons.parts\[0\]"),
    (rings(parts=(2,)), r"polygons.rings"),
    (rings(parts=(2**32 - 1,)), r"polygons.rings"),
    (rings(rings=(0,)), r"polygons.rings\[0\]"),
    (rings(points=(2,)), r"polygons.points\[0\]"),
    (rings(points=(2**32 - 1,)), r"polygons.xy"),
    (rings(xy=(0, 0, 1, 0, 1, np.nan)), r"polygons.xy\[2\]"),
    (rings(xy=(0, 0, 1, 0, 1, 0)), r"polygons\[0\]"),
    (rings(xy=(0, 0, 1, 0, 0, 0)), r"polygons\[0\]"),
    (rings(xy=(0, 0, 0, 0, 0, 0)), r"polygons\[0\]"),
]


@pytest.mark.parametrize(("value", "says"), NO_POLYGONS, ids=range(len(NO_POLYGONS)))
def test_polygons_that_are_none(image: Any, value: Any, says: str) -> None:
    image.put_many("polygon", [Polygon([(0, 0), (1, 0), (1, 1)])])
    document = again(to_stored(image, columns_from=0))
    assert document["objects"]["polygons"] == rings()
    document["objects"]["polygons"] = rings(points=(4,), xy=(0, 0, 1, 0, 1, 1, 0, 0))  # its end repeats its begin
    assert from_document(document).get(str(*document["objects"]["ids"])).geometry == Polygon([(0, 0), (1, 0), (1, 1)])
    document["objects"]["polygons"] = value
    with pytest.raises(FormatError, match=says):
        from_document(document)


POINTS = st.lists(st.tuples(st.integers(-2, 3), st.integers(-2, 3)), min_size=3, max_size=6)


@settings(max_examples=100, deadline=None)
@example([[[[(0, 0), (0, 1), (0, -1), (0, 0), (0, 0)]]]])
@given(st.lists(st.lists(st.lists(POINTS, min_size=1, max_size=3), min_size=1, max_size=3), max_size=4))
def test_polygons_by_column(given_: Any) -> None:
    """Whatever the numbers of parts, rings and points are; what the constructor refuses, no column holds."""
    space, polygons = Space.for_image((80, 100), ("y", "x"), make_ontology()), []
    for parts in given_:
        try:
            polygons.append(Polygon(parts=parts))
        except ParameterError:
            assert any(len({*ring}) < 3 for part in parts for ring in part)
    space.put_many("polygon", polygons)
    found = from_document(again(to_stored(space, columns_from=0)))
    assert to_document(found) == to_document(space)
    assert [record.bounds for record in found] == [record.bounds for record in space]
    assert [record.outside for record in found] == [record.outside for record in space]


DAMAGED: list[tuple[str, Any, str]] = [
    ("ids", 3, "objects.ids"),
    ("ids", ["a", "b"], "objects"),
    ("ids", ["a", "a", "c"], r"ids\[1\].*twice"),
    ("ids", ["a", "", "c"], r"ids.*\[1\]"),
    ("ids", ["a", 3, "c"], r"ids.*\[1\]"),
    ("ids", ["a", [], "c"], r"ids.*\[1\]"),
    ("ids", ["a", "b\n", "c"], r"ids.*\[1\]"),
    ("ids", ["a", "b" * 129, "c"], r"ids.*\[1\]"),
    ("classes", [], "objects.classes"),
    ("classes", {"nuc": "polygon", "id-point": "point"}, "objects"),
    ("classes", {"nuc": []}, "objects.classes"),
    ("classes", {"id-point": "point"}, r"objects.class\["),
    ("classes", {"id-point": "point", "none": "bounding_box"}, r"objects.classes.none"),
    ("authors", 3, "objects.authors"),
    ("authors", [""], r"objects.authors\[0\]"),
    ("authors", [[]], r"objects.authors\[0\]"),
    ("class", 3, "objects.class"),
    ("class", "%%%", "objects.class"),
    ("class", "é", "objects.class"),
    ("class", text([0, 1, 1, 1], "<i4"), "objects.class"),
    ("class", text([0, 1, 2], "<i4"), r"objects.class\[2\]"),
    ("class", text([-1, 0, 0], "<i4"), r"objects.class\[0\]"),
    ("frame", text([0, 0, 8], "<i4"), r"objects.frame\[2\]"),
    ("confidence", text([0, np.nan, 1], "<f8"), r"objects.confidence\[1\]"),
    ("confidence", text([0, 1.5, 1], "<f8"), r"objects.confidence\[1\]"),
    ("created_at", text([2**62] * 3, "<i8"), r"objects.(created|last)"),
    ("created_at", text([-(2**62)] * 3, "<i8"), r"objects.created_at\[0\]"),
    ("last_edited_at", text([0, 0, 0], "<i8"), r"objects.last_edited_at\[0\].*before"),
    ("created_by", text([0, 0, 1], "<i4"), r"objects.created_by\[2\]"),
    ("manual_annotation", text([0, 1, 2], "u1"), r"objects.manual_annotation\[2\]"),
    ("boxes", text([0, 0, 1, 1], "<f8"), "objects.boxes"),
    ("boxes", text([0, 0, 1, 1, 0, np.nan, 1, 1], "<f8"), r"objects.boxes\[1\]"),
    ("boxes", text([0, 0, 1, 1, 0, 0, 0, 1], "<f8"), r"objects.boxes\[1\]"),
    ("geometries", [], "objects.geometries"),
    ("geometries", [3], r"objects.geometries\[0\]"),
    ("geometries", [{"position": [0, 0, 0]}], r"objects.geometries\[0\]"),
    ("dynamic", {}, "objects.dynamic"),
    ("dynamic", [[3, {}]], r"objects.dynamic\[0\]"),
    ("dynamic", [[True, {}]], r"objects.dynamic\[0\]"),
    ("dynamic", [[0, {}], [0, {}]], r"objects.dynamic\[1\]"),
    ("dynamic", [[0, {"stage": "never"}]], "objects.dynamic.0.stage"),
    ("more", 1, "objects.more"),
]


@pytest.mark.parametrize(("key", "value", "says"), DAMAGED, ids=[f"{i}-{row[0]}" for i, row in enumerate(DAMAGED)])
def test_damaged(frames: Any, key: str, value: Any, says: str) -> None:
    for i, (name, shape) in enumerate((("nucleus", Box((0, 0), (5, 5))), ("point", DEEP[2]), ("nucleus", FLAT[0]))):
        flat = type(shape)((7, 8)) if name == "point" else shape
        frames.put_object_instance(ObjectInstance(frames.ontology.object_class(name), "abc"[i]), i, flat)
    document = again(to_stored(frames, columns_from=0))
    assert len(from_document(document)) == 3
    document["objects"][key] = value
    with pytest.raises(FormatError, match=says):
        from_document(document)
    if key != "more":
        del document["objects"][key]
        with pytest.raises(FormatError, match=rf"objects.{key}: it is missing"):
            from_document(document)


def test_schema_and_form_belong_together(image: Any) -> None:
    for document, schema_ in ((to_document(image), 2), (to_stored(image, columns_from=0), 1)):
        with pytest.raises(FormatError, match="schema"):
            from_document({**document, "schema": schema_})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Whatever has 3 objects is stored by column."""
    monkeypatch.setattr("bioimage_py.spaces.document.COLUMNS_FROM", 3)
    classes = [ObjectClass(name, "bounding_box", id=name) for name in ("nucleus", "debris")]
    stain = Classification("stain", make_ontology().classification("text").attribute, id="stain")
    project = Project.create(ProjectSettings("p", ontology=Ontology(classes, [stain])), tmp_path / "p")
    project.add_descriptor(np.zeros((80, 100), "u1"), "raw")
    return project


def put(space: Any, ids: str, name: str = "nucleus") -> None:
    space.put_many(name, np.tile([0.0, 0, 5, 5], (len(ids), 1)), ids=list(ids))


def stored(project: Project) -> list[int]:
    paths = Path(project.path).glob("annotations/*/space.root/*.json")
    return [json.loads(path.read_text())["schema"] for path in sorted(paths)]


@pytest.fixture
def reread(project: Project) -> Callable[[], Any]:
    return lambda: Project.load(project.path).descriptors[0].space()


def test_in_a_project(project: Project, reread: Callable[[], Any]) -> None:
    space = project.descriptors[0].space()
    put(space, "ab")
    project.save()
    put(space, "c")
    project.save()
    assert stored(project) == [1, 2]
    assert space.save() is False
    assert to_document(reread()) == to_document(space)
    assert list(validate(project)) == []
    space.remove_object_instance("a")
    project.save()
    assert stored(project) == [1, 2, 1]
    space.undo()
    project.revert()
    assert [record.id for record in space] == ["b", "c"]


def test_two_writers(project: Project, reread: Callable[[], Any]) -> None:
    mine = project.descriptors[0].space()
    put(mine, "abc")
    project.save()
    theirs = reread()
    put(theirs, "d")
    theirs.update("a", confidence=0.5)
    theirs.save()
    put(mine, "e")
    mine.update("a", geometry=Box((1, 1), (2, 2)))
    mine.save()
    assert {record.id for record in reread()} == {*"abcde"}
    assert (reread().get("a").confidence, reread().get("a").geometry) == (0.5, Box((1, 1), (2, 2)))
    theirs = reread()
    mine.update("b", geometry=Box((1, 1), (2, 3)))
    theirs.update("b", geometry=Box((1, 1), (2, 4)))
    theirs.save()
    with pytest.raises(ConflictError, match=r"spaces.root.objects.b.geometry"):
        mine.save()


@pytest.mark.parametrize("objects", [{}, {"classes": []}, {"classes": {"nucleus": 3}}, {"classes": {"gone": "point"}}])
def test_a_damaged_version(project: Project, reread: Callable[[], Any], objects: Any) -> None:
    put(project.descriptors[0].space(), "abc")
    project.save()
    path = next(Path(project.path).glob("annotations/*/space.root/*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "objects": objects}))
    with pytest.raises(FormatError, match="objects"):
        reread()
