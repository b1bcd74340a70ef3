"""Editing what a project defines: plan, rename, loss, way back."""

from __future__ import annotations

import numpy as np
import pytest

from bioimage_py.errors import ConflictError, ParameterError, SourceNotFoundError, StorageError
from bioimage_py.projects import BoxSet, Item, Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind

from ..server.again import places

SHAPE = (40, 40, 40)
PIXEL = LayerKind.PIXELWISE


@pytest.fixture
def labelled(project):
    """The project with everything annotated; label values 0, 1 and 2 in slabs."""
    found = project.descriptors[0]
    found.tags["Reviewed"].value = True
    found.tags["Stage"].value = "late"
    data = np.zeros(SHAPE, np.uint8)
    data[10:20], data[20:] = 1, 2
    found.labelmap_layers["cells"].save_new_data(data)
    rows = BoxSet.from_descriptor(found, "boxes")
    rows.add(["cell", "debris"], 0, np.zeros((2, 3)), np.ones((2, 3)))
    found.boundingbox_layers["boxes"].save_new_data(rows)
    project.save()
    return project


def stored(project) -> np.ndarray:
    return np.array(project.descriptors[0].labelmap_layers[0].load())[::10, 0, 0]


def replace_label(layer: Layer, old: str, **fields) -> None:
    layer.labels = [Label(**{**dict(label), **fields}) if label.name == old else label for label in layer.labels]


def without_label(layer: Layer, name: str) -> None:
    layer.labels = [label for label in layer.labels if label.name != name]


def test_settings_are_detached(project):
    settings = project.settings()
    settings.add_tag(Tag("x", TagKind.Bool))
    settings.layers["cells"].add_label(Label("y", PIXEL, value=9))
    assert "x" not in project.tags
    assert "y" not in project.labelmap_layers["cells"].labels


def test_the_first_workflow(tmp_path, settings):
    with Project.create(settings, tmp_path / "p") as project:
        changed = project.settings()
        changed.remove_tag(changed.tags["Stage"])
        changed.add_tag(Tag("Done", TagKind.Bool))
        changed.add_layer(Layer("more", LayerKind.BOUNDINGBOX, [Label("thing", LayerKind.BOUNDINGBOX)]))
        project.edit(changed)
        assert project.tags.names == ["Reviewed", "Quality", "Done"]
        assert Project.load(tmp_path / "p").tags.names == ["Reviewed", "Quality", "Stage"]
    seen = Project.load(tmp_path / "p")
    assert seen.tags.names == ["Reviewed", "Quality", "Done"]
    assert seen.boundingbox_layers["more"].boundingboxes.names == ["thing"]
    assert seen.tags["Done"].id


def test_a_dry_run_changes_nothing_and_tells_all(labelled, files):
    before = files()
    settings = labelled.settings()
    settings.remove_tag(settings.tags["Reviewed"])
    settings.tags["Stage"].name = "Phase"
    settings.tags["Stage" if "Stage" in settings.tags else "Phase"].options = ["early"]
    settings.remove_layer(settings.layers["points"])
    without_label(settings.layers["cells"], "nucleus")
    without_label(settings.layers["boxes"], "debris")
    settings.add_tag(Tag("New", TagKind.Float))
    plan = labelled.edit(settings, dry_run=True)
    assert files() == before
    identifier = labelled.descriptors[0].identifier
    assert Item("tag", "Phase", "Stage") in plan.renamed
    assert plan.added == [Item("tag", "New")]
    assert set(plan.deleted) == {
        Item("tag", "Reviewed"), Item("option", "Stage/late"), Item("layer", "points"),
        Item("label", "cells/nucleus"), Item("label", "boxes/debris"),
    }  # fmt: skip
    lost = {loss.item: loss.descriptors for loss in plan.lost}
    assert lost == dict.fromkeys(set(plan.deleted) - {Item("layer", "points")}, (identifier,))
    assert Item("layer", "cells") in plan.kept
    assert plan.touched == {identifier}
    assert "lost: tag 'Reviewed' in 1 data sets" in str(plan)
    assert not list(places.root(labelled).glob("history/*"))


