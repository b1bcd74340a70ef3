"""A run that goes on without the process that began it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..driver.report import RunReport
    from .inspect import RunStatus


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
