"""Backups are whole or refused, and so is what is restored."""

from __future__ import annotations

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bioimage_py.errors import FormatError, ParameterError, StorageError
from bioimage_py.projects import Project
from bioimage_py.server.backup import backup, check, restore
from bioimage_py.server.site import Site

from .conftest import SHAPE


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
    assert all(isinstance(error, ParameterError) for error in refused)  # it came after the other
    restore(target, tmp_path / "other")
    assert not list(tmp_path.glob(".copy*"))
