"""A script that runs as the driver job of its pipeline: told, ended, gone on with after its death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main
from bioimage_py.errors import ConfigError
from bioimage_py.pipelines.detached import DetachedPipeline
from bioimage_py.pipelines.folder import known_calls
from tests.backends.slurm_fake import fake_slurm

SCRIPT = """
import sys, time
from pathlib import Path
import bioimage_py as bp
from bioimage_py.runner import SlurmConfig

def slow(block, inputs, outputs, mask):
    time.sleep(float(Path("seconds").read_text()))
    roi = bp.to_roi(block)
    outputs[0][roi] = inputs[0][roi] + 1

how = {"job_type": sys.argv[1], "num_workers": 2, "progress": False, "detach": "detach" in sys.argv}
if sys.argv[1] == "slurm":
    how["job_config"] = SlurmConfig(mem="1G", latency_wait=5.0, poll_interval=1.0, idle_timeout=60.0)
print("before the pipeline", flush=True)
with bp.pipeline("script.run", **how) as p:
    last = bp.open_source("raw.zarr", "x")
    for number in range(3):
        target = bp.io.create_array(f"{number}.zarr", "", shape=(16, 16), dtype="u1", chunks=(4, 4))
        bp.map_blocks(slow, [last], [target], block_shape=4, name=f"slow{number}")
        last = target
print("ended with", [call.action for call in p.explain()])
"""


class Site:
    """A folder with a script, and what is begun there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pipeline = folder, DetachedPipeline(folder / "script.run")
        (folder / "script.py").write_text(SCRIPT)
        self.seconds(0)
        raw = bp.io.create_array(folder / "raw.zarr", "x", shape=(16, 16), dtype="u1", chunks=(8, 8))
        raw[...] = np.arange(256).reshape(16, 16) % 100

    def seconds(self, of_a_block: float) -> None:
        (self.folder / "seconds").write_text(str(of_a_block))

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "script.py", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)

    def begun(self, name: str) -> bool:
        return any(call.name == name for call in known_calls(self.folder / "script.run"))

    def ended(self) -> str:
        wait(lambda: self.pipeline.status().state not in ("waiting or running", "unknown"))
        return self.pipeline.status().state

    def right(self) -> None:
        raw = bp.open_source(self.folder / "raw.zarr", "x")[...]
        np.testing.assert_array_equal(bp.open_source(self.folder / "2.zarr")[...], raw + 3)
        assert not list((self.folder / ".bioimage_py").glob("[!.]*")), "no run folder is left"


