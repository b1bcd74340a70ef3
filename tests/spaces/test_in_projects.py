"""Spaces of a project: saved like layers, merged record by record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import ConflictError, FormatError, KeyNotFoundError, LockError, ParameterError, StorageError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.jobs.validate import validate
from bioimage_py.spaces import (
    Attribute,
    Box,
    Classification,
    ClassificationInstance,
    ObjectClass,
    ObjectInstance,
    Ontology,
    to_document,
    write_space,
)

from ..server.again import places

BOX = Box((0, 0), (5, 5))


def make_ontology() -> Ontology:
    return Ontology(
        [ObjectClass("nucleus", "bounding_box", (1, 2, 3), (Attribute("note", id="note"),), id="nuc"),
         ObjectClass("debris", "bounding_box", id="deb")],
        [Classification("stain", Attribute("stain?", id="q"), id="stain")],
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(ProjectSettings("p", ontology=make_ontology()), tmp_path / "p")
    project.add_descriptor(np.zeros((80, 100), "u1"), "raw")
    project.save()
    return project


@pytest.fixture
def again(project: Project) -> Callable[[], Any]:
    return lambda: Project.load(project.path).descriptors[0].space()


def put(space: Any, id: str, box: Box = BOX, **given: Any) -> Any:
    return space.put_object_instance(ObjectInstance(space.ontology.object_class("nucleus"), id), box, **given)


def versions(project: Project) -> list[Path]:
    return sorted(places.root(project).glob("annotations/*/space.root/*.json"))


def test_saved_and_read(project: Project, again: Any) -> None:
    space = project.descriptors[0].space()
    assert space is project.descriptors["raw"].space("root") is project.descriptors[0].spaces["root"]
    put(space, "a").instance.set_answer("n", "note")
    assert len(again()) == 0
    assert space.get("a").created_by == space.get("a").last_edited_by == project.user
    project.save()
    assert to_document(again()) == to_document(space)
    assert again().get("a").answers == {"note": "n"}
    assert len(versions(project)) == 1
    assert space.save() is False
    project.save()
    assert len(versions(project)) == 1
    space.get("a").instance.set_answer("other", "note")
    assert space.save() is True
    assert again().get("a").answers == {"note": "other"}
    assert list(validate(places.local(project))) == []


def test_what_is_too_large_to_be_read_again_is_not_written(
    project: Project, again: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = project.descriptors[0].space()
    for number in range(50):  # more than what else the project has written
        put(space, f"object {number}")
    space.save()
    largest = versions(project)[0].stat().st_size + 10
    with monkeypatch.context() as small:
        small.setattr("bioimage_py.system.json_text.LARGEST", largest)
        put(space, "one more")
        for save in (space.save, project.save, lambda: write_space(space, tmp_path / "alone.json")):
            with pytest.raises(StorageError, match=f"51 records of .* and {largest} at most would be read again"):
                save()
        assert len(versions(project)) == 1
        assert not (tmp_path / "alone.json").exists()
        assert len(again()) == 50
    space.save()
    assert len(again()) == 51


def test_transaction(project: Project, again: Any) -> None:
    space = project.descriptors[0].space()
    put(space, "before")

    def fail() -> None:
        with project:
            for id in "abc":
                put(space, id)
            space.save()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [r.id for r in space] == ["before"]
    assert versions(project) == []
    with project:
        put(space, "d")
    assert [r.id for r in again()] == ["before", "d"]


def test_two_writers(project: Project, again: Any) -> None:
    mine, theirs = project.descriptors[0].space(), again()
    put(mine, "a")
    put(theirs, "b")
    theirs.save()
    project.save()
    assert {r.id for r in again()} == {r.id for r in mine} == {"a", "b"}
    theirs = again()
    mine.update("a", geometry=Box((1, 1), (2, 2)))
    theirs.update("a", confidence=0.5)
    theirs.save()
    mine.save()
    assert (again().get("a").geometry, again().get("a").confidence) == (Box((1, 1), (2, 2)), 0.5)
    theirs = again()
    mine.update("a", geometry=Box((1, 1), (3, 3)))
    theirs.update("a", geometry=Box((1, 1), (4, 4)))
    theirs.save()
    with pytest.raises(ConflictError) as error:
        project.save()
    assert error.value.field.startswith("spaces.root.objects.a.geometry")
    assert again().get("a").geometry == Box((1, 1), (4, 4))
    mine.undo()
    project.save()
    project.sync()
    assert mine.get("a").geometry == Box((1, 1), (4, 4))


def test_two_answers_to_one_question(project: Project, again: Any) -> None:
    mine, theirs = project.descriptors[0].space(), again()
    for space in (mine, theirs):
        found = ClassificationInstance(space.ontology.classification("stain"))
        space.put_classification_instance(found)
    theirs.save()
    with pytest.raises(ConflictError, match=r"stain|answers"):
        mine.save()
    assert again().count("classification") == 1


def test_locks(project: Project) -> None:
    other = Project.load(project.path)
    space = project.descriptors[0].space()
    put(space, "a")
    with other.descriptors[0].lock():
        with pytest.raises(LockError):
            space.save()
        with pytest.raises(LockError):
            project.save()
    assert space.save()


def test_sync_revert_and_prune(project: Project, again: Any) -> None:
    space, theirs = project.descriptors[0].space(), again()
    put(theirs, "a")
    theirs.save()
    assert project.sync() >= 1
    assert [r.id for r in space] == ["a"]
    put(space, "b")
    project.revert()
    assert [r.id for r in space] == ["a"]
    put(space, "c")
    project.save()
    assert len(versions(project)) == 2
    assert project.prune(older_than=-10) >= 1
    assert len(versions(project)) == 1
    assert [r.id for r in again()] == ["a", "c"]


def test_edit_takes_records_along_and_gives_them_back(project: Project, again: Any) -> None:
    space = project.descriptors[0].space()
    put(space, "a")
    debris = ObjectInstance(space.ontology.object_class("debris"), "d")
    space.put_object_instance(debris, BOX)
    settings = project.settings()
    settings.ontology = Ontology(settings.ontology.objects[:1], settings.ontology.classifications)
    plan = project.edit(settings, dry_run=True)
    assert len(space) == 2
    assert [(str(loss.item), loss.records) for loss in plan.lost] == [("class 'debris'", 1)]
    project.edit(settings)
    assert [r.id for r in space] == [r.id for r in again()] == ["a"]
    project.restore_backup()
    assert {r.id for r in again()} == {"a", "d"}
    assert {r.id for r in project.descriptors[0].space()} == {"a", "d"}
    changed = project.settings()
    changed.ontology = Ontology([ObjectClass("nucleus", "point", id="nuc")])
    with pytest.raises(ParameterError, match="shape"):
        project.edit(changed)


@pytest.mark.parametrize("columns_from", [1, 10**6])
def test_answers_to_what_is_not_asked_any_more(
    project: Project, again: Any, columns_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attribute or option goes: records stay, their answers to it go, and come back with it."""
    monkeypatch.setattr("bioimage_py.spaces.document.COLUMNS_FROM", columns_from)
    asked = [Attribute("note", id="note"), Attribute("phase", "radio", ["G1", "M"], id="phase")]
    once = Attribute("stain?", "radio", ["H&E", "DAPI"], id="q")

    def of(attributes: list[Attribute], question: Attribute = once, several: bool = True) -> Any:
        settings = project.settings()
        settings.ontology = Ontology(
            [ObjectClass("nucleus", "bounding_box", (1, 2, 3), attributes, id="nuc")],
            [Classification("marker", question, id="marker", several=several)],
        )
        return settings

    project.edit(of(asked))
    space = project.descriptors[0].space()
    put(space, "a").instance.set_answer("n", "note")
    space.get("a").instance.set_answer("M", "phase")
    put(space, "b").instance.set_answer("G1", "phase")
    for id, answer in (("c", "DAPI"), ("d", "H&E")):
        marked = ClassificationInstance(space.ontology.classification("marker"), id)
        marked.set_answer(answer)
        space.put_classification_instance(marked, on_overlap="keep_both")
    project.save()
    fewer = [Attribute("phase", "radio", ["G1", "S"], id="phase")]
    plan = project.edit(of(fewer), dry_run=True)
    lost = {str(loss.item): loss.records for loss in plan.lost}
    assert lost == {"answers to 'nucleus/note'": 1, "answers to 'nucleus/phase'": 1}
    project.edit(of(fewer))
    for found in (project.descriptors[0].space(), again()):
        assert {r.id: r.answers.get("phase") for r in found.get_annotations("object")} == {"a": None, "b": "G1"}
        assert found.count("classification") == 2
    put(project.descriptors[0].space(), "e")
    project.save()
    assert {r.id for r in again()} == set("abcde")
    assert list(validate(places.local(project))) == []
    project.edit(of(asked))
    for changed, said in (
        (of(asked, several=False), "several"),
        (of([Attribute("note", id="note", dynamic=True)]), "dynamic"),
        (of([Attribute("note", "numeric", id="note")]), "kind"),
    ):
        with pytest.raises(ParameterError, match=said):
            project.edit(changed)
        assert {r.id for r in again()} == set("abcde")


