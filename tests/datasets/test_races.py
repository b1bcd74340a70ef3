"""Workers that read while somebody edits: each item is one that was saved, and the last one is seen by all."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_py.datasets import ImageDataset
from bioimage_py.errors import BioimageError
from bioimage_py.projects import Label, Layer, LayerKind, Project, ProjectSettings
from bioimage_py.spaces import ObjectClass, ObjectInstance, Ontology, Polygon

CELL = Label("cell", LayerKind.PIXELWISE, (255, 0, 0), value=1)
SAVED = 12


def watch(data: ImageDataset, done: str, answers: Any) -> None:
    """Read until a file says that it is over, and once more; tell areas by author of all items."""
    seen, over = [], False
    try:
        while not over:
            over = Path(done).exists()
            seen.append({author: int(masks.sum()) for author, masks in data[0]["segmentations"].items()})
    except (BioimageError, OSError, ValueError) as error:
        seen.append(repr(error))
    answers.put(seen)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_every_item_is_one_that_was_saved(method: str, tmp_path: Path) -> None:
    ontology = Ontology([ObjectClass("cell", "polygon", id="cell")])
    layers = [Layer("by hand", LayerKind.PIXELWISE, [CELL])]
    project = Project.create(ProjectSettings("p", layers=layers, ontology=ontology), tmp_path / "p")
    with project:
        image = project.add_descriptor(np.zeros((32, 32), "u1"), "image")

    def save(size: int) -> None:
        """Both in one transaction: a label map and an object of the same size."""
        square = Polygon([(0, 0), (size, 0), (size, size), (0, size)])
        labels = np.zeros((32, 32), "u1")
        labels[:size, :size] = 1
        with project:
            image.labelmap_layers["by hand"].save_new_data(labels)
            made = ObjectInstance(ontology.object_class("cell"), "one")
            image.space().put_object(made, square, units="pixel", on_overlap="replace", created_by="ada")

    save(1)
    data, done = ImageDataset(project.path), tmp_path / "done"
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    workers = [context.Process(target=watch, args=(data, str(done), answers), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    for size in range(2, SAVED + 1):
        save(size)
        time.sleep(0.1)  # so that the workers, which take a moment to start, see some of them
    done.touch()
    for _ in workers:
        seen = answers.get(timeout=300)
        assert all(isinstance(areas, dict) for areas in seen), seen[-1]
        assert all(len(set(areas.values())) == 1 and len(areas) == 2 for areas in seen)
        sizes = [next(iter(areas.values())) for areas in seen]
        assert set(sizes) <= {size**2 for size in range(1, SAVED + 1)}
        assert sizes == sorted(sizes)
        assert sizes[-1] == SAVED**2
    for worker in workers:
        worker.join(timeout=60)
