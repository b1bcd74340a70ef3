"""Drafts of label maps on a server, written chunk by chunk by any process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numcodecs import zstd

import bioimage_py as bp
from bioimage_py.errors import (
    AccessError,
    BioimageError,
    ConflictError,
    DtypeError,
    FormatError,
    LockError,
    ShapeError,
    ValueRangeError,
)
from bioimage_py.projects import Project
from bioimage_py.projects.remote.arrays import draft_source
from bioimage_py.projects.remote.arrays.draft_source import DraftSource
from bioimage_py.projects.storage.folder import new_stamp
from bioimage_py.sources import SourceSpec, from_spec

from ..conftest import make_settings
from ..starting import Running

SHAPE = (130, 70, 70)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = Running(tmp_path_factory.mktemp("server") / "site")
    yield found
    found.stop()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.zarr"
    bp.copy(np.ones(SHAPE, np.uint8), f"{path}/raw")
    return bp.open_source(path, "raw")


@pytest.fixture
def project(running, image):
    found = Project.create(make_settings(new_stamp()), running.url, "admin", running.password)
    found.add_descriptor(image, "first")
    found.save()
    return found


@pytest.fixture
def again(running, project):
    return lambda: Project.load(running.url, project.id, "admin", running.password)


@pytest.fixture
def layer(project):
    return project.descriptors[0].labelmap_layers["cells"]


@pytest.fixture
def sent(monkeypatch):
    """Keys of the chunks that are sent."""
    keys, send = [], DraftSource.send
    monkeypatch.setattr(DraftSource, "send", lambda self, pack: (keys.extend(pack.keys), send(self, pack)))
    return keys


def test_only_chunks_that_differ_are_sent(layer, sent):
    labels = np.random.default_rng(1).integers(0, 3, SHAPE, dtype=np.uint8)
    assert layer.save_new_data(labels)
    assert len(sent) == 12
    assert not layer.save_new_data(labels)
    labels[-1, 0, 0] += 1
    assert layer.save_new_data(labels)
    assert sent[12:] == ["0/c/2/0/0"]
    np.testing.assert_array_equal(np.array(layer.load()), labels)
    with pytest.raises(ShapeError, match="130"):
        layer.save_new_data(labels[1:])


def test_what_is_sent_twice_in_a_transaction_is_what_was_sent_last(project, again, layer):
    """The second one is compared with the first, which no document names yet."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[0] = 1
    with project:
        layer.save_new_data(labels)
        labels[-1] = 2
        layer.save_new_data(labels)
        np.testing.assert_array_equal(np.array(layer.load()), labels)
        assert again().descriptors[0].labelmap_layers["cells"].load() is None
    for one in (project, again()):
        np.testing.assert_array_equal(np.array(one.descriptors[0].labelmap_layers["cells"].load()), labels)


def test_a_new_layer_of_a_new_data_set_is_written_and_read_before_it_is_saved(project, again, image):
    with project:
        added = project.add_descriptor(image, "second")
        new = project.add_labelmap_layer("new")
        new.add_annotation("one", 1)
        boxes = project.add_boundingbox_layer("more boxes")
        boxes.add_annotation("box")
        layer = added.labelmap_layers["new"]
        assert layer.load() is None
        layer.save_new_data(np.ones(SHAPE, np.uint8))
        np.testing.assert_array_equal(np.array(layer.load()), 1)
        rows = added.boundingbox_layers["more boxes"]
        from bioimage_py.projects import BoxSet

        found = BoxSet.from_descriptor(added, "more boxes")
        found.add("box", 0, (1, 2, 3), (4, 5, 6))
        rows.save_new_data(found)
        assert len(rows.load()) == 1
    other = again().descriptors["second"]
    np.testing.assert_array_equal(np.array(other.labelmap_layers["new"].load()), 1)
    assert len(other.boundingbox_layers["more boxes"].load()) == 1


def fill(spec, number):
    source = from_spec(SourceSpec.from_json(spec))
    begin = number * 64
    source[begin : begin + 64] = number + 1


