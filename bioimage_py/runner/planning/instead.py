"""What a call returns in place of running."""

from __future__ import annotations

from ..control.detached import DetachedRun
from .estimate import RunPlan


class Instead(BaseException):
    """Carries up to a call what it returns in place of its result: its plan, or the run that goes on elsewhere."""

    def __init__(self, value: RunPlan | DetachedRun) -> None:
        super().__init__(value)
        self.value = value
