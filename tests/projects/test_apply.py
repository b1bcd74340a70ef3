"""Algorithms over the data sets of a project."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import project_kills
import pytest

import bioimage_py as bp
from bioimage_py.errors import ConflictError, LockError, RunnerError
from bioimage_py.projects import Descriptor, LockToken, Project

SHAPE = (72, 20, 24)
"""Two chunks, so that two workers have something to do."""


def images(count=3):
    generator = np.random.default_rng(5)
    return [generator.integers(0, 255, SHAPE, dtype=np.uint8) for _ in range(count)]


def bright(image, labels):
    """Neighbours count, so that blocks need a halo of 1."""
    from scipy import ndimage

    return (ndimage.uniform_filter(image, 3, mode="mirror") > 127).astype(np.uint8)


def advance(image, labels):
    return (labels + 1) % 3


@pytest.fixture
def several(tmp_path, settings):
    project = Project.create(settings, tmp_path / "several")
    for index, image in enumerate(images()):
        project.add_descriptor(image, f"image {index}")
    project.save()
    return project


def stored(project, layer="cells"):
    found = [descriptor.labelmap_layers[layer].load() for descriptor in Project.load(project.path).descriptors]
    return [None if labels is None else np.array(labels) for labels in found]


WAYS = {
    "whole": {},
    "whole, two threads": {"num_workers": 2},
    "whole, subprocess": {"job_type": "subprocess", "num_workers": 2},
    "blocks": {"block_shape": (16, 20, 24), "halo": 1},
    "blocks of any shape": {"halo": 1, "num_workers": 2},
    "blocks, subprocess": {"block_shape": (16, 16, 8), "halo": (1, 2, 1), "job_type": "subprocess", "num_workers": 2},
}


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_gives_the_same_label_maps(several, way):
    report = several.apply(bright, layer="cells", progress=False, **WAYS[way])
    assert report.changed == tuple(several.descriptors.identifiers)
    assert not report.unchanged
    for image, labels in zip(images(), stored(several), strict=True):
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, bright(image, None))
        assert labels.any()
    # this project object sees what its workers published
    assert np.array_equal(several.descriptors[0].labelmap_layers["cells"].load(), bright(images()[0], None))
    assert not list(Path(several.path).glob(".apply/*"))
    again = several.apply(bright, layer="cells", progress=False, **WAYS[way])
    assert again.unchanged == report.changed
    assert not again.changed


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
def test_none_leaves_label_maps_untouched(several, way):
    several.descriptors[1].labelmap_layers["cells"].save_new_data(np.full(SHAPE, 2, np.uint8))
    times = [descriptor.latest_edit_time for descriptor in several.descriptors]
    seen = []

    def nothing(image, labels):
        seen.append(int(labels.max()))
        labels += 1  # on arrays of its own

    report = several.apply(nothing, layer="cells", progress=False, **way)
    assert set(seen) == {0, 2}
    assert (report.changed, report.unchanged) == ((), tuple(several.descriptors.identifiers))
    maps = stored(several)
    assert maps[0] is None
    assert np.all(maps[1] == 2)
    assert [descriptor.latest_edit_time for descriptor in Project.load(several.path).descriptors] == times


def test_none_for_some_blocks_keeps_those(several):
    layer = several.descriptors[0].labelmap_layers["cells"]
    before = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3
    layer.save_new_data(before.astype(np.uint8))

    corner = images()[0][64, 0, 0]

    def half(image, labels):
        return np.ones_like(labels) if labels.shape[0] == 8 and image[0, 0, 0] == corner else None

    for dtype in (None, np.uint16):
        layer.save_new_data(before.astype(np.uint8))
        several.apply(half, layer="cells", descriptors=[0], block_shape=(64, 20, 24), dtype=dtype, progress=False)
        expected = before.copy()
        expected[64:] = 1
        assert np.array_equal(stored(several)[0], expected)


def test_axes_of_the_image_stay_as_they_are(several):
    image = np.random.default_rng(1).integers(0, 9, (3, 20, 24), dtype=np.uint8)
    several.add_descriptor(image, "colour", axes=("c", "y", "x"))
    shapes = set()

    def note(image, labels):
        shapes.add((image.shape, labels.shape))
        return image.max(axis=0) > 4

    whole = several.apply(note, layer="cells", descriptors=["colour"], progress=False)
    assert shapes == {((3, 20, 24), (20, 24))}
    assert len(whole.changed) == 1
    assert np.array_equal(stored(several)[3], image.max(axis=0) > 4)
    shapes.clear()
    several.apply(note, layer="cells", descriptors=["colour"], block_shape=16, halo=2, progress=False)
    assert ((3, 18, 18), (18, 18)) in shapes
    assert np.array_equal(stored(several)[3], image.max(axis=0) > 4)


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
def test_without_images_no_pixel_is_read(several, monkeypatch, way):
    def refuse(*_):
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Descriptor, "load_image", refuse)
    several.apply(lambda image, labels: labels + (image is None), layer="cells", image=False, progress=False, **way)
    assert all(np.all(labels == 1) for labels in stored(several))


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
def test_values_without_label(several, way):
    name = several.descriptors[0].name

    def seven(image, labels):
        return np.full_like(labels, 7)

    with pytest.raises(RunnerError, match=r"values \[7\].*'cells' have \[0, 1, 2\]") as caught:
        several.apply(seven, layer="cells", progress=False, **way)
    assert name in str(caught.value)
    assert stored(several) == [None] * 3
    with pytest.warns(UserWarning, match=r"values \[7\] that no label of the layer 'cells' has"):
        several.apply(seven, layer="cells", progress=False, unknown="warn", **way)
    assert all(np.all(labels == 7) for labels in stored(several))
    free = several.add_labelmap_layer("free")
    several.apply(lambda image, labels: labels + 70_000, layer=free, progress=False, **way)
    assert all(np.all(labels == 70_000) for labels in stored(several, "free"))


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}, {"job_type": "subprocess"}])
def test_errors_name_the_data_set_and_what_is_done_stays(several, tmp_path, way):
    fine = tmp_path / "fine"

    def sometimes(image, labels):
        if not fine.exists() and (image[:2, :2, :2] == images()[1][:2, :2, :2]).all():
            raise ZeroDivisionError("of no use")
        return labels * 0 + 1

    with pytest.raises(RunnerError, match="of no use") as caught:
        several.apply(sometimes, layer="cells", progress=False, **way)
    assert "'image 1'" in str(caught.value)
    maps = stored(several)
    assert np.all(maps[0] == 1)
    assert maps[1] is None
    fine.touch()
    report = several.apply(sometimes, layer="cells", progress=False, **way)
    assert several.descriptors[0].identifier in report.before
    assert several.descriptors[1].identifier in report.changed
    assert all(np.all(labels == 1) for labels in stored(several))


def test_wrong_results_are_refused(several):
    for wrong, text in ((lambda image, labels: labels[1:], "shape"), (lambda image, labels: labels * 0.5, "float64")):
        with pytest.raises(RunnerError, match=text):
            several.apply(wrong, layer="cells", descriptors=[0], progress=False, retries=0)
    with pytest.raises(ValueError, match="unknown='ignore'"):
        several.apply(advance, layer="cells", unknown="ignore")
    with pytest.raises(KeyError, match="no layer"):
        several.apply(advance, layer="boxes")
    with pytest.raises(TypeError, match="mask"):
        several.apply(advance, layer="cells", mask=None)
    with pytest.raises(ValueError, match="knows its own runs"):
        several.apply(advance, layer="cells", resume="somewhere")


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
@pytest.mark.slow
def test_locks(several, way):
    other = Project.load(several.path)
    with other.descriptors[1].lock() as token:
        with pytest.raises(LockError, match=r"'image 1': .* is locked by"):
            several.apply(advance, layer="cells", progress=False, **way)
        assert stored(several) == [None] * 3
        tokens = {several.descriptors[1].identifier: LockToken(token.token)}
        several.apply(advance, layer="cells", lock_tokens=tokens, progress=False, **way)
        other.sync()
        other.apply(advance, layer="cells", progress=False, **way)  # which knows its own
    assert all(np.all(labels == 2) for labels in stored(several))


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
@pytest.mark.slow
def test_transactions(several, way):
    with suppress(ZeroDivisionError), several:
        several.apply(advance, layer="cells", progress=False, **way)
        assert np.all(several.descriptors[0].labelmap_layers["cells"].load()[...] == 1)
        raise ZeroDivisionError
    assert stored(several) == [None] * 3
    with several:
        several.add_descriptor(images()[0], "new")
        several.apply(advance, layer="cells", progress=False, **way)
        several.apply(advance, layer="cells", progress=False, **way)
        assert stored(several) == [None] * 3
    assert [int(labels.max()) for labels in stored(several)] == [2] * 4


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
@pytest.mark.slow
def test_a_label_map_that_somebody_else_saves_meanwhile_is_not_overwritten(several, way):
    identifier, path = several.descriptors[0].identifier, several.path

    def slow(image, labels):
        if not labels.any():
            layer = Project.load(path).descriptors[identifier].labelmap_layers["cells"]
            layer.save_new_data(np.full(SHAPE, 1, np.uint8))
        return labels * 0 + 2 - labels % 2

    with pytest.raises((ConflictError, RunnerError)) as caught:
        several.apply(slow, layer="cells", descriptors=[0], progress=False, retries=0, **way)
    assert "another version" in str(caught.value) or "changed" in str(caught.value)
    assert np.all(stored(several)[0] == 1)
    several.apply(slow, layer="cells", descriptors=[0], progress=False, **way)
    assert np.all(stored(several)[0] == 1)


PROGRAM = """
import sys
import numpy as np
from bioimage_py.projects import Project
def advance(image, labels):
    return (labels + 1) % 3
