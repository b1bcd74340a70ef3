"""A job: where and how an operation runs, made of its caller's keywords."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict

import numpy as np

from ..backends import backend_class
from ..runner.execution import Execution, current_execution
from ..runner.planning.build import Where
from ..sources import Source
from ..sources.along import AxisNames, working_axes
from ..sources.casting import Casting
from ..system.memory import available_bytes


class RunKeywords(TypedDict, total=False):
    """Keywords that every operation shares: the fields of `Execution` and of `Job`, for who checks types."""

    block_shape: Any
    job_type: str
    job_config: Any
    num_workers: int
    mask: Any
    block_ids: Sequence[int] | None
    resume_from: Any
    roi: tuple[slice, ...] | None
    skip_empty: bool
    casting: Casting
    progress: bool
    retries: int
    max_failures: int | None
    memory: int | None
    cache: int | None
    read_ahead: bool | None
    durability: Literal["process", "node"] | None
    resume: str
    block_timeout: float | None
    plan: bool
    debug: bool
    detach: bool
    execution: Execution | None
    axes: AxisNames
    chunks: Sequence[int] | None
    shards: Sequence[int] | None


@dataclass(frozen=True)
class Job(Where):
    """One call's keywords: where to run (`block_shape`, `mask`, `roi`, `axes`, ...) and how (`execution`)."""

    axes: AxisNames = None
    chunks: Sequence[int] | None = None
    shards: Sequence[int] | None = None
    execution: Execution = field(default_factory=Execution)

    @classmethod
    def of(cls, run: RunKeywords | dict[str, Any]) -> Job:
        """Job of the keywords of a call; what a call leaves out comes from the enclosing `execution` block."""
        given = dict(run)
        base = current_execution(given.pop("execution", None))
        known = {one.name for one in fields(Execution)}
        how = base.updated({name: value for name, value in given.items() if name in known})
        how = how.resuming(given.get("resume_from"), given.get("block_ids"))
        backend_class(how.job_type).check(how.job_config)
        where = {one.name: given.get(one.name, one.default) for one in fields(cls) if one.name != "execution"}
        return cls(**where, execution=how)

    def whole(self, sources: Sequence[Source]) -> bool:
        """Whether a call on these inputs runs directly on the whole arrays."""
        return all(in_memory(source) for source in sources) and self.unblocked()

    def along(self, source: Source) -> tuple[int, ...]:
        """Positions of the axes of an input that the call works along, ascending."""
        return tuple(sorted(working_axes(source.axes, self.axes)))

    def as_one(self, shape: Sequence[int]) -> Job:
        """The job with the whole volume as its block: how a call is planned that would run directly."""
        return replace(self, block_shape=tuple(max(1, size) for size in shape))

    def unblocked(self) -> bool:
        """Whether nothing in the call asks for blocks."""
        where = (self.block_shape, self.mask, self.block_ids, self.roi)
        return (
            all(value is None for value in where)
            and _here(self.execution)
            and self.execution.num_workers == 1
            and self.execution.resume in ("auto", "never")
        )


def _here(how: Execution) -> bool:
    """Whether workers may be threads of this process, so that they see its arrays."""
    return backend_class(how.job_type).limits.shares_memory


def in_memory(source: Source) -> bool:
    """Whether a source is a numpy array."""
    return isinstance(getattr(source, "array", None), np.ndarray)


def fits_memory(job: Job, n_bytes: int) -> bool:
    """Whether so many bytes fit the memory budget of a job."""
    return n_bytes <= (job.execution.memory or available_bytes())
