"""Two authors who mark ten images, in a list and in a project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.datasets import Annotation, Resource
from bioimage_py.projects import Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind

SHAPE = (80, 100)


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 60000, (2, *SHAPE), dtype=np.uint16)


def mask(*corners: int) -> np.ndarray:
    y0, y1, x0, x1 = corners
    found = np.zeros(SHAPE, bool)
    found[y0:y1, x0:x1] = True
    return found


MARKS = {
    "ann": {"a": mask(0, 10, 0, 10), "b": mask(20, 30, 20, 40)},
    "bob": {"a": mask(4, 12, 0, 10)},  # 80 pixels, of which ann has 60
}


def resources(count: int = 10) -> list[Resource]:
    marks = [
        Annotation.segmentation(name, found, created_by=author)
        for author, each in MARKS.items()
        for name, found in each.items()
    ]
    return [Resource(image(i), f"image {i}", axes="cyx", annotations=marks) for i in range(count)]


def settings() -> ProjectSettings:
    pixel = LayerKind.PIXELWISE
    labels = [Label("a", pixel, (255, 0, 0), value=1), Label("b", pixel, (0, 255, 0), value=2)]
    return ProjectSettings(
        name="marks",
        tags=[Tag("Reviewed", TagKind.Bool), Tag("Stage", TagKind.Enum, options=["early", "late"])],
        layers=[
            Layer("by ann", pixel, labels),
            Layer("by bob", pixel, [label.model_copy(update={"id": ""}) for label in labels]),
            Layer("boxes", LayerKind.BOUNDINGBOX, [Label("cell", LayerKind.BOUNDINGBOX)]),
        ],
    )


def make_project(path: Path, count: int = 10) -> Project:
    project = Project.create(settings(), path)
    with project:
        project.configuration = {"annotators": {"by ann": "ann", "by bob": "bob"}}
        for i in range(count):
            descriptor = project.add_descriptor(image(i), f"image {i}", axes=("c", "y", "x"))
            for author, each in MARKS.items():
                values = np.zeros(SHAPE, np.uint8)
                for value, name in enumerate("ab", 1):
                    values[each.get(name, np.zeros(SHAPE, bool))] = value
                descriptor.labelmap_layers[f"by {author}"].save_new_data(values)
    return project


@pytest.fixture
def listed() -> Callable[..., list[Resource]]:
    return resources


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "marks.project", 3)
