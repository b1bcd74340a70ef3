"""Batch schedulers as their manuals have them, through the conformance suite; their scripts and lists of jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.backends.batch.profile import GRID_ENGINE, LSF, PBS, PROFILES, Profile, profile_of
from bioimage_py.backends.batch.scheduler import BatchScheduler
from bioimage_py.errors import ConfigError
from bioimage_py.runner import BatchConfig
from bioimage_py.testing import BackendConformance

from . import fake_batch


def alive(folder: Path) -> list[dict[str, Any]]:
    return [job for job in fake_batch.jobs(folder) if job["alive"]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A cluster of one host; whatever a test does, nothing may be left in its queue."""
    folder = tmp_path / "site"
    folder.mkdir()
    kind = request.instance.scheduler if request.instance is not None else "lsf"
    monkeypatch.setenv("PATH", f"{fake_batch.install(tmp_path / 'commands', kind)}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_BATCH", str(folder))
    monkeypatch.setenv("FAKE_KIND", kind)
    yield folder
    deadline = time.monotonic() + 60
    while alive(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = alive(folder)
    for job in left:
        fake_batch.end(folder, job["id"], job["index"])
    assert not left


class TestLsf(BackendConformance):
    kind = "batch: LSF"
    impossible = {"node": "the fake of its commands has one host"}
    scheduler = "lsf"
    few_checks = {"exit"}

    @pytest.fixture
    def settings(self, site: Path) -> Mapping[str, Any]:
        return {"job_type": "batch", "job_config": BatchConfig(scheduler=self.scheduler, poll_interval=1.0)}


class TestPbs(TestLsf):
    kind = "batch: PBS"
    few_checks: set[str] = set()
    scheduler = "pbs"


class TestGridEngine(TestLsf):
    kind = "batch: Grid Engine"
    few_checks: set[str] = set()
    scheduler = "grid-engine"


HEAD = {
    "lsf": """#BSUB -J bioimage_py-t[1-3]
#BSUB -o /runs/bioimage_py-t.out
#BSUB -q long
#BSUB -W 90
#BSUB -n 2 -R span[hosts=1]
#BSUB -M 8192MB -R rusage[mem=8192MB]
#BSUB -rn
""",
    "pbs": """#PBS -N bioimage_py-t
#PBS -J 0-2
#PBS -j oe
#PBS -o /runs/bioimage_py-t.out
#PBS -q long
#PBS -l walltime=01:30:00
#PBS -l select=1:ncpus=2:mem=8192mb
#PBS -r n
""",
    "grid-engine": """#$ -N bioimage_py-t
#$ -t 1-3
#$ -S /bin/sh
#$ -j y
#$ -o /runs/bioimage_py-t.out
#$ -q long
#$ -l h_rt=5400
#$ -l h_vmem=8192M
#$ -r n
""",
}


@pytest.mark.parametrize("name", HEAD)
def test_the_script_of_an_array(name: str) -> None:
    config = BatchConfig(scheduler=name, partition="long", time=90, cpus_per_task=2, setup=["module load x"])
    scheduler = BatchScheduler(config.scheduler)
    text = scheduler.script(Path("/runs"), "bioimage_py-t", 3, "run it", config, "8G")
    variable = PROFILES[name].index
    assert text == (
        f"#!/bin/sh\n{HEAD[name]}export BIOIMAGE_PY_TASK=$(({variable} - {PROFILES[name].first}))\n"
        f'export BIOIMAGE_PY_JOB="${PROFILES[name].job}"\nexport BIOIMAGE_PY_JOB_NAME=bioimage_py-t\n'
        "module load x\nexec run it\n"
    )


def test_one_job_is_no_array_where_there_are_none_of_one() -> None:
    config = BatchConfig(scheduler="pbs", options={"-l": "scratch=10G"})
    text = BatchScheduler(config.scheduler).script(Path("/runs"), "n", 1, "run it", config, None)
    assert "#PBS -N n\n#PBS -j oe" in text
    assert "-J" not in text
    assert "#PBS -l scratch=10G\n" in text
    assert "export BIOIMAGE_PY_TASK=0\n" in text


LISTS = {
    "lsf": (
        "12|1|RUN|bioimage_py-a[1]|node7\n12|2|PEND|bioimage_py-a[2]|-\n13|0|EXIT|other|node1:node2\n",
        [("12_0", "bioimage_py-a", "RUNNING"), ("12_1", "bioimage_py-a", "PENDING"), ("13_0", "other", "FAILED")],
    ),
    "pbs": (
        "Job Id: 12[0].host\n    Job_Name = bioimage_py-a\n    job_state = R\n    exec_host = node7/0*2\n\n"
        "Job Id: 12[1].host\n    Job_Name = bioimage_py-a\n    job_state = Q\n    queue = workq\n\n"
        "Job Id: 13.host\n    Job_Name = other\n    job_state = F\n    exec_host = node1/0\n",
        [("12_0", "bioimage_py-a", "RUNNING"), ("12_1", "bioimage_py-a", "PENDING"), ("13_0", "other", "COMPLETED")],
    ),
    "grid-engine": (
        '<job_list state="running">\n<JB_job_number>12</JB_job_number>\n<JB_name>bioimage_py-a</JB_name>\n'
        "<state>r</state>\n<queue_name>all.q@node7</queue_name>\n<slots>1</slots>\n<tasks>1</tasks>\n</job_list>\n"
        '<job_list state="pending">\n<JB_job_number>12</JB_job_number>\n<JB_name>bioimage_py-a</JB_name>\n'
        "<state>qw</state>\n<queue_name></queue_name>\n<slots>1</slots>\n<tasks>2</tasks>\n</job_list>\n"
        '<job_list state="running">\n<JB_job_number>13</JB_job_number>\n<JB_name>other</JB_name>\n'
        "<state>r</state>\n<queue_name>all.q@node1</queue_name>\n<slots>1</slots>\n</job_list>\n",
        [("12_0", "bioimage_py-a", "RUNNING"), ("12_1", "bioimage_py-a", "PENDING"), ("13_0", "other", "RUNNING")],
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_jobs_are_read(name: str) -> None:
    text, expected = LISTS[name]
    found = BatchScheduler(PROFILES[name]).read(text)
    assert [(one.id, one.name, one.state) for one in found] == expected
    assert found[0].node == "node7"
    assert [one.single for one in found] == [False, False, True]


def test_a_scheduler_that_is_down_says_nothing_of_any_job(site: Path) -> None:
    scheduler = BatchScheduler(LSF)
    assert scheduler.queued({"a"}) == set()
    (site / "down").touch()
    assert scheduler.queued({"a"}) is None
    with pytest.raises(OSError, match="does not answer"):
        scheduler.find("a")
    (site / "down").unlink()


def test_profiles_of_ones_own() -> None:
    assert profile_of({"name": "lsf", "most": 7}).most == 7
    assert profile_of(PBS.to_dict()) == PBS
    assert BatchConfig(scheduler=GRID_ENGINE).scheduler is GRID_ENGINE
    for given, said in (
        ("condor", "none of"),
        ({"name": "mine"}, "not whole"),
        ({"name": "lsf", "quue": "a"}, "unknown part"),
        ({"name": "lsf", "record": "(?P<id>x)"}, "has no group"),
        ({"name": "lsf", "record": "("}, "record of the profile"),
        ({"name": "lsf", "states": {"R": "SINGING"}}, "SINGING"),
    ):
        with pytest.raises(ConfigError, match=said):
            BatchConfig(scheduler=given)
    with pytest.raises(ConfigError, match="SLURM alone"):
        BatchConfig(qos="high")
    assert isinstance(BatchConfig().scheduler, Profile)


def test_a_host_that_does_not_submit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = bp.io.create_array(tmp_path / "a.zarr", "x", shape=(4,), dtype="u1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="bsub is not found"):
        bp.stats.max(data, job_type="batch", job_config=BatchConfig(), progress=False)
    with pytest.raises(ConfigError, match="not that of a batch scheduler"):
        bp.stats.max(np.zeros(3), job_type="batch")
