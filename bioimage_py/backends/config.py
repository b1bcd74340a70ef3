"""Settings of the backends that start processes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any

from ..arguments import check_names, named_fields
from ..errors import ConfigError
from .user_config import read_table, write_table

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_TIME = re.compile(r"(?P<text>UNLIMITED|INFINITE)|((?P<days>\d+)-)?(?P<clock>\d+(:\d+){0,2})", re.IGNORECASE)
_BINARY = {"K": 2**10, "M": 2**20, "": 2**20, "G": 2**30, "T": 2**40}


@named_fields
@dataclass(frozen=True)
class RunnerConfig:
    """Settings of the ``subprocess`` backend.

    Parameters
    ----------
    poll_interval : float
        Seconds between looks at the scheduler at most (cluster backends).
    tmp_root : path, optional
        Folder in which the run folders lie; by default beside the first output.
    python_executable : str, optional
        Interpreter of the workers; by default this one.
    tasks_per_worker : int
        Batches a worker takes at least, where there are as many blocks.
    task_timeout : float, optional
        Seconds that a worker may spend on one batch.

    Raises
    ------
    ConfigError
        A value that makes no sense.
    """

    poll_interval: float = 10.0
    tmp_root: str | PathLike[str] | None = None
    python_executable: str | None = None
    tasks_per_worker: int = 1
    task_timeout: float | None = None

    def __post_init__(self) -> None:
        self._check("poll_interval", "tasks_per_worker", "task_timeout")
        for name, example in (("tmp_root", "/scratch"), ("python_executable", "/usr/bin/python3")):
            if not isinstance(value := getattr(self, name), str | PathLike | None):
                raise ConfigError(f"{name}={value!r} is no path", remedy=f'{name}="{example}"')

    def _check(self, *names: str, least: float = 0, included: bool = False) -> None:
        whole = {one.name for one in fields(self) if str(one.type).startswith("int")}
        for name in names:
            value = getattr(self, name)
            if value is None and "None" in str(self.__dataclass_fields__[name].type):
                continue
            wanted = int if name in whole else int | float
            if isinstance(value, bool) or not isinstance(value, wanted) or value != value:
                kind = "a whole number" if name in whole else "a number"
                raise ConfigError(f"{name}={value!r} is not {kind}", remedy=f"{name}=1")
            if value < least or (value == least and not included):
                raise ConfigError(f"{name}={value!r} is not above {least}", remedy=f"{name}=1")


_DEFAULTS = RunnerConfig()


def settings_of(config: Any) -> RunnerConfig:
    """What every backend is asked for, of the settings of one: defaults for what it does not have."""
    if config is None or isinstance(config, RunnerConfig):
        return config or _DEFAULTS
    told: dict[str, Any] = {one.name: getattr(config, one.name, one.default) for one in fields(RunnerConfig)}
    return RunnerConfig(**told)


@named_fields
@dataclass(frozen=True)
class SlurmConfig(RunnerConfig):
    """Settings of the ``slurm`` backend: what a job of one worker asks the scheduler for.

    What is None is left to the site.

    Parameters
    ----------
    partition, account, qos, constraint : str, optional
        As sbatch takes them.
    time : str or int, optional
        Wall time of a job as sbatch takes it (``"02:00:00"``), or minutes.
    mem : str or int, optional
        Memory of a job (``"8G"``), or MiB.
    cpus_per_task, gpus : int
        Of a job.
    shebang : str, optional
        First line of the job script.
    max_array_size : int, optional
        Jobs in one array at most; by default the site's limit.
    latency_wait : float
        Seconds to wait for what a node has written to the shared file system to be seen here.
    max_mem : str or int, optional
        After a memory kill, new jobs ask for twice the memory, up to this.
    exclude : str, optional
        Nodes not to use, as sbatch takes them.
    requeue : bool
        Let the site requeue the job that drives a detached run; workers are replaced by the run itself.
    idle_timeout : float
        Seconds that a worker without a batch waits for a driver that does not live, and a job inside
        `bioimage_py.execution` for the next call.
    driver : dict
        Settings that differ for the job that drives a detached run (``{"partition": "long", "time": "7-00:00:00"}``).
    setup : tuple of str
        Shell lines before the worker starts (``"module load cuda"``).
    profile : str, optional
        The profile of the user's configuration file that these settings came from.
    options : dict
        Further sbatch options by name (``{"nice": 100, "exclusive": True}``).

    Raises
    ------
    ConfigError
        A value that makes no sense.
    """

    partition: str | None = None
    time: str | int | None = None
    mem: str | int | None = None
    cpus_per_task: int = 1
    gpus: int = 0
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    shebang: str | None = None
    max_array_size: int | None = None
    latency_wait: float = 120.0
    max_mem: str | int | None = None
    exclude: str | None = None
    requeue: bool = False
    idle_timeout: float = 300.0
    driver: dict[str, Any] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    profile: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("cpus_per_task", "max_array_size", "idle_timeout")
        self._check("gpus", "latency_wait", included=True)
        setup: Any = self.setup
        if isinstance(setup, str):
            raise ConfigError(f"setup={setup!r} is one line, not a list", remedy=f"setup=[{setup!r}]")
        if not isinstance(setup, Sequence) or not all(isinstance(line, str) for line in setup):
            raise ConfigError(f"setup={setup!r} is no list of lines", remedy='setup=["module load cuda"]')
        for name in ("partition", "account", "qos", "constraint", "exclude", "shebang", "profile"):
            if not isinstance(value := getattr(self, name), str | None):
                raise ConfigError(f"{name}={value!r} is not text", remedy=f'{name}="{value}"')
        wall_seconds(self.time)
        object.__setattr__(self, "setup", tuple(setup))
        for name, example in (("options", {"nice": 100}), ("driver", {"time": "2-00:00:00"})):
            value = getattr(self, name)
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise ConfigError(f"{name}={value!r} is not a dict of names", remedy=f"{name}={example}")
        _check_names(self.driver, "setting(s) of the driver's job")
        wall_seconds(self.driver.get("time"))
        if self.shebang is not None and not self.shebang.startswith("#!"):
            raise ConfigError(f"shebang={self.shebang!r} does not begin with #!", remedy='shebang="#!/bin/bash -l"')
        mem, most = (memory_bytes(name, getattr(self, name)) for name in ("mem", "max_mem"))
        if most is not None and mem is None:
            raise ConfigError("max_mem has nothing to begin with: mem is missing", remedy='mem="8G"')
        if most is not None and mem is not None and most < mem:
            raise ConfigError(f"max_mem={self.max_mem!r} is below mem={self.mem!r}", remedy=f"max_mem={self.mem!r}")

    def for_driver(self) -> SlurmConfig:
        """The settings of the job that drives a detached run: a small one, besides what ``driver`` says."""
        small = {"gpus": 0, "cpus_per_task": 1, "mem": None if self.mem is None else "2G", "max_mem": None}
        return replace(self, **{**small, **self.driver, "driver": {}})

    @classmethod
    def load(cls, path: str | PathLike[str] | None = None, **overrides: Any) -> SlurmConfig:
        """The settings in the user's configuration file.

        Parameters
        ----------
        path : path, optional
            By default `config_file_path`; a missing file has no settings.
        **overrides
            Fields that take the place of those in the file; ``profile`` picks the table ``[slurm.profiles.<profile>]``,
            whose fields take the place of those in ``[slurm]``.

        Raises
        ------
        ConfigError
            A field that is unknown, a profile that is not in the file, or a file that is no TOML.
        """
        known = {one.name for one in fields(cls)}
        settings = {**read_table(path, overrides.get("profile"), known), **overrides}
        _check_names(settings, "slurm setting(s)")
        return cls(**settings)


def _check_names(given: Mapping[str, Any], what: str) -> None:
    check_names(given, {one.name for one in fields(SlurmConfig)}, what, "options={{{!r}: ...}}")


def wall_seconds(time: Any) -> int | None:
    """Seconds of a wall time as sbatch takes it (minutes without a colon or days); None for None.

    Raises
    ------
    ConfigError
        If sbatch would not take it.
    """
    if time is None:
        return None
    match = None if isinstance(time, bool) else _TIME.fullmatch(str(time).strip())
    if match is None:
        raise ConfigError(f"time={time!r} is not a wall time", remedy='time="02:00:00", or minutes: time=120')
    days, clock, text = match["days"], match["clock"], match["text"]
    if text:
        return 365 * 86400
    parts = [int(part) for part in clock.split(":")]
    if days is not None:  # D-HH[:MM[:SS]]
        return int(days) * 86400 + sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if len(parts) == 1:  # MM
        return parts[0] * 60
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600), strict=False))  # MM:SS, HH:MM:SS


def memory_bytes(name: str, value: str | int | None) -> int | None:
    """Bytes of a memory setting as sbatch takes it (MiB without a unit); None for None."""
    if value is None:
        return None
    match = _MEMORY.fullmatch(str(value).strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{name}={value!r} is not an amount of memory", remedy=f'{name}="8G"')
    return int(float(match[1]) * _BINARY[match[2].upper()])


def write_slurm_config(
    path: str | PathLike[str] | None = None, *, replace: bool = False, profile: str | None = None, **settings: Any
) -> str:
    """Write slurm settings into the user's configuration file; everything else in it stays.

    Parameters
    ----------
    path : path, optional
        By default `config_file_path`.
    replace : bool
        Drop the settings that were there before instead of adding to them.
    profile : str, optional
        Write the table of this profile instead of the common one.
    **settings
        Fields of `SlurmConfig`; None ones are not written.

    Returns
    -------
    str
        Path of the file.

    Raises
    ------
    ConfigError
        A field that is unknown, or with a value that makes no sense.
    """
    _check_names(settings, "slurm setting(s)")
    given = {name: value for name, value in settings.items() if value is not None}
    # what is left out may be in the file, so that only single values can be judged here
    SlurmConfig(**{"mem": given.get("max_mem"), **given})
    plain = {name: list(value) if name == "setup" else value for name, value in given.items()}
    if "tmp_root" in plain:
        plain["tmp_root"] = str(plain["tmp_root"])
    return str(write_table(path, profile, plain, replace=replace))
