"""Copies of images, spaces, and whole projects, on their way to a server and home again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.errors import AccessError, ConflictError, KeyNotFoundError, ParameterError, StorageError
from bioimage_py.projects import BoxSet, Project, TagKind
from bioimage_py.projects.remote.connection import Connection
from bioimage_py.projects.remote.whole import sending, taking
from bioimage_py.projects.storage.contents import files_of
from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.sources import from_spec
from bioimage_py.spaces import Box, ObjectClass, ObjectInstance, Ontology, to_document
from bioimage_py.spaces.values.audit import this_user

from ..conftest import make_settings
from ..starting import Running

SHAPE = (70, 20, 20)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = Running(tmp_path_factory.mktemp("server") / "site")
    yield found
    found.stop()


def settings_of(name=""):
    found = make_settings(name or new_stamp())
    found.ontology = Ontology([ObjectClass("cell", "bounding_box")])
    return found


@pytest.fixture
def project(running):
    return Project.create(settings_of(), running.url, "admin", running.password)


@pytest.fixture
def again(running, project):
    return lambda: Project.load(running.url, project.id, "admin", running.password)


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(0, 1000, SHAPE, dtype=np.uint16)


def contents(root):
    return {name: (Path(root) / name).read_bytes() for name in files_of(Path(root))}


def test_a_copy_of_an_image_is_read_by_all_and_by_workers(running, project, again, voxels):
    added = project.add_descriptor(voxels, "in memory")
    assert added.own_copy
    np.testing.assert_array_equal(np.array(added.load_image()), voxels)
    assert added.has_data
    project.save()
    found = again().descriptors["in memory"].load_image()
    np.testing.assert_array_equal(np.array(found), voxels)
    np.testing.assert_array_equal(np.array(from_spec(found.to_spec())), voxels)
    local = Project.load(running.root / "projects" / project.id).descriptors[0]
    np.testing.assert_array_equal(np.array(local.load_image()), voxels)
    np.testing.assert_array_equal(added.load_thumbnail(), local.load_thumbnail())


def test_an_upload_that_was_cut_off_goes_on(project, again, voxels, monkeypatch):
    monkeypatch.setattr(sending, "_PIECE", 20_000)
    plain, pieces = Connection.send_bytes, []

    def cut(self, method, path, data, **more):
        if method == "PATCH" and len(pieces) in (1, 3):
            pieces.append(0)
            if len(pieces) == 2:
                raise StorageError("cut")
            plain(self, method, path, data, **more)  # it has arrived, and is sent again
        pieces.append(len(data))
        return plain(self, method, path, data, **more)

    monkeypatch.setattr(Connection, "send_bytes", cut)
    store, folder = project._session.remote, Path(again().path)
    del folder
    with pytest.raises(StorageError, match="cut"):
        project.add_descriptor(voxels, "first")
    added = project.add_descriptor(voxels, "second")
    project.save()
    np.testing.assert_array_equal(np.array(again().descriptors["second"].load_image()), voxels)
    assert store.last() == 1
    assert added.identifier in again().descriptors.identifiers


def test_the_same_archive_goes_on_where_the_server_is(running, project, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_PIECE", 700)
    root = tmp_path / "local"
    local = Project.create(settings_of(), root)
    local.add_descriptor(np.zeros((4, 5), np.uint8), "a")
    local.save()
    plain, offsets = Connection.send_bytes, []

    def cut(self, method, path, data, headers=None, **more):
        offsets.append(int(headers["Upload-Offset"]))
        if len(offsets) == 3:
            raise StorageError("cut")
        return plain(self, method, path, data, headers=headers, **more)

    monkeypatch.setattr(Connection, "send_bytes", cut)
    with pytest.raises(StorageError, match="cut"):
        Project.upload(root, running.url, "admin", running.password)
    sent = Project.upload(root, running.url, "admin", running.password)
    assert offsets[:4] == [0, 700, 1400, 1400]
    assert (sent.id, sent.descriptors.names) == (local.id, ["a"])


def full(root, voxels):
    """A project with everything in it."""
    local = Project.create(settings_of(), root)
    local.add_tag("Quality", TagKind.Float)
    added = local.add_descriptor(voxels, "first")
    added.tags["Quality"].value = 0.5
    added.labelmap_layers["cells"].save_new_data(np.ones(SHAPE, np.uint8))
    boxes = BoxSet.from_descriptor(added, "boxes")
    boxes.add("cell", 0, (1, 2, 3), (4, 5, 6))
    added.boundingbox_layers["boxes"].save_new_data(boxes)
    space = added.space(kind="volume")
    space.put_object(ObjectInstance(local.ontology.objects[0], "one"), Box((0, 0, 0), (5, 5, 5)))
    space.put_many("cell", np.tile([0.0, 0, 0, 5, 5, 5], (30, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bioimage_py.spaces.document.COLUMNS_FROM", 30)
        space.save()
        space.update("one", confidence=0.5)
        space.save()  # a version that tells changes
    changed = local.settings()
    changed.layers["cells"].labels = [label for label in changed.layers["cells"].labels if label.name == "two"]
    local.edit(changed)
    local.add_descriptor(np.zeros((4, 5), np.uint8), "second")
    local.save()
    return local


def test_a_project_goes_to_a_server_and_comes_home_as_it_was(running, tmp_path, voxels):
    local = full(tmp_path / "local", voxels)
    sent = Project.upload(local, running.url, "admin", running.password)
    assert sent.is_remote
    assert (sent.id, sent.descriptors.identifiers) == (local.id, local.descriptors.identifiers)
    before = contents(local.path)
    assert contents(running.root / "projects" / sent.id) == before
    assert to_document(sent.descriptors[0].space()) == to_document(local.descriptors[0].space())
    assert sent.descriptors[0].space().get("one").confidence == 0.5
    assert Project.upload(local.path, running.url, "admin", running.password).id == local.id
    (Path(local.path) / "README.md").write_text("another one of the same id")
    with pytest.raises(ConflictError, match="already"):
        Project.upload(local.path, running.url, "admin", running.password)
    home = sent.download(tmp_path / "home")
    assert home.is_local
    assert contents(home.path) == before
    assert {path.name for path in Path(home.path).iterdir()} == {path.split("/")[0] for path in before}
    home.restore_backup()
    np.testing.assert_array_equal(np.array(home.descriptors[0].labelmap_layers["cells"].load()), 1)
    with pytest.raises(ParameterError, match="not empty"):
        sent.download(tmp_path / "home")


def test_a_project_that_lies_there_and_is_not_served_is_told(running, tmp_path, voxels):
    """It was taken off, or a process was killed before it was there for anybody."""
    local = full(tmp_path / "local", voxels)
    Project.upload(local, running.url, "admin", running.password)
    command = [sys.executable, "-m", "bioimage_py", "server", "project", "remove", str(running.root), local.id]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConflictError, match="is not served") as error:
        Project.upload(local, running.url, "admin", running.password)
    assert "server project add" in error.value.remedy


def test_a_download_that_was_cut_off_goes_on_with_what_changed(running, tmp_path, voxels, monkeypatch):
    local = full(tmp_path / "local", voxels)
    sent = Project.upload(local, running.url, "admin", running.password)
    plain, got = Connection.get_bytes, []

    def cut(self, path):
        got.append(path)
        if len(got) == 5:
            raise StorageError("cut")
        return plain(self, path)

    monkeypatch.setattr(taking, "_batches", lambda names: ([name] for name in names))
    monkeypatch.setattr(Connection, "get_bytes", cut)
    with pytest.raises(StorageError, match="cut"):
        sent.download(tmp_path / "home")
    sent.descriptors[0].comments = "meanwhile"
    sent.delete_descriptors([sent.descriptors[1]])
    sent.save()
    home = sent.download(tmp_path / "home")
    assert home.descriptors[0].comments == "meanwhile"
    assert len(home.descriptors) == 1
    assert contents(home.path) == contents(running.root / "projects" / sent.id)
    assert len(set(got)) > len(got) - 5  # what was there already is not fetched again


def test_who_may_not_take_a_project_home(running, project, tmp_path):
    admin = running.client()
    admin.post("/users", json={"username": f"u{project.id}", "password": "correct horse battery"})
    project.add_member(f"u{project.id}", "annotator")
    theirs = Project.load(running.url, project.id, f"u{project.id}", "correct horse battery")
    with pytest.raises(AccessError, match="maintainer"):
        theirs.download(tmp_path / "home")
    with pytest.raises(ParameterError, match="folder"):
        Project.create(settings_of(), tmp_path / "local").download(tmp_path / "home")


def test_a_project_that_is_not_as_it_should_be_is_not_taken(running, tmp_path, voxels):
    def wrong(change):
        root = tmp_path / new_stamp()
        shutil.copytree(local.path, root)
        change(root)
        with pytest.raises(ParameterError):
            Project.upload(root, running.url, "admin", running.password)

    local = full(tmp_path / "local", voxels)
    label_map = os.path.relpath(next(Path(local.path).glob("annotations/*/*/*.zarr/0/c/0/0/0")), local.path)
    first = f"descriptors/{local.descriptors[0].identifier}.json"
    wrong(lambda root: (root / first).write_text("{"))
    wrong(lambda root: (root / first).write_text((root / first).read_text().replace("images/", "../images/")))
    wrong(lambda root: next(root.glob("images/*/0/c/0/0/0")).write_bytes(b"x"))
    wrong(lambda root: max(root.glob("annotations/*/space.root/*.json")).write_text("[]"))
    wrong(lambda root: next(root.glob("annotations/*/space.root/*.base")).unlink())
    wrong(lambda root: next(root.glob("annotations/*/*/*.csv")).write_text("x"))
    for layer in Path(local.path).glob("annotations/*/*/*.zarr"):
        if local.descriptors[0].labelmap_layers["cells"].version == layer.stem:
            wrong(lambda root, layer=layer: shutil.rmtree(root / os.path.relpath(layer, local.path)))
    assert label_map
    assert not list((running.root / "projects").glob(".new-*"))


def test_spaces_of_two_are_merged_and_one_record_of_two_is_a_conflict(project, again, voxels):
    added = project.add_descriptor(voxels, "first")
    project.save()
    other = again()
    cell = project.ontology.objects[0]
    mine, theirs = added.space(kind="volume"), other.descriptors[0].space(kind="volume")
    first = ObjectInstance(cell)
    mine.put_object(first, Box((0, 0, 0), (5, 5, 5)))
    assert mine.get(first.id).created_by == project.user == project._session.remote.connection.user != this_user()
    theirs.put_object(ObjectInstance(other.ontology.objects[0]), Box((1, 1, 1), (5, 5, 5)))
    assert mine.save()
    assert theirs.save()
    assert not theirs.save()
    project.sync()
    assert len(added.space()) == len(theirs) == 2
    assert set(added.space_versions) == {"root"}
    assert len(added.read_space("root", added.space_versions["root"])) == 2
    mine.update(first.id, geometry=Box((0, 0, 0), (6, 6, 6)))
    theirs.update(first.id, geometry=Box((0, 0, 0), (7, 7, 7)))
    mine.save()
    with pytest.raises(ConflictError) as error:
        theirs.save()
    assert error.value.field.startswith(f"spaces.root.objects.{first.id}.geometry")
    other.revert()
    other.sync()
    with other:
        theirs.put_object(ObjectInstance(other.ontology.objects[0]), Box((2, 2, 2), (3, 3, 3)))
        other.descriptors[0].comments = "with it"
        assert len(again().descriptors[0].space()) == 2
    assert len(again().descriptors[0].space()) == 3


def test_of_a_large_space_only_changes_are_sent(running, project, again, voxels, monkeypatch):
    monkeypatch.setattr("bioimage_py.spaces.document.COLUMNS_FROM", 50)
    added = project.add_descriptor(voxels, "first")
    project.save()
    store, space, sizes = project._session.remote, added.space(kind="volume"), []
    send = type(store.connection).send_bytes

    def counted(self, method, path, data, **how):
        sizes.append(len(data))
        return send(self, method, path, data, **how)

    monkeypatch.setattr(type(store.connection), "send_bytes", counted)
    space.put_many("cell", np.tile([0.0, 0, 0, 5, 5, 5], (2000, 1)), ids=[f"n{i}" for i in range(2000)])
    assert space.save()
    for confidence in (0.5, 0.25):
        space.update("n7", confidence=confidence)
        with project:
            space.update("n8", confidence=confidence)
        assert to_document(again().descriptors[0].space()) == to_document(space)
    whole, *others = sizes
    assert len(others) == 2
    assert max(others) * 20 < whole
    project.sync()
    files = running.root / "projects" / project.id / "annotations" / added.identifier / "space.root"
    assert len({path.stat().st_ino for path in files.glob("*.base")} | {min(files.glob("*.json")).stat().st_ino}) == 1
    for path in files.glob("*.base"):  # what the changes stand on has gone: all of it is sent
        path.unlink()
    next(path for path in files.iterdir() if path.stat().st_size == whole).unlink()
    space.update("n9", confidence=0.1)
    assert space.save()
    assert len(sizes) == 5
    assert sizes[-1] > max(others)
    assert to_document(again().descriptors[0].space()) == to_document(space)


def test_what_is_no_space_is_refused(project, again, voxels):
    added = project.add_descriptor(voxels, "first")
    project.save()
    store = project._session.remote
    for data in (b"", b"[]", b"{}", b"[" * 100_000, b'{"objects": 1}', b"\xff"):
        with pytest.raises(ParameterError):
            store.put_space(added.identifier, "root", data)
    added.space(kind="volume").put_object(ObjectInstance(project.ontology.objects[0], "one"), Box((0, 0, 0), (5, 5, 5)))
    project.save()
    base = added.space_versions["root"]
    changes = {"schema": 3, "records": 0, "removed": {"objects": [["one", 0]], "classifications": []}}
    changes |= {"objects": [], "classifications": [], "answers": {}}
    for wrong in ({}, {"records": 1}, {"removed": {"objects": [["two", 0]], "classifications": []}}, {"schema": 2}):
        data = json.dumps({**changes, **wrong}).encode()
        with pytest.raises(ParameterError):
            store.put_space(added.identifier, "root", data, base if wrong else "")
    for unknown in ("none", "..", "20200101-000000-000000-000000", f"{base}.base"):
        with pytest.raises((KeyNotFoundError, ParameterError)):
            store.put_space(added.identifier, "root", json.dumps(changes).encode(), unknown)


def test_autosave_saves_every_change(running, project, voxels):
    quick = Project.load(running.url, project.id, "admin", running.password, autosave=True)
    added = quick.add_descriptor(voxels, "first")
    quick.grouping_hierarchy = ["Patient"]
    added.comments = "seen"
    added.grouping = ["p"]
    added.tags["Reviewed"].value = True
    added.consider_frame_annotated(0, True)
    quick.add_labelmap_layer("more").add_annotation("one", 1)
    with quick:
        added.name = "other"
        added.comments = "both"
    events = quick.events(0)
    assert len(events) == 9
    project.sync()
    found = project.descriptors[0]
    assert (found.name, found.comments, found.tags["Reviewed"].value) == ("other", "both", True)
    assert found.is_considered_annotated(0)
    assert project.labelmap_layers["more"].values == {1}
    quick.delete_descriptors([added])
    assert project.sync() == 1
    assert len(project.descriptors) == 0


def test_autosave_in_a_folder(tmp_path):
    Project.create(settings_of(), tmp_path / "local")
    quick = Project.load(tmp_path / "local", autosave=True)
    quick.add_descriptor(np.zeros((4, 5), np.uint8), "a").comments = "at once"
    assert Project.load(tmp_path / "local").descriptors[0].comments == "at once"
