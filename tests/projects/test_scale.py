"""Listing and filtering open no file of a descriptor."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.projects import Project

N = 300
_opened: list[str] | None = None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event == "open" and "/descriptors/" in str(arguments[0]):
        _opened.append(str(arguments[0]))


sys.addaudithook(_audit)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Collect the descriptor files that this process opens, whoever does it."""
    global _opened
    _opened = found = []
    try:
        yield found
    finally:
        _opened = None


@pytest.fixture
def many(project):
    project.grouping_hierarchy = ["Patient"]
    image = np.zeros((4, 4), np.uint8)
    first = project.add_descriptor(image, "image 0", grouping=["p0"])
    record = first._record
    for n in range(1, N):
        twin = record.model_copy(deep=True)
        twin.identifier, twin.name = f"{record.identifier}{n:06}", f"image {n}"
        twin.grouping = [type(twin.grouping[0])(f"p{n % 3}")]
        twin.tags = {project.tags["Reviewed"].id: n % 2 == 0}
        project._session.add(twin)
    project.save()
    return project


def test_listing_opens_nothing(many):
    with opened_files() as opened:
        seen = Project.load(many.path)
        assert len(seen.descriptors) == N + 1
        assert len(seen.descriptors.names) == N + 1
        assert len(seen.descriptors.filter(tags={"Reviewed": True}, group="p1")) == 50
        assert len(seen.descriptors.filter(annotated=True)) == 0
        names = [found.name for found in seen.descriptors]
    assert opened == []
    assert seen._session.folder.opened == 0
    assert names[1:] == [f"image {n}" for n in range(N)]


def test_one_descriptor_opens_one_file(many):
    identifier = many.descriptors[-1].identifier
    with opened_files() as opened:
        found = Project.load(many.path).descriptors[identifier]
        assert found.comments == ""
        assert found.width == 4
    assert [Path(path).stem for path in opened] == [identifier]


def test_what_changed_since_the_index_is_read_again(many):
    other = Project.load(many.path)
    other.descriptors[5].name = "changed"
    other.save()
    with opened_files() as opened:
        assert Project.load(many.path).descriptors.names[5] == "changed"
    assert len(opened) == 1


@pytest.mark.parametrize("text", [None, "", "[1, 2]", '{"a": 3}', "{"])
@pytest.mark.slow
def test_the_index_may_be_lost(many, text):
    index = Path(many.path, "index.json")
    index.unlink()
    if text is not None:
        index.write_text(text)
    assert len(Project.load(many.path).descriptors.filter(group="p1")) == 100
    assert set(json.loads(index.read_text())) == set(many.descriptors.identifiers)


@pytest.mark.slow
def test_a_copied_project_lists_itself_again(many, tmp_path):
    import shutil

    shutil.copytree(many.path, tmp_path / "copy")
    assert len(Project.load(tmp_path / "copy").descriptors.filter(group="p1")) == 100


@pytest.mark.slow
def test_memory_is_bounded(many, monkeypatch):
    monkeypatch.setattr("bioimage_py.projects.storage.session._KEPT", 10)
    seen = Project.load(many.path)
    seen._session._limit = 20
    seen.descriptors[0].comments = "kept"
    assert sum(found.width for found in seen.descriptors) > N
    assert len(seen._session.memory.states) <= 22
    assert len(many._session.memory.states) > N
    seen.save()
    assert len(seen._session.memory.states) <= 10
    assert Project.load(many.path).descriptors[0].comments == "kept"
