"""Settings, tags, layers, labels and groups as values."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from bioimage_py import projects
from bioimage_py.errors import FormatError, KeyNotFoundError, ParameterError, ReadOnlyError
from bioimage_py.projects import DataType, Group, Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind
from bioimage_py.projects.values import records
from bioimage_py.projects.values.settings import parse_settings


def test_enums_have_the_values_of_the_reference():
    assert [kind.value for kind in LayerKind] == [0, 1, 2]
    assert [kind.name for kind in TagKind] == ["Bool", "Enum", "Float"]
    assert TagKind.Float.value == 2
    assert DataType.AnyDataType.name == "AnyDataType"


def test_settings_survive_json(settings):
    document = settings.with_ids().to_document()
    again = parse_settings(json.loads(json.dumps(document)))
    assert again.to_document() == document
    assert again.tags["Stage"].options == ["early", "late"]
    assert again.layers["cells"].labels["membrane"].value == 2
    assert document["data_type"] == "AnyDataType"


def test_lists_are_found_by_position_and_name(settings):
    assert settings.tags.names == ["Reviewed", "Quality", "Stage"]
    assert settings.tags[1] == settings.tags["Quality"]
    assert settings.tags.size() == len(settings.tags) == 3
    assert "Stage" in settings.tags
    with pytest.raises(KeyNotFoundError, match=r"(?s)no tag 'Nope'.*Reviewed") as error:
        settings.tags["Nope"]
    assert isinstance(error.value, KeyError)
    with pytest.raises(IndexError, match="there are 3"):
        settings.tags[3]


def test_names_are_unique_and_a_refused_change_changes_nothing(settings):
    with pytest.raises(ParameterError, match="two tags have the name 'Stage'"):
        settings.add_tag(Tag("Stage", TagKind.Bool))
    assert len(settings.tags) == 3
    with pytest.raises(ParameterError, match="value '2'"):
        settings.layers["cells"].add_label(Label("again", LayerKind.PIXELWISE, value=2))
    assert len(settings.layers["cells"].labels) == 3


def test_removing_needs_the_object(settings):
    settings.remove_tag(settings.tags["Stage"])
    settings.remove_layer(settings.layers["points"])
    assert settings.tags.names == ["Reviewed", "Quality"]
    assert settings.layers.names == ["cells", "boxes"]
    with pytest.raises(KeyNotFoundError, match="not among"):
        settings.remove_tag(Tag("other", TagKind.Bool))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tag("t", TagKind.Bool, (0, 0, 256)), "color.2 is 256"),
        (lambda: Tag("t", TagKind.Bool, options=["a"]), "options are for Enum"),
        (lambda: Tag("", TagKind.Bool), "name is ''"),
        (lambda: Label("l", LayerKind.PIXELWISE), "needs a value"),
        (lambda: Label("l", LayerKind.LANDMARK, value=1), "others have none"),
        (lambda: Label("l", LayerKind.PIXELWISE, value=-1), "value is -1"),
        (lambda: Layer("l", LayerKind.LANDMARK, [Label("x", LayerKind.BOUNDINGBOX)]), "of kind BOUNDINGBOX"),
        (lambda: Tag("t", "Bolean"), "kind is 'Bolean'"),
        (lambda: ProjectSettings(name="p", colour=1), "colour"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(ParameterError, match=message) as error:
        make()
    assert error.value.remedy


def test_a_label_value_may_be_above_2_to_the_53():
    assert Label("big", LayerKind.PIXELWISE, value=2**64 - 1).value == 2**64 - 1


def test_groups():
    assert Group.parse("0123|||Jane Doe") == Group("0123", "Jane Doe")
    assert Group.parse("plain") == Group("plain", "plain")
    assert Group.parse("a|||b|||c") == Group("a", "b|||c")
    with pytest.raises(ParameterError, match="is no group"):
        Group.parse(3)


@pytest.mark.parametrize(
    ("tag", "good", "bad"),
    [
        (Tag("b", TagKind.Bool), [True, np.True_], [1, "yes", None]),
        (Tag("f", TagKind.Float), [1.5, 2, np.float32(3)], [True, "1", float("nan")]),
        (Tag("e", TagKind.Enum, options=["x"]), ["x"], ["y", 0]),
    ],
)
def test_tag_values_fit_their_kind(tag, good, bad):
    assert [type(tag.check(value)) for value in good]
    for value in bad:
        with pytest.raises(ParameterError, match="can't be"):
            tag.check(value)


def test_definitions_of_a_project_are_changed_by_edit_only(project):
    with pytest.raises(ReadOnlyError, match=r"changed by edit\(\)"):
        project.tags["Reviewed"].name = "Done"
    with pytest.raises(ParameterError, match="has no value"):
        project.tags["Reviewed"].value = True
    assert project.tags["Stage"].index == 2
    assert project.tags["Stage"].project is project
    assert project.tags["Stage"].descriptor is None


def test_one_model_with_other_names_as_aliases():
    assert projects.TagLegacy is Tag
    assert projects.LabelLegacy is projects.BoundingBox is projects.Landmark is Label
    assert projects.TagsAccessor is projects.LandmarksAccessor is projects.Accessor


def test_the_misspelt_hierarchy_is_an_alias(project):
    project.grouping_hierarchy = ["Patient"]
    with pytest.warns(DeprecationWarning, match="grouping_hierarchy"):
        assert project.grouping_hierachy == ["Patient"]
    project.grouping_hierachy = ["A", "B"]
    assert project.grouping_hierarchy == ["A", "B"]


def test_a_newer_schema_is_refused_and_an_older_one_brought_up_to_date(project, monkeypatch):
    path = next(project._session.folder.descriptors.glob("*.json"))
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "schema": 99}))
    with pytest.raises(FormatError, match=r"schema 99, known is 2"):
        Project.load(project.path).descriptors[0].comments  # noqa: B018
    old = {**document, "schema": 0, "remark": "from before"}
    del old["comments"]
    path.write_text(json.dumps(old))

    def step(found):
        return {**{k: v for k, v in found.items() if k != "remark"}, "comments": found["remark"]}

    monkeypatch.setitem(records.STEPS, 0, step)
    found = Project.load(project.path).descriptors[0]
    assert found.comments == "from before"
    found.comments = "new"
    found.project.save()
    assert json.loads(path.read_text())["schema"] == 2


def test_a_damaged_descriptor_is_named(project):
    path = next(project._session.folder.descriptors.glob("*.json"))
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "scale": "much"}))
    with pytest.raises(FormatError, match="scale is 'much'"):
        Project.load(project.path).descriptors[0].scale  # noqa: B018
    path.write_text(json.dumps(document)[:-1] + ', "comments": "", "comments": "other"}')
    with pytest.raises(FormatError, match="'comments' is there twice"):
        Project.load(project.path).descriptors[0].scale  # noqa: B018
    path.write_text("{")
    with pytest.raises(FormatError, match="no JSON object"):
        Project.load(project.path).descriptors[0].scale  # noqa: B018


def test_projects_and_descriptors_travel_to_other_processes(project):
    descriptor = pickle.loads(pickle.dumps(project.descriptors[0]))
    assert descriptor == project.descriptors[0]
    assert descriptor.project is not project
    assert descriptor.name == "raw"
