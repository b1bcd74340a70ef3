"""Projects and descriptors: making, opening, adding, saving."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ConflictError, KeyNotFoundError, ParameterError, ReadOnlyError, RegionError
from bioimage_py.io import create_array
from bioimage_py.projects import DataType, Group, ImageInfo, Project, ProjectSettings, Tag, TagKind
from bioimage_py.sources import Axis, Source

from ..server.again import places

SHAPE = (40, 40, 40)


def test_both_ways_to_make_a_project(tmp_path, settings):
    with Project("by name", tmp_path / "a") as project:
        project.add_tag("t", TagKind.Bool)
    assert Project.load(tmp_path / "a").tags.names == ["t"]
    made = Project.create(settings, tmp_path / "b", username="me", password="secret")
    assert (made.username, made.project_id) == ("me", made.id)
    assert "secret" not in str(vars(made))
    assert made.name == "demo"
    assert settings.id == ""
    assert made.is_local
    assert not made.is_remote
    assert "secret" not in (tmp_path / "b" / "project.json").read_text()


def test_a_folder_that_holds_something_is_refused(tmp_path, settings):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "file").touch()
    with pytest.raises(ParameterError, match="is not empty"):
        Project.create(settings, tmp_path / "p")
    Project("x", tmp_path / "q")
    with pytest.raises(ParameterError, match=r"is not empty[\s\S]*Project.load"):
        Project("x", tmp_path / "q")
    with pytest.raises(ParameterError, match="needs a folder"):
        Project.create(settings)


def test_what_is_no_project_is_refused(tmp_path, project):
    with pytest.raises(FileNotFoundError, match="is no project"):
        Project.load(tmp_path)
    with pytest.raises(ValueError, match="no URL of a server"):
        Project.load("s3://bucket/project")
    with pytest.raises(ParameterError, match=r"has the id|names the project"):
        Project.load(project.path, project_id="other")
    assert Project.load(project.path, project_id=project.id).id == project.id


def test_both_orders_of_arguments(project):
    image = np.zeros((8, 8, 8), np.uint8)
    added = [
        project.add_descriptor(image, "a"),
        project.add_descriptor("b", image),
        project.add_descriptor(image, "c", True),
        project.add_descriptor("d", image, True),
        project.add_descriptor("e", shared_image_set=image),
        project.add_descriptor(shared_image_set=image, name="f", own_copy=True),
        project.add_descriptor(image, name="g"),
    ]
    assert [descriptor.name for descriptor in added] == list("abcdefg")
    assert project.descriptors.names == ["raw", *"abcdefg"]
    with pytest.raises(TypeError, match="type int is no image"):
        project.add_descriptor("only a name", 3)
    with pytest.raises(TypeError, match="add_descriptor got"):
        project.add_descriptor()


def test_images_stay_where_they_are(project, tmp_path, again):
    source = create_array(tmp_path / "image.zarr", "raw", shape=(10, 20), dtype="uint16", axes=[Axis("y"), Axis("x")])
    source[...] = np.arange(200).reshape(10, 20)
    descriptor = project.add_descriptor(source)
    assert descriptor.name == "image.zarr:raw"
    assert not descriptor.own_copy
    assert descriptor.load_path == descriptor.original_data_path == str(tmp_path / "image.zarr")
    assert descriptor.sub_file_id == "raw"
    project.save()
    image = again().descriptors["image.zarr:raw"].load_image(crop_to_roi=False)
    assert isinstance(image, Source)
    assert not image.writable
    np.testing.assert_array_equal(np.array(image), np.arange(200).reshape(10, 20))
    source[0, 0] = 77
    assert image[0, 0] == 77
    assert descriptor.has_data
    (tmp_path / "image.zarr").rename(tmp_path / "elsewhere.zarr")
    assert not descriptor.has_data
    with pytest.raises(FileNotFoundError):
        descriptor.load_image()


def test_images_in_memory_are_copied_and_move_with_the_project(project, tmp_path):
    descriptor = project.descriptors["raw"]
    assert descriptor.own_copy
    document = json.loads(next((Path(project.path) / "descriptors").glob("*.json")).read_text())
    assert not Path(document["image"]["spec"]["path"]).is_absolute()
    moved = Path(project.path).rename(tmp_path / "moved")
    image = Project.load(moved).descriptors[0].load_image(False)
    np.testing.assert_array_equal(np.array(image).ravel(), np.arange(np.prod(SHAPE)))


def test_a_function_of_a_script_is_not_stored(project, tmp_path):
    source = create_array(tmp_path / "image.zarr", "raw", shape=(10, 20), dtype="uint16", axes=[Axis("y"), Axis("x")])
    source[...] = 3

    class Twice(bp.wrapper.WrapperSource):
        def _getitem(self, roi):
            return self._source._getitem(roi) * 2

    descriptor = project.add_descriptor(Twice(source), "twice")
    assert descriptor.own_copy
    assert np.array(descriptor.load_image())[0, 0] == 6


@pytest.mark.parametrize(
    ("shape", "axes", "counts", "kind"),
    [
        ((7, 9), None, (1, 1, 1, 7, 9), DataType.SingleChannelImages),
        ((5, 7, 9), None, (1, 1, 5, 7, 9), DataType.SingleChannelVolumes),
        ((7, 9, 3), ("y", "x", "c"), (1, 3, 1, 7, 9), DataType.MultiChannelImages),
        ((4, 2, 5, 7, 9), ("t", "c", "z", "y", "x"), (4, 2, 5, 7, 9), DataType.MultiChannelVolumes),
        ((4, 5, 7, 9), None, (4, 1, 5, 7, 9), DataType.SingleChannelVolumes),
        ((9, 7, 5), ("x", "y", "z"), (1, 1, 5, 7, 9), DataType.SingleChannelVolumes),
    ],
)
def test_sizes_come_from_the_named_axes(project, shape, axes, counts, kind):
    found = project.add_descriptor(np.zeros(shape, np.int16), "image", axes=axes)
    assert (found.n_images, found.n_channels, found.n_slices, found.height, found.width) == counts
    assert found.type == kind
    assert found.byte_size == np.zeros(shape, np.int16).nbytes
    assert found.shape == shape
    assert found.load_image(False).axes == found.axes
    assert found.spatial_shape == tuple(n for n, a in zip(shape, found.axes, strict=True) if a.kind == "space")


def test_an_image_without_a_plane_is_refused(project):
    with pytest.raises(ParameterError, match="has no y and x"):
        project.add_descriptor(np.zeros(5), "line")
    with pytest.raises(ParameterError, match="2 axes for the shape"):
        project.add_descriptor(np.zeros((5, 5, 5)), "line", axes=("y", "x"))


@pytest.mark.parametrize("accepted", [kind for kind in DataType if kind != DataType.AnyDataType])
def test_images_of_another_type_are_refused(tmp_path, accepted):
    images = {
        DataType.SingleChannelImages: ((6, 6), ("y", "x")),
        DataType.MultiChannelImages: ((6, 6, 3), ("y", "x", "c")),
        DataType.SingleChannelVolumes: ((6, 6, 6), ("z", "y", "x")),
        DataType.MultiChannelVolumes: ((2, 6, 6, 6), ("c", "z", "y", "x")),
    }
    project = Project.create(ProjectSettings("p", data_type=accepted), tmp_path / "p")
    for kind, (shape, axes) in images.items():
        image = np.zeros(shape, np.uint8)
        if kind == accepted:
            project.add_descriptor(image, "fits", axes=axes)
        else:
            with pytest.raises(ParameterError, match=f"is of type {kind.name}; the project accepts {accepted.name}"):
                project.add_descriptor(image, "does not", axes=axes)
    assert len(project.descriptors) == 1
    assert len(list(places.root(project).glob("images/*"))) == 1


def test_grouping(project, again):
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ParameterError, match="the hierarchy has 0 levels"):
        project.add_descriptor(image, "x", grouping=["p1"])
    project.grouping_hierarchy = ["Patient", "Study"]
    found = project.add_descriptor(image, "x", grouping=("p1|||Jane", Group("s1", "First")))
    assert found.grouping == (Group("p1", "Jane"), Group("s1", "First"))
    found.grouping = ["p2", "s2"]
    with pytest.raises(ParameterError, match="3 groups"):
        found.grouping = ["a", "b", "c"]
    with pytest.raises(ParameterError, match="1 groups"):
        found.grouping = ["a"]
    project.save()
    assert again().descriptors["x"].grouping == (Group("p2"), Group("s2"))
    assert again().grouping_hierarchy == ["Patient", "Study"]


def test_properties_are_kept(project, again):
    found = project.descriptors[0]
    before = datetime.now(UTC)
    found.name, found.comments, found.scale, found.shift, found.top_down = "new", "seen\n", 2.0, -1.0, False
    found.spacing = (0.5, 0.5, 2.0)
    found.image_info = ImageInfo(patient_name="Doe", series_instance_uid="1.2.3", modality="CT")
    found.tags["Reviewed"].value = True
    found.tags["Quality"].value = 1
    found.tags["Stage"].value = "late"
    project.save()
    seen = again().descriptors["new"]
    assert (seen.comments, seen.scale, seen.shift, seen.top_down) == ("seen\n", 2.0, -1.0, False)
    assert seen.spacing == (0.5, 0.5, 2.0)
    assert [axis.scale for axis in seen.load_image(False).axes] == [2.0, 0.5, 0.5]
    assert (seen.patient_name, seen.series_instance_uid, seen.modality) == ("Doe", "1.2.3", "CT")
    assert [tag.value for tag in seen.tags] == [True, 1.0, "late"]
    assert seen.import_time < before < seen.latest_edit_time
    assert seen.tags["Stage"].descriptor == seen
    seen.tags["Stage"].value = None
    seen.project.save()
    assert again().descriptors["new"].tags["Stage"].value is None


def test_bad_values_are_refused_when_they_are_set(project):
    found = project.descriptors[0]
    with pytest.raises(ParameterError, match="can't be 'middle'"):
        found.tags["Stage"].value = "middle"
    with pytest.raises(ParameterError, match="scale is 'x'"):
        found.scale = "x"
    with pytest.raises(ParameterError, match="spacing is"):
        found.spacing = (1, 0, 1)
    project.save()
    assert found.scale == 1.0


def test_a_read_only_tag(tmp_path):
    project = Project.create(ProjectSettings("p", tags=[Tag("t", TagKind.Bool, readonly=True)]), tmp_path / "p")
    found = project.add_descriptor(np.zeros((4, 4), np.uint8), "x")
    assert found.tags["t"].locked
    with pytest.raises(ReadOnlyError, match="is read-only"):
        found.tags["t"].value = True


def test_an_option_is_added(project, again):
    found = project.descriptors[0]
    found.tags["Stage"].add_option("middle")
    found.tags["Stage"].value = "middle"
    project.save()
    assert again().tags["Stage"].options == ["early", "late", "middle"]
    with pytest.raises(ParameterError, match="can't get the option"):
        project.tags["Reviewed"].add_option("x")


def test_region_of_interest(project, again):
    found = project.descriptors[0]
    found.roi = (slice(1, 3), slice(None), slice(-5, None))
    project.save()
    seen = again().descriptors[0]
    assert seen.roi == seen.region_of_interest == (slice(1, 3), slice(0, 40), slice(35, 40))
    cropped = seen.load_image(crop_to_roi=True)
    np.testing.assert_array_equal(np.array(cropped), np.array(seen.load_image(False))[1:3, :, 35:])
    with pytest.raises(RegionError, match="does not fit axis 0"):
        found.roi = (slice(0, 41), slice(None), slice(None))
    found.roi = None
    assert found.load_image(True).shape == SHAPE
    coloured = project.add_descriptor(np.zeros((6, 8, 3), np.uint8), "c", axes=("y", "x", "c"))
    coloured.roi = (slice(0, 2), slice(0, 3))
    assert coloured.load_image(True).shape == (2, 3, 3)


def test_annotated_frames(project):
    volume = project.descriptors[0]
    assert not volume.is_considered_annotated()
    for frame in range(40):
        volume.consider_frame_annotated(frame, True)
    assert volume.is_considered_annotated()
    volume.consider_frame_annotated(3, False)
    assert not volume.is_considered_annotated(3)
    assert volume.is_considered_annotated(4)
    assert not volume.is_considered_annotated()
    with pytest.raises(ParameterError, match="has no frame 40"):
        volume.consider_frame_annotated(40, True)
    series = project.add_descriptor(np.zeros((2, 6, 6), np.uint8), "t", axes=("t", "y", "x"))
    series.consider_frame_annotated(1, True)
    with pytest.raises(ParameterError, match="has no frame 2"):
        series.consider_frame_annotated(2, True)


def test_thumbnails(project):
    found = project.descriptors[0]
    assert found.load_thumbnail(generate=False) is None
    made = found.load_thumbnail()
    assert made.shape == (40, 40, 3)
    assert made.dtype == np.uint8
    assert (made[0, 0] < made[-1, -1]).all()
    np.testing.assert_array_equal(found.load_thumbnail(generate=False), made)
    colour = np.zeros((6, 8, 3), np.uint8)
    colour[:3, :, 0] = 255
    red = project.add_descriptor(colour, "c", axes=("y", "x", "c")).load_thumbnail()
    assert red[0, 0].tolist() == [255, 0, 0]
    assert (places.root(project) / "thumbnails" / f"{found.identifier}.png").is_file()


def test_descriptors_are_found_by_position_identifier_and_name(project):
    image = np.zeros((4, 4), np.uint8)
    first, second = project.add_descriptor(image, "twin"), project.add_descriptor(image, "twin")
    assert project.descriptors[second.identifier] == second == project.descriptors[-1]
    assert list(project.descriptors[1:]) == [first, second]
    assert [found.name for found in project.descriptors] == ["raw", "twin", "twin"]
    with pytest.raises(ParameterError, match="2 descriptors are called 'twin'"):
        project.descriptors["twin"]
    with pytest.raises(KeyNotFoundError, match="no descriptor 'none'"):
        project.descriptors["none"]
    with pytest.raises(IndexError, match="there are 3"):
        project.descriptors[3]
    for key in ("../project", ".", ""):
        with pytest.raises(KeyNotFoundError):
            project.descriptors[key]


def test_filter(project, again):
    project.grouping_hierarchy = ["Patient", "Study"]
    image = np.zeros((4, 4), np.uint8)
    for n in range(6):
        found = project.add_descriptor(image, f"image{n}", grouping=(f"p{n % 2}|||Patient {n % 2}", f"s{n}"))
        found.tags["Reviewed"].value = n > 2
        if n == 5:
            found.consider_frame_annotated(0, True)
            found.labelmap_layers["cells"].save_new_data(np.ones((4, 4), np.uint8))
    project.save()

    def names(**criteria):
        return again().descriptors.filter(**criteria).names

    assert names(tags={"Reviewed": True}) == ["image3", "image4", "image5"]
    assert names(tags={"Reviewed": None}) == ["raw"]
    assert names(group="p1") == names(group=["Patient 1"]) == ["image1", "image3", "image5"]
    assert names(group=("p0", "s4"), tags={"Reviewed": True}) == ["image4"]
    assert names(annotated=True) == names(layer="cells") == ["image5"]
    assert names(name="image[01]") == ["image0", "image1"]
    assert len(names()) == 7
    with pytest.raises(KeyNotFoundError, match="no tag"):
        names(tags={"Nope": 1})


def test_metadata_waits_for_save(project, again, files):
    before = files()
    project.add_tag("later", TagKind.Bool)
    project.descriptors[0].comments = "later"
    project.add_descriptor(np.zeros((4, 4), np.uint8), "later")
    project.add_landmark_layer("later")
    assert files() == before
    project.save()
    seen = again()
    assert "later" in seen.tags
    assert seen.descriptors.names == ["raw", "later"]
    assert seen.landmark_layers["later"].name == "later"


def test_saving_nothing_changes_nothing(project, files):
    before, time = files(), project.descriptors[0].latest_edit_time
    project.descriptors[0].comments = ""
    project.descriptors[0].name = "raw"
    project.save()
    assert files() == before
    assert project.descriptors[0].latest_edit_time == time


def test_two_writers_of_different_fields_both_stay(project, again):
    other = again()
    project.descriptors[0].comments = "mine"
    project.descriptors[0].tags["Reviewed"].value = True
    project.add_tag("mine", TagKind.Bool)
    other.descriptors[0].name = "theirs"
    other.descriptors[0].tags["Quality"].value = 0.5
    other.add_tag("theirs", TagKind.Bool)
    other.save()
    project.save()
    seen = again()
    assert seen.tags.names == ["Reviewed", "Quality", "Stage", "theirs", "mine"]
    found = seen.descriptors[0]
    assert (found.comments, found.name, found.tags["Reviewed"].value, found.tags["Quality"].value) == (
        "mine", "theirs", True, 0.5,
    )  # fmt: skip
    assert project.descriptors[0].name == "theirs"


def test_a_conflict_names_the_field_and_saves_nothing(project, again):
    other = again()
    found = project.descriptors[0]
    found.comments, found.name = "mine", "also mine"
    project.add_tag("mine", TagKind.Bool)
    other.descriptors[0].comments = "theirs"
    other.save()
    with pytest.raises(ConflictError, match=r'"mine".*"theirs"') as error:
        project.save()
    assert error.value.field == f"descriptors.{found.identifier}.comments"
    assert again().tags.names == ["Reviewed", "Quality", "Stage"]
    assert again().descriptors[0].name == "raw"
    found.revert()
    assert found.comments == "theirs"
    found.name = "also mine"
    project.save()
    assert again().descriptors[0].name == "also mine"


def test_the_same_change_by_both_is_no_conflict(project, again):
    other = again()
    for writer in (other, project):
        writer.descriptors[0].comments = "same"
        writer.save()
    assert again().descriptors[0].comments == "same"


def test_a_conflict_in_the_settings(project, again):
    other = again()
    project.data_type = DataType.SingleChannelVolumes
    other.data_type = DataType.MultiChannelVolumes
    other.save()
    with pytest.raises(ConflictError) as error:
        project.save()
    assert error.value.field == "data_type"
    project.revert()
    project.sync()
    assert project.data_type == DataType.MultiChannelVolumes


def test_a_change_of_what_others_deleted_is_a_conflict(project, again):
    other = again()
    project.descriptors[0].comments = "mine"
    other.delete_descriptors([other.descriptors[0]])
    other.save()
    with pytest.raises(ConflictError, match=r"nothing \(removed\)"):
        project.save()
    project.revert()
    assert len(project.descriptors) == 0 or project.sync() == 1
    assert len(project.descriptors) == 0


def test_deleting(project, again):
    found = project.add_descriptor(np.zeros((4, 4), np.uint8), "unsaved")
    project.delete_descriptors([found, project.descriptors["raw"]])
    assert len(project.descriptors) == 0
    assert len(again().descriptors) == 1
    project.save()
    assert len(again().descriptors) == 0
    with pytest.raises(KeyNotFoundError, match="has no descriptor"):
        found.comments  # noqa: B018
    with pytest.raises(KeyNotFoundError, match="no descriptor"):
        project.delete_descriptors([found])
    project.save()


def test_what_others_delete_while_the_folder_is_read_hides_nothing_else(project, again, monkeypatch):
    project.add_descriptor(np.zeros((4, 4), np.uint8), "other")
    project.save()
    gone = project._session.folder.path_of(project.descriptors[0].identifier)
    scan = os.scandir

    def slow(path):
        entries = list(scan(path))
        gone.unlink(missing_ok=True)
        return Entries(entries)

    monkeypatch.setattr(os, "scandir", slow)
    assert again().descriptors.names == ["other"]


class Entries(list):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_a_full_disk_saves_nothing(project, monkeypatch, files):
    before = files()
    project.descriptors[0].comments = "x"
    project.add_tag("new", TagKind.Bool)

    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("bioimage_py.projects.storage.folder.write_once", full)
        with pytest.raises(OSError, match=r"No space left on device: .*transactions"):
            project.save()
        with pytest.raises(OSError, match="No space left"):
            project.descriptors[0].labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
    assert files() == before
    assert not list(places.root(project).glob("annotations/*/*/*"))
    project.save()
    assert Project.load(project.path).descriptors[0].comments == "x"
    assert project.descriptors[0].labelmap_layers[0].load() is None


def test_what_others_deleted_is_not_listed_by_name(project, again):
    other = again()
    other.delete_descriptors([other.descriptors[0]])
    other.save()
    seen = again()
    project.revert()
    project._session.listing._index = {}
    assert project.descriptors.names == []
    assert len(project.descriptors.filter()) == 0
    assert not project.edit(project.settings(), dry_run=True).lost
    assert len(seen.descriptors) == 0


def test_sync_counts_and_applies(project, again):
    other = again()
    assert project.sync() == 0
    assert project.descriptors[0].tags["Reviewed"].value is None
    other.descriptors[0].tags["Reviewed"].value = True
    other.save()
    assert project.sync() == 1
    assert project.descriptors[0].tags["Reviewed"].value is True
    other.add_tag("new", TagKind.Bool)
    added = other.add_descriptor(np.zeros((4, 4), np.uint8), "new")
    other.descriptors[0].labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
    other.save()
    project.descriptors[0].comments = "mine"
    assert project.sync() == 3
    assert project.tags.names[-1] == "new"
    assert project.descriptors.names == ["raw", "new"]
    assert project.descriptors[0].comments == "mine"
    assert np.array(project.descriptors[0].labelmap_layers[0].load()).all()
    project.save()
    assert project.sync() == 0
    other.sync()
    other.delete_descriptors([added])
    other.save()
    assert project.sync() == 1
    assert project.descriptors.names == ["raw"]


def test_sync_keeps_a_conflict_for_save(project, again):
    other = again()
    project.descriptors[0].comments = "mine"
    other.descriptors[0].comments = "theirs"
    other.save()
    assert project.sync() == 1
    assert project.descriptors[0].comments == "mine"
    with pytest.raises(ConflictError):
        project.save()


def test_a_transaction_saves_all_at_its_end(project, again):
    with project:
        project.descriptors[0].comments = "inside"
        project.descriptors[0].labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
        assert np.array(project.descriptors[0].labelmap_layers[0].load()).all()
        assert again().descriptors[0].labelmap_layers[0].load() is None
        assert again().descriptors[0].comments == ""
    assert np.array(again().descriptors[0].labelmap_layers[0].load()).all()
    assert again().descriptors[0].comments == "inside"


def test_a_transaction_with_an_exception_saves_nothing(project, again, files):
    project.descriptors[0].comments = "before"
    before = files()
    with pytest.raises(ZeroDivisionError), project:  # noqa: PT012 - the block is what is tested
        project.descriptors[0].comments = "inside"
        project.descriptors[0].labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
        project.add_tag("inside", TagKind.Bool)
        added = project.add_descriptor(np.zeros((4, 4), np.uint8), "inside")
        added.labelmap_layers[0].save_new_data(np.ones((4, 4), np.uint8))
        project.delete_descriptors([project.descriptors[0]])
        raise ZeroDivisionError
    assert files() == before
    assert project.descriptors.names == ["raw"]
    assert project.descriptors[0].comments == "before"
    assert project.descriptors[0].labelmap_layers[0].load() is None
    assert project.tags.names == ["Reviewed", "Quality", "Stage"]
    assert not list(places.root(project).rglob("annotations/*/*/*"))
    assert len(list(places.root(project).glob("images/*"))) == 1
    project.save()
    assert again().descriptors[0].comments == "before"


def test_a_transaction_that_meets_a_conflict_saves_nothing(project, again):
    other = again()
    with pytest.raises(ConflictError), project:  # noqa: PT012 - the block is what is tested
        project.descriptors[0].comments = "mine"
        project.descriptors[0].labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
        other.descriptors[0].comments = "theirs"
        other.save()
    assert again().descriptors[0].labelmap_layers[0].load() is None
    assert again().descriptors[0].comments == project.descriptors[0].comments == "theirs"


def test_a_transaction_in_another_one(project, again):
    with project:
        project.descriptors[0].comments = "outer"
        with pytest.raises(ZeroDivisionError), project:  # noqa: PT012 - the block is what is tested
            project.descriptors[0].comments = "inner"
            raise ZeroDivisionError
        assert project.descriptors[0].comments == "outer"
        with project:
            project.descriptors[0].name = "inner"
        assert again().descriptors[0].name == "raw"
    assert again().descriptors["inner"].comments == "outer"


def test_annotations_of_something_new_are_saved_with_it(project, again):
    layer = project.add_labelmap_layer("new layer")
    found = project.add_descriptor(np.zeros((4, 4), np.uint8), "new")
    project.descriptors["raw"].comments = "waits"
    found.labelmap_layers["new layer"].save_new_data(np.ones((4, 4), np.uint16))
    seen = again()
    assert np.array(seen.descriptors["new"].labelmap_layers["new layer"].load()).all()
    assert seen.descriptors["raw"].comments == ""
    assert layer.project is project
    project.save()
    assert again().descriptors["raw"].comments == "waits"


def test_names_of_layers_are_taken_once(project):
    with pytest.raises(ParameterError, match="two layers have the name 'cells'"):
        project.add_boundingbox_layer("cells")
    label = project.labelmap_layers["cells"].add_annotation("third", 3)
    assert (label.value, label.index, label.kind.name) == (3, 3, "PIXELWISE")
    assert label.color != (255, 255, 255)
    assert project.boundingbox_layers["boxes"].add_boundingbox("x").color == (255, 255, 255)
    assert project.landmark_layers["points"].landmarks.names == ["tip"]
    with pytest.raises(ParameterError, match="which has no annotations of its own"):
        project.labelmap_layers["cells"].load()
    assert project.labelmap_layers["cells"].descriptor is None
    assert project.labelmap_layers.active is None
    assert [layer.index for layer in project.labelmap_layers] == [0]


def test_a_notebook_shows_tables_and_a_picture(project: Project) -> None:
    project.descriptors[0].name = "<b>raw</b>"
    project.descriptors[0].tags["Reviewed"].value = True
    page = project._repr_html_()
    for part in ("demo: 1 data sets", "&lt;b&gt;raw", "nucleus", "boxes", "Reviewed", "early, late"):
        assert part in page
    assert "<b>raw" not in page
    project.descriptors[0].load_thumbnail()
    told = project.descriptors[0]._repr_html_()
    assert "(40, 40, 40)" in told
    assert "<img" in told
    assert "True" in told