def test_a_draft_is_written_by_its_spec_and_published(project, again, layer):
    draft = layer.draft("mine")
    assert layer.draft("mine").begun
    assert not draft.begun
    with pytest.raises(DtypeError, match="uint32"):
        layer.draft("mine", dtype="uint32")
    spec = draft.source.to_spec().to_json()
    token = next(
        value for name, value in os.environ.items() if name.startswith("BIOIMAGE_PY_TOKEN_") and value in value
    )
    assert token not in spec
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: fill(spec, number), range(3)))
    draft.source[5, 3:9, 7] = 3  # a part of a chunk
    expected = np.repeat(np.arange(1, 4, dtype=np.uint8), 64)[: SHAPE[0], None, None] * np.ones(SHAPE, np.uint8)
    expected[5, 3:9, 7] = 3
    np.testing.assert_array_equal(draft.source[...], expected)
    assert layer.load() is None
    assert draft.publish()
    np.testing.assert_array_equal(np.array(again().descriptors[0].labelmap_layers["cells"].load()), expected)
    assert not layer.draft().publish()
    with pytest.raises(ValueRangeError):
        layer.draft().fill(np.full(SHAPE, 300))


def without_size(data):
    """A zstd frame of raw blocks whose header does not tell how much it holds."""
    frame = b"\x28\xb5\x2f\xfd\x00\x40"
    for at in range(0, len(data), 2**17):
        block = data[at : at + 2**17]
        frame += (len(block) << 3 | (at + 2**17 >= len(data))).to_bytes(3, "little") + block
    return frame


def test_chunks_are_copied_as_they_are_stored_where_the_server_takes_them(layer, sent, tmp_path, monkeypatch):
    """Those whose size no header tells are encoded anew."""
    labels = np.random.default_rng(2).integers(0, 3, SHAPE, dtype=np.uint8)
    labels[:64, :64, :64] = 0
    encode, encoded = DraftSource.encode, []
    monkeypatch.setattr(DraftSource, "encode", lambda self, roi, value: encoded.append(roi) or encode(self, roi, value))
    stored = bp.copy(labels, tmp_path / "a.zarr/0", chunks=(64, 64, 64))
    draft = layer.draft(dtype="uint8")
    bp.copy(stored, draft.source)
    assert encoded == []
    assert len(sent) == 12
    np.testing.assert_array_equal(draft.source[...], labels)
    for file in (tmp_path / "a.zarr/0/c").rglob("*"):
        if file.is_file():
            file.write_bytes(without_size(zstd.decompress(file.read_bytes())))
    stored = bp.open_source(tmp_path / "a.zarr", "0")
    again = layer.draft(dtype="uint8")
    bp.copy(stored, again.source)
    assert encoded
    np.testing.assert_array_equal(again.source[...], labels)


def test_what_is_read_by_boxes_is_what_was_written(layer, tmp_path):
    """Chunks that pack badly do not all come together; a worker reads as the driver does."""
    labels = np.random.default_rng(3).integers(0, 2**63, SHAPE, dtype=np.uint64)
    labels[64:128, 64:] = 0
    draft = layer.draft(dtype="uint64")
    draft.source[...] = labels
    draft.publish()
    stored = layer.load()
    worker = from_spec(SourceSpec.from_json(stored.to_spec().to_json()))
    for source in (stored, worker, stored.fresh(), stored.fresh(cache_bytes=2**24)):
        for index in (..., np.s_[3:100:2, 5, 60:], np.s_[63:65, 63:65, 63:65], np.s_[9:9], np.s_[-1, -1, -1]):
            np.testing.assert_array_equal(source[index], labels[index])
    np.testing.assert_array_equal(bp.copy(stored, f"{tmp_path}/home.zarr/0", job_type="subprocess")[...], labels)


