"""Several writers of one space: what each says is what all others read, answers too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.errors import ConflictError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.spaces import Box, ClassificationInstance, ObjectInstance, to_document

from .conftest import make_ontology

BOX = Box((0, 0), (5, 5))


@pytest.fixture(params=["an object a line", "by column"])
def writers(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Project]:
    """Two, of one sequence of 8 frames."""
    monkeypatch.setattr("bioimage_py.spaces.document.COLUMNS_FROM", 2 if request.param == "by column" else 10**6)
    monkeypatch.setattr("bioimage_py.spaces.changes.isqrt", lambda count: 5)
    project = Project.create(ProjectSettings("p", ontology=make_ontology()), tmp_path / "p")
    with project:
        project.add_descriptor(np.zeros((8, 80, 100), "u1"), "raw", axes=("t", "y", "x"))
    return [Project.load(project.path) for _ in range(2)]


def space_of(project: Project) -> Any:
    return project.descriptors[0].space()


def test_answers_of_what_another_one_made(writers: list[Project]) -> None:
    mine, theirs = map(space_of, writers)
    assert len(mine) == 0
    made = ObjectInstance(theirs.ontology.object_class("nucleus"), "a", {"note": "hello"})
    theirs.put_object(made, range(3), BOX)
    theirs.set_dynamic_answer(made, 1, "late", "stage")
    theirs.save()
    writers[0].sync()
    assert mine.get("a", 1).answers == {"note": "hello", "stage": "late"}
    mine.put_object(ObjectInstance(mine.ontology.object_class("nucleus"), "b"), 0, BOX)
    mine.save()
    read = space_of(Project.load(writers[0].path))
    assert read.get("a", 1).answers == {"note": "hello", "stage": "late"}
    theirs.get("a").instance.set_answer("again", "note")
    theirs.save()  # merged: somebody else has saved meanwhile
    assert {record.id for record in theirs} == {"a", "b"}
    writers[0].sync()
    assert mine.get("a").answers["note"] == "again"


def test_answers_are_changed_by_their_methods_only() -> None:
    made = ObjectInstance(make_ontology().object_class("nucleus"), "a", {"note": "hello"})
    with pytest.raises(TypeError):
        made.answers["note"] = 3  # type: ignore[index]


@pytest.mark.parametrize("seed", range(3))
def test_random_writers(writers: list[Project], seed: int) -> None:
    rng = np.random.default_rng(seed)
    conflicts = 0

    def edit(space: Any) -> None:
        id, frame = str(rng.choice([*"abcdef"])), int(rng.integers(8))
        nucleus = space.ontology.object_class("nucleus")
        kind = int(rng.integers(8))
        if kind <= 1:
            box = Box((0, 0), (int(rng.integers(1, 99)), 5))
            space.put_object(ObjectInstance(nucleus, id), frame, box, on_overlap="replace")
        elif kind == 2:
            found = ClassificationInstance(space.ontology.classification("text"), id * 2)
            found.set_answer(id)
            space.put_classification(found, frame, on_overlap="replace")
        elif kind == 3:
            space.remove_object(id, frame)
        elif kind == 4 and len(space.history()):
            space.undo()
        elif id in space and kind <= 6:
            space.get(id).instance.set_answer(f"{id}{frame}", "note")
        elif id in space:
            stage = str(rng.choice(["early", "late"]))
            space.set_dynamic_answer(space.get(id).instance, frame, stage, "stage", missing="ignore")

    for _ in range(40):
        project = writers[int(rng.integers(2))]
        space = space_of(project)
        for _ in range(int(rng.integers(1, 4))):
            edit(space)
        if rng.random() < 0.8:
            try:
                space.save()
            except ConflictError:
                conflicts += 1
                project.revert()
            assert to_document(space_of(Project.load(project.path))) == to_document(space_of(project))
    for project in writers:
        project.revert()
        project.sync()
    first, second = (to_document(space_of(project)) for project in writers)
    assert first == second == to_document(space_of(Project.load(writers[0].path)))
    assert conflicts < 40
