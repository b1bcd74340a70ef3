"""Pipelines: a script of calls that goes on where it was."""

from .call import Explanation
from .detached import Detached, DetachedPipeline, DriverStatus
from .plan import PipelinePlan, PlannedCall
from .script import Pipeline, pipeline

__all__ = [
    "Detached",
    "DetachedPipeline",
    "DriverStatus",
    "Explanation",
    "Pipeline",
    "PipelinePlan",
    "PlannedCall",
    "pipeline",
]
