"""A run that goes on without the process that began it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..planning.estimate import RunPlan
from ..planning.instead import Instead

if TYPE_CHECKING:
    from ..driver.report import RunReport
    from .inspect import RunStatus

T = TypeVar("T")


@dataclass(frozen=True)
class DetachedRun:
    """What a call with ``detach=True`` returns.

    Parameters
    ----------
    folder : str
        The run folder.
    job : str
        Id of the job that drives it.
    """

    folder: str
    job: str

    def status(self) -> RunStatus:
        """How far it is.

        Raises
        ------
        ConfigError
            Its folder has gone: somebody has attached to it, or repeated the call, and seen its end.
        """
        from .inspect import status_of

        return status_of(self.folder)

    def attach(self) -> RunReport:
        """Wait for its end; where nobody drives it any more, do it here. The same call again returns its result, too.

        Raises
        ------
        RunnerError
            Blocks failed.
        ConfigError
            Its folder has gone.
        """
        from .attach import attach

        return attach(self.folder)

    def cancel(self) -> RunStatus | None:
        """Cancel its jobs; what is done stays done, and the same call goes on later."""
        from .cancel import cancel_run

        return cancel_run(self.folder)


def returned(call: Callable[[], T]) -> T | RunPlan | DetachedRun:
    """What a call returns: its result or, in place of it, its plan or the run that goes on without this process."""
    try:
        return call()
    except Instead as instead:
        return DetachedRun(instead.folder, instead.job) if instead.plan is None else instead.plan
