"""Annotations that change while a data set is used, copies in the cache, and what is gone."""

from __future__ import annotations

import math
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.datasets import Annotation, DatasetError, ImageDataset, Resource, VideoDataset, VolumeDataset
from bioimage_py.datasets.opening import cache, handles
from bioimage_py.errors import ParameterError, ShapeError, SourceNotFoundError, StorageError
from bioimage_py.projects import BoxSet, Project
from bioimage_py.wrapper import CachedSource

from ..helpers import Later
from .conftest import SHAPE, make_project

nibabel = Later("nibabel", "NIfTI needs nibabel: pip install 'bioimage-blocks[medical]'")


def marked(data: ImageDataset) -> int:
    return int(data[0]["segmentations"]["bob"].sum())


def test_an_edit_is_seen_or_not_as_asked(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 1)
    live, pinned = ImageDataset(project.path), ImageDataset(project.path, auto_update=False)
    assert marked(live) == marked(pinned) == 80
    values = np.zeros(SHAPE, np.uint8)
    values[:3] = 1
    Project.load(project.path).descriptors[0].labelmap_layers["by bob"].save_new_data(values)
    assert marked(live) == 300
    assert marked(pinned) == 80
    assert marked(live) == 300
    values[0] = 0
    project.sync()
    project.descriptors[0].labelmap_layers["by bob"].save_new_data(values)
    assert marked(live) == 200
    project.prune(older_than=-1)
    assert marked(live) == 200
    with pytest.raises(StorageError, match="prune"):
        pinned[0]


def test_a_project_does_not_grow_with_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bioimage_py.datasets.resources import project_store

    data = ImageDataset(make_project(tmp_path / "p", 3).path)
    before = data.store._live  # type: ignore[attr-defined]
    monkeypatch.setattr(project_store, "_MOST_OPENED", 2)
    monkeypatch.setattr(project_store, "_KEPT", 1)
    assert [int(item["segmentations"]["bob"].sum()) for _ in range(2) for item in data] == [80] * 6
    assert data.store._live is not before  # type: ignore[attr-defined]


def test_boxes_of_a_project_are_in_pixels(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 1)
    descriptor = project.descriptors[0]
    descriptor.spacing = (0.5, 2.0, 1.0)
    project.save()
    rows = BoxSet.from_descriptor(descriptor, "boxes")
    rows.add("cell", 0, (0.75, 3.0, -0.5), (4.75, 11.0, 0.5))
    descriptor.boundingbox_layers["boxes"].save_new_data(rows)
    item = ImageDataset(project.path, return_boxes=True)[0]
    assert item["boxes"].tolist() == [[2, 2, 10, 6]]
    assert item["metainfo"]["spacing"] == (1.0, 2.0, 0.5)


def test_boxes_of_times_lie_in_their_frame(tmp_path: Path) -> None:
    project = Project("film", tmp_path / "p")
    project.add_boundingbox_layer("boxes").add_annotation("cell")
    descriptor = project.add_descriptor(np.zeros((4, 8, 8), "u1"), "film", axes=("t", "y", "x"))
    rows = BoxSet.from_descriptor(descriptor, "boxes")
    rows.add("cell", [1, 3], [(0.5, 1.5, -0.5), (-0.5, -0.5, -0.5)], [(2.5, 4.5, 0.5), (1.5, 1.5, 0.5)])
    descriptor.boundingbox_layers["boxes"].save_new_data(rows)
    data = VideoDataset(project.path, return_boxes=True)
    assert data[0]["boxes"].tolist() == [[1, 2, 1, 3, 5, 2], [0, 0, 3, 2, 2, 4]]
    assert [frame["boxes"].tolist() for frame in data.frame_by_frame()] == [[], [[1, 2, 3, 5]], [], [[0, 0, 2, 2]]]


