"""Settings of the slurm backend and the user's configuration file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bioimage_py.errors import ConfigError
from bioimage_py.runner import RunnerConfig, SlurmConfig, config_file_path, write_slurm_config


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("BIOIMAGE_PY_CONFIG", str(path))
    monkeypatch.delenv("BIOIMAGE_PY_NO_CONFIG", raising=False)
    return path


def test_where_the_file_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BIOIMAGE_PY_CONFIG", str(tmp_path / "a.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert config_file_path(tmp_path / "b.toml") == tmp_path / "b.toml"
    assert config_file_path() == tmp_path / "a.toml"
    monkeypatch.delenv("BIOIMAGE_PY_CONFIG")
    assert config_file_path() == tmp_path / "xdg" / "bioimage-py" / "config.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_file_path() == tmp_path / ".config" / "bioimage-py" / "config.toml"


def test_defaults_are_those_of_the_peer() -> None:
    config = SlurmConfig()
    assert isinstance(config, RunnerConfig)
    assert (config.cpus_per_task, config.gpus, config.max_array_size, config.latency_wait) == (1, 0, None, 120.0)
    assert (config.partition, config.time, config.mem, config.requeue, config.setup) == (None, None, None, False, ())


def test_round_trip(file: Path) -> None:
    assert SlurmConfig.load() == SlurmConfig()
    written = write_slurm_config(partition="main", mem="2G", max_mem="8G", setup=["module load x"], options={"nice": 5})
    assert written == str(file)
    expected = SlurmConfig(partition="main", mem="2G", max_mem="8G", setup=("module load x",), options={"nice": 5})
    assert SlurmConfig.load() == expected
    assert SlurmConfig.load(mem="4G").mem == "4G"


def test_writing_keeps_what_was_there(file: Path) -> None:
    file.write_text('[other]\nx = 1\n\n[slurm]\nmem = "1G"\n')
    write_slurm_config(partition="main")
    write_slurm_config(profile="gpu", partition="cuda", gpus=1)
    tables = tomllib.loads(file.read_text())
    assert tables["other"] == {"x": 1}
    assert tables["slurm"] == {
        "mem": "1G",
        "partition": "main",
        "profiles": {"gpu": {"partition": "cuda", "gpus": 1}},
    }
    write_slurm_config(replace=True, account="me")
    assert tomllib.loads(file.read_text())["slurm"] == {
        "account": "me",
        "profiles": {"gpu": {"partition": "cuda", "gpus": 1}},
    }


def test_profiles_go_before_the_common_settings(file: Path) -> None:
    write_slurm_config(partition="main", account="me")
    write_slurm_config(profile="gpu", partition="cuda", gpus=1)
    assert SlurmConfig.load().partition == "main"
    config = SlurmConfig.load(profile="gpu")
    assert (config.partition, config.account, config.gpus, config.profile) == ("cuda", "me", 1, "gpu")
    assert SlurmConfig.load(profile="gpu", gpus=2).gpus == 2
    with pytest.raises(ConfigError, match=r"no profile 'cpu' in .*known are \['gpu'\]"):
        SlurmConfig.load(profile="cpu")


def test_the_file_can_be_switched_off(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_slurm_config(partition="main")
    monkeypatch.setenv("BIOIMAGE_PY_NO_CONFIG", "1")
    assert SlurmConfig.load().partition is None


def test_bad_files_and_settings_are_named(file: Path) -> None:
    file.write_text("[slurm\n")
    with pytest.raises(ConfigError, match=r"config.toml is no TOML"):
        SlurmConfig.load()
    file.write_text("[slurm]\npartitoin = 'x'\n")
    with pytest.raises(ConfigError, match="partitoin"):
        SlurmConfig.load()
    with pytest.raises(ConfigError, match=r"unknown slurm setting\(s\) \['partitoin'\]") as caught:
        SlurmConfig.load(partitoin="main", path=file.with_name("none"))
    assert caught.value.remedy == "partition"
    with pytest.raises(ConfigError, match="no_such"):
        write_slurm_config(file.with_name("new.toml"), no_such=1)
    assert not file.with_name("new.toml").exists()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mem": "lots"}, "mem='lots' is not an amount"),
        ({"mem": "4G", "max_mem": "2G"}, "max_mem='2G' is below mem='4G'"),
        ({"max_mem": "2G"}, "mem is missing"),
        ({"cpus_per_task": 0}, "cpus_per_task=0 is not above 0"),
        ({"latency_wait": -1}, "latency_wait=-1"),
        ({"setup": "module load x"}, "is one line, not a list"),
        ({"shebang": "/bin/bash"}, "does not begin with #!"),
        ({"options": ["nice"]}, "is not a dict"),
    ],
)
def test_values_that_make_no_sense(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SlurmConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", ["cpu", "gpu", "highmem", "preemptible"])
def test_the_templates_load(profile: str) -> None:
    config = SlurmConfig.load(Path(__file__).parents[3] / "slurm_templates" / "config.toml", profile=profile)
    assert (config.profile, config.time is not None, config.mem is not None) == (profile, True, True)
