"""Processes that die at named points, or at random, while they save; a small part of what `make test-projects` does."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import project_kills
import project_soak
import pytest

from bioimage_py.projects import Project, drafts
from bioimage_py.projects.storage.folder import Folder


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("save", "draft"),
        ("save", "commit"),
        ("transact", "draft"),
        ("transact", "commit"),
        ("transact", "place"),
        ("edit", "transaction"),
        ("edit", "place"),
    ],
)
def test_a_process_that_dies_at_a_point_leaves_the_old_or_the_new_state(tmp_path, name, point):
    path, token = tmp_path / "p", tmp_path / "token"
    project_kills.make(path)
    token.touch()
    # the third time: of a transaction, some documents are in place then, and others are not
    variable = f"project-{point}:{3 if point in ('draft', 'place') else 2}:{token}"
    process = subprocess.Popen(
        [sys.executable, project_kills.__file__, str(path), name],
        stdout=subprocess.PIPE,
        text=True,
        env=project_kills.environment(BIOIMAGE_PY_FAULT=variable),
    )
    assert process.stdout is not None
    said = [int(line) for line in process.stdout]
    process.wait()
    process.stdout.close()
    assert not token.exists()
    assert project_kills.JOBS[name].found(Project.load(path)) in (said[-1], said[-1] + 1)


def test_a_transaction_counts_from_its_record_on(tmp_path):
    path, token = tmp_path / "p", tmp_path / "token"
    project_kills.make(path)
    seen = Project.load(path)
    for point, state in (("project-commit:1", 0), ("project-transaction:1", 1), ("project-place:2", 2)):
        token.touch()
        subprocess.run(
            [sys.executable, project_kills.__file__, str(path), "transact"],
            capture_output=True,
            env=project_kills.environment(BIOIMAGE_PY_FAULT=f"{point}:{token}"),
            check=False,
        )
        assert not token.exists()
        assert len(list(Path(path, "transactions").glob("*.json"))) == (state > 0)
        # whoever comes next, also one who has the project open and saves, finishes it
        if state == 2:
            seen.descriptors[0].comments = "mine"
            seen.save()
        assert project_kills.transacted(Project.load(path)) == state
        assert not list(Path(path, "transactions").glob("*.json"))
    assert Project.load(path).descriptors[0].comments == "mine"


def test_several_processes_edit_one_project_and_are_killed(tmp_path):
    project_soak.soak(tmp_path, seconds=120, kills=2, operations=12, workers=3)


def test_what_counts_keeps_its_image_and_label_map_where_nothing_can_be_put_in_place(project, again, monkeypatch):
    """From its record on a commit counts; who is told of a full disk then must not clear away what it names."""

    def full(*args, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    labels = np.ones((40, 40, 40), np.uint8)
    with pytest.raises(OSError, match="No space"), project:  # noqa: PT012 - the block is what is tested
        added = project.add_descriptor(2 * labels, "late", own_copy=True)
        added.labelmap_layers[0].save_new_data(labels)
        project.descriptors[0].comments = "late"
        monkeypatch.setattr(Folder, "_place", full)
    monkeypatch.undo()
    found = again().descriptors["late"]
    np.testing.assert_array_equal(np.array(found.load_image()), 2 * labels)
    np.testing.assert_array_equal(np.array(found.labelmap_layers[0].load()), labels)


@pytest.mark.some(4)
@pytest.mark.parametrize("step", ["versions.rebase", "write_once", "fault", "versions.annotate", "Path.unlink"])
@pytest.mark.parametrize("after", [False, True])
def test_a_rebase_that_is_cut_off_loses_no_conflict(project, again, monkeypatch, step, after):
    """Wherever it stops, and though somebody else publishes again before it goes on."""
    whole = [slice(0, 40)] * 3
    theirs = again()
    draft = project.descriptors[0].labelmap_layers[0].draft("mine")
    draft.source[10:20] = 2
    theirs.descriptors[0].labelmap_layers[0].save_new_data(np.ones((40, 40, 40), np.uint8))
    owner, name = {"versions": drafts.versions, "Path": Path}.get(step.split(".")[0], drafts), step.split(".")[-1]
    plain = getattr(owner, name)

    def killed(*args, **more):
        if after:
            plain(*args, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            draft.rebase()
    theirs.descriptors[0].labelmap_layers[0].save_new_data(np.full((40, 40, 40), 2, np.uint8))
    project.sync()
    draft = project.descriptors[0].labelmap_layers[0].draft("mine")
    (region,) = draft.rebase()
    assert list(region) == whole
    assert draft.rebase() == [region]
    draft.source[20:30] = 1
    assert draft.publish()
    found = np.array(again().descriptors[0].labelmap_layers[0].load())[:, 0, 0]
    assert found[10:20].tolist() == [2] * 10
    assert not list(Path(project.path).rglob(".rebas*"))
