"""Running functions over blocks: plan, ledger, supervisor, worker loop, report."""

from ..errors import ResumeConflict, RunnerError, RunningError
from .attaching import attach
from .config import RunnerConfig, SlurmConfig, config_file_path, write_slurm_config
from .detached import DetachedRun
from .execute import resume_run
from .report import RunReport, StageReport
from .runner import LocalRunner, Runner, SlurmRunner, SubprocessRunner, get_runner, map_blocks, run_block

__all__ = [
    "DetachedRun",
    "LocalRunner",
    "ResumeConflict",
    "RunReport",
    "Runner",
    "RunnerConfig",
    "RunnerError",
    "RunningError",
    "SlurmConfig",
    "SlurmRunner",
    "StageReport",
    "SubprocessRunner",
    "attach",
    "config_file_path",
    "get_runner",
    "map_blocks",
    "resume_run",
    "run_block",
    "write_slurm_config",
]
