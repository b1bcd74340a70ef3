"""Algorithms over a project as jobs of a cluster that is this host; slurm_real has the same on a real one."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from bioimage_py.projects import Project
from bioimage_py.runner import SlurmConfig

from ..backends.slurm_fake import fake_slurm

SHAPE = (72, 70, 24)


@pytest.fixture
def queue(tmp_path, monkeypatch):
    if not Path("/proc/self/stat").exists():
        pytest.skip("the made-up scheduler looks for its jobs in /proc")
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    monkeypatch.setenv("PATH", f"{fake_slurm.install(jobs)}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(jobs))
    monkeypatch.setenv("BIOIMAGE_PY_NO_CONFIG", "1")
    yield jobs
    deadline = time.monotonic() + 60  # jobs end by themselves, soon after the call
    while (left := [job["id"] for job in fake_slurm.jobs(jobs) if job["alive"]]) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        subprocess.run(["scancel", *left], check=True)
    assert not left, f"left in the queue: {left}"


@pytest.mark.parametrize("way", [{}, {"block_shape": (32, 32, 24), "halo": (2, 1, 0)}], ids=["whole", "blocks"])
def test_slurm_gives_the_label_maps_of_local(queue, tmp_path, settings, way):
    def smooth(image, labels):  # travels by value
        from scipy import ndimage

        return ((ndimage.uniform_filter(image, (5, 3, 1), mode="mirror") > 127) + labels) % 3

    projects = {}
    for name in ("local", "slurm"):
        generator = np.random.default_rng(3)
        projects[name] = project = Project.create(settings, tmp_path / name)
        for index in range(2):
            project.add_descriptor(generator.integers(0, 255, SHAPE, dtype=np.uint8), f"image {index}")
        labels = generator.integers(0, 3, SHAPE, dtype=np.uint8)
        project.descriptors[0].labelmap_layers["cells"].save_new_data(labels)
        how = {}
        if name == "slurm":
            how = {
                "job_type": "slurm",
                "job_config": SlurmConfig(mem="1G", tmp_root=tmp_path / "runs", poll_interval=1.0),
                "num_workers": 2,
            }
        project.save()
        report = project.apply(smooth, layer="cells", progress=False, **how, **way)
        assert len(report.changed) == 2
    assert fake_slurm.jobs(queue)
    for one, other in zip(*(project.descriptors for project in projects.values()), strict=True):
        expected = np.array(one.labelmap_layers["cells"].load())
        assert expected.any()
        assert np.array_equal(expected, np.array(other.labelmap_layers["cells"].load()))
