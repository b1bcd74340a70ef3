"""Backups are whole or refused, and so is what is restored."""

from __future__ import annotations

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from sqlalchemy import select

from bioimage_py.errors import FormatError, ParameterError, StorageError
from bioimage_py.projects import Project
from bioimage_py.server import backup as module
from bioimage_py.server.backup import backup, check, restore
from bioimage_py.server.database.tables import metadata, rights
from bioimage_py.server.site import Site
from bioimage_py.system.alone import alone

from .conftest import PASSWORD, SHAPE, make_settings
from .http.test_http import ok


@pytest.fixture
def saved(demo, tmp_path):
    """A project with an edit that can be undone, a picture and a file of its own; and its backup."""
    project = Project.load(demo.folder.root)
    (image,) = project.descriptors
    image.labelmap_layers["cells"].save_new_data(np.full(SHAPE, 2, np.uint8))
    image.load_thumbnail()
    changed = project.settings()
    changed.layers["cells"].labels = [label for label in changed.layers["cells"].labels if label.name == "one"]
    project.edit(changed)
    (demo.folder.root / "README.md").write_text("whose cells these are")
    backup(demo.web.site, tmp_path / "copy.tar")
    return tmp_path / "copy.tar"


def test_a_restored_project_can_still_undo_its_last_edit(demo, saved, tmp_path):
    restore(saved, tmp_path / "other")
    secret = (saved, tmp_path / "other" / "server.db", demo.web.site.root / "server.db")
    assert [path.stat().st_mode & 0o077 for path in secret] == [0, 0, 0]
    project = Project.load(tmp_path / "other" / "projects" / demo.id)
    layer = project.descriptors[0].labelmap_layers["cells"]
    assert not np.array(layer.load()).any()
    project.restore_backup()
    np.testing.assert_array_equal(np.array(layer.load()), 2)
    assert (tmp_path / "other" / "projects" / demo.id / "README.md").read_text() == "whose cells these are"
    assert project.descriptors[0].load_thumbnail(generate=False) is not None
    site = Site(tmp_path / "other")
    assert list(check(site)) == []
    site.close()


def lengths(path):
    """Where members of a tar file end, and a place inside of one."""
    with tarfile.open(path) as tar:
        ends = [member.offset for member in tar.getmembers()][1:]
    return [ends[0] + 700, ends[len(ends) // 2], ends[-1]]


def test_a_backup_that_was_cut_off_is_refused_and_leaves_nothing(saved, tmp_path):
    whole = saved.read_bytes()
    for n, length in enumerate(lengths(saved)):
        (tmp_path / "part.tar").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"cut off|no backup"):
            restore(tmp_path / "part.tar", tmp_path / f"restored {n}")
        assert not (tmp_path / f"restored {n}").exists()
        assert not list(tmp_path.glob(".restored*"))


def test_a_version_that_is_not_there_is_no_backup(demo, saved, tmp_path):
    project = Project.load(demo.folder.root)
    layer = project.descriptors[0].labelmap_layers["cells"]
    layer.save_new_data(np.ones(SHAPE, np.uint8))
    path = demo.folder.annotations(demo.descriptor, layer.id) / f"{layer.version}.zarr"
    path.rename(tmp_path / "away")
    with pytest.raises(StorageError, match=layer.version):
        backup(demo.web.site, tmp_path / "second.tar")
    assert not (tmp_path / "second.tar").exists()


def test_a_backup_of_the_first_format_is_restored(saved, tmp_path):
    with tarfile.open(saved) as tar:
        tar.extractall(tmp_path / "content", filter="data")
    about = tmp_path / "content" / "backup.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "format": 1}))
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        for name in ("backup.json", "server.db", "projects"):
            tar.add(tmp_path / "content" / name, name)
    restore(tmp_path / "old.tar", tmp_path / "other")
    assert (tmp_path / "other" / "server.db").exists()


def test_two_backups_to_one_place_at_once_are_whole(demo, tmp_path):
    target = tmp_path / "copy.tar"
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(backup, demo.web.site, target) for _ in range(2)]
        refused = [error for one in both if (error := one.exception()) is not None]
    assert all(isinstance(error, ParameterError) for error in refused), refused  # it came after the other
    restore(target, tmp_path / "other")
    assert not list(tmp_path.glob(".copy*"))


def rows(database):
    """All that a database holds, but for what a restored one has of its own."""
    with database.reading() as connection:
        found = {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
            if table is not rights
        }
    for row in found["projects"]:
        del row["folder"]
    found["audit"] = [row for row in found["audit"] if row["action"] != "restored"]
    return {name: sorted(some, key=str) for name, some in found.items()}