def test_a_rename_keeps_its_data(labelled, again):
    settings = labelled.settings()
    settings.tags["Reviewed"].name = "Checked"
    settings.layers["cells"].name = "compartments"
    replace_label(settings.layers["compartments"], "nucleus", name="core")
    replace_label(settings.layers["boxes"], "debris", name="dirt")
    plan = labelled.edit(settings)
    assert not plan.lost
    seen = again().descriptors[0]
    assert seen.tags["Checked"].value is True
    np.testing.assert_array_equal(np.array(seen.labelmap_layers["compartments"].load())[::10, 0, 0], [0, 1, 2, 2])
    assert seen.labelmap_layers[0].labels["core"].value == 1
    assert seen.boundingbox_layers[0].load().asdict()["type"] == ["cell", "dirt"]


def test_voxels_follow_their_label(labelled, again):
    settings = labelled.settings()
    replace_label(settings.layers["cells"], "nucleus", value=300)
    without_label(settings.layers["cells"], "membrane")
    labelled.edit(settings)
    np.testing.assert_array_equal(stored(again()), [0, 300, 0, 0])
    np.testing.assert_array_equal(stored(labelled), [0, 300, 0, 0])


def test_values_are_swapped_at_once(labelled, again):
    settings = labelled.settings()
    layer = settings.layers["cells"]
    layer.labels = [Label(**{**dict(label), "value": {0: 0, 1: 2, 2: 1}[label.value]}) for label in layer.labels]
    labelled.edit(settings)
    np.testing.assert_array_equal(stored(again()), [0, 2, 1, 1])


def test_a_backup_undoes_it_and_keeps_later_changes(labelled, again, files):
    before = {name: text for name, text in files().items() if name == "project.json"}
    settings = labelled.settings()
    settings.remove_tag(settings.tags["Reviewed"])
    settings.remove_layer(settings.layers["boxes"])
    without_label(settings.layers["cells"], "nucleus")
    labelled.edit(settings)
    np.testing.assert_array_equal(stored(labelled), [0, 0, 2, 2])
    labelled.descriptors[0].comments = "later"
    labelled.save()
    labelled.restore_backup()
    assert {name: text for name, text in files().items() if name == "project.json"} == before
    seen = again()
    np.testing.assert_array_equal(stored(seen), [0, 1, 2, 2])
    assert seen.descriptors[0].tags["Reviewed"].value is True
    assert len(seen.descriptors[0].boundingbox_layers["boxes"].load()) == 2
    assert seen.descriptors[0].comments == "later"
    with pytest.raises(FileNotFoundError, match="no backup"):
        labelled.restore_backup()


def test_edits_are_undone_one_by_one(labelled, again):
    for name in ("A", "B"):
        settings = labelled.settings()
        settings.tags[0].name = name
        labelled.edit(settings)
    labelled.restore_backup()
    assert again().tags.names[0] == "A"
    again().restore_backup()
    assert again().tags.names[0] == "Reviewed"


def test_what_was_changed_again_is_not_undone(labelled, again):
    settings = labelled.settings()
    without_label(settings.layers["cells"], "nucleus")
    labelled.edit(settings)
    labelled.descriptors[0].labelmap_layers[0].save_new_data(np.full(SHAPE, 2, np.uint8))
    with pytest.raises(ConflictError, match="was changed again since the edit"):
        labelled.restore_backup()
    assert "nucleus" not in labelled.labelmap_layers[0].labels
    assert stored(again()).tolist() == [2, 2, 2, 2]


