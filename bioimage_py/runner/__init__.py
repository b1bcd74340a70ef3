"""Running functions over blocks: plan, ledger, supervisor, worker loop, report."""

from ..errors import RunnerError
from .report import RunReport, StageReport
from .runner import LocalRunner, Runner, get_runner, map_blocks, run_block

__all__ = [
    "LocalRunner",
    "RunReport",
    "Runner",
    "RunnerError",
    "StageReport",
    "get_runner",
    "map_blocks",
    "run_block",
]
