"""Running functions over blocks: plan, ledger, supervisor, worker loop, report.

Names are imported when they are asked for: a worker, whose start everybody waits for, needs few of them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backends.batch.backend import BatchConfig
    from ..backends.batch.profile import Profile
    from ..backends.config import RunnerConfig, SlurmConfig, write_slurm_config
    from ..backends.hosted.config import DaskConfig, ExecutorConfig
    from ..backends.user_config import config_file_path
    from ..errors import ResumeConflict, RunnerError, RunningError
    from .calls import LocalRunner, Runner, SlurmRunner, SubprocessRunner, get_runner, map_blocks, run_block
    from .control.attach import attach
    from .control.detached import DetachedRun
    from .driver.report import RunReport, StageReport
    from .execute import resume_run
else:
    from ..lazy import names_of

    __getattr__, __dir__ = names_of(
        __name__,
        {
            "BatchConfig": "..backends.batch.backend",
            "DaskConfig": "..backends.hosted.config",
            "DetachedRun": ".control.detached",
            "ExecutorConfig": "..backends.hosted.config",
            "LocalRunner": ".calls",
            "Profile": "..backends.batch.profile",
            "ResumeConflict": "..errors",
            "RunReport": ".driver.report",
            "Runner": ".calls",
            "RunnerConfig": "..backends.config",
            "RunnerError": "..errors",
            "RunningError": "..errors",
            "SlurmConfig": "..backends.config",
            "SlurmRunner": ".calls",
            "StageReport": ".driver.report",
            "SubprocessRunner": ".calls",
            "attach": ".control.attach",
            "config_file_path": "..backends.user_config",
            "get_runner": ".calls",
            "map_blocks": ".calls",
            "resume_run": ".execute",
            "run_block": ".calls",
            "write_slurm_config": "..backends.config",
        },
    )

__all__ = [
    "BatchConfig",
    "DaskConfig",
    "DetachedRun",
    "ExecutorConfig",
    "LocalRunner",
    "Profile",
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
