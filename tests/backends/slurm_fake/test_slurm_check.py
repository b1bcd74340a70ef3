"""`bioimage-py slurm init|check` against made-up answers of SLURM's commands; the probe is a real process."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bioimage_py.backends.slurm import commands, node_probe, site, site_check
from bioimage_py.cli.main import main

SINFO = """\
cpu*|up|2-00:00:00|128000|32|(null)|40
cpu*|up|2-00:00:00|96000+|32|(null)|2
gpu|up|1-00:00:00|64000|8|gpu:a100:4|4
long|up|infinite|128000|32|(null)|3
old|down|1:00:00|1000|2|(null)|1
"""


class Site:
    """A scheduler that says what a test wants, and runs jobs on this host."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.answers = {
            "sinfo": SINFO,
            "scontrol": "MaxArraySize            = 1001\nMaxJobCount             = 10000\n",
            "sacct": "",
            "sacctmgr": "500\n\n",
            "sbatch": "slurm 23.02\n",
            "squeue": "PENDING Resources",
        }
        self.silent: set[str] = set()
        self.job: Any = self.runs
        self.in_queue: set[str] = {"7"}
        self.cancelled: list[tuple[str, ...]] = []
        self.config = folder / "config.toml"
        patch.setenv("BIOIMAGE_PY_CONFIG", str(self.config))
        patch.setattr(commands, "run", self.run)
        patch.setattr(commands, "submit", lambda *arguments: self.job(*arguments))
        patch.setattr(commands, "queued", lambda names: self.in_queue)
        patch.setattr(commands, "cancel", lambda *what: self.cancelled.append(what))
        patch.setattr(shutil, "which", lambda name: None if name in self.silent else f"/bin/{name}")
        patch.setattr(node_probe, "PATIENCE", 2.0)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        failed = command[0] in self.silent
        told = "" if failed else self.answers[command[0]]
        return subprocess.CompletedProcess(command, int(failed), told, "is closed\nreally" if failed else "")

    def runs(self, folder: Path, name: str, n_jobs: int, command: str, *rest: Any) -> str:
        with open(folder / "7_0_log.out", "w") as log:
            subprocess.Popen(shlex.split(command), stdout=log, stderr=log)
        return "7"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["slurm", *arguments])


def checked(folder: Path, *options: str) -> dict[str, Any]:
    result = call("check", "--folder", str(folder), "--timeout", "20", "--json", *options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    told: dict[str, Any] = json.loads(result.output)
    assert result.exit_code == (0 if told["ok"] else 1)
    return {**told, **{finding["what"]: finding for finding in told["findings"]}}


def test_init_writes_a_profile_for_each_partition(cluster: Site) -> None:
    result = call("init", "--account", "lab", "--setup", "module load a", "--setup", "module load b")
    assert result.exit_code == 0, result.output
    slurm = tomllib.loads(cluster.config.read_text())["slurm"]
    assert slurm["profile"] == "cpu"
    assert slurm["profiles"] == {
        "cpu": {
            "partition": "cpu",
            "time": 240,
            "mem": "2G",
            "max_mem": "93G",
            "account": "lab",
            "setup": ["module load a", "module load b"],
        },
        "gpu": {
            "partition": "gpu",
            "time": 240,
            "mem": "7G",
            "max_mem": "62G",
            "gpus": 1,
            "account": "lab",
            "setup": ["module load a", "module load b"],
        },
        "long": {
            "partition": "long",
            "time": 240,
            "mem": "3G",
            "max_mem": "125G",
            "account": "lab",
            "setup": ["module load a", "module load b"],
        },
    }
    from bioimage_py.runner import SlurmConfig

    assert SlurmConfig.load().partition == "cpu"
    assert SlurmConfig.load(profile="gpu").gpus == 1


def test_init_leaves_alone_what_is_there(cluster: Site) -> None:
    cluster.config.write_text('[slurm]\nprofile = "gpu"\n[slurm.profiles.gpu]\npartition = "gpu"\nmem = "1G"\n')
    assert "2 profile(s) written" in call("init").output
    slurm = tomllib.loads(cluster.config.read_text())["slurm"]
    assert (slurm["profile"], slurm["profiles"]["gpu"]["mem"]) == ("gpu", "1G")
    assert call("init", "--replace", "--partition", "gpu", "--profile", "gpu").exit_code == 0
    assert tomllib.loads(cluster.config.read_text())["slurm"]["profiles"]["gpu"]["mem"] == "7G"


def test_init_says_what_there_is(cluster: Site) -> None:
    result = call("init", "--partition", "nowhere")
    assert result.exit_code == 1
    assert "there is no partition 'nowhere'; up are ['cpu', 'gpu', 'long']" in result.output
    assert not cluster.config.exists()
    cluster.silent = {"sinfo"}
    assert "sinfo does not answer: is closed" in call("init").output


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("2-00:00:00", 2880), ("1:00:00", 60), ("30:00", 30), ("infinite", None), ("n/a", None)],
)
def test_limits_of_time(limit: str, minutes: int | None) -> None:
    assert site.minutes_of(limit) == minutes


