"""What a call returns in place of running."""

from __future__ import annotations

from .estimate import RunPlan


class Instead(BaseException):
    """Carries up to a call what it returns in place of its result.

    Parameters
    ----------
    plan : RunPlan, optional
        Its plan; else it is a run that goes on without this process:
    folder : str
        The folder of that run.
    job : str
        Id of the job that drives it.
    """

    def __init__(self, plan: RunPlan | None = None, *, folder: str = "", job: str = "") -> None:
        super().__init__(plan, folder, job)
        self.plan = plan
        self.folder = folder
        self.job = job
