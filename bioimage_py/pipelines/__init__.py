"""Pipelines: a script of calls that goes on where it was."""

from .call import Explanation
from .script import Pipeline, pipeline
from .plan import PipelinePlan, PlannedCall

__all__ = ["Explanation", "Pipeline", "PipelinePlan", "PlannedCall", "pipeline"]
