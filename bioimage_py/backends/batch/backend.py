"""Workers as jobs of a batch scheduler that a profile describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...arguments import named_fields
from ...errors import ConfigError, RunningError
from ...run_folder import RunFolder
from ...system.files import own_folder, write_once
from ..config import SlurmConfig
from ..jobs import orders
from ..jobs.backend import JobsBackend, cancelled
from ..jobs.scheduler import Scheduler
from .profile import Profile, profile_of
from .scheduler import BatchScheduler

_PROFILE = "scheduler.profile"


@named_fields
@dataclass(frozen=True)
class BatchConfig(SlurmConfig):
    """Settings of the ``batch`` backend: those of `SlurmConfig`, in the words of another scheduler.

    ``partition`` is the queue; ``constraint``, ``qos``, ``exclude`` and ``requeue`` are SLURM's alone, and refused.
    ``options`` are further lines of the script as that scheduler takes them (``{"-l": "scratch=10G"}``).

    Parameters
    ----------
    scheduler : str, mapping or Profile
        ``"lsf"``, ``"pbs"``, ``"grid-engine"``, a `Profile`, or parts of one: ``{"name": "lsf", "most": 200}`` is LSF
        but for what it says.

    Raises
    ------
    ConfigError
        A value that makes no sense.
    """

    scheduler: Any = "lsf"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "scheduler", profile_of(self.scheduler))
        for name in ("constraint", "qos", "exclude", "requeue", "profile"):
            if getattr(self, name):
                raise ConfigError(f"{name}= is a setting of SLURM alone", remedy='options={"-l": "..."}')


class BatchBackend(JobsBackend):
    """Jobs of LSF, PBS, Grid Engine, or a scheduler that a profile describes."""

    def _open(self, folder: Path) -> None:
        super()._open(folder)
        _keep(RunFolder(folder).orders, self.config.scheduler)

    @classmethod
    def check(cls, config: Any) -> None:
        """Refuse what is no `BatchConfig`."""
        if not isinstance(config, BatchConfig):
            raise ConfigError(
                f"job_config {config!r} is not that of a batch scheduler",
                remedy='job_config=bioimage_py.runner.BatchConfig(scheduler="lsf")',
            )

    @classmethod
    def configured(cls, value: Any) -> BatchConfig:
        """Settings for ``execution(batch=value)``."""
        return value if isinstance(value, BatchConfig) else BatchConfig(scheduler=value)

    @classmethod
    def scheduler_for(cls, config: Any) -> Scheduler:
        """That of the profile."""
        return BatchScheduler(config.scheduler)

    @classmethod
    def scheduler_of(cls, folder: Path) -> Scheduler:
        """That of the profile that lies with the orders of a run."""
        return BatchScheduler(_kept(RunFolder(folder).orders))

    @classmethod
    def end_by_hand(cls, folder: Path) -> str:
        """The line that lists the jobs, and the names of those of a run."""
        names = ", ".join(sorted(orders.names_of(folder)))
        return f"{_kept(RunFolder(folder).orders).status}, and end the jobs called {names}"

    def detach(self, folder: Path) -> str:
        """Submit the job that drives a run from now on; its id."""
        own_folder(RunFolder(folder.absolute()).orders)
        _keep(RunFolder(folder.absolute()).orders, self.config.scheduler)
        return super().detach(folder)

    def begin_program(self, command: Any, log: Path) -> dict[str, Any]:
        """Submit a job that runs a program."""
        return {**super().begin_program(command, log), "scheduler": self.config.scheduler.to_dict()}

    @classmethod
    def program_lives(cls, told: Mapping[str, Any]) -> bool | None:
        """Whether the job waits or runs, as the scheduler says."""
        found = BatchScheduler(profile_of(told["scheduler"])).queued([told["name"]])
        return None if found is None else bool(found)

    @classmethod
    def end_program(cls, told: Mapping[str, Any]) -> None:
        """Cancel the job, and wait until it has left the queue."""
        if not cancelled(BatchScheduler(profile_of(told["scheduler"])), {told["name"]}):
            raise RunningError(f"job {told['job']} does not end", remedy=f"look for {told['name']} in the queue")


def _keep(folder: Path, profile: Profile) -> None:
    write_once(folder / _PROFILE, json.dumps(profile.to_dict()).encode())


def _kept(folder: Path) -> Profile:
    try:
        return profile_of(json.loads((folder / _PROFILE).read_text()))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder} does not say which scheduler has its jobs: {error}", remedy=f"ls {folder}"
        ) from error