@pytest.mark.parametrize("gone", ["version", "layer", "chunk"])
def test_what_cannot_be_read_is_never_zeros(running, project, again, layer, gone):
    """A version that was pruned, a layer that was removed, a chunk that the disk has lost: always an error."""
    layer.save_new_data(np.ones(SHAPE, np.uint8))
    stored = layer.load()
    worker = from_spec(SourceSpec.from_json(stored.to_spec().to_json()))
    ways = (stored, worker, stored.fresh(), stored.fresh(cache_bytes=2**24))
    version = running.root / "projects" / project.id / "annotations" / layer._dataset.identifier / layer.id
    version = version / f"{layer.version}.zarr"
    if gone == "version":
        version.rename(version.with_name(".gone"))
    elif gone == "chunk":
        (version / "0/c/0/0/0").write_bytes(b"")
    else:
        other = again()
        settings = other.settings()
        settings.remove_layer(settings.layers["cells"])
        other.edit(settings)
    for source in ways:
        for index in (np.s_[:], np.s_[:64:2, :4, :4]):  # by boxes, and by chunk
            with pytest.raises(BioimageError):
                source[index]


def test_a_draft_that_has_gone_is_never_zeros(layer):
    draft = layer.draft()
    draft.source[...] = 1
    other = from_spec(SourceSpec.from_json(draft.source.to_spec().to_json()))
    assert other[0, 0, 0] == 1
    draft.discard()
    with pytest.raises(BioimageError):
        other[0]


def test_who_publishes_second_keeps_what_only_it_changed(project, again, layer):
    layer.save_new_data(np.ones(SHAPE, np.uint8))
    mine, other = layer.draft(), again().descriptors[0].labelmap_layers["cells"]
    theirs = other.draft()
    mine.source[0] = 2
    mine.source[64, 0, 0] = 2
    theirs.source[64, 1, 1] = 0
    theirs.source[-1] = 0
    assert theirs.publish()
    with pytest.raises(ConflictError, match=r"another version|changed here"):
        mine.publish()
    (both,) = mine.rebase()
    assert both == (slice(64, 128), slice(0, 64), slice(0, 64))
    mine.source[64, 1, 1] = np.array(layer.load())[64, 1, 1]
    assert mine.publish()
    found, expected = np.array(again().descriptors[0].labelmap_layers["cells"].load()), np.ones(SHAPE, np.uint8)
    expected[0], expected[64, 0, 0], expected[64, 1, 1], expected[-1] = 2, 2, 0, 0
    np.testing.assert_array_equal(found, expected)


def test_a_lock_that_has_gone_keeps_the_draft(project, again, layer):
    token = project.descriptors[0].lock(60)
    draft = layer.draft()
    draft.source[0] = 1
    token.unlock()
    with again().descriptors[0].lock(60), pytest.raises(LockError):
        draft.publish()
    assert draft.publish()


def test_a_spec_sends_a_token_nowhere_else(layer, monkeypatch):
    spec = layer.draft().source.to_spec()
    asked = []
    monkeypatch.setattr(draft_source, "Connection", lambda *args, **more: asked.append((args, more)))
    elsewhere = SourceSpec(spec.kind, spec.path.replace("127.0.0.1", "127.0.0.2"), params=spec.params)
    with pytest.raises(AccessError, match="no token"):
        from_spec(elsewhere)
    with pytest.raises(FormatError):
        from_spec(SourceSpec(spec.kind, spec.path))
    assert asked == []


def test_a_server_that_was_away_is_asked_again(tmp_path, image):
    """What could not be read once is read when it can be."""
    running = Running(tmp_path / "site")
    try:
        project = Project.create(make_settings(), running.url, "admin", running.password)
        added = project.add_descriptor(image, "first")
        layer = added.labelmap_layers["cells"]
        layer.save_new_data(np.ones(SHAPE, np.uint8))
        stored = layer.load()
        path = next((running.root / "projects" / project.id / "annotations").glob("*/*/*.zarr"))
        path.rename(tmp_path / "away")
        for read in (lambda: np.array(layer.load()), lambda: np.array(bp.open_source(stored.path, "0"))):
            with pytest.raises((OSError, ValueError)):
                read()
        (tmp_path / "away").rename(path)
        np.testing.assert_array_equal(np.array(layer.load()), 1)
        running.kill()
        running.start()
        np.testing.assert_array_equal(np.array(layer.load()), 1)
        np.testing.assert_array_equal(np.array(stored), 1)
    finally:
        running.stop()
