"""Algorithms over a label project give on the cluster the label maps that they give here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_data import config
from virtual_cluster import Cluster

from bioimage_py.projects import Label, Layer, LayerKind, Project, ProjectSettings

SHAPE = (96, 80, 72)


def project_of(path: Path) -> Project:
    """Three volumes, of which one is labelled."""
    labels = [Label(str(value), LayerKind.PIXELWISE, value=value) for value in range(3)]
    project = Project.create(ProjectSettings("cluster", layers=[Layer("cells", LayerKind.PIXELWISE, labels)]), path)
    generator = np.random.default_rng(3)
    for index in range(3):
        project.add_descriptor(generator.integers(0, 255, SHAPE, dtype=np.uint8), f"volume {index}")
    project.save()
    project.descriptors[0].labelmap_layers["cells"].save_new_data(generator.integers(0, 3, SHAPE, dtype=np.uint8))
    return project


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", [{}, {"block_shape": (32, 32, 32), "halo": (2, 1, 1)}], ids=["whole", "blocks"])
def test_apply_on_the_cluster_gives_the_label_maps_of_local(cluster: Cluster, tmp_path: Path, way: Any) -> None:
    def smooth(image: Any, labels: Any) -> Any:  # travels by value
        from scipy import ndimage

        return ((ndimage.uniform_filter(image, 3, mode="mirror") > 127) + labels) % 3

    here, there = project_of(tmp_path / "here"), project_of(tmp_path / "there")
    here.apply(smooth, layer="cells", num_workers=2, progress=False, **way)
    settings = config(mem="600M", time=30, tmp_root=tmp_path / "runs")
    report = there.apply(
        smooth, layer="cells", job_type="slurm", job_config=settings, num_workers=3, progress=False, **way
    )
    assert len(report.changed) == 3
    for one, other in zip(here.descriptors, there.descriptors, strict=True):
        expected = np.array(one.labelmap_layers["cells"].load())
        assert expected.any()
        assert np.array_equal(expected, np.array(other.labelmap_layers["cells"].load()))
    assert cluster.empty(), cluster.jobs()