def wait(true: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(params=["local", "subprocess", "slurm"])
def job_type(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_type: str) -> Iterator[Site]:
    if job_type == "slurm":
        jobs = tmp_path / "slurm"
        jobs.mkdir()
        monkeypatch.setenv("PATH", f"{fake_slurm.install(tmp_path / 'site')}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_SLURM", str(jobs))
        monkeypatch.setenv("BIOIMAGE_PY_NO_CONFIG", "1")
    found = Site(tmp_path)
    yield found
    if job_type == "slurm" and (left := [job["id"] for job in fake_slurm.jobs(jobs) if job["alive"]]):
        subprocess.run(["scancel", *left], check=True)


@pytest.mark.processes
def test_a_script_goes_on_as_a_job(site: Site, job_type: str) -> None:
    began = site.start(job_type, "detach")
    assert began.returncode == 0, began.stderr
    assert began.stdout == "before the pipeline\n", "nothing behind that line has run here"
    assert "bioimage-py pipeline cancel" in began.stderr
    assert site.ended() == "finished"
    site.right()
    log = site.pipeline.log.read_text()
    assert "before the pipeline" in log
    assert "ended with ['run', 'run', 'run']" in log
    again = site.start(job_type)
    assert "ended with ['skipped', 'skipped', 'skipped']" in again.stdout, again.stderr
    told = CliRunner().invoke(main, ["pipeline", "status", str(site.folder / "script.run")])
    assert "finished" in told.output
    assert str(site.pipeline.log) in told.output


@pytest.mark.processes
def test_a_job_that_is_killed_is_told_and_the_next_one_goes_on(site: Site, job_type: str) -> None:
    site.seconds(0.1)
    assert site.start(job_type, "detach").returncode == 0
    wait(lambda: site.begun("slow1"))
    site.seconds(3)
    again = site.start(job_type, "detach")
    assert again.returncode == 1
    assert "waiting or running" in again.stderr
    told = site.pipeline._told()["program"]
    if job_type == "slurm":
        (pid,) = [job["pid"] for job in fake_slurm.jobs(site.folder / "slurm") if job["name"] == told["name"]]
    else:
        pid = told["pid"]
    os.kill(pid, signal.SIGKILL)
    assert site.ended() == "died"
    done = {call.number: call.finished for call in known_calls(site.folder / "script.run") if call.done}
    site.seconds(0)
    assert site.start(job_type, "detach").returncode == 0
    assert site.ended() == "finished", site.pipeline.log.read_text()
    site.right()
    assert done.items() <= {call.number: call.finished for call in known_calls(site.folder / "script.run")}.items(), (
        "a finished call was done again"
    )


@pytest.mark.processes
def test_a_job_is_cancelled_with_its_workers(site: Site, job_type: str) -> None:
    site.seconds(0.2)
    assert site.start(job_type, "detach").returncode == 0
    wait(lambda: len(list((site.folder / "0.zarr" / "c").glob("*/*"))) > 3)
    told = CliRunner().invoke(main, ["pipeline", "cancel", str(site.folder / "script.run")])
    assert told.exit_code == 0, told.output
    assert "cancelled" in told.output
    if job_type == "slurm":
        wait(lambda: not [job for job in fake_slurm.jobs(site.folder / "slurm") if job["alive"]])
    site.seconds(0)
    ended = site.start(job_type)
    assert "ended with ['run', 'run', 'run']" in ended.stdout, ended.stderr
    site.right()


@pytest.mark.processes
@pytest.mark.parametrize("job_type", ["slurm"], indirect=True)
def test_a_job_whose_time_is_up_hands_over(site: Site, job_type: str) -> None:
    (site.folder / "script.toml").write_text("[execution]\ndetach = true\n")
    site.seconds(0.3)
    assert site.start(job_type).returncode == 0
    wait(lambda: len(list((site.folder / "0.zarr" / "c").glob("*/*"))) > 3)
    first = site.pipeline._told()["program"]
    (pid,) = [job["pid"] for job in fake_slurm.jobs(site.folder / "slurm") if job["name"] == first["name"]]
    os.kill(pid, signal.SIGUSR2)
    wait(lambda: site.pipeline._told()["program"] != first)
    site.seconds(0)
    assert site.ended() == "finished", site.pipeline.log.read_text()
    site.right()


@pytest.mark.processes
@pytest.mark.parametrize("job_type", ["local"], indirect=True)
def test_a_script_that_fails_says_so_and_the_command_line_detaches_any(site: Site, job_type: str) -> None:
    script = site.folder / "script.py"
    script.write_text(SCRIPT.replace("last = target\n", "last = target\n    raise ValueError('not today')\n"))
    command = [sys.executable, "-m", "bioimage_py", "pipeline", "run", "--detach", str(script), job_type]
    began = subprocess.run(command, cwd=site.folder, capture_output=True, text=True, timeout=120)
    assert began.returncode == 0, began.stderr
    assert site.ended() == "failed"
    assert "ValueError: not today" in str(site.pipeline.status())
    assert "Traceback" in site.pipeline.log.read_text()
    script.write_text("print(1)")
    began = subprocess.run(command, cwd=site.folder, capture_output=True, text=True, timeout=120)
    assert began.returncode == 1
    assert "no `with bioimage_py.pipeline(...)` block" in began.stderr


def test_what_cannot_be_detached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(ConfigError, match="no script that a job could run"), bp.pipeline(tmp_path / "p", detach=True):
        pass
    with bp.pipeline(tmp_path / "q") as p:
        assert p.folder == tmp_path / "q"
    with pytest.raises(ConfigError, match="was not detached"):
        DetachedPipeline(tmp_path / "q").status()
