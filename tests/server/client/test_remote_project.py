"""`Project` on a server: the objects of a local project, over HTTP."""

from __future__ import annotations

import os

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import AccessError, ConflictError, KeyNotFoundError, LockError, ParameterError, ShapeError
from bioimage_py.projects import BoxSet, Project, Tag, TagKind
from bioimage_py.projects.remote.connection import TOKEN_VARIABLE, Connection
from bioimage_py.projects.remote.store import Store
from bioimage_py.projects.remote.tickets import variable
from bioimage_py.projects.storage.folder import new_stamp

from ..conftest import make_settings
from ..starting import Running

SHAPE = (70, 20, 20)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = Running(tmp_path_factory.mktemp("server") / "site", "--image-root", str(tmp_path_factory.getbasetemp()))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.zarr"
    bp.copy(np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE), f"{path}/raw")
    return bp.open_source(path, "raw")


@pytest.fixture
def project(running):
    return Project.create(make_settings(new_stamp()), running.url, "admin", running.password)


@pytest.fixture
def again(running, project):
    """Open the project as somebody else would."""
    return lambda: Project.load(running.url, project.id, "admin", running.password)


def test_a_project_is_made_and_opened_by_id_name_and_url(running, project, again):
    assert (project.is_remote, project.is_local) == (True, False)
    assert project.path == f"{running.url}/projects/{project.id}"
    for found in (again(), Project.load(running.url, project.name, "admin", running.password)):
        assert (found.id, found.name, found.path) == (project.id, project.name, project.path)
    assert Project.load(project.path, username="admin", password=running.password).id == project.id
    assert running.password not in f"{vars(project)} {vars(project._session.remote.connection)} {project!r}"


def test_what_is_refused(running, project, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(ConflictError, match="already"):
        Project.create(make_settings(project.name), running.url, "admin", running.password)
    with pytest.raises(ParameterError, match="base URL"):
        Project.create(make_settings(), f"{running.url}/projects/1", "admin", running.password)
    with pytest.raises(KeyNotFoundError, match="nothing"):
        Project.load(running.url, "nothing", "admin", running.password)
    with pytest.raises(AccessError, match="user"):
        Project.load(project.path)
    with pytest.raises(AccessError):
        Project.load(project.path, username="admin", password="wrong password")


def test_data_sets_tags_and_comments_are_seen_by_others(project, again, image):
    other = again()
    added = project.add_descriptor(image, "first")
    added.tags["Reviewed"].value = True
    assert other.sync() == 0
    project.save()
    assert other.sync() == 1
    found = other.descriptors["first"]
    assert found.identifier == added.identifier
    assert found.tags["Reviewed"].value is True
    assert found.shape == SHAPE
    assert [event.user for event in other.events(0)] == ["admin"]
    assert project.sync() == 1
    assert project.sync() == 0
    found.comments = "seen"
    other.save()
    assert project.sync() == 1
    assert added.comments == "seen"
    np.testing.assert_array_equal(np.array(found.load_image(False)), np.array(image))
    assert other.descriptors.filter(tags={"Reviewed": True}).names == ["first"]
    other.delete_descriptors([found])
    other.save()
    assert project.sync() == 1
    assert len(project.descriptors) == 0


def test_two_who_change_one_field(project, again, image):
    mine = project.add_descriptor(image, "first")
    project.save()
    other = again()
    theirs = other.descriptors[0]
    mine.comments, theirs.comments = "mine", "theirs"
    theirs.tags["Reviewed"].value = True
    project.save()
    with pytest.raises(ConflictError, match="mine") as error:
        other.save()
    assert error.value.field == f"descriptors.{mine.identifier}.comments"
    other.revert()
    theirs.tags["Reviewed"].value = True
    other.save()
    project.sync()
    assert (mine.comments, mine.tags["Reviewed"].value) == ("mine", True)


def test_label_maps_and_boxes(project, again, image):
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9] = 1
    with project:
        added = project.add_descriptor(image, "first")
        assert added.labelmap_layers["cells"].save_new_data(labels)
        boxes = BoxSet.from_descriptor(added, "boxes")
        boxes.add("cell", 0, (1, 2, 3), (4, 5, 6))
        assert added.boundingbox_layers["boxes"].save_new_data(boxes)
        assert len(again().descriptors) == 0
    assert project.sync() == 1
    found = again().descriptors[0]
    layer = found.labelmap_layers["cells"]
    assert layer.has_data()
    np.testing.assert_array_equal(np.array(layer.load()), labels)
    np.testing.assert_equal(found.boundingbox_layers["boxes"].load().asdict(), boxes.asdict())
    assert (layer.path(), layer.folder, layer.thumbnail_path()) == ("", "", "")
    assert not layer.save_new_data(labels)
    assert not found.boundingbox_layers["boxes"].save_new_data(boxes)
    assert layer.save_new_data(labels + 1)
    with pytest.raises(ConflictError):
        added.labelmap_layers["cells"].save_new_data(labels + 1)
    added.sync()
    np.testing.assert_array_equal(np.array(added.labelmap_layers["cells"].load()), labels + 1)
    with pytest.raises(ShapeError):
        layer.save_new_data(labels[1:])
    token = os.environ[variable(project._session.remote.connection, project.id)]
    assert token.startswith("bip_")
    assert token not in layer.load().to_spec().to_json()
    worker = Connection(project._session.remote.connection.url, token=token)
    with pytest.raises(AccessError):
        Store(worker, project.id).lock(found.identifier)
    assert [one["id"] for one in worker.get("/projects")] == [project.id]