def check_moved(demo, tmp_path, url=""):
    """Restore a backup into a database, with all rows as they were, and go on there."""
    site = demo.web.site
    ok(demo.web["owner"].post(f"{demo.path}/commit", json=demo.comment("", "odd \0 \U0001f600 ' \\")))
    demo.web.token("owner", "read")
    site.users.change(site.users.named("viewer").id, disabled=True, by="root")
    before = rows(site.database)
    assert all(before[name] for name in ("users", "secrets", "api_tokens", "projects", "members", "events", "audit"))
    backup(site, tmp_path / "copy.tar")
    other = tmp_path / "other"
    restore(tmp_path / "copy.tar", other, url)
    assert (other / "server.db").exists() != bool(url)
    site = Site(other, url)
    assert rows(site.database) == before
    assert list(check(site)) == []
    assert site.users.add("new", PASSWORD).id == max(row["id"] for row in before["users"]) + 1
    project = Project.load(other / "projects" / demo.id)
    project.descriptors[0].comments = "goes on"
    project.save()
    served = site.projects.served(demo.id)
    (last,) = [event["seq"] for event in served.events(len(before["events"])).events]
    assert last == len(before["events"]) + 1
    assert list(check(site)) == []
    site.close()
    if url:
        with pytest.raises(ParameterError, match="holds a site already") as told:
            restore(tmp_path / "copy.tar", tmp_path / "third", url)
        assert "hidden" not in str(told.value)
        assert not (tmp_path / "third").exists()


def test_all_rows_are_restored(demo, tmp_path):
    check_moved(demo, tmp_path)


def test_a_commit_that_comes_meanwhile_is_in_neither_files_nor_database(demo, tmp_path, monkeypatch):
    link, answers = module._link, []

    def linked(root, copy):
        link(root, copy)
        answers.append(pool.submit(demo.web["owner"].post, f"{demo.path}/commit", json=demo.comment("", "late")))
        wait(answers, 0.3)  # as long as a commit may take that does not wait for the backup

    with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patched:
        patched.setattr(module, "_link", linked)
        backup(demo.web.site, tmp_path / "copy.tar")
    last = ok(answers[0].result())["seq"]
    restore(tmp_path / "copy.tar", tmp_path / "other")
    site = Site(tmp_path / "other")
    served = site.projects.served(demo.id)
    assert served.last() == served.newest() == last - 1
    assert served.folder.read(demo.descriptor).document["comments"] == ""
    site.close()


def test_what_fails_while_it_is_restored_leaves_nothing(saved, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    appear = module._appear

    def fail(*arguments):
        appear(*arguments)
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(module, "_appear", fail)
        with pytest.raises(ZeroDivisionError):
            restore(saved, tmp_path / "other", url)
    assert not (tmp_path / "other").exists()
    restore(saved, tmp_path / "other", url)
    site = Site(tmp_path / "other", url)
    assert list(check(site)) == []
    site.close()


def test_projects_come_and_go_meanwhile(demo, tmp_path, monkeypatch):
    site, link, gone, new = demo.web.site, module._link, [], []

    def make(name):
        body = {"settings": make_settings(name).with_ids().to_document()}
        return ok(demo.web["owner"].post("/projects", json=body), 201)["id"]

    def linked(root, copy):
        link(root, copy)
        if not gone:
            gone.extend({copy.name, max(there - {copy.name})})
            for id in gone:
                site.projects.remove(id, "root", files=True)
            new.append(make("new"))

    there = {demo.id, *(make(f"project {n}") for n in range(3))}
    monkeypatch.setattr(module, "_link", linked)
    backup(site, tmp_path / "copy.tar")
    restore(tmp_path / "copy.tar", tmp_path / "other")
    names = {path.name for path in (tmp_path / "other" / "projects").iterdir()}
    assert names == there - set(gone) | set(new)
    other = Site(tmp_path / "other")
    assert list(check(other)) == []
    other.close()


def test_what_killed_backups_have_left_goes(demo, tmp_path):
    root = demo.web.site.root
    left, used, part = root / ".backup-0123abcd", root / ".backup-89abcdef", tmp_path / ".copy.tar.part-0123abcd"
    for one in (left, used):
        one.mkdir()
        (one / "server.db").touch()
    part.touch()
    part.with_name(f".{part.name}.writing").touch()
    with alone(str(used)):
        backup(demo.web.site, tmp_path / "copy.tar")
    assert [path.name for path in root.glob(".*backup-*")] == [used.name]
    assert {path.name for path in tmp_path.glob(".*copy*")} == set()


def test_a_database_of_nobody_is_not_that_of_a_server(demo, tmp_path):
    wrong = Site(demo.web.site.root, f"sqlite:///{tmp_path}/wrong.db")
    with pytest.raises(ParameterError, match=r"wrong\.db is not the database .* no users"):
        backup(wrong, tmp_path / "copy.tar")
    assert any("no users" in line for line in check(wrong))
    wrong.close()
