"""Versions of large spaces that only tell what changed: read exactly, kept as long as they are named, small."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import FormatError, SourceNotFoundError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.jobs.validate import validate
from bioimage_py.spaces import Box, ClassificationInstance, ObjectInstance, Ontology, to_document
from bioimage_py.spaces.changes import Moment

from .conftest import make_ontology

Reread = Callable[[], Any]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """What has 4 objects is stored by column; 8 frames."""
    monkeypatch.setattr("bioimage_py.spaces.document.COLUMNS_FROM", 4)
    monkeypatch.setattr("bioimage_py.spaces.changes.isqrt", lambda count: 5)
    project = Project.create(ProjectSettings("p", ontology=make_ontology()), tmp_path / "p")
    project.add_descriptor(np.zeros((8, 80, 100), "u1"), "raw", axes=("t", "y", "x"))
    space = project.descriptors[0].space()
    space.put_many("nucleus", np.tile([0.0, 0, 5, 5], (7, 1)), frames=[0, 1, 2, 3, 4, 5, 7], ids=list("abcdefb"))
    space.put_classification_instance(text(space, "one", "t"), range(3))
    space.get("a").instance.set_answer("n", "note")
    project.save()
    return project


@pytest.fixture
def reread(project: Project) -> Reread:
    return lambda: Project.load(project.path).descriptors[0].space()


def text(space: Any, answer: str, id: str) -> ClassificationInstance:
    found = ClassificationInstance(space.ontology.classification("text"), id)
    found.set_answer(answer)
    return found


def files(project: Project) -> dict[str, int | None]:
    """Files of the space, with the schema of those that are versions."""
    paths = sorted(Path(project.path).glob("annotations/*/space.root/*"), key=lambda path: path.name)
    return {p.name: json.loads(p.read_text())["schema"] if p.suffix == ".json" else None for p in paths}


def test_any_history_is_read_exactly(project: Project, reread: Reread) -> None:
    """Random edits, each saved: all versions say for ever what was saved, whatever was undone in between."""
    raw, rng, known = project.descriptors[0], np.random.default_rng(0), {}
    space = raw.space()
    nucleus = space.ontology.object_class("nucleus")
    edits: list[Callable[[str, int], Any]] = [
        lambda id, frame: space.put_object_instance(ObjectInstance(nucleus, id), frame, box(), on_overlap="replace"),
        lambda id, frame: space.remove_object_instance(id, frame),
        lambda id, frame: space.remove_object_instance(id),
        lambda id, frame: space.put_classification_instance(text(space, id, id * 2), frame, on_overlap="replace"),
        lambda id, frame: id in space and space.get(id).instance.set_answer(id * frame, "note"),
        lambda id, frame: id in space and stage(space.get(id).instance, frame),
        lambda id, frame: len(space.history()) > 1 and space.undo(),
        lambda id, frame: space._steps.n_undone and space.redo(),
        lambda id, frame: project.revert(),
    ]

    def box() -> Box:
        return Box((0, 0), (int(rng.integers(1, 99)), 5))

    def stage(instance: ObjectInstance, frame: int) -> None:
        space.set_dynamic_answer(instance, frame, str(rng.choice(["early", "late"])), "stage", missing="ignore")

    for turn in range(60):
        for _ in range(rng.integers(1, 3)):
            edits[rng.choice(len(edits), p=[0.3, 0.05, 0.05, 0.15, 0.15, 0.15, 0.08, 0.05, 0.02])](
                str(rng.choice([*"abcdefghij"])), int(rng.integers(8))
            )
        before, saved = len(files(project)), space.save()
        assert saved == (len(files(project)) > before)
        known[raw.space_versions["root"]] = to_document(space)
        if turn % 10 == 9:
            space = raw.space()
            assert to_document(reread()) == to_document(space)
    schemas = [*files(project).values()]
    assert schemas.count(3) > 20
    assert schemas.count(2) > 2
    for version, document in known.items():
        assert to_document(raw.read_space("root", version)) == document
    assert list(validate(project)) == []


def test_what_a_version_stands_on_stays(project: Project, reread: Reread) -> None:
    space = project.descriptors[0].space()
    for width in (7, 8):
        space.update("b", 1, geometry=Box((0, 0), (width, 7)))
        assert space.save() is True
        assert space.save() is False
    found = files(project)
    assert [*found.values()] == [2, None, 3, None, 3]
    folder = next(Path(project.path).glob("annotations/*/space.root"))
    first, *_, base, last = (folder / name for name in found)
    assert os.path.samefile(first, base)
    assert last.stat().st_size < 700
    project.prune(older_than=-10)
    assert [*files(project)] == [base.name, last.name]
    again = reread()
    assert to_document(again) == to_document(space)
    again.update("c", confidence=0.5)
    again.save()
    assert [*files(project).values()][-2:] == [None, 3]
    project.sync()
    assert to_document(space) == to_document(again)
    base = folder / [*files(project)][-2]
    base.unlink()
    with pytest.raises(SourceNotFoundError, match=r"\.base"):
        reread()


def test_without_links_all_is_written(project: Project, reread: Reread, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Any) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr("os.link", refuse)
    space = project.descriptors[0].space()
    space.update("b", confidence=0.5)
    space.save()
    assert [*files(project).values()] == [2, 2]
    assert to_document(reread()) == to_document(space)


@pytest.mark.parametrize("place", ["space-base", "project-commit"])
def test_a_save_that_breaks_off(project: Project, reread: Reread, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, found = to_document(reread()), files(project)
    space = project.descriptors[0].space()
    space.update("b", confidence=0.5)

    def die(name: str) -> None:
        if name == place:
            raise KeyboardInterrupt(name)

    module = "spaces" if place == "space-base" else "storage.folder"
    monkeypatch.setattr(f"bioimage_py.projects.{module}.fault", die)
    with pytest.raises(KeyboardInterrupt):
        space.save()
    assert to_document(reread()) == before
    assert files(project) == found
    monkeypatch.undo()
    space.save()
    assert to_document(reread()) == to_document(space)


def test_what_is_being_saved_is_not_pruned(project: Project, reread: Reread, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole document is old, its new name is not."""
    for place in ("annotations/*/space.root/*", "descriptors/*.json"):
        for path in Path(project.path).glob(place):
            os.utime(path, (10**9, 10**9))
    pruned: list[int] = []

    def prune(name: str) -> None:
        if name == "space-base":
            pruned.append(Project.load(project.path).prune(older_than=3600))

    monkeypatch.setattr("bioimage_py.projects.spaces.fault", prune)
    space = project.descriptors[0].space()
    space.update("b", 1, confidence=0.5)
    space.save()
    assert pruned
    assert to_document(reread()) == to_document(space)


