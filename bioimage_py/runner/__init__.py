"""Running functions over blocks: plan, ledger, supervisor, worker loop, report."""

from ..errors import ResumeConflict, RunnerError, RunningError
from .config import RunnerConfig
from .execute import resume_run
from .report import RunReport, StageReport
from .runner import LocalRunner, Runner, SubprocessRunner, get_runner, map_blocks, run_block

__all__ = [
    "LocalRunner",
    "ResumeConflict",
    "RunReport",
    "Runner",
    "RunnerConfig",
    "RunnerError",
    "RunningError",
    "StageReport",
    "SubprocessRunner",
    "get_runner",
    "map_blocks",
    "resume_run",
    "run_block",
]
