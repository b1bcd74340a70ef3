"""What a call returns in place of running."""

from __future__ import annotations

from .estimate import RunPlan


class Instead(BaseException):
    """Carries up to a call what it returns in place of its result: its plan, or a run that a job drives from now on."""

    def __init__(self, plan: RunPlan | None = None, *, folder: str = "", job: str = "") -> None:
        super().__init__(plan, folder, job)
        self.plan = plan
        self.folder = folder
        self.job = job