def test_several_spaces(project: Project) -> None:
    raw = project.descriptors[0]
    second = raw.add_space("second")
    one = ObjectInstance(project.ontology.object_class("nucleus"), "o")
    raw.space("root").put_object_instance(one, BOX)
    second.put_object_instance(one, Box((1, 1), (2, 2)))
    one.set_answer("Hello!", "note")
    project.save()
    raw = Project.load(project.path).descriptors[0]
    assert raw.spaces.names == ["root", "second"]
    assert raw.space("root").get("o").answers == raw.space("second").get("o").answers == {"note": "Hello!"}
    assert raw.space("second").get("o").geometry == Box((1, 1), (2, 2))
    with pytest.raises(KeyNotFoundError, match="third"):
        raw.space("third")
    with pytest.raises(ParameterError, match="root"):
        raw.space()
    with pytest.raises(ParameterError, match="volume"):
        raw.space("root", kind="volume")
    with pytest.raises(ParameterError, match="new space"):
        raw.add_space("../x")


def test_an_id_that_is_free_again_has_no_answers_yet(project: Project) -> None:
    """One lies in another space still, one in none: also where the other space was not looked at yet."""
    raw, other = project.descriptors[0], project.descriptors[0].add_space("other")
    for id in ("a", "b", "c"):
        put(raw.space("root"), id).instance.set_answer("old", "note")
    put(other, "b")
    project.save()
    raw = Project.load(project.path).descriptors[0]
    space = raw.space("root")
    for id in ("a", "b", "c"):
        space.remove_object_instance(id)
    put(space, "a")
    put(space, "b")
    space.put_many("nucleus", np.array([[0.0, 0, 5, 5]]), ids=["c"])
    assert {id: dict(space.get(id).answers) for id in "abc"} == {"a": {}, "b": {"note": "old"}, "c": {}}
    assert raw.space("other").get("b").answers == {"note": "old"}
    raw.project.save()
    stored = Project.load(project.path).descriptors[0].space("root")
    assert {id: dict(stored.get(id).answers) for id in "abc"} == {"a": {}, "b": {"note": "old"}, "c": {}}
    space.undo(6)
    assert {id: dict(space.get(id).answers) for id in "abc"} == {id: {"note": "old"} for id in "abc"}
    space.redo(6)
    assert {id: dict(space.get(id).answers) for id in "abc"} == {"a": {}, "b": {"note": "old"}, "c": {}}


