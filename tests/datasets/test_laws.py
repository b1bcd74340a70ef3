"""Whatever the annotations: planes, frames and patches say what the whole says there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.datasets import Annotation, ImageDataset, LabelMask, Resource, VolumeDataset
from bioimage_py.sources.array import ArraySource

NUMBERS = itertools.count()


@st.composite
def volumes(draw: st.DrawFn) -> Resource:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = tuple(draw(st.tuples(*[st.integers(1, 5)] * 3)))
    labels = rng.integers(0, 4, shape, dtype=np.uint8)
    marks = []
    for _ in range(draw(st.integers(0, 5))):
        name, author = rng.choice(["a", "b"]), rng.choice(["ann", "bob"])
        kind = draw(st.sampled_from(["volume", "frame", "flat", "map"]))
        if kind == "map":
            mask = LabelMask(
                ("map", next(NUMBERS)), lambda: ArraySource(labels), (0, 1, 2), int(rng.integers(1, 4)), shape
            )
            marks.append(Annotation.segmentation(name, mask, created_by=author))
        elif kind == "frame":
            frame = int(rng.integers(shape[0]))
            marks.append(
                Annotation.segmentation(name, rng.random(shape[1:]) < 0.5, created_by=author, frame_index=frame)
            )
        else:
            some = rng.random(shape if kind == "volume" else shape[1:]) < 0.3
            marks.append(Annotation.segmentation(name, some, created_by=author))
    names = [Annotation.segmentation(name, np.zeros(shape, bool), created_by="ann") for name in "ab"]
    return Resource(rng.integers(0, 99, shape), "v", annotations=[*marks, *names])


OPTIONS = {"return_as_semantic_segmentation": True, "semantic_seg_merge_strategy": "union"}


@settings(max_examples=80, deadline=None)
@given(volumes(), st.integers(0, 2), st.integers(0, 2**16))
def test_parts_say_what_the_whole_says(resource: Resource, axis: int, seed: int) -> None:
    data = VolumeDataset(resources=[resource], seed=seed, **OPTIONS)
    whole = data[0]
    for index, plane in enumerate(data.slice(axis)):
        assert np.array_equal(plane["image"], whole["image"].take(index, 1 + axis))
        assert np.array_equal(plane["segmentations"], whole["segmentations"].take(index, 1 + axis))
    for patch in data.patches(2, per_volume=3, padding=None) if min(resource.shape) > 1 else ():
        region = (slice(None), *(slice(a, b) for a, b in patch["metainfo"]["region"]))
        assert np.array_equal(patch["image"], whole["image"][region])
        assert np.array_equal(patch["segmentations"], whole["segmentations"][region])
    marked = whole["segmentations"][1:].any(axis=0).any(axis=tuple({0, 1, 2} - {axis}))
    shown = [item["metainfo"]["index"] for item in data.slice(axis, empty="drop")]
    assert shown == np.flatnonzero(marked).tolist()


@settings(max_examples=30, deadline=None)
@given(volumes())
def test_instances_and_classes_agree(resource: Resource) -> None:
    instances = VolumeDataset(resources=[resource])[0]
    classes = VolumeDataset(resources=[resource], return_as_semantic_segmentation=True)[0]["segmentations"]
    for author, masks in instances["segmentations"].items():
        for code in (1, 2):
            mine = masks[instances["seg_labels"][author] == code]
            assert np.array_equal(mine.any(axis=0), classes[author][code])
        assert np.array_equal(classes[author][0], ~masks.any(axis=0))


@pytest.mark.parametrize("strategy", ["union", "intersection", "mode", "soft", "staple", None])
@pytest.mark.parametrize("exclusive", [False, True])
def test_without_any_label(strategy: str | None, exclusive: bool) -> None:
    options = {**OPTIONS, "semantic_seg_merge_strategy": strategy, "exclusive": exclusive}
    item = ImageDataset(resources=[np.zeros((3, 4))], voters=["ann"], **options)[0]
    if strategy is None:
        assert item["segmentations"] == {}
    else:
        assert item["segmentations"].shape == ((3, 4) if exclusive else (1, 3, 4))
        assert item["segmentations"].sum() == (0 if exclusive else 12)
