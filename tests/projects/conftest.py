"""A project as several tests use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.projects import Label, Layer, LayerKind, Project, ProjectSettings, Tag, TagKind

from ..server.again import places

SHAPE = (40, 40, 40)


def make_settings() -> ProjectSettings:
    pixel, box = LayerKind.PIXELWISE, LayerKind.BOUNDINGBOX
    return ProjectSettings(
        name="demo",
        tags=[
            Tag("Reviewed", TagKind.Bool, (0, 255, 0)),
            Tag("Quality", TagKind.Float, (0, 0, 255)),
            Tag("Stage", TagKind.Enum, (255, 0, 0), ["early", "late"]),
        ],
        layers=[
            Layer(
                "cells",
                pixel,
                [
                    Label("Background", pixel, (0, 0, 0), value=0),
                    Label("nucleus", pixel, (255, 0, 0), value=1),
                    Label("membrane", pixel, (0, 255, 0), value=2),
                ],
            ),
            Layer("boxes", box, [Label("cell", box, (1, 2, 3)), Label("debris", box, (3, 2, 1))]),
            Layer("points", LayerKind.LANDMARK, [Label("tip", LayerKind.LANDMARK)]),
        ],
    )


@pytest.fixture
def settings() -> ProjectSettings:
    return make_settings()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A saved project with one data set, "raw", of 40³ voxels."""
    project = Project.create(make_settings(), tmp_path / "project")
    project.add_descriptor(np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE), "raw")
    project.save()
    return project


@pytest.fixture
def again(project: Project) -> Callable[[], Project]:
    """Open the project as somebody else would."""
    return lambda: Project.load(project.path)


@pytest.fixture
def files(project: Project) -> Callable[[], dict[str, bytes]]:
    """Read every document of the project."""
    root = places.root(project)

    def read() -> dict[str, bytes]:
        found = [root / "project.json", *(root / "descriptors").glob("*")]
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    return read