def test_a_class_goes_and_comes_back(project: Project, reread: Reread) -> None:
    space, whole = project.descriptors[0].space(), project.settings()
    space.put_object_instance(ObjectInstance(space.ontology.object_class("polyline"), "z"), 0, line())
    space.update("b", confidence=0.5)
    space.save()
    before = to_document(space)
    assert [*files(project).values()][-1] == 3
    document = Path(project.path) / "project.json"
    settings = json.loads(document.read_text())
    for id in ("id-polyline", "nuc"):  # by hand: no edit took the records along
        kept = {name: value for name, value in settings["ontology"]["objects"].items() if name != id}
        document.write_text(json.dumps({**settings, "ontology": {**settings["ontology"], "objects": kept}}))
        left = reread()
        assert {record.id for record in left} == ({*"abcdef", "t"} if id != "nuc" else {"z", "t"})
        assert "b" not in left or left.get("b").confidence == 0.5
    document.write_text(json.dumps(settings))
    assert to_document(reread()) == before
    changed = project.settings()
    changed.ontology = Ontology([item for item in whole.ontology.objects if item.id != "id-polyline"],
                                whole.ontology.classifications)  # fmt: skip
    project.edit(changed)
    assert "z" not in reread()
    project.restore_backup()
    assert {record.id for record in reread()} == {*"abcdef", "t", "z"}


def line() -> Any:
    from bioimage_py.spaces import Polyline

    return Polyline([(0, 0), (1, 1)])


DAMAGED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda d: d.update(more=1), "the document"),
    (lambda d: d.pop("records"), "the document"),
    (lambda d: d.update(records=99), "records.*99.*there are 11"),
    (lambda d: d.update(removed=[]), "removed"),
    (lambda d: d["removed"].update(objects=[["nobody", 0]]), r"removed.objects\[0\].*nobody"),
    (lambda d: d["removed"].update(objects=["a"]), r"removed.objects\[0\]"),
    (lambda d: d["removed"].update(objects={}), "removed.objects"),
    (lambda d: d.update(objects={}), "objects"),
    (lambda d: d.update(answers={"nobody": {}}), "answers.nobody"),
    (lambda d: d["objects"][0].update(confidence=2), r"objects\[0\].confidence"),
    (lambda d: d["objects"][0].update({"class": "old"}), r"objects\[0\].id"),
    (lambda d: d["objects"][0].update(id="t"), r"objects\[0\].id"),
    (lambda d: d["classifications"].append({**d["classifications"][0], "id": "u"}), "answered twice"),
    (lambda d: d["classifications"][0].update(frame=1), "answered twice"),
]


def test_damaged(project: Project, reread: Reread) -> None:
    space = project.descriptors[0].space()
    space.update("b", 1, confidence=0.5)
    space.put_classification_instance(text(space, "other", "s"), 5)
    space.save()
    path = sorted(Path(project.path).glob("annotations/*/space.root/*.json"))[-1]
    good = path.read_text()
    reread()
    for damage, says in DAMAGED:
        document = json.loads(good)
        damage(document)
        path.write_text(json.dumps(document))
        with pytest.raises(FormatError, match=says):
            reread()


def test_what_comes_back_between_others_is_written_whole(frames: Any) -> None:
    frames.put_many("nucleus", np.tile([0.0, 0, 5, 5], (30, 1)), ids=[str(i) for i in range(30)])
    frames.remove_object_instance("7")
    moment = Moment(frames)
    frames.undo()
    assert moment.changes(Moment(frames)) is None
    frames.redo()
    assert moment.is_like(Moment(frames))
    for id in "123":
        frames.update(id, confidence=0.5)
    assert moment.changes(Moment(frames)) is None  # 3 that went and 3 that came are more than the root of 29