def test_tags_are_labels_and_categories(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", 2)
    project.descriptors[1].tags["Reviewed"].value = True
    project.descriptors[1].tags["Stage"].value = "late"
    project.save()
    data = ImageDataset(project.path)
    assert data.image_labels_set == ["Reviewed"]
    assert data.image_categories_set == [("Stage", "early"), ("Stage", "late")]
    assert data[0]["image_labels"] == {}
    assert data[1]["image_labels"]["unknown"].tolist() == [1]
    assert int(data[1]["image_categories"]["unknown"]) == 1
    assert len(data.filter(tags=["Reviewed"])) == 1


def test_reading_again_tells_no_spec_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each spec that tensorstore tells costs memory that it never gives back: an epoch would grow with its items."""
    from bioimage_py.sources.arrays.tensor_handle import TensorHandle

    told: list[int] = []
    whole = TensorHandle.metadata
    monkeypatch.setattr(TensorHandle, "metadata", lambda self: told.append(1) or whole(self))
    voxels = np.arange(64, dtype="u1").reshape(8, 8)
    bp.copy(voxels, tmp_path / "a.zarr", job_type="local", progress=False)
    data = ImageDataset(resources=[tmp_path / "a.zarr"])
    data[0]
    seen = len(told)
    for _ in range(20):
        assert np.array_equal(data[0]["image"][0], voxels)
    assert len(told) == seen
    bp.copy(voxels[:4], tmp_path / "b.zarr", job_type="local", progress=False)
    source = data.get_resource(0).open()
    source.check_there()
    (tmp_path / "a.zarr").rename(tmp_path / "old")
    with pytest.raises(StorageError):
        source.check_there()
    (tmp_path / "b.zarr").rename(tmp_path / "a.zarr")
    with pytest.raises(StorageError):
        source.check_there()


def test_an_image_that_is_gone(tmp_path: Path) -> None:
    for i in range(2):
        tifffile.imwrite(tmp_path / f"{i}.tif", np.full((4, 4), i, "u1"))
    (tmp_path / "0.tif").unlink()
    given = [tmp_path / "0.tif", tmp_path / "1.tif"]
    with pytest.raises(SourceNotFoundError, match=r"'0\.tif' \(id '.*0\.tif'\)"):
        ImageDataset(resources=given, worklists="all")[0]
    data = ImageDataset(resources=given, on_error="skip")
    assert [item["metainfo"]["name"] for item in data] == ["1.tif"]
    assert data.skipped[0][0].endswith("0.tif")


def test_a_mask_of_another_size() -> None:
    wrong = Resource(np.zeros((4, 4)), "img", annotations=[Annotation.segmentation("a", np.ones((4, 5)), id="m7")])
    with pytest.raises(ShapeError, match=r"'m7'.*'img'.*\(1, 4, 5\).*\(1, 4, 4\)"):
        ImageDataset(resources=[wrong])
    assert [id for id, _ in ImageDataset(resources=[wrong], on_error="skip").skipped] == ["img"]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(cache.VARIABLE, f"{folder}:1000000")
    return folder


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("[!.]*")}


def nifti(path: Path, voxels: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels.T, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def test_slow_images_are_copied_once(kept: Path, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 999, (8, 9, 10)).astype("i2")
    data = VolumeDataset(resources=[nifti(tmp_path / "a.nii.gz", voxels)])
    assert data.prefetch(progress=False) == voxels.nbytes
    first = entries(kept)
    assert len(first) == 1
    left = kept / ".new-of-a-killed-process"
    left.mkdir()
    os.utime(left, (0, 0))
    assert data.prefetch(progress=False) == voxels.nbytes
    assert np.array_equal(data[0]["image"][0], voxels)
    assert entries(kept) == first
    nifti(tmp_path / "a.nii.gz", voxels + 1)  # another content is another entry
    assert np.array_equal(data[0]["image"][0], voxels + 1)
    assert len(entries(kept)) == 2
    assert not left.exists()


def test_large_compressed_images_are_copied_too(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have chunks, of which each is read by decoding what lies before it."""
    voxels = np.random.default_rng(0).integers(0, 999, (8, 9, 10)).astype("i2")
    monkeypatch.setattr("bioimage_py.io.image_files.deflated.WHOLE_BYTES", 100)
    path = nifti(tmp_path / "a.nii.gz", voxels)
    assert bp.open_source(path).streamed
    assert bp.open_source(path).chunks == (1, 9, 10)
    data = VolumeDataset(resources=[path])
    assert np.array_equal(data.slice("sagittal")[3]["image"][0], voxels[:, :, 3])
    assert len(entries(kept)) == 1
    assert cache.is_cached(data.get_resource(0).open())


DAMAGES = {
    "flipped": lambda content, at: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
    "cut": lambda content, at: content[:at],
    "gone": lambda content, at: None,
}


@pytest.mark.parametrize(
    ("damage", "opened"), [("flipped", False), ("cut", False), ("gone", False), ("flipped", True), ("cut", True)]
)
def test_damaged_entries_are_made_anew(kept: Path, tmp_path: Path, damage: str, opened: bool) -> None:
    """Whatever file it is, at whatever place; damaged chunks also where the entry is open."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 999, (8, 9, 200)).astype("i2")
    voxels[:, :, 140:] = 0  # chunks and a shard that are not stored
    data = VolumeDataset(resources=[nifti(tmp_path / "a.nii.gz", voxels)])
    assert np.array_equal(data[0]["image"][0], voxels)
    (entry,) = entries(kept)
    files = sorted(path for path in (kept / entry).rglob("*") if path.is_file())
    assert len(files) == 4  # the group's and the array's metadata, a shard, what is told of them
    for path in files:
        whole = path.read_bytes()
        for at in [] if opened and path.suffix == ".json" else [len(whole) // 3, len(whole) - 1]:
            path.unlink()
            if (broken := DAMAGES[damage](whole, at)) is not None:
                path.write_bytes(broken)
            handles._open.clear()  # as in another process
            if opened:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(cache, "_whole", lambda *_: True)
                    data.get_resource(0).open()
            assert np.array_equal(data[0]["image"][0], voxels)
            if path.name != "zarr.json" or path.parent.name == "0":
                assert path.read_bytes() != broken or broken == whole


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=5))
def test_chunks_of_copies_are_small_and_as_long_in_all_directions(shape: list[int]) -> None:
    chunks = cache.chunks_of(shape)
    assert math.prod(chunks) <= 2**15
    longest = max(chunks)
    assert all(chunk in (size, longest) for chunk, size in zip(chunks, shape, strict=True))
    assert all(size <= 2 * longest for size in shape) or math.prod(min(2 * longest, n) for n in shape) > 2**15


def test_damage_is_found_below_a_cache_of_chunks(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As forked workers read."""
    monkeypatch.setattr(handles, "with_cache", CachedSource)
    voxels = np.random.default_rng(0).integers(0, 999, (8, 9, 40)).astype("i2")
    data = VolumeDataset(resources=[nifti(tmp_path / "a.nii.gz", voxels)])
    data.get_resource(0).open()
    (entry,) = entries(kept)
    chunk = max((path for path in (kept / entry).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    assert np.array_equal(data[0]["image"][0], voxels)


def test_the_cache_has_a_size(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    paths = [nifti(tmp_path / f"{i}.nii.gz", rng.integers(0, 2**15, (20, 20, 20)).astype("i2")) for i in range(4)]
    monkeypatch.setenv(cache.VARIABLE, f"{kept}:40000")
    data = VolumeDataset(resources=paths)
    for _ in range(2):  # those that made room are copied again, and are never read as zeros
        for index, path in enumerate(paths):
            assert np.array_equal(data[index]["image"][0], np.asarray(nibabel.load(path).dataobj).T)
    assert 1 <= len(entries(kept)) <= 2
    monkeypatch.setenv(cache.VARIABLE, f"{kept}:many")
    with pytest.raises(ParameterError, match="many"):
        cache.cache_folder()


def test_prefetch_tells_what_failed_at_the_end(kept: Path, tmp_path: Path) -> None:
    good = nifti(tmp_path / "good.nii.gz", np.zeros((3, 4, 5), "i2"))
    lost = nifti(tmp_path / "lost.nii.gz", np.ones((3, 4, 5), "i2"))
    data = VolumeDataset(resources=[lost, good])
    os.unlink(lost)
    with pytest.raises(DatasetError, match=r"1 of 2 resources.*lost"):
        data.prefetch(progress=False)
    assert len(entries(kept)) >= 1


def read_in_child(data: Any, queue: Any) -> None:
    queue.put([(item["image"], item["segmentations"]["bob"]) for item in data])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_reads_what_its_parent_has_read(tmp_path: Path) -> None:
    """By another library: it lacks the threads of the storage engine."""
    data = ImageDataset(make_project(tmp_path / "p", 2).path)
    expected = [(item["image"], item["segmentations"]["bob"]) for item in data]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(data, queue))
    child.start()
    found = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    for mine, theirs in zip(expected, found, strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])


def test_planes_come_from_the_cache(kept: Path, tmp_path: Path) -> None:
    voxels = np.arange(60, dtype="i2").reshape(3, 4, 5)
    data = VolumeDataset(resources=[nifti(tmp_path / "a.nii.gz", voxels)])
    data.prefetch(include_annotations=True, progress=False)
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.suffix == ""}
    handles._open.clear()
    assert np.array_equal(data.slice("axial")[2]["image"][0], voxels[2])
    assert before.keys() == {path for path in kept.rglob("*") if path.suffix == ""}


def test_chunks_that_are_far_away_are_copied_by_prefetch_only(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = np.arange(120, dtype="i2").reshape(4, 5, 6)
    bp.copy(voxels, tmp_path / "far.zarr/raw", job_type="local", progress=False)
    monkeypatch.setattr(cache, "wants_cache", lambda source: not cache.is_cached(source))  # as if it were far away
    data = VolumeDataset(resources=[tmp_path / "far.zarr/raw"])
    assert np.array_equal(data.slice("axial")[1]["image"][0], voxels[1])
    assert entries(kept) == set()
    assert data.prefetch(progress=False) == voxels.nbytes
    assert len(entries(kept)) == 1
    assert np.array_equal(data[0]["image"][0], voxels)
    assert cache.is_cached(data.get_resource(0).open())