def test_an_edit_in_a_transaction_that_fails_leaves_nothing(labelled, again, files):
    before = files()
    settings = labelled.settings()
    without_label(settings.layers["cells"], "nucleus")
    with pytest.raises(ZeroDivisionError), labelled:  # noqa: PT012 - the block is what is tested
        labelled.edit(settings)
        assert stored(labelled).tolist() == [0, 0, 2, 2]
        raise ZeroDivisionError
    assert files() == before
    assert stored(labelled).tolist() == [0, 1, 2, 2]
    assert not list(places.root(labelled).glob("history/*"))
    assert "nucleus" in again().labelmap_layers[0].labels


def renamed(project, name):
    settings = project.settings()
    settings.tags[0].name = name
    return settings


def test_an_edit_of_which_nobody_knows_whether_it_was_saved_can_be_undone(project, again, monkeypatch):
    """Its answer was lost, or the disk was full when its documents were put in place: it may count all the same."""
    session, commit = project._session, project._session.commit

    def lost(changes, guarded=()):
        commit(changes, guarded)
        raise StorageError("no answer", remedy="")

    before = project.tags.names[0]
    project.edit(renamed(project, "kept"))
    monkeypatch.setattr(session, "commit", lost)
    with pytest.raises(StorageError, match="no answer"):
        project.edit(renamed(project, "lost"))
    other = again()
    assert other.tags.names[0] == "lost"
    other.restore_backup()
    assert again().tags.names[0] == "kept"
    other.restore_backup()
    assert again().tags.names[0] == before
    with pytest.raises(SourceNotFoundError, match="no backup"):
        other.restore_backup()


def test_an_edit_that_was_never_saved_is_passed_over(project, again, monkeypatch):
    def killed(changes, guarded=()):
        raise KeyboardInterrupt

    before = project.tags.names[0]
    project.edit(renamed(project, "kept"))
    with monkeypatch.context() as patch:
        patch.setattr(project._session, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            project.edit(renamed(project, "never"))
    assert len(list(places.root(project).glob("history/*"))) == 2
    project.restore_backup()
    assert again().tags.names[0] == before
    assert not list(places.root(project).glob("history/*"))


def test_an_edit_that_was_refused_leaves_no_backup(project, again):
    other = again()
    project.edit(renamed(project, "mine"))
    with pytest.raises(ConflictError):
        other.edit(renamed(other, "theirs"))
    assert len(list(places.root(project).glob("history/*"))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.add_tag(Tag("x", TagKind.Bool, id="tag-unknown")), "which the project does not have"),
        (lambda s: setattr(s.tags[0], "kind", TagKind.Float), "changes its kind"),
        (lambda s: setattr(s, "id", "project-other"), "settings of the project 'project-other'"),
    ],
)
def test_settings_that_do_not_belong_are_refused(project, files, change, message):
    before, settings = files(), project.settings()
    change(settings)
    with pytest.raises(ParameterError, match=message):
        project.edit(settings)
    assert files() == before


def test_settings_from_scratch_replace_everything(labelled, again):
    plan = labelled.edit(ProjectSettings(name="demo", tags=[Tag("Reviewed", TagKind.Bool)]))
    assert Item("tag", "Reviewed") in plan.deleted
    assert Item("tag", "Reviewed") in plan.added
    seen = again()
    assert seen.descriptors[0].tags["Reviewed"].value is None
    assert seen.id == labelled.id
    labelled.restore_backup()
    assert again().descriptors[0].tags["Reviewed"].value is True


def test_prune_forgets_what_no_backup_brings_back(labelled, again, files):
    settings = labelled.settings()
    tag, layer = settings.tags["Reviewed"].id, settings.layers["cells"].id
    settings.remove_tag(settings.tags["Reviewed"])
    settings.remove_layer(settings.layers["cells"])
    labelled.edit(settings)
    labelled.prune()
    assert tag.encode() in b"".join(files().values())
    labelled.prune(older_than=-1)
    assert tag.encode() not in b"".join(files().values())
    labelled.prune(older_than=-1)
    assert not list(places.root(labelled).glob(f"annotations/*/{layer}/*"))