def test_an_id_of_two_data_sets_is_found(project: Project) -> None:
    first = project.descriptors[0]
    put(first.space(), "a")
    put(first.add_space("second"), "a")
    project.save()
    assert not [*validate(places.local(project))]
    project.add_descriptor(np.zeros((8, 8), "u1"), "copy")
    for id in ("b", "z"):
        put(project.descriptors["copy"].space(), id)
    project.save()
    (file,) = places.root(project).glob(f"annotations/{project.descriptors['copy'].identifier}/space.root/*.json")
    file.write_text(file.read_text().replace('"z"', '"a"'))  # by hand: no save does it
    (problem,) = validate(places.local(project))
    assert "1 ids of another data set, such as 'a' of " in problem.what


def test_a_project_of_the_schema_before(project: Project) -> None:
    for path in (places.root(project) / "project.json", *places.root(project).glob("descriptors/*.json")):
        document = json.loads(path.read_text())
        document.pop("ontology", None)
        path.write_text(json.dumps({**document, "schema": 1}))
    old = Project.load(project.path)
    assert old.ontology == Ontology()
    assert len(old.descriptors[0].space()) == 0


@pytest.mark.parametrize(("old", "new"), [("}]", "}"), ('"answers": {}', '"answers": {}, "answers": {}')])
def test_a_damaged_space(project: Project, again: Any, old: str, new: str) -> None:
    put(project.descriptors[0].space(), "a")
    project.save()
    text = json.dumps(json.loads(versions(project)[0].read_text()))
    assert old in text
    versions(project)[0].write_text(text.replace(old, new))
    with pytest.raises(FormatError, match="is no space"):
        again()
    assert any("space.root" in problem.where for problem in validate(places.local(project)))


@pytest.mark.parametrize("place", ["project-commit", "project-transaction", "project-place"])
def test_a_save_that_breaks_off_is_all_or_none(
    project: Project, again: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two spaces and a comment at once; the process dies at each step of the commit in turn."""
    raw = project.descriptors[0]
    other = project.add_descriptor(np.zeros((8, 8), "u1"), "other")
    project.save()
    put(raw.space(), "a")
    put(other.space(), "b")
    raw.comments = "seen"

    def die(name: str) -> None:
        if name == place:
            raise KeyboardInterrupt(name)

    monkeypatch.setattr("bioimage_py.projects.storage.folder.fault", die)
    with pytest.raises(KeyboardInterrupt):
        project.save()
    monkeypatch.undo()
    found = Project.load(project.path)
    state = [[r.id for r in d.space()] for d in found.descriptors], found.descriptors[0].comments
    assert state in (([[], []], ""), ([["a"], ["b"]], "seen"))
    assert (state[1] == "seen") == (place != "project-commit")
    assert list(validate(places.local(found))) == []
