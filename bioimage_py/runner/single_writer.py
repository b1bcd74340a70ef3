"""Outputs that only one process may write (HDF5): workers write a scratch zarr beside the file, then one copies it in.

The process that calls has the file open, and HDF5 lets no other one in; so it is the one that copies, when all blocks
are done and before the run is complete. It can be repeated: what is in the scratch array stays until then. Where
workers read from the same file, they do so without HDF5's lock; nobody writes it meanwhile.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import DtypeError, ShapeError
from ..io.create import create_array
from ..sources import from_spec
from ..sources.base import Source
from ..sources.file import FileSource
from ..sources.index import Roi
from ..sources.spec import FrozenParams, SourceSpec
from ..wrapper.base import WrapperSource
from .claims import container_of
from .plan import Plan, Stage

_FILLED = "scratch.filled"
COPYING = "scratch.copying"
"""Says in a run folder that the outputs may hold a part of the result."""
_SLAB_BYTES = 64 * 2**20


@dataclass
class Handed:
    """An output that is handed over through a scratch array.

    Parameters
    ----------
    spec : SourceSpec
        The output; opened where this is a copy from another process.
    scratch : FileSource
    region : tuple of slice
        What the run may write.
    """

    spec: SourceSpec
    scratch: FileSource
    region: Roi
    output: Source | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "output": None}

    def fill(self) -> None:
        """Give the scratch array what the output holds; what an earlier run had left in it goes."""
        with _Opened(self) as output:
            output.flush()
            for part in _slabs(self.region, output):
                self.scratch[part] = output[part]

    def copy_in(self) -> None:
        """Copy the region into the output."""
        with _Opened(self) as output:
            for part in _slabs(self.region, output):
                output[part] = self.scratch[part]
            output.flush()


class _Opened:
    """The output of a `Handed`: that of this process, else one that is opened and closed."""

    def __init__(self, handed: Handed) -> None:
        self._own = None if handed.output is not None else from_spec(handed.spec)
        self._output = handed.output or self._own

    def __enter__(self) -> Source:
        assert self._output is not None
        return self._output

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.close()


class Unlocked(WrapperSource):
    """A source whose file is open for writing in this process, which writes nothing while workers read it."""

    def _getitem(self, roi: Roi) -> Any:
        return self._source._getitem(roi)

    def to_spec(self) -> SourceSpec:
        """Spec that opens the file without HDF5's lock."""
        return _unlocked(self._source.to_spec())


def hand_over(plan: Plan) -> Plan:
    """The plan with scratch arrays in the place of outputs that one process alone may write."""
    handed: dict[int, Handed] = {}
    for stage in plan.stages:
        for output in stage.outputs:
            if output.concurrency == "single-writer" and container_of(output) is not None:
                handed[id(output)] = _handed(stage, output)
    if not handed:
        return plan
    files = {container_of(kept.output) for kept in handed.values() if kept.output is not None}

    def source(given: Source) -> Source:
        return Unlocked(given) if container_of(given) in files else given

    stages = [
        replace(
            stage,
            inputs=tuple(map(source, stage.inputs)),
            mask=None if stage.mask is None else source(stage.mask),
            outputs=tuple(handed[id(item)].scratch if id(item) in handed else item for item in stage.outputs),
            in_place=stage.in_place and not all(id(item) in handed for item in stage.outputs),
        )
        for stage in plan.stages
    ]
    return replace(plan, stages=tuple(stages), handed=tuple(handed.values()))


def fill_scratch(plan: Plan, folder: Path) -> None:
    """Give all scratch arrays of a run what the outputs hold, once a run."""
    if plan.handed and not (folder / _FILLED).exists():
        for handed in plan.handed:
            handed.fill()
        (folder / _FILLED).touch()


def copy_in(plan: Plan, folder: Path) -> None:
    """Copy all scratch arrays of a run into the outputs."""
    if plan.handed:
        (folder / COPYING).touch()
    for handed in plan.handed:
        handed.copy_in()


def remove_scratch(plan: Plan) -> None:
    """Remove the scratch arrays of a complete run."""
    for handed in plan.handed:
        shutil.rmtree(handed.scratch.path, ignore_errors=True)


def _handed(stage: Stage, output: Source) -> Handed:
    assert stage.units.groups is not None
    grid, spec = stage.units.groups.grid, output.to_spec()
    file = container_of(output)
    lead = output.shape[: output.ndim - grid.ndim]
    units = output.write_chunks
    if units is None:  # any voxel may be written alone, so a chunk may not cross the border of a block
        cuts = zip(grid.block_shape, grid.roi, output.shape[len(lead) :], strict=True)
        units = (*lead, *(math.gcd(block, begin) if begin else min(block, size) for block, (begin, _), size in cuts))
    digest = hashlib.sha1(spec.to_json().encode(), usedforsecurity=False).hexdigest()[:10]
    path = f"{file}.{digest}.scratch.zarr"
    wanted: dict[str, Any] = {"shape": output.shape, "dtype": output.dtype, "chunks": units, "axes": output.axes}
    try:
        scratch = create_array(path, "", format="zarr", **wanted)
    except (ShapeError, DtypeError):  # left by a run on a file that was made anew since
        scratch = create_array(path, "", format="zarr", overwrite=True, **wanted)
    region = (*(slice(0, size) for size in lead), *(slice(begin, end) for begin, end in grid.roi))
    return Handed(spec, scratch, region, output)


def _slabs(region: Roi, source: Source) -> Iterator[Roi]:
    """Cut a region along its first axis into parts of whole chunks, of about 64 MiB."""
    if not region:
        yield region
        return
    plane = math.prod(part.stop - part.start for part in region[1:]) * source.dtype.itemsize
    step = 1 if source.chunks is None else source.chunks[0]
    thick = max(step, _SLAB_BYTES // max(1, plane) // step * step)
    for start in range(region[0].start // step * step, region[0].stop, thick):
        yield (slice(max(start, region[0].start), min(start + thick, region[0].stop)), *region[1:])


def _unlocked(spec: SourceSpec) -> SourceSpec:
    if spec.wrapped is not None:
        return replace(spec, wrapped=_unlocked(spec.wrapped))
    return replace(spec, params=FrozenParams({**spec.params, "locking": False}))
