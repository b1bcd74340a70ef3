"""Workers as jobs of a SLURM cluster."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ConfigError, RunningError
from ...extras import missing_library, need
from ..config import SlurmConfig
from ..jobs import orders
from ..jobs.backend import JobsBackend, cancelled
from ..jobs.scheduler import Scheduler
from . import commands


class SlurmBackend(JobsBackend):
    """Jobs of a SLURM cluster.

    Parameters
    ----------
    config : SlurmConfig, optional
        By default that of the user's configuration file.
    """

    @classmethod
    def check(cls, config: Any) -> None:
        """Refuse what is no `SlurmConfig`."""
        if config is not None and not isinstance(config, SlurmConfig):
            raise ConfigError(
                f"job_config {config!r} is not a slurm configuration",
                remedy='job_config=bioimage_py.runner.SlurmConfig(partition="...")',
            )
        need("submitit", "job_type='slurm'")

    @classmethod
    def missing(cls) -> str:
        """The library, or the commands of a cluster."""
        commands_there = shutil.which("sbatch") is not None
        return missing_library("submitit") or ("" if commands_there else "sbatch: run this on the cluster's login node")

    @classmethod
    def default_config(cls) -> SlurmConfig:
        """Settings of the user's configuration file."""
        return SlurmConfig.load()

    @classmethod
    def scheduler_for(cls, config: Any) -> Scheduler:
        """SLURM's commands."""
        return commands

    @classmethod
    def scheduler_of(cls, folder: Path) -> Scheduler:
        """SLURM's commands."""
        return commands

    @classmethod
    def end_by_hand(cls, folder: Path) -> str:
        """The lines that show and cancel the jobs of a run."""
        names = ",".join(sorted(orders.names_of(folder)))
        return f"squeue --me --name={names}; scancel --me --name={names}"

    @classmethod
    def program_lives(cls, told: Mapping[str, Any]) -> bool | None:
        """Whether the job waits or runs, as the scheduler says."""
        found = commands.queued([told["name"]])
        return None if found is None else bool(found)

    @classmethod
    def end_program(cls, told: Mapping[str, Any]) -> None:
        """Cancel the job, and wait until it has left the queue."""
        if not cancelled(commands, {told["name"]}):
            raise RunningError(f"job {told['job']} does not end", remedy=f"scancel {told['job']}")
