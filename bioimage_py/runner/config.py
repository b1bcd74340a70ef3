"""Settings of the backends that start processes."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

from ..errors import ConfigError


@dataclass(frozen=True)
class RunnerConfig:
    """Settings of the ``subprocess`` backend.

    Parameters
    ----------
    poll_interval : float
        Seconds between looks at the scheduler (cluster backends).
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
        for name in ("poll_interval", "tasks_per_worker", "task_timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name}={value!r} is not above 0", remedy=f"{name}=1")