def test_check_tells_what_a_node_finds(cluster: Site, tmp_path: Path) -> None:
    told = checked(tmp_path)
    assert told["missing"] == []
    assert told["limits"]["told"].startswith("MaxArraySize 1001, MaxJobCount 10000, MaxSubmit 500")
    for what in ("job", "shared folder", "latency", "exclusive create", "hard link", "rename", "python", "packages"):
        assert told[what]["ok"], told[what]
    assert "bioimage_py" in told["packages"]["told"]
    assert [path.name for path in tmp_path.iterdir()] == []
    assert cluster.cancelled


def test_check_goes_on_without_accounting(cluster: Site, tmp_path: Path) -> None:
    cluster.silent = {"sacct", "sacctmgr"}
    told = checked(tmp_path)
    assert told["ok"]
    assert told["accounting"]["told"].startswith("sacct does not answer (is closed)")
    assert "MaxSubmit not set" in told["limits"]["told"]


def test_check_submits_nothing_where_it_could_not_be(cluster: Site, tmp_path: Path) -> None:
    def refuse(*arguments: Any) -> str:
        raise AssertionError

    cluster.job = refuse
    cluster.config.write_text('[slurm]\npartition = "nowhere"\n')
    told = checked(tmp_path)
    assert told["missing"] == ["partition"]
    assert "slurm init" in told["partition"]["remedy"]
    cluster.config.unlink()
    cluster.silent = {"sbatch"}
    assert checked(tmp_path)["missing"] == ["scheduler"]


def test_check_tells_of_a_job_that_is_refused(cluster: Site, tmp_path: Path) -> None:
    def refuse(*arguments: Any) -> str:
        raise RuntimeError("sbatch: error: invalid account")

    cluster.job = refuse
    told = checked(tmp_path)
    assert told["missing"] == ["job"]
    assert "sbatch refuses it: sbatch: error: invalid account" in told["job"]["told"]


def test_check_tells_of_a_job_that_waits(cluster: Site, tmp_path: Path) -> None:
    cluster.job = lambda *arguments: "7"
    result = call("check", "--folder", str(tmp_path), "--timeout", "0.5")
    assert result.exit_code == 1
    assert "MISSING job" in result.output
    assert "7 is PENDING Resources after the timeout" in result.output
    assert "remedy: --timeout 3600" in result.output


@pytest.mark.parametrize("python", ["/no/such/python", sys.executable])
def test_check_tells_of_a_job_that_dies(
    cluster: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    def die(folder: Path, *rest: Any) -> str:
        if python != sys.executable:
            (folder / "7_0_log.out").write_text(f"{python}: No such file")
        cluster.in_queue = set()
        cluster.answers["squeue"] = ""
        return "7"

    monkeypatch.setattr(site_check, "_FIRST_LOOK", 0.2)
    cluster.job = die
    told = checked(tmp_path)
    assert told["missing"] == ["job"]
    where = "No such file" if python != sys.executable else "its node does not see"
    assert where in told["job"]["told"]


def test_check_tells_of_packages_that_nodes_miss(
    cluster: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_check, "VERSIONS_CODE", "import no_such_module")
    told = checked(tmp_path)
    assert told["missing"] == ["packages"]
    assert "No module named 'no_such_module'" in told["packages"]["told"]
