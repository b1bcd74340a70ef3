"""An id stands for one thing of a project: who wants one that is taken is refused, whoever comes first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioimage_py.errors import BioimageError, ConflictError, FormatError
from bioimage_py.projects import Project, ProjectSettings
from bioimage_py.projects.jobs.validate import validate
from bioimage_py.spaces import Box, ObjectClass, ObjectInstance, Ontology, Space

from ..server.again import places

BOX = Box((0, 0), (5, 5))
ONTOLOGY = Ontology([ObjectClass("nucleus", "bounding_box", id="nuc"), ObjectClass("debris", "bounding_box", id="deb")])


def made(path: Path, count: int = 3) -> Project:
    project = Project.create(ProjectSettings("p", ontology=ONTOLOGY), path)
    with project:
        for number in range(count):
            project.add_descriptor(np.zeros((8, 8), "u1"), f"image {number}")
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return made(tmp_path / "p")


def space(project: Project, number: int) -> Any:
    return project.descriptors[f"image {number}"].space()


def put(project: Project, number: int, id: str, class_: str = "nucleus") -> None:
    space(project, number).put_object_instance(ObjectInstance(ONTOLOGY.object_class(class_), id), BOX)


def put_and_save(project: Project, number: int, *ids: str) -> None:
    """Put many, which a folder refuses at once, a server when it is saved."""
    space(project, number).put_many("nucleus", np.array([[0.0, 0, 5, 5]] * len(ids)), ids=list(ids))
    project.save()


def import_and_save(project: Project, importing: Callable[[Any], int], document: Any) -> None:
    importing(document)
    project.save()


def held(project: Project) -> dict[str, set[str]]:
    found = Project.load(project.path)
    return {one.name: {record.id for space in one.spaces for record in space} for one in found.descriptors}


def test_an_id_of_another_data_set_is_refused(project: Project) -> None:
    put(project, 0, "a")
    with pytest.raises(ConflictError, match="'a' belongs to something of the data set"):  # also of what is not saved
        put_and_save(project, 1, "a")
    project.revert()
    put(project, 0, "a")
    project.save()
    other = Project.load(project.path)
    for ids in ("a",), ("b", "a"):
        with pytest.raises(ConflictError, match="'a'") as error:
            put_and_save(other, 1, *ids)
        assert error.value.field == "spaces.root.a"
        other.revert()
    put(other, 0, "c")
    other.descriptors["image 0"].add_space("second").put_object_instance(
        ObjectInstance(ONTOLOGY.object_class("nucleus"), "a"), BOX
    )
    other.save()  # one thing in two spaces of one data set
    assert held(project) == {"image 0": {"a", "c"}, "image 1": set(), "image 2": set()}


def test_of_two_writers_at_once_one_gets_an_id(project: Project) -> None:
    writers, barrier, refused = [Project.load(project.path) for _ in range(3)], Barrier(3), list[ConflictError]()
    for number, writer in enumerate(writers):
        put(writer, number, "a")
        put(writer, number, f"own {number}")

    def save(writer: Project) -> None:
        barrier.wait()
        try:
            writer.save()
        except ConflictError as error:
            refused.append(error)

    threads = [Thread(target=save, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error.field for error in refused] == ["spaces.root.a"] * 2
    assert sum("a" in ids for ids in held(project).values()) == 1
    assert sum(len(ids) for ids in held(project).values()) == 2


def test_an_id_is_free_when_its_thing_is_gone_and_taken_when_it_comes_back(project: Project) -> None:
    put(project, 0, "a")
    put(project, 0, "b")
    project.save()
    with project:
        space(project, 0).remove_object_instance("a")
        put(project, 1, "a")
    assert held(project) == {"image 0": {"b"}, "image 1": {"a"}, "image 2": set()}
    space(project, 0).undo()
    with pytest.raises(ConflictError, match="'a'"):
        project.save()
    project.revert()
    project.delete_descriptors([project.descriptors["image 1"]])
    put(project, 0, "a")
    project.save()
    assert held(project) == {"image 0": {"a", "b"}, "image 2": set()}


def test_an_edit_that_is_undone_brings_no_id_twice(project: Project) -> None:
    put(project, 0, "a", "debris")
    project.save()
    new = project.settings()
    new.ontology = Ontology(ONTOLOGY.objects[:1])
    project.edit(new)
    put(project, 1, "a")
    project.save()
    with pytest.raises(ConflictError, match="'a'"):
        project.restore_backup()
    again = Project.load(project.path)
    space(again, 1).remove_object_instance("a")
    again.save()
    again.restore_backup()
    assert held(project)["image 0"] == {"a"}


def test_imports_with_ids_that_are_taken_put_nothing(project: Project) -> None:
    put(project, 0, "a")
    project.save()
    alone = Space.for_image((8, 8), ("y", "x"), ONTOLOGY)
    for id in ("b", "a"):
        alone.put_object_instance(ObjectInstance(ONTOLOGY.object_class("nucleus"), id), BOX)
    target = space(project, 1)
    for count, (name, document) in zip(
        (0, 2), (("coco", alone.to_coco().document), ("geojson", alone.to_geojson().document)), strict=True
    ):
        with pytest.raises((ConflictError, FormatError), match="'a'") as error:
            import_and_save(project, getattr(target, f"from_{name}"), document)
        assert project.is_remote or "new_ids=True" in str(error.value)
        project.revert()
        assert len(target) == count
        assert getattr(target, f"from_{name}")(document, new_ids=True) == 2
        project.save()
    assert len(held(project)["image 1"] | {"a", "b"}) == 6


@pytest.mark.parametrize("harm", ["missing", "cut", "mixed up"])
def test_a_project_whose_ids_are_not_kept(project: Project, harm: str) -> None:
    for id in ("a", "b", "c"):
        put(project, 0, id)
    project.save()
    folder = places.root(project) / ".ids"
    (file,) = folder.glob("*.ids")
    if harm == "missing":
        shutil.rmtree(folder)
    else:
        data = file.read_bytes()
        file.write_bytes(data[:-8] if harm == "cut" else data[16:24] + data[8:16] + data[:8] + data[24:])
    again = Project.load(project.path)
    put(again, 1, "d")
    again.save()
    with pytest.raises(ConflictError, match="'b'"):
        put_and_save(again, 1, "b")


def test_ids_that_were_twice_before_stop_nothing(project: Project) -> None:
    for number, id in enumerate(("a", "z")):
        put(project, number, id)
    project.save()
    root = places.root(project)
    (file,) = root.glob(f"annotations/{project.descriptors['image 1'].identifier}/space.root/*.json")
    file.write_text(file.read_text().replace('"z"', '"a"'))
    shutil.rmtree(root / ".ids")
    again = Project.load(project.path)
    for number in (0, 1):
        put(again, number, f"b {number}")
        again.save()
    with pytest.raises(ConflictError, match="'a'"):
        put_and_save(again, 2, "a")
    assert held(project) == {"image 0": {"a", "b 0"}, "image 1": {"a", "b 1"}, "image 2": set()}


@pytest.mark.parametrize("columns_from", [3, 10_000])
def test_whatever_is_saved_ids_stay_unique(
    columns_from: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bioimage_py.spaces.document.COLUMNS_FROM", columns_from)  # changes beside a whole document
    step = st.tuples(
        st.sampled_from(["put", "put", "put", "remove", "undo", "save"]), st.integers(0, 2), st.integers(0, 4)
    )

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, 1), step), min_size=10, max_size=24))
    def run(steps: list[Any]) -> None:
        project = made(tmp_path_factory.mktemp("ids") / "p")
        with project:
            for number in range(3):
                for other in range(17):
                    put(project, number, f"{number}-{other}")
        writers = [project, Project.load(project.path)]
        for who, (what, number, id) in steps:
            writer, name = writers[who], f"id {id}"
            try:
                if what == "put":
                    put(writer, number, name)
                elif what == "remove":
                    space(writer, number).remove_object_instance(name)
                elif what == "undo":
                    space(writer, number).undo()
                else:
                    space(writer, number).save()
            except BioimageError:
                if what == "save":
                    writer.revert()
        found = held(project)
        assert sum(map(len, found.values())) == len(set().union(*found.values()))
        assert [*validate(places.local(project))] == []
        fresh = Project.load(project.path)
        for id in range(5):  # what nobody has is free, in spite of what was
            if not any(f"id {id}" in ids for ids in found.values()):
                put(fresh, id % 3, f"id {id}")
        fresh.save()

    run()
