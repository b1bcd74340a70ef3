"""Data sets of a project on a server: the items of its folder, in workers too, and without it once prefetched."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.datasets import DatasetError, ImageDataset
from bioimage_py.errors import ParameterError
from bioimage_py.projects import BoxSet, Project
from bioimage_py.spaces import Box, ObjectClass, ObjectInstance, Ontology

from ...datasets.conftest import MARKS, SHAPE, make_project
from ..starting import Running

pytestmark = pytest.mark.processes


def filled(path: Path) -> Project:
    """Label maps, boxes, tags and a space."""
    local = make_project(path, 3)
    changed = local.settings()
    changed.ontology = Ontology([ObjectClass("spot", "bounding_box")])
    local.edit(changed)
    with local:
        first = local.descriptors[0]
        rows = BoxSet.from_descriptor(first, "boxes")
        rows.add("cell", 0, (1, 2, -0.5), (4, 5, 0.5))
        first.boundingbox_layers["boxes"].save_new_data(rows)
        first.tags["Reviewed"].value, first.tags["Stage"].value = True, "late"
        first.space().put_object(ObjectInstance(local.ontology.objects[0]), Box((1, 1), (5, 5)))
    return local


def flat(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: flat(entry) for key, entry in value.items()}
    return (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray | np.generic) else value


def items(data: ImageDataset) -> list[Any]:
    return [flat(item) for item in data]


def test_items_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOIMAGE_PY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bioimage_py.projects.remote.patience.SECONDS", 1.0)
    running = Running(tmp_path / "site")
    try:
        local = filled(tmp_path / "local")
        sent = Project.upload(local, running.url, "admin", running.password)
        options = {"return_boxes": True, "worklists": None}
        data, pinned = ImageDataset(sent, **options), ImageDataset(sent, auto_update=False, **options)
        assert data.project == sent.path
        expected = items(ImageDataset(local, **options))
        assert items(data) == expected
        assert len(expected[0]["boxes"][1]) == 2
        assert not list((tmp_path / "cache").glob("*"))  # what an item needs comes by chunk
        again = pickle.dumps(data)
        assert running.password.encode() not in again
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(items, data).result(120) == expected
        with pytest.raises(DatasetError, match="server, which keeps no splits"):
            data.split(a=0.5, b=0.5, seed=1).save()
        values = np.zeros(SHAPE, np.uint8)
        values[:3] = 1
        sent.descriptors[1].labelmap_layers["by bob"].save_new_data(values)
        marked = [int(one[1]["segmentations"]["bob"].sum()) for one in (data, pinned)]
        assert marked == [300, int(MARKS["bob"]["a"].sum())]
        now = items(data)
        assert data.prefetch(progress=False) == 3 * 2 * SHAPE[0] * SHAPE[1] * 2
        running.stop()
        with pytest.warns(UserWarning, match="not known"):
            assert items(data) == now
        with pytest.raises(ParameterError, match="No project is named"):
            ImageDataset(running.url, api_key="secret")
    finally:
        if running.process.poll() is None:
            running.stop()
