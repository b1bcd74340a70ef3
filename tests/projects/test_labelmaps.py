"""Label maps: versions that share chunks, drafts, what is refused."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ConflictError, DtypeError, ParameterError, ReadOnlyError, ShapeError
from bioimage_py.io import read_multiscales
from bioimage_py.projects import Label, LayerKind, Project
from bioimage_py.sources import Axis, Source

from ..server.again import places

SHAPE = (40, 40, 40)
BIG = (130, 70, 70)


@pytest.fixture
def layer(project):
    """A layer of a data set of 130 x 70 x 70 voxels, 12 chunks."""
    axes = [Axis("z", unit="micrometer", scale=2.0, offset=1.0), Axis("y", scale=0.5), Axis("x", scale=0.5)]
    found = project.add_descriptor(np.zeros(BIG, np.uint8), "big", axes=axes)
    project.save()
    return found.labelmap_layers["cells"]


def chunks(layer) -> dict[str, int]:
    """Inode of every chunk file of the stored label map."""
    root = places.stored(layer) / "0"
    return {str(path.relative_to(root)): path.stat().st_ino for path in root.glob("c/*/*/*")}


def labels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, BIG, np.uint8)


def test_nothing_is_stored_at_first(layer):
    assert layer.load() is None
    assert layer.path() == ""
    assert not layer.has_data()


def test_what_is_saved_is_loaded(layer, again):
    assert layer.save_new_data(labels()) is True
    seen = again().descriptors["big"].labelmap_layers[0]
    found = seen.load()
    assert isinstance(found, Source)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(np.array(found), labels())
    assert seen.has_data()
    assert [(axis.name, axis.scale, axis.offset) for axis in found.axes] == [
        ("z", 2.0, 1.0), ("y", 0.5, 0.0), ("x", 0.5, 0.0),
    ]  # fmt: skip
    with pytest.raises(ReadOnlyError):
        found[0, 0, 0] = 1


def test_it_is_an_ome_zarr_label_image(layer):
    layer.save_new_data(labels())
    path = str(places.stored(layer))
    image = read_multiscales(path)[0]
    assert image.levels[0][0] == "0"
    assert image.levels[0][1][0].unit == "micrometer"
    import zarr

    described = zarr.open_group(path, mode="r").attrs["ome"]["image-label"]
    assert described["colors"][1] == {"label-value": 1, "rgba": [255, 0, 0, 255]}
    assert zarr.open_group(path, mode="r")["0"].shape == BIG


def test_only_changed_chunks_are_stored(layer):
    data = labels()
    layer.save_new_data(data)
    before, old = chunks(layer), layer.version
    data[0, 0, 0] = (data[0, 0, 0] + 1) % 3
    data[129, 69, 69] = (data[129, 69, 69] + 1) % 3
    held = layer.load()
    layer.save_new_data(data)
    after = chunks(layer)
    assert layer.version != old
    assert {name for name in after if after[name] != before[name]} == {"c/0/0/0", "c/2/1/1"}
    np.testing.assert_array_equal(np.array(layer.load()), data)
    np.testing.assert_array_equal(np.array(held), labels())


def test_unchanged_content_is_not_saved(layer):
    layer.save_new_data(labels())
    time, version = layer.descriptor.latest_edit_time, layer.version
    for same in (labels(), labels().astype(np.int64), bp.sources.as_source(labels()), layer.load()):
        assert layer.save_new_data(same) is False
    assert (layer.descriptor.latest_edit_time, layer.version) == (time, version)
    assert len(list(places.folder(layer).iterdir())) == 1


def test_an_empty_label_map_is_stored_but_has_no_content(layer):
    assert layer.save_new_data(np.zeros(BIG, np.uint8)) is True
    assert np.array(layer.load()).max() == 0
    assert not layer.has_data()
    layer.save_new_data(labels())
    assert layer.has_data()
    layer.save_new_data(np.zeros(BIG, np.uint8))
    assert not layer.has_data()
    assert np.array(layer.load()).max() == 0


@pytest.mark.parametrize(
    ("first", "then", "stored"),
    [
        (np.uint8, np.int64, np.uint8),
        (np.uint8, np.uint64, np.uint64),
        (np.int32, np.uint8, np.int32),
        (np.bool_, np.bool_, np.uint8),
        (np.uint64, np.int16, np.uint64),
    ],
)
def test_the_data_type_stays_where_it_holds_the_values(layer, first, then, stored):
    layer.add_label("largest", np.iinfo(np.uint64).max)
    layer.save_new_data(np.ones(BIG, first))
    value = np.iinfo(np.uint64).max if then == np.uint64 else 1
    data = np.full(BIG, value, then)
    data[0] = 0
    layer.save_new_data(data)
    assert layer.load().dtype == stored
    np.testing.assert_array_equal(np.array(layer.load()), data)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros((130, 70), np.uint8), ShapeError, r"has the shape \(130, 70, 70\) \(axes \['z', 'y', 'x'\]\)"),
        (np.zeros(BIG, np.float32), DtypeError, "Labels are integers, not float32"),
        ("labels.zarr", TypeError, "A path is not an array"),
    ],
)
def test_what_does_not_fit_is_refused(layer, data, error, message):
    with pytest.raises(error, match=message):
        layer.save_new_data(data)
    assert layer.load() is None


def test_labels_lie_over_the_spatial_axes(project):
    project.add_labelmap_layer("any")
    found = project.add_descriptor(np.zeros((2, 3, 6, 5, 4), np.uint8), "tcxyz", axes=("t", "c", "x", "y", "z"))
    layer = found.labelmap_layers["any"]
    assert layer.create_empty_labelmap().shape == found.spatial_shape == (6, 5, 4)
    data = np.arange(120, dtype=np.uint8).reshape(6, 5, 4)
    layer.save_new_data(data)
    assert [axis.name for axis in layer.load().axes] == ["x", "y", "z"]
    np.testing.assert_array_equal(np.array(layer.load()), data)


def test_an_empty_label_map_is_detached(layer):
    empty = layer.create_empty_labelmap()
    assert (empty.shape, empty.dtype, empty.writable) == (BIG, np.uint8, True)
    assert empty.axes[0].scale == 2.0
    empty[5] = 2
    assert layer.load() is None
    layer.save_new_data(empty)
    assert np.array(layer.load())[5].min() == 2


def test_a_draft_is_seen_when_it_is_published(layer, again):
    layer.save_new_data(labels())
    draft = layer.draft("job")
    np.testing.assert_array_equal(np.array(draft.source), labels())
    draft.source[:64] = 1
    np.testing.assert_array_equal(np.array(layer.load()), labels())
    other = again().descriptors["big"].labelmap_layers[0].draft("job")
    assert other.path == draft.path
    other.source[64:128] = 2
    expected = np.concatenate([np.full((64, 70, 70), 1), np.full((64, 70, 70), 2), labels()[128:]])
    before = chunks(layer)
    assert draft.publish() is True
    np.testing.assert_array_equal(np.array(layer.load()), expected)
    assert {name for name, inode in chunks(layer).items() if before.get(name) == inode} == {
        f"c/2/{y}/{x}" for y in (0, 1) for x in (0, 1)
    }
    assert not Path(draft.path).name.startswith(".")


def test_equal_chunks_that_were_written_again_are_shared_again(layer):
    layer.save_new_data(labels())
    before = chunks(layer)
    draft = layer.draft()
    draft.source[...] = labels()
    assert draft.publish() is False
    assert chunks(layer) == before
    draft = layer.draft()
    draft.source[...] = labels()
    draft.source[0] = 0
    assert draft.publish() is True
    assert sum(before[name] == inode for name, inode in chunks(layer).items()) == 8


def test_a_draft_that_was_overtaken_stays(layer, again):
    draft = layer.draft("mine")
    draft.source[0] = 1
    other = again().descriptors["big"].labelmap_layers[0]
    other.save_new_data(labels(1))
    with pytest.raises(ConflictError) as error:
        draft.publish()
    assert error.value.field == f"descriptors.{layer.descriptor.identifier}.layers.{layer.id}"
    np.testing.assert_array_equal(np.array(other.load()), labels(1))
    assert np.array(layer.draft("mine").source)[0].min() == 1
    layer.draft("mine").discard()
    layer.project.sync()
    np.testing.assert_array_equal(np.array(layer.draft("mine").source), labels(1))


def test_drafts_are_named_and_typed(layer):
    with pytest.raises(ParameterError, match="can't be called"):
        layer.draft("../up")
    layer.draft("a", dtype=np.uint32)
    with pytest.raises(DtypeError, match="holds uint32, not uint8"):
        layer.draft("a", dtype=np.uint8)
    with pytest.raises(DtypeError, match="Labels are integers"):
        layer.draft("b", dtype=np.float32)
    assert layer.draft("a").source.dtype == np.uint32


def test_a_draft_is_written_by_a_run(layer, project):
    draft = layer.draft()
    image = layer.descriptor.load_image()
    bp.copy(image, draft.source, job_type="subprocess", num_workers=2, block_shape=(64, 64, 64), casting="unsafe")
    assert draft.publish()
    assert not list(places.stored(layer).rglob(".bioimage_py*"))
    np.testing.assert_array_equal(np.array(layer.load()), np.array(image))


def test_two_saves_in_a_transaction(layer, again):
    with layer.project:
        layer.save_new_data(labels(1))
        layer.save_new_data(labels(2))
    np.testing.assert_array_equal(np.array(again().descriptors["big"].labelmap_layers[0].load()), labels(2))


def test_two_writers_of_one_label_map(layer, again):
    other = again().descriptors["big"].labelmap_layers[0]
    assert other.load() is None
    layer.save_new_data(labels(1))
    with pytest.raises(ConflictError, match="layers"):
        other.save_new_data(labels(2))
    np.testing.assert_array_equal(np.array(layer.load()), labels(1))
    assert len(list(places.folder(layer).iterdir())) == 1


def test_a_layer_that_somebody_removed_takes_no_data(layer, again):
    other = again()
    settings = other.settings()
    settings.remove_layer(settings.layers["cells"])
    other.edit(settings)
    with pytest.raises(ConflictError, match="'cells' was removed by another process"):
        layer.save_new_data(labels())
    assert list(places.folder(layer).glob("*")) == []
    other.restore_backup()
    assert layer.save_new_data(labels())


def test_a_file_system_without_links_gets_copies(layer, monkeypatch):
    layer.save_new_data(labels())

    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    data = labels()
    data[0, 0, 0] = 2 - data[0, 0, 0] // 2
    assert layer.save_new_data(data) is True
    np.testing.assert_array_equal(np.array(layer.load()), data)
    assert layer.save_new_data(data) is False


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_a_value_without_a_label_is_refused_before_anything_is_written(layer, again, dtype):
    wrong = labels().astype(dtype)
    wrong[0, 0, 0], wrong[1, 2, 3] = 3, 100
    with pytest.raises(ParameterError, match=r"'big' has the values \[3, 100\].*'cells' have \[0, 1, 2\]") as error:
        layer.save_new_data(wrong)
    assert "add_label" in error.value.remedy
    assert layer.load() is None
    assert not list(places.folder(layer).glob("*draft*"))
    layer.add_label("third", 3)
    layer.add_label("hundredth", 100)
    layer.project.save()
    assert layer.save_new_data(wrong)
    np.testing.assert_array_equal(np.array(again().descriptors["big"].labelmap_layers[0].load()), wrong)


def test_values_that_are_stored_already_may_stay(layer):
    """Whoever corrects a voxel of what a program has written need not tell what its other values are."""
    draft, data = layer.draft(dtype=np.uint16), labels().astype(np.uint16)
    data[0, 0, 0] = 7
    draft.source[...] = data
    draft.publish()
    data[0, 0, 1] = 2 - (data[0, 0, 1] == 2)
    assert layer.save_new_data(data) is True
    np.testing.assert_array_equal(np.array(layer.load()), data)
    data[0, 0, 1] = 7
    with pytest.raises(ParameterError, match="7"):
        layer.save_new_data(data)


def test_values_above_2_to_the_53(layer):
    layer.add_label("larger", 2**63 + 1)
    layer.add_label("large", 2**53 + 1)
    big = np.zeros(BIG, np.uint64)
    big[0, 0, :2] = 2**63 + 1, 2**53 + 1
    layer.save_new_data(big)
    assert np.array(layer.load())[0, 0, :2].tolist() == [2**63 + 1, 2**53 + 1]


def test_prune_removes_what_nothing_points_to(layer, project):
    for seed in range(3):
        layer.save_new_data(labels(seed))
    layer.draft("left")
    gone = project.add_descriptor(np.zeros(SHAPE, np.uint8), "gone")
    gone.labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
    project.delete_descriptors([gone])
    project.save()
    assert project.prune() == 0
    for path in places.root(project).rglob("*"):
        os.utime(path, (1e9, 1e9))
    project.prune()
    assert [path.name for path in places.folder(layer).iterdir()] == [places.stored(layer).name]
    assert len(list(places.root(project).glob("images/*"))) == 2
    assert [path.name for path in places.root(project).glob("annotations/*")] == [layer.descriptor.identifier]
    seen = Project.load(project.path).descriptors["big"]
    np.testing.assert_array_equal(np.array(seen.labelmap_layers[0].load()), labels(2))
    assert Project.load(project.path).descriptors["raw"].load_image().shape == SHAPE


def test_prune_keeps_what_others_added(project, again):
    other = again()
    other.add_descriptor(np.ones(SHAPE, np.uint8), "new").labelmap_layers[0].save_new_data(np.ones(SHAPE, np.uint8))
    project.prune(older_than=-10)
    found = again().descriptors["new"]
    assert np.array(found.labelmap_layers[0].load()).all()
    assert np.array(found.load_image()).all()


def test_labels_are_chosen_by_the_layer(project):
    layer = project.labelmap_layers["cells"]
    assert layer.values == {0, 1, 2}
    layer.add_label("many", 70_000)
    assert project.descriptors[0].labelmap_layers["cells"].create_empty_labelmap().dtype == np.uint32
    assert project.add_labelmap_layer("free").values == frozenset()
    assert isinstance(layer.labels["many"], Label)
    assert layer.labels["many"].kind == LayerKind.PIXELWISE


@pytest.mark.parametrize("together", [False, True])
def test_an_interrupt_right_after_the_commit_loses_nothing(layer, again, monkeypatch, together):
    session = layer.project._session
    commit = type(session).commit

    def interrupted(self, *args, **kwargs):
        commit(self, *args, **kwargs)
        raise KeyboardInterrupt

    layer.save_new_data(labels(1))
    with monkeypatch.context() as late:
        late.setattr(type(session), "commit", interrupted)
        with pytest.raises(KeyboardInterrupt), layer.project if together else nullcontext():
            layer.save_new_data(labels(2))
    np.testing.assert_array_equal(np.array(again().descriptors["big"].labelmap_layers[0].load()), labels(2))