def test_a_transaction_that_fails_leaves_nothing(project, again, image):
    class Stop(Exception):
        pass

    def fail():
        with project:
            added = project.add_descriptor(image, "first")
            added.labelmap_layers["cells"].save_new_data(np.ones(SHAPE, np.uint8))
            raise Stop

    with pytest.raises(Stop):
        fail()
    assert len(project.descriptors) == 0
    assert (again().events(0), len(again().descriptors)) == ([], 0)


def test_locks(project, again, image):
    added = project.add_descriptor(image, "first")
    project.save()
    other = again().descriptors[0]
    with added.lock(60) as token:
        assert token.is_valid
        assert other.is_locked
        with pytest.raises(LockError, match="admin"):
            other.labelmap_layers["cells"].save_new_data(np.ones(SHAPE, np.uint8))
        with pytest.raises(LockError, match="admin"):
            other.lock()
        assert added.labelmap_layers["cells"].save_new_data(np.ones(SHAPE, np.uint8), token)
        token.renew()
    assert not other.is_locked
    for seconds in (0, -1, 1e6, float("nan")):
        with pytest.raises(ParameterError, match="3600"):
            added.lock(seconds)


def test_settings_are_edited_in_place(project, again, image):
    project.add_descriptor(image, "first").labelmap_layers["cells"].save_new_data(np.ones(SHAPE, np.uint8))
    other, changed = again(), project.settings()
    changed.add_tag(Tag("Usable", TagKind.Bool, (1, 2, 3)))
    changed.layers["cells"].name = "nuclei"
    assert "Usable" in str(project.edit(changed, dry_run=True))
    project.edit(changed)
    assert other.sync() == 1
    assert other.tags.names == ["Reviewed", "Usable"]
    np.testing.assert_array_equal(np.array(other.descriptors[0].labelmap_layers["nuclei"].load()), 1)


def test_what_a_process_in_the_folder_has_saved_comes_back(running, project, again, image):
    """Its versions were never sealed by the server."""
    project.add_descriptor(image, "first")
    project.save()
    inside = Project.load(running.root / "projects" / project.id)
    inside.descriptors[0].labelmap_layers["cells"].save_new_data(np.ones(SHAPE, np.uint8))
    project.sync()
    changed = project.settings()
    changed.layers["cells"].labels = [label for label in changed.layers["cells"].labels if label.name != "one"]
    project.edit(changed)
    np.testing.assert_array_equal(np.array(again().descriptors[0].labelmap_layers["cells"].load()), 0)
    again().restore_backup()
    inside.sync()
    np.testing.assert_array_equal(np.array(inside.descriptors[0].labelmap_layers["cells"].load()), 1)


def test_thumbnails_are_made_on_the_server(project, image, tmp_path):
    added = project.add_descriptor(image, "first")
    project.save()
    local = Project.create(make_settings(), tmp_path / "local").add_descriptor(image, "first")
    for _ in range(2):
        np.testing.assert_array_equal(added.load_thumbnail(), local.load_thumbnail())
