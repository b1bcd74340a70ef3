"""Settings of the backends, under the name that users import them from."""

from __future__ import annotations

from ..backends.config import RunnerConfig, SlurmConfig, write_slurm_config
from ..backends.user_config import config_file_path

__all__ = ["RunnerConfig", "SlurmConfig", "config_file_path", "write_slurm_config"]
