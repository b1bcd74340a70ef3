"""Pipelines: a script of calls that goes on where it was."""

from .call import Explanation
from .plan import PipelinePlan, PlannedCall
from .script import Pipeline, pipeline

__all__ = ["Explanation", "Pipeline", "PipelinePlan", "PlannedCall", "pipeline"]