Project.load(sys.argv[1]).apply(advance, layer="cells", progress=False, **eval(sys.argv[2]))
"""


@pytest.mark.some(2)
@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
@pytest.mark.parametrize("point", ["draft:2", "commit:1", "commit:2"])
def test_a_call_that_dies_is_continued_and_does_nothing_twice(several, tmp_path, way, point):
    token = tmp_path / "token"
    token.touch()
    command = [sys.executable, "-c", PROGRAM, several.path, repr(way)]
    env = project_kills.environment(BIOIMAGE_PY_FAULT=f"project-{point}:{token}")
    assert subprocess.run(command, env=env, check=False).returncode < 0
    assert not token.exists()
    # the descriptor's file was renamed, but nobody was told
    maps = stored(several)
    assert sum(labels is not None for labels in maps) < 3
    subprocess.run(command, env=project_kills.environment(), check=True)
    assert [(labels.min(), labels.max()) for labels in stored(several)] == [(1, 1)] * 3
    assert not os.path.exists(f"{several.path}/.apply") or not os.listdir(f"{several.path}/.apply")


@pytest.mark.parametrize("way", [{}, {"block_shape": (16, 20, 24)}])
@pytest.mark.slow
def test_a_call_in_a_call_pulls_nothing_away(several, way):
    path, calls = several.path, []

    def begins_anew(image, labels):
        if not calls:
            calls.append(1)
            other = Project.load(path)
            other.apply(begins_anew, layer="cells", resume="never", progress=False, **way)
        return labels * 0 + 1 + len(calls) % 2

    with pytest.raises((ConflictError, RunnerError)):
        several.apply(begins_anew, layer="cells", retries=0, progress=False, **way)
    assert all(np.all(labels == 2) for labels in stored(several))


def test_a_mark_that_was_being_written_does_not_keep_the_call_open(several, monkeypatch):
    from bioimage_py.projects.jobs.algorithm import Journal

    made = []

    def torn(journal, identifier):
        made.append(journal.folder / journal.run / f".{identifier}.1.2")
        made[-1].parent.mkdir(exist_ok=True)
        made[-1].touch()

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", torn)
        several.apply(advance, layer="cells", progress=False)
    assert len(made) == 3
    several.apply(advance, layer="cells", progress=False)
    assert all(np.all(labels == 2) for labels in stored(several))


def test_large_values_are_told_apart(several):
    big = several.add_labelmap_layer("big")
    big.add_annotation("one", 2**63 + 1)
    only = {"layer": "big", "descriptors": [0], "progress": False, "retries": 0}
    with pytest.raises(RunnerError, match=str(2**63)):
        several.apply(lambda image, labels: labels * 0 + np.uint64(2**63), **only)
    several.apply(lambda image, labels: labels * 0 + np.uint64(2**63 + 1), **only)
    assert stored(several, "big")[0].max() == 2**63 + 1


def test_settings_that_publish_nothing_are_refused(several):
    with bp.execution("local", debug=True), pytest.raises(ValueError, match="cannot be called with debug=True"):
        several.apply(advance, layer="cells")
    assert stored(several) == [None] * 3


def test_other_code_is_another_call(several):
    with bp.execution("local", progress=False):
        several.apply(advance, layer="cells")
        several.apply(lambda image, labels: labels + 1, layer="cells")
    assert all(np.all(labels == 2) for labels in stored(several))


SLOW = """
import sys
import time
from bioimage_py.projects import Project
def slow(image, labels):
    time.sleep(0.2)
    return labels + 1
how = {"job_type": "subprocess", "num_workers": 2, "progress": False, "unknown": "warn"}
Project.load(sys.argv[1]).apply(slow, layer="cells", **how)
"""


def test_workers_that_outlive_their_driver_do_nothing_twice(several):
    command = [sys.executable, "-c", SLOW, several.path]
    for _ in range(6):
        several.add_descriptor(images(1)[0])
    several.save()
    driver = subprocess.Popen(command, env=project_kills.environment())
    while not any(labels is not None for labels in stored(several)):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    assert subprocess.run(command, env=project_kills.environment(), check=False).returncode == 0
    assert [(labels.min(), labels.max()) for labels in stored(several)] == [(1, 1)] * 9
